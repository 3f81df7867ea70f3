"""A study in a database: its events in order, a row per trial for people to query, and who is at work on it.

Any number of drivers write one study. Whoever writes holds the row of the study locked (SQLite: the file), so that the
numbers of events have no gaps and none appears after a later one. An event that does not fit the state that its trial
has in the database is left out: of two results for one trial the first counts, and writing the same twice does nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import uuid
import weakref
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sparktune.exceptions import InvalidArgumentError, InvalidStorage, MissingPackageError
from sparktune.history import documents
from sparktune.history.events import Event, Replica
from sparktune.storage.encoding import decode

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
except ImportError as error:
    raise MissingPackageError(
        "a study in a database needs SQLAlchemy, which is not installed: pip install 'sparktune[sql]'"
    ) from error

from sparktune.storage import tables
from sparktune.storage.engine import connectable, is_passing, of_read_only_file, parsed
from sparktune.storage.presence import Presence
from sparktune.storage.writers import clock, living, register

#: Seconds between two signs of life of a driver.
HEARTBEAT = 10.0
#: Heartbeats that a driver may miss before it counts as dead, and others evaluate its trials.
MISSED = 6
#: Rows written or asked for by one statement, at most.
CHUNK = 500


class Database:
    """The events of a study in a database, SQLite or PostgreSQL, which several drivers may write at once.

    One object is for one driver: use it with one ``Trials`` object.

    Args:
        url: As SQLAlchemy has it: ``sqlite:///study.db``, ``postgresql+psycopg://user@host/database``. ``?study=name``
            says which study of the database; without it, "default".
        heartbeat: Seconds between two signs of life; > 0. A driver that has missed six is taken for dead. Give all
            drivers of a study the same.

    Attributes:
        slot: A number that no other living driver of the study has: the lowest that was free on opening.
        is_anew: Whether the study had been removed that was read or written before, and opening has made a new one.

    Raises:
        InvalidStorage: If the URL is none, or of another database.
        MissingPackageError: If the driver of the database is not installed.
    """

    def __init__(self, url: str, heartbeat: float = HEARTBEAT) -> None:
        if not heartbeat > 0:
            raise InvalidArgumentError(f"heartbeat is a number of seconds above 0, got {heartbeat!r}")
        self.url, self.study = parsed(url)
        self.slot = 0
        self.is_anew = False
        self.heartbeat = heartbeat
        self._file = Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None
        self._engine: sa.Engine = connectable(self.url)
        self._presence: Presence | None = None
        self._made = ""  # the study that we write
        self._inode: int | None = None
        self._seen = 0  # events up to this one are known here
        self._has_orphans = True

    def __str__(self) -> str:
        return f"{self.url.render_as_string(hide_password=True)} (study {self.study!r})"

    @property
    def revision(self) -> object:
        """The number of the last event; None if the database cannot be asked."""
        try:
            with self._complaining(), self._looking() as (_, row):
                return (row.made, row.sequence) if row else 0
        except InvalidStorage:
            return None

    # -- the beginning and the end -----------------------------------------------------------------------------------

    def read(self, trust: bool = False) -> list[Event]:
        """All events; empty if there is no study yet. Changes nothing.

        Args:
            trust: Whether to open pickles.

        Raises:
            InvalidStorage: If the database cannot be read, or has something that is no study, or one of a newer
                version.
        """
        with self._complaining(), self._looking() as (db, row):
            if row is None:
                return []
            bodies = db.scalars(
                sa.select(tables.EVENTS.c.body).where(self._of(tables.EVENTS)).order_by(tables.EVENTS.c.sequence)
            )
            events = [_decoded(body, trust) for body in bodies]
            self._made, self._seen = row.made, row.sequence
            return events

    def open(self) -> None:
        """Begin to write: makes tables and study where there are none, and says that this driver is at work.

        Raises:
            InvalidStorage: If that cannot be done.
        """
        if self._presence is not None:
            return
        with self._complaining():
            self._engine = connectable(self.url)  # it may be writable since it was read
            if (made := self._prepare()) is not None:
                self.is_anew = self.is_anew or self._made != ""
                self._made, self._seen = made, 0
            writer = uuid.uuid4().hex
            with self._transaction() as db:
                self._made = self._locked(db).made
                self.slot = register(db, self.study, writer, MISSED * self.heartbeat)
            self._has_orphans = True
            self._presence = Presence(writer, self.heartbeat, weakref.WeakMethod(self._beat))

    def close(self) -> None:
        """Say that this driver is no longer at work; what it has not finished, others evaluate."""
        if self._presence is not None:
            self._presence.stop()
            with contextlib.suppress(OSError, InvalidStorage), self._transaction() as db:
                db.execute(self._own_row(tables.WRITERS.update()).values(ended=clock(db)))
            self._presence, self.is_anew = None, False
        self._engine.dispose()

    def __del__(self) -> None:
        if (presence := getattr(self, "_presence", None)) is not None:
            presence.stop(wait=False)

    # -- events ------------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[Event], sync: bool = True) -> None:
        """Write events, in JSON's types; they are in the database when this returns.

        Args:
            events: To write.
            sync: False: leave it to the database when they go to the disk.

        Raises:
            OSError: If that cannot be done now; the same may be tried again, and what is there already is left out.
            InvalidStorage: If the study was deleted by somebody, or a trial's id is somebody else's.
        """
        with self._work(sync=sync) as db:
            study = self._locked(db)
            rows: list[dict[str, Any]] = []
            inserted: set[int] = set()
            for start in range(0, len(events), CHUNK):
                rows += self._take(db, events[start : start + CHUNK], inserted)
            last = self._write(db, study, rows)
        if self._seen == study.sequence:  # nobody else has written since we looked
            self._seen = last

    def replace(self, events: Sequence[Event]) -> None:
        """Write these events in place of all, and all else that is known of the trials.

        Raises:
            OSError: If that cannot be done now.
            InvalidStorage: If other drivers work on the study.
        """
        self._prepare()
        with self._work() as db:
            study = self._locked(db, is_new=True)
            self._refuse_others(db, "written anew")
            if study.made != self._made:
                self.slot = register(db, self.study, self._writer, MISSED * self.heartbeat)
            for table in (tables.EVENTS, tables.TRIALS):
                db.execute(table.delete().where(self._of(table)))
            replica, rows = Replica(), []
            for event in [{"event": "clear"}] * bool(study.sequence) + list(events):
                rows.append(self._event_row(event))
                replica.apply(json.loads(rows[-1]["body"]))
            self._save_trials(db, replica, known=())
            self._seen = self._write(db, study, rows)
        self._made = study.made

    def is_worth_compacting(self, n_events: int, n_needed: int) -> bool:
        """Never: people may look at what happened."""
        return False

    # -- several drivers ---------------------------------------------------------------------------------------------

    def new_ids(self, n: int) -> list[int]:
        """n trial ids that nobody has.

        Raises:
            OSError: If the database cannot be asked now.
        """
        with self._work(sync=False) as db:
            first: int = self._locked(db).next_number
            db.execute(tables.UPDATE_STUDY, {"of_name": self.study, "next_number": first + n})
        return list(range(first, first + n))

    def news(self, trust: bool = False) -> list[Event]:
        """Events that others have written since the last look.

        Raises:
            OSError: If the database cannot be asked now.
            InvalidStorage: If somebody has deleted the study's trials.
        """
        with self._work(read=True) as db:
            rows = db.execute(tables.NEWS, {"of_study": self.study, "seen": self._seen, "reader": self._writer}).all()
            events = [_decoded(row.body, trust) for row in rows]
        if any(row.kind == "clear" for row in rows):
            raise InvalidStorage(f"the trials of {self} were deleted by somebody else while this driver worked on them")
        if rows:
            self._seen = rows[-1].sequence
        return events

    def adopt(self) -> list[int]:
        """Make unfinished trials our own whose driver is dead, or has ended; their ids. Each goes to one driver.

        Raises:
            OSError: If the database cannot be asked now.
        """
        if not self._has_orphans:  # as the heartbeat sees it
            return []
        with self._work() as db:
            self._locked(db)
            orphans = self._orphans(db)
            for number in orphans:
                mine = self._of(tables.TRIALS), tables.TRIALS.c.number == number
                db.execute(tables.TRIALS.update().where(*mine).values(writer=self._writer))
        self._has_orphans = False
        return orphans

    def _beat(self) -> None:
        """A sign of life, and a look at those of others."""
        if self._file is not None and not self._file.exists():
            return
        with contextlib.suppress(OSError, InvalidStorage), self._transaction(sync=False) as db:
            db.execute(self._own_row(tables.WRITERS.update()).values(seen=clock(db), ended=None))
            self._has_orphans = self._has_orphans or bool(self._orphans(db))

    def _living(self, db: sa.Connection) -> dict[str, int]:
        return living(db, self.study, MISSED * self.heartbeat)

    def _orphans(self, db: sa.Connection) -> list[int]:
        alive = {*self._living(db), self._writer}
        unfinished = sa.select(tables.TRIALS.c.number).where(
            self._of(tables.TRIALS), tables.TRIALS.c.state.in_(tables.UNFINISHED)
        )
        return list(db.scalars(unfinished.where(tables.TRIALS.c.writer.not_in(alive)).order_by(tables.TRIALS.c.number)))

    def _refuse_others(self, db: sa.Connection, what: str) -> None:
        if others := self._living(db).keys() - {self._writer}:
            raise InvalidStorage(
                f"{self} cannot be {what}: {len(others)} other drivers work on it: end them, or name another study"
            )

    # -- rows --------------------------------------------------------------------------------------------------------

    def _take(self, db: sa.Connection, events: Sequence[Event], inserted: set[int]) -> list[dict[str, Any]]:
        """Bring the rows of trials up to events; rows of those events that fit.

        Args:
            db: A transaction.
            events: In their order.
            inserted: Ids of trials that came with earlier events of the same call; those of these go in.
        """
        numbers = {number for event in events if (number := tables.number_of(event)) is not None}
        replica, rows = Replica(), []
        if numbers:
            stored = db.execute(tables.DOCUMENTS, {"of_study": self.study, "numbers": list(numbers)})
            replica.documents = {row.number: json.loads(row.document) for row in stored}
        known = set(replica.documents)
        for event in events:
            if event["event"] == "clear":
                self._refuse_others(db, "cleared")
                db.execute(tables.TRIALS.delete().where(self._of(tables.TRIALS)))
                known = set()
            number = tables.number_of(event)
            if not tables.fits(event, replica.documents.get(number), is_inserted=number in inserted):
                continue
            if event["event"] == "new" and number is not None:
                inserted.add(number)
            rows.append(self._event_row(event))
            replica.apply(json.loads(rows[-1]["body"]))  # a copy: the document in an event stays as it was
        self._save_trials(db, replica, known)
        return rows

    def _save_trials(self, db: sa.Connection, replica: Replica, known: Container[int]) -> None:
        new, changed = [], []
        for number, document in replica.documents.items():
            if number in known:
                changed.append({"of_study": self.study, "of_number": number, **tables.trial_row(document)})
            else:
                row = {"study": self.study, "number": number, "writer": self._writer}
                new.append({**row, **tables.trial_row(document)})
        if new:
            db.execute(tables.INSERT_TRIALS, new)
        if changed:
            db.execute(tables.UPDATE_TRIALS, changed)

    def _write(self, db: sa.Connection, study: Any, rows: list[dict[str, Any]]) -> int:
        """Number the events and write them; the number of the last."""
        last: int = study.sequence + len(rows)
        for sequence, row in enumerate(rows, study.sequence + 1):
            row["sequence"] = sequence
        if rows:
            db.execute(tables.INSERT_EVENTS, rows)
            free = max([study.next_number, *(row["number"] + 1 for row in rows if row["number"] is not None)])
            db.execute(tables.UPDATE_STUDY, {"of_name": self.study, "sequence": last, "next_number": free})
        return last

    def _event_row(self, event: Event) -> dict[str, Any]:
        return {
            "study": self.study,
            "kind": event["event"],
            "number": tables.number_of(event),
            "body": json.dumps(event, separators=(",", ":")),
            "writer": self._writer,
            "at": documents.utcnow(),
        }

    # -- the database ------------------------------------------------------------------------------------------------

    @property
    def _writer(self) -> str:
        if self._presence is None:
            raise InvalidStorage(f"storage {self} is closed: open it first")
        return self._presence.writer

    def _of(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.study == self.study

    def _own_row(self, statement: Any) -> Any:
        return statement.where(self._of(tables.WRITERS), tables.WRITERS.c.id == self._writer)

    def _work(self, *, read: bool = False, sync: bool = True) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction of a storage that is open, in the file that has its name now."""
        _ = self._writer
        if self._file is not None:
            inode = self._file.stat().st_ino if self._file.exists() else None
            if inode != self._inode:  # an open connection would go on with the one that was removed
                self._engine.dispose()
                self._inode = inode
            if inode is None:
                raise self._deleted()
        return self._transaction(read=read, sync=sync)

    def _deleted(self) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, "the study was deleted while it went on", str(self))

    @contextlib.contextmanager
    def _transaction(self, *, read: bool = False, sync: bool = True) -> Iterator[sa.Connection]:
        """A transaction; errors that may pass become OSError, others InvalidStorage."""
        try:
            with self._engine.connect() as connection:
                db = connection.execution_options(read=read, sync=sync)
                with db.begin():
                    yield db
        except exc.SQLAlchemyError as error:
            text = str(getattr(error, "orig", None) or error).strip() or repr(error)  # SQLite's may be empty
            text = text.splitlines()[0]
            if is_passing(error):
                raise OSError(errno.EIO, text) from error
            raise self._unreadable(text) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:  # SQLite finds only some damage by itself
            raise self._unreadable(str(error)) from error

    def _unreadable(self, why: str) -> InvalidStorage:
        return InvalidStorage(
            f"storage {self} is no study of this version of sparktune, or damaged: {why}: restore the database from a "
            "copy, or name another study"
        )

    @contextlib.contextmanager
    def _looking(self) -> Iterator[tuple[sa.Connection, Any]]:
        """A transaction that writes nothing, and the study's row; of nothing if there is none, and none is made."""
        if self._file is not None and not self._file.exists():  # SQLite would make it
            yield cast(sa.Connection, None), None
            return
        if self._file is not None and self._presence is None and (url := of_read_only_file(self.url)) is not None:
            self._engine = connectable(url)
        with self._transaction(read=True) as db:
            where = f"storage {self}"
            yield db, tables.study_row(db, self.study, where) if tables.have_been_made(db, where) else None

    def _locked(self, db: sa.Connection, *, is_new: bool = False) -> Any:
        """The study's row, which nobody else changes before the end of the transaction."""
        row = tables.study_row(db, self.study, f"storage {self}", lock=True)
        if row is None:
            raise self._deleted()
        if not is_new and self._made not in ("", row.made):
            raise InvalidStorage(f"{self} was deleted while this driver worked on it, and made anew by somebody else")
        return row

    def _prepare(self) -> str | None:
        """Make tables and study where they are missing; as :func:`~sparktune.storage.tables.make`."""
        with self._transaction() as db:
            return tables.make(db, self.study, f"storage {self}")

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidStorage(
                f"storage {self} cannot be used ({error.strerror or error}): see that the server runs and lets you in, "
                "or of SQLite that the folder exists and that you may write to it"
            ) from error
        finally:
            if self._presence is None:
                self._engine.dispose()


def _decoded(body: str, trust: bool) -> Event:
    event: Event = decode(json.loads(body), trust)
    return event
