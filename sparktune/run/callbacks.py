"""Functions of the user's that are told what happens in a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from sparktune.exceptions import InvalidTypeError
from sparktune.history.documents import Document

logger = logging.getLogger("sparktune")


class Callback:
    """Is told what happens in a run, in the thread that called ``fmin``; override what is of interest.

    An exception ends the run: what runs is cancelled, results are kept. While a run is ending, because of one or for
    another reason, exceptions are logged.
    """

    def on_trial_start(self, trials: Any, trial: Document) -> None:
        """A trial is about to be handed to whatever evaluates it; its end is told as well, whatever comes.

        Args:
            trials: The trials object.
            trial: The trial's document.
        """

    def on_trial_end(self, trials: Any, trial: Document) -> None:
        """A trial has a result, has failed, or was cancelled: ``trial["state"]`` says which. Arguments as above."""

    def on_run_end(self, trials: Any) -> None:
        """``fmin`` is about to return, or to raise."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class Callbacks:
    """Several callbacks as one.

    Args:
        callbacks: Objects with any of the methods of :class:`Callback`.

    Raises:
        InvalidTypeError: If one has none of them.
    """

    def __init__(self, callbacks: Iterable[Any] | None = None) -> None:
        if not isinstance(callbacks, Iterable | None):
            raise InvalidTypeError(f"callbacks is a list of objects, got {callbacks!r}: write callbacks=[...]")
        self._callbacks = list(callbacks or ())
        self._must_not_raise = False
        for callback in self._callbacks:
            if isinstance(callback, type) or not any(callable(getattr(callback, event, None)) for event in EVENTS):
                raise InvalidTypeError(
                    f"a callback is an object with a method {', '.join(EVENTS[:-1])} or {EVENTS[-1]}, got {callback!r}"
                )

    def trial_start(self, trials: Any, trial: Document) -> None:
        """See :meth:`Callback.on_trial_start`."""
        self._tell("on_trial_start", trials, trial)

    def trial_end(self, trials: Any, trial: Document) -> None:
        """See :meth:`Callback.on_trial_end`."""
        self._tell("on_trial_end", trials, trial)

    def run_end(self, trials: Any) -> None:
        """See :meth:`Callback.on_run_end`."""
        self._tell("on_run_end", trials)

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Within it, what callbacks raise is logged: the run is ending already, and has things to put in order."""
        self._must_not_raise, before = True, self._must_not_raise
        try:
            yield
        finally:
            self._must_not_raise = before

    def _tell(self, event: str, *args: Any) -> None:
        for callback in self._callbacks:
            method = getattr(callback, event, None)
            if method is None:
                continue
            try:
                method(*args)
            except Exception:
                if not self._must_not_raise:
                    raise
                logger.exception("the callback %r failed while the run was ending", callback)
