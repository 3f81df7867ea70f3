"""Whether a driver that began a trial still works: signs of life at an interval, and a look at its process."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any


class Presence:
    """Gives a sign of life at an interval, from a thread of its own.

    Args:
        writer: The name under which this driver writes.
        interval: Seconds from one to the next.
        beat: Gives one; held weakly, so that a storage that nobody uses any longer falls silent.
    """

    def __init__(self, writer: str, interval: float, beat: weakref.WeakMethod[Callable[[], None]]) -> None:
        self.writer = writer
        self._stopped = threading.Event()
        arguments = (self._stopped, interval, beat)
        self._thread = threading.Thread(target=_beat_on, args=arguments, name="sparktune-presence", daemon=True)
        self._thread.start()

    def stop(self, wait: bool = True) -> None:
        """Give no more.

        Args:
            wait: Whether to wait for one that is being given.
        """
        self._stopped.set()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    @staticmethod
    def identity() -> dict[str, Any]:
        """What tells this process from all others, as columns of a row."""
        pid = os.getpid()
        return {"host": socket.gethostname(), "pid": pid, "machine": _machine(), "born": _born(pid)}

    @staticmethod
    def is_alive(row: Any, now: float, patience: float) -> bool:
        """Whether the driver of a row still works.

        Args:
            row: ``seen``, when it last gave a sign of life, and what :meth:`identity` says of it.
            now: The time, by the same clock.
            patience: Seconds without a sign after which it is taken for dead. A process of this machine that is no
                more is so at once.
        """
        if row.machine is not None and row.machine == _machine() and not Presence.is_running(row.pid, row.born):
            return False
        return bool(now - row.seen <= patience)

    @staticmethod
    def is_running(pid: int, born: str | None) -> bool:
        """Whether a process of this machine runs, and is not another of the same number that was started later."""
        return _born(pid) == born


def _beat_on(stopped: threading.Event, interval: float, beat: weakref.WeakMethod[Callable[[], None]]) -> None:
    while not stopped.wait(interval):
        give = beat()
        if give is None:
            return
        give()
        del give


def _machine() -> str | None:
    """The running system and its space of process ids; None where it cannot be told."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{socket.gethostname()} {file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"
    return None


def _born(pid: int) -> str | None:
    """When a process was started, in ticks of its system; None if there is none, or it cannot be told."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        state, *rest = file.read().rpartition(b")")[2].split()  # the name may be cut within a character
        return None if state == b"Z" else rest[18].decode()
    return None
