"""Smoothed histograms: one-dimensional densities of many points at a cost that does not grow with their number."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.parzen import Layout, Points
from sparktune.kernels.special import LOG_SQRT_2PI, log_mass_between, normal_cdf

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]

N_BINS = 128
#: Added to the count of each category: one that was never seen is not known to be bad.
CATEGORY_COUNT = 0.5


class Histogram:
    """Counts of points per bin of each coordinate.

    A numeric one has 128, over its prior's distribution function; a stepped one has its cells.

    Args:
        layout: The coordinates.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._is_unbounded = layout.is_unbounded[layout.numeric]
        self._n_numeric = len(layout.numeric) * N_BINS
        self._first = np.arange(len(layout.numeric)) * N_BINS
        self._counts = np.zeros(self._n_numeric + layout.n_cells)

    def bins(self, points: Points) -> IntArray:
        """Bin of each coordinate in the order of ``Layout.columns``, shape (n, d); -1 where inactive."""
        u = points.numeric
        if self._is_unbounded.any():
            u = np.where(self._is_unbounded, normal_cdf(u), u)
        numeric = np.minimum(u * N_BINS, N_BINS - 1).astype(np.intp) + self._first
        numeric = np.where(points.is_active, numeric, -1)
        return np.hstack([numeric, np.where(points.cells >= 0, points.cells + self._n_numeric, -1)])

    def add(self, points: Points) -> None:
        """Count points."""
        self._counts += self._count(self.bins(points))

    def _count(self, bins: IntArray) -> FloatArray:
        return np.bincount(bins[bins >= 0], minlength=len(self._counts)).astype(float)

    def density(self, left_out: Points, smoothing: Smoothing, prior_weight: float) -> FloatArray:
        """Density in every bin: of numeric ones relative to the prior's, of cells as a kernel's table; shape (bins,).

        Args:
            left_out: Points that were counted and are not to be.
            smoothing: How wide.
            prior_weight: Weight of the prior, in points.
        """
        layout = self.layout
        counts = self._counts - self._count(self.bins(left_out)) if len(left_out) else self._counts
        numeric = counts[: self._n_numeric].reshape(-1, N_BINS)
        density = numeric @ smoothing.bins + prior_weight
        density /= numeric.sum(axis=1, keepdims=True) + prior_weight
        cells = counts[self._n_numeric :]
        mass = np.append(smoothing.smooth_steps(cells[: layout.n_steps]), cells[layout.n_steps :] + CATEGORY_COUNT)
        totals = np.bincount(layout.column_of_cell, weights=mass, minlength=len(layout.stepped))
        mass = (mass + prior_weight * layout.prior_mass) / (totals[layout.column_of_cell] + prior_weight)
        mass[: layout.n_steps] /= layout.prior_mass[: layout.n_steps]
        return np.append(density.ravel(), mass)

    def log_marginals(self, points: Points, density: FloatArray) -> FloatArray:
        """Log of ``density`` at points, in the order of ``Layout.columns``, shape (m, d); 0 where inactive."""
        bins = self.bins(points)
        log_density = np.where(bins >= 0, np.log(np.maximum(density[bins], 1e-300)), 0.0)
        if self._is_unbounded.any():
            p = len(self._first)
            log_prior = np.where(self._is_unbounded & points.is_active, -0.5 * points.numeric**2 - LOG_SQRT_2PI, 0.0)
            log_density[:, :p] += log_prior
        return log_density


class Smoothing:
    """Gaussian smoothing of the bins of n points.

    Args:
        layout: The coordinates.
        n: Number of points.
    """

    def __init__(self, layout: Layout, n: int) -> None:
        self.n = n
        # Silverman's exponent would be 1/5; the marginals of a search are multimodal, for which it smooths too much.
        bandwidth = max(0.01, 0.5 * max(n, 1) ** -0.4)
        edges = np.arange(N_BINS + 1) / N_BINS
        self.bins = _spread(edges[:-1], edges[1:], bandwidth) * N_BINS
        owner = layout.column_of_cell[: layout.n_steps]
        self._steps = [
            _spread(layout.lower[owner == column], layout.upper[owner == column], bandwidth)
            for column in range(len(layout.ordinal))
        ]
        self._stops = np.cumsum([len(steps) for steps in self._steps])[:-1]

    def smooth_steps(self, counts: FloatArray) -> FloatArray:
        """Smoothed counts of the ordinal cells, shape (n_steps,)."""
        if not self._steps:
            return counts
        parts = np.split(counts, self._stops)
        return np.concatenate([part @ steps for part, steps in zip(parts, self._steps, strict=True)])


def _spread(lower: FloatArray, upper: FloatArray, bandwidth: float) -> FloatArray:
    """Share of each cell's points that smoothing moves to each cell, shape (cells, cells); rows sum to one."""
    centres = 0.5 * (lower + upper)[:, None]
    mass = np.exp(log_mass_between((lower - centres) / bandwidth, (upper - centres) / bandwidth))
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))
