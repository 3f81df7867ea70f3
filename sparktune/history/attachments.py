"""Large objects that trials keep beside their documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sparktune.history.documents import Document


class TrialAttachments:
    """The attachments of one trial: a mapping from name to object."""

    def __init__(self, trials: Any, trial: Document) -> None:
        self._trials = trials
        self._trial = trial

    def _key(self, name: str) -> str:
        key: str = self._trials.aname(self._trial, name)
        return key

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._trials.attachments

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, name: str) -> Any:
        try:
            return self._trials.attachments[self._key(name)]
        except KeyError:
            raise KeyError(f"trial {self._trial['tid']} has no attachment {name!r}; it has {self.keys()}") from None

    def __setitem__(self, name: str, value: Any) -> None:
        self._trials.attachments[self._key(name)] = value

    def __delitem__(self, name: str) -> None:
        del self._trials.attachments[self._key(name)]

    def keys(self) -> list[str]:
        """Names of the attachments."""
        prefix = self._key("")
        return [key[len(prefix) :] for key in self._trials.attachments if key.startswith(prefix)]

    def values(self) -> list[Any]:
        """The attached objects."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """(name, object) pairs."""
        return [(name, self[name]) for name in self.keys()]
