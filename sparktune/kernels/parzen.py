"""Parzen estimators: mixtures of product kernels over numeric, ordinal and categorical coordinates.

Points are arrays (n, d) of coordinates, NaN where a parameter is inactive. There a kernel has its prior's density, so
that points with different active parameters share one joint mixture. Every density is relative to the uniform one on a
bounded coordinate; on an unbounded one the prior is the standard normal, on categories their probabilities.

The log of a product kernel is linear in features of the point: a normal's exponent expands into x^2, x and 1, and a
step or a category is one entry of a table. So the log kernels of m points and k kernels are one matrix product, not an
(m, k, d) temporary.

Sources:
    Bergstra et al. 2011 (the estimator), Falkner et al. 2018 and Watanabe 2023 (joint product kernels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.special import LOG_SQRT_2PI, log_mass_between, normal_cdf, normal_ppf, truncnorm_ppf

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.intp]

#: No kernel is narrower than the range divided by this, however many points there are.
MAX_RESOLUTION = 100.0
#: Stands for zero where the logarithm goes into a table: a matrix product cannot take an infinity.
ZERO = 1e-300


class Layout:
    """How the d coordinates of a point enter product kernels.

    Attributes:
        numeric: Columns with a density: [0, 1], or the whole line where ``is_unbounded``.
        ordinal: Columns in [0, 1] with few steps, each with its mass.
        categorical: Columns of category numbers.
        low, high: Bounds, shape (d,); of categorical columns 0 and 1.
        widths: Grid steps, shape (d,); 0 without one.
        n_features: Columns of :attr:`Points.features`.

    Args:
        low, high: Bounds of each coordinate, shape (d,).
        widths: Grid step of each numeric coordinate, 0 if it has none, shape (d,).
        edges: Edges of the steps of each ordinal column, ascending from 0 to 1; by column.
        log_priors: Log prior probabilities of each categorical column; by column.
    """

    def __init__(
        self,
        low: FloatArray,
        high: FloatArray,
        widths: FloatArray,
        edges: dict[int, FloatArray],
        log_priors: dict[int, FloatArray],
    ) -> None:
        d = len(low)
        self.low, self.high, self.widths = low, high, widths
        self.ordinal = np.array(sorted(edges), dtype=np.intp)
        self.categorical = np.array(sorted(log_priors), dtype=np.intp)
        self.numeric = np.array([c for c in range(d) if c not in edges and c not in log_priors], dtype=np.intp)
        self.stepped = np.append(self.ordinal, self.categorical)
        self.ordered = np.append(self.numeric, self.ordinal)
        self.columns = np.append(self.numeric, self.stepped)
        self.is_unbounded = np.isinf(low)
        self.cell_variances = widths[self.numeric] ** 2 / 12.0
        self.n_categories = np.array([len(log_priors[c]) for c in self.categorical], dtype=np.intp)
        # Cells: the steps of all ordinal columns, then the categories of all categorical ones.
        sizes = [len(edges[c]) - 1 for c in self.ordinal] + [len(log_priors[c]) for c in self.categorical]
        self.n_cells = int(sum(sizes))
        self.first_cells = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.intp)
        self.column_of_cell = np.repeat(np.arange(len(sizes)), sizes)
        self.n_steps = int(sum(sizes[: len(self.ordinal)]))
        self.lower = np.concatenate([[], *(edges[c][:-1] for c in self.ordinal)])
        self.upper = np.concatenate([[], *(edges[c][1:] for c in self.ordinal)])
        self._shifted = self.lower + self.column_of_cell[: self.n_steps]
        log_p = np.concatenate([np.zeros(self.n_steps), *(log_priors[c] for c in self.categorical)])
        self.log_prior_cells = np.maximum(log_p, math.log(ZERO))
        self.prior_mass = np.append(self.upper - self.lower, np.exp(log_p[self.n_steps :]))
        self.log_widths = np.log(self.upper - self.lower)
        self.n_features = 3 * len(self.numeric) + self.n_cells
        #: Single precision suffices on [0, 1] and takes half the time; far out on an unbounded axis it does not.
        self.dtype = np.float64 if self.is_unbounded.any() else np.float32

    def cells(self, z: FloatArray) -> IntArray:
        """Cell of each stepped column, shape (n, s); -1 where inactive."""
        n_ordinal = len(self.ordinal)
        stepped = z[:, self.stepped]
        is_active = ~np.isnan(stepped)
        stepped = np.where(is_active, stepped, 0.0)
        cells = np.empty(stepped.shape, dtype=np.intp)
        u = np.minimum(stepped[:, :n_ordinal], 1.0 - 1e-9)
        # The edges of all columns are one ascending array, column c shifted by c.
        cells[:, :n_ordinal] = np.searchsorted(self._shifted, u + np.arange(n_ordinal), side="right") - 1
        cells[:, n_ordinal:] = stepped[:, n_ordinal:] + self.first_cells[n_ordinal:]
        return np.where(is_active, cells, -1)

    @cached_property
    def prior(self) -> Kernels:
        """The prior: a kernel in which everything is inactive."""
        d = len(self.low)
        return Kernels(self, np.full((1, d), np.nan), np.ones((1, d)), 0)

    def points(self, z: FloatArray) -> Points:
        """Points at coordinates ``z`` (n, d), prepared for kernels."""
        numeric = z[:, self.numeric]
        is_active = ~np.isnan(numeric)
        return Points(self, z, np.where(is_active, numeric, 0.0), is_active, self.cells(z))


@dataclass(frozen=True)
class Points:
    """Points prepared for kernels.

    Attributes:
        layout: What the coordinates are.
        z: Coordinates, shape (n, d), NaN where inactive.
        numeric: The numeric ones, shape (n, p), 0 where inactive.
        is_active: Which of those are active, shape (n, p).
        cells: Cell of each stepped column, shape (n, s); -1 where inactive.
    """

    layout: Layout
    z: FloatArray
    numeric: FloatArray
    is_active: BoolArray
    cells: IntArray

    @cached_property
    def features(self) -> NDArray[np.floating]:
        """What the log of a kernel is linear in, shape (n, n_features)."""
        p, x = len(self.layout.numeric), self.numeric
        features = np.zeros((len(x), self.layout.n_features), dtype=self.layout.dtype)
        features[:, :p], features[:, p : 2 * p], features[:, 2 * p : 3 * p] = x * x, x, self.is_active
        if self.layout.n_cells:
            rows, columns = np.nonzero(self.cells >= 0)
            features[rows, 3 * p + self.cells[rows, columns]] = 1.0
        return features

    def __len__(self) -> int:
        return len(self.z)


class Kernels:
    """Product kernels around k points.

    Attributes:
        coefficients: Of the log kernels on :attr:`Points.features`, shape (k, n_features).
        tables: Log density of each kernel in each cell, shape (k, n_cells); the prior's where the kernel is inactive.

    Args:
        layout: How coordinates enter kernels.
        z: Centres, shape (k, d); NaN where inactive.
        sigmas: Bandwidths, shape (k, d).
        n_observations: Number of observations in the estimate; sets how much categories are smoothed.
    """

    def __init__(self, layout: Layout, z: FloatArray, sigmas: FloatArray, n_observations: int) -> None:
        self.layout, self.z, self.sigmas = layout, z, sigmas
        self.share = category_smoothing(n_observations, layout.n_categories)
        self.is_active = ~np.isnan(z)
        columns = layout.numeric
        is_active = self.is_active[:, columns]
        self.means = np.where(is_active, z[:, columns], 0.0)
        # A grid's cell is wider than a point: its variance adds to the kernel's.
        self.sds = np.sqrt(sigmas[:, columns] ** 2 + layout.cell_variances)
        self.below = normal_cdf((layout.low[columns] - self.means) / self.sds)
        self.mass = normal_cdf((layout.high[columns] - self.means) / self.sds) - self.below
        self.log_norms = -np.log(self.sds * self.mass) - LOG_SQRT_2PI
        self.tables = self._tables()
        self.coefficients = self._coefficients(is_active)

    def _coefficients(self, is_active: BoolArray) -> NDArray[np.floating]:
        layout, p = self.layout, len(self.layout.numeric)
        out = np.empty((len(self.z), layout.n_features), dtype=layout.dtype)
        # Inactive and unbounded: mean 0 and sigma 1, which is the prior.
        is_normal = is_active | layout.is_unbounded[layout.numeric]
        precisions = np.where(is_normal, self.sds**-2.0, 0.0)
        out[:, :p] = -0.5 * precisions
        out[:, p : 2 * p] = precisions * self.means
        out[:, 2 * p : 3 * p] = np.where(is_normal, self.log_norms, 0.0) - 0.5 * precisions * self.means**2
        out[:, 3 * p :] = self.tables
        return out

    def _tables(self) -> FloatArray:
        layout = self.layout
        if not layout.n_cells:
            return np.empty((len(self.z), 0))
        tables = np.empty((len(self.z), layout.n_cells))
        if layout.n_steps:
            columns = layout.ordinal
            means, sds = self.z[:, columns], self.sigmas[:, columns]
            total = log_mass_between((0.0 - means) / sds, (1.0 - means) / sds)
            owner = layout.column_of_cell[: layout.n_steps]
            means, sds = means[:, owner], sds[:, owner]
            mass = log_mass_between((layout.lower - means) / sds, (layout.upper - means) / sds)
            tables[:, : layout.n_steps] = mass - total[:, owner] - layout.log_widths
        if len(layout.categorical):
            rest = slice(layout.n_steps, layout.n_cells)
            owner = layout.column_of_cell[rest] - len(layout.ordinal)
            number = np.arange(layout.n_steps, layout.n_cells) - layout.first_cells[layout.column_of_cell[rest]]
            is_own = self.z[:, layout.categorical[owner]] == number
            p = (self.share[owner] * layout.prior_mass[rest]) + is_own * (1.0 - self.share[owner])
            tables[:, rest] = np.log(np.maximum(p, ZERO))
        is_active = self.is_active[:, layout.stepped[layout.column_of_cell]]
        return np.asarray(np.where(is_active, tables, layout.log_prior_cells))


def neighbour_bandwidths(
    points: FloatArray, low: FloatArray, high: FloatArray, floor: float | None = None
) -> FloatArray:
    """Bandwidth of each point in each dimension: the larger of the distances to its two neighbours.

    Args:
        points: Coordinates, shape (n, p); NaN where inactive.
        low, high: Bounds, shape (p,); infinite for unbounded dimensions. Scales are 1 either way.

    Returns:
        Bandwidths, shape (n, p), within ``[1 / min(100, m + 2), 1]`` for a dimension with m active points; 1 where
        inactive.

    Source:
        Bergstra et al. 2011, section 4; the outermost points look at their inner neighbour only.
    """
    if not len(points):
        return np.ones(points.shape)
    order = np.argsort(points, axis=0)  # NaN last
    ordered = np.take_along_axis(points, order, axis=0)
    gaps = np.diff(ordered, axis=0)
    nothing = np.full((1, points.shape[1]), np.nan)
    widest = np.fmax(np.vstack([nothing, gaps]), np.vstack([gaps, nothing]))
    alone = np.isnan(widest)  # one point in its dimension: as far as the bounds
    widest = np.where(alone, np.maximum(ordered - low, high - ordered), widest)
    n_active = np.count_nonzero(~np.isnan(points), axis=0)
    widest = np.clip(widest, 1.0 / np.minimum(MAX_RESOLUTION, n_active + 2.0) if floor is None else floor, 1.0)
    sigmas = np.empty_like(widest)
    np.put_along_axis(sigmas, order, widest, axis=0)
    return np.where(np.isnan(points), 1.0, sigmas)


def bandwidths_among(ordered: FloatArray, n_active: IntArray, points: FloatArray) -> FloatArray:
    """Bandwidths of further points among known ones, shape (m, p), by the rule of :func:`neighbour_bandwidths`.

    Args:
        ordered: Known coordinates, each column ascending, shape (n, p); NaN last.
        n_active: How many of each column are not NaN, shape (p,).
        points: Further coordinates, shape (m, p); NaN where inactive.
    """
    if not len(ordered):
        return np.ones(points.shape)
    padded = np.vstack([ordered, np.full((1, ordered.shape[1]), np.nan)])
    columns = np.arange(ordered.shape[1])
    sigmas = np.empty(points.shape)
    for row, point in enumerate(points):
        above = np.count_nonzero(ordered < point, axis=0)
        below_value = padded[np.maximum(above - 1, 0), columns]
        gap_below = np.where(above > 0, point - below_value, np.nan)
        gap_above = padded[above, columns] - point
        sigmas[row] = np.fmax(gap_below, gap_above)
    sigmas = np.clip(sigmas, 1.0 / np.minimum(MAX_RESOLUTION, n_active + 2.0), 1.0)
    return np.where(np.isnan(sigmas), 1.0, sigmas)


def category_smoothing(n: int, n_categories: IntArray) -> FloatArray:
    """Share of a categorical kernel that goes to the prior, per column, for a mixture of n kernels."""
    share = n_categories / (n + 1.0)
    return np.asarray(share / (1.0 + share))


class Mixture:
    """A weighted mixture of a few product kernels and one prior component: density, marginals, draws.

    Args:
        layout: How coordinates enter kernels.
        z: Kernel centres, shape (k, d); NaN where inactive.
        weights: Kernel weights, shape (k,).
        prior_weight: Weight of the prior, on the scale of ``weights``.
        floor: No bandwidth is below it; None for the rule of :func:`neighbour_bandwidths`.
    """

    def __init__(
        self, layout: Layout, z: FloatArray, weights: FloatArray, prior_weight: float, floor: float | None = None
    ) -> None:
        self.layout, self.weights, self.prior_weight = layout, weights, prior_weight
        sigmas = np.ones(z.shape)
        columns = layout.ordered
        sigmas[:, columns] = neighbour_bandwidths(z[:, columns], layout.low[columns], layout.high[columns], floor)
        self.kernels = Kernels(layout, z, sigmas, len(z))
        total = weights.sum() + prior_weight
        self._cumulative = np.cumsum(weights / total)
        self._log_weights = np.log(np.append(weights, prior_weight) / total)

    def log_pdf(self, points: Points) -> FloatArray:
        """Joint log density at points, shape (m,)."""
        coefficients = np.vstack([self.kernels.coefficients, self.layout.prior.coefficients])
        return log_sum_exp(points.features @ coefficients.T + self._log_weights)

    def log_marginals(self, points: Points) -> FloatArray:
        """Log density of each coordinate on its own, over the kernels in which it is active, shape (m, d).

        The columns are those of ``Layout.columns``: numeric, then stepped. The prior counts with its weight in each; 0
        where inactive. Meant for few kernels: the temporary is (m, k, p).
        """
        layout, kernels = self.layout, self.kernels
        p = len(layout.numeric)
        out = np.zeros((len(points), p + len(layout.stepped)))
        weights = self.weights[:, None] * kernels.is_active
        totals = weights.sum(axis=0) + self.prior_weight
        if p:
            x, columns = points.numeric, layout.numeric
            heights = weights[:, columns] * np.exp(kernels.log_norms)
            z = ((x[:, None, :] - kernels.means) / kernels.sds).astype(layout.dtype)
            density = np.einsum("mkp,kp->mp", np.exp(-0.5 * z * z), heights)
            is_unbounded = layout.is_unbounded[columns]
            prior = np.exp(-0.5 * x * x - LOG_SQRT_2PI) if is_unbounded.any() else 1.0
            density += self.prior_weight * np.where(is_unbounded, prior, 1.0)
            out[:, :p] = np.where(points.is_active, np.log(np.maximum(density / totals[columns], ZERO)), 0.0)
        if layout.n_cells:
            columns = layout.stepped[layout.column_of_cell]
            density = (weights[:, columns] * np.exp(kernels.tables)).sum(axis=0)
            density += self.prior_weight * np.exp(layout.log_prior_cells)
            log_cells = np.log(np.maximum(density / totals[columns], ZERO))
            out[:, p:] = np.where(points.cells >= 0, log_cells[points.cells], 0.0)
        return out

    def choose(self, rng: np.random.Generator, shape: int | tuple[int, int]) -> IntArray:
        """Kernel numbers drawn by weight; the prior is the last."""
        return np.asarray(np.searchsorted(self._cumulative, rng.random(shape), side="right"))

    def sample(self, rng: np.random.Generator, chosen: IntArray, prior: FloatArray) -> FloatArray:
        """Draws, shape (m, d), of the kernels ``chosen`` for each coordinate, over draws ``prior`` of the prior."""
        layout, kernels, k = self.layout, self.kernels, len(self.weights)
        if not k:
            return prior
        columns = np.arange(prior.shape[1])
        row = np.minimum(chosen, k - 1)
        takes = (chosen < k) & kernels.is_active[row, columns]
        out = prior.copy()
        if len(layout.numeric):
            at, own = (row[:, layout.numeric], np.arange(len(layout.numeric))), layout.numeric
            u = kernels.below[at] + kernels.mass[at] * rng.random((len(prior), len(own)))
            drawn = np.clip(kernels.means[at] + kernels.sds[at] * normal_ppf(u), layout.low[own], layout.high[own])
            out[:, own] = np.where(takes[:, own], drawn, prior[:, own])
        if len(layout.ordinal):
            own = layout.ordinal
            means, sds = kernels.z[row[:, own], own], kernels.sigmas[row[:, own], own]
            drawn = truncnorm_ppf(rng.random((len(prior), len(own))), means, sds)
            out[:, own] = np.where(takes[:, own], drawn, prior[:, own])
        if len(layout.categorical):
            own = layout.categorical
            takes = takes[:, own] & (rng.random((len(prior), len(own))) >= kernels.share)
            out[:, own] = np.where(takes, kernels.z[row[:, own], own], prior[:, own])
        return np.asarray(out)


def log_sum_exp(a: NDArray[np.floating]) -> FloatArray:
    """Log of the sum of exponentials over the last axis; several times faster than ``np.logaddexp.reduce``."""
    highest = np.maximum(a.max(axis=1), np.finfo(a.dtype).min)  # -inf - -inf is NaN
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(a - highest[:, None]).sum(axis=1)) + highest, dtype=float)
