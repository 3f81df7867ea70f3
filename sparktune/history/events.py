"""What happens to a study, as a row of events, and the documents that they lead to.

An event is a dictionary with its kind under ``event``:

=========  ============================================================================================
``run``    an ``fmin`` begins; what it was called with, see :func:`sparktune.storage.runs.run_event`
``new``    a trial was proposed or inserted; its document. A second one of the same id changes nothing
``start``  a trial began to run
``end``    a trial has ended: what its document became
``again``  a trial that was running when its driver died is to be evaluated once more
``left``   a trial was asked for, and stays open though its driver has ended: its result comes from elsewhere
``clear``  all trials were deleted
=========  ============================================================================================
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sparktune.history.documents import Document, utcnow
from sparktune.history.marks import SPACE_OF_RUN
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
)

Event: TypeAlias = dict[str, Any]

#: What an end changes in a document, besides its ``misc``.
ENDINGS = ("state", "result", "refresh_time", "book_time", "owner")
#: What it does not change in there.
GIVEN = frozenset(["tid", "cmd", "workdir", "idxs", "vals", "search", "seed"])


def new_event(document: Document) -> Event:
    """A trial was proposed or inserted."""
    return {"event": "new", "trial": document}


def start_event(document: Document) -> Event:
    """A trial began to run."""
    return {"event": "start", "tid": document["tid"], "at": document["book_time"], "owner": document["owner"]}


def end_event(document: Document, attachments: Mapping[str, Any]) -> Event:
    """A trial has ended.

    Args:
        document: Of the trial.
        attachments: The trial's, by name.
    """
    event: Event = {"event": "end", "tid": document["tid"], **{key: document[key] for key in ENDINGS}}
    event["misc"] = {key: value for key, value in document["misc"].items() if key not in GIVEN}
    if attachments:
        event["attachments"] = dict(attachments)
    return event


def again_event(document: Document) -> Event:
    """A trial that was running when its driver died is to be evaluated once more."""
    return {"event": "again", "tid": document["tid"], "at": utcnow()}


def left_event(document: Document) -> Event:
    """A trial stays open though its driver ends."""
    return {"event": "left", "tid": document["tid"]}


def run_of(runs: Sequence[Mapping[str, Any]], position: int) -> int:
    """The number of the run that a trial's place says: the last that began with no more than those before it; or -1."""
    began = [n for n, run in enumerate(runs) if run.get("space") and int(run.get("n_trials", 0)) <= position]
    return max(began, default=-1)


def after_clear(runs: Sequence[Event]) -> list[Event]:
    """What is left of runs when all trials are deleted: the last one, as if it had begun then."""
    return [{**run, "n_trials": 0} for run in runs[-1:]]


def in_space_of(document: Document, number: int, by_place: int) -> Document:
    """A document that says in which run's space its values are, where its place says another.

    Args:
        document: The document, which stays as it is.
        number: Of the run; -1 if there is none with that space.
        by_place: Of :func:`run_of`.
    """
    misc = {key: value for key, value in document["misc"].items() if key != SPACE_OF_RUN}
    if number != by_place:
        misc[SPACE_OF_RUN] = number
    return {**document, "misc": misc}


class Replica:
    """The documents that events lead to.

    Attributes:
        documents: By trial id, in the order in which they came.
        attachments: By trial id and name.
        runs: The ``run`` events.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.documents: dict[Any, Document] = {}
        self.attachments: dict[Any, dict[str, Any]] = {}
        self.runs: list[Event] = []
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> Document | None:
        """Take in one event; the document that it changed, None if there is none. An unknown kind changes nothing."""
        kind = event["event"]
        if kind == "new":
            document: Document = event["trial"]
            # What became of a trial is not undone by a line that is there twice, as after an edit by hand.
            return self.documents.setdefault(document["tid"], document)
        if kind == "clear":
            self.documents.clear()
            self.attachments.clear()
            self.runs[:] = after_clear(self.runs)
        if kind == "run":
            self.runs.append(event)
        if "tid" not in event or (document := self.documents.get(event["tid"], {})) == {}:
            return None
        if kind == "start":
            document.update(state=JOB_STATE_RUNNING, book_time=event["at"], refresh_time=event["at"])
            document["owner"] = event["owner"]
        elif kind == "end":
            document.update({key: event[key] for key in ENDINGS})
            document["misc"].update(event["misc"])
            if "attachments" in event:
                self.attachments[event["tid"]] = event["attachments"]
        elif kind == "again":
            renew(document)
        elif kind == "left":
            leave(document)
        return document


def renew(document: Document) -> None:
    """Make a trial new again that was running when its driver died, and note that in it."""
    attempt = {"start": _seconds(document["book_time"]), "error": "the driver died while the trial was running"}
    run = document["misc"].setdefault("run", {})
    run.setdefault("attempts", []).append(attempt)
    run["n_renewed"] = n_renewed(document) + 1
    run.pop("left_open", None)
    document.update(state=JOB_STATE_NEW, book_time=None, refresh_time=None, owner=None)


def _seconds(moment: Any) -> float | None:
    """A time of a document as seconds since 1970, as executors note theirs."""
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp() if isinstance(moment, datetime.datetime) else None


def n_renewed(document: Document) -> int:
    """How many times a trial was made new again as its driver had died."""
    return int((document["misc"].get("run") or {}).get("n_renewed", 0))


def leave(document: Document) -> None:
    """Note that a trial stays open though its driver ends."""
    document["misc"].setdefault("run", {})["left_open"] = True


def is_left(document: Document) -> bool:
    """Whether a trial stayed open when the study that it was asked of was closed: it is not to be evaluated again."""
    return bool((document["misc"].get("run") or {}).get("left_open"))


def has_ended(document: Document) -> bool:
    """Whether a trial is done, has failed, or was cancelled."""
    return document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_CANCEL)
