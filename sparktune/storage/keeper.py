"""Keeps what happens to a ``Trials`` object in a storage, and takes up what is there."""

from __future__ import annotations

import logging
import reprlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sparktune.exceptions import InvalidStorage, InvalidTrial, SerializationError
from sparktune.history import documents, events
from sparktune.history.documents import Document
from sparktune.history.events import Event, Replica
from sparktune.history.trial import JOB_STATE_RUNNING, Failure, Outcome
from sparktune.space.compile import Space
from sparktune.storage.attached import AttachmentIndex
from sparktune.storage.encoding import decode, encode
from sparktune.storage.graphs import decode_space
from sparktune.storage.protocol import Storage
from sparktune.storage.runs import HasTerms, Run, in_terms_of_runs, run_event, runs_so_far

logger = logging.getLogger("sparktune")

#: Seconds between two attempts to write to a storage that does not take anything.
RETRY_INTERVAL = 1.0
#: How deep in a result a part is looked for that cannot be stored, and is left out.
DEEPEST_PART = 5


class Kept(Protocol):
    """What a keeper needs of a ``Trials`` object."""

    _dynamic_trials: list[Document]
    attachments: dict[str, Any]

    @property
    def _past(self) -> HasTerms:
        """What is known of the spaces of the trials."""

    @_past.setter
    def _past(self, past: Any) -> None: ...

    def aname(self, trial: Document, name: str) -> str:
        """The key of a trial's attachment."""

    def trial_attachments(self, trial: Document) -> Any:
        """The attachments of one trial."""


