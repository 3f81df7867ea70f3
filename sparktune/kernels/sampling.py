"""Probabilities that are estimated from draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sparktune.kernels.arrays import FloatArray


def pmin_sampled(
    mean: ArrayLike, var: ArrayLike, n_samples: int = 1000, rng: np.random.Generator | None = None
) -> FloatArray:
    """How likely each of independent normal variables is the smallest, shape (n,), estimated from draws.

    Args:
        mean, var: Of the variables, shape (n,).
        n_samples: Number of draws.
        rng: Generator; one with a fixed seed if None.
    """
    mean, sigma = np.asarray(mean, dtype=float), np.sqrt(np.asarray(var, dtype=float))
    rng = np.random.default_rng(232342) if rng is None else rng
    smallest = rng.normal(mean, sigma, (n_samples, len(mean))).argmin(axis=1)
    return np.bincount(smallest, minlength=len(mean)) / n_samples
