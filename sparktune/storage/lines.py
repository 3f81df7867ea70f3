"""Events as lines of text: JSON, with a checksum in front, so that a torn or damaged line is recognised."""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sparktune._version import __version__
from sparktune.exceptions import InvalidStorage
from sparktune.history.events import Event
from sparktune.storage.encoding import unmarked

logger = logging.getLogger("sparktune")

#: What this version writes, and the newest that it reads.
FORMAT = 1

CHECKSUM = re.compile(rb'\{"crc":"([0-9a-f]{8})",')
#: What every header of every version begins with, but for its checksum.
HEADER_BEGINS = b'{"crc":"--------","event":"study","format":'


def header(**more: Any) -> Event:
    """What every study begins with."""
    return {"event": "study", "format": FORMAT, "sparktune": __version__, **more}


def to_line(event: Event) -> bytes:
    """An event, in JSON's types, as a line with its end."""
    body = json.dumps(event, separators=(",", ":"))[1:].encode()
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body)


def to_lines(events: Iterable[Event]) -> bytes:
    """Events, in JSON's types, as lines."""
    return b"".join(map(to_line, events))


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is one of ours, neither torn nor damaged."""
    match = CHECKSUM.match(line)
    return match is not None and zlib.crc32(memoryview(line)[match.end() :]) == int(match[1], 16)


def from_line(line: bytes, trust: bool = False) -> Event | None:
    """The event of a line without its end; None if the line is torn or damaged.

    Args:
        line: The line.
        trust: Whether to open pickles.

    Raises:
        InvalidStorage: If it is whole, but not what :func:`to_line` makes.
    """
    if not is_whole(line):
        return None
    try:
        event = json.loads(b"{" + line[len('{"crc":"--------",') :], object_hook=partial(unmarked, trust=trust))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InvalidStorage) else _no_event(line) from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise _no_event(line)
    return event


def _no_event(line: bytes) -> InvalidStorage:
    return InvalidStorage(f"a line of a study is no event: {line[:80]!r}")


def lines_of(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each line of ``data`` without its end, and where the next one begins; what comes after the last end is none."""
    place = 0
    while (end := data.find(b"\n", place) + 1) > 0:
        yield data[place : end - 1], end
        place = end


def events_of(data: bytes, where: str, trust: bool = False) -> Iterator[Event]:
    """The header, and then the events; damaged lines are left out, with a warning.

    Args:
        data: Lines.
        where: Their name, for messages.
        trust: Whether to open pickles.

    Raises:
        InvalidStorage: If it is no study, or one of a newer version.
    """
    check_beginning(data, where)
    for number, (line, end) in enumerate(lines_of(data), start=1):
        event = from_line(line, trust)
        if event is not None:
            yield event
        else:
            torn = "it is torn, as by a crash" if end == len(data) else "it is damaged"
            logger.warning("line %d of %s is left out: %s", number, where, torn)


def check_beginning(data: bytes, where: str) -> None:
    """Refuse what this version cannot read; nothing at all, and a torn header, are the beginning of a study.

    Raises:
        InvalidStorage: If it is of a newer format, or no study.
    """
    line, ended, _ = data.partition(b"\n")
    event = from_line(line) if ended else None
    if event is None:
        is_torn = not ended and HEADER_BEGINS.startswith(_masked(line[: len(HEADER_BEGINS)]))
        # A damaged header may have good lines behind it; a file of somebody else's has none.
        if not is_torn and not any(is_whole(line) for line, _ in lines_of(data)):
            if any(line.endswith(b"\r") and is_whole(line[:-1]) for line, _ in lines_of(data)):
                raise InvalidStorage(
                    f"{where} is a study whose lines end in CRLF, as those of a text file that was brought here from "
                    "Windows, by git or by an editor, and is left alone: copy it as a binary file, or have its lines "
                    "end in LF again, as by dos2unix"
                )
            raise InvalidStorage(f"{where} is no study of sparktune, and is left alone: name another")
    elif event["event"] == "study" and not (isinstance(event.get("format"), int) and event["format"] <= FORMAT):
        raise InvalidStorage(
            f"{where} has format {event.get('format')}, written by sparktune {event.get('sparktune')}, and this "
            f"version ({__version__}) reads up to format {FORMAT}: upgrade sparktune"
        )


def _masked(line: bytes) -> bytes:
    """The beginning of a header with its checksum, as far as it is there, made alike in all."""
    begin, end = len('{"crc":"'), len('{"crc":"--------')
    checksum = re.sub(rb"[0-9a-f]", b"-", line[begin:end])
    return line[:begin] + checksum + line[end:]
