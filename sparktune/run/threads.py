"""Evaluations in threads of this process."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from sparktune.exceptions import TrialTimeoutError
from sparktune.history.trial import Call, Failure, Outcome
from sparktune.run.capture import Log, capture
from sparktune.run.domain import Domain, failure_from
from sparktune.run.executor import break_off, settle

logger = logging.getLogger("sparktune")

#: Seconds that a cancelled evaluation gets to end by itself.
GRACE = 2.0


@dataclass(eq=False, slots=True)
class Evaluation:
    """A call on its way; the executor's lock guards its flags.

    Attributes:
        call: What to evaluate.
        submitted: When, on the monotonic clock.
        context: The submitter's context variables, of which what the objective sets is gone afterwards.
        future: What comes of it.
        slot: Number of the thread that runs it, once it has begun.
        record: When and where it began.
        log: Where its output goes.
        verdict: What becomes of it if it is stopped before it ends by itself.
        has_ended: Set when its thread is done with it, which may be long after the future of a cancelled one.
    """

    call: Call
    submitted: float = field(default_factory=time.monotonic)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    future: Future[Outcome] = field(default_factory=Future)
    slot: int | None = None
    record: dict[str, Any] = field(default_factory=dict)
    log: Log | None = None
    verdict: Outcome | None = None
    is_abandoned: bool = False
    has_ended: threading.Event = field(default_factory=threading.Event)

    def begin(self, slot: int) -> None:
        """Note that a thread takes it up."""
        self.slot = slot
        self.record = {"host": socket.gethostname(), "pid": os.getpid(), "start": time.time()}
        self.record["queue_time"] = time.monotonic() - self.submitted

    def settle(self, outcome: Outcome) -> None:
        """End the future with an outcome and the record of the run, unless it has ended."""
        record = {**self.record, "end": time.time()} if self.record else {}
        if self.log is not None and (text := self.log.text()):
            record["log"] = text
        settle(self.future, replace(outcome, record={**record, **outcome.record}))


class ThreadsExecutor:
    """Runs evaluations in daemon threads, which do not keep the interpreter from exiting.

    A thread cannot be killed. A running evaluation that is to stop gets ``grace`` seconds to end; then its future ends
    and its thread is left alone, with a warning, and what it returns is dropped.

    Args:
        domain: Objective and space.
        slots: Evaluations at a time.
        timeout: Seconds that an evaluation may run, counted from the call of the objective; None for no limit.
        grace: Seconds that one that is cancelled, or ran longer than it may, gets to end by itself.
    """

    def __init__(self, domain: Domain, slots: int, *, timeout: float | None = None, grace: float = GRACE) -> None:
        self.slots = slots
        self._domain = domain
        self._timeout = timeout
        self._grace = grace
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Evaluation | None] = queue.SimpleQueue()
        self._evaluations: dict[Any, Evaluation] = {}
        self._threads: dict[int, threading.Thread] = {}  # by slot; those left alone are not in here
        self._new_slots = itertools.count()
        self._has_warned = False

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation, or queue it."""
        evaluation = Evaluation(call)
        with self._lock:
            self._evaluations[call.tid] = evaluation
            if len(self._threads) < self.slots:
                self._start_thread()
        evaluation.future.add_done_callback(lambda _: self._forget(evaluation))
        self._waiting.put(evaluation)
        return evaluation.future

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation, at once if it has not begun; a result that comes within the grace is kept."""
        with self._lock:
            evaluation = self._evaluations.get(tid)
        if evaluation is not None:
            self._condemn(evaluation, Outcome())

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it, and end the threads."""
        if cancel:
            for tid in list(self._evaluations):
                self.cancel(tid)
        wait([evaluation.future for evaluation in list(self._evaluations.values())])
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join()

    # -- for backends that add to it ----------------------------------------------------------------------------------

    def _run(self, call: Call, slot: int) -> Outcome:
        """Evaluate in this thread; an exception means that the backend broke.

        Args:
            call: What to evaluate.
            slot: Number of the thread, which no other running thread has.
        """
        try:
            # Attachments go with the outcome: of an evaluation that was given up they must not come in late.
            return Outcome.of(self._domain.evaluate(call.raw, call.ctrl, attach_attachments=False))
        except Exception as error:
            return Outcome(failure=failure_from(error))
        except BaseException as error:  # sys.exit and the like: raised again in the caller, they would end the program
            return Outcome(failure=replace(failure_from(error), exception=None))

    def _stop(self, evaluation: Evaluation) -> None:
        """Wait until an evaluation that is to stop has ended, or leave it alone; runs in a thread of its own."""
        if not evaluation.has_ended.wait(self._grace):
            self._abandon(evaluation)

    # -- threads ------------------------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        slot = next(self._new_slots)
        thread = threading.Thread(target=self._work, args=(slot,), name=f"sparktune-{slot}", daemon=True)
        self._threads[slot] = thread
        thread.start()

    def _work(self, slot: int) -> None:
        while self._work_once(slot):  # a call for each, so that a thread that waits holds no result
            pass

    def _work_once(self, slot: int) -> bool:
        """Run the next evaluation; whether to go on."""
        evaluation = self._waiting.get()
        if evaluation is None:
            return False
        if self._begin(evaluation, slot):
            evaluation.context.run(self._evaluate, evaluation, slot)
        with self._lock:
            evaluation.has_ended.set()
            return not evaluation.is_abandoned

    def _begin(self, evaluation: Evaluation, slot: int) -> bool:
        """Mark an evaluation as running, unless it was cancelled while it waited."""
        with self._lock:
            if evaluation.verdict is not None:
                return False
            evaluation.begin(slot)
        return evaluation.future.set_running_or_notify_cancel()

    def _evaluate(self, evaluation: Evaluation, slot: int) -> None:
        with capture() as evaluation.log, self._time_limit(evaluation):
            try:
                outcome = self._run(evaluation.call, slot)
            except BaseException as error:
                break_off(evaluation.future, error)
                return
        verdict = evaluation.verdict
        if verdict is not None and (verdict.failure or outcome.failure):
            outcome = replace(verdict, record=outcome.record)  # if it failed, then because it was stopped
        evaluation.settle(outcome)

    @contextlib.contextmanager
    def _time_limit(self, evaluation: Evaluation) -> Iterator[None]:
        if self._timeout is None:
            yield
            return
        message = f"the trial ran longer than trial_timeout={self._timeout:g} s and was stopped"
        verdict = Outcome(failure=Failure(str(TrialTimeoutError), message))
        timer = threading.Timer(self._timeout, self._condemn, (evaluation, verdict))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _condemn(self, evaluation: Evaluation, verdict: Outcome) -> None:
        """See to it that an evaluation ends with this outcome, unless it ends by itself or is condemned already."""
        with self._lock:
            if evaluation.verdict is not None or evaluation.has_ended.is_set():
                return
            evaluation.verdict = verdict
            has_begun = evaluation.slot is not None
        if has_begun:
            name = f"sparktune-stop-{evaluation.call.tid}"
            threading.Thread(target=self._stop, args=(evaluation,), name=name, daemon=True).start()
        else:
            evaluation.settle(verdict)

    def _abandon(self, evaluation: Evaluation) -> None:
        """Leave an evaluation alone, and let another thread have its place."""
        with self._lock:
            if evaluation.has_ended.is_set() or evaluation.is_abandoned:
                return
            evaluation.is_abandoned = True
            if evaluation.slot is not None and self._threads.pop(evaluation.slot, None) is not None:
                self._start_thread()  # for what may be waiting
            level = logging.DEBUG if self._has_warned else logging.WARNING
            self._has_warned = True
        logger.log(
            level,
            "trial %s goes on %g s after it was stopped, as a thread cannot be killed: it is left alone, and what it "
            "returns will be dropped",
            evaluation.call.tid,
            self._grace,
        )
        if evaluation.log is not None:
            evaluation.log.close()
        evaluation.settle(evaluation.verdict or Outcome())

    def _forget(self, evaluation: Evaluation) -> None:
        with self._lock:
            if self._evaluations.get(evaluation.call.tid) is evaluation:
                del self._evaluations[evaluation.call.tid]
