"""Finding the attachments of one trial among those of all, without a look at each."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

SEPARATOR = "::"


class AttachmentIndex:
    """Which keys of a dictionary begin with a prefix, for a dictionary that grows at its end.

    Users, objectives and ``Trials`` write into ``trials.attachments`` as they like, from any thread; what has come in
    is looked at when somebody asks.
    """

    def __init__(self) -> None:
        self._forget({})

    def _forget(self, attachments: dict[str, Any]) -> None:
        self._attachments = attachments
        self._keys: dict[str, dict[str, None]] = defaultdict(dict)
        self._newest: str | None = None
        self._n_keys = 0

    def of(self, attachments: dict[str, Any], prefix: str) -> dict[str, Any]:
        """The items whose keys begin with ``prefix``, under what is behind it.

        Args:
            attachments: The dictionary; most often the same as the last time.
            prefix: Has the separator twice, as in ``ATTACH::3::``.
        """
        if not attachments:
            return {}
        if attachments is not self._attachments:
            self._forget(attachments)
        new = self._new_keys()
        if len(attachments) != self._n_keys + len(new):  # some were deleted
            self._forget(attachments)
            new = self._new_keys()
        for key in new:
            self._keys[_group(key)][key] = None
            self._newest = key
        self._n_keys += len(new)
        keys = [key for key in self._keys.get(_group(prefix), ()) if key.startswith(prefix) and key in attachments]
        return {key[len(prefix) :]: attachments[key] for key in keys}

    def _new_keys(self) -> list[str]:
        """Keys that are behind the newest known one, in their order."""
        while True:
            try:
                found = []
                for key in reversed(self._attachments):
                    if key == self._newest:
                        break
                    found.append(key)
                return found[::-1]
            except RuntimeError:  # another thread has just attached something
                continue


def _group(key: str) -> str:
    """What the keys of a trial have in common; other trials may have it, too."""
    return SEPARATOR.join(str(key).split(SEPARATOR, 2)[:2])
