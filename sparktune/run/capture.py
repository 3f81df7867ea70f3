"""What an objective prints and logs in this process, told apart although several evaluations run at once in threads.

``sys.stdout`` and ``sys.stderr`` are replaced by tees, which pass everything on and give a copy to the log of the
evaluation that the calling context belongs to. A context variable says which: threads that an objective starts are
not captured, unless they run in a copy of its context (``contextvars.copy_context().run``). Neither is what bypasses
Python's streams: child processes, C code, ``sys.stdout.buffer``.

Log records are taken where every logger hands them to its handlers. A handler of our own on the root logger would miss
loggers that do not propagate, write twice what another handler prints to the tee, and turn ``logging.basicConfig`` in
an objective into a call without effect.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from sparktune.run.progress import bar_below

#: How much of a log is kept, in bytes of UTF-8: its end.
MAX_LOG_BYTES = 8192

_current: ContextVar[Log | None] = ContextVar("sparktune_log", default=None)
_formatter = logging.Formatter("%(levelname)s %(name)s: %(message)s")

_lock = threading.RLock()
_n_open = 0


class Log:
    """The end of what one evaluation printed and logged.

    Args:
        outer: The log of the evaluation within which this one runs; it gets the same text.
    """

    def __init__(self, outer: Log | None = None) -> None:
        self._outer = outer
        self._lock = threading.RLock()  # a signal handler may print while its thread is in here
        self._pieces: list[str] = []
        self._n_chars = 0
        self._is_open = False

    def write(self, text: str) -> None:
        """Append text; nothing happens once the log is closed."""
        if self._outer is not None:
            self._outer.write(text)
        with self._lock:
            if not self._is_open or not text:
                return
            self._pieces.append(text)
            self._n_chars += len(text)
            if self._n_chars > 4 * MAX_LOG_BYTES:
                self._shorten()

    def text(self) -> str:
        """What was written: at most the last ``MAX_LOG_BYTES``; of a progress bar its last state."""
        with self._lock:
            self._shorten()
            text = self._pieces[0]
        return text.encode(errors="replace")[-MAX_LOG_BYTES:].decode(errors="ignore")

    def open(self) -> None:
        """Take text from now on; the tees are there as long as any log is open."""
        global _n_open
        with _lock:
            self._is_open = True
            _n_open += 1
            _install()

    def close(self) -> None:
        """Take no more text, even if the evaluation goes on; a second time nothing happens."""
        global _n_open
        with _lock:
            if self._is_open:
                self._is_open = False
                _n_open -= 1
                if not _n_open:
                    _uninstall()

    def _shorten(self) -> None:
        text = "\n".join(map(_last_state, "".join(self._pieces).split("\n")))[-MAX_LOG_BYTES:]
        self._pieces, self._n_chars = [text], len(text)


def _last_state(line: str) -> str:
    """What a terminal shows of a line in the end: a progress bar goes back to the start of its line for every step."""
    visible = line.rstrip("\r")
    return visible[visible.rfind("\r") + 1 :] + line[len(visible) :]


@contextlib.contextmanager
def capture() -> Iterator[Log]:
    """The log of what is printed and logged within; the text goes to the original streams and handlers as well.

    Captures nest, and may be open in several threads at once. It costs a few microseconds.
    """
    log = Log(outer=_current.get())
    log.open()
    token = _current.set(log)
    try:
        yield log
    finally:
        _current.reset(token)
        log.close()


class _Tee:
    """A stream that gives a copy of what is written to the current log; in all else the stream behind it."""

    def __init__(self, name: str, stream: Any) -> None:
        self._name = name
        self.behind = stream

    def write(self, text: str) -> Any:
        """Write to the stream, and to the current log."""
        log = _current.get()
        if log is None:
            return self.behind.write(text)
        bar = bar_below.get() if self._name == "stdout" and text else None
        if bar is not None and not bar.is_ours:
            bar = None
        with _not_again(), contextlib.nullcontext() if bar is None else bar.lock:
            if bar is not None:
                bar.clear()
            written = self.behind.write(text)
            if bar is not None and text.endswith("\n"):
                self.behind.flush()  # before the bar, which goes to standard error
                bar.refresh()
        log.write(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.behind)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (sys, self._name)  # for cloudpickle, which sends a standard stream by its name as well


class _CallHandlers:
    """Takes the place of the method ``logging.Logger.callHandlers``, and gives a copy of records to the current log."""

    def __init__(self, method: Callable[[logging.Logger, logging.LogRecord], None]) -> None:
        self.behind = method

    def __get__(self, logger: logging.Logger | None, owner: type) -> Callable[..., None]:
        return functools.partial(self, logger) if logger is not None else self

    def __call__(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        log = _current.get()
        if log is None:
            self.behind(logger, record)
            return
        log.write(_line(record) + "\n")
        with _not_again():
            self.behind(logger, record)


def _line(record: logging.LogRecord) -> str:
    try:
        return _formatter.format(record)
    except Exception:  # arguments that do not fit the message: logging's own handlers report them, and go on
        return f"{record.levelname} {record.name}: {record.msg} {record.args}"


@contextlib.contextmanager
def _not_again() -> Iterator[None]:
    """Within it nothing is captured: the text is in the log, and may come by another tee on its way out."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def _install() -> None:
    """Put ours in front, where it is not yet."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Tee):
            setattr(sys, name, _Tee(name, stream))
    method = logging.Logger.callHandlers
    if not isinstance(method, _CallHandlers):
        logging.Logger.callHandlers = _CallHandlers(method)  # type: ignore[method-assign, assignment]


def _uninstall() -> None:
    """Take away what is ours.

    If others have put theirs in front meanwhile, ours stays behind it and passes everything on. If they put it back
    later, the next capture adopts it, and takes it away in the end.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Tee):
            setattr(sys, name, stream.behind)
    method = logging.Logger.callHandlers
    if isinstance(method, _CallHandlers):
        logging.Logger.callHandlers = method.behind  # type: ignore[method-assign, assignment]
