"""Keeps what happens to a ``Trials`` object in a storage, and takes up what is there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from sparktune.exceptions import InvalidStorage, SerializationError
from sparktune.history import documents, events
from sparktune.history.documents import Document
from sparktune.history.events import Event, Replica
from sparktune.history.trial import JOB_STATE_RUNNING, Failure, Outcome
from sparktune.space.compile import Space
from sparktune.storage.encoding import encode
from sparktune.storage.graphs import decode_space, encode_space
from sparktune.storage.protocol import Storage

logger = logging.getLogger("sparktune")

#: Seconds between two attempts to write to a storage that does not take anything.
RETRY_INTERVAL = 1.0


class Kept(Protocol):
    """What a keeper needs of a ``Trials`` object."""

    _dynamic_trials: list[Document]
    attachments: dict[str, Any]

    def trial_attachments(self, trial: Document) -> Any:
        """The attachments of one trial."""


class Keeper:
    """Writes the events of a ``Trials`` object into a storage.

    While the storage takes nothing, a full disk for one, events wait in memory and are written once it does again.

    Args:
        trials: The object.
        storage: Where to.
        trust: Whether to open pickles that are in there.
    """

    def __init__(self, trials: Kept, storage: Storage, trust: bool = False) -> None:
        self.storage = storage
        self._trials = trials
        self._trust = trust
        self._backlog: list[Event] = []
        self._n_kept = 0
        self._revision: object = None
        self._is_open = False
        self._failed_at: float | None = None
        self._runs: list[Event] = []

    # -- the beginning and the end of writing ------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to write: take up what the storage has, and write what it has not.

        Trials that were running when their driver died become new, once; a trial that is in that place the second time
        has failed.

        Raises:
            InvalidStorage: If it cannot be written, or has other trials than the object.
        """
        if self._is_open:
            return
        self.storage.open()
        self._is_open = True
        try:
            self.take_up()
            for document in self._trials._dynamic_trials[: self._n_kept]:
                if document["state"] == JOB_STATE_RUNNING:
                    self._renew(document)
            if not self.flush():
                raise InvalidStorage(f"storage {self.storage} takes nothing: see the warning above")
        except BaseException:
            self.close()
            raise

    def take_up(self) -> None:
        """Have what the storage has in the object, if it was written by somebody else.

        Raises:
            InvalidStorage: If the object has trials that the storage has not, and the other way round.
        """
        if self.storage.revision == self._revision:
            return
        stored = self.storage.read(self._trust)
        replica = Replica(stored)
        mine = self._trials._dynamic_trials
        if replica.documents and any(document["tid"] not in replica.documents for document in mine):
            raise InvalidStorage(
                f"storage {self.storage} has a study of {len(replica.documents)} trials, and these Trials hold others: "
                "begin with empty Trials(storage=...), or name a new storage"
            )
        if replica.documents:
            mine[:] = replica.documents.values()
            self._n_kept = len(mine)
            for document in mine:
                for name, attachment in replica.attachments.get(document["tid"], {}).items():
                    self._trials.trial_attachments(document)[name] = attachment
            if self._is_open and self.storage.is_worth_compacting(len(stored), len(replica.runs) + len(mine)):
                self.storage.replace([_encoded(event) for event in self._all_events(replica.runs)])
        self._runs = replica.runs
        self._revision = self.storage.revision

    def close(self) -> None:
        """Write what waits, and let others write."""
        if not self._is_open:
            return
        if not self.flush(at_once=True):
            logger.error(
                "%d events of the study could not be written to %s: they are in memory still; call trials.save(path) "
                "with another path",
                len(self._backlog),
                self.storage,
            )
        self._revision = self.storage.revision
        self.storage.close()
        self._is_open = False

    # -- what happens -------------------------------------------------------------------------------------------------

    def note_run(self, space: Space, **arguments: Any) -> None:
        """A run begins.

        Args:
            space: Its search space; a stored study has that of its last run.
            **arguments: What else it was called with.
        """
        try:
            nodes = encode_space(space)
        except SerializationError as error:
            logger.warning("the search space is left out of the storage: %s", error)
            nodes = None
        event = {"event": "run", "at": documents.utcnow(), "space": nodes, **arguments}
        if not self._runs or {**self._runs[-1], "at": None} != {**event, "at": None}:
            self._runs.append(event)
            self._note(event)

    def space(self) -> Space | None:
        """The search space of the last run that noted one."""
        nodes = next((run["space"] for run in reversed(self._runs) if run.get("space")), None)
        return None if nodes is None else decode_space(nodes, self._trust)

    @property
    def has_study(self) -> bool:
        """Whether there is something in the storage, as of the last look."""
        return bool(self._runs or self._trials._dynamic_trials)

    def save(self, space: Space | None) -> None:
        """Write all that the object has into the storage, in place of what is there.

        Raises:
            InvalidStorage: If it cannot be written, or has something that is no study.
        """
        self.storage.open()
        try:
            runs = [] if space is None else [{"event": "run", "at": documents.utcnow(), "space": encode_space(space)}]
            self.storage.replace([_encoded(event) for event in self._all_events(runs)])
        except OSError as error:
            raise InvalidStorage(f"storage {self.storage} cannot be written ({error}): name another") from error
        finally:
            self.storage.close()

    def note_start(self, document: Document) -> None:
        """A trial has begun to run."""
        self._note(events.start_event(document))

    def note_end(self, document: Document) -> None:
        """A trial has ended."""
        self._note(events.end_event(document, self._attachments(document)))

    def flush(self, *, at_once: bool = False) -> bool:
        """Have everything in the storage that has happened; whether it is there, which it is not before :meth:`open`.

        Args:
            at_once: Whether to try even if it has failed a moment ago.
        """
        self.note_new()
        if not self._backlog or not self._is_open:
            return not self._backlog
        if self._failed_at is not None and not at_once and time.monotonic() - self._failed_at < RETRY_INTERVAL:
            return False
        try:
            self._write()
        except OSError as error:
            if self._failed_at is None:
                logger.warning(
                    "storage %s takes nothing (%s): results are kept in memory, and written as soon as it does again",
                    self.storage,
                    error.strerror or error,
                )
            self._failed_at = time.monotonic()
            return False
        if self._failed_at is not None:
            logger.warning("storage %s takes events again: %d are written", self.storage, len(self._backlog))
            self._failed_at = None
        self._backlog.clear()
        return True

    def _write(self) -> None:
        try:
            # That a trial has started may be lost with the machine: it is then taken for one that has not.
            self.storage.append(self._backlog, any(event["event"] != "start" for event in self._backlog))
        except FileNotFoundError:  # removed: write all there is to a new one
            self.storage.replace([_encoded(event) for event in self._all_events(self._runs)])

    # -- events -------------------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        self.note_new()
        self._backlog.append(_encoded(event))

    def note_new(self) -> None:
        """Documents were inserted, by whomever, or all were deleted."""
        mine = self._trials._dynamic_trials
        if len(mine) < self._n_kept:
            self._backlog.append({"event": "clear"})
            self._n_kept = 0
        for document in mine[self._n_kept :]:
            self._backlog.append(_encoded(events.new_event(document)))
        self._n_kept = len(mine)

    def _renew(self, document: Document) -> None:
        if not events.n_renewed(document):
            self._note(events.again_event(document))
            events.renew(document)
            return
        message = "its driver died twice while it was running"
        documents.finish(document, Outcome(failure=Failure("driver lost", message)))
        self._note(events.end_event(document, self._attachments(document)))

    def _attachments(self, document: Document) -> Mapping[str, Any]:
        attachments = self._trials.trial_attachments(document)
        return {name: attachments[name] for name in attachments}

    def _all_events(self, runs: Any) -> list[Event]:
        """The fewest events that lead to what the object has."""
        found: list[Event] = list(runs)
        for document in self._trials._dynamic_trials:
            found.append(events.new_event(document))
            if attachments := self._attachments(document):
                found.append(events.end_event(document, attachments))
        return found


def _encoded(event: Event) -> Event:
    """An event in JSON's types; parts of a result that cannot be stored are left out, with a warning."""
    try:
        encoded: Event = encode(event)
        return encoded
    except SerializationError as error:
        logger.warning("a part of trial %s is left out of the storage: %s", event.get("tid", "?"), error)
        return {key: _without_odd(value) for key, value in event.items()}


def _without_odd(value: Any) -> Any:
    try:
        return encode(value)
    except SerializationError:
        if isinstance(value, dict):
            return {encode(key): _without_odd(item) for key, item in value.items()}
        return {"$lost": repr(value)[:200]}
