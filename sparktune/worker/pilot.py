"""A long-lived process that evaluates what the driver sends over a connection: the wire, and the worker's side of it.

A pilot connects, both sides prove that they know the run's secret, and then the driver sends one evaluation after
another. Nothing is unpickled, on either side, that does not carry a seal which only the other side can have made.

**The handshake**, in messages of fixed size, H(text) being the HMAC-SHA256 of it under the secret::

    driver -> pilot   MAGIC, a nonce
    pilot  -> driver  another nonce, its number, H("pilot", both nonces, the number)
    driver -> pilot   H("driver", both nonces, the number)

**Messages** afterwards: length (8 bytes), seal (32), kind (1), lease (8), payload. The seal is the HMAC-SHA256 of the
message and of its position in the stream, under a key for this connection and direction that both sides derive from
the secret and the nonces: a message cannot be forged, changed, repeated, left out or sent back. A *lease* is the number
of one evaluation on one pilot; what comes under another number than the one that is expected is too late, and ignored.

======== ================ ====================================================================================
Kind     From             Payload
======== ================ ====================================================================================
EVALUATE driver           The pickled argument of the objective.
CANCEL   driver           None: end the evaluation now. A reply follows all the same.
BYE      driver           None: end; a running evaluation is cancelled.
LOADING  pilot            None: the objective is being fetched and loaded, which may take long without a heartbeat.
BEAT     pilot            None: the evaluation runs, and this process lives.
REPLY    pilot            The pickled reply of :meth:`~sparktune.worker.evaluator.Evaluator.evaluate`.
======== ================ ====================================================================================

**Room for reports.** A side ignores kinds that it does not know, so intermediate results can be added as two more: a
REPORT from the pilot, under the lease of the running evaluation, with a number of its own and the pickled value; and an
ANSWER from the driver, under the same lease and number, "go on" or "stop". The objective's process sends its report on
its connection to the pilot, where :class:`~sparktune.worker.evaluator.Watch` would be told of it beside the cancelling;
the pilot looks for answers where it looks for CANCEL now, and hands them down. Nothing that exists has to change.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pickle
import secrets
import socket
import struct
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from . import frames, processes, task
from .evaluator import Evaluator, Limits, Objective, Parts, Watch

MAGIC = b"sparktune pilot\x01"
NONCE_BYTES = SEAL_BYTES = 32
NUMBER = struct.Struct("!Q")

GREETING_BYTES = len(MAGIC) + NONCE_BYTES
HELLO_BYTES = NONCE_BYTES + NUMBER.size + SEAL_BYTES

#: Longer messages are refused; no honest side sends one.
MAX_MESSAGE_BYTES = 2**31

#: Seconds for the other side's part of the handshake, and for a connection to be made.
HANDSHAKE_DEADLINE = 10.0

#: Seconds between heartbeats.
BEAT_INTERVAL = 2.0

EVALUATE, CANCEL, BYE = b"e", b"c", b"b"
LOADING, BEAT, REPLY = b"l", b"h", b"r"

_HEAD = struct.Struct("!cQ")


class ForgedMessageError(Exception):
    """A message does not carry the seal that it must."""


class Message(NamedTuple):
    """What one side tells the other."""

    kind: bytes
    lease: int
    payload: bytes


class Wire:
    """Seals the messages of one side of a connection and checks those of the other; does no input or output itself.

    Args:
        secret: The run's.
        hello: All that was said in the handshake, which makes the keys those of this connection alone.
        role: "driver" or "pilot": this side.
    """

    def __init__(self, secret: bytes, hello: bytes, role: str) -> None:
        keys = {side: _mac(secret, b"messages of the " + side.encode(), hello) for side in ("driver", "pilot")}
        self._outgoing = hmac.new(keys.pop(role), digestmod=hashlib.sha256)
        self._incoming = hmac.new(*keys.values(), digestmod=hashlib.sha256)
        self._n_sent = self._n_received = 0
        self._buffer = bytearray()

    def seal(self, kind: bytes, lease: int = 0, payload: bytes = b"") -> bytes:
        """A message as bytes to send; to be sent in the order in which they are made."""
        head = _HEAD.pack(kind, lease)
        seal = _seal(self._outgoing, self._n_sent, head, payload)
        self._n_sent += 1
        return frames.LENGTH.pack(len(seal) + len(head) + len(payload)) + seal + head + payload

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that bytes which came in complete.

        Raises:
            ForgedMessageError: If a seal is wrong or a length makes no sense; nothing more may be read then.
        """
        self._buffer += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        buffer = self._buffer
        if len(buffer) < frames.LENGTH.size:
            return None
        (length,) = frames.LENGTH.unpack_from(buffer)
        if not SEAL_BYTES + _HEAD.size <= length <= MAX_MESSAGE_BYTES:
            raise ForgedMessageError(f"a message says that it has {length} bytes")
        end = frames.LENGTH.size + length
        if len(buffer) < end:
            return None
        body = bytes(buffer[frames.LENGTH.size : end])
        del buffer[:end]
        seal, head, payload = body[:SEAL_BYTES], body[SEAL_BYTES:][: _HEAD.size], body[SEAL_BYTES + _HEAD.size :]
        if not hmac.compare_digest(seal, _seal(self._incoming, self._n_received, head, payload)):
            raise ForgedMessageError("a message does not carry the other side's seal")
        self._n_received += 1
        kind, lease = _HEAD.unpack(head)
        return Message(kind, lease, payload)


