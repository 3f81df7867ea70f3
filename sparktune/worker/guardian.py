"""The guardian: a small process that ends what an evaluation has started when the worker above it dies.

A Spark worker is killed with SIGKILL, by a cancelled job or by the system, so it cannot clean up. The guardian waits
for that, and, as the reaper of all orphans below it, finds every process the objective has started, however deep.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from . import processes
from .readiness import readable

KILL = b"k"


def run(worker: socket.socket, start: Callable[[], int]) -> NoReturn:
    """Guard one process until it ends, the worker asks for its end, or the worker itself has ended. Never returns.

    Sends the worker the wait status of the process, as text, when nothing of it is left.

    Args:
        worker: The connection to the worker; its end means the worker's end.
        start: Starts the process to guard, as a child of this one; returns its id.
    """
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # only the worker's word counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_up, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the alarm is written to
    child = start()
    status = None
    while status is None:
        ready = readable([worker, wake_up])
        if wake_up in ready:
            os.read(wake_up, 4096)
            status = _status_of(child)
        if status is None and worker in ready:
            processes.kill(child)
            status = _wait_for(child)
    processes.kill_descendants()
    with contextlib.suppress(OSError):
        worker.sendall(f"{status}\n".encode())
    os._exit(0)


def _status_of(child: int) -> int | None:
    """The wait status of the child if it has ended; reaps orphans by the way."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status
            if pid == 0:
                return None
    except ChildProcessError:
        return 0


def _wait_for(child: int, deadline: float = 10.0) -> int:
    end = time.monotonic() + deadline
    while (status := _status_of(child)) is None:
        if time.monotonic() > end:  # stuck in the kernel, on a dead network file system for one: nothing can end it
            return int(signal.SIGKILL)
        time.sleep(0.002)
    return status
