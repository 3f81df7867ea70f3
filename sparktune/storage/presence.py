"""Whether a driver that began a trial still works: signs of life in a database, and a look at its process."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from sparktune.storage.tables import WRITERS


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
        if row.machine is not None and row.machine == _machine() and row.born != _born(row.pid):
            return False
        return bool(now - row.seen <= patience)


def _beat_on(stopped: threading.Event, interval: float, beat: weakref.WeakMethod[Callable[[], None]]) -> None:
    while not stopped.wait(interval):
        give = beat()
        if give is None:
            return
        give()
        del give


def living(db: sa.Connection, study: str, patience: float) -> dict[str, int]:
    """The drivers that work on a study, and their slots; ``patience`` as for :meth:`Presence.is_alive`."""
    now = clock(db)
    rows = db.execute(sa.select(WRITERS).where(WRITERS.c.study == study, WRITERS.c.ended.is_(None)))
    return {row.id: row.slot for row in rows if Presence.is_alive(row, now, patience)}


def register(db: sa.Connection, study: str, writer: str, patience: float) -> int:
    """Write down that a driver begins to work; the lowest slot that no living one has, which is now its own."""
    taken = set(living(db, study, patience).values())
    slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
    row = {"study": study, "id": writer, "slot": slot, "seen": clock(db), **Presence.identity()}
    db.execute(WRITERS.insert(), row)
    return slot


def clock(db: sa.Connection) -> float:
    """Seconds since 1970 by the clock of the database, which all drivers see."""
    if db.dialect.name == "postgresql":
        return float(db.scalar(sa.text("select extract(epoch from clock_timestamp())")) or 0.0)
    return time.time()  # a file, and so the clock of this machine


def _machine() -> str | None:
    """The running system and its space of process ids; None where it cannot be told."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{socket.gethostname()} {file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"
    return None


def _born(pid: int) -> str | None:
    """When a process was started, in ticks of its system; None if there is none, or it cannot be told."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat") as file:
        state, *rest = file.read().rpartition(")")[2].split()
        return None if state == "Z" else rest[18]
    return None
