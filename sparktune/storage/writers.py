"""Who works on a study in a database: which drivers are alive, the slot of each, and the clock they share."""

from __future__ import annotations

import time

import sqlalchemy as sa

from sparktune.storage.presence import Presence
from sparktune.storage.tables import WRITERS


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
