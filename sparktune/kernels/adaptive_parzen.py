"""The adaptive Parzen estimator of one parameter, as first published: the prior is one of the points.

A numeric parameter has a mixture of normals, cut to the parameter's bounds as a whole. A categorical one has weighted
counts on top of prior pseudo-counts, kept for the observed categories only, so that no array is as long as the range.

Source:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", section 4; the clip of the bandwidths, the
    forgetting and the pseudo-counts follow hyperopt 0.3.0 (Bergstra et al. 2013), the authors' implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparktune.kernels.arrays import FloatArray, IntArray
from sparktune.kernels.special import LOG_SQRT_2PI, log_gauss_mass, log_sum_exp, truncnorm_ppf

#: No kernel is narrower than the prior's sigma divided by this, however many points there are.
MAX_RESOLUTION = 100.0
#: This many of the newest observations have full weight.
N_REMEMBERED = 25


def forgetting_weights(n: int, n_remembered: int = N_REMEMBERED) -> FloatArray:
    """Weights of n observations, oldest first: 1 for the newest, before them a ramp from 1 / n to 1.

    Args:
        n: Number of observations, >= 0.
        n_remembered: So many are the newest.

    Returns:
        Weights, shape (n,), in (0, 1].
    """
    if n <= n_remembered:
        return np.ones(n)
    return np.append(np.linspace(1.0 / n, 1.0, n - n_remembered), np.ones(n_remembered))


def adaptive_bandwidths(points: FloatArray, prior_mean: float, prior_sigma: float) -> FloatArray:
    """Bandwidth of each point: the larger distance to its sorted neighbours, the prior's mean being one of the points.

    Args:
        points: Observations, shape (n,), in any order.
        prior_mean, prior_sigma: The prior; prior_sigma > 0.

    Returns:
        Bandwidths, shape (n,), within ``[prior_sigma / min(100, n + 2), prior_sigma]``; half of ``prior_sigma`` for a
        single point.

    Source:
        Bergstra et al. 2011, section 4; the outermost points look at their inner neighbour only.
    """
    n = len(points)
    if n <= 1:
        return np.full(n, 0.5 * prior_sigma)
    with_prior = np.append(prior_mean, points)
    # Stable, so that equal observations have the same order on every machine; hyperopt leaves it to the default sort.
    order = np.argsort(with_prior, kind="stable")
    gaps = np.diff(with_prior[order])
    bandwidths = np.empty(n + 1)
    bandwidths[order] = np.maximum(np.append(gaps[0], gaps), np.append(gaps, gaps[-1]))
    return np.clip(bandwidths[1:], prior_sigma / min(MAX_RESOLUTION, n + 2.0), prior_sigma)


@dataclass(frozen=True, slots=True)
class NormalMixture:
    """A mixture of normals, cut to [low, high] as a whole: a component outside has less weight, not more density.

    Args:
        weights: Weights before the cut, shape (k,); they sum to 1.
        means, sigmas: Components before the cut, shape (k,); means lie within [low, high], sigmas > 0.
        low, high: Bounds; infinities are allowed.
    """

    weights: FloatArray
    means: FloatArray
    sigmas: FloatArray
    low: float
    high: float

    def _masses(self) -> FloatArray:
        """Mass of each component within the bounds, times its weight, shape (k,)."""
        log_mass = log_gauss_mass((self.low - self.means) / self.sigmas, (self.high - self.means) / self.sigmas)
        return np.asarray(self.weights * np.exp(log_mass))

    def _log_weights(self) -> FloatArray:
        """Log of the components' weights over the mixture's mass within the bounds, shape (k,)."""
        return np.asarray(np.log(self.weights) - np.log(np.sum(self._masses())))

    def log_pdf(self, x: FloatArray) -> FloatArray:
        """Log density at points, shape (m,); ``-inf`` outside the bounds."""
        z = (x[:, None] - self.means) / self.sigmas  # (m, k)
        log_density = log_sum_exp(self._log_weights() - 0.5 * z**2 - np.log(self.sigmas) - LOG_SQRT_2PI)
        return np.where((x >= self.low) & (x <= self.high), log_density, -np.inf)

    def log_mass(self, lower: FloatArray, upper: FloatArray) -> FloatArray:
        """Log probability of the cells [lower, upper], each of shape (m,), cut to the bounds."""
        lower, upper = np.clip(lower, self.low, self.high), np.clip(upper, self.low, self.high)
        a = (lower[:, None] - self.means) / self.sigmas  # (m, k)
        b = (upper[:, None] - self.means) / self.sigmas
        return log_sum_exp(self._log_weights() + log_gauss_mass(a, b))

    def log_cell_mass(self, x: FloatArray, below: FloatArray, above: FloatArray) -> FloatArray:
        """Log probability of the cells [x - below, x + above], cut to the bounds.

        As :meth:`log_mass`, but with all digits where a cell is narrower than what floats near x can tell apart.

        Args:
            x: Points within the bounds, shape (m,).
            below, above: How far each one's cell reaches, shape (m,), >= 0; infinite for up to the bound.
        """
        below, above = np.minimum(below, x - self.low), np.minimum(above, self.high - x)
        z = (x[:, None] - self.means) / self.sigmas  # (m, k)
        a, b = z - below[:, None] / self.sigmas, z + above[:, None] / self.sigmas
        return log_sum_exp(self._log_weights() + log_gauss_mass(a, b, (below + above)[:, None] / self.sigmas))

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw n points within the bounds."""
        cumulative = np.cumsum(self._masses())
        chosen = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
        chosen = np.minimum(chosen, len(cumulative) - 1)  # the product may round up to the sum
        return truncnorm_ppf(rng.random(n), self.means[chosen], self.sigmas[chosen], self.low, self.high)


