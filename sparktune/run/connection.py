"""The driver's side of a connection to one pilot: the handshake, then one lease after another.

The wire is described in :mod:`sparktune.worker.pilot`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import pickle
import secrets
import socket
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from sparktune.history.trial import Call, Outcome
from sparktune.run.executor import Executor, break_off, settle
from sparktune.run.replies import Reader, lost, with_queue_time
from sparktune.worker import pilot
from sparktune.worker.pilot import Message, Wire

logger = logging.getLogger("sparktune")

#: Seconds that loading an objective, with its data and imports, may take: no heartbeat comes meanwhile.
LOADING_DEADLINE = 600.0

#: Seconds from a cancel to its confirmation; then the pilot is given up.
CANCEL_DEADLINE = 5.0


@dataclass(eq=False, slots=True)
class Lease:
    """One evaluation, waiting or with a pilot.

    Attributes:
        call: What to evaluate.
        argument: What the objective is called with, pickled.
        number: Identifies the lease.
        future: What comes of it.
        submitted: When, on the monotonic clock.
        connection: To the pilot that evaluates it; None while it waits.
        deadline: When it is lost if nothing is heard, on the monotonic clock.
        is_cancelled: Whether its end was asked for.
    """

    call: Call
    argument: bytes
    number: int
    future: Future[Outcome] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    connection: Connection | None = None
    deadline: float = math.inf
    is_cancelled: bool = False

    def hand_over(self, executor: Executor) -> None:
        """Have another executor end the future."""

        def take_over(done: Future[Outcome]) -> None:
            if done.cancelled():
                settle(self.future, Outcome())
            elif (error := done.exception()) is not None:
                break_off(self.future, error)
            else:
                settle(self.future, done.result())

        try:
            future = executor.submit(self.call)
        except Exception as error:  # it has been shut down
            break_off(self.future, error)
        else:
            future.add_done_callback(take_over)

    def finish(self, reply: bytes, reader: Reader) -> None:
        """End the future with what a pilot, which has proved itself, has replied."""
        try:
            outcome = reader.outcome(pickle.loads(reply))
        except Exception as error:
            break_off(self.future, error)
            return
        if self.is_cancelled and outcome.result is None:
            outcome = Outcome(record=outcome.record)  # it failed because it was ended
        settle(self.future, with_queue_time(outcome, time.monotonic() - self.submitted))


class Owner(Protocol):
    """What a connection needs to know, and whom it tells."""

    secret: bytes
    reader: Reader
    silence: float

    def on_open(self, connection: Connection) -> None:
        """Somebody has connected."""

    def on_ready(self, connection: Connection) -> None:
        """It is a pilot, and has nothing to do."""

    def on_idle(self, connection: Connection) -> None:
        """A pilot has nothing to do any more."""

    def on_closed(self, connection: Connection) -> None:
        """A connection has ended; may come twice."""


class Connection(asyncio.Protocol):
    """A connection to one pilot.

    Args:
        owner: Gives it leases.

    Attributes:
        number: The pilot's, as it says; -1 before it has proved itself.
        lease: What the pilot evaluates; None if nothing.
        idle_since: When that ended, on the monotonic clock.
        ready_since: When the pilot proved itself, likewise.
        is_leaving: Whether the pilot is to end after the evaluation that it has.
    """

    def __init__(self, owner: Owner) -> None:
        self.number = -1
        self.lease: Lease | None = None
        self.idle_since = self.ready_since = 0.0
        self.is_leaving = False
        self._owner = owner
        self._transport: Any = None
        self._nonce = secrets.token_bytes(pilot.NONCE_BYTES)
        self._hello = b""
        self._wire: Wire | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio's ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet whoever it is."""
        self._transport = transport
        if transport.get_extra_info("socket").family != getattr(socket, "AF_UNIX", None):
            pilot.notice_silence(transport.get_extra_info("socket"))
        self._owner.on_open(self)
        self._transport.write(pilot.MAGIC + self._nonce)
        self._timer = asyncio.get_running_loop().call_later(pilot.HANDSHAKE_DEADLINE, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take in a part of the handshake, or messages."""
        if self._wire is None:
            self._check_in(data)
            return
        try:
            for message in self._wire.feed(data):
                self._on_message(message)
        except pilot.ForgedMessageError as error:
            logger.warning("the connection to worker %d was closed: %s", self.number, error)
            self.give_up("its worker's connection was tampered with")

    def connection_lost(self, error: Exception | None) -> None:
        """The other side has hung up, or its machine is gone."""
        if self._timer is not None:
            self._timer.cancel()
        cause = f" ({error})" if error is not None else ""
        self._end_lease(f"the worker ended during the evaluation: killed, or its machine went away{cause}")
        self._owner.on_closed(self)

    # -- the handshake ------------------------------------------------------------------------------------------------

    def _check_in(self, data: bytes) -> None:
        self._hello += data
        if len(self._hello) < pilot.HELLO_BYTES:
            return
        said, seal = self._hello[: -pilot.SEAL_BYTES], self._hello[-pilot.SEAL_BYTES :]
        hello = self._nonce + said
        is_genuine = hmac.compare_digest(seal, pilot.proof("pilot", self._owner.secret, hello))
        # A pilot says no more until it is answered.
        if len(self._hello) > pilot.HELLO_BYTES or not is_genuine:
            peer = self._transport.get_extra_info("peername")
            logger.warning("a connection from %s was refused: it does not know the secret of this run", peer)
            self._transport.abort()
            return
        if self._timer is not None:
            self._timer.cancel()
        (self.number,) = pilot.NUMBER.unpack(said[pilot.NONCE_BYTES :])
        self._transport.write(pilot.proof("driver", self._owner.secret, hello))
        self._wire = Wire(self._owner.secret, hello, "driver")
        self._owner.on_ready(self)

    # -- leases -------------------------------------------------------------------------------------------------------

    def evaluate(self, lease: Lease) -> None:
        """Have the pilot, which has nothing to do, make an evaluation."""
        self.lease = lease
        lease.connection = self
        lease.deadline = time.monotonic() + self._owner.silence
        self._say(pilot.EVALUATE, lease.number, lease.argument)

    def cancel(self, lease: Lease) -> None:
        """Have the pilot end an evaluation."""
        lease.deadline = min(lease.deadline, time.monotonic() + CANCEL_DEADLINE)
        self._say(pilot.CANCEL, lease.number)

    def say_bye(self) -> None:
        """Have the pilot end; an evaluation on it ends as cancelled."""
        self._say(pilot.BYE)

    def give_up(self, message: str) -> None:
        """Close the connection; an evaluation on it is lost."""
        self._end_lease(message)
        self._owner.on_closed(self)
        self._transport.abort()

    def _say(self, kind: bytes, lease: int = 0, payload: bytes = b"") -> None:
        if self._wire is not None and not self._transport.is_closing():
            self._transport.write(self._wire.seal(kind, lease, payload))

    def _on_message(self, message: Message) -> None:
        lease = self.lease
        if lease is None or message.lease != lease.number:
            return
        if message.kind == pilot.REPLY:
            self.lease = None
            self._owner.on_idle(self)  # first, so that the pilot has its next evaluation while this one is taken in
            lease.finish(message.payload, self._owner.reader)
        elif not lease.is_cancelled:
            pause = {pilot.BEAT: self._owner.silence, pilot.LOADING: LOADING_DEADLINE}.get(message.kind)
            if pause is not None:
                lease.deadline = time.monotonic() + pause

    def _end_lease(self, message: str) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            settle(lease.future, Outcome() if lease.is_cancelled else lost(message))
