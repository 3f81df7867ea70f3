"""The engine that a classic session has by default: *jobs*, and *workers* once trials have turned out to be short."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sparktune.history.trial import Call, Outcome
from sparktune.spark.jobs import JobsExecutor, RemoteObjective
from sparktune.spark.workers import WorkersExecutor

logger = logging.getLogger("sparktune")

#: Trials whose median duration counts: no fewer, and the last ones of more.
MIN_TRIALS = 5
MAX_TRIALS = 20

#: Seconds; trials shorter than that go to workers.
SHORT = 1.0


class AutomaticExecutor:
    """Runs evaluations as Spark jobs, and in long-lived workers once they are known to take less than a second.

    Args:
        objective: What to run, on a classic session.
        slots: Says how many trials may run at a time, each time it is asked.
    """

    def __init__(self, objective: RemoteObjective, slots: Callable[[], int]) -> None:
        self._objective = objective
        self._slots = slots
        self.slots_interval = getattr(slots, "interval", None)
        self._jobs = JobsExecutor(objective, slots)
        self._workers: WorkersExecutor | None = None
        self._durations: deque[float] = deque(maxlen=MAX_TRIALS)

    @property
    def slots(self) -> int:
        """Trials at a time."""
        return self._workers.slots if self._workers is not None else self._slots()

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation."""
        if self._workers is not None:
            return self._workers.submit(call)
        if self._is_short():
            self._workers = WorkersExecutor(self._objective, self._slots, jobs=self._jobs)
            return self._workers.submit(call)
        future = self._jobs.submit(call)
        future.add_done_callback(self._note_duration)
        return future

    def _note_duration(self, future: Future[Outcome]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        outcome = future.result()
        if outcome.result is not None and "start" in outcome.record and "end" in outcome.record:
            self._durations.append(outcome.record["end"] - outcome.record["start"])

    def _is_short(self) -> bool:
        durations = list(self._durations)
        if len(durations) < MIN_TRIALS or (median := statistics.median(durations)) >= SHORT:
            return False
        logger.info(
            "the last %d trials took %.3g s each (median), and a Spark job costs 0.03 to 0.1 s: from here on "
            "long-lived tasks evaluate one trial after another",
            len(durations),
            median,
        )
        return True

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation."""
        self._jobs.cancel(tid)
        if self._workers is not None:
            self._workers.cancel(tid)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it, and free everything."""
        try:
            if self._workers is not None:
                self._workers.shutdown(cancel=cancel)
        finally:  # after an interrupt too
            self._jobs.shutdown(cancel=cancel)
