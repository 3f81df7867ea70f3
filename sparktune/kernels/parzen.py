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

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.arrays import BoolArray, FloatArray, IntArray
from sparktune.kernels.special import (
    LOG_SQRT_2PI,
    NEGLIGIBLE,
    log_mass_between,
    log_sum_exp,
    normal_cdf,
    normal_ppf,
    truncnorm_ppf,
)

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
        prior_sds: Standard deviations of the prior's normal on unbounded numeric columns, shape (p,); 1 on others.
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
        self.has_unbounded = bool(self.is_unbounded.any())
        self.bounds = np.stack([low, high])[:, None, self.numeric]
        self.is_numeric_unbounded = self.is_unbounded[self.numeric]
        self.cell_variances = widths[self.numeric] ** 2 / 12.0
        # As a kernel's: where cells are wide the standard normal is nothing at all grid points but its nearest.
        self.prior_sds = np.where(self.is_numeric_unbounded, np.sqrt(1.0 + self.cell_variances), 1.0)
        self.n_categories = np.array([len(log_priors[c]) for c in self.categorical], dtype=np.intp)
        # Cells: the steps of all ordinal columns, then the categories of all categorical ones.
        sizes = [len(edges[c]) - 1 for c in self.ordinal] + [len(log_priors[c]) for c in self.categorical]
        self.n_cells = int(sum(sizes))
        self.first_cells = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.intp)
        self.stepped_of_cell = np.repeat(np.arange(len(sizes)), sizes)
        self.column_of_cell = self.stepped[self.stepped_of_cell]
        self.n_steps = int(sum(sizes[: len(self.ordinal)]))
        self.cell_numbers = np.arange(self.n_cells)
        self.category_of_cell = self.cell_numbers - self.first_cells[self.stepped_of_cell]
        self.lower = np.concatenate([[], *(edges[c][:-1] for c in self.ordinal)])
        self.upper = np.concatenate([[], *(edges[c][1:] for c in self.ordinal)])
        self._shifted = self.lower + self.stepped_of_cell[: self.n_steps]
        log_p = np.concatenate([np.zeros(self.n_steps), *(log_priors[c] for c in self.categorical)])
        self.log_prior_cells = np.maximum(log_p, math.log(ZERO))
        self.prior_cells = np.exp(self.log_prior_cells)
        self.prior_mass = np.append(self.upper - self.lower, np.exp(log_p[self.n_steps :]))
        self.log_widths = np.log(self.upper - self.lower)
        self.n_features = 3 * len(self.numeric) + self.n_cells
        #: Single precision suffices on [0, 1] and takes half the time; far out on an unbounded axis it does not.
        self.dtype = np.float64 if self.has_unbounded else np.float32

    def _cells(self, stepped: FloatArray, is_active: BoolArray) -> IntArray:
        n_ordinal = len(self.ordinal)
        cells = (stepped + self.first_cells).astype(np.intp)
        if n_ordinal:
            u = np.minimum(stepped[:, :n_ordinal], 1.0 - 1e-9)
            # The edges of all columns are one ascending array, column c shifted by c.
            cells[:, :n_ordinal] = self._shifted.searchsorted(u + np.arange(n_ordinal), side="right") - 1
        return np.where(is_active, cells, -1)

    def log_normal(self, x: FloatArray) -> FloatArray:
        """Log of the prior's density on unbounded numeric coordinates, at numeric ones ``x`` (n, p)."""
        return np.asarray(-0.5 * (x / self.prior_sds) ** 2 - np.log(self.prior_sds) - LOG_SQRT_2PI)

    @cached_property
    def prior(self) -> Kernels:
        """The prior: a kernel in which everything is inactive."""
        d = len(self.low)
        return Kernels(self, np.full((1, d), np.nan), np.ones((1, d)), 0)

    def points(self, z: FloatArray) -> Points:
        """Points at coordinates ``z`` (n, d), prepared for kernels."""
        x = z.take(self.columns, axis=1)
        is_active = x == x  # not NaN
        x = np.where(is_active, x, 0.0)
        p = len(self.numeric)
        return Points(self, z, x[:, :p], is_active, self._cells(x[:, p:], is_active[:, p:]))


