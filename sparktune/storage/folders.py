"""Folders that hold whole files: of this machine, and of object stores. Nothing in them is ever appended to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from sparktune.exceptions import InvalidArgumentError, MissingPackageError
from sparktune.storage.files import replace_file

#: Stores that have no folders to be made; asked for one, some would make a bucket.
WITHOUT_FOLDERS = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "r2"])


class Folder(Protocol):
    """Files by name; ``str()`` of it says where, for people. All raise OSError if it cannot be done now."""

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
        url: The URL, for messages.
        fs: A file system of fsspec.
        root: The path of the URL in it.
    """

    def __init__(self, url: str, fs: Any, root: str) -> None:
        self.url = url
        self._fs = fs
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def make(self) -> None:
        """Have the folder there, where there are any."""
        protocol = self._fs.protocol
        if not WITHOUT_FOLDERS & {protocol, *(() if isinstance(protocol, str) else protocol)}:
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
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError(
            f"storage {url} needs fsspec, which is not installed: pip install 'sparktune[fsspec]'"
        ) from error
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(f"storage {url} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise InvalidArgumentError(f"storage {url} is no URL of a store that fsspec knows: {error}") from error
    return ObjectFolder(url, fs, root)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of a store's own kind as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each store has its own
        raise OSError(f"{type(error).__name__}: {error}") from error
