"""Events as lines of text: JSON, with a checksum in front, so that a torn or damaged line is recognised."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from sparktune._version import __version__
from sparktune.exceptions import InvalidStorage
from sparktune.history.events import Event
from sparktune.storage.encoding import decode

#: What this version writes, and the newest that it reads.
FORMAT = 1

HEADER = re.compile(rb'\{"crc":"([0-9a-f]{8})",')


def header() -> Event:
    """What every study begins with."""
    return {"event": "study", "format": FORMAT, "sparktune": __version__}


def to_line(event: Event) -> bytes:
    """An event, in JSON's types, as a line with its end."""
    body = json.dumps(event, separators=(",", ":"))[1:].encode()
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body)


def from_line(line: bytes, trust: bool = False) -> Event | None:
    """The event of a line without its end; None if the line is torn or damaged.

    Args:
        line: The line.
        trust: Whether to open pickles.
    """
    match = HEADER.match(line)
    if match is None:
        return None
    body = line[match.end() :]
    if zlib.crc32(body) != int(match[1], 16):
        return None
    event: Event = decode(json.loads(b"{" + body), trust)
    return event


def check_header(event: Any, where: str) -> None:
    """Refuse a study that this version cannot read.

    Raises:
        InvalidStorage: If it is of a newer format, or none.
    """
    if event is None or event.get("event") != "study":
        raise InvalidStorage(f"{where} is no study of sparktune, and is left alone: name another file")
    if event["format"] > FORMAT:
        raise InvalidStorage(
            f"{where} has format {event['format']}, written by sparktune {event.get('sparktune')}, and this version "
            f"({__version__}) reads up to format {FORMAT}: upgrade sparktune"
        )
