"""What counts as a number, and the numbers in trial documents: Python's own, with the attributes of numpy's.

hyperopt's documents have numpy's numbers, and programs written for it call ``vals["x"][0].item()`` and
``best["n"].astype(int)``. These can be written as JSON, and compared, printed and pickled like any ``int`` and
``float``; and their classes are equal to those, for where types are compared.
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


def _numpy_attribute(number: float, name: str) -> Any:
    """An attribute that numpy's numbers have, of ``number``; protocols, such as that of arrays, are none of them.

    Raises:
        AttributeError: If they have none of that name.
    """
    if name.startswith("__"):
        raise AttributeError(f"{type(number).__name__!r} object has no attribute {name!r}")
    return getattr(np.asarray(number)[()], name)  # of an int beyond 64 bits itself


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
    """An ``int`` with the attributes of a numpy integer; a pickle of it is a plain ``int``."""

    __slots__ = ()

    def item(self) -> int:
        """The number as a plain ``int``."""
        return int(self)

    def __getattr__(self, name: str) -> Any:
        return _numpy_attribute(int(self), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


class Real(float, metaclass=_AsBase):
    """A ``float`` with the attributes of a numpy float; a pickle of it is a plain ``float``."""

    __slots__ = ()

    def item(self) -> float:
        """The number as a plain ``float``."""
        return float(self)

    def __getattr__(self, name: str) -> Any:
        return _numpy_attribute(float(self), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)
