"""Progress bars: a context manager that takes (initial, total) and gives an object with ``update`` and ``postfix``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from sparktune.exceptions import InvalidTypeError


class Progress(Protocol):
    """A running display."""

    postfix: Any

    def update(self, n: int) -> Any:
        """Advance by n trials."""


#: Called as ``f(initial=..., total=...)``, with hyperopt's names.
ProgressFactory: TypeAlias = Callable[..., AbstractContextManager[Any]]


class _Bar:
    """A tqdm bar whose ``postfix`` may be set to plain text at any time; it is drawn at the next update."""

    def __init__(self, bar: Any) -> None:
        self.outer: _Bar | None = None  # of the run within whose objective this one goes on
        self.lock = threading.RLock()  # of whoever draws, or writes above it
        self._process = os.getpid()
        self._is_shown = True
        self._bar = bar

    @property
    def postfix(self) -> str:
        return str(self._bar.postfix or "")

    @postfix.setter
    def postfix(self, text: object) -> None:
        self._bar.set_postfix_str(str(text), refresh=False)

    @property
    def is_ours(self) -> bool:
        """Whether this process draws it: forked ones share tqdm's lock, and leave it locked if they are killed."""
        return self._process == os.getpid()

    def update(self, n: int) -> None:
        with self.lock:
            self._is_shown = bool(self._bar.update(n)) or self._is_shown  # tqdm does not draw what nobody could see

    def clear(self) -> None:
        """Take the bar off the screen, so that a line can be written in its place."""
        if self._is_shown:
            self._bar.clear()
            self._is_shown = False
        if self.outer is not None:
            self.outer.clear()

    def refresh(self) -> None:
        """Draw the bar as it is now."""
        if self.outer is not None:
            self.outer.refresh()
        self._bar.refresh()
        self._is_shown = True


#: The bar below what the objective prints, for evaluations in this context.
bar_below: ContextVar[_Bar | None] = ContextVar("sparktune_bar", default=None)


@contextlib.contextmanager
def prints_above(bar: object) -> Iterator[None]:
    """Within it, what objectives print in this context goes above our tqdm bar, on a terminal.

    Other displays are left alone, and so are files and notebooks, where nothing is written over.
    """
    if not (isinstance(bar, _Bar) and all(map(_is_terminal, ("stdout", "stderr")))):
        yield
        return
    bar.outer = bar_below.get()
    token = bar_below.set(bar)
    try:
        yield
    finally:
        bar_below.reset(token)


def _is_terminal(name: str) -> bool:
    try:
        return bool(getattr(sys, name).isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


@contextlib.contextmanager
def tqdm_progress_callback(initial: int, total: int | None) -> Iterator[Progress]:
    """A tqdm bar in the terminal or the notebook, with the best loss as its postfix."""
    from tqdm.auto import tqdm

    limit = None if total is None or total >= sys.maxsize else total
    with tqdm(
        initial=initial, total=limit, postfix="best loss: ?", disable=False, dynamic_ncols=True, unit="trial"
    ) as bar:
        yield _Bar(bar)


class _Silent:
    postfix: Any = None

    def update(self, n: int) -> None:
        pass


@contextlib.contextmanager
def no_progress_callback(initial: int, total: int | None) -> Iterator[Progress]:
    """Shows nothing."""
    yield _Silent()


default_callback = tqdm_progress_callback


def resolve(show_progressbar: bool | ProgressFactory | None, verbose: bool) -> ProgressFactory:
    """The factory that ``show_progressbar`` stands for: True, False, a factory, or None for what ``verbose`` says."""
    if callable(show_progressbar):
        return show_progressbar
    if show_progressbar not in (True, False, None):
        raise InvalidTypeError(
            "show_progressbar is True, False, None for what verbose says, or a function (initial, total) that gives a "
            f"context manager, got {show_progressbar!r}"
        )
    return (
        tqdm_progress_callback if (verbose if show_progressbar is None else show_progressbar) else no_progress_callback
    )
