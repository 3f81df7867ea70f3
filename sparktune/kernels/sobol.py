"""Points that fill the unit cube evenly."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]


def sobol(d: int, seed: int, start: int, n: int) -> FloatArray:
    """Points ``start`` to ``start + n`` of a scrambled Sobol sequence, shape (n, d), in [0, 1).

    Args:
        d: Dimensions, up to 21,201.
        seed: Picks the scrambling; the same seed gives the same sequence.
        start, n: Which part of it.

    Source:
        Sobol 1967; the scrambling is that of ``scipy.stats.qmc``.
    """
    from scipy.stats import qmc

    # Whole powers of two, for which SciPy has no warning; the sequence is short, so drawing it again costs nothing.
    points = qmc.Sobol(d, seed=seed).random_base2(max(0, (start + n - 1).bit_length()))
    return np.asarray(points[start : start + n])
