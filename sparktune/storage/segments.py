"""A study as numbered files that are written whole, where files cannot be appended to."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sparktune.exceptions import InvalidStorage
from sparktune.history.events import Event
from sparktune.storage.folders import Folder
from sparktune.storage.journal import is_worth_compacting
from sparktune.storage.lease import WriterLease
from sparktune.storage.lines import check_beginning, events_of, from_line, header, to_lines

logger = logging.getLogger("sparktune")

#: So many segments of a size become one of the next. An event is written again once for each size.
FAN = 32
#: The level of segments that a run finds; it does not touch them.
OLD = 99
#: How often a reader begins anew since a file that it was to read has been merged into another.
N_READS = 10

NAME = re.compile(r"events-(\d{12})-(\d{12})\.jsonl")


class Segment(NamedTuple):
    """A file with the events of a range of numbers, both ends included.

    Another one with a range that lies in it says nothing that this does not. Numbers are those under which events were
    written; a study that was written anew in fewer events keeps the range.
    """

    first: int
    last: int

    @property
    def name(self) -> str:
        """The file's."""
        return f"events-{self.first:012d}-{self.last:012d}.jsonl"

    def covers(self, other: Segment) -> bool:
        """Whether another's range lies in this one's."""
        return self.first <= other.first and other.last <= self.last


