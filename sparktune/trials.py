"""``Trials``: the documents of a study, and the run that fills them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sparktune import auto
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.exchange.other_space import Terms
from sparktune.exchange.past import Past
from sparktune.exchange.warm_start import borrow
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import is_point, n_borrowed, set_aside
from sparktune.history.trial import JOB_STATE_NEW, Outcome
from sparktune.results import NOTHING_TO_RETURN, Results, SeveralLossesError
from sparktune.run.algos import algo_description
from sparktune.run.arguments import (
    as_lag,
    as_max_evals,
    as_memory,
    as_retries,
    as_seconds,
    require_algo,
)
from sparktune.run.callbacks import Callbacks
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor, SerialExecutor
from sparktune.run.fminiter import FMinIter
from sparktune.run.goal import Goal
from sparktune.run.points import point_documents, points_left
from sparktune.run.processes import ProcessesExecutor
from sparktune.run.progress import ProgressFactory
from sparktune.run.reproducible import Lagged
from sparktune.run.stopping import EarlyStop, validate_loss_threshold
from sparktune.run.threads import ThreadsExecutor
from sparktune.space.annotated import annotated_space
from sparktune.space.compile import Space
from sparktune.storage.keeper import Keeper
from sparktune.storage.places import no_study, storage_at
from sparktune.storage.runs import Run
from sparktune.storage.sharing import keeper_of
from sparktune.worker.evaluator import Limits

logger = logging.getLogger("sparktune")

__all__ = ["BACKENDS", "NOTHING_TO_RETURN", "SeveralLossesError", "Trials", "trials_from_docs"]

#: Where trials may run on this machine.
BACKENDS = ("serial", "threads", "processes")
#: What marks the objects that a fmin runs with, by process and object: not in the object, whose pickles would have it.
_running: dict[tuple[int, int], object] = {}
#: What pickles of earlier versions call parts of :class:`Past`, which are attributes of the object there.
EARLIER_NAMES = {"goal": "_goal", "read": "_read_runs", "trusts": "_trusts"}


class Trials(Results):
    """The trial documents of a study.

    Documents are plain dictionaries and the source of truth: read them, pickle them, edit them, insert your own, and
    call :meth:`refresh`. ``trials`` lists those that are new, running or done; failed and cancelled ones stay in
    ``_dynamic_trials``, under which name programs know them.

    Args:
        exp_key: If given, only documents with this ``exp_key`` are seen.
        refresh: Whether to call :meth:`refresh` at once.
        parallelism: Trials at a time, on this machine; at least 1.
        backend: Where they run. ``"serial"``: in the calling thread, one at a time. ``"threads"``: in threads of this
            process, for objectives that wait or that leave Python's lock to others, as numpy and scikit-learn mostly
            do; a thread cannot be killed. ``"processes"``: in processes of this machine, to which the objective is
            pickled; one that crashes is replaced. None: serial, and threads if ``parallelism`` is above 1.
        trial_timeout: Seconds that a trial may run; a process is killed then, a thread left alone. Not with "serial".
        trial_memory: Memory that a trial's processes may hold together, bytes or a text such as "512m"; with
            "processes" only.
        max_retries: How often a trial is evaluated again whose process was lost.
        storage: Where the study is kept while it runs, see :meth:`keep_in`.

    Raises:
        InvalidArgumentError, InvalidTypeError: If an argument is out of its rule.
        InvalidStorage: If there is something in ``storage`` that is no study.
    """

    asynchronous = False
    backend = "serial"
    max_retries = 0
    trial_timeout: float | None = None
    trial_memory: int | None = None
    _parallelism = 1
    _keeper: Keeper | None = None

    def __init__(
        self,
        exp_key: Any = None,
        refresh: bool = True,
        *,
        parallelism: int = 1,
        backend: str | None = None,
        trial_timeout: float | None = None,
        trial_memory: int | str | None = None,
        max_retries: int = 0,
        storage: Any = None,
    ) -> None:
        backend = _checked_backend(backend, parallelism)
        if backend != self.backend:
            self.backend, self._parallelism = backend, int(parallelism)
        self.trial_timeout = as_seconds(trial_timeout, "trial_timeout")
        self.trial_memory = as_memory(trial_memory, "trial_memory")
        self.max_retries = as_retries(max_retries)
        if backend == "serial" and self.trial_timeout is not None:
            raise InvalidArgumentError(
                "trial_timeout cannot be kept in the calling thread, which nothing else may stop: give "
                'backend="threads" or, to have trials killed, "processes"'
            )
        if backend != "processes" and self.trial_memory is not None:
            raise InvalidArgumentError(
                f'trial_memory is kept where each trial has a process of its own, got backend="{backend}": give '
                'backend="processes"'
            )
        self._ids: set[Any] = set()
        self._dynamic_trials: list[Document] = []
        self._exp_key = exp_key
        self.attachments: dict[str, Any] = {}
        if storage is not None:
            self.keep_in(storage)
        if refresh:
            self.refresh()

    @property
    def parallelism(self) -> int:
        """Trials at a time."""
        return self._parallelism

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep_in(self, storage: Any, *, trust: bool = False) -> None:
        """Keep this study in a storage from now on, and take up what is there.

        Each proposal and each result is written while ``fmin`` runs, before it goes on, so that the death of the driver
        loses nothing: the same program, started again, goes on where it was. Trials that were running are evaluated
        again, once. What the storage does not take, as its disk is full, is kept in memory and written later.

        Args:
            storage: A path of a file, or a URL: see ``docs/storage.md``.
            trust: Whether to open pickles in it, which can run code of whoever wrote them.

        Raises:
            InvalidStorage: If it has something that is no study, or other trials than these.
        """
        keeper = keeper_of(self, storage_at(storage), trust)
        keeper.take_up()
        self._end()
        self._keeper = keeper
        self._forget_index()
        self.refresh()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the study into a storage, whole, in place of what is there; it goes on being kept where it was.

        Raises:
            InvalidStorage: If it cannot be written, or there is something that is no study.
        """
        Keeper(self, storage_at(path)).save(self._past.begun, self._past.read)

    @classmethod
    def load(cls, storage: Any, *, trust: bool = False) -> Trials:
        """The trials of a study as they are in its storage now; they are not kept there any further.

        Args:
            storage: A path or URL, see :meth:`keep_in`.
            trust: Whether to open pickles in it, which can run code of whoever wrote them; otherwise they are
                :class:`~sparktune.storage.encoding.Pickled`.

        Raises:
            InvalidStorage: If there is no study.
        """
        place = storage_at(storage)
        trials = Trials()
        keeper = Keeper(trials, place, trust)
        keeper.take_up()
        if not keeper.has_study:
            raise no_study(place)
        trials._past = past = Past.of_storage(keeper)
        if past.space is not None and past.has_whole_spaces:  # else they stay as they are there
            trials._bring_into(past.space, level=logging.DEBUG)
        trials._forget_index()
        trials.refresh()
        return trials

    def _begin(self, domain: Domain, algo: Any, *, evaluates: bool = True) -> None:
        """Begin to run, or to be asked: over this space, and kept in the storage if there is one.

        Args:
            domain: The search space, and what is optimised.
            algo: Of :func:`~sparktune.run.algos.algo_description`.
            evaluates: Whether all that is open is evaluated now, see :meth:`Keeper.open`.

        Raises:
            InvalidArgumentError: If the trials that there are were run in another direction, or for other metrics.
        """
        space, goal = domain.space, domain.goal
        n_known = sys.maxsize
        if self._keeper is not None:
            n_known = len(self._dynamic_trials)
            self._keeper.open(evaluates=evaluates, runs=self._past.runs)
        self._past.require_goal(goal, self._dynamic_trials, self._keeper)
        misfits = self._bring_into(space, n_known=n_known)
        begun = Run(space, algo, goal.words, len(self._dynamic_trials))
        self._past = replace(self._past, begun=begun, goal=goal)
        if self._keeper is not None:
            self._keeper.note_run(begun)
        self._cancel_new(misfits)
        if self._keeper is not None:
            self._keeper.flush()  # a study that is only asked may wait for long, and others find it by its run
        self._forget_index()  # whatever the user edited since the last run is read again
        self.refresh()

    def _bring_into(self, space: Space, **kwargs: Any) -> list[Document]:
        """Have the documents in terms of a space; open ones that have no place there. See :meth:`Past.brought_into`."""
        self._past, misfits = self._past.brought_into(space, self._dynamic_trials, self._keeper, **kwargs)
        self._set_aside = set_aside(self._dynamic_trials)
        return misfits

    def _cancel_new(self, misfits: Sequence[Document]) -> None:
        """Cancel trials that have not begun, for they are no points of the space; those that others run may end."""
        new = [document for document in misfits if document["state"] == JOB_STATE_NEW]
        for document in new:
            documents.finish(document, Outcome())
            if self._keeper is not None:
                self._keeper.note_end(document)
        if new:
            tids = [document["tid"] for document in new]
            logger.warning("trials %s were open, and are no points of the present space: they are cancelled", tids)

    @property
    def _is_open(self) -> bool:
        """Whether this process holds the storage."""
        return self._keeper is not None and self._keeper.is_open

    def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.close()

    def new_trial_ids(self, n: int) -> list[Any]:
        """n ids that no trial has, those of other drivers of the study included."""
        if self._keeper is not None and (given := self._keeper.new_ids(n)) is not None:
            self._ids.update(given)
            return given
        return super().new_trial_ids(n)

    def delete_all(self) -> None:
        """Forget all trials and attachments."""
        if self._keeper is not None:
            self._keeper.note_clear()
        super().delete_all()
        self._past = replace(self._past, terms=Terms(self._past.terms.space))  # ids begin anew

    # -- running --------------------------------------------------------------------------------------------------

    def make_executor(self, domain: Domain) -> Executor | None:
        """What runs this study's evaluations; None if others do, who read and write the documents."""
        if self.asynchronous:
            return None
        if self.backend == "processes":
            cpus = max(1, _n_cores() // self.parallelism)
            return ProcessesExecutor(domain, self.parallelism, Limits(self.trial_timeout, self.trial_memory, cpus))
        if self.backend == "threads":
            return ThreadsExecutor(domain, self.parallelism, timeout=self.trial_timeout)
        return SerialExecutor(domain)

    def fmin(
        self,
        fn: Callable[..., Any],
        space: Any,
        algo: Any = None,
        max_evals: int | None = None,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        max_queue_len: int = 1,
        rstate: Any = None,
        verbose: bool = False,
        pass_expr_memo_ctrl: bool | None = None,
        catch_eval_exceptions: bool = False,
        return_argmin: bool = True,
        show_progressbar: bool | ProgressFactory | None = None,
        early_stop_fn: EarlyStop | None = None,
        trials_save_file: str | os.PathLike[str] = "",
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        callbacks: Iterable[Any] | None = None,
        direction: str | Sequence[str] = "minimize",
        metric: str | Sequence[str] | None = None,
        reproducible: bool | int = False,
        warm_start: Any = None,
    ) -> Any:
        """Minimise ``fn`` over ``space`` with this object's trials; arguments as for :func:`sparktune.fmin`."""
        if isinstance(space, str) and space == "annotated":
            fn, space = annotated_space(fn)
        goal = Goal.of(direction, metric)
        told = Callbacks(callbacks)
        validate_loss_threshold(loss_threshold)
        domain = Domain(fn, space, pass_expr_memo_ctrl=pass_expr_memo_ctrl, goal=goal)
        n_total = as_max_evals(max_evals)
        algo = auto.suggest if algo is None else require_algo(algo)
        if n_total > 1:
            domain.warn_if_constant()
        with self._alone():
            is_first = not self._is_open
            try:
                self._begin(domain, algo_description(algo))
                if warm_start is not None:
                    borrow(self, warm_start, domain)
                n_total += n_borrowed(self.own_documents())  # they are not trials of this study
                points = [] if points_to_evaluate is None else self._new_points(points_to_evaluate, domain)
                n_points = 0 if points_to_evaluate is None else len(points_to_evaluate)
                with self._executor(domain) as executor:
                    iterator = FMinIter(
                        algo,
                        domain,
                        self,
                        rstate=rstate,
                        max_queue_len=max_queue_len,
                        max_evals=min(sys.maxsize, n_total + n_points),  # in hyperopt they come on top
                        timeout=timeout,
                        loss_threshold=goal.loss(loss_threshold),
                        verbose=verbose,
                        show_progressbar=show_progressbar,
                        early_stop_fn=early_stop_fn,
                        trials_save_file=trials_save_file,
                        executor=executor,
                        max_retries=self.max_retries,
                        callbacks=told,
                        lagged=self._lagged(reproducible, executor),
                    )
                    self.insert_trial_docs(points)  # not before every argument has been checked
                    self.refresh()
                    iterator.catch_eval_exceptions = catch_eval_exceptions
                    self._exhaust(iterator)
            except BaseException:
                with told.quietly():  # what ended the run is what is raised
                    told.run_end(self)
                raise
            finally:
                if is_first:  # else a Study has it, and goes on
                    self._end()
            told.run_end(self)
            return self._answer(domain, return_argmin)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Within it, no other ``fmin`` runs with this object: each would start the other's trials."""
        token, key = object(), (os.getpid(), id(self))
        try:
            if _running.setdefault(key, token) is not token:  # one step, whatever threads do
                raise InvalidArgumentError(
                    f"one fmin at a time may run with a {type(self).__name__} object, and one is running with this "
                    "one (in another thread, or around this objective?): give each fmin an object of its own"
                )
            yield
        finally:
            if _running.get(key) is token:
                del _running[key]

    def _new_points(self, points: Sequence[Mapping[str, Any]], domain: Domain) -> list[Document]:
        """Documents of the points; a program that is started again finds those it had before in its storage."""
        left = points if self._keeper is None else points_left(points, domain, self)
        return point_documents(left, domain, self)

    def _lagged(self, reproducible: bool | int, executor: Executor | None) -> Lagged | None:
        lag = as_lag(reproducible, executor)
        if lag is not None and self._keeper is not None and self._keeper.is_shared:
            raise InvalidArgumentError(
                "reproducible needs a study of one driver, and several may write to a database: keep it in a file, "
                'storage="study.jsonl"'
            )
        if lag is None:
            return None
        seen = Trials(exp_key=self._exp_key)
        seen._set_aside = self._set_aside
        return Lagged(self, seen, lag)

    @contextlib.contextmanager
    def _executor(self, domain: Domain) -> Iterator[Executor | None]:
        executor = self.make_executor(domain)
        try:
            yield executor
        finally:
            if executor is not None:
                executor.shutdown(cancel=True)

    def _answer(self, domain: Domain, return_argmin: bool) -> Any:
        """What ``fmin`` returns."""
        if self._has_only_several_losses:
            front = self.pareto_front
            if return_argmin:
                if front:
                    self._require_point(front[0])  # points come before all others, and alone
                return [documents.raw_values(document) for document in front]
            return [domain.space.evaluate(documents.raw_values(document)) for document in front if is_point(document)]
        if not return_argmin and self._history.best_row is None:
            return None
        best = self.best_trial
        if return_argmin:
            self._require_point(best)
            return self.argmin  # which a subclass may have of its own
        return domain.space.evaluate(documents.raw_values(best)) if is_point(best) else None

    def _exhaust(self, iterator: FMinIter) -> None:
        """Run to the end; subclasses add what goes around it."""
        iterator.exhaust()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for key in ("_history", "_visible", "_n_seen", "_keeper", "_set_aside"):
            state.pop(key, None)
        state["_past"], state["_dynamic_trials"] = self._past.pickled(self._dynamic_trials)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        visible = state.pop("_trials", ())  # hyperopt keeps the list of visible documents; here it is computed
        known = {name: state.pop(key) for name, key in EARLIER_NAMES.items() if key in state}
        self.__dict__.update(state)
        if not isinstance(visible, Sequence):
            self._trials = visible  # another object, around which a subclass is made
        self._set_aside = set_aside(self._dynamic_trials)
        self._past = replace(self._past, **known).unpickled(self._dynamic_trials)
        self._forget_index()
        Trials.refresh(self)


def _n_cores() -> int:
    """Cores that this process may use: a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _checked_backend(backend: str | None, parallelism: Any) -> str:
    """The backend that the arguments stand for."""
    if not isinstance(parallelism, (int, np.integer)) or isinstance(parallelism, bool):
        raise InvalidTypeError(f"parallelism is a whole number of trials at a time, got {parallelism!r}")
    if parallelism < 1:
        raise InvalidArgumentError(
            f"parallelism is 1 or more trials at a time, got {parallelism}: write os.cpu_count() for one per core"
        )
    if backend is None:
        return "serial" if parallelism == 1 else "threads"
    if backend not in BACKENDS:
        raise InvalidArgumentError(f"backend is one of {', '.join(map(repr, BACKENDS))}, or None, got {backend!r}")
    if backend == "serial" and parallelism > 1:
        raise InvalidArgumentError(
            f'backend="serial" runs one trial at a time, got parallelism={parallelism}: give "threads" or "processes"'
        )
    return backend


def trials_from_docs(docs: Iterable[Document], validate: bool = True, **kwargs: Any) -> Trials:
    """A ``Trials`` that holds ``docs``.

    Args:
        docs: Documents.
        validate: Whether to check their shape.
        **kwargs: Passed to ``Trials``.

    Raises:
        InvalidTrial: If a document does not have the shape of one.
    """
    trials = Trials(**kwargs)
    if validate:
        trials.insert_trial_docs(docs)
    else:
        trials._insert_trial_docs(list(docs))
    trials.refresh()
    return trials
