"""Smoothed histograms: one-dimensional densities of many points at a cost that does not grow with their number."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]

N_BINS = 128


def smoothing_matrix(bandwidth: float, n_bins: int = N_BINS) -> FloatArray:
    """A matrix (bins, bins) that turns counts per bin into densities on [0, 1]: each row integrates to one."""
    centres = (np.arange(n_bins) + 0.5) / n_bins
    kernel = np.exp(-0.5 * ((centres[:, None] - centres) / bandwidth) ** 2)
    return np.asarray(kernel * (n_bins / kernel.sum(axis=1, keepdims=True)))


def bins_of(u: FloatArray, n_bins: int = N_BINS) -> IntArray:
    """The bin of each u in [0, 1]; 0 for NaN."""
    return np.clip(np.nan_to_num(u) * n_bins, 0, n_bins - 1).astype(np.intp)


def log_marginals(points: FloatArray, u: FloatArray, prior_weight: float) -> FloatArray:
    """Log densities, relative to a uniform prior on [0, 1], of points' columns at ``u``.

    Args:
        points: Observations, shape (n, p), in [0, 1]; NaN where inactive.
        u: Where to look, shape (m, p); NaN where inactive.
        prior_weight: Weight of the uniform prior, in observations.

    Returns:
        Log densities, shape (m, p); 0 where ``u`` is NaN.
    """
    n, p = points.shape
    is_active = ~np.isnan(points)
    flat = (bins_of(points) + np.arange(p) * N_BINS)[is_active]
    counts = np.bincount(flat, minlength=p * N_BINS).reshape(p, N_BINS)
    # Silverman's exponent would be 1/5; the marginals of a search are multimodal, for which it smooths too much.
    bandwidth = max(0.01, 0.5 * max(n, 1) ** -0.4)
    density = counts @ smoothing_matrix(bandwidth) + prior_weight
    density /= is_active.sum(axis=0)[:, None] + prior_weight
    log_density = np.log(density)[np.arange(p), bins_of(u)]
    return np.where(np.isnan(u), 0.0, log_density)
