"""The documents of a study, as programs written for hyperopt handle them, with an index over them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

from sparktune.exceptions import InvalidArgumentError, InvalidTrial, InvalidTypeError
from sparktune.history import documents
from sparktune.history.attachments import TrialAttachments
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_STATES, JOB_VALID_STATES

C = TypeVar("C", bound="Collection")


class Collection:
    """Documents that are read, inserted, counted and pickled; a part of :class:`sparktune.Trials`.

    Documents are plain dictionaries and the source of truth; the columns that algorithms read are an index over them,
    brought up to date by :meth:`refresh`.
    """

    _dynamic_trials: list[Document]
    _set_aside: Mapping[Any, Document] = MappingProxyType({})  # what a search sees in the place of some documents

    # There even in subclasses whose constructors do not call this class's.
    _exp_key: Any = None
    _n_seen = 0
    _visible: list[Document] | None = None
    _wrapped: Any = None  # what a subclass has under the name _trials, if that is no list

    @functools.cached_property
    def _ids(self) -> set[Any]:
        return set()

    @functools.cached_property
    def attachments(self) -> dict[str, Any]:
        """Large objects beside the documents, see :meth:`trial_attachments`."""
        return {}

    @property
    def _history(self) -> History:
        index: History | None = self.__dict__.get("_history")
        if index is None:
            self._history = index = History(())
        if self._wrapped is not None:  # a refresh is the other object's, of which this one is not told
            index.sync(self._learned_from())
        return index

    @_history.setter
    def _history(self, index: History) -> None:
        self.__dict__["_history"] = index

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

    def own_documents(self) -> list[Document]:
        """The documents with this object's ``exp_key``, all if it has none, as they are now; not to be changed."""
        if self._exp_key is None:
            return self._dynamic_trials
        return [document for document in self._dynamic_trials if document["exp_key"] == self._exp_key]

    def _learned_from(self) -> list[Document]:
        """The documents as the columns have them: without those that are outside of the present space."""
        own = self.own_documents()
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
    def _trials(self) -> list[Document]:
        if self._wrapped is not None:
            return self._wrapped  # type: ignore[no-any-return]
        if self._visible is None:
            self._visible = [
                document
                for document in self._dynamic_trials[: self._n_seen]
                if document["state"] in JOB_VALID_STATES and self._exp_key in (None, document["exp_key"])
            ]
        return self._visible

    @_trials.setter
    def _trials(self, documents_seen: list[Document]) -> None:
        if not isinstance(documents_seen, Sequence):  # another Trials object, around which a subclass is made
            self._wrapped = documents_seen
            return
        self._wrapped = None
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
        self,
        tids: Sequence[Any],
        specs: Sequence[Any],
        results: Sequence[Any] | Mapping[str, Any],
        miscs: Sequence[Document],
    ) -> list[Document]:
        """New documents, not inserted; ``results`` may be one for all, as ``Domain.new_result`` gives it."""
        if isinstance(results, Mapping):
            results = [dict(results) for _ in tids]
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

    def view(self: C, exp_key: Any = None, refresh: bool = True) -> C:
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
        """How many trials are in a state, or in one of several, as of the last :meth:`refresh`.

        Raises:
            InvalidTypeError, InvalidArgumentError: If ``arg`` is no state, and no states.
        """
        states = _states(arg)
        return sum(document["state"] in states for document in (self._trials if trials is None else trials))

    def count_by_state_unsynced(self, arg: int | Iterable[int]) -> int:
        """How many trials are in a state, or in one of several, now.

        Raises:
            InvalidTypeError, InvalidArgumentError: If ``arg`` is no state, and no states.
        """
        return self.count_by_state_synced(arg, self.own_documents())


def _states(arg: Any) -> set[Any]:
    """The states that are meant by one state or several."""
    text = f"a state is one of {JOB_STATES}, got {arg!r}: write JOB_STATE_DONE, or [JOB_STATE_NEW, JOB_STATE_RUNNING]"
    is_number = isinstance(arg, Real)  # numpy's too
    try:
        states = {arg} if is_number else set(arg)
    except TypeError:
        raise InvalidTypeError(text) from None
    if not states.issubset(JOB_STATES):
        raise InvalidTypeError(text) if is_number else InvalidArgumentError(text)  # of a number as in hyperopt
    return states
