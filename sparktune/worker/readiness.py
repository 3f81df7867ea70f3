"""Which of several connections can be read, whatever their numbers."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable

#: ``select`` refuses descriptors above 1023, of which a process may have thousands; all systems that fork but for very
#: old ones have ``poll``.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)

#: Seconds to wait at a time: ``poll`` counts milliseconds in 31 bits, which are 24 days.
LONGEST = 86_400.0


def readable(waiting: Iterable[socket.socket | int], timeout: float | None = None) -> list[socket.socket | int]:
    """Those that can be read, or have ended; none if none could be within the time, or within a day.

    Args:
        waiting: Sockets, or descriptors.
        timeout: Seconds to wait for the first; None: no limit.
    """
    with Selector() as selector:
        for one in waiting:
            selector.register(one, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(None if timeout is None else min(timeout, LONGEST))]  # type: ignore[misc]
