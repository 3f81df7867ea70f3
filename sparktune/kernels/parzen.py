"""Parzen estimators: mixtures of product kernels over numeric and categorical coordinates.

Points are arrays (n, p) of numeric coordinates and (n, c) of category numbers. An inactive coordinate is NaN, and -1;
there a kernel has its prior's density, so that points with different active parameters share one joint mixture.

Sources:
    Bergstra et al. 2011 (the estimator), Falkner et al. 2018 and Watanabe 2023 (joint product kernels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.special import LOG_SQRT_2PI, log_mass_around, truncnorm_ppf

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]

#: No kernel is narrower than the range divided by this, however many points there are.
MAX_RESOLUTION = 100.0


def neighbour_bandwidths(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
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
    widest = np.clip(widest, 1.0 / np.minimum(MAX_RESOLUTION, n_active + 2.0), 1.0)
    sigmas = np.empty_like(widest)
    np.put_along_axis(sigmas, order, widest, axis=0)
    return np.where(np.isnan(points), 1.0, sigmas)


def category_smoothing(n: int, n_categories: IntArray) -> FloatArray:
    """Share of a categorical kernel that goes to the prior, per column, for a mixture of n kernels."""
    share = n_categories / (n + 1.0)
    return np.asarray(share / (1.0 + share))


@dataclass
class Mixture:
    """A weighted mixture of product kernels and one prior component.

    Args:
        numeric: Kernel centres, shape (k, p); NaN where inactive.
        categories: Kernel categories, shape (k, c); -1 where inactive.
        weights: Kernel weights, shape (k,).
        prior_weight: Weight of the prior, on the scale of ``weights``.
        low, high: Bounds of the numeric coordinates, shape (p,).
        log_priors: Log prior probabilities of the categories, one array per column.
        n_for_smoothing: Number of observations that the kernels stand for; sets how much categories are smoothed.
    """

    numeric: FloatArray
    categories: IntArray
    weights: FloatArray
    prior_weight: float
    low: FloatArray
    high: FloatArray
    log_priors: Sequence[FloatArray]
    n_for_smoothing: int
    sigmas: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.sigmas = neighbour_bandwidths(self.numeric, self.low, self.high)
        self.is_active = ~np.isnan(self.numeric)
        self.smoothing = category_smoothing(
            self.n_for_smoothing, np.array([len(p) for p in self.log_priors], dtype=np.intp)
        )
        self._is_unbounded = np.isinf(self.low)
        total = self.weights.sum() + self.prior_weight
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(np.append(self.weights, self.prior_weight) / total)
        self._probabilities = np.append(self.weights, self.prior_weight) / total
        # A normal's exponent (x - m)^2 / s^2 expands into x^2, x and 1 times constants of the kernel, so that the log
        # kernels of all points and all kernels are one matrix product instead of a (points, kernels, p) temporary.
        means = np.where(self.is_active, self.numeric, 0.0)
        precisions = np.where(self.is_active, self.sigmas**-2.0, 0.0)
        log_mass = log_mass_around(means, self.sigmas, self.low, self.high)
        constants = -0.5 * precisions * means**2 - np.log(self.sigmas) - LOG_SQRT_2PI - log_mass
        self._log_norms = -np.log(self.sigmas) - LOG_SQRT_2PI - log_mass
        self._square = -0.5 * precisions.T
        self._linear = (precisions * means).T
        self._constant = np.where(self.is_active, constants, 0.0).T
        self._is_inactive = (~self.is_active).T.astype(float)

    def log_pdf(self, numeric: FloatArray, categories: IntArray) -> FloatArray:
        """Joint log density at points, shape (m,); arguments as the kernels', NaN and -1 where inactive."""
        n_kernels = len(self.weights)
        log_density = np.empty((len(numeric), n_kernels + 1))
        is_active = ~np.isnan(numeric)
        x = np.where(is_active, numeric, 0.0)
        log_prior = self.log_prior(x, is_active)  # (m, p)
        inside = log_density[:, :n_kernels]
        np.matmul(x**2, self._square, out=inside)
        inside += x @ self._linear
        inside += is_active.astype(float) @ self._constant
        if self._is_unbounded.any():
            inside += log_prior @ self._is_inactive
        log_density[:, n_kernels] = log_prior.sum(axis=1)
        for column, log_p in enumerate(self.log_priors):
            hit, miss, prior = self._category_tables(column, log_p)
            chosen = categories[:, column]
            known = np.where(chosen >= 0, chosen, 0)
            own = self.categories[:, column]
            terms = np.where(chosen[:, None] == own, hit[known][:, None], miss[known][:, None])
            terms = np.where(own == -1, prior[known][:, None], terms)
            terms[chosen < 0] = 0.0
            inside += terms
            log_density[:, n_kernels] += np.where(chosen >= 0, prior[known], 0.0)
        log_density += self._log_weights
        return np.asarray(np.logaddexp.reduce(log_density, axis=1)) if n_kernels < 4 else _log_sum_exp(log_density)

    def log_prior(self, x: FloatArray, is_active: NDArray[np.bool_]) -> FloatArray:
        """Log prior density of each numeric coordinate, shape (m, p); 0 where inactive."""
        density = np.where(self._is_unbounded, -0.5 * x**2 - LOG_SQRT_2PI, 0.0)
        return np.where(is_active, density, 0.0)

    def _category_tables(self, column: int, log_p: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Log probability of each category where a kernel's is the same, where it is another, and in the prior."""
        share = self.smoothing[column]
        smoothed = share * np.exp(log_p)
        with np.errstate(divide="ignore"):
            return np.log(1.0 - share + smoothed), np.log(smoothed), log_p

    def log_marginals(self, numeric: FloatArray, categories: IntArray) -> tuple[FloatArray, FloatArray]:
        """Log density of each coordinate on its own, over the kernels in which it is active, shapes (m, p) and (m, c).

        The prior counts with its weight in each. Meant for few kernels: the temporary is (m, k, p).
        """
        is_active = ~np.isnan(numeric)
        x = np.where(is_active, numeric, 0.0)
        weights = np.where(self.is_active, self.weights[:, None], 0.0)  # (k, p)
        means = np.where(self.is_active, self.numeric, 0.0)
        z = (x[:, None, :] - means) / self.sigmas
        density = np.einsum("mkp,kp->mp", np.exp(-0.5 * z**2), weights * np.exp(self._log_norms))
        density += self.prior_weight * np.exp(self.log_prior(x, is_active))
        with np.errstate(divide="ignore"):
            log_numeric = np.log(density / (weights.sum(axis=0) + self.prior_weight))
        return np.where(is_active, log_numeric, 0.0), self.log_category_marginals(categories)

    def log_category_marginals(self, categories: IntArray) -> FloatArray:
        """Log probability of each category on its own, over the kernels in which it is active, shape (m, c)."""
        log_marginals = np.zeros(categories.shape)
        for column, log_p in enumerate(self.log_priors):
            table = self._category_marginal(column, np.exp(log_p))
            chosen = categories[:, column]
            with np.errstate(divide="ignore"):
                log_marginals[:, column] = np.where(chosen >= 0, np.log(table[np.maximum(chosen, 0)]), 0.0)
        return log_marginals

    def _category_marginal(self, column: int, p: FloatArray) -> FloatArray:
        own = self.categories[:, column]
        is_active = own >= 0
        weights = self.weights[is_active]
        counts = np.bincount(own[is_active], weights=weights, minlength=len(p))
        share = self.smoothing[column]
        total = weights.sum()
        return np.asarray(
            ((1.0 - share) * counts + (share * total + self.prior_weight) * p) / (total + self.prior_weight)
        )

    def sample_joint(self, rng: np.random.Generator, prior_numeric: FloatArray, prior_categories: IntArray) -> None:
        """Overwrite prior draws, shapes (m, p) and (m, c), with draws of the joint mixture, in place."""
        n = len(prior_numeric)
        kernel = rng.choice(len(self._probabilities), size=n, p=self._probabilities)
        self._sample(rng, kernel[:, None], prior_numeric, prior_categories)

    def sample_marginals(self, rng: np.random.Generator, prior_numeric: FloatArray, prior_categories: IntArray) -> None:
        """Overwrite prior draws with draws in which each coordinate comes from a kernel of its own, in place."""
        shape = (len(prior_numeric), prior_numeric.shape[1] + prior_categories.shape[1])
        kernel = rng.choice(len(self._probabilities), size=shape, p=self._probabilities)
        self._sample(rng, kernel, prior_numeric, prior_categories)

    def _sample(self, rng: np.random.Generator, kernel: IntArray, numeric: FloatArray, categories: IntArray) -> None:
        n_kernels = len(self.weights)
        if not n_kernels:
            return
        kernel = np.broadcast_to(kernel, (len(numeric), numeric.shape[1] + categories.shape[1]))
        is_kernel, row = kernel < n_kernels, np.minimum(kernel, n_kernels - 1)
        p = numeric.shape[1]
        columns = np.arange(p)
        means, sigmas = self.numeric[row[:, :p], columns], self.sigmas[row[:, :p], columns]
        drawn = truncnorm_ppf(rng.random(numeric.shape), np.nan_to_num(means), sigmas, self.low, self.high)
        np.copyto(numeric, drawn, where=is_kernel[:, :p] & ~np.isnan(means))
        own = self.categories[row[:, p:], np.arange(categories.shape[1])]
        stays = rng.random(categories.shape) >= self.smoothing
        np.copyto(categories, own, where=is_kernel[:, p:] & stays & (own >= 0))


def _log_sum_exp(a: FloatArray) -> FloatArray:
    """Log of the sum of exponentials over the last axis; several times faster than ``np.logaddexp.reduce``."""
    highest = np.maximum(a.max(axis=1), np.finfo(float).min)  # -inf - -inf is NaN
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(a - highest[:, None]).sum(axis=1)) + highest)