def adaptive_parzen(
    points: FloatArray, prior_mean: float, prior_sigma: float, prior_weight: float, low: float, high: float
) -> NormalMixture:
    """The mixture of a kernel on each observation and the prior.

    Args:
        points: Observations, shape (n,), oldest first; those outside [low, high] count as on the bound.
        prior_mean, prior_sigma: The prior's component; prior_sigma > 0.
        prior_weight: Its weight, in observations; > 0.
        low, high: Bounds; infinities are allowed.
    """
    points = np.clip(points, low, high)
    weights = np.append(forgetting_weights(len(points)), prior_weight)
    sigmas = np.append(adaptive_bandwidths(points, prior_mean, prior_sigma), prior_sigma)
    return NormalMixture(weights / weights.sum(), np.append(points, prior_mean), sigmas, low, high)


@dataclass(frozen=True, slots=True)
class PseudoCounts:
    """Probabilities of the categories 0 to k - 1: weighted counts of observations plus pseudo-counts of the prior.

    Args:
        values: The distinct observed categories, sorted, shape (m,).
        counts: Their weighted counts, shape (m,).
        prior_count: Pseudo-count of the prior over all categories together; > 0.
        n_categories: Number of categories; may be huge.
        prior: Prior probabilities, shape (n_categories,); None if all are alike.
    """

    values: IntArray
    counts: FloatArray
    prior_count: float
    n_categories: int
    prior: FloatArray | None = None

    def log_mass(self, x: IntArray) -> FloatArray:
        """Log probability of categories, shape (n,)."""
        counts = np.zeros(len(x))
        if len(self.values):
            position = np.minimum(np.searchsorted(self.values, x), len(self.values) - 1)
            counts = np.where(self.values[position] == x, self.counts[position], 0.0)
        prior = 1.0 / self.n_categories if self.prior is None else self.prior[x]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log((counts + self.prior_count * prior) / (self.counts.sum() + self.prior_count)))

    def sample(self, rng: np.random.Generator, n: int) -> IntArray:
        """Draw n categories."""
        if self.prior is None:
            drawn = rng.integers(0, self.n_categories, n)
        else:
            drawn = rng.choice(self.n_categories, n, p=self.prior)
        if len(self.values):
            total = self.counts.sum()
            is_observed = rng.random(n) * (total + self.prior_count) < total
            drawn = np.where(is_observed, rng.choice(self.values, n, p=self.counts / total), drawn)
        return np.asarray(drawn, dtype=np.intp)


def pseudo_counts(
    categories: IntArray, n_categories: int, prior_weight: float, prior: FloatArray | None = None
) -> PseudoCounts:
    """Weighted counts of observations plus ``prior_weight`` per category, shared out as the prior says.

    Args:
        categories: Observations, shape (n,), oldest first; those that are no category are left out.
        n_categories: Number of categories, >= 1.
        prior_weight: Pseudo-count per category; > 0.
        prior: Prior probabilities, shape (n_categories,); None if all are alike.
    """
    categories = categories[(categories >= 0) & (categories < n_categories)]
    values, position = np.unique(categories, return_inverse=True)
    counts = np.bincount(position.ravel(), weights=forgetting_weights(len(categories)), minlength=len(values))
    return PseudoCounts(values, counts.astype(float), prior_weight * n_categories, n_categories, prior)
