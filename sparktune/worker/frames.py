"""Messages on a stream socket: each a length of 8 bytes, and that many bytes."""

from __future__ import annotations

import socket
import struct

LENGTH = struct.Struct("!Q")


def send(connection: socket.socket, message: bytes) -> None:
    """Send one message.

    Raises:
        OSError: If the other side is gone.
    """
    if len(message) < 65536:  # one segment, one system call
        connection.sendall(LENGTH.pack(len(message)) + message)
    else:
        connection.sendall(LENGTH.pack(len(message)))
        connection.sendall(message)


def receive(connection: socket.socket) -> bytes | None:
    """The next message; None if the other side has closed.

    Raises:
        OSError: If the connection broke.
    """
    head = exactly(connection, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    return exactly(connection, length)


def exactly(connection: socket.socket, n: int) -> bytes | None:
    """The next n bytes; None if the other side has closed before they were there."""
    data = bytearray(n)
    view = memoryview(data)
    while view:
        n_read = connection.recv_into(view)
        if not n_read:
            return None
        view = view[n_read:]
    return bytes(data)
