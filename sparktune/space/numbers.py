"""The numbers in trial documents: Python's own, with numpy's ``item``.

hyperopt's documents have numpy's numbers, and programs written for it call ``vals["x"][0].item()``. These can be
written as JSON, and compared, printed and pickled like any ``int`` and ``float``.
"""

from __future__ import annotations

from typing import Any


class Integer(int):
    """An ``int`` with ``item()``; a pickle or a copy of it is a plain ``int``."""

    __slots__ = ()

    def item(self) -> int:
        """The number as a plain ``int``."""
        return int(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


class Real(float):
    """A ``float`` with ``item()``; a pickle or a copy of it is a plain ``float``."""

    __slots__ = ()

    def item(self) -> float:
        """The number as a plain ``float``."""
        return float(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)
