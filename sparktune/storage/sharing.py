"""Keeping a study that several drivers work on at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import cast

from sparktune.history import events
from sparktune.history.documents import Document
from sparktune.history.events import Event, Replica, after_clear
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING
from sparktune.storage import keeper
from sparktune.storage.keeper import Keeper, Kept
from sparktune.storage.protocol import SharedStorage, Storage

logger = logging.getLogger("sparktune")

#: Seconds to wait for a storage to give ids for new trials before the run ends with an error.
PATIENCE = 600.0


def keeper_of(trials: Kept, storage: Storage, trust: bool = False) -> Keeper:
    """The keeper for that kind of storage; arguments as for :class:`~sparktune.storage.keeper.Keeper`."""
    return (SharedKeeper if hasattr(storage, "news") else Keeper)(trials, storage, trust)


class SharedKeeper(Keeper):
    """A keeper of a study that other drivers write, too, and whose results are taken in.

    A trial is evaluated by the driver that proposed it. What others have to evaluate, new trials too, counts as running
    in this object's documents. Of a driver that is dead the storage gives each trial to one other, which evaluates it.
    """

    is_shared = True

    def __init__(self, trials: Kept, storage: Storage, trust: bool = False) -> None:
        super().__init__(trials, storage, trust)
        self._shared = cast(SharedStorage, storage)
        self._known = Replica()  # has the very documents of the object
        self._n_known = 0
        self._has_read = False
        self._adopted: set[int] = set()
        self._ids: list[int] = []  # for the next trials, which no other driver has
        self._away_since: float | None = None

    @property
    def slot(self) -> int:
        """A number that no other living driver has."""
        return self._shared.slot

    def take_up(self, runs: Sequence[Event] = ()) -> None:
        """Have what the storage has in the object; what others have to evaluate counts as running.

        Args:
            runs: Those of the object, for a storage that has nothing.

        Raises:
            InvalidStorage: If the object has trials that the storage has not, and the other way round.
        """
        if self._is_open and self._shared.is_anew:
            self._forget()
        if not self._has_read:
            self._read()
            self._has_read = True
        self._n_stored = self._n_kept
        self._begin_with(runs)
        self._know()
        if self._is_open:
            for document in self._trials._dynamic_trials[: self._n_stored]:
                _leave_to_others(document)
            self._take_news()

    def _forget(self) -> None:
        """The storage has nothing more of what it had: all that the object has is new to it."""
        self._backlog.clear()
        self.runs, self._n_kept = [], 0
        self._known, self._n_known = Replica(), 0
        self._ids.clear()

    def pull(self) -> list[Document]:
        """Take in what other drivers have done; the trials of dead ones that are for this one to evaluate now."""
        if not self._is_open:
            return []
        try:
            return self._take_news()
        except OSError as error:  # as flush says; it is asked again before the next proposal
            logger.debug("storage %s says nothing of other drivers now: %s", self.storage, error)
            return []

    def has_ids(self, n: int) -> bool:
        """Whether :meth:`new_ids` gives n ids at once; asks the storage for those that are missing.

        Raises:
            OSError: If it has given none for ten minutes.
        """
        try:
            while self._is_open and len(self._ids) < n:
                self._ids += self._ids_of_storage(n - len(self._ids))
                self._away_since = None
        except OSError as error:
            self._note_away(error)
            return False
        return True

    def _ids_of_storage(self, n: int) -> list[int]:
        try:
            return self._shared.new_ids(n)
        except FileNotFoundError:  # removed: what it gave before, it would give again
            self._ids.clear()
            self._shared.replace(self._all_events(self.runs))
            return []

    def _note_away(self, error: OSError) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            text = "storage %s gives no ids for new trials (%s): none are proposed until it does"
            logger.warning(text, self.storage, error.strerror or error)
        elif now - self._away_since > PATIENCE:
            why = f"{error.strerror or error}: see that it can be reached, and start the program again"
            text = f"storage {self.storage} has given no ids for new trials for {PATIENCE:g} s: {why}"
            raise OSError(error.errno, text) from error

    def new_ids(self, n: int) -> list[int] | None:
        """n trial ids that no driver has; None before :meth:`open`. Waits for a storage that gives none.

        Raises:
            OSError: If it has given none for ten minutes.
        """
        while not self.has_ids(n):
            time.sleep(keeper.RETRY_INTERVAL)
        if not self._is_open:
            return None
        given, self._ids = self._ids[:n], self._ids[n:]
        return given

    def note_new(self) -> None:
        """Documents were inserted, by whomever, or all were deleted."""
        super().note_new()
        self._know()

    def note_clear(self) -> None:
        """All documents were deleted."""
        super().note_clear()
        self._known, self._n_known = Replica(), 0
        self._ids.clear()

    def _know(self) -> None:
        for document in self._trials._dynamic_trials[self._n_known : self._n_kept]:
            self._known.documents[document["tid"]] = document
        self._n_known = self._n_kept

    def _renew(self, document: Document) -> None:
        """Nothing: that a trial runs is no sign that its driver is dead; see :meth:`_take_news`."""

    def _take_news(self) -> list[Document]:
        self._adopted.update(self._shared.adopt())  # first, so that all that the dead have written is in the news
        news = self._shared.news(self.trust)
        self.note_new()
        for event in news:
            self._take(event)
        # Not those that were deleted here, of which the storage does not know yet.
        mine = [self._known.documents[tid] for tid in sorted(self._adopted) if tid in self._known.documents]
        self._adopted.clear()
        for document in mine:
            if document["book_time"] is None and not events.has_ended(document):
                document["state"] = JOB_STATE_NEW
            elif document["state"] == JOB_STATE_RUNNING and not self._stays_open(document):
                super()._renew(document)
        return [document for document in mine if document["state"] == JOB_STATE_NEW]

    def _take(self, event: Event) -> None:
        if event["event"] == "run":
            self.runs.append(event)
        if event["event"] == "clear":
            self.runs = after_clear(self.runs)
        if event["event"] == "new":
            if event["trial"]["tid"] in self._known.documents:  # inserted here and there with an id of the user's
                return
            self._trials._dynamic_trials.append(event["trial"])
            self._n_kept += 1
            self._n_known += 1
        document = self._known.apply(event)
        if document is None:
            return
        _leave_to_others(document)
        for name, attachment in self._known.attachments.pop(document["tid"], {}).items():
            self._trials.trial_attachments(document)[name] = attachment


def _leave_to_others(document: Document) -> None:
    """Have a new trial of another driver count as running; that it has no ``book_time`` tells it from one that does."""
    if document["state"] == JOB_STATE_NEW:
        document["state"] = JOB_STATE_RUNNING