class Segments:
    """The events of a study in a folder of files, each written once and as a whole.

    What is appended at a time is a file. Thirty-two files become one, thirty-two of those the next: however long the
    study, there are some hundred at most, and each event is written three or four times. The merged file is written
    before its parts are removed, and a reader that finds both takes no notice of the parts.

    Args:
        folder: Where to.
    """

    is_worth_compacting = staticmethod(is_worth_compacting)

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lease = WriterLease(folder)
        self._next = 0
        self._levels: list[tuple[Segment, int]] = []  # in their order, smaller levels behind
        self._small: dict[Segment, bytes] = {}  # of level 0, which is merged without being read again
        self._checked: set[Segment] = set()  # found, and of a version that can be read
        self._n_unseen = 0  # files that were written since all were seen to be there
        self._writing = threading.Lock()

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def revision(self) -> object:
        """Something that is another one when somebody has written."""
        try:
            return tuple(self._segments())
        except (OSError, InvalidStorage):
            return None

    def read(self, trust: bool = False) -> list[Event]:
        """All events, without the headers; empty if there is no study yet. Takes no lock, and changes nothing.

        Args:
            trust: Whether to open pickles.

        Raises:
            InvalidStorage: If it cannot be read, is no study, or one of a newer version.
        """
        events: list[Event] = []
        with self._complaining("read"):
            expected = 0
            for segment, data in self._read():
                if segment.first > expected:
                    text = "events %d to %d of storage %s are missing: files were removed"
                    logger.warning(text, expected, segment.first - 1, self)
                events += [event for event in events_of(data, self._named(segment), trust) if event["event"] != "study"]
                self._checked.add(segment)
                expected = max(expected, segment.last + 1)
        return events

    def open(self) -> None:
        """Begin to write: takes the lock, and makes the folder where there is none.

        Raises:
            InvalidStorage: If the folder has other things, a file of it is no study or one of a newer version, another
                process writes, or it cannot be written.
        """
        with self._complaining("written"):
            self._check(self._segments())  # not among the files of somebody else, nor in place of them
            self.folder.make()
            self._lease.acquire()
            try:
                self._tidy()
            except BaseException:
                self.close()
                raise

    def append(self, events: Sequence[Event], sync: bool = True) -> None:
        """Write events, in JSON's types; they outlive this process and machine when this returns.

        Args:
            events: To write.
            sync: Of no effect here.

        Raises:
            FileNotFoundError: If the folder, or a file of it, was removed, which is seen at once in a folder of this
                machine, and within thirty-two calls in a store; then :meth:`replace` makes a new one.
            OSError: If that cannot be done now; the same may be tried again.
            InvalidStorage: If another writer has taken over.
        """
        events = list(events)
        if not events:
            return
        with self._writing:
            self._look_for_files()
            segment = Segment(self._next, self._next + len(events) - 1)
            data = _file(len(events), to_lines(events))
            self._put(segment, data)
            self._next = segment.last + 1
            self._levels.append((segment, 0))
            self._small[segment] = data
            self._n_unseen += 1
            with contextlib.suppress(OSError):  # all is written; the next time may do
                self._merge()

    def replace(self, events: Sequence[Event]) -> None:
        """Write these events in place of all. At every moment either those or these are there. Raises as above."""
        with self._writing:
            self.folder.make()
            self._lease.check()
            before = [*self._segments(is_ours=True), *(segment for segment, _ in self._levels)]
            last = max([self._next, *(segment.last + 1 for segment in before)])
            self._put(Segment(0, last), _file(len(events), to_lines(events)), before)
            self._next, self._levels, self._small, self._n_unseen = last + 1, [(Segment(0, last), OLD)], {}, 0

    def close(self) -> None:
        """Let others write."""
        self._lease.release()

    # -- files --------------------------------------------------------------------------------------------------------

    def _segments(self, *, is_ours: bool = False) -> list[Segment]:
        """All that are there, a file before those that it covers.

        Args:
            is_ours: Whether a study was here, so that other files are no sign of a wrong folder.

        Raises:
            InvalidStorage: If there are other files, and none of a study.
        """
        names = self.folder.names()
        found = [Segment(int(match[1]), int(match[2])) for name in names if (match := NAME.fullmatch(name))]
        others = [name for name in names if name[:1] not in ("", ".", "_") and not name.startswith("writer.json")]
        if others and not found and not is_ours:
            raise InvalidStorage(
                f"storage {self} is a folder with other things in it ({sorted(others)[0]}), and no study, and is left "
                "alone: name a file, or a new folder"
            )
        return sorted(found, key=lambda segment: (segment.first, -segment.last))

    def _named(self, segment: Segment) -> str:
        return f"{segment.name} of storage {self}"

    def _check(self, segments: Sequence[Segment]) -> None:
        """Refuse files that are not for this version to tidy, or to write over; those that were read are."""
        for segment in segments:
            if segment not in self._checked:
                with contextlib.suppress(FileNotFoundError):  # there is a writer, which merges: the lease names it
                    check_beginning(self.folder.get(segment.name), self._named(segment))

    def _look_for_files(self) -> None:
        """Notice that files were removed: at each call where that costs little, else at each so-many-th.

        Raises:
            FileNotFoundError: If so, until all is written anew.
        """
        if not self._lease.check() or self.folder.is_listed_cheaply:
            self._n_unseen = FAN
        if self._n_unseen >= FAN - 1:
            names = {*self.folder.names()}
            if any(segment.name not in names for segment, _ in self._levels):
                raise FileNotFoundError(f"files of {self} were removed while the study went on")
            self._n_unseen = 0

    def _read(self) -> list[tuple[Segment, bytes]]:
        """The files that make the study, none of which covers another."""
        for attempt in range(N_READS):
            try:
                return self._read_once()
            except FileNotFoundError:  # it was merged into another since it was listed
                if attempt == N_READS - 1:
                    raise
        raise AssertionError("unreachable")

    def _read_once(self) -> list[tuple[Segment, bytes]]:
        taken: list[tuple[Segment, bytes]] = []
        segments = self._segments()
        for segment in segments:
            if any(one.covers(segment) for one, _ in taken):
                continue
            data = self.folder.get(segment.name)
            has_parts = any(segment != other and segment.covers(other) for other in segments)
            if has_parts and not _is_complete(data):  # a store that does not write files whole, and a crash
                continue
            taken.append((segment, data))
        return taken

    def _tidy(self) -> None:
        """Remove what a crash has left, and make one file of many."""
        there = self._segments()
        self._next = max((segment.last + 1 for segment in there), default=0)
        self._small = {}
        if len(there) > FAN or any(one.covers(other) for one, other in itertools.pairwise(there)):
            there = [self._one_of(there)]
        self._levels = [(segment, OLD) for segment in there]
        self._n_unseen = 0
        for name in self.folder.names():
            if name.startswith(".events-"):
                with contextlib.suppress(OSError):
                    self.folder.remove(name)

    def _one_of(self, there: Sequence[Segment]) -> Segment:
        """Make one file of all."""
        taken = self._read()
        whole = Segment(there[0].first, self._next - 1)
        data = b"".join(_lines(data) for _, data in taken)
        self._put(whole, _file(data.count(b"\n"), data), there)
        return whole

    def _merge(self) -> None:
        """Make one segment of the last ones, if there are enough of a level."""
        while len(last := self._last_level()) >= FAN:
            level = last[0][1]
            parts = [segment for segment, _ in last]
            data = b"".join(_lines(self._small.get(part) or self.folder.get(part.name)) for part in parts)
            merged = Segment(parts[0].first, parts[-1].last)
            self._put(merged, _file(data.count(b"\n"), data), parts)
            self._levels[-len(last) :] = [(merged, level + 1)]
            for part in parts:
                self._small.pop(part, None)

    def _last_level(self) -> list[tuple[Segment, int]]:
        """The segments of the level of the last one, unless a run has found it."""
        level = self._levels[-1][1]
        n = 0
        while n < len(self._levels) and self._levels[-n - 1][1] == level != OLD:
            n += 1
        return self._levels[len(self._levels) - n :]

    def _put(self, segment: Segment, data: bytes, parts: Sequence[Segment] = ()) -> None:
        """Write a file, and remove those whose events are in it."""
        self.folder.put(segment.name, data)
        self._checked.difference_update(parts)
        self._checked.add(segment)
        for part in {*parts} - {segment}:
            with contextlib.suppress(OSError):  # a reader does not mind, and the next writer removes it
                self.folder.remove(part.name)

    @contextlib.contextmanager
    def _complaining(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidStorage(
                f"storage {self} cannot be {done} ({error.strerror or error}): name a folder that you may write to, "
                "or that can be made in one that exists"
            ) from error


def _file(n_events: int, lines: bytes) -> bytes:
    """What is in a file; its header says how many events there are, so that half a file is seen to be one."""
    return to_lines([header(events=n_events)]) + lines


def _lines(data: bytes) -> bytes:
    """The events' lines of a file; without its last one if that has no end."""
    return data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1]


def _is_complete(data: bytes) -> bool:
    line, _, lines = data.partition(b"\n")
    event = from_line(line)
    return event is not None and lines.count(b"\n") == event.get("events")
