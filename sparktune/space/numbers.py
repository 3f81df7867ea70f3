"""What counts as a number, and the numbers in trial documents: Python's own, with numpy's ``item``.

hyperopt's documents have numpy's numbers, and programs written for it call ``vals["x"][0].item()``. These can be
written as JSON, and compared, printed and pickled like any ``int`` and ``float``; and their classes are equal to those,
for where types are compared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number and not a boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))


def is_finite(value: object) -> bool:
    """Whether ``value`` is a finite number that a float can hold."""
    try:
        return is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an int beyond the largest double
        return False


def plain(value: object) -> Any:
    """``value``, of numpy's numbers Python's own: these calculate without the bounds of 8 or 16 bits."""
    return value.item() if isinstance(value, np.generic) else value


class _AsBase(type):
    """The class of a class that is equal to its base.

    Many ask ``type(x) in (int, float)``, or look ``type(x)`` up: Spark's MLlib for its parameters, its data frames,
    ``yaml.safe_dump``.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.__base__

    def __hash__(cls) -> int:
        return hash(cls.__base__)


class Integer(int, metaclass=_AsBase):
    """An ``int`` with ``item()``; a pickle of it is a plain ``int``."""

    __slots__ = ()

    def item(self) -> int:
        """The number as a plain ``int``."""
        return int(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


class Real(float, metaclass=_AsBase):
    """A ``float`` with ``item()``; a pickle of it is a plain ``float``."""

    __slots__ = ()

    def item(self) -> float:
        """The number as a plain ``float``."""
        return float(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)
