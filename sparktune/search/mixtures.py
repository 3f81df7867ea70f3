"""The Parzen mixtures of hyperopt's TPE as functions of arrays, under hyperopt's names: ``tpe.GMM1`` and the like.

Programs and papers call them to look at the estimator. The searches here do not: they use ``sparktune.kernels``, on
which these are built. Bounds cut a mixture as a whole; of ``LGMM1`` they are logarithms, as in ``hp.loguniform``.

Source:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", section 4; rules and figures as hyperopt 0.3.0
    gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparktune.exceptions import InvalidArgumentError
from sparktune.kernels import special
from sparktune.kernels.adaptive_parzen import NormalMixture, adaptive_bandwidths, forgetting_weights
from sparktune.kernels.arrays import FloatArray
from sparktune.space.distributions import LogNormal, Size
from sparktune.space.generators import generator_of

# The names of arguments and functions are hyperopt's.
# ruff: noqa: N802, N803

# -- mixtures ---------------------------------------------------------------------------------------------------------


def GMM1(
    weights: ArrayLike,
    mus: ArrayLike,
    sigmas: ArrayLike,
    low: float | None = None,
    high: float | None = None,
    q: float | None = None,
    rng: Any = None,
    size: Size | Sequence[int] = (),
) -> NDArray[Any]:
    """Draws from a mixture of normals, of shape ``size``.

    Args:
        weights: Weights, shape (k,); they sum to 1.
        mus, sigmas: Components before the cut, shape (k,); sigmas > 0.
        low, high: Bounds of the draws before they are rounded; None for none.
        q: Draws are rounded to its multiples; None for not at all.
        rng: See :func:`~sparktune.space.generators.generator_of`.
        size: Shape of the result.
    """
    return _rounded(_draws(_mixture(weights, mus, sigmas, low, high), rng, size), q)


def LGMM1(
    weights: ArrayLike,
    mus: ArrayLike,
    sigmas: ArrayLike,
    low: float | None = None,
    high: float | None = None,
    q: float | None = None,
    rng: Any = None,
    size: Size | Sequence[int] = (),
) -> NDArray[Any]:
    """Draws from a mixture of lognormals, of shape ``size``: exponentials of those of :func:`GMM1`, then rounded.

    Args:
        weights, mus, sigmas, low, high: See :func:`GMM1`; all but the weights are of the logarithms.
        q, rng, size: See :func:`GMM1`.
    """
    return _rounded(np.exp(_draws(_mixture(weights, mus, sigmas, low, high), rng, size)), q)


def GMM1_lpdf(
    samples: ArrayLike,
    weights: ArrayLike,
    mus: ArrayLike,
    sigmas: ArrayLike,
    low: float | None = None,
    high: float | None = None,
    q: float | None = None,
) -> FloatArray:
    """Log density of :func:`GMM1`, with ``q`` the log mass, in the shape of ``samples``; ``-inf`` where none is drawn.

    Args:
        samples: Points, any shape.
        weights, mus, sigmas, low, high, q: See :func:`GMM1`.
    """
    return _log_density(samples, _mixture(weights, mus, sigmas, low, high), q, is_log=False)


def LGMM1_lpdf(
    samples: ArrayLike,
    weights: ArrayLike,
    mus: ArrayLike,
    sigmas: ArrayLike,
    low: float | None = None,
    high: float | None = None,
    q: float | None = None,
) -> FloatArray:
    """Log density of :func:`LGMM1`, with ``q`` the log mass, in the shape of ``samples``; ``-inf`` where none is drawn.

    Args:
        samples: Points, any shape.
        weights, mus, sigmas, low, high, q: See :func:`LGMM1`.
    """
    return _log_density(samples, _mixture(weights, mus, sigmas, low, high), q, is_log=True)


def _mixture(
    weights: ArrayLike, mus: ArrayLike, sigmas: ArrayLike, low: float | None, high: float | None
) -> NormalMixture:
    weights, mus, sigmas = (np.asarray(part, dtype=float) for part in (weights, mus, sigmas))
    if weights.ndim != 1 or not weights.shape == mus.shape == sigmas.shape:
        raise InvalidArgumentError(
            "a mixture takes weights, mus and sigmas of one shape (k,), got the shapes "
            f"{weights.shape}, {mus.shape}, {sigmas.shape}: give one of each for each component"
        )
    return NormalMixture(weights, mus, sigmas, -math.inf if low is None else low, math.inf if high is None else high)


def _draws(mixture: NormalMixture, rng: Any, size: Size | Sequence[int]) -> FloatArray:
    shape = (size,) if isinstance(size, int) else tuple(size)
    generator, n = generator_of(rng), math.prod(shape)
    if math.isinf(mixture.low) and math.isinf(mixture.high):  # nothing to cut: a seed gives what it gives in hyperopt
        chosen = np.argmax(generator.multinomial(1, mixture.weights, n), axis=1)
        return np.reshape(generator.normal(mixture.means[chosen], mixture.sigmas[chosen]), shape)
    return mixture.sample(generator, n).reshape(shape)


def _log_density(samples: ArrayLike, mixture: NormalMixture, q: float | None, *, is_log: bool) -> FloatArray:
    """Log density of the mixture, or with ``is_log`` of its exponentials; with ``q`` the log mass of a cell."""
    x = np.asarray(samples, dtype=float)
    flat = x.ravel()
    if q is not None:
        low, high = flat - 0.5 * q, flat + 0.5 * q
        found = mixture.log_mass(_log(low), _log(high)) if is_log else mixture.log_mass(low, high)
    elif is_log:
        is_positive = flat > 0
        log_x = np.log(np.where(is_positive, flat, 1.0))
        found = np.where(is_positive, mixture.log_pdf(log_x) - log_x, -np.inf)
    else:
        found = mixture.log_pdf(flat)
    return found.reshape(x.shape)


def _rounded(x: FloatArray, q: float | None) -> FloatArray:
    return x if q is None else np.asarray(np.round(x / q) * q)


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(x, 0.0)))


# -- one component ----------------------------------------------------------------------------------------------------


def normal_cdf(x: ArrayLike, mu: float, sigma: float) -> FloatArray:
    """Distribution function of a normal, elementwise."""
    return special.normal_cdf((np.asarray(x, dtype=float) - mu) / sigma)


def lognormal_cdf(x: ArrayLike, mu: float, sigma: float) -> FloatArray:
    """Distribution function of exp of a normal, elementwise.

    Raises:
        InvalidArgumentError: If one of ``x`` is negative.
    """
    x = np.asarray(x, dtype=float)
    if (x < 0).any():
        raise InvalidArgumentError(f"negative arg to lognormal_cdf: exp of a number is none such, got {x.min()}")
    return normal_cdf(_log(x), mu, sigma)


def lognormal_lpdf(x: ArrayLike, mu: float, sigma: float) -> FloatArray:
    """Log density of exp of a normal, elementwise."""
    return LogNormal(mu, sigma).log_pdf(x)


def qlognormal_lpdf(x: ArrayLike, mu: float, sigma: float, q: float) -> FloatArray:
    """Log mass of [x - q, x] under exp of a normal, elementwise.

    Args:
        x: Upper ends of cells.
        mu, sigma: Of the normal; sigma > 0.
        q: Width of the cells; > 0.
    """
    x = np.asarray(x, dtype=float)
    return special.log_gauss_mass((_log(x - q) - mu) / sigma, (_log(x) - mu) / sigma)


# -- the adaptive estimator -------------------------------------------------------------------------------------------


def linear_forgetting_weights(N: int, LF: int) -> FloatArray:
    """Weights of N observations, oldest first, shape (N,): 1 for the newest LF, before them a ramp from 1 / N to 1."""
    return forgetting_weights(N, LF)


def adaptive_parzen_normal(
    mus: ArrayLike, prior_weight: float, prior_mu: float, prior_sigma: float, LF: int = 25
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, means and sigmas of a component per observation and one for the prior, each (n + 1,), sorted by mean.

    Args:
        mus: Observations, shape (n,), oldest first.
        prior_weight: Weight of the prior, in observations.
        prior_mu, prior_sigma: The prior.
        LF: So many of the newest observations have full weight; all if 0.
    """
    points = np.asarray(mus, dtype=float)
    n = len(points)
    means = np.append(prior_mu, points)
    sigmas = np.append(prior_sigma, adaptive_bandwidths(points, prior_mu, prior_sigma))
    weights = np.append(prior_weight, linear_forgetting_weights(n, LF) if LF else np.ones(n))
    order = np.argsort(means, kind="stable")
    return weights[order] / weights.sum(), means[order], sigmas[order]