def _seal(key: hmac.HMAC, position: int, head: bytes, payload: bytes) -> bytes:
    mac = key.copy()  # with the key already worked in
    mac.update(NUMBER.pack(position) + head)
    mac.update(payload)
    return mac.digest()


def _mac(secret: bytes, *parts: bytes) -> bytes:
    # All parts but the first, a constant, have a fixed size, so no two lists of parts make one text.
    return hmac.digest(secret, b"|".join(parts), "sha256")


# -- the handshake ----------------------------------------------------------------------------------------------------


def proof(role: str, secret: bytes, hello: bytes) -> bytes:
    """What a side says to show that it knows the secret.

    Args:
        role: "driver" or "pilot".
        secret: The run's.
        hello: Both nonces, the driver's first, and the pilot's number.
    """
    return _mac(secret, role.encode(), hello)


def greet(connection: socket.socket, secret: bytes, number: int) -> Wire | None:
    """The pilot's part of the handshake; None if the other side is not the driver, or does not take this for a pilot.

    Raises:
        OSError: If the connection breaks, or the other side takes too long.
    """
    connection.settimeout(HANDSHAKE_DEADLINE)
    greeting = frames.exactly(connection, GREETING_BYTES)
    if greeting is None or not greeting.startswith(MAGIC):
        return None
    nonce = secrets.token_bytes(NONCE_BYTES)
    hello = greeting[len(MAGIC) :] + nonce + NUMBER.pack(number)
    connection.sendall(nonce + NUMBER.pack(number) + proof("pilot", secret, hello))
    answer = frames.exactly(connection, SEAL_BYTES)
    if answer is None or not hmac.compare_digest(answer, proof("driver", secret, hello)):
        return None
    connection.settimeout(None)
    return Wire(secret, hello, "pilot")


# -- the pilot --------------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    """What all evaluations of a run have in common, see :meth:`sparktune.worker.evaluator.Evaluator.evaluate`."""

    objective: Objective
    limits: Limits
    context: Mapping[str, Any]


def serve(connection: socket.socket, secret: bytes, number: int, work: Work, evaluator: Evaluator) -> str:
    """Evaluate what the driver sends, until it has had enough.

    Args:
        connection: To the driver, nothing said yet.
        secret: The run's.
        number: This pilot's.
        work: What to evaluate.
        evaluator: Where.

    Returns:
        Why it ended: "bye", "gone" (the driver has hung up) or "refused" (one side did not know the secret).
    """
    try:
        wire = greet(connection, secret, number)
    except OSError:
        wire = None
    return "refused" if wire is None else _Pilot(connection, wire, work, evaluator).run()


