"""Files that are written whole: after a crash there is the one of before or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

#: Windows would make two characters of each end of a line.
BINARY = getattr(os, "O_BINARY", 0)


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
