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
from sparktune.storage.lines import check_header, from_line, header, to_line
from sparktune.storage.lock import FileLock

logger = logging.getLogger("sparktune")

#: A file with fewer lines than this is not compacted, as nobody would notice.
FEWEST_LINES = 1000


class Journal:
    """The events of a study in a file that one process writes and any number read.

    An event is on the disk when :meth:`append` returns. A line that a crash has torn is recognised by its checksum, and
    cut off when the file is next opened for writing.

    Args:
        path: The file. Its folder must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        self._descriptor: int | None = None
        self._size = 0
        self._is_torn = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def revision(self) -> object:
        """Something that is another one when somebody has written."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, trust: bool = False) -> list[Event]:
        """All events, without the header; empty if there is no file yet. Takes no lock, and changes nothing.

        Args:
            trust: Whether to open pickles.

        Raises:
            InvalidStorage: If the file is no study, or one of a newer version.
        """
        return [event for event, _ in self._events(trust)]

    def open(self) -> None:
        """Begin to write: takes the lock, and makes the file where there is none.

        Raises:
            InvalidStorage: If the file is no study, another process writes it, or it cannot be written.
        """
        with self._complaining():
            self._lock.acquire()
            try:
                *_, end = [0, *(end for _, end in self._events(False, with_header=True))]
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                self._size, self._is_torn = end, True  # what is behind the last event is cut before the first write
                if not end:
                    self._write(to_line(header()))
                    sync_folder(self.path.parent)
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
            OSError: If that cannot be done now, or the file was removed; the same may be tried again.
            InvalidStorage: If another object of this process writes it now.
        """
        self._lock.check()
        self._write(b"".join(map(to_line, events)), sync)

    def replace(self, events: Sequence[Event]) -> None:
        """Write the file anew, with these events in place of all; there is a whole file at every moment."""
        self._lock.check()
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                data = b"".join(map(to_line, [header(), *events]))
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._size, self._is_torn = len(data), False

    def close(self) -> None:
        """Let others write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()

    def is_worth_compacting(self, n_events: int, n_needed: int) -> bool:
        """Whether a file with n events should be written anew with the number that says the same."""
        return n_events > max(FEWEST_LINES, 2 * n_needed)

    # -- reading and writing ------------------------------------------------------------------------------------------

    def _events(self, trust: bool, with_header: bool = False) -> Iterator[tuple[Event, int]]:
        """Each event with the place in the file where it ends."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise InvalidStorage(f"storage {self} is a folder, and no study: name a file in it") from None
        place, number = 0, 0
        while (end := data.find(b"\n", place) + 1) > 0:
            event = from_line(data[place : end - 1], trust)
            number += 1
            if number == 1:
                check_header(event, f"storage {self}")
            if event is None:
                logger.warning(
                    "line %d of %s is damaged and left out%s", number, self, "" if end < len(data) else ": it is torn"
                )
            elif number > 1 or with_header:
                yield event, end
            place = end
        if number == 0 and data and not to_line(header()).startswith(data[: len('{"crc":"')]):
            check_header(None, f"storage {self}")

    def _write(self, data: bytes, sync: bool = True) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            raise InvalidStorage(f"storage {self} is closed: open it first")
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the file was removed while the study went on", str(self.path))
        if self._is_torn:
            os.ftruncate(descriptor, self._size)
        self._is_torn = True
        write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
        self._size += len(data)
        self._is_torn = False

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidStorage(
                f"storage {self} cannot be written ({error.strerror or error}): name a file in a folder that exists "
                "and that you may write to, on a disk that has room"
            ) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; the system may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
