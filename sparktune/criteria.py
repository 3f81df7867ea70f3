"""Acquisition criteria of a model whose prediction at a point is a normal distribution; larger is better.

Written for maximising: improvement is what lies above the threshold. Arguments may be numbers or arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, ndtr

__all__ = ["UCB", "EI_empirical", "EI_gaussian", "EI_gaussian_empirical", "logEI_gaussian"]

SQRT_2 = np.sqrt(2.0)
SQRT_2PI = np.sqrt(2.0 * np.pi)
#: From here on down the improvement is so rare that only its logarithm can be computed accurately.
TAIL = -1.0
#: Below it the expansion of the tail is accurate to 12 digits, and the difference from erfcx loses more.
FAR_TAIL = -100.0


def EI_empirical(samples: ArrayLike, thresh: float) -> Any:  # noqa: N802
    """Mean improvement of ``samples`` over ``thresh``, where falling short counts as 0.

    Args:
        samples: Draws of the prediction, any shape.
        thresh: What is to be improved on.
    """
    return np.float64(np.maximum(np.asarray(samples, dtype=float) - thresh, 0.0).mean())


def EI_gaussian_empirical(mean: float, var: float, thresh: float, rng: np.random.Generator, N: int) -> Any:  # noqa: N802
    """Expected improvement over ``thresh`` of a normal prediction, estimated from ``N`` draws."""
    return EI_empirical(rng.normal(mean, np.sqrt(var), N), thresh)


def EI_gaussian(mean: ArrayLike, var: ArrayLike, thresh: ArrayLike) -> Any:  # noqa: N802
    """Expected improvement over ``thresh`` of a normal prediction.

    Args:
        mean, var: Of the prediction; ``var`` at least 0.
        thresh: What is to be improved on.

    Source:
        Jones et al. 1998, equation 15.
    """
    mean, sigma = np.asarray(mean, dtype=float), np.sqrt(np.asarray(var, dtype=float))
    gain = mean - np.asarray(thresh, dtype=float)
    z = _ratio(gain, sigma)
    with np.errstate(under="ignore"):
        density = np.exp(-0.5 * z**2) / SQRT_2PI
    gain = np.where(np.isneginf(gain), 0.0, gain)  # of no probability: the product would be NaN
    return np.where(sigma > 0, gain * ndtr(z) + sigma * density, np.maximum(gain, 0.0))[()]


def logEI_gaussian(mean: ArrayLike, var: ArrayLike, thresh: ArrayLike) -> Any:  # noqa: N802
    """Logarithm of :func:`EI_gaussian`, finite and accurate however far the threshold is.

    Source:
        Ament et al. 2023, "Unexpected Improvements to Expected Improvement", appendix A.1: with z the gain in standard
        deviations, log(phi(z) + z Phi(z)), which is computed as log phi(z) + log(1 + z Phi(z) / phi(z)).
    """
    mean, sigma = np.asarray(mean, dtype=float), np.sqrt(np.asarray(var, dtype=float))
    gain = mean - np.asarray(thresh, dtype=float)
    z = _ratio(gain, sigma)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        near = np.maximum(z, TAIL)  # each branch is computed for all, within its own range
        log_near = np.log(np.exp(-0.5 * near**2) / SQRT_2PI + near * ndtr(near))
        middle = np.clip(z, FAR_TAIL, TAIL)
        log_middle = np.log1p(middle * np.sqrt(np.pi / 2) * erfcx(-middle / SQRT_2))
        far = np.minimum(z, FAR_TAIL)
        log_far = -2.0 * np.log(-far) + np.log1p((-3.0 + (15.0 - 105.0 / far**2) / far**2) / far**2)  # Mills' ratio
        log_tail = np.where(z > FAR_TAIL, log_middle, log_far) - 0.5 * z**2 - np.log(SQRT_2PI)
        log_unit = np.where(z > TAIL, log_near, log_tail)
        return np.where(sigma > 0, log_unit + np.log(sigma), np.log(np.maximum(gain, 0.0)))[()]


def UCB(mean: ArrayLike, var: ArrayLike, zscore: float) -> Any:  # noqa: N802
    """Upper confidence bound: ``zscore`` standard deviations above the mean."""
    return np.asarray(np.asarray(mean, dtype=float) + np.sqrt(np.asarray(var, dtype=float)) * zscore)[()]


def _ratio(gain: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gain in standard deviations; 0 where there is no spread, which the callers look after themselves."""
    return np.divide(gain, sigma, out=np.zeros(np.broadcast(gain, sigma).shape), where=sigma > 0)
