"""Where evaluations go: the protocol every backend meets, how futures end, and a backend in the calling thread."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from typing import Any, Protocol

from sparktune.history.trial import Call, Outcome
from sparktune.run.capture import capture
from sparktune.run.domain import Domain


class Executor(Protocol):
    """Runs evaluations, at most ``slots`` at a time.

    A future's result is an :class:`Outcome` whatever the objective does; an exception in it means that the backend
    itself broke, and ends the run. An executor whose ``slots`` change by themselves has ``slots_interval`` as well: the
    seconds after which to look at them again.
    """

    @property
    def slots(self) -> int:
        """How many evaluations can run at once now."""

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation, or queue it."""

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation; its future ends with a cancelled outcome, unless its result is already in."""

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it, and free all resources."""


def done(outcome: Outcome) -> Future[Outcome]:
    """A future that has ended with an outcome."""
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def settle(future: Future[Outcome], outcome: Outcome) -> None:
    """End a future with an outcome, unless it has ended."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(outcome)


def break_off(future: Future[Outcome], error: BaseException) -> None:
    """End a future with an error of the backend, unless it has ended."""
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


class SerialExecutor:
    """Runs each evaluation at once, in the calling thread."""

    slots = 1

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def submit(self, call: Call) -> Future[Outcome]:
        """Evaluate now; the future returned is done."""
        with capture() as log:
            outcome = self._domain.outcome(call)
        text = log.text()
        return done(replace(outcome, record={"log": text}) if text else outcome)

    def cancel(self, tid: Any) -> None:
        """Nothing runs between calls."""

    def shutdown(self, *, cancel: bool = False) -> None:
        """Nothing to free."""