@dataclass(frozen=True)
class Points:
    """Points prepared for kernels.

    Attributes:
        layout: What the coordinates are.
        z: Coordinates, shape (n, d), NaN where inactive.
        numeric: The numeric ones, shape (n, p), 0 where inactive.
        is_active: Which are active, shape (n, d), in the order of ``Layout.columns``: numeric, then stepped.
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
        layout, x = self.layout, self.numeric
        p = len(layout.numeric)
        features = np.zeros((len(x), layout.n_features), dtype=layout.dtype)
        features[:, :p], features[:, p : 2 * p], features[:, 2 * p : 3 * p] = x * x, x, self.is_active[:, :p]
        if layout.n_cells:
            features[:, 3 * p :] = self.cells.take(layout.stepped_of_cell, axis=1) == layout.cell_numbers
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
        self.is_active = z == z  # not NaN
        columns = layout.numeric
        is_active = self.is_active.take(columns, axis=1)
        self.means = np.where(is_active, z.take(columns, axis=1), 0.0)
        # A grid's cell is wider than a point: its variance adds to the kernel's.
        self.sds = np.sqrt(sigmas.take(columns, axis=1) ** 2 + layout.cell_variances)
        self.below, upto = normal_cdf((layout.bounds - self.means) / self.sds)
        self.mass = upto - self.below
        self.log_norms = -np.log(self.sds * self.mass) - LOG_SQRT_2PI
        self.tables = self._tables()
        self.coefficients = self._coefficients(is_active)

    def _coefficients(self, is_active: BoolArray) -> NDArray[np.floating]:
        layout, p = self.layout, len(self.layout.numeric)
        out = np.empty((len(self.z), layout.n_features), dtype=layout.dtype)
        # Inactive and unbounded: mean 0 and sigma 1, which is the prior.
        is_normal = is_active | layout.is_numeric_unbounded
        precisions = np.where(is_normal, self.sds**-2.0, 0.0)
        half = -0.5 * precisions
        out[:, :p] = half
        out[:, p : 2 * p] = precisions * self.means
        out[:, 2 * p : 3 * p] = np.where(is_normal, self.log_norms, 0.0) + half * self.means**2
        out[:, 3 * p :] = self.tables
        return out

    def _tables(self) -> FloatArray:
        layout = self.layout
        tables = np.empty((len(self.z), layout.n_cells))
        if layout.n_steps:
            columns = layout.ordinal
            means, sds = self.z[:, columns], self.sigmas[:, columns]
            total = log_mass_between((0.0 - means) / sds, (1.0 - means) / sds)
            owner = layout.stepped_of_cell[: layout.n_steps]
            means, sds = means[:, owner], sds[:, owner]
            mass = log_mass_between((layout.lower - means) / sds, (layout.upper - means) / sds)
            tables[:, : layout.n_steps] = mass - total[:, owner] - layout.log_widths
        if len(layout.categorical):
            rest = slice(layout.n_steps, None)
            is_own = self.z.take(layout.column_of_cell[rest], axis=1) == layout.category_of_cell[rest]
            share = self.share[layout.stepped_of_cell[rest] - len(layout.ordinal)]
            p = share * layout.prior_mass[rest] + is_own * (1.0 - share)
            tables[:, rest] = np.log(np.maximum(p, ZERO))
        is_active = self.is_active.take(layout.column_of_cell, axis=1)
        return np.where(is_active, tables, layout.log_prior_cells)


def neighbour_bandwidths(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Bandwidth of each point in each dimension: the larger of the distances to its two neighbours.

    Args:
        points: Coordinates, shape (n, p); NaN where inactive.
        low, high: Bounds, shape (p,); infinite for unbounded dimensions. Scales are 1 either way.

    Returns:
        Bandwidths, shape (n, p), from ``1 / min(100, m + 2)`` in a dimension with m active points to 1; 1 where
        inactive.

    Source:
        Bergstra et al. 2011, section 4; the outermost points look at their inner neighbour only.
    """
    return np.minimum(np.maximum(neighbour_gaps(points, low, high), _floors(points)), 1.0)


