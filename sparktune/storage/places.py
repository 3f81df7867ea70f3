"""Which storage a path or URL stands for."""

from __future__ import annotations

import os
import re
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidStorage, InvalidTypeError
from sparktune.storage.folders import LocalFolder, object_store
from sparktune.storage.journal import Journal
from sparktune.storage.protocol import Storage

#: Beginnings of URLs that SQLAlchemy knows, with or without a driver behind them.
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle")
#: What others call them.
ALIASES = {"postgres": "postgresql", "sqlite3": "sqlite"}
#: What a URL begins with: of a chain, all before its first address. A letter alone is a drive of Windows.
SCHEME = re.compile(r"((?:[a-z][a-z0-9_.+-]*::?)*[a-z][a-z0-9_.+-]+)://|([a-z][a-z0-9]+(?:\+[a-z0-9_]+)?):/", re.I)
#: Folders of Databricks behind which there is an object store that cannot append to a file.
WITHOUT_APPEND = ("/Volumes/", "/dbfs/")


def storage_at(where: Any) -> Storage:
    """The storage that ``where`` stands for; nothing is opened or made.

    Args:
        where: A path: a journal file, or a folder of segments where files cannot be appended to; a path is a folder's
            if there is one, if it ends in a slash, and below ``/Volumes`` and ``/dbfs``. A URL of a database
            (``sqlite:///study.db``), or of a folder in an object store (``s3://bucket/study``); or a storage itself.

    Raises:
        InvalidTypeError: If it is none of these.
        InvalidArgumentError: If it is nearly the URL of a database, or that of no store that is known.
        InvalidStorage: If it is the URL of a database or a store that cannot be used.
        MissingPackageError: If the package for that kind of URL is not installed.
    """
    if hasattr(where, "append") and hasattr(where, "read"):
        return where  # type: ignore[no-any-return]
    if not isinstance(where, (str, os.PathLike)) or not os.fspath(where):
        raise InvalidTypeError(f"storage is a path, or a URL such as 'sqlite:///study.db', got {where!r}")
    text = os.fspath(where)
    if not isinstance(text, str):
        raise InvalidTypeError(f"storage is a path as text, got {where!r}")
    scheme = _scheme(text)
    text = scheme + text[len(scheme) :]
    if text.startswith("dbfs:/") and os.path.isdir("/dbfs"):  # on Databricks, where it is a folder as well
        below = text[len("dbfs:/") :].lstrip("/")
        text, scheme = f"/{below}" if below.startswith("Volumes/") else f"/dbfs/{below}", ""
    if scheme.partition("+")[0] in DATABASES:
        from sparktune.storage.database import Database

        return Database(text)
    if text.startswith("file://"):
        text = text[len("file://") :]
    elif not scheme and "\0" in text:
        raise InvalidTypeError(f"storage is a path, which has no null character, got {where!r}")
    elif scheme:
        from sparktune.storage.segments import Segments

        return Segments(object_store(text))
    path = os.path.abspath(os.path.expanduser(text))
    if path.startswith(WITHOUT_APPEND) or os.path.isdir(path) or text.endswith(("/", os.sep)):
        from sparktune.storage.segments import Segments

        return Segments(LocalFolder(path))
    return Journal(path)


def _scheme(text: str) -> str:
    """What a URL begins with, in small letters; nothing for a path.

    Raises:
        InvalidArgumentError: If it is nearly the URL of a database.
    """
    name, _, rest = text.partition(":")
    kind = name.lower().partition("+")[0]
    if kind in (*DATABASES, *ALIASES) and rest[:1] not in ("", "/"):
        url = f"sqlite:///{rest}" if kind.startswith("sqlite") else f"{ALIASES.get(kind, kind)}://user@host/database"
        raise InvalidArgumentError(
            f"storage is a path, or a URL with slashes behind its colon, got what begins with {name!r} and a colon: "
            f"write {url} for the database, or put ./ before the name of a file"
        )
    if kind in ALIASES and rest:
        raise InvalidArgumentError(
            f"storage is the URL of a database as SQLAlchemy has it, got one that begins with {name}: write "
            f"{ALIASES[kind]}:// in its place"
        )
    found = SCHEME.match(text)
    return "" if found is None else (found[1] or found[2]).lower()


def no_study(place: Storage) -> InvalidStorage:
    """The error of a place that should have a study."""
    return InvalidStorage(f"storage {place} has no study: name the file or URL that it was kept in")
