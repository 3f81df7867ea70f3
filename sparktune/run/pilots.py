"""Evaluations made by pilots: long-lived processes that make one after another, over a connection to the driver.

One thread with an event loop owns all state. Evaluations wait in a queue; a pilot that has nothing to do takes the
next one, as a *lease*, which ends with a reply, with the end of the connection, or after a silence. Where pilots run is
up to a :class:`Launcher`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from sparktune.history.trial import Call, Outcome
from sparktune.run.connection import Connection, Lease
from sparktune.run.executor import Executor, break_off, settle
from sparktune.run.replies import Reader

logger = logging.getLogger("sparktune")

#: Seconds for pilots to end by themselves: those that have not connected yet, which may be waiting for a slot, and the
#: others. Then they are ended by force, for which there is this time.
STILLBORN_DEADLINE = 0.5
FAREWELL_DEADLINE = 3.0
FORCE_DEADLINE = 15.0

#: Seconds between starts of pilots that never connect: the first pause, and the longest.
BACKOFF = (0.5, 10.0)


class Launcher(Protocol):
    """Starts pilots and ends them."""

    def run(self, number: int) -> str:
        """Have a pilot run, and return when it has ended; called in a thread of its own.

        Returns:
            Why it ended, as :func:`sparktune.worker.pilot.run_pilot` says it, or what went wrong.

        Raises:
            Exception: If no pilot can run any more; ends the run.
        """
        ...

    def stop(self, number: int) -> None:
        """End a pilot by force; called in a thread of its own, again and again until the pilot has ended."""
        ...

    def is_needed_elsewhere(self, n_pilots: int) -> bool:
        """Whether others may be waiting for what so many pilots hold; called in a thread of its own."""
        ...

    def replace(self, reason: str) -> Executor:
        """Who evaluates instead, as no pilot can be had; called once, and must not take long.

        Raises:
            Exception: If nobody can; ends the run.
        """
        ...


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        idle: A pilot with nothing to do is given back after this time.
        silence: A pilot with an evaluation that is not heard of for this time is lost.
        connection: Evaluations that wait go elsewhere if there is no pilot for this time.
        turn: A pilot that has been there for this time makes room for others, if there are any that may wait, and a
            new one queues behind them.
    """

    idle: float = 5.0
    silence: float = 20.0
    connection: float = 30.0
    turn: float = math.inf

    @property
    def interval(self) -> float:
        """Seconds between looks at what is overdue."""
        return min(1.0, self.idle / 4, self.silence / 4, self.connection / 4)


