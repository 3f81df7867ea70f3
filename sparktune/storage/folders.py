"""Folders that hold whole files: of this machine, and of object stores. Nothing in them is ever appended to."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from sparktune.exceptions import InvalidArgumentError, InvalidStorage, MissingPackageError
from sparktune.storage.files import replace_file

#: Stores that have no folders to be made; asked for one, some would make a bucket.
WITHOUT_FOLDERS = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "r2"])
#: What fsspec puts before another store. They do not show at once what others have written there.
CACHES = frozenset(["blockcache", "cached", "filecache", "simplecache"])
#: Packages that bring stores to fsspec which it does not know, in some of its versions, without them.
PACKAGES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "oci": "ocifs",
    "s3": "s3fs",
    "s3a": "s3fs",
}


class Folder(Protocol):
    """Files by name; ``str()`` of it says where, for people. All raise OSError if it cannot be done now."""

    @property
    def is_listed_cheaply(self) -> bool:
        """Whether :meth:`names` costs less than to write a file."""

    def make(self) -> None:
        """Have the folder there, where there are any."""

    def names(self) -> list[str]:
        """Of all files; none if there is no folder."""

    def get(self, name: str) -> bytes:
        """What is in a file; FileNotFoundError if there is none."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file: others see all of it, or what was there before."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""


class LocalFolder:
    """A folder of a file system in which a file can be written as a whole and renamed.

    Args:
        path: The folder; its parent must exist.
    """

    is_listed_cheaply = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> None:
        """Have the folder there."""
        self.path.mkdir(exist_ok=True)

    def names(self) -> list[str]:
        """Of all files and folders in it; none if it is not there."""
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []

    def get(self, name: str) -> bytes:
        """What is in a file."""
        return (self.path / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """Write a file under another name, have it on the disk, and rename it."""
        replace_file(self.path / name, lambda file: file.write(data), self.path / f".{name}.new")

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        (self.path / name).unlink(missing_ok=True)


class ObjectFolder:
    """The objects below a URL.

    Args:
        name: The URL as messages show it.
        fs: A file system of fsspec.
        root: The path of the URL in it.
    """

    is_listed_cheaply = False  # a store has a price for it, and another for each thousand names

    def __init__(self, name: str, fs: Any, root: str) -> None:
        self._name = name
        self._fs = fs
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self._name

    def make(self) -> None:
        """Have the folder there, where there are any."""
        if not WITHOUT_FOLDERS & _protocols(self._fs):
            with _translated():
                self._fs.makedirs(self._root, exist_ok=True)

    def names(self) -> list[str]:
        """Of all objects and folders below it."""
        with _translated():
            self._fs.invalidate_cache()  # others write as well
            try:
                return [path.rstrip("/").rpartition("/")[2] for path in self._fs.ls(self._root, detail=False)]
            except FileNotFoundError:
                return []

    def get(self, name: str) -> bytes:
        """What is in an object."""
        with _translated():
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        with _translated():
            self._fs.pipe_file(f"{self._root}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        with _translated(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")


def object_store(url: str) -> ObjectFolder:
    """The folder of an object store that a URL stands for; nothing is read yet.

    Args:
        url: Such as ``s3://bucket/study``. Keys and the like come from the environment, as each store has it, or from
            fsspec's configuration.

    Raises:
        MissingPackageError: If fsspec, or its package for that store, is not installed.
        InvalidArgumentError: If fsspec does not know the store.
        InvalidStorage: If it cannot be reached, where it is asked for a connection at once; if it is a cache.
    """
    name = _without_password(url)
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError(
            f"storage {name} needs fsspec, which is not installed: pip install 'sparktune[fsspec]'"
        ) from error
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(f"storage {name} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise _unknown(name, error) from error
    except Exception as error:  # some connect when they are made, and each has errors of its own
        why = _without_password((str(error).splitlines() or [""])[0]) or type(error).__name__
        raise InvalidStorage(
            f"storage {name} cannot be reached ({why}): see that its host runs and lets you in, and that what the "
            "store's package needs is installed and set up"
        ) from error
    if _protocols(fs) & CACHES:
        raise InvalidStorage(
            f"storage {name} is behind a cache, which hides what others write and who writes: name the store itself, "
            f"{name.partition('::')[2] or name}"
        )
    return ObjectFolder(name, fs, root)


def _without_password(text: str) -> str:
    """A text, with stars for the password of a URL in it: messages end up in logs."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]+@", r"\1:***@", text)


def _unknown(name: str, error: ValueError) -> Exception:
    """The error of a URL that fsspec does not take."""
    protocol = name.partition("://")[0].rpartition("::")[2]
    if protocol in PACKAGES:
        return MissingPackageError(
            f"storage {name} needs a package that is not installed ({error}): pip install {PACKAGES[protocol]}"
        )
    return InvalidArgumentError(
        f"storage {name} is no URL of a store that fsspec knows: {error}: see how it is spelt, or install the package "
        "that brings this store to fsspec"
    )


def _protocols(fs: Any) -> set[str]:
    """The names of a kind of store, which fsspec has as one or several."""
    return {fs.protocol} if isinstance(fs.protocol, str) else {*fs.protocol}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of a store's own kind as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each store has its own
        raise OSError(f"{type(error).__name__}: {error}") from error
