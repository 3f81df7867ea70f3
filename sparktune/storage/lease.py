"""One writer at a time, where there are no locks: a file says who it is, and when it was last alive."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
import weakref
from types import SimpleNamespace
from typing import Any

from sparktune.exceptions import InvalidStorage
from sparktune.storage.folders import Folder
from sparktune.storage.presence import Presence

#: The file's name.
NAME = "writer.json"
#: Seconds between two signs of life of the writer.
INTERVAL = 10.0
#: Seconds without one after which a writer of another machine is taken for dead. More than clocks differ.
PATIENCE = 60.0


class WriterLease:
    """The right to write into a folder, for a process that gives a sign of life at an interval.

    A writer of this machine whose process is no more is dead at once. In the same process the newest object takes over.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._writer: str | None = None
        self._pid: int | None = None
        self._presence: Presence | None = None
        self._mutex = threading.Lock()

    def acquire(self) -> None:
        """Take the right to write.

        Raises:
            InvalidStorage: If another process has it.
            OSError: If the file cannot be read or written.
        """
        holder = self._holder()
        if holder is not None and not _is_me(holder) and Presence.is_alive(holder, time.time(), PATIENCE):
            raise InvalidStorage(
                f"another process is writing this study in {self._folder} (process {holder.pid} on {holder.host}), and "
                f"it has one writer at a time: wait for it or end it; if it died on another machine, it is let go "
                f"{max(0.0, holder.seen + PATIENCE - time.time()):.0f} s from now"
            )
        self._writer, self._pid = uuid.uuid4().hex, os.getpid()
        try:
            self._write()
            self.check()  # that nobody else has done the same at this moment
        except BaseException:
            self.release()  # it may have been written: nobody would let it go
            raise
        self._presence = Presence(self._writer, INTERVAL, weakref.WeakMethod(self.beat))

    def check(self) -> bool:
        """Refuse to go on if another has taken over; whether the file was there still, which it is again now.

        Raises:
            InvalidStorage: If so.
            OSError: If the file cannot be read.
        """
        if self._writer is None or self._pid != os.getpid():
            raise InvalidStorage(
                f"the study in {self._folder} is not open for writing here; this may be a process forked from the one "
                "that writes: go on with that one"
            )
        with self._mutex:
            holder = self._holder()
            if holder is None:
                self._write()
                return False
        if holder.writer != self._writer:
            raise InvalidStorage(
                f"process {holder.pid} on {holder.host} has taken over the study in {self._folder}: nothing more is "
                "written here. It had no sign of life from this process, or is a newer object of it"
            )
        return True

    def beat(self) -> None:
        """Give a sign of life, if the study is still ours."""
        with self._mutex, contextlib.suppress(OSError):
            holder = self._holder()
            if holder is not None and holder.writer == self._writer:
                self._write()

    def release(self) -> None:
        """Let others write."""
        if self._writer is not None and self._pid == os.getpid():
            if self._presence is not None:
                self._presence.stop()
            with contextlib.suppress(OSError):  # it is let go in a while
                holder = self._holder()
                if holder is not None and holder.writer == self._writer:
                    self._folder.remove(NAME)
        self._presence = self._writer = None

    def _write(self) -> None:
        sign = {"writer": self._writer, "seen": time.time(), **Presence.identity()}
        self._folder.put(NAME, json.dumps(sign).encode())

    def _holder(self) -> Any:
        """What the file says; None if there is none, or it says nothing."""
        try:
            sign = json.loads(self._folder.get(NAME))
            holder = SimpleNamespace(**{key: sign[key] for key in ("writer", "seen", "host", "pid", "machine", "born")})
            holder.seen = float(holder.seen)
            return holder
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # half a file, where a crash can leave one
            return None


def _is_me(holder: Any) -> bool:
    me = Presence.identity()
    return all(me[key] == getattr(holder, key) for key in ("machine", "pid", "born")) and me["host"] == holder.host
