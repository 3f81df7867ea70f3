"""hyperopt's import path: what is printed while a tqdm bar is shown goes above the bar, line by line."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["DummyTqdmFile", "std_out_err_redirect_tqdm"]

STREAMS = ("stdout", "stderr")


class DummyTqdmFile:
    """A stream that takes the bars away, writes whole lines to ``file``, and draws the bars again.

    Args:
        file: The stream behind; in all else this one is like it.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._line = ""
        self._lock = threading.RLock()  # a signal handler may print while its thread is in here

    def write(self, text: str) -> int:
        """Take text; its complete lines are written at once, the rest when its line is complete."""
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
            if lines:
                self._write("".join(f"{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind; a line that has begun still waits for its end, for the bar would overwrite it."""
        self.file.flush()

    def finish(self) -> None:
        """Write a line that has begun, as it is."""
        with self._lock:
            text, self._line = self._line, ""
            if text:
                self._write(text)

    def _write(self, text: str) -> None:
        from tqdm import tqdm

        with tqdm.get_lock():
            # Not tqdm.write: that leaves a bar on stderr where it is while text goes to a stdout that was replaced.
            bars = [bar for bar in getattr(tqdm, "_instances", ()) if hasattr(bar, "start_t")]
            for bar in bars:
                bar.clear(nolock=True)
            self.file.write(text)
            self.file.flush()
            for bar in bars:
                bar.refresh(nolock=True)

    def __getattr__(self, name: str) -> Any:
        if name == "file":  # of an object that is being made
            raise AttributeError(name)
        return getattr(self.file, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # An objective that holds the stream goes to other processes, and finds theirs there.
        return getattr, (sys, next((name for name in STREAMS if getattr(sys, name) is self), "stdout"))


@contextlib.contextmanager
def std_out_err_redirect_tqdm() -> Iterator[Any]:
    """Within it, standard output and error go above the bars; gives the standard output that was there before."""
    before = {name: getattr(sys, name) for name in STREAMS}
    files = {name: DummyTqdmFile(stream) for name, stream in before.items() if stream is not None}
    for name, file in files.items():
        setattr(sys, name, file)
    try:
        yield before["stdout"]
    finally:
        for name, file in files.items():
            setattr(sys, name, before[name])
            file.finish()
