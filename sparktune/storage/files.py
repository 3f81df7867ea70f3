"""Files that are written whole: after a crash there is the one of before or the new one, never a half."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from sparktune.storage.presence import Presence

#: Windows would make two characters of each end of a line.
BINARY = getattr(os, "O_BINARY", 0)
#: So many bytes of a file's name are in that of its temporary file, which may not be longer than file systems take.
LONGEST_STEM = 150


def replace_file(path: Path, write: Callable[[IO[bytes]], object], temporary: Path, mode: int | None = None) -> None:
    """Write a file under another name, and rename it; it is on the disk when this returns.

    Args:
        path: The file.
        write: Writes what is in it.
        temporary: The other name, in the same folder.
        mode: Who may read and write it; None: whom the mask of the process lets.

    Raises:
        OSError: If that cannot be done; then what was there before is as it was.
    """
    # The mask of the process is the system's to apply: it can be read only by changing it, for all threads.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None and mode_of(temporary) != mode:  # what the mask took; not all file systems know modes
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """Another name in the folder of a file, which no other process uses, and no other call: it says whose it is."""
    me = Presence.identity()
    process = f"{me['pid']}-{me['born'] or 0}"
    return path.with_name(f"{_stem(path)}{_mark(me['machine'])}-{process}-{secrets.token_hex(4)}.new")


def remove_left_over(path: Path) -> None:
    """Remove what processes of this machine that are dead have left under names of :func:`temporary_of`."""
    machine = Presence.identity()["machine"]
    if machine is None:  # it cannot be told which processes live
        return
    name = re.compile(rf"{re.escape(_stem(path) + _mark(machine))}-(\d+)-([1-9]\d*)-[0-9a-f]{{8}}\.new")
    with contextlib.suppress(OSError):  # another time, then
        for entry in os.listdir(path.parent):
            match = name.fullmatch(entry)
            # Systems may hide processes of other users, which would pass for dead.
            is_mine = match is not None and (path.parent / entry).lstat().st_uid == os.geteuid()
            if match is not None and is_mine and not Presence.is_running(int(match[1]), match[2]):
                (path.parent / entry).unlink()


def _stem(path: Path) -> str:
    return os.fsencode(path.name)[:LONGEST_STEM].decode(errors="ignore")


def _mark(machine: str | None) -> str:
    return "." + hashlib.sha256((machine or "").encode()).hexdigest()[:16]


def mode_of(path: Path) -> int | None:
    """Who may read and write a file; None if there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
