"""The loop: asks for proposals while slots are free, hands them to an executor, records what comes back.

It waits on a queue that finished evaluations are put into.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import queue
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sparktune.exceptions import ObjectiveError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import n_renewed
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING, Call, Failure, Outcome
from sparktune.run import progress
from sparktune.run.arguments import as_queue_length, as_save_file
from sparktune.run.asktell import Algo, AskTell
from sparktune.run.callbacks import Callbacks
from sparktune.run.domain import Ctrl, Domain
from sparktune.run.executor import Executor, SerialExecutor
from sparktune.run.replies import ERRORS
from sparktune.run.reproducible import Lagged
from sparktune.run.saving import SaveFile
from sparktune.run.stopping import REASON_TIMEOUT, REASON_USER, Stopping
from sparktune.storage import keeper

logger = logging.getLogger("sparktune")

#: Seconds that cancelled trials get to end before the run goes on without them.
CANCEL_DEADLINE = 30.0

#: What a trial failed of, not by its objective's own doing: by the type of the failure.
ERRORS_BY_TYPE = {str(error): error for error in ERRORS.values()}


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """An evaluation that an executor has been given."""

    document: Document
    call: Call
    future: Future[Outcome]

    @property
    def tid(self) -> Any:
        return self.call.tid


class Loop(AskTell):
    """Runs trials: proposes points, has an executor evaluate them, records what comes back.

    Args:
        algo, domain, trials, rstate: See :class:`~sparktune.run.asktell.AskTell`.
        max_queue_len: Proposals asked for at once, at least; never fewer than there are free slots.
        stopping: When to stop.
        progress_callback: Makes the display, see :mod:`sparktune.run.progress`.
        trials_save_file: Where ``trials`` is pickled after each result; empty for nowhere.
        executor: Runs the evaluations; None: in the calling thread.
        max_retries: How often a trial is evaluated again whose process or machine was lost.
        callbacks: Told of the start and end of trials.
        lagged: For a run that can be repeated, see :class:`~sparktune.run.reproducible.Lagged`.

    Attributes:
        catch_eval_exceptions: Whether a failing objective ends its trial only (True) or the run.
        stop_reason: Why the run ended before its last trial; None if it did not.
    """

    catch_eval_exceptions = False

    def __init__(
        self,
        algo: Algo,
        domain: Domain,
        trials: Any,
        rstate: Any,
        *,
        max_queue_len: int,
        stopping: Stopping,
        progress_callback: progress.ProgressFactory,
        trials_save_file: str | os.PathLike[str],
        executor: Executor | None,
        max_retries: int,
        callbacks: Callbacks | None,
        lagged: Lagged | None,
    ) -> None:
        super().__init__(algo, domain, trials, rstate)
        self.max_queue_len = as_queue_length(max_queue_len)
        self.progress_callback = progress_callback
        self.trials_save_file = as_save_file(trials_save_file)
        self._save_file = SaveFile(trials, self.trials_save_file) if self.trials_save_file else None
        self.stop_reason: str | None = None
        self._executor = executor
        self._stopping = stopping
        self._max_retries = max_retries
        self._callbacks = callbacks or Callbacks()
        self._lagged = lagged
        self._inbox: queue.SimpleQueue[_Running] = queue.SimpleQueue()
        self._in_flight: dict[Any, _Running] = {}
        self._is_waiting = False  # for a storage that is away, to propose
        self._queued: deque[Document] = deque()
        self._bar: progress.Progress | None = None  # the display of the run that goes on
        self._n_shown = 0  # trials that the display has counted
        self._is_exhausted = False
        self._has_failure = False
        self._reason_to_end: str | None = None
        self._has_driven = False  # whether trials were evaluated here since that was last asked

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: all but the queue of evaluations that have ended, which is empty between runs."""
        return {name: value for name, value in vars(self).items() if name != "_inbox"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _inbox=queue.SimpleQueue())

    def _drive(self, n_new: int, waiting: Iterable[Document]) -> None:
        self._queued.extend(waiting)
        executor = self._executor or SerialExecutor(self.domain)
        self._has_driven = True
        is_within = self._bar is not None
        with self._display(n_new + len(self._queued)) as bar:
            try:
                self.stop_reason = self._stopping.reason(self.trials, self.trials.best_loss, has_new_result=False)
                while self.stop_reason is None:
                    n_new = self._fill(executor, n_new)
                    self._show(bar, 0)
                    if not self._in_flight and not self._is_waiting:
                        break
                    has_result = self._collect(executor, bar)
                    if self._lagged is None:
                        self.stop_reason = self._stopping.reason(
                            self.trials, self.trials.best_loss, has_new_result=has_result
                        )
                    elif self._stopping.remaining() == 0.0:
                        self.stop_reason = REASON_TIMEOUT
                if self.stop_reason is not None:
                    self._cancel(executor, bar)
                self.stop_reason = self.stop_reason or self._reason_to_end
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    self.stop_reason = REASON_USER
                self._cancel(executor, bar)
                raise
            finally:
                if self._save_file is not None and not is_within:  # else the run within which this one goes on does so
                    self._save_file.finish()

    @contextlib.contextmanager
    def _display(self, n: int) -> Iterator[progress.Progress]:
        """The display of a run of n trials; that of the run within which this one goes on, if there is one."""
        if self._bar is not None:
            yield self._bar
            return
        self._n_shown = initial = self._history.n_own_finished
        total = initial + n + self._n_elsewhere
        display = self.progress_callback(initial=initial, total=None if total >= sys.maxsize else total)
        with display as self._bar, progress.prints_above(self._bar):
            try:
                yield self._bar
            finally:
                self._bar = None

    def _fill(self, executor: Executor, n_new: int) -> int:
        """Start trials until no slot is free or none are left to start; the number still to propose."""
        self._is_waiting = False
        while (n_free := executor.slots - len(self._in_flight)) > 0:
            if not self._queued:
                adopted, n_others = self.pull()
                n_new -= n_others
                if adopted:
                    self._queued.extend(adopted)
                    continue
                n = 1 if self._lagged is not None else min(n_new, max(n_free, self.max_queue_len))
                if n_new <= 0 or self._is_exhausted:
                    break
                self._is_waiting = not self.can_ask(n)
                if self._is_waiting or not self._may_ask():
                    break
                proposed = self.ask(n)
                self._is_exhausted = not proposed
                n_new -= len(proposed)
                self._queued.extend(proposed)
                continue
            document = self._queued.popleft()
            if document["state"] == JOB_STATE_NEW:  # a subclass of Trials may have others look at what it inserts
                self._start(executor, document)
        return n_new

    def _may_ask(self) -> bool:
        """Whether to propose now. In a run that can be repeated this is where it is seen whether to stop."""
        if self._lagged is None:
            return True
        if not self._lagged.is_ready:
            return False
        has_result, self.seen = self._lagged.advance(), self._lagged.seen
        # What runs is left to its end, and stays in the study: the same trials, however long each takes.
        reason = self._stopping.reason(self.seen, self.seen.best_loss, has_new_result=has_result)
        self._is_exhausted = reason is not None
        self._reason_to_end = reason
        return reason is None

    def _start(self, executor: Executor, document: Document) -> None:
        ctrl = Ctrl(self.trials, document, self.domain.result_of)
        call = Call(document["tid"], documents.raw_values(document), ctrl)
        try:
            self.start(document)
            self._callbacks.trial_start(self.trials, document)
            self._submit(executor, document, call)
        except BaseException:  # an interrupt, at any point; of a trial in flight _cancel takes care
            if call.tid not in self._in_flight:
                self.tell(document, Outcome())
                with self._callbacks.quietly():
                    self._callbacks.trial_end(self.trials, document)
            raise

    def _submit(self, executor: Executor, document: Document, call: Call) -> None:
        running = _Running(document, call, executor.submit(call))
        self._in_flight[call.tid] = running
        running.future.add_done_callback(lambda _: self._inbox.put(running))

    def _collect(self, executor: Executor, bar: progress.Progress) -> bool:
        """Wait for a finished trial, or the timeout; record all that are in. Whether there was any."""
        limits = [self._stopping.remaining(), getattr(executor, "slots_interval", None)]
        if self._is_waiting:
            limits.append(keeper.RETRY_INTERVAL)
        n_recorded = 0
        for running in self._arrivals(min((limit for limit in limits if limit is not None), default=None)):
            if self._retry(executor, running):
                continue
            failure = self._record(running)
            n_recorded += 1
            if failure is not None and not self.catch_eval_exceptions:
                self._show(bar, n_recorded)
                self.flush()
                raise _exception_of(failure, running.call)
            if failure is not None:
                self._note_failure(running.tid, failure)
        if n_recorded:
            self.flush()
            self._show(bar, n_recorded)
        return n_recorded > 0

    def _arrivals(self, timeout: float | None) -> Iterator[_Running]:
        """What has ended, after a wait for the first; each is taken out of the inbox when it is asked for."""
        with contextlib.suppress(queue.Empty):
            yield self._inbox.get(timeout=timeout)
            while True:
                yield self._inbox.get_nowait()

    def _retry(self, executor: Executor, running: _Running) -> bool:
        """Submit a trial again that was lost, if it may; whether that was done."""
        if running.tid not in self._in_flight or running.future.cancelled():
            return False
        outcome = running.future.result()
        if outcome.failure is None or not outcome.failure.is_lost:
            return False
        # That a driver died says nothing of the trial's own process.
        n_lost = documents.n_attempts(running.document) - n_renewed(running.document) + 1
        if n_lost > self._max_retries:
            return False
        documents.note_attempt(running.document, outcome)
        text = "trial %s was lost and is evaluated again, for the %d. of at most %d times: %s"
        logger.warning(text, running.tid, n_lost, self._max_retries, outcome.failure.message)
        self._submit(executor, running.document, running.call)
        return True

    def _record(self, running: _Running) -> Failure | None:
        """Write an outcome into its document; the failure, if it is one."""
        document, future = running.document, running.future
        if running.tid not in self._in_flight:
            return None  # recorded, or given up, when a run was cancelled
        if document["state"] != JOB_STATE_RUNNING:  # somebody has ended it in its document
            del self._in_flight[running.tid]
            return None
        outcome = self.tell(document, Outcome() if future.cancelled() else future.result())
        del self._in_flight[running.tid]
        self._save(document)
        self._callbacks.trial_end(self.trials, document)
        return outcome.failure

    def _note_failure(self, tid: Any, failure: Failure) -> None:
        # A run may go on for hours in which every trial fails: say so once, and early.
        level = logging.DEBUG if self._has_failure else logging.WARNING
        self._has_failure = True
        logger.log(level, "trial %s failed, and the run goes on: %s", tid, _headline(failure))

    @property
    def _n_elsewhere(self) -> int:
        """Trials that other drivers of the study run now."""
        is_shared = self._keeper is not None and self._keeper.is_shared
        return self.trials.count_by_state_unsynced(JOB_STATE_RUNNING) if is_shared else 0

    def _show(self, bar: progress.Progress, n_recorded: int) -> None:
        """Have the display count what was recorded here, and what others have finished."""
        if self.progress_callback is progress.no_progress_callback:
            return
        n = max(n_recorded, self._history.n_own_finished - self._n_shown)
        if n <= 0:
            return
        self._n_shown += n
        best_loss = self.trials.best_loss
        if best_loss is None and self.trials.n_objectives > 1:
            bar.postfix = f"Pareto front: {len(self._history.front_rows)}"
        else:
            bar.postfix = f"best {self.domain.goal.text(best_loss)}"
        bar.update(n)

    def _cancel(self, executor: Executor, bar: progress.Progress) -> None:
        """Stop what runs, keep the results that are already in, mark the rest as cancelled."""
        n_recorded = 0
        try:
            for tid in list(self._in_flight):
                executor.cancel(tid)
            # The futures and not the inbox: an interrupt may have come just when an item was taken out of it.
            concurrent.futures.wait([running.future for running in self._in_flight.values()], timeout=CANCEL_DEADLINE)
            with self._callbacks.quietly():
                for running in list(self._in_flight.values()):
                    if running.future.done() and (running.future.cancelled() or running.future.exception() is None):
                        self._record(running)
                        n_recorded += 1
            late = [running.tid for running in self._in_flight.values() if not running.future.done()]
            if late:
                logger.warning("trials %s did not stop within %g s of being cancelled", late, CANCEL_DEADLINE)
        finally:
            started = [running.document for running in self._in_flight.values()]
            for document in [*started, *self._queued]:
                if document["state"] in (JOB_STATE_NEW, JOB_STATE_RUNNING):
                    self.tell(document, Outcome())
            with self._callbacks.quietly():
                for document in started:
                    self._callbacks.trial_end(self.trials, document)
            self._in_flight.clear()
            self._queued.clear()
            self.trials.refresh()
            self.flush()
            if self._save_file is not None:
                self._save_file.is_stale = True
        self._show(bar, n_recorded)

    def _new_documents(self) -> list[Document]:
        self.trials.refresh()
        return [document for document in self.trials.own_documents() if document["state"] == JOB_STATE_NEW]

    def _save(self, document: Document) -> None:
        if self._save_file is not None:
            self._save_file.note(document)


def _headline(failure: Failure) -> str:
    text = f"{failure.type} {failure.message}".strip().split("\n", 1)[0]  # Java's errors have their stack behind it
    return text.encode(errors="backslashreplace").decode()  # names of odd files have what no stream takes


def _exception_of(failure: Failure, call: Call) -> BaseException:
    """What to raise for a failure: the objective's own exception where it is at hand, with the point noted in it."""
    where = f"raised by trial {call.tid} at {call.raw}"
    if failure.type in ERRORS_BY_TYPE:
        return ERRORS_BY_TYPE[failure.type](f"{failure.message}\n{where}")
    if not isinstance(failure.exception, Exception):  # not at hand, or sys.exit, which would end the program in silence
        return ObjectiveError(f"{failure.type}: {failure.message}\n{where}\n{failure.traceback}")
    if failure.exception.__traceback__ is None:  # it comes from another process
        where += f"\n{failure.traceback}"
    if hasattr(failure.exception, "add_note"):  # since Python 3.11
        failure.exception.add_note(where)
    else:
        logger.error("%s: %s", where, _headline(failure))
    return failure.exception
