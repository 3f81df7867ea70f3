"""The worker's side of an evaluation: a process that runs objectives, watched from outside.

The worker itself never calls the objective. So it survives whatever the objective does, ``os._exit`` and crashes in
native code included, says what happened, keeps limits of time and memory even in code that holds Python's lock, and
reads along what is printed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import re
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import child, frames, guardian, processes
from .readiness import readable

#: Objectives that the process keeps: the current run's and the one before, so that two runs side by side do not send
#: theirs anew for every trial, and data of old runs do not pile up.
KEPT_OBJECTIVES = 2

#: Bytes kept of what an evaluation prints: the last ones.
LOG_BYTES = 8192

#: What a crash in native code prints after the Python stack: every compiled module in the process, kilobytes of names
#: that would push what the objective printed out of the log.
MODULE_LIST = re.compile(rb"\n?Extension modules: [^\n]*\(total: \d+\)\n")

#: Reads at a time of what is printed; one empties a pipe of the usual size.
N_READS = 16

#: Seconds between looks at the memory of an evaluation that has a limit.
MEMORY_INTERVAL = 0.1

#: Share of its limit of memory that an evaluation may find taken by what earlier ones have left in the process.
MAX_LEFT = 0.25

#: Seconds that a killed process gets to be gone, with all it has started.
KILL_DEADLINE = 15.0

#: Seconds between the end of the connection to a process and the news of its own end, if that is why.
END_DELAY = 1.0

Parts = Callable[[Collection[str]], tuple[bytes, Mapping[str, bytes]]]


@dataclass(frozen=True)
class Objective:
    """What to run, sent to the process when it is first needed there, and loaded for each evaluation.

    Attributes:
        digest: Identifies it.
        parts: Reads the pickled objective, and pickled values by digest that it finds beside it; it is told the digests
            of those that are there already.
        values: The digests of those values.
    """

    digest: str
    parts: Parts
    values: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """What an evaluation may use.

    Attributes:
        timeout: Seconds; None for no limit.
        memory: Bytes, of all its processes together; None for no limit.
        cpus: Processors, told to thread pools; None for no limit.
    """

    timeout: float | None = None
    memory: int | None = None
    cpus: int | None = None


@dataclass(frozen=True)
class Watch:
    """A connection to look at while an evaluation runs.

    Attributes:
        connection: Readable when something has come in.
        is_cancelled: Called then; whether the evaluation must be ended.
        tick: Called at least every ``interval`` seconds.
        interval: Seconds.
    """

    connection: socket.socket
    is_cancelled: Callable[[], bool]
    tick: Callable[[], None]
    interval: float


class _Ended(Exception):
    """The process has ended, or was ended; ``kind`` and ``message`` are for the reply."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass
class _Process:
    """One process for objectives, with its guardian."""

    connection: socket.socket
    guard: socket.socket
    output: int
    guardian: int
    cpus: int | None
    pid: int | None = None
    loaded: dict[str, frozenset[str]] = field(default_factory=dict)  # objectives, with the values each needs
    log: bytearray = field(default_factory=bytearray)
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of the requests
    is_used: bool = False  # something was evaluated in it
    memory: int | None = None  # bytes it held with its objectives loaded; 0: all may have been left; None: not seen yet

    @classmethod
    def start(cls, cpus: int | None) -> _Process:
        ours, theirs = socket.socketpair()
        guard, guarded = socket.socketpair()
        output, sink = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _become_guardian(guarded, theirs, sink, cpus)
            finally:
                os._exit(1)
        for end in (theirs, guarded):
            end.close()
        os.close(sink)
        os.set_blocking(output, False)
        return cls(ours, guard, output, pid, cpus)

    def drain(self) -> None:
        """Take in what was printed; it goes on to where the worker's own output goes."""
        for _ in range(N_READS):  # not until there is nothing more: an objective may print faster than this reads
            try:
                text = os.read(self.output, 65536)
            except BlockingIOError:
                return
            if not text:
                return
            self.log += text
            if len(self.log) > 4 * LOG_BYTES:
                del self.log[: -LOG_BYTES - 1]  # one more than is shown: that it was cut must show
            with contextlib.suppress(OSError):
                os.write(2, text)

    def held(self) -> int:
        """Bytes of memory that it and all it has started hold."""
        return processes.memory_of(processes.known_descendants(self.guardian))

    def is_over(self) -> bool:
        """Whether it has ended, or lost its guardian, while nothing was asked of it."""
        return bool(readable([self.connection, self.guard], 0.0))

    def end(self) -> int:
        """Kill it with all it has started, and wait until it is gone; its wait status."""
        with contextlib.suppress(OSError):
            self.guard.sendall(guardian.KILL)
        return self.status()

    def status(self) -> int:
        """The wait status of a process that has ended or is about to; frees what this side holds of it."""
        self.guard.settimeout(KILL_DEADLINE)
        try:
            line = self.guard.recv(64)
        except OSError:
            line = b""
        processes.kill(self.guardian)  # it has said its word, or never will; what it guards dies with it then
        if not line and self.pid is not None:  # killed: of the others it would have ended, the group can be found
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.guardian, 0)
        self.drain()
        for end in (self.connection, self.guard):
            end.close()
        os.close(self.output)
        return int(line) if line.strip().isdigit() else int(signal.SIGKILL)