class Keeper:
    """Writes the events of a ``Trials`` object into a storage.

    While the storage takes nothing, a full disk for one, events wait in memory and are written once it does again.

    Attributes:
        storage: Where to.
        trust: Whether pickles in there are opened.
        runs: The events of the runs so far, as the storage has them.

    Args:
        trials: The object.
        storage: See above.
        trust: Whether to open pickles that are in there.
    """

    def __init__(self, trials: Kept, storage: Storage, trust: bool = False) -> None:
        self.storage = storage
        self._trials = trials
        self.trust = trust
        self._backlog: list[Event] = []
        self._n_kept = 0  # of the object's documents, which have been noted
        self._n_stored = 0  # those of them that had been when it was looked at last
        self._n_events = 0  # in the storage
        self._revision: object = None
        self._is_open = False
        self._evaluates = True
        self._failed_at: float | None = None
        self.runs: list[Event] = []
        self._attached = AttachmentIndex()

    # -- the beginning and the end of writing ------------------------------------------------------------------------

    def open(self, *, evaluates: bool = True, runs: Sequence[Event] = ()) -> None:
        """Begin to write: take up what the storage has, and write what it has not.

        Trials that were running when their driver died become new, once; a trial that is in that place the second time
        has failed.

        Args:
            evaluates: Whether this driver evaluates all that is open. If not, trials that a closed study has left open
                stay so, until somebody tells what came of them.
            runs: The object's own so far, which go into a storage that has none: they say what its values mean.

        Raises:
            InvalidStorage: If it cannot be written, or has other trials than the object.
        """
        if self._is_open:
            return
        self.storage.open()
        self._is_open, self._evaluates = True, evaluates
        try:
            self.take_up(self.runs or runs)  # of a study that was removed, all runs are known here
            if self.storage.is_worth_compacting(self._n_events, len(self.runs) + self._n_kept):
                self._compact()
            for document in self._trials._dynamic_trials[: self._n_stored]:
                if document["state"] == JOB_STATE_RUNNING and not self._stays_open(document):
                    self._renew(document)
            if not self.flush(at_once=True):
                raise InvalidStorage(f"storage {self.storage} takes nothing: see the warning above")
        except BaseException:
            self.close()
            raise

    def take_up(self, runs: Sequence[Event] = ()) -> None:
        """Have what the storage has in the object, if it was written by somebody else.

        Args:
            runs: Those of the object, for a storage that has nothing.

        Raises:
            InvalidStorage: If the object has trials that the storage has not, and the other way round.
        """
        self._read()
        self._n_stored = self._n_kept
        self._begin_with(runs)

    def _begin_with(self, runs: Sequence[Event]) -> None:
        """Have the runs of the object in a storage that has nothing, with its documents."""
        if runs and not self.runs and not self._n_kept:
            self.runs = list(runs)
            self._backlog = self._all_events(self.runs)
            self._n_kept = len(self._trials._dynamic_trials)

    def _read(self) -> None:
        revision = self.storage.revision
        if revision is not None and revision == self._revision:
            return
        stored = self.storage.read(self.trust)
        replica = self._replica(stored)
        mine = self._trials._dynamic_trials
        if replica.documents and any(document["tid"] not in replica.documents for document in mine):
            raise InvalidStorage(
                f"storage {self.storage} has a study of {len(replica.documents)} trials, and these Trials hold others: "
                "begin with empty Trials(storage=...), or name a new storage"
            )
        if replica.documents:
            self._take_late_ends(replica)
            mine[:] = replica.documents.values()
            self._trials._past = self._trials._past.without_terms()
            for document in mine:
                for name, attachment in replica.attachments.get(document["tid"], {}).items():
                    self._trials.trial_attachments(document)[name] = attachment
        self._n_kept = len(replica.documents)  # what it has not is new to it
        self.runs = replica.runs
        self._n_events = len(stored)
        self._revision = revision

    def _replica(self, stored: list[Event]) -> Replica:
        try:
            replica = Replica(stored)
            for document in replica.documents.values():
                documents.validate(document)
        except (KeyError, TypeError, AttributeError, InvalidTrial) as error:
            raise InvalidStorage(
                f"storage {self.storage} has lines that are whole, and make no study ({error!r}): it was not written "
                "by sparktune, or by a newer version"
            ) from error
        return replica

    def _take_late_ends(self, replica: Replica) -> None:
        """Of what waits to be written while another program went on, keep the results that this one had not."""
        late = [event for event in self._backlog if event["event"] == "end" and _is_open(replica, decode(event["tid"]))]
        if len(late) < len(self._backlog):
            logger.warning(
                "%d events of this process are left out of the study: another program has gone on with it in %s",
                len(self._backlog) - len(late),
                self.storage,
            )
        for event in late:
            replica.apply(decode(event, trust=True))  # of our own making
        self._backlog = late

    def _compact(self) -> None:
        """Write what is there anew, in fewer events; pickles as they are, for no object need become the same again."""
        replica = self._replica(self.storage.read())
        compact = list(replica.runs)
        for document in replica.documents.values():
            compact += _events_of(document, replica.attachments.get(document["tid"], {}))
        try:
            self.storage.replace([_encoded(event) for event in compact])
        except OSError as error:  # it takes room, too
            logger.warning("storage %s stays longer than it need be: %s", self.storage, error.strerror or error)
        self._n_events = len(compact)

    def close(self) -> None:
        """Write what waits, and let others write."""
        if not self._is_open:
            return
        try:
            if not self.flush(at_once=True):
                logger.error(
                    "%d events of the study could not be written to %s: they are in memory still; call "
                    "trials.save(path) with another path",
                    len(self._backlog),
                    self.storage,
                )
            self._revision = self.storage.revision
        except InvalidStorage as error:
            logger.error(
                "%d events of the study could not be written (%s): they are in memory still; call trials.save(path) "
                "with another path",
                len(self._backlog),
                error,
            )
        finally:
            self._is_open = False
            self.storage.close()

    @property
    def is_open(self) -> bool:
        """Whether this object writes."""
        return self._is_open

    # -- other drivers: of one writer there are none, see sparktune.storage.sharing ------------------------------------

    is_shared = False

    @property
    def slot(self) -> int:
        """A number that no other driver of the study has."""
        return 0

    def pull(self) -> list[Document]:
        """Take in what other drivers have done; the trials of dead ones that are for this one to evaluate now."""
        return []

    def has_ids(self, n: int) -> bool:
        """Whether :meth:`new_ids` gives n ids at once."""
        return True

    def new_ids(self, n: int) -> list[int] | None:
        """n trial ids that no driver has; None: any that the object has not."""
        return None

    # -- what happens -------------------------------------------------------------------------------------------------

    def note_run(self, run: Run) -> None:
        """A run begins; a stored study has the search space of its last one."""
        event = run_event(run, self.runs)
        if event is not None:
            self.runs.append(event)
            self._note(event)

    def space(self) -> Space | None:
        """The search space of the last run that noted one; None, with a warning, if it must not be read untrusted."""
        nodes = next((run["space"] for run in reversed(self.runs) if run.get("space")), None)
        try:
            return None if nodes is None else decode_space(nodes, self.trust)
        except InvalidStorage as error:
            logger.warning("storage %s gives no search space: %s", self.storage, error)
            return None

    @property
    def has_study(self) -> bool:
        """Whether there is something in the storage, as of the last look."""
        return bool(self.runs or self._trials._dynamic_trials)

    def save(self, begun: Run | None, runs: Sequence[Event] = ()) -> None:
        """Write all that the object has into the storage, in place of what is there.

        Args:
            begun: Its last run; None if there was none.
            runs: The ``run`` events of the storage that the object was read from.

        Raises:
            InvalidStorage: If it cannot be written, or has something that is no study.
        """
        own: Keeper | None = getattr(self._trials, "_keeper", None)
        if own is not None and own._is_open and str(own.storage) == str(self.storage):
            if not own.flush(at_once=True):  # it is written there already, and goes on to be
                raise InvalidStorage(f"storage {self.storage} takes nothing now: name another")
            return
        self.storage.open()
        try:
            self.storage.replace(self._all_events(runs_so_far(runs if own is None else own.runs, begun)))
        except OSError as error:
            raise InvalidStorage(f"storage {self.storage} cannot be written ({error}): name another") from error
        finally:
            self.storage.close()

    def note_left(self, document: Document) -> None:
        """A trial that is open stays so, though this study ends."""
        events.leave(document)
        self._note(events.left_event(document))

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
        self._n_events += len(self._backlog)
        self._backlog.clear()
        return True

    def _write(self) -> None:
        try:
            # That a trial has started may be lost with the machine: it is then taken for one that has not.
            self.storage.append(self._backlog, any(event["event"] != "start" for event in self._backlog))
        except FileNotFoundError:  # removed: write all there is to a new one
            self.storage.replace(self._all_events(self.runs))

    # -- events -------------------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        self.note_new()
        self._backlog.append(_encoded(event))

    def note_new(self) -> None:
        """Documents were inserted, by whomever, or all were deleted."""
        mine = self._trials._dynamic_trials
        if len(mine) < self._n_kept:
            self.note_clear()
        new = mine[self._n_kept :]  # objectives may insert some more meanwhile
        for document in new:
            attachments = self._attachments(document) if events.has_ended(document) else {}
            self._backlog.extend(map(_encoded, _events_of(document, attachments)))
        self._n_kept += len(new)

    def note_clear(self) -> None:
        """All documents were deleted."""
        self._backlog = [event for event in self._backlog if event["event"] == "run"]
        self._backlog.append({"event": "clear"})
        self._n_kept = self._n_stored = 0
        self.runs = events.after_clear(self.runs)

    def _stays_open(self, document: Document) -> bool:
        return not self._evaluates and events.is_left(document)

    def _renew(self, document: Document) -> None:
        if not events.n_renewed(document):
            self._note(events.again_event(document))
            events.renew(document)
            return
        message = "its driver died twice while it was running"
        documents.finish(document, Outcome(failure=Failure("driver lost", message)))
        self._note(events.end_event(document, self._attachments(document)))

    def _attachments(self, document: Document) -> Mapping[str, Any]:
        return self._attached.of(self._trials.attachments, self._trials.aname(document, ""))

    def _all_events(self, runs: Sequence[Event]) -> list[Event]:
        """The fewest events that lead to what the object has, encoded."""
        found, mine = list(runs), self._trials._dynamic_trials
        for document, written in zip(mine, in_terms_of_runs(mine, self._trials._past.terms, runs), strict=True):
            found += _events_of(written, self._attachments(document))
        return list(map(_encoded, found))


