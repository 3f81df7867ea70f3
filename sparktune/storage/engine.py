"""Connecting to a database: which one a URL means, how it begins transactions, and which of its errors may pass."""

from __future__ import annotations

import importlib.util
import os
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc

from sparktune.exceptions import InvalidStorage, MissingPackageError

#: Seconds to wait for another writer of the file (SQLite), or for a connection.
PATIENCE = 30


def parsed(text: str) -> tuple[sa.URL, str]:
    """The URL as SQLAlchemy takes it, and the name of the study.

    Raises:
        InvalidStorage: If it is none, or of another database.
    """
    try:
        url = sa.make_url(text)
    except exc.ArgumentError as error:
        raise InvalidStorage(
            f"storage is a URL such as 'sqlite:///study.db' or 'postgresql+psycopg://user@host/database' ({error})"
        ) from error
    study = url.query.get("study", "default")
    if not _is_storable(f"{url.database}{study}"):
        raise InvalidStorage(
            "a database and a study have names in characters that UTF-8 has, and not the null character, got "
            f"{url.database!r} and {study!r}: name others"
        )
    url = url.difference_update_query(["study"])
    backend = url.get_backend_name()
    if not isinstance(study, str) or not 0 < len(study) <= 200:
        raise InvalidStorage(f"the name of a study in a URL is given once, and has 1 to 200 characters, got {study!r}")
    if backend not in ("sqlite", "postgresql"):
        raise InvalidStorage(f"a study can be kept in SQLite and in PostgreSQL, got a URL of {backend!r}")
    if backend == "sqlite":
        if url.query:
            raise InvalidStorage(
                "a URL of SQLite has nothing but study=, the name of the study, after its question mark, got "
                f"{', '.join(map(repr, url.query))} in {text!r}: write {text.partition('?')[0]}?study=name"
            )
        if url.database in (None, "", ":memory:"):
            raise InvalidStorage(
                f"a study in SQLite is kept in a file, got {url}: write sqlite:///study.db, or sqlite:////var/study.db "
                "for an absolute path"
            )
        url = url.set(database=os.path.abspath(url.database or ""))
    elif url.drivername == backend:
        url = url.set(drivername=_postgresql_driver())
    return url, study


def _is_storable(name: str) -> bool:
    """Whether every database takes a name."""
    return "\0" not in name and name == name.encode(errors="replace").decode()


def _postgresql_driver() -> str:
    return "postgresql+psycopg" if importlib.util.find_spec("psycopg") else "postgresql+psycopg2"


def connectable(url: sa.URL) -> sa.Engine:
    """An engine whose transactions say by the options ``read`` and ``sync`` what they are for; connects to nothing yet.

    Raises:
        MissingPackageError: If the driver of the database is not installed.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    patience = {"timeout": PATIENCE} if is_sqlite else {"connect_timeout": PATIENCE}
    arguments = patience if is_sqlite or "psycopg" in url.drivername else {}
    try:
        engine = sa.create_engine(url, connect_args=arguments)
    except (ImportError, exc.NoSuchModuleError) as error:
        hint = "pip install 'psycopg[binary]', and write postgresql+psycopg://..."
        if is_sqlite:
            hint = "write sqlite:///..., in a Python that has the module sqlite3"
        raise MissingPackageError(
            f"a study in {url.get_backend_name()} needs a driver for it, and {url.drivername} is not there ({error}): "
            f"{hint}"
        ) from error
    sa.event.listen(engine, "begin", _begin_sqlite if is_sqlite else _begin_postgresql)
    if is_sqlite:
        sa.event.listen(engine, "connect", _connect_sqlite)
    return engine


def of_read_only_file(url: sa.URL) -> sa.URL | None:
    """The URL by which a file of SQLite can be read where nothing may be written; None where it may.

    SQLite needs files of its own beside a study's, even to read it, unless it is told that nobody changes it.
    """
    file = url.database or ""
    may_write = os.access(file, os.W_OK) and os.access(os.path.dirname(file), os.W_OK)
    if may_write or os.path.exists(f"{file}-wal"):  # this has what is not in the file yet
        return None
    return url.set(database=f"file:{quote(file)}", query={"immutable": "1", "mode": "ro", "uri": "true"})


def _connect_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by us: see SQLAlchemy's page on SQLite


def _begin_sqlite(db: sa.Connection) -> None:
    options = db.get_execution_options()
    if options["read"]:
        db.exec_driver_sql("BEGIN")
        return
    level = "FULL" if options["sync"] else "NORMAL"
    if db.info.get("synchronous") != level:
        if "synchronous" not in db.info:
            db.exec_driver_sql("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        db.exec_driver_sql(f"PRAGMA synchronous = {level}")
        db.info["synchronous"] = level
    db.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgresql(db: sa.Connection) -> None:
    if not db.get_execution_options()["sync"]:
        db.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def is_passing(error: exc.SQLAlchemyError) -> bool:
    """Whether an error may go away by itself, or by what an administrator does."""
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state in ("42501", "25006"):  # permission taken away, a server that only reads for now
        return True
    if "no such " in str(original):
        return False
    return isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError))
