"""One writer at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from sparktune.exceptions import InvalidStorage

#: Who has which lock file in this process: the newest of its objects, see :class:`FileLock`.
_holders: weakref.WeakValueDictionary[str, FileLock] = weakref.WeakValueDictionary()
_guard = threading.RLock()


class FileLock:
    """The right to write a study, held by one process of all that see the file.

    It is a lock of the operating system: it goes with the process that holds it, however that ends, so it is never
    stale. Within a process the newest object has it: a cell of a notebook that is run again takes it from the object
    that it made before. A process that is forked from the holder does not have it.

    Args:
        path: The lock's file, which stays. It says who has the lock, or had it last.
    """

    _descriptor: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.Lock()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InvalidStorage: If another process has it.
            OSError: If the file cannot be made.
        """
        with _guard:
            before = _holders.get(str(self.path))
            if before is not None and before is not self:
                with before._writing:  # what it is writing now is written to the end
                    self._descriptor, before._descriptor = before._descriptor, None
            if self._descriptor is None:
                self._descriptor = self._take()
            _holders[str(self.path)] = self

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Have the lock for as long as something is written.

        Raises:
            InvalidStorage: If another object of this process, or another process, has taken it.
            OSError: If the lock's file was removed, and cannot be made again.
        """
        with self._writing:
            if self._descriptor is None:
                raise InvalidStorage(
                    f"the study with the lock {self.path} is not open for writing here; a newer object of this process "
                    "may have taken it over, or this is a process forked from the one that writes: go on with that one"
                )
            if os.fstat(self._descriptor).st_nlink == 0:  # others would take a new one for free
                descriptor = self._take()
                os.close(self._descriptor)
                self._descriptor = descriptor
            yield

    def _take(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                import fcntl
            except ImportError:  # Windows: no such lock; the file is there for people to see
                return descriptor
            try:
                # Not lockf: that lock ends when anything in this process closes the file, a copy of the folder say.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise InvalidStorage(
                    f"another process is writing this study{self._holder(descriptor)}, and it has one writer at a "
                    "time: wait for it or end it, name another storage, or use a database's URL, which takes many"
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

    def release(self) -> None:
        """Let others have it."""
        with _guard:
            if self._descriptor is not None:
                os.close(self._descriptor)  # which ends the lock
                self._descriptor = None
                _holders.pop(str(self.path), None)

    def __del__(self) -> None:
        if self._descriptor is not None:  # nobody closed the study; its lock must not stay for the process's life
            os.close(self._descriptor)


def _let_go_in_child() -> None:
    """A forked process shares its parent's locks, and would keep them after the parent's death."""
    global _guard
    _guard = threading.RLock()  # which another thread of the parent may have held
    for lock in list(_holders.values()):
        if lock._descriptor is not None:
            os.close(lock._descriptor)  # the parent's stays, and so does the lock
            lock._descriptor = None
        lock._writing = threading.Lock()
    _holders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