class _Pilot:
    """One pilot at work."""

    def __init__(self, connection: socket.socket, wire: Wire, work: Work, evaluator: Evaluator) -> None:
        self._connection = connection
        self._wire = wire
        self._evaluator = evaluator
        self._work = work._replace(objective=replace(work.objective, parts=self._announced(work.objective.parts)))
        self._lease = 0
        self._waiting: deque[Message] = deque()
        self._cancelled: set[int] = set()
        self._end: str | None = None

    def run(self) -> str:
        """Evaluate until the end; why it came."""
        while self._end is None:
            if self._waiting:
                self._evaluate(self._waiting.popleft())
            else:
                self._read()
        return self._end

    def _evaluate(self, message: Message) -> None:
        self._lease = message.lease
        watch = Watch(self._connection, self._is_cancelled, self._beat, BEAT_INTERVAL)
        if message.lease in self._cancelled:  # it came along with the evaluation itself
            reply: dict[str, Any] = {"kind": "cancelled", "message": "cancelled", "record": {}}
        else:
            try:
                reply = self._evaluator.evaluate(
                    self._work.objective, message.payload, self._work.limits, self._work.context, watch
                )
            except Exception as error:  # no memory or no process left on this machine: others may have some
                message_text = f"the worker could not evaluate: {type(error).__name__}: {error}"
                reply = {"kind": "lost", "message": message_text, "record": {"host": socket.gethostname()}}
        self._cancelled = {lease for lease in self._cancelled if lease > message.lease}
        self._say(REPLY, pickle.dumps(reply))

    def _is_cancelled(self) -> bool:
        """Called when something has come in; whether the evaluation that runs must end."""
        self._read()
        return self._lease in self._cancelled or self._end is not None

    def _beat(self) -> None:
        self._say(BEAT)

    def _announced(self, parts: Parts) -> Parts:
        """``parts``, which is asked for when the objective is to be loaded, with the driver told of it."""

        def announced(known: Collection[str]) -> tuple[bytes, Mapping[str, bytes]]:
            self._say(LOADING)
            return parts(known)

        return announced

    def _read(self) -> None:
        """Take in what has come; waits if nothing has."""
        try:
            data = self._connection.recv(65536)
            messages = list(self._wire.feed(data)) if data else None
        except (OSError, ForgedMessageError):
            messages = None
        if messages is None:
            self._end = "gone"
            return
        for message in messages:
            if message.kind == EVALUATE:
                self._waiting.append(message)
            elif message.kind == CANCEL:
                self._cancelled.add(message.lease)
            elif message.kind == BYE:
                self._end = "bye"

    def _say(self, kind: bytes, payload: bytes = b"") -> None:
        try:
            self._connection.sendall(self._wire.seal(kind, self._lease, payload))
        except OSError:
            self._end = "gone"


# -- where pilots are started -----------------------------------------------------------------------------------------


def run_pilot(options: Mapping[str, Any], rows: Iterator[bytes]) -> Iterator[bytes]:
    """Yield why a pilot ended that a Spark task is; see :func:`serve`, or "unreachable" and where and why.

    Args:
        options: As in :func:`sparktune.worker.task.run_trial`, and ``address`` (host and port of the driver),
            ``secret``, ``number``.
        rows: One row, which says nothing.
    """
    list(rows)  # to the end, as in run_trial
    host, port = options["address"]
    try:
        connection = socket.create_connection((host, port), HANDSHAKE_DEADLINE)
    except OSError as error:
        yield f"unreachable from {socket.gethostname()}: {error}".encode()
        return
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        notice_silence(connection)
        work = Work(task.objective_of(options), task.limits_of(options), task.context_of(options))
        yield serve(connection, options["secret"], options["number"], work, task._evaluator).encode()


def notice_silence(connection: socket.socket) -> None:
    """Have a connection break when the machine on the other side is gone or cut off: in 30 s, where the system can."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {"KEEPIDLE": 10, "KEEPINTVL": 5, "KEEPCNT": 4, "USER_TIMEOUT": 30_000}.items():
        option = getattr(socket, f"TCP_{name}", None)
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)


def run_process(descriptor: int, file: int, number: int) -> None:
    """Be a pilot in a process that the driver has started on its own machine.

    Args:
        descriptor: Of an inherited socket, connected to the driver.
        file: Descriptor of an inherited open file: a message of :mod:`~.frames` with the pickled options, and after it
            the pickled objective.
        number: The pilot's.
    """
    processes.die_with_parent()  # the connection may live on, in a process that the driver has forked
    connection = socket.socket(fileno=descriptor)
    head = os.pread(file, frames.LENGTH.size, 0)
    (length,) = frames.LENGTH.unpack(head)
    options = pickle.loads(os.pread(file, length, len(head)))
    start = len(head) + length

    def parts(_: Collection[str]) -> tuple[bytes, dict[str, bytes]]:
        size = os.fstat(file).st_size
        return b"".join(os.pread(file, 2**26, at) for at in range(start, size, 2**26)), {}

    sys.path[:] = options["path"]
    limits = Limits(options["timeout"], options["memory"], options["cpus"])
    work = Work(Objective(options["digest"], parts), limits, {name: options.get(name) for name in ("path", "alias")})
    evaluator = Evaluator()
    serve(connection, options["secret"], number, work, evaluator)
    evaluator.close()