class Evaluator:
    """Runs objectives in a process of its own, one at a time; a new one when it has died. One per worker."""

    def __init__(self) -> None:
        self._process: _Process | None = None

    def check(
        self, objective: Objective, packages: list[str], limits: Limits, context: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Load an objective anew; a reply with the versions of Python and of ``packages`` beside what became of it."""
        return self._guarded(limits, lambda process: self._load(process, objective, context, packages, None))

    def evaluate(
        self,
        objective: Objective,
        argument: bytes,
        limits: Limits = Limits(),
        context: Mapping[str, Any] | None = None,
        watch: Watch | None = None,
    ) -> dict[str, Any]:
        """The reply to one evaluation.

        Args:
            objective: What to call.
            argument: What to call it with, pickled.
            limits: When to end it.
            context: What the process takes over from the worker, see :func:`sparktune.worker.child._take_over`.
            watch: A connection that may ask for its end.

        Returns:
            ``kind``: "ok", "error", "unloadable", "lost", "timeout", "memory" or "cancelled"; ``value``: the pickled
            result; ``error``: as :func:`sparktune.worker.child.describe` returns it; ``message``: of the last four
            kinds; ``record``: host, process, start, end and, if anything was printed, the end of it as ``log``.
        """
        context = context or {}
        was_loaded = self._process is not None and objective.digest in self._process.loaded

        def run(process: _Process) -> dict[str, Any]:
            reply: dict[str, Any] = {"kind": "ok"}
            if objective.digest not in process.loaded:
                reply = self._load(process, objective, context, None, watch)
            elif limits.timeout is not None or limits.memory is not None:
                # An exchange of its own: its time does not count in the evaluation's, and what was let go is gone.
                renew = {"op": "renew", "digest": objective.digest, "context": context}
                reply = _exchange(process, renew, Limits(), watch)
            if reply["kind"] != "ok":
                return reply
            if limits.memory is not None and _is_filled(process, limits.memory):
                return {"kind": "filled", "record": {}}
            process.is_used = True
            request = {"op": "evaluate", "digest": objective.digest, "argument": argument, "context": context}
            return _exchange(process, request, limits, watch)

        reply = self._guarded(limits, run)
        if reply["kind"] == "filled" or (reply["kind"] == "unloadable" and was_loaded):
            # Classes that can be made once in a process, a file that could not be read just then: from the beginning.
            # And a limit of memory is this evaluation's, not for what those before it have left.
            self.close()
            reply = self._guarded(limits, run)
        return reply

    def _guarded(self, limits: Limits, run: Callable[[_Process], dict[str, Any]]) -> dict[str, Any]:
        if self._process is not None and (self._process.cpus != limits.cpus or self._process.is_over()):
            self.close()  # its thread pools have the size they had at the start, or it was killed between evaluations
        process = self._process or _Process.start(limits.cpus)
        self._process = process
        process.drain()
        process.log.clear()
        start = time.time()
        try:
            reply = run(process)
            process.drain()
        except _Ended as end:
            self._process = None
            record = {"host": socket.gethostname(), "pid": process.pid, "start": start, "end": time.time()}
            reply = {"kind": end.kind, "message": end.message, "record": record}
        except BaseException:  # of the watch, for want of memory: whether a reply is still to come, nobody knows
            with contextlib.suppress(OSError):  # it had ended, and this came on top
                self.close()
            raise
        if process.log:
            reply["record"]["log"] = _text(process.log)
        return reply

    def _load(
        self,
        process: _Process,
        objective: Objective,
        context: Mapping[str, Any],
        packages: list[str] | None,
        watch: Watch | None,
    ) -> dict[str, Any]:
        known = frozenset().union(*process.loaded.values())
        pickled, values = objective.parts(known)
        n_forget = max(0, len(process.loaded) + 1 - KEPT_OBJECTIVES)
        forgotten = list(process.loaded)[:n_forget]
        kept = [process.loaded[digest] for digest in process.loaded if digest not in forgotten]
        request = {
            "op": "load",
            "digest": objective.digest,
            "objective": pickled,
            "values": values,
            "forget": [*forgotten, *known.difference(objective.values, *kept)],
            "packages": packages,
            "context": context,
        }
        before = process.held() if process.memory else 0
        reply = _exchange(process, request, Limits(), watch)
        process.pid = reply["record"]["pid"]
        if process.memory:  # what an objective takes, none has left behind; of forgotten ones it can no longer be told
            process.memory = 0 if forgotten else max(0, process.memory + process.held() - before)
        for digest in forgotten:
            del process.loaded[digest]
        if reply["kind"] == "ok":
            process.loaded[objective.digest] = objective.values
        return reply

    def close(self) -> None:
        """End the process, with all it has started."""
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _become_guardian(guarded: socket.socket, connection: socket.socket, sink: int, cpus: int | None) -> None:
    """Turn this newly forked process into the guardian of another one; never returns."""
    os.setpgid(0, 0)  # a Ctrl-C in the terminal is for the driver
    _let_go({guarded.fileno(), connection.fileno(), sink})

    def start() -> int:
        pid = os.fork()
        if pid:
            connection.close()
            os.close(sink)
            return pid
        try:
            processes.die_with_parent()
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            guarded.close()
            child.serve(connection, sink, cpus)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    guardian.run(guarded, start)


def _let_go(kept: set[int]) -> None:
    """Let go of the worker's files and connections.

    They are put over, not closed: Python objects that own them were copied along with the process, and would later
    close whatever has their number then.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for descriptor in map(int, os.listdir(folder)):
        if descriptor not in kept and descriptor not in (1, 2, nothing):
            with contextlib.suppress(OSError):  # the one that listed the folder is gone
                os.fstat(descriptor)
                os.dup2(nothing, descriptor)


def _exchange(process: _Process, request: Mapping[str, Any], limits: Limits, watch: Watch | None) -> dict[str, Any]:
    """Send a request and wait for the reply, reading along what is printed.

    Raises:
        _Ended: If the process died, went over a limit, or the watch says it must end; it is gone then.
    """
    number = next(process.numbers)
    try:
        frames.send(process.connection, pickle.dumps({**request, "number": number}))
    except OSError:
        raise _Ended("lost", _epitaph(process)) from None
    clock = _Clock(limits, watch)
    waiting: list[socket.socket | int] = [process.connection, process.guard, process.output]
    if watch is not None:
        waiting.append(watch.connection)
    while True:
        ready = readable(waiting, clock.remaining())
        if process.output in ready:
            process.drain()
        if process.connection in ready:
            try:
                message = frames.receive(process.connection)
            except OSError:
                message = None
            if message is None:
                raise _Ended("lost", _epitaph(process))
            reply: dict[str, Any] = pickle.loads(message)
            if reply.pop("number", None) != number:
                process.end()
                raise _Ended("lost", "the process of the evaluation answered what it was not asked: it was killed")
            return reply
        if process.guard in ready:
            raise _Ended("lost", _epitaph(process))
        if watch is not None and watch.connection in ready and watch.is_cancelled():
            process.end()
            raise _Ended("cancelled", "cancelled")
        verdict = clock.verdict(process)
        if verdict is not None:
            process.end()
            raise _Ended(*verdict)


class _Clock:
    """When to look at an evaluation again, and whether it is over one of its limits."""

    def __init__(self, limits: Limits, watch: Watch | None) -> None:
        self._limits = limits
        self._watch = watch
        now = time.monotonic()
        self._deadline = now + limits.timeout if limits.timeout is not None else None
        self._look = now + MEMORY_INTERVAL if limits.memory is not None else None
        self._tick = now + watch.interval if watch is not None else None

    def remaining(self) -> float | None:
        """Seconds until the next thing to do; None if there is none."""
        times = [moment for moment in (self._deadline, self._look, self._tick) if moment is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def verdict(self, process: _Process) -> tuple[str, str] | None:
        """The kind and message of a limit that was passed; None if none was."""
        now = time.monotonic()
        if self._watch is not None and self._tick is not None and now >= self._tick:
            self._watch.tick()
            self._tick = now + self._watch.interval
        if self._deadline is not None and now >= self._deadline:
            return "timeout", f"the trial ran longer than trial_timeout={self._limits.timeout:g} s and was killed"
        if self._look is not None and now >= self._look:
            used = process.held()
            limit = self._limits.memory
            if limit is not None and used > limit:
                return "memory", (
                    f"the trial's processes held {used / 2**20:.0f} MiB of memory, more than trial_memory="
                    f"{limit / 2**20:.0f} MiB, and were killed"
                )
            spent = time.monotonic() - now
            self._look = now + max(MEMORY_INTERVAL, 20 * spent)  # counting the pages of a large process takes time
        return None


def _is_filled(process: _Process, limit: int) -> bool:
    """Whether earlier evaluations have left so much in a process that one with this limit of memory needs another."""
    held = process.held()
    if process.memory is None:
        process.memory = 0 if process.is_used else held  # used without a limit, when nobody looked
    return held - process.memory > MAX_LEFT * limit


def _epitaph(process: _Process) -> str:
    """Why a process no longer answers, in words. It is gone then."""
    is_dead = bool(readable([process.guard], END_DELAY))
    status = process.end()
    if is_dead:
        return f"the process of the evaluation {processes.describe(status)}"
    return "the process of the evaluation closed its connection to the worker, or became another program: it was killed"


def _text(log: bytearray) -> str:
    """The last lines of what was printed; of a progress bar, written over and over, its last state."""
    whole = MODULE_LIST.sub(b"", bytes(log))
    text = whole[-LOG_BYTES:]
    if len(whole) > LOG_BYTES:
        text = text.partition(b"\n")[2] or text  # not the second half of a line
    lines = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in text.split(b"\n")]
    return b"\n".join(lines).decode("utf-8", "replace")
