"""``FMinIter``: an optimisation as hyperopt's programs drive it, and trials that others evaluate.

What is evaluated here goes through :mod:`sparktune.run.loop`. Of trials that others evaluate, a subclass of
``FMinIter`` or whoever reads and writes the documents, this only looks at the documents now and then.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle

from sparktune.exceptions import SerializationError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import has_ended
from sparktune.history.trial import JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_RUNNING, Outcome
from sparktune.run import progress
from sparktune.run.algos import algo_description
from sparktune.run.asktell import Algo
from sparktune.run.callbacks import Callbacks
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor, SerialExecutor
from sparktune.run.loop import Loop
from sparktune.run.reproducible import Lagged
from sparktune.run.stopping import EarlyStop, Stopping


class FMinIter(Loop):
    """One optimisation in progress: iterate over it, or call :meth:`exhaust`.

    Where others evaluate the trials, the domain is pickled into ``trials.attachments``, under the name that each
    document has in ``misc["cmd"]``. A subclass may evaluate trials itself, in a :meth:`serial_evaluate` of its own.

    Args:
        algo: Proposes points, see ``Algo``.
        domain: Objective and space.
        trials: Receives the documents.
        rstate: Source of one seed per round of proposals.
        asynchronous: Whether others evaluate the trials (then this only queues them); None: what ``trials`` says.
        max_queue_len: Proposals asked for at once, at least; never fewer than there are free slots.
        poll_interval_secs: Seconds between looks at trials that others evaluate; not used otherwise.
        max_evals: Trials in all, those in ``trials`` at the start included.
        timeout, loss_threshold, early_stop_fn: See :class:`~sparktune.run.stopping.Stopping`.
        verbose: Whether to show progress where ``show_progressbar`` does not say.
        show_progressbar: True, False, a factory, or None, see :mod:`sparktune.run.progress`.
        trials_save_file: Where ``trials`` is pickled after each result; empty for nowhere.
        executor: Runs the evaluations; None: in the calling thread, unless ``asynchronous``.
        max_retries, callbacks, lagged: See :class:`~sparktune.run.loop.Loop`.

    Attributes:
        pickle_protocol: By which the domain is pickled; -1 for the newest.

    Raises:
        SerializationError: If others evaluate the trials, and the objective cannot be pickled.
    """

    pickle_protocol = -1

    def __init__(
        self,
        algo: Algo,
        domain: Domain,
        trials: Any,
        rstate: Any,
        asynchronous: bool | None = None,
        max_queue_len: int = 1,
        poll_interval_secs: float = 1.0,
        max_evals: int = sys.maxsize,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        verbose: bool = False,
        show_progressbar: bool | progress.ProgressFactory | None = None,
        early_stop_fn: EarlyStop | None = None,
        trials_save_file: str | os.PathLike[str] = "",
        executor: Executor | None = None,
        max_retries: int = 0,
        callbacks: Callbacks | None = None,
        lagged: Lagged | None = None,
    ) -> None:
        super().__init__(
            algo,
            domain,
            trials,
            rstate,
            max_queue_len=max_queue_len,
            stopping=Stopping(timeout, loss_threshold, early_stop_fn),
            progress_callback=progress.resolve(show_progressbar, verbose),
            trials_save_file=trials_save_file,
            executor=executor,
            max_retries=max_retries,
            callbacks=callbacks,
            lagged=lagged,
        )
        self.asynchronous = bool(trials.asynchronous) if asynchronous is None else asynchronous
        self.poll_interval_secs = poll_interval_secs
        self.max_evals = max_evals
        self.timeout = timeout
        self.loss_threshold = loss_threshold
        self.early_stop_fn = early_stop_fn
        self.verbose = verbose
        self._has_opened = False
        self._unnoted: set[Any] = set()  # ids of trials that others evaluate, whose ends the storage has not
        self._n_by_others = 0  # trials of other drivers that were pulled
        self._has_attached = False
        if self._is_external:
            self._attach_domain()

    @property
    def is_cancelled(self) -> bool:
        """Whether the run ended before its last trial."""
        return self.stop_reason is not None

    @property
    def start_time(self) -> float:
        """When this object was made, by ``time.perf_counter()``; ``timeout`` counts from then."""
        return self._stopping.started

    @property
    def early_stop_args(self) -> list[Any]:
        """What ``early_stop_fn`` is called with next time, besides the trials."""
        return list(self._stopping.state)

    # -- hyperopt's ways of driving it ----------------------------------------------------------------------------

    def __iter__(self) -> FMinIter:
        return self

    def __next__(self) -> Any:
        """Run one more trial; returns the trials object.

        Raises:
            StopIteration: If that was the last one, as in hyperopt, or there is none left.
        """
        if not self._has_ended:
            self.run(1, block_until_done=True)
            if not self._has_ended:
                return self.trials
        self._close_storage()
        raise StopIteration

    @property
    def _has_ended(self) -> bool:
        return self.is_cancelled or self._is_exhausted or self._n_counted >= self.max_evals

    def exhaust(self) -> FMinIter:
        """Run all trials that are left."""
        try:
            self._open_storage()
            self.run(max(0, self.max_evals - self._n_counted), block_until_done=True)
        finally:
            self._close_storage()
        return self

    def _open_storage(self) -> None:
        """Have the study kept where it should be; within ``fmin`` it is."""
        if self._keeper is not None and not self._keeper.is_open:
            self._has_opened = True
            try:
                self.trials._begin(self.domain, algo_description(self.algo))
            except BaseException:
                self._close_storage()
                raise

    def _close_storage(self) -> None:
        if self._has_opened:
            self.trials._end()
            self._has_opened = False

    @property
    def _n_counted(self) -> int:
        """Trials of ``max_evals`` that there are; in a kept study failed ones count, as they did before a restart."""
        n_failed = 0 if self._keeper is None else self.trials.count_by_state_unsynced(JOB_STATE_ERROR)
        return len(self.trials) + n_failed

    def serial_evaluate(self, N: int = -1) -> None:
        """Evaluate up to N of the new trials (all if negative), by the executor; without one, in the calling thread."""
        waiting = self._new_documents()
        self._drive(0, waiting if N < 0 else waiting[:N])

    def block_until_done(self) -> None:
        """Wait until no trial is new or running; evaluates the new ones unless others do."""
        if self._is_external:
            while self.trials.count_by_state_unsynced([JOB_STATE_NEW, JOB_STATE_RUNNING]):
                time.sleep(self.poll_interval_secs)
                self._note_ends()
            self.trials.refresh()
            self._note_ends()
        else:
            self.serial_evaluate()

    def run(self, N: int, block_until_done: bool = True) -> None:
        """Propose and evaluate N trials, besides the new ones that wait in ``trials``.

        Raises:
            Exception: The objective's, unless ``catch_eval_exceptions``; the algorithm's.
            KeyboardInterrupt: On Ctrl-C, after running trials have been stopped and recorded as cancelled.
        """
        self._open_storage()
        if self._is_external:
            with contextlib.suppress(SerializationError):  # who has set that later may have it from elsewhere
                self._attach_domain()
            with self._saving():
                self._queue_for_others(N)
                if block_until_done:
                    self.block_until_done()
        elif getattr(self.serial_evaluate, "__func__", None) is not _OWN_SERIAL_EVALUATE:
            with self._saving(), self._display(N + len(self._new_documents())) as bar:
                self._have_evaluated(N, bar)
        else:
            self._drive(N, self._new_documents())

    # -- trials that are evaluated elsewhere --------------------------------------------------------------------------

    @property
    def _is_external(self) -> bool:
        # Asked anew each time: programs set the attribute of an object that they, or ``fmin``, have made.
        return self.asynchronous and isinstance(self._executor, SerialExecutor | None)

    def _attach_domain(self) -> None:
        """Have the domain where each document says that it is, for those who evaluate the trials."""
        if self._has_attached:
            return
        try:
            pickled = cloudpickle.dumps(self.domain, self.pickle_protocol)
        except Exception as error:  # pickling calls code of any class
            raise SerializationError(
                f"where others evaluate trials, the objective is pickled for them, and this one cannot be ({error}): "
                "open files, locks and connections inside the objective, not around it"
            ) from error
        # In memory only, also of a study that is kept: whoever goes on with that attaches a domain anew.
        self.trials.attachments[documents.FMIN_CMD[1]] = pickled
        self._has_attached = True

    def _queue_for_others(self, n: int) -> None:
        """Keep ``max_queue_len`` new trials in ``trials``, for whoever evaluates them, until n were proposed."""
        self._unnoted.update(document["tid"] for document in self._new_documents())
        while n > 0 and not self._is_exhausted and self.stop_reason is None:
            n_waiting = self.trials.count_by_state_unsynced(JOB_STATE_NEW)
            if n_waiting >= self.max_queue_len:
                time.sleep(self.poll_interval_secs)
                self.trials.refresh()
            else:
                n -= len(self._ask_for_others(min(n, self.max_queue_len - n_waiting)))
            self._note_ends()
            self.stop_reason = self._stopping.reason(self.trials, self.trials.best_loss, has_new_result=True)

    def _ask_for_others(self, n: int) -> list[Document]:
        proposed = self.ask(n)
        self._is_exhausted = not proposed
        self._unnoted.update(document["tid"] for document in proposed)
        return proposed

    def _have_evaluated(self, n_new: int, bar: progress.Progress) -> None:
        """Propose, and leave all that is new to the ``serial_evaluate`` that a subclass has of its own."""
        n_at_once = max(1 if self._executor is None else self._executor.slots, self.max_queue_len)
        n_to_reach = self._n_by_others + n_new  # others' count too, also those that ours pulls within the subclass's
        self.stop_reason = self._stopping.reason(self.trials, self.trials.best_loss, has_new_result=False)
        while self.stop_reason is None:
            self.pull()
            new, n_left = self._new_documents(), n_to_reach - self._n_by_others
            if not new and n_left > 0 and not self._is_exhausted:
                new = self._ask_for_others(min(n_left, n_at_once))
                n_to_reach -= len(new)
            if not new:
                break
            self._unnoted.update(document["tid"] for document in new)
            self._has_driven = False
            self.serial_evaluate()
            self.trials.refresh()
            self._note_ends()
            self._show(bar, 0)
            if not self._has_driven:  # else it was ours in the end, which asks the rules after each result
                self.stop_reason = self._stopping.reason(self.trials, self.trials.best_loss, has_new_result=True)
            has_more = n_to_reach > self._n_by_others and not self._is_exhausted
            if not has_more and all(document["state"] == JOB_STATE_NEW for document in new):
                break  # it evaluates nothing, in a program that only wants points

    def _note_ends(self) -> None:
        """Have the trials in the storage, and in the file, that have ended without this loop's doing."""
        if self._keeper is None and self._save_file is None:
            return
        for document in self.trials.own_documents():
            if document["state"] == JOB_STATE_NEW:  # somebody may have inserted it meanwhile
                self._unnoted.add(document["tid"])
            elif document["tid"] in self._unnoted and has_ended(document):
                self._unnoted.discard(document["tid"])
                if self._keeper is not None:
                    self._keeper.note_end(document)
                self._save(document)
        self.flush()

    def pull(self) -> tuple[list[Document], int]:
        """Take in what other drivers of the study have done, see :meth:`AskTell.pull`."""
        adopted, n_others = super().pull()
        self._n_by_others += n_others
        return adopted, n_others

    def tell(self, document: Document, outcome: Outcome) -> Outcome:
        """Write what became of a trial into its document; returns that, or why it cannot be accepted."""
        self._unnoted.discard(document["tid"])
        return super().tell(document, outcome)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Within it others evaluate; at its end, be it an interrupt, all that has ended is saved."""
        try:
            yield
        finally:
            self._note_ends()
            if self._save_file is not None:
                self._save_file.finish()


#: By which a subclass is told, or a program that has put another in its place.
_OWN_SERIAL_EVALUATE = FMinIter.serial_evaluate