def adaptive_parzen_normal_orig(
    mus: ArrayLike, prior_weight: float, prior_mu: float, prior_sigma: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, means and sigmas by an older rule, each (n + 1,): the prior first, then the observations as they came.

    A sigma is the larger distance to the two neighbours, for the outermost points to the second one; it lies between
    ``prior_sigma / sqrt(n + 2)`` and ``prior_sigma``.

    Args:
        mus, prior_weight, prior_mu, prior_sigma: See :func:`adaptive_parzen_normal`.
    """
    points = np.asarray(mus, dtype=float)
    n = len(points)
    sigmas = np.zeros(n)
    if n > 1:
        order = np.argsort(points, kind="stable")
        gaps = np.diff(points[order])
        spans = np.maximum(np.append(gaps[0], gaps), np.append(gaps, gaps[-1]))
        spans[[0, -1]] = gaps[:2].sum(), gaps[-2:].sum()
        sigmas[order] = spans
    sigmas = np.clip(sigmas, prior_sigma / math.sqrt(n + 2.0), prior_sigma)
    weights = np.append(prior_weight, np.ones(n))
    return weights / weights.sum(), np.append(prior_mu, points), np.append(prior_sigma, sigmas)


def ap_split_trials(
    o_idxs: ArrayLike, o_vals: ArrayLike, l_idxs: ArrayLike, l_vals: ArrayLike, gamma: float, gamma_cap: int = 25
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of the trials with the lowest losses, and of the others, each in the order given.

    Args:
        o_idxs, o_vals: Trials in which a parameter was active, and its values there.
        l_idxs, l_vals: All trials, and their losses.
        gamma: ``ceil(gamma * sqrt(n))`` of the n trials are among the lowest.
        gamma_cap: So many at most.
    """
    losses, values, trials = np.asarray(l_vals, dtype=float), np.asarray(o_vals), np.asarray(o_idxs)
    n_below = min(math.ceil(gamma * math.sqrt(len(losses))), gamma_cap)
    lowest = np.asarray(l_idxs)[np.argsort(losses, kind="stable")[:n_below]]
    is_below = np.isin(trials, lowest)
    return values[is_below], values[~is_below]