def neighbour_gaps(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """The bandwidths of :func:`neighbour_bandwidths` before they are kept from the least one to 1; 1 where inactive."""
    if not len(points):
        return np.ones(points.shape)
    columns = np.arange(points.shape[1])
    order = points.argsort(axis=0)  # NaN last
    ordered = points[order, columns]
    between = ordered[1:] - ordered[:-1]
    widest = np.full(points.shape, np.nan)
    widest[1:] = between
    np.fmax(widest[:-1], between, out=widest[:-1])
    alone = widest != widest  # one point in its dimension: as far as the bounds
    widest = np.where(alone, np.maximum(ordered - low, high - ordered), widest)
    gaps = np.empty(points.shape)
    gaps[order, columns] = widest
    return np.where(points == points, gaps, 1.0)


def _floors(points: FloatArray) -> FloatArray:
    n_active = np.count_nonzero(points == points, axis=0)
    return np.asarray(1.0 / np.minimum(MAX_RESOLUTION, n_active + 2.0))


class Neighbours:
    """Known points, each coordinate in order, to find the bandwidths of further points among them.

    Args:
        points: Known coordinates, shape (n, p); NaN where inactive.
    """

    def __init__(self, points: FloatArray) -> None:
        # Each row ascends between two NaN, so that the first and the last point have a neighbour that is none.
        self._ordered = np.full((points.shape[1], len(points) + 2), np.nan)
        self._ordered[:, 1:-1] = np.sort(points.T, axis=1)  # NaN last
        self._floors = _floors(points)

    def bandwidths(self, points: FloatArray) -> FloatArray:
        """Bandwidths of points (m, p) by the rule of :func:`neighbour_bandwidths`, of which none is among the known.

        A coordinate that no known point has gives 1.
        """
        above = np.empty(points.shape[::-1], dtype=np.intp)
        for column, ordered in enumerate(self._ordered):
            above[column] = ordered[1:-1].searchsorted(points[:, column])
        columns = np.arange(len(above))
        gaps_below = points - self._ordered[columns, above.T]
        gaps_above = self._ordered[columns, above.T + 1] - points
        widest = np.fmax(gaps_below, gaps_above)
        return np.where(widest == widest, np.minimum(np.maximum(widest, self._floors), 1.0), 1.0)


def category_smoothing(n: int, n_categories: IntArray) -> FloatArray:
    """Share of a categorical kernel that goes to the prior, per column, for a mixture of n kernels."""
    share = n_categories / (n + 1.0)
    return np.asarray(share / (1.0 + share))


class Mixture:
    """A weighted mixture of a few product kernels and one prior component: density, marginals, draws.

    Args:
        layout: How coordinates enter kernels.
        z: Kernel centres, shape (k, d); NaN where inactive.
        sigmas: Bandwidths, shape (k, d).
        weights: Kernel weights, shape (k,).
        prior_weight: Weight of the prior, on the scale of ``weights``.
    """

    def __init__(
        self, layout: Layout, z: FloatArray, sigmas: FloatArray, weights: FloatArray, prior_weight: float
    ) -> None:
        self.layout, self.weights, self.prior_weight = layout, weights, prior_weight
        self.kernels = Kernels(layout, z, sigmas, len(z))
        total = weights.sum() + prior_weight
        self._cumulative = np.cumsum(weights / total)
        self._log_weights = np.log(np.append(weights, prior_weight) / total)
        self._coefficients = np.concatenate([self.kernels.coefficients, layout.prior.coefficients])

    def log_pdf(self, points: Points) -> FloatArray:
        """Joint log density at points, shape (m,)."""
        return log_sum_exp(points.features @ self._coefficients.T + self._log_weights)

    def log_marginals(self, points: Points) -> FloatArray:
        """Log density of each coordinate on its own, over the kernels in which it is active, shape (m, d).

        The columns are those of ``Layout.columns``: numeric, then stepped. The prior counts with its weight in each; 0
        where inactive. Meant for few kernels: the temporary is (m, k, p).
        """
        layout, p = self.layout, len(self.layout.numeric)
        out = np.empty(points.is_active.shape)
        if p:
            x, marginals = points.numeric, self._marginals
            z = x.astype(layout.dtype)[:, None, :] - marginals.means
            z *= z
            z *= marginals.exponents
            np.maximum(z, NEGLIGIBLE, out=z)
            density = np.einsum("mkp,kp->mp", np.exp(z, out=z), marginals.heights)
            prior = marginals.prior
            if layout.has_unbounded:
                with np.errstate(under="ignore"):  # nothing is left of a density that far out
                    normal = np.exp(layout.log_normal(x))
                prior = prior * np.where(layout.is_numeric_unbounded, normal, 1.0)
            log_density = np.log(np.maximum(density + prior, ZERO))
            out[:, :p] = np.where(points.is_active[:, :p], log_density, 0.0)
        out[:, p:] = self._marginals.log_cells[points.cells]
        return out

    @cached_property
    def _marginals(self) -> Marginals:
        layout, kernels = self.layout, self.kernels
        weights = self.weights[:, None] * kernels.is_active
        totals = weights.sum(axis=0) + self.prior_weight
        columns, cells = layout.numeric, layout.column_of_cell
        log_cells = np.zeros(layout.n_cells + 1)  # the last one, at -1, is that of no cell
        if layout.n_cells:
            density = (weights.take(cells, axis=1) * np.exp(kernels.tables)).sum(axis=0)
            density += self.prior_weight * layout.prior_cells
            log_cells[:-1] = np.log(np.maximum(density / totals[cells], ZERO))
        return Marginals(
            means=kernels.means.astype(layout.dtype),
            exponents=kernels.coefficients[:, : len(columns)],
            heights=(weights.take(columns, axis=1) * np.exp(kernels.log_norms) / totals[columns]).astype(layout.dtype),
            prior=self.prior_weight / totals[columns],
            log_cells=log_cells,
        )

    def choose(self, rng: np.random.Generator, shape: int | tuple[int, int]) -> IntArray:
        """Kernel numbers drawn by weight; the prior is the last."""
        return np.asarray(self._cumulative.searchsorted(rng.random(shape), side="right"))

    def sample(self, rng: np.random.Generator, chosen: IntArray, prior: FloatArray) -> FloatArray:
        """Draws, shape (m, d), of the kernels ``chosen`` for each coordinate, over draws ``prior`` of the prior."""
        layout, kernels, k = self.layout, self.kernels, len(self.weights)
        if not k:
            return prior
        m, d = prior.shape
        row = np.minimum(chosen, k - 1)
        takes = (chosen < k) & kernels.is_active.take(row * d + np.arange(d))
        out = prior.copy()
        if len(own := layout.numeric):
            at = row.take(own, axis=1) * len(own) + np.arange(len(own))
            below, mass, means, sds = self._numeric.take(at, axis=1)
            drawn = means + sds * normal_ppf(below + mass * rng.random((m, len(own))))
            drawn = np.minimum(np.maximum(drawn, layout.bounds[0]), layout.bounds[1])
            out[:, own] = np.where(takes.take(own, axis=1), drawn, prior.take(own, axis=1))
        if len(own := layout.ordinal):
            means, sds = kernels.z[row[:, own], own], kernels.sigmas[row[:, own], own]
            drawn = truncnorm_ppf(rng.random((m, len(own))), means, sds)
            out[:, own] = np.where(takes[:, own], drawn, prior[:, own])
        if len(own := layout.categorical):
            stays = takes.take(own, axis=1) & (rng.random((m, len(own))) >= kernels.share)
            out[:, own] = np.where(stays, kernels.z.take(row.take(own, axis=1) * d + own), prior.take(own, axis=1))
        return np.asarray(out)

    @cached_property
    def _numeric(self) -> FloatArray:
        """What draws of the numeric coordinates need, shape (4, k * p)."""
        kernels = self.kernels
        return np.stack([kernels.below, kernels.mass, kernels.means, kernels.sds]).reshape(4, -1)


@dataclass(frozen=True)
class Marginals:
    """One-dimensional densities of a mixture, prepared for points.

    Attributes:
        means, exponents, heights: Of the k kernels' factors ``heights * exp(exponents * (x - means)**2)`` in the p
            numeric coordinates, shape (k, p); a column's heights are relative to the weight of all.
        prior: Height of the prior in each, shape (p,).
        log_cells: Log density of each cell, shape (n_cells + 1,); the last is 0, for where there is none.
    """

    means: NDArray[np.floating]
    exponents: NDArray[np.floating]
    heights: NDArray[np.floating]
    prior: FloatArray
    log_cells: FloatArray
