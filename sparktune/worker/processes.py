"""Processes and their children: who they are, what memory they hold, how to end them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent dies; Linux only, elsewhere without effect."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when its parent dies; Linux only, elsewhere without effect."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(Exception):  # a Python without ctypes: less thorough, not broken
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """The parent of each process there is; zombies left out."""
    found: dict[int, int] = {}
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                    # The name may hold blanks and brackets, and be cut within a character.
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
                    if state != b"Z":
                        found[int(name)] = int(parent)
        return found
    for pid, ppid, stat in _ps("pid", "ppid", "stat"):
        if not stat.startswith("Z"):
            found[int(pid)] = int(ppid)
    return found


def _ps(*columns: str) -> list[list[str]]:
    """These columns of all processes, for systems without ``/proc``."""
    # To POSIX all that is behind an equals sign is the header of one column: each has an option of its own.
    options = [option for column in columns for option in ("-o", f"{column}=")]
    lines = subprocess.run(["ps", "-A", *options], capture_output=True, text=True).stdout.splitlines()
    return [line.split()[: len(columns)] for line in lines]


def descendants(root: int) -> list[int]:
    """The processes that ``root`` started, and those they started."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.extend(new)
        waiting.extend(new)
    return found


def known_descendants(root: int) -> list[int]:
    """As :func:`descendants`, from what these processes say of their children: on machines with many others far faster.

    One that starts or ends just then may be missing. Where the system does not say, all processes are asked.
    """
    found: list[int] = []
    waiting = [root]
    try:
        while waiting:
            pid = waiting.pop()
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    new = [int(child) for child in file.read().split()]
                found.extend(new)
                waiting.extend(new)
    except OSError:  # another system or kernel, or one of them ended meanwhile
        return descendants(root)
    return found


def memory_of(pids: Iterable[int]) -> int:
    """Bytes of memory that processes hold, pages they share counted once (``Pss``) where the system says so."""
    if os.path.isdir("/proc/self"):
        return sum(map(_memory_of, pids))
    wanted = set(pids)
    return sum(int(size) * 1024 for pid, size in _ps("pid", "rss") if int(pid) in wanted)


def _memory_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # ended meanwhile, or an old kernel
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def kill(pid: int) -> None:
    """Kill a process; one that has ended already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_descendants() -> None:
    """Kill all descendants of this process and wait until they are gone, at most ten seconds."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        alive = descendants(os.getpid())
        for pid in alive:
            kill(pid)
        # Killed children leave their own to us (adopt_orphans), so the next round finds those that hid behind them.
        if not reap() and not alive:
            return
        time.sleep(0.002)


def reap() -> bool:
    """Take the exit codes of children that have ended; whether any are left."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False


def describe(status: int) -> str:
    """How a process ended, by its wait status, in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        hint = {
            signal.SIGKILL: ": out of memory, or killed from outside",
            signal.SIGSEGV: ": a crash in native code",
            signal.SIGABRT: ": aborted by native code",
        }.get(signal.Signals(number) if number in set(signal.Signals) else signal.SIGTERM, "")
        return f"was killed by {name}{hint}"
    return f"ended with exit code {os.WEXITSTATUS(status)}, by os._exit or by native code"