class PilotPool:
    """Has evaluations made by pilots, which are started as they are needed.

    Args:
        launcher: Starts pilots.
        secret: The run's; pilots must know it.
        reader: Makes outcomes of what pilots reply.
        patience: How long to wait for what; None: what is usual.

    Attributes:
        limit: Pilots at a time, at most; may be set at any time.
    """

    def __init__(self, launcher: Launcher, secret: bytes, reader: Reader, patience: Patience | None = None) -> None:
        patience = patience or Patience()
        self.limit = 1
        self.secret = secret
        self.reader = reader
        self.silence = patience.silence
        self._launcher = launcher
        self._patience = patience
        # All threads use these,
        self._leases: dict[Any, Lease] = {}
        self._lease_numbers = itertools.count(1)
        self._inbox: deque[Lease] = deque()
        self._is_woken = False
        # and the thread of the loop alone these.
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[Connection] = set()
        self._pilots: set[Connection] = set()  # those that have proved themselves
        self._idle: list[Connection] = []
        self._waiting: deque[Lease] = deque()
        self._running: dict[int, threading.Thread] = {}  # by pilot: where the launcher's run() has not returned
        self._starting: set[int] = set()  # those of them that have not connected yet
        self._numbers = itertools.count()
        self._n_failures = 0  # starts in a row without a connection
        self._not_before = 0.0
        self._alone_since = math.inf  # since when something waits and there is no pilot
        self._is_asking = False  # whether others need what pilots hold
        self._is_open = self._is_closing = False
        self._substitute: Executor | None = None
        self._error: BaseException | None = None
        self._stopping: list[threading.Thread] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="sparktune-pilots", daemon=True)
        self._thread.start()

    # -- from any thread ----------------------------------------------------------------------------------------------

    def submit(self, call: Call, argument: bytes) -> Future[Outcome]:
        """Queue an evaluation.

        Args:
            call: What to evaluate.
            argument: What the objective is called with, pickled.
        """
        lease = Lease(call, argument, next(self._lease_numbers))
        lease.future.set_running_or_notify_cancel()  # from now on only cancel() can
        self._leases[call.tid] = lease
        number = lease.number  # not the lease itself: it holds the future, and a cycle would keep results for long
        lease.future.add_done_callback(lambda _: self._forget(call.tid, number))
        self._inbox.append(lease)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._take_in)
        return lease.future

    def cancel(self, tid: Any) -> None:
        """End one evaluation; its future ends when its processes are gone."""
        lease = self._leases.get(tid)
        if lease is not None:
            self._loop.call_soon_threadsafe(self._cancel, lease)

    def open(self) -> None:
        """Begin to start pilots as they are needed."""
        self._loop.call_soon_threadsafe(self._open)

    def listen(self, host: str) -> int:
        """Take connections at an address of this machine; the port.

        Raises:
            OSError: If the address is not this machine's, or has no port left.
        """
        family, *_, address = socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        server = socket.create_server(address[:2], family=family)

        async def listen() -> None:
            self._server = await self._loop.create_server(lambda: Connection(self), sock=server, backlog=1024)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result()
        return int(server.getsockname()[1])

    def adopt(self, connection: socket.socket) -> None:
        """Take over a connection on which nothing was said yet."""

        async def adopt() -> None:
            await self._loop.create_connection(lambda: Connection(self), sock=connection)

        asyncio.run_coroutine_threadsafe(adopt(), self._loop).result()

    def fail(self, error: BaseException) -> None:
        """End what waits, and what comes later, with an error."""
        self._loop.call_soon_threadsafe(self._fail, error)

    def give_up(self, reason: str) -> None:
        """Do without pilots: what waits, or comes later, goes to the launcher's substitute."""
        self._loop.call_soon_threadsafe(self._give_up, reason)

    def shutdown(self, *, cancel: bool) -> None:
        """Wait for what runs, or with ``cancel`` end it; then end the pilots, and free all threads and sockets.

        An interrupt ends the waiting: pilots are hung up on then, which ends them and what they run.
        """
        if self._loop.is_closed():
            return
        try:
            if cancel:
                for tid in list(self._leases):
                    self.cancel(tid)
            wait([lease.future for lease in list(self._leases.values())])
            self._in_loop(self._close)
            self._end_pilots()
        finally:
            with contextlib.suppress(RuntimeError):  # closed, by a call that was interrupted just behind this line
                self._loop.call_soon_threadsafe(self._disconnect)
            self._thread.join()

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _end_pilots(self) -> None:
        left = dict(self._running)
        start = time.monotonic()
        while left and (waited := time.monotonic() - start) < FAREWELL_DEADLINE + FORCE_DEADLINE:
            for number in left:
                if waited > (STILLBORN_DEADLINE if number in self._starting else FAREWELL_DEADLINE):
                    self._stop(number)
            end = time.monotonic() + 0.2
            for thread in left.values():
                thread.join(max(0.0, end - time.monotonic()))
            left = {number: thread for number, thread in left.items() if thread.is_alive()}
        if left:
            logger.warning("%d workers did not end within %g s of being told to", len(left), FORCE_DEADLINE)
        for thread in self._stopping:
            thread.join(FAREWELL_DEADLINE)

    def _forget(self, tid: Any, number: int) -> None:
        lease = self._leases.get(tid)
        if lease is not None and lease.number == number:  # not that of another attempt
            del self._leases[tid]

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Run a function in the thread of the loop, and return when it has."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    # -- evaluations; from here on in the thread of the loop ----------------------------------------------------------

    def _take_in(self) -> None:
        self._is_woken = False  # first: what is put into the inbox from now on wakes this again
        while self._inbox:
            self._waiting.append(self._inbox.popleft())
        self._assign()

    def _assign(self) -> None:
        """Give what waits to pilots that have nothing to do, and start pilots if there are too few."""
        while self._waiting and (self._idle or self._error or self._substitute):
            lease = self._waiting.popleft()
            if lease.future.done():  # cancelled while it waited
                continue
            if self._error is not None:
                break_off(lease.future, self._error)
            elif self._substitute is not None:
                lease.hand_over(self._substitute)
            else:
                self._idle.pop().evaluate(lease)
        if self._waiting and self._is_open and not self._is_closing:
            if not self._pilots:
                self._alone_since = min(self._alone_since, time.monotonic())
            self._start_pilots()

    def _cancel(self, lease: Lease) -> None:
        lease.is_cancelled = True
        if lease.connection is not None:
            lease.connection.cancel(lease)
        elif self._substitute is not None:
            self._substitute.cancel(lease.call.tid)
        else:
            settle(lease.future, Outcome())

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._assign()

    def _give_up(self, reason: str) -> None:
        if self._substitute is None and self._error is None:
            try:
                self._substitute = self._launcher.replace(reason)
            except Exception as error:
                self._error = error
            self._assign()

    # -- pilots -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._is_open = True
        self._look_after()

    def _start_pilots(self) -> None:
        n_more = self.limit - len(self._running)
        if n_more <= 0 or time.monotonic() < self._not_before:
            return  # _on_ended comes here again
        n_waiting = sum(not lease.future.done() for lease in self._waiting)
        for _ in range(min(n_more, n_waiting - len(self._starting))):
            number = next(self._numbers)
            self._starting.add(number)
            self._running[number] = _start_thread(self._run, number)

    def _run(self, number: int) -> None:  # in a thread of its own
        error = None
        try:
            reason = self._launcher.run(number)
        except Exception as raised:
            reason, error = str(raised), raised
        logger.debug("worker %d has ended: %s", number, reason)
        with contextlib.suppress(RuntimeError):  # it took too long, and the loop is closed
            self._loop.call_soon_threadsafe(self._on_ended, number, reason, error)

    def _on_ended(self, number: int, reason: str, error: Exception | None) -> None:
        del self._running[number]
        for pilot in [pilot for pilot in self._pilots if pilot.number == number]:
            self._dismiss(pilot)  # cancelled, it may live for another second, and would take an evaluation with it
        if error is not None:
            self._fail(error)
        if number in self._starting:
            self._starting.remove(number)
            pause = min(BACKOFF[1], BACKOFF[0] * 2.0**self._n_failures)
            self._n_failures += 1
            self._not_before = time.monotonic() + pause
            self._loop.call_later(pause, self._assign)
            if reason.startswith(("unreachable", "refused")) and not self._pilots and not self._is_closing:
                self._give_up(reason)
        self._assign()

    def _stop(self, number: int) -> None:
        if number in self._running:
            self._stopping = [thread for thread in self._stopping if thread.is_alive()]
            self._stopping.append(_start_thread(self._launcher.stop, number))

    def _look_after(self) -> None:
        """Find what is overdue, now and every now and then."""
        if self._is_closing:
            return
        now = time.monotonic()
        for pilot in list(self._pilots):
            if pilot.lease is not None and now > pilot.lease.deadline:
                pilot.give_up(f"nothing was heard of its worker for {self._patience.silence:g} s")
                self._stop(pilot.number)
            elif pilot in self._idle and now > pilot.idle_since + self._patience.idle:
                self._idle.remove(pilot)
                pilot.say_bye()
        if self._pilots or not self._waiting:
            self._alone_since = math.inf
        self._assign()
        if now > self._alone_since + self._patience.connection:
            self._give_up(f"none connected within {self._patience.connection:g} s")
        if not self._is_asking and self._oldest() is not None:
            self._is_asking = True
            _start_thread(self._ask, len(self._running))
        self._loop.call_later(self._patience.interval, self._look_after)

    def _oldest(self) -> Connection | None:
        """The pilot that has been there for longest, if that is longer than its turn."""
        staying = (pilot for pilot in self._pilots if not pilot.is_leaving)
        pilot = min(staying, key=lambda pilot: pilot.ready_since, default=None)
        return pilot if pilot is not None and time.monotonic() > pilot.ready_since + self._patience.turn else None

    def _ask(self, n_pilots: int) -> None:  # in a thread of its own
        is_needed = self._launcher.is_needed_elsewhere(n_pilots)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._make_room, is_needed)

    def _make_room(self, is_needed: bool) -> None:
        self._is_asking = False
        if is_needed and (pilot := self._oldest()) is not None:
            self._dismiss(pilot)  # one at a time

    def _dismiss(self, pilot: Connection) -> None:
        """Have a pilot end when it has finished what it has."""
        pilot.is_leaving = True
        if pilot in self._idle:
            self._idle.remove(pilot)
            pilot.say_bye()

    def _close(self) -> None:
        self._is_closing = True  # the port stays open: pilots that are about to connect are told to end
        for pilot in self._pilots:
            pilot.say_bye()

    def _disconnect(self) -> None:
        self._is_closing = True
        try:
            if self._server is not None:
                self._server.close()
            for connection in list(self._connections):
                connection.give_up("the run has ended")
        finally:
            self._loop.call_soon(self._loop.stop)  # behind what ends the connections

    # -- what connections say -----------------------------------------------------------------------------------------

    def on_open(self, connection: Connection) -> None:
        """Somebody has connected."""
        self._connections.add(connection)

    def on_ready(self, connection: Connection) -> None:
        """It is a pilot."""
        self._pilots.add(connection)
        self._starting.discard(connection.number)
        self._n_failures, self._not_before, self._alone_since = 0, 0.0, math.inf
        connection.ready_since = time.monotonic()
        if self._is_closing:
            connection.say_bye()
        else:
            self.on_idle(connection)

    def on_idle(self, connection: Connection) -> None:
        """A pilot has nothing to do."""
        if connection.is_leaving:
            connection.say_bye()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        self._assign()

    def on_closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self._pilots.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._assign()


def _start_thread(function: Callable[[int], Any], number: int) -> threading.Thread:
    # A daemon: a program that ends without a shutdown takes its pilots with it, it does not wait for them.
    thread = threading.Thread(target=function, args=(number,), name=f"sparktune-pilot-{number}", daemon=True)
    thread.start()
    return thread
