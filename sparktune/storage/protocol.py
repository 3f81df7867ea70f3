"""What every storage can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sparktune.history.events import Event


class Storage(Protocol):
    """The events of a study, kept where a crash does not reach them. ``str()`` of it says where, for people."""

    @property
    def revision(self) -> object:
        """Something that is another one when somebody has written; None if it cannot be told."""

    def read(self, trust: bool = False) -> list[Event]:
        """All events; empty if there is no study yet. Changes nothing.

        Args:
            trust: Whether to open pickles, which can run code of whoever wrote them.

        Raises:
            InvalidStorage: If there is something that is no study, or one of a newer version.
        """

    def open(self) -> None:
        """Begin to write.

        Raises:
            InvalidStorage: If it cannot be written, or somebody else writes it.
        """

    def append(self, events: Sequence[Event], sync: bool = True) -> None:
        """Write events, in JSON's types; they outlive this process when this returns.

        Args:
            events: To write.
            sync: Whether they must outlive a crash of the machine, too.

        Raises:
            FileNotFoundError: If the study was removed; :meth:`replace` makes it again.
            OSError: If that cannot be done now; the same may be tried again.
            InvalidStorage: If somebody else writes it now.
        """

    def replace(self, events: Sequence[Event]) -> None:
        """Write these events in place of all. At every moment either those or these are there. Raises as above."""

    def is_worth_compacting(self, n_events: int, n_needed: int) -> bool:
        """Whether n events should be written anew, as the number that says the same."""

    def close(self) -> None:
        """End writing; others may."""


class SharedStorage(Storage, Protocol):
    """A storage that several drivers write at once. What asks it raises OSError if it cannot be asked now."""

    @property
    def slot(self) -> int:
        """A number that no other living driver has, from 0 on."""

    @property
    def is_anew(self) -> bool:
        """Whether the study had been removed that was read or written before, and :meth:`open` has made a new one."""

    def new_ids(self, n: int) -> list[int]:
        """n trial ids that nobody has."""

    def news(self, trust: bool = False) -> list[Event]:
        """Events that others have written since the last look.

        Args:
            trust: Whether to open pickles.
        """

    def adopt(self) -> list[int]:
        """Make unfinished trials our own whose driver is dead, or has ended; their ids."""
