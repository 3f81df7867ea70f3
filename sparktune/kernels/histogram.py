"""Smoothed histograms: one-dimensional densities of many points at a cost that does not grow with their number."""

from __future__ import annotations

import numpy as np

from sparktune.kernels.arrays import FloatArray, IntArray
from sparktune.kernels.parzen import Layout, Points
from sparktune.kernels.special import log_mass_between, normal_cdf

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
        self._n_numeric = len(layout.numeric) * N_BINS
        self._first = np.arange(len(layout.numeric)) * N_BINS
        self._counts = np.zeros(self._n_numeric + layout.n_cells)

    def bins(self, points: Points) -> IntArray:
        """Bin of each coordinate in the order of ``Layout.columns``, shape (n, d); -1 where inactive."""
        layout, u = self.layout, points.numeric
        if layout.has_unbounded:
            u = np.where(layout.is_numeric_unbounded, normal_cdf(u / layout.prior_sds), u)
        bins = np.empty(points.is_active.shape, dtype=np.intp)
        bins[:, : u.shape[1]] = np.minimum(u * N_BINS, N_BINS - 1).astype(np.intp) + self._first
        bins[:, u.shape[1] :] = points.cells + self._n_numeric
        return np.where(points.is_active, bins, -1)

    def add(self, points: Points) -> None:
        """Count points."""
        self._counts += self.count(points)

    def count(self, points: Points) -> IntArray:
        """How many of some points are in each bin, shape (bins,)."""
        # Shifted by one, so that the inactive ones are the first count.
        return np.bincount(self.bins(points).ravel() + 1, minlength=len(self._counts) + 1)[1:]

    def density(self, left_out: IntArray, smoothing: Smoothing, prior_weight: float) -> FloatArray:
        """Density in every bin: of numeric ones relative to the prior's, of cells as a kernel's table; shape (bins,).

        Args:
            left_out: Counts, from :meth:`count`, that were added and are not to be in it.
            smoothing: How wide.
            prior_weight: Weight of the prior, in points.
        """
        layout, n_numeric = self.layout, self._n_numeric
        counts = self._counts - left_out
        out = np.empty(len(counts))
        numeric = counts[:n_numeric].reshape(-1, N_BINS)
        density = out[:n_numeric].reshape(-1, N_BINS)
        np.matmul(numeric, smoothing.bins, out=density)
        density += prior_weight
        density /= numeric.sum(axis=1, keepdims=True) + prior_weight
        mass = out[n_numeric:]
        mass[:] = counts[n_numeric:] + CATEGORY_COUNT
        if layout.n_steps:
            mass[: layout.n_steps] = smoothing.smooth_steps(counts[n_numeric:][: layout.n_steps])
        owner = layout.stepped_of_cell
        totals = np.bincount(owner, weights=mass, minlength=len(layout.stepped)) + prior_weight
        mass += prior_weight * layout.prior_mass
        mass /= totals[owner]
        mass[: layout.n_steps] /= layout.prior_mass[: layout.n_steps]
        return out

    def log_marginals(self, points: Points, density: FloatArray) -> FloatArray:
        """Log of ``density`` at points, in the order of ``Layout.columns``, shape (m, d); 0 where inactive."""
        layout = self.layout
        # At -1, the last one, is the density of what is inactive.
        log_density = np.log(np.maximum(np.append(density, 1.0)[self.bins(points)], 1e-300))
        if layout.has_unbounded:
            p = len(self._first)
            is_unbounded = layout.is_numeric_unbounded & points.is_active[:, :p]
            log_density[:, :p] += np.where(is_unbounded, layout.log_normal(points.numeric), 0.0)
        return np.asarray(log_density)


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
        # Equal bins: what goes from one to another depends on how far apart they are, and on nothing else.
        away = np.arange(N_BINS)
        mass = np.exp(log_mass_between((away - 0.5) / (N_BINS * bandwidth), (away + 0.5) / (N_BINS * bandwidth)))
        self.bins = mass[np.abs(away[:, None] - away)]
        self.bins *= N_BINS / self.bins.sum(axis=1, keepdims=True)
        owner = layout.stepped_of_cell[: layout.n_steps]
        self._steps = [
            _spread(layout.lower[owner == column], layout.upper[owner == column], bandwidth)
            for column in range(len(layout.ordinal))
        ]
        self._stops = np.cumsum([len(steps) for steps in self._steps])[:-1]

    def smooth_steps(self, counts: FloatArray) -> FloatArray:
        """Smoothed counts of the ordinal cells, shape (n_steps,)."""
        parts = np.split(counts, self._stops)
        return np.concatenate([part @ steps for part, steps in zip(parts, self._steps, strict=True)])


def _spread(lower: FloatArray, upper: FloatArray, bandwidth: float) -> FloatArray:
    """Share of each cell's points that smoothing moves to each cell, shape (cells, cells); rows sum to one."""
    centres = 0.5 * (lower + upper)[:, None]
    mass = np.exp(log_mass_between((lower - centres) / bandwidth, (upper - centres) / bandwidth))
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))