def _events_of(document: Document, attachments: Mapping[str, Any]) -> list[Event]:
    """The fewest events that lead to a document, and its attachments."""
    new = events.new_event(document)
    return [new, events.end_event(document, attachments)] if attachments else [new]


def _is_open(replica: Replica, tid: Any) -> bool:
    return tid in replica.documents and not events.has_ended(replica.documents[tid])


def _encoded(event: Event) -> Event:
    """An event in JSON's types; parts of a result that cannot be stored are left out, with a warning."""
    try:
        encoded: Event = encode(event)
        return encoded
    except SerializationError as error:
        logger.warning("a part of trial %s is left out of the storage: %s", event.get("tid", "?"), error)
        return {key: _without_odd(value) for key, value in event.items()}


def _without_odd(value: Any, depth: int = 0) -> Any:
    """What can be stored of a value, in JSON's types, and texts in place of the rest."""
    try:
        return encode(value)
    except SerializationError:
        if depth < DEEPEST_PART and isinstance(value, dict):
            return {"$dict": [[_without_odd(key, depth), _without_odd(v, depth + 1)] for key, v in value.items()]}
        if depth < DEEPEST_PART and isinstance(value, list):
            return [_without_odd(item, depth + 1) for item in value]
        return {"$lost": reprlib.repr(value)}
