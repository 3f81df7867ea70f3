"""``Trials``: the documents of a study, and the run that fills them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sparktune import tpe
from sparktune.exceptions import AllTrialsFailed, InvalidTrial
from sparktune.history import documents
from sparktune.history.attachments import TrialAttachments
from sparktune.history.columns import OK, History
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_VALID_STATES, STATUS_OK
from sparktune.run.arguments import as_max_evals, require_algo
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor, SerialExecutor
from sparktune.run.loop import FMinIter
from sparktune.run.points import point_documents
from sparktune.run.progress import ProgressFactory
from sparktune.run.stopping import EarlyStop

#: The beginning of the message when there is nothing to return; programs look for this text.
NOTHING_TO_RETURN = "There are no evaluation tasks, cannot return argmin of task losses."


class Trials:
    """The trial documents of a study.

    Documents are plain dictionaries and the source of truth: read them, pickle them, edit them, insert your own, and
    call :meth:`refresh`. ``trials`` lists those that are new, running or done; failed and cancelled ones stay in
    ``_dynamic_trials``, under which name programs know them.

    Args:
        exp_key: If given, only documents with this ``exp_key`` are seen.
        refresh: Whether to call :meth:`refresh` at once.
    """

    asynchronous = False

    def __init__(self, exp_key: Any = None, refresh: bool = True) -> None:
        self._ids: set[Any] = set()
        self._dynamic_trials: list[Document] = []
        self._exp_key = exp_key
        self.attachments: dict[str, Any] = {}
        self._forget_index()
        if refresh:
            self.refresh()

    # -- the index over the documents -----------------------------------------------------------------------------

    def _forget_index(self) -> None:
        self._history = History(())
        self._n_seen = 0
        self._visible: list[Document] | None = None

    def refresh(self) -> None:
        """Take in documents that were added or changed since the last call."""
        self._sync()
        self._visible = None

    def _sync(self) -> None:
        own = self._own_documents()
        if len(self._dynamic_trials) < self._n_seen:
            self._n_seen = 0
        self._ids.update(document["tid"] for document in self._dynamic_trials[self._n_seen :])
        self._n_seen = len(self._dynamic_trials)
        self._history.sync(own)

    def _own_documents(self) -> list[Document]:
        if self._exp_key is None:
            return self._dynamic_trials
        return [document for document in self._dynamic_trials if document["exp_key"] == self._exp_key]

    def history(self, labels: Sequence[str]) -> History:
        """The columns of this study for these labels, up to date with the last :meth:`refresh`.

        Args:
            labels: Labels of the space, in its order.
        """
        if self._history.labels != tuple(labels):
            self._history = History(labels)
            self._history.sync(self._own_documents()[: self._n_seen])
        return self._history

    @property
    def n_finished(self) -> int:
        """How many trials have ended with a loss or failed; cancelled ones do not count."""
        return self._history.n_finished

    @property
    def best_loss(self) -> float | None:
        """The lowest loss so far, or None."""
        losses = self._history.losses[self._history.kinds == OK]
        return float(losses.min()) if losses.size else None

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
        """The document with the lowest loss, the first of equals.

        Raises:
            AllTrialsFailed: If no trial has a loss; the message shows the first failure.
        """
        candidates = [(loss, document) for document in self._trials if (loss := documents.loss_of(document)) == loss]
        if not candidates:
            raise AllTrialsFailed(self._nothing_to_return())
        return min(candidates, key=lambda candidate: candidate[0])[1]

    @property
    def argmin(self) -> dict[str, Any]:
        """The values of the best trial by label: ``hp.choice`` as an index, inactive labels left out.

        Raises:
            AllTrialsFailed: If no trial has a loss.
        """
        return documents.raw_values(self.best_trial)

    def average_best_error(self, bandit: Any = None) -> float:
        """The true loss of the best trial; over trials whose loss has a variance, weighted by the chance to be best."""
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
            n = len(self._dynamic_trials)
            return f"{NOTHING_TO_RETURN} " + (
                "No trial was run: give max_evals >= 1." if not n else f"None of the {n} trials has finished."
            )
        return f"{NOTHING_TO_RETURN} {len(reasons)} trials ended without a loss; the first one:\n{reasons[0]}"

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
        """n ids that no trial has."""
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

    # -- running --------------------------------------------------------------------------------------------------

    def make_executor(self, domain: Domain) -> Executor | None:
        """What runs this study's evaluations; None if others do, who read and write the documents."""
        return None if self.asynchronous else SerialExecutor(domain)

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
        show_progressbar: bool | ProgressFactory = True,
        early_stop_fn: EarlyStop | None = None,
        trials_save_file: str | os.PathLike[str] = "",
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    ) -> Any:
        """Minimise ``fn`` over ``space`` with this object's trials; arguments as for :func:`sparktune.fmin`."""
        domain = Domain(fn, space, pass_expr_memo_ctrl=pass_expr_memo_ctrl)
        n_total = as_max_evals(max_evals)
        self._forget_index()  # whatever the user edited since the last run is read again
        self.refresh()
        points = [] if points_to_evaluate is None else point_documents(points_to_evaluate, domain, self)
        executor = self.make_executor(domain)
        try:
            iterator = FMinIter(
                tpe.suggest if algo is None else require_algo(algo),
                domain,
                self,
                rstate=rstate,
                max_queue_len=max_queue_len,
                max_evals=min(sys.maxsize, n_total + len(points)),  # in hyperopt they come on top
                timeout=timeout,
                loss_threshold=loss_threshold,
                verbose=verbose,
                show_progressbar=show_progressbar,
                early_stop_fn=early_stop_fn,
                trials_save_file=trials_save_file,
                executor=executor,
            )
            self.insert_trial_docs(points)  # not before every argument has been checked
            self.refresh()
            iterator.catch_eval_exceptions = catch_eval_exceptions
            self._exhaust(iterator)
        finally:
            if executor is not None:
                executor.shutdown(cancel=True)
        if return_argmin:
            return self.argmin
        return domain.space.evaluate(self.argmin) if self.best_loss is not None else None

    def _exhaust(self, iterator: FMinIter) -> None:
        """Run to the end; subclasses add what goes around it."""
        iterator.exhaust()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for key in ("_history", "_visible", "_n_seen"):
            state.pop(key, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        state.pop("_trials", None)  # hyperopt keeps the list of visible documents; here it is computed
        self.__dict__.update(state)
        self._forget_index()
        Trials.refresh(self)


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
