"""Random generators, from whatever stands for one in programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparktune.exceptions import InvalidTypeError


def generator_of(rng: Any, name: str = "rng") -> np.random.Generator:
    """The generator that ``rng`` stands for: a Generator, an int, a SeedSequence, a RandomState, or None.

    Args:
        rng: See above; of a RandomState a seed is drawn, and None gives fresh entropy.
        name: The argument's, for the message.

    Raises:
        InvalidTypeError: If it is something else.
    """
    if isinstance(rng, np.random.RandomState):  # numpy itself takes it from 2.2 on
        return np.random.default_rng(rng.randint(2**31 - 1))
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InvalidTypeError(
            f"{name} is a numpy Generator, an int >= 0, a SeedSequence, a RandomState or None, got {rng!r}: "
            f"write {name}=np.random.default_rng(0)"
        ) from None
