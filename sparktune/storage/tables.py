"""The tables of a study in a database, and what their rows have."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

import sqlalchemy as sa

from sparktune._version import __version__
from sparktune.exceptions import InvalidStorage
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import Event, has_ended
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING
from sparktune.storage.encoding import decode
from sparktune.storage.lines import FORMAT

METADATA = sa.MetaData()
STUDIES = sa.Table(
    "studies",
    METADATA,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("sparktune", sa.Text, nullable=False),
    sa.Column("made", sa.String(32), nullable=False),  # tells a study from a later one of the same name
    sa.Column("sequence", sa.BigInteger, nullable=False),  # of the last event
    sa.Column("next_number", sa.BigInteger, nullable=False),  # that no trial has
)
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("number", sa.BigInteger),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("writer", sa.String(32), nullable=False),
    sa.Column("at", sa.DateTime, nullable=False),
)
TRIALS = sa.Table(
    "trials",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("loss", sa.Double),
    sa.Column("params", sa.JSON),
    sa.Column("started", sa.DateTime),
    sa.Column("ended", sa.DateTime),
    sa.Column("error", sa.Text),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("writer", sa.String(32), nullable=False),  # who is to evaluate it
    sa.Index("trials_by_state", "study", "state"),
)
WRITERS = sa.Table(
    "writers",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("slot", sa.Integer, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("machine", sa.Text),
    sa.Column("born", sa.Text),
    sa.Column("seen", sa.Double, nullable=False),  # seconds since 1970, by the clock of the database
    sa.Column("ended", sa.Double),
)
#: States of trials that somebody has to evaluate.
UNFINISHED = ("new", "running")


def _key(table: sa.Table, *columns: str) -> list[sa.ColumnElement[bool]]:
    """That a row is the one that the parameters ``of_<column>`` say."""
    return [table.c[name] == sa.bindparam(f"of_{name}") for name in columns]


# What each trial needs, made once: to make a statement takes longer than to have SQLite run it.
STUDY = sa.select(STUDIES).where(*_key(STUDIES, "name"))
LOCKED_STUDY = STUDY.with_for_update()
UPDATE_STUDY = STUDIES.update().where(*_key(STUDIES, "name"))
INSERT_EVENTS = EVENTS.insert()
NEWS = (
    sa.select(EVENTS.c.sequence, EVENTS.c.kind, EVENTS.c.body)
    .where(*_key(EVENTS, "study"), EVENTS.c.sequence > sa.bindparam("seen"), EVENTS.c.writer != sa.bindparam("reader"))
    .order_by(EVENTS.c.sequence)
)
DOCUMENTS = sa.select(TRIALS.c.number, TRIALS.c.document).where(
    *_key(TRIALS, "study"), TRIALS.c.number.in_(sa.bindparam("numbers", expanding=True))
)
INSERT_TRIALS = TRIALS.insert()
UPDATE_TRIALS = TRIALS.update().where(*_key(TRIALS, "study", "number"))


def have_been_made(db: sa.Connection, where: str) -> bool:
    """Whether our tables are there.

    Raises:
        InvalidStorage: If tables of these names are somebody else's; ``where`` names the database.
    """
    inspector = sa.inspect(db)
    existing = METADATA.tables.keys() & set(inspector.get_table_names())
    for name in existing:
        if not {column["name"] for column in inspector.get_columns(name)} >= set(METADATA.tables[name].c.keys()):
            raise InvalidStorage(
                f"{where} has a table {name!r} that is not sparktune's, and is left alone: name another database "
                "(Optuna has tables of the same names)"
            )
    return len(existing) == len(METADATA.tables)


def study_row(db: sa.Connection, study: str, where: str, *, lock: bool = False) -> Any:
    """The row of a study, None if there is none.

    Args:
        db: A transaction.
        study: Its name.
        where: The database, for messages.
        lock: Whether nobody else may change it before the end of the transaction.

    Raises:
        InvalidStorage: If it is a study of a newer version.
    """
    row = db.execute(LOCKED_STUDY if lock else STUDY, {"of_name": study}).one_or_none()
    if row is not None and row.format > FORMAT:
        raise InvalidStorage(
            f"{where} has format {row.format}, written by sparktune {row.sparktune}, and this version "
            f"({__version__}) reads up to format {FORMAT}: upgrade sparktune"
        )
    return row


def make(db: sa.Connection, study: str, where: str) -> str | None:
    """Make tables and study where they are missing; what the study is told by from others of its name, if it was made.

    Arguments and errors as for :func:`study_row`.
    """
    if db.dialect.name == "postgresql":  # two that make the same table at once would fail
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(0x5BA2)))
    if not have_been_made(db, where):
        METADATA.create_all(db)
    if study_row(db, study, where) is not None:
        return None
    for table in (EVENTS, TRIALS, WRITERS):  # what a deleted one has left
        db.execute(table.delete().where(table.c.study == study))
    row = {"name": study, "format": FORMAT, "sparktune": __version__, "made": (made := uuid.uuid4().hex)}
    db.execute(STUDIES.insert(), {**row, "sequence": 0, "next_number": 0})
    return made


def number_of(event: Event) -> int | None:
    """The id of an event's trial."""
    if event["event"] == "clear" or ("trial" not in event and "tid" not in event):
        return None
    tid = event["trial"]["tid"] if "trial" in event else event["tid"]
    if not isinstance(tid, int) or isinstance(tid, bool) or not 0 <= tid < 2**63:
        raise InvalidStorage(
            f"a database numbers trials with whole numbers from 0, got a trial with the id {tid!r}: take ids from "
            "trials.new_trial_ids, or keep the study in a file"
        )
    return tid


def fits(event: Event, document: Document | None, is_inserted: bool) -> bool:
    """Whether an event can happen to a trial that is in this state in the database.

    Args:
        event: In JSON's types.
        document: Of its trial, as the database has it; None if it has none.
        is_inserted: Whether it has come just now: one that had ended before brings its attachments with an end.

    Raises:
        InvalidStorage: If it is a new trial, and the database has another one of its number.
    """
    kind = event["event"]
    if kind == "new" and document is not None:
        if json.dumps(document["misc"]["vals"]) != json.dumps(event["trial"]["misc"]["vals"]):
            raise InvalidStorage(
                f"another driver has begun a trial with the id {document['tid']}: take ids from trials.new_trial_ids"
            )
        return False
    if kind not in ("start", "end", "again", "left"):
        return True
    if document is None:
        return False
    if kind == "end":
        return is_inserted or not has_ended(document)
    return bool(document["state"] == (JOB_STATE_NEW if kind == "start" else JOB_STATE_RUNNING))


def trial_row(document: Document) -> dict[str, Any]:
    """The row of a trial, but for what it is found by; ``document`` is in JSON's types."""
    decoded = decode(document)
    read = documents.summary(decoded)
    return {
        "state": read["state"],
        "loss": read["loss"],
        "params": {str(label): value for label, value in documents.raw_values(decoded).items() if _is_plain(value)},
        "started": read["start"],
        "ended": read["end"],
        "error": _storable(read["error"]) if read["error"] else None,
        "document": json.dumps(document, separators=(",", ":")),
    }


def _storable(text: str) -> str:
    """A text without what no database takes: null characters, and the halves by which Python names odd files."""
    return text.replace("\0", "").encode(errors="backslashreplace").decode()


def _is_plain(value: Any) -> bool:
    """Whether JSON, as databases read it, has a word for a value."""
    return isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
