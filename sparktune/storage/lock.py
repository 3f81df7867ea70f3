"""One writer at a time."""

from __future__ import annotations

import json
import os
import socket
import threading
import weakref
from pathlib import Path

from sparktune.exceptions import InvalidStorage

#: Who has which lock file in this process: the system's locks are the process's, and do not tell its objects apart.
_holders: weakref.WeakValueDictionary[str, FileLock] = weakref.WeakValueDictionary()
_guard = threading.Lock()


class FileLock:
    """The right to write a study, held by one process of all that see the file.

    It is a lock of the operating system: it goes with the process that holds it, however that ends, so it is never
    stale. Within a process the newest object has it: a cell of a notebook that is run again takes it from the object
    that it made before.

    Args:
        path: The lock's file, which stays. It says who has the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InvalidStorage: If another process has it.
            OSError: If the file cannot be made.
        """
        with _guard:
            before = _holders.get(str(self.path))
            if before is not None and before is not self:
                self._descriptor, before._descriptor = before._descriptor, None
            if self._descriptor is None:
                self._descriptor = self._take()
            _holders[str(self.path)] = self

    def _take(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                import fcntl
            except ImportError:  # Windows: no such lock; the file is there for people to see
                return descriptor
            try:
                # Not flock, which processes forked from this one would share and keep.
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise InvalidStorage(
                    f"another process is writing this study{self._holder(descriptor)}, and a file has one writer: "
                    "wait for it or end it, name another storage, or use a database's URL, which takes many writers"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _holder(self, descriptor: int) -> str:
        try:
            who = json.loads(os.pread(descriptor, 1000, 0))
            return f" (process {who['pid']} on {who['host']})"
        except (ValueError, KeyError, TypeError, OSError):
            return ""

    def check(self) -> None:
        """Refuse to go on if another object of this process has taken the lock.

        Raises:
            InvalidStorage: If so.
        """
        if self._descriptor is None:
            raise InvalidStorage(
                f"the study with the lock {self.path} is not open for writing here; a newer object of this process may "
                "have taken it over: go on with that one"
            )

    def release(self) -> None:
        """Let others have it."""
        with _guard:
            if self._descriptor is not None:
                os.close(self._descriptor)  # which ends the lock
                self._descriptor = None
                _holders.pop(str(self.path), None)
