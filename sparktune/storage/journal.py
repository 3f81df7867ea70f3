"""A study in one file: a line for each event, appended and never changed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sparktune.exceptions import InvalidStorage
from sparktune.history.events import Event
from sparktune.storage.files import BINARY, mode_of, replace_file, sync_folder
from sparktune.storage.lines import check_beginning, events_of, header, is_whole, lines_of, to_line, to_lines
from sparktune.storage.lock import FileLock

logger = logging.getLogger("sparktune")

#: A file with fewer lines than this is not compacted, as nobody would notice.
FEWEST_LINES = 1000


def is_worth_compacting(n_events: int, n_needed: int) -> bool:
    """Whether n events should be written anew, as the number that says the same."""
    return n_events > max(FEWEST_LINES, 2 * n_needed)


class Journal:
    """The events of a study in a file that one process writes and any number read.

    An event is on the disk when :meth:`append` returns. A line that a crash has torn is recognised by its checksum, and
    cut off when the file is next opened for writing.

    Args:
        path: The file. Its folder must exist. Two more names in there are used: with ``.lock`` and ``.new`` behind it.
    """

    _descriptor: int | None = None
    is_worth_compacting = staticmethod(is_worth_compacting)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays one, and is no second way around the lock
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        self._size = 0
        self._is_torn = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def revision(self) -> object:
        """Something that is another one when somebody has written."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def read(self, trust: bool = False) -> list[Event]:
        """All events, without the header; empty if there is no file yet. Takes no lock, and changes nothing.

        Args:
            trust: Whether to open pickles.

        Raises:
            InvalidStorage: If the file cannot be read, is no study, or one of a newer version.
        """
        with self._complaining("read", "name a file that you may read"):
            data = self._data()
        return [event for event in events_of(data, f"storage {self}", trust) if event["event"] != "study"]

    def open(self) -> None:
        """Begin to write: takes the lock, and makes the file where there is none.

        Raises:
            InvalidStorage: If the file is no study, another process writes it, or it cannot be written.
        """
        hint = "name a file in a folder that exists and that you may write to, on a disk that has room"
        with self._complaining("written", hint):
            self._lock.acquire()
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def append(self, events: Iterable[Event], sync: bool = True) -> None:
        """Write events, in JSON's types; they are on the disk when this returns.

        Args:
            events: To write.
            sync: False: leave it to the system when they go to the disk. A crash of this process does not matter then,
                one of the machine does.

        Raises:
            FileNotFoundError: If the file was removed or emptied; then :meth:`replace` makes a new one.
            OSError: If that cannot be done now; the same may be tried again.
            InvalidStorage: If something else writes it.
        """
        with self._lock.writing():
            self._write(to_lines(events), sync)

    def replace(self, events: Sequence[Event]) -> None:
        """Write the file anew, with these events in place of all; there is a whole file at every moment."""
        with self._lock.writing():
            self._replace(to_lines([header(), *events]))

    def close(self) -> None:
        """Let others write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    # -- reading and writing ------------------------------------------------------------------------------------------

    def _data(self) -> bytes:
        if self.path.is_dir():
            raise InvalidStorage(f"storage {self} is a folder, and no study: name a file in it")
        if self.path.exists() and not self.path.is_file():  # a pipe would have us wait for ever
            raise InvalidStorage(f"storage {self} is no file, and no study: name a file")
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _open(self) -> None:
        data = self._data()
        check_beginning(data, f"storage {self}")
        # What is behind the last good line is cut before the first write.
        self._size = max((end for line, end in lines_of(data) if is_whole(line)), default=0)
        self._is_torn = True
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
        if not self._size:
            self._write(to_line(header()))
            sync_folder(self.path.parent)

    def _write(self, data: bytes, sync: bool = True) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            raise InvalidStorage(f"storage {self} is closed: open it first")
        self._check_file(descriptor)
        if self._is_torn:
            os.ftruncate(descriptor, self._size)
        self._is_torn = True
        _write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
        self._size += len(data)
        self._is_torn = False

    def _check_file(self, descriptor: int) -> None:
        """Notice what was done to the file from outside; without that, results would go where nobody finds them."""
        mine = os.fstat(descriptor)
        there = os.stat(self.path)  # FileNotFoundError if it was removed or moved away
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise FileExistsError(errno.EEXIST, "another file was put in its place while the study went on")
        if mine.st_size < self._size:
            raise FileNotFoundError(errno.ENOENT, "the file was cut while the study went on")
        if mine.st_size > self._size and not self._is_torn:
            raise InvalidStorage(f"something else writes to {self}, which has one writer at a time: name another file")

    def _replace(self, data: bytes) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        replace_file(self.path, lambda file: file.write(data), temporary, mode_of(self.path))
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | BINARY)
        self._size, self._is_torn = len(data), False

    @contextlib.contextmanager
    def _complaining(self, done: str, hint: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidStorage(f"storage {self} cannot be {done} ({error.strerror or error}): {hint}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; the system may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
