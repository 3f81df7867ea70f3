"""Points that fill the unit cube evenly: parts of sequences that a seed picks."""

from __future__ import annotations

import numpy as np

from sparktune.kernels.arrays import FloatArray


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

    sequence = qmc.Sobol(d, seed=seed)
    if start:
        return np.asarray(sequence.fast_forward(start).random(n))
    # A whole power of two, for which SciPy has no warning.
    return np.asarray(sequence.random_base2(max(0, n - 1).bit_length())[:n])


def halton(d: int, seed: int, start: int, n: int) -> FloatArray:
    """Points ``start`` to ``start + n`` of a scrambled Halton sequence, shape (n, d), in [0, 1).

    Args:
        d: Dimensions.
        seed: Picks the scrambling; the same seed gives the same sequence.
        start, n: Which part of it.

    Source:
        Halton 1960; the scrambling is that of ``scipy.stats.qmc``.
    """
    from scipy.stats import qmc

    return np.asarray(qmc.Halton(d, seed=seed).fast_forward(start).random(n))
