"""``Trials``: the documents of a study, and the run that fills them."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune import auto
from sparktune.exceptions import (
    AllTrialsFailed,
    InvalidArgumentError,
    InvalidStorage,
    InvalidTrial,
    InvalidTypeError,
    MissingPackageError,
    SparktuneError,
)
from sparktune.exchange import export
from sparktune.exchange.marks import is_borrowed, is_point, n_borrowed, set_aside
from sparktune.exchange.source import spaces_of_runs
from sparktune.exchange.warm_start import adapt, borrow
from sparktune.history import documents
from sparktune.history.attachments import TrialAttachments
from sparktune.history.columns import OK, FloatArray, History
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_VALID_STATES, STATUS_OK
from sparktune.kernels import pareto
from sparktune.run.arguments import (
    algo_description,
    as_lag,
    as_max_evals,
    as_memory,
    as_reference,
    as_retries,
    as_seconds,
    require_algo,
)
from sparktune.run.callbacks import Callbacks
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor, SerialExecutor
from sparktune.run.goal import Goal
from sparktune.run.loop import FMinIter
from sparktune.run.points import point_documents
from sparktune.run.processes import ProcessesExecutor
from sparktune.run.progress import ProgressFactory
from sparktune.run.reproducible import Lagged
from sparktune.run.stopping import EarlyStop, validate_loss_threshold
from sparktune.run.threads import ThreadsExecutor
from sparktune.search.explanation import Explanation, explain
from sparktune.search.importances import importances
from sparktune.space.choices import named_values, native, value_nodes
from sparktune.space.compile import Space
from sparktune.space.nodes import is_number
from sparktune.storage.keeper import Keeper
from sparktune.storage.places import storage_at
from sparktune.storage.sharing import keeper_of
from sparktune.worker.evaluator import Limits

#: The beginning of the message when there is nothing to return; programs look for this text.
NOTHING_TO_RETURN = "There are no evaluation tasks, cannot return argmin of task losses."

#: Where trials may run on this machine.
BACKENDS = ("serial", "threads", "processes")


class SeveralLossesError(SparktuneError, ValueError):
    """One best trial was asked for where trials have several losses, and none of them stands for all."""

    def __init__(self) -> None:
        super().__init__(
            "the trials have several losses and no scalar one, so that none is the best: take trials.pareto_front, or "
            "return a 'loss' beside the 'losses'"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class Trials:
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
    _space: Space | None = None  # that of the last fmin in this process
    _keeper: Keeper | None = None
    _set_aside: Mapping[Any, Document] = MappingProxyType({})  # what a search sees in the place of some documents

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

    # -- the index over the documents -----------------------------------------------------------------------------

    # There even in subclasses whose constructors do not call this class's.
    _n_seen = 0
    _visible: list[Document] | None = None

    @functools.cached_property
    def _history(self) -> History:
        return History(())

    def _forget_index(self) -> None:
        self._history = History(())
        self._n_seen = 0
        self._visible = None

    def refresh(self) -> None:
        """Take in documents that were added or changed since the last call."""
        self._sync()
        self._visible = None

    def _sync(self) -> None:
        own = self._learned_from()
        if len(self._dynamic_trials) < self._n_seen:
            self._n_seen = 0
        self._ids.update(document["tid"] for document in self._dynamic_trials[self._n_seen :])
        self._n_seen = len(self._dynamic_trials)
        self._history.sync(own)

    def _own_documents(self) -> list[Document]:
        if self._exp_key is None:
            return self._dynamic_trials
        return [document for document in self._dynamic_trials if document["exp_key"] == self._exp_key]

    def _learned_from(self) -> list[Document]:
        """The documents as the columns have them: without those that are outside of the present space."""
        own = self._own_documents()
        return [self._set_aside.get(document["tid"], document) for document in own] if self._set_aside else own

    def history(self, labels: Sequence[str]) -> History:
        """The columns of this study for these labels, up to date with the last :meth:`refresh`.

        Args:
            labels: Labels of the space, in its order.
        """
        if self._history.labels != tuple(labels):
            self._history = History(labels)
            self._history.sync(self._learned_from()[: self._n_seen])
        return self._history

    @property
    def n_finished(self) -> int:
        """How many trials have ended with a loss or failed; cancelled ones do not count."""
        return self._history.n_finished

    @property
    def best_loss(self) -> float | None:
        """The lowest loss so far among the trials that meet the constraints, or None."""
        row = self._history.best_row
        if row is not None and is_borrowed(self._history.documents[row]):
            return self._best_own_loss
        return None if row is None or self._history.violations[row] > 0 else float(self._history.losses[row])

    @property
    def _best_own_loss(self) -> float | None:
        """``best_loss`` where a trial of another study has a lower one."""
        rows = self._own_rows(np.flatnonzero((self._history.kinds == OK) & (self._history.violations <= 0)))
        losses = self._history.losses[rows]
        return float(np.nanmin(losses)) if not np.isnan(losses).all() else None

    def _own_rows(self, rows: Iterable[int]) -> NDArray[np.intp]:
        """Those of some rows of the history that are not of another study."""
        found = self._history.documents
        return np.array([row for row in rows if not is_borrowed(found[row])], dtype=np.intp)

    @property
    def _front_rows(self) -> NDArray[np.intp]:
        """The rows of the Pareto front, without trials of another study."""
        history = self._history
        rows = history.front_rows
        if len(own := self._own_rows(rows)) == len(rows):
            return own
        own = self._own_rows(np.flatnonzero((history.kinds == OK) & (history.violations <= 0)))
        return np.asarray(own[pareto.front(history.objectives[own])])

    @property
    def _trials(self) -> list[Document]:
        if self._visible is None:
            self._visible = [
                document
                for document in self._dynamic_trials[: self._n_seen]
                if document["state"] in JOB_VALID_STATES and self._exp_key in (None, document["exp_key"])
            ]
        return self._visible

    @_trials.setter
    def _trials(self, documents_seen: list[Document]) -> None:
        # Subclasses written for hyperopt set the list in a refresh of their own: the columns must follow.
        self._sync()
        self._visible = documents_seen

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def best_params(self) -> Any:
        """What the objective was called with at the best trial: options and not indices, in Python's own types.

        Raises:
            AllTrialsFailed: If no trial has a loss.
            SeveralLossesError: If the trials have several losses and no scalar one.
            InvalidArgumentError: If these trials have run no ``fmin`` since they were made or loaded.
        """
        raw = self.argmin
        if self._space is None:
            raise InvalidArgumentError(
                "best_params needs the search space, and this Trials object has run no fmin since it was made or "
                "loaded: call sparktune.space_eval(space, trials.argmin)"
            )
        return native(self._space.evaluate(raw))

    def to_records(self, space: Any = None) -> list[dict[str, Any]]:
        """A flat dictionary for each trial, failed and cancelled ones too, in Python's own types.

        Args:
            space: The search space; None: that of this object's last ``fmin``. It turns the indices of choices into
                options. If no space is known, they stay what documents have.

        Returns:
            ``tid``, ``state`` (a name), ``status``, ``loss`` (with several ``loss_0``, ``loss_1``), ``start`` and
            ``end`` (UTC), ``duration`` (seconds), ``error``; a number of the result under its own name, as far as it is
            free; and the value of each active parameter as ``params_<label>``.
        """
        known = self._space if space is None else self._known_space(space, "to_records(space)")
        nodes = {} if known is None else value_nodes(known)
        records = []
        for document in self._own_documents():
            record = documents.summary(document)
            for key, value in document["result"].items():
                if is_number(value) or isinstance(value, (bool, str)):
                    record.setdefault(str(key), native(value))
            raw = documents.raw_values(document)
            values = {label: native(value) for label, value in raw.items()}
            if known is not None:
                values.update(named_values(known, raw, nodes))
            record.update({f"params_{label}": value for label, value in values.items()})
            records.append(record)
        return records

    def to_dataframe(self, space: Any = None) -> Any:
        """The rows of :meth:`to_records` as a pandas data frame, ``tid`` as its index.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError(
                "to_dataframe needs pandas, which is not installed: pip install pandas, or take trials.to_records()"
            ) from error
        records = self.to_records(space)
        return pandas.DataFrame(records).set_index("tid") if records else pandas.DataFrame()

    def to_csv(self, path: str | os.PathLike[str], space: Any = None) -> None:
        """Write a row for each trial into a CSV file, which ``warm_start=`` can read.

        Args:
            path: Of the file, which is overwritten.
            space: The search space; None: that of this object's last ``fmin``. Choices are written as options if one
                is known, else as their numbers. Columns: :func:`sparktune.exchange.export.table_of`.
        """
        export.to_csv(self._own_documents(), self._space_or_none(space), path)

    def to_parquet(self, path: str | os.PathLike[str], space: Any = None) -> None:
        """Write a row for each trial into a Parquet file, see :meth:`to_csv`.

        Raises:
            MissingPackageError: If pandas or pyarrow is not installed.
        """
        export.to_parquet(self._own_documents(), self._space_or_none(space), path)

    def to_spark(self, session: Any, space: Any = None) -> Any:
        """A Spark data frame with a row for each trial and columns of fixed types, see :meth:`to_csv`.

        Args:
            session: A Spark session, classic or Connect.
            space: The search space; None: that of this object's last ``fmin``.
        """
        return export.to_spark(self._own_documents(), self._space_or_none(space), session)

    def _space_or_none(self, space: Any) -> Space | None:
        return self._space if space is None else self._known_space(space, "")

    @property
    def trials(self) -> list[Document]:
        """The documents of trials that are new, running or done."""
        return self._trials

    @property
    def tids(self) -> list[Any]:
        """Trial ids."""
        return [document["tid"] for document in self._trials]

    @property
    def specs(self) -> list[Any]:
        """The documents' ``spec``."""
        return [document["spec"] for document in self._trials]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results, one dictionary per trial."""
        return [document["result"] for document in self._trials]

    @property
    def miscs(self) -> list[Document]:
        """The documents' ``misc``."""
        return [document["misc"] for document in self._trials]

    @property
    def idxs_vals(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Trial ids by label, and values by label."""
        return documents.miscs_to_idxs_vals(self.miscs)

    @property
    def idxs(self) -> dict[str, list[Any]]:
        """Trial ids by label: those in which it was active."""
        return self.idxs_vals[0]

    @property
    def vals(self) -> dict[str, list[Any]]:
        """Values by label, in the order of ``idxs``."""
        return self.idxs_vals[1]

    def losses(self, bandit: Any = None) -> list[Any]:
        """The loss of each trial; None where there is none. ``bandit`` may bring its own ``loss(result, spec)``."""
        if bandit is None:
            return [result.get("loss") for result in self.results]
        return [bandit.loss(result, spec) for result, spec in zip(self.results, self.specs, strict=True)]

    def statuses(self, bandit: Any = None) -> list[Any]:
        """The status of each trial."""
        if bandit is None:
            return [result.get("status") for result in self.results]
        return [bandit.status(result, spec) for result, spec in zip(self.results, self.specs, strict=True)]

    @property
    def best_trial(self) -> Document:
        """The document with the lowest loss, the first of equals, among those that meet the constraints.

        If none does, the one that violates them least. Trials of a warm start are not among them: another objective
        may have given their losses.

        Raises:
            AllTrialsFailed: If no trial has a loss; the message shows the first failure.
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        candidates = self._candidates()
        if not candidates:
            raise AllTrialsFailed(self._nothing_to_return())
        return min(candidates, key=lambda candidate: candidate[:2])[2]

    @property
    def best_feasible(self) -> Document | None:
        """The document with the lowest loss, the first of equals, among those that meet all constraints; None if none.

        Raises:
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        candidates = [candidate for candidate in self._candidates() if candidate[0] <= 0]
        return min(candidates, key=lambda candidate: candidate[1])[2] if candidates else None

    def _candidates(self) -> list[tuple[float, float, Document]]:
        """Violation, loss and document of each trial that has a loss."""
        n_constraints = self._history.n_constraints
        candidates = [
            (documents.violation_of(document, n_constraints), loss, document)
            for document in self._trials
            if (loss := documents.loss_of(document)) == loss and not is_borrowed(document)
        ]
        # Trials of another space that are no points of this one are the best only if there are no others.
        candidates = [candidate for candidate in candidates if is_point(candidate[2])] or candidates
        if not candidates and self._has_only_several_losses:
            raise SeveralLossesError
        return candidates

    @property
    def _has_only_several_losses(self) -> bool:
        return self._history.n_objectives > 1 and self._history.best_row is None

    @property
    def argmin(self) -> dict[str, Any]:
        """The values of the best trial by label: ``hp.choice`` as an index, inactive labels left out.

        Raises:
            AllTrialsFailed: If no trial has a loss.
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        return documents.raw_values(self.best_trial)

    # -- several losses -------------------------------------------------------------------------------------------

    @property
    def n_objectives(self) -> int:
        """How many losses each trial has; 1 as long as none has any."""
        return self._history.n_objectives

    @property
    def pareto_front(self) -> list[Document]:
        """Documents of the trials that meet the constraints and that no other such trial dominates, by the first loss.

        A trial dominates another if none of its losses is higher and one is lower. Of trials with the same losses the
        first one is listed. With one loss, the list has the best trial; it is empty if no trial meets the constraints.
        """
        self._history.check_all()
        return [self._history.documents[row] for row in self._front_rows]

    @property
    def front_losses(self) -> FloatArray:
        """Losses of the Pareto front, shape (number of trials in it, number of losses), as of the last refresh."""
        return self._history.objectives[self._front_rows]

    def hypervolume(self, reference: Sequence[float] | FloatArray | None = None) -> float:
        """The volume between the Pareto front and a reference point: the larger, the better the front.

        Args:
            reference: One number per loss; trials that are not below all of them add nothing. None: the highest finite
                value that each loss has had in this study, in trials that violate constraints too. That point moves as
                trials come in: to compare studies, or times, give one.

        Returns:
            The volume, in the product of the losses' units; 0.0 if no trial has a result or meets the constraints.

        Raises:
            InvalidArgumentError: If ``reference`` has another length than the losses, or is not finite.
            InvalidTypeError: If ``reference`` is no list of numbers.
        """
        self._history.check_all()
        objectives = self._history.objectives[self._history.kinds == OK]
        if reference is None:
            point = np.max(objectives, axis=0, initial=-np.inf, where=np.isfinite(objectives))
        else:
            point = as_reference(reference, objectives.shape[1] if len(objectives) else None)
        return pareto.hypervolume(self.front_losses, point) if len(objectives) else 0.0

    # -- hyperopt's estimate --------------------------------------------------------------------------------------

    def average_best_error(self, bandit: Any = None) -> float:
        """The true loss of the best trial; over trials whose loss has a variance, weighted by the chance to be best."""
        if self._has_only_several_losses:
            raise SeveralLossesError
        done = [r for r, s in zip(self.results, self.statuses(bandit), strict=True) if s == STATUS_OK]
        read = bandit if bandit is not None else Domain(lambda _: 0.0, {})
        rows = [(float(read.loss(r)), float(read.loss_variance(r) or 0.0), float(read.true_loss(r))) for r in done]
        rows = [row for row in rows if np.isfinite(row).all()]
        if not rows:
            raise AllTrialsFailed(self._nothing_to_return())
        losses, variances, true_losses = np.asarray(rows).T
        if np.all(variances == 0):
            return float(true_losses[np.argmin(losses)])
        # The chance that each of the trials that could be best is the best one, by sampling.
        rng = np.random.default_rng(123)
        draws = rng.normal(losses, np.sqrt(variances), size=(1000, len(losses)))
        weights = np.bincount(np.argmin(draws, axis=1), minlength=len(losses)) / 1000.0
        return float(weights @ true_losses)

    def _nothing_to_return(self) -> str:
        reasons = [text for document in self._own_documents() if (text := documents.failure_text(document))]
        if not reasons:
            n = len(self._dynamic_trials) - n_borrowed(self._dynamic_trials)
            return f"{NOTHING_TO_RETURN} " + (
                "No trial was run: give max_evals >= 1." if not n else f"None of the {n} trials has finished."
            )
        return f"{NOTHING_TO_RETURN} {len(reasons)} trials ended without a loss; the first one:\n{reasons[0]}"

    def logs(self, tid: Any) -> str:
        """What trial ``tid`` printed and logged, the last 8 KiB of it, then its traceback if its objective raised.

        Raises:
            InvalidArgumentError: If there is no such trial.
        """
        for document in self._own_documents():
            if document["tid"] == tid:
                return documents.log_text(document)
        raise InvalidArgumentError(f"logs takes the id of a trial of these, got {tid!r}: see trials.tids")

    def importances(
        self, space: Any = None, *, top: float = 0.1, baseline: float = 1.0, objective: int = 0
    ) -> dict[str, float]:
        """How much each parameter mattered for being among the best trials, the most important first.

        Shares of one by label; see :func:`sparktune.search.importances.importances` for the method and other arguments.

        Args:
            space: The search space; None: that of this object's last ``fmin``, which a pickle does not keep.

        Raises:
            InvalidArgumentError: If no space is known, an argument is out of its rule, or too few trials have a loss.
        """
        known = self._known_space(space, "importances(space)")
        return importances(known, self.history(known.labels), top=top, baseline=baseline, objective=objective)

    def explain(self, tid: Any, space: Any = None) -> Explanation:
        """Why trial ``tid`` was proposed: what its algorithm had seen, and what that said of the point.

        ``print`` it for a summary in words.

        Args:
            tid: The trial's id.
            space: The search space; None: that of this object's last ``fmin``, which a pickle does not keep.

        Raises:
            InvalidArgumentError: If no space is known, there is no such trial, or its proposal was not recorded.
        """
        return explain(self._known_space(space, f"explain({tid!r}, space)"), self._own_documents(), tid)

    def _known_space(self, space: Any, call: str) -> Space:
        known = self._space if space is None else space if isinstance(space, Space) else Space(space)
        if known is None:
            raise InvalidArgumentError(
                f"{call.partition('(')[0]} needs the search space, and this Trials object has run no fmin since it was "
                f"made or loaded: call trials.{call}"
            )
        return known

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._trials)

    def __getitem__(self, item: Any) -> Any:
        raise NotImplementedError("a Trials object has no items: index .trials, which is a list of documents")

    # -- attachments ----------------------------------------------------------------------------------------------

    def aname(self, trial: Document, name: str) -> str:
        """The key under which a trial's attachment is kept in ``attachments``."""
        return f"ATTACH::{trial['tid']}::{name}"

    def trial_attachments(self, trial: Document) -> TrialAttachments:
        """The attachments of one trial, by name."""
        return TrialAttachments(self, trial)

    # -- writing --------------------------------------------------------------------------------------------------

    def assert_valid_trial(self, trial: Document) -> Document:
        """``trial`` itself, if it is a valid document of this study.

        Raises:
            InvalidTrial: If it is not.
        """
        documents.validate(trial)
        if trial["exp_key"] != self._exp_key:
            raise InvalidTrial(
                f"a document's exp_key must be that of its Trials, {self._exp_key!r}, got {trial['exp_key']!r}",
                trial,
            )
        return trial

    def insert_trial_doc(self, doc: Document) -> Any:
        """Insert one document, to be seen after :meth:`refresh`; returns its id."""
        return self._insert_trial_docs([self.assert_valid_trial(doc)])[0]

    def insert_trial_docs(self, docs: Iterable[Document]) -> list[Any]:
        """Insert documents, to be seen after :meth:`refresh`; returns their ids."""
        return self._insert_trial_docs([self.assert_valid_trial(doc) for doc in docs])

    def _insert_trial_docs(self, docs: list[Document]) -> list[Any]:
        self._dynamic_trials.extend(docs)
        tids = [document["tid"] for document in docs]
        self._ids.update(tids)
        return tids

    def new_trial_ids(self, n: int) -> list[Any]:
        """n ids that no trial has, those of other drivers of the study included."""
        if self._keeper is not None and (given := self._keeper.new_ids(n)) is not None:
            self._ids.update(given)
            return given
        ids: list[Any] = []
        candidate = len(self._ids)
        while len(ids) < n:
            if candidate not in self._ids:
                ids.append(candidate)
            candidate += 1
        self._ids.update(ids)
        return ids

    def new_trial_docs(
        self, tids: Sequence[Any], specs: Sequence[Any], results: Sequence[Any], miscs: Sequence[Document]
    ) -> list[Document]:
        """New documents, not inserted."""
        rows = zip(tids, specs, results, miscs, strict=True)
        return [documents.new_document(*row, self._exp_key) for row in rows]

    def source_trial_docs(
        self,
        tids: Sequence[Any],
        specs: Sequence[Any],
        results: Sequence[Any],
        miscs: Sequence[Document],
        sources: Sequence[Document],
    ) -> list[Document]:
        """New documents, not inserted, that came from the trials ``sources``: times and owner are theirs."""
        new = self.new_trial_docs(tids, specs, results, miscs)
        for document, source in zip(new, sources, strict=True):
            document["misc"].setdefault("from_tid", source["tid"])
            for key in ("owner", "book_time", "refresh_time"):
                document[key] = source[key]
        return new

    def delete_all(self) -> None:
        """Forget all trials and attachments."""
        if self._keeper is not None:
            self._keeper.note_clear()
        self._dynamic_trials = []
        self._ids = set()
        self.attachments = {}
        self._forget_index()
        self.refresh()

    def view(self, exp_key: Any = None, refresh: bool = True) -> Trials:
        """The documents with another ``exp_key``, shared with this object."""
        other = object.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other._exp_key = exp_key
        other._forget_index()
        if refresh:
            other.refresh()
        return other

    # -- counting -------------------------------------------------------------------------------------------------

    def count_by_state_synced(self, arg: int | Iterable[int], trials: Iterable[Document] | None = None) -> int:
        """How many trials are in a state, or in one of several, as of the last :meth:`refresh`."""
        states = {arg} if isinstance(arg, int) else set(arg)
        return sum(document["state"] in states for document in (self._trials if trials is None else trials))

    def count_by_state_unsynced(self, arg: int | Iterable[int]) -> int:
        """How many trials are in a state, or in one of several, now."""
        return self.count_by_state_synced(arg, self._own_documents())

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
        Keeper(self, storage_at(path)).save(self._space)

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
            raise InvalidStorage(f"storage {place} has no study: name the file or URL that it was kept in")
        trials._space = keeper.space()
        trials._forget_index()
        trials.refresh()
        return trials

    def _begin(self, space: Space, algo: Any) -> None:
        """Begin to run, or to be asked: over this space, and kept in the storage if there is one.

        Args:
            space: The search space.
            algo: Of :func:`~sparktune.run.arguments.algo_description`.
        """
        if self._keeper is not None:
            self._keeper.open()
        adapt(self._dynamic_trials, space, self._spaces_so_far())
        self._set_aside = set_aside(self._dynamic_trials)
        self._space = space
        if self._keeper is not None:
            self._keeper.note_run(space, algo)
        self._forget_index()  # whatever the user edited since the last run is read again
        self.refresh()

    def _spaces_so_far(self) -> Callable[[int], Space | None]:
        """Gives the space in which a trial was made, or brought into, by its position; None where nobody knows."""
        before = self._space
        if before is None and self._keeper is not None:
            return spaces_of_runs(self._keeper._runs)
        return lambda _: before

    def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.close()

    # -- running --------------------------------------------------------------------------------------------------

    def make_executor(self, domain: Domain) -> Executor | None:
        """What runs this study's evaluations; None if others do, who read and write the documents."""
        if self.asynchronous:
            return None
        if self.backend == "processes":
            cpus = max(1, (os.cpu_count() or 1) // self.parallelism)
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
            from sparktune.space.annotated import annotated_space

            fn, space = annotated_space(fn)
        goal = Goal.of(direction, metric)
        told = Callbacks(callbacks)
        validate_loss_threshold(loss_threshold)
        domain = Domain(fn, space, pass_expr_memo_ctrl=pass_expr_memo_ctrl, goal=goal)
        n_total = as_max_evals(max_evals)
        algo = auto.suggest if algo is None else require_algo(algo)
        try:
            self._begin(domain.space, algo_description(algo))
            if warm_start is not None:
                borrow(self, warm_start, domain)
            n_total += n_borrowed(self._own_documents())  # they are not trials of this study
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
            self._end()
        told.run_end(self)
        return self._answer(domain, return_argmin)

    def _new_points(self, points: Sequence[Mapping[str, Any]], domain: Domain) -> list[Document]:
        """Documents of the points; a program that is started again finds those it had before in its storage."""
        new = point_documents(points, domain, self)
        if self._keeper is None:
            return new
        known = [documents.raw_values(document) for document in self._own_documents()]
        return [document for document in new if documents.raw_values(document) not in known]

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
        if self._history.n_ok and self._has_only_several_losses:
            points = [documents.raw_values(document) for document in self.pareto_front]
            return points if return_argmin else [domain.space.evaluate(point) for point in points]
        if return_argmin:
            return self.argmin
        return domain.space.evaluate(self.argmin) if self._history.best_row is not None else None

    def _exhaust(self, iterator: FMinIter) -> None:
        """Run to the end; subclasses add what goes around it."""
        iterator.exhaust()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for key in ("_history", "_visible", "_n_seen", "_space", "_keeper", "_set_aside"):
            state.pop(key, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        state.pop("_trials", None)  # hyperopt keeps the list of visible documents; here it is computed
        self.__dict__.update(state)
        self._forget_index()
        Trials.refresh(self)


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
