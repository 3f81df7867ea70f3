"""Special functions of the normal distribution that keep their digits in the tails, and sums of exponentials.

SciPy is imported where it is used: its import takes longer than all of sparktune's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparktune.kernels.arrays import FloatArray

LOG_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))
#: Width times (1 + distance from 0) below which the midpoint rule, whose error is its square / 24, beats a difference.
NARROW = 1e-5
#: Exponents below this are taken for it: beside 1 the exponential is nothing, and one that underflows takes many times
#: as long.
NEGLIGIBLE = -80.0


def log_gauss_mass(a: ArrayLike, b: ArrayLike, width: ArrayLike | None = None) -> FloatArray:
    """Log of the standard normal mass of [a, b], elementwise.

    Args:
        a, b: Bounds in standard deviations, broadcast against each other, ``a <= b``; infinities are allowed.
        width: ``b - a``, where it is known with more digits than rounding has left in the difference.

    Returns:
        ``log(Phi(b) - Phi(a))``; ``-inf`` where the width is 0.
    """
    from scipy.special import log_ndtr, ndtr

    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    # Phi(b) - Phi(a) cancels in the right tail, so an interval right of 0 is mirrored to the left one.
    is_right = a > 0
    low, high = np.where(is_right, -b, a), np.where(is_right, -a, b)
    straddles = (a <= 0) & (b > 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_high, log_low = log_ndtr(high), log_ndtr(low)
        tail = log_high + np.log1p(-np.exp(np.minimum(log_low - log_high, 0.0)))
        straddling = np.log1p(-ndtr(a) - ndtr(-b))
        # Any difference cancels where the interval is narrow; its width times the density in the middle does not.
        width, middle = b - a if width is None else np.asarray(width, dtype=float), 0.5 * (a + b)
        narrow = np.log(width) - 0.5 * middle**2 - LOG_SQRT_2PI
        is_narrow = width * (1.0 + np.abs(middle)) < NARROW
    log_mass = np.where(is_narrow, narrow, np.where(straddles, straddling, tail))
    return np.where((width == 0) | np.isneginf(log_high), -np.inf, log_mass)


def truncnorm_ppf(
    u: FloatArray, means: FloatArray, sigmas: FloatArray, low: FloatArray | float = 0.0, high: FloatArray | float = 1.0
) -> FloatArray:
    """Draws of normals truncated to [low, high], by inversion of uniforms ``u``.

    Args:
        u: Uniform draws in [0, 1], any shape; the other arguments are broadcast to it.
        means, sigmas: Parameters before truncation; means lie within [low, high], so no tail is too thin to invert.
        low, high: Bounds; infinities are allowed.

    Returns:
        Values in [low, high], of the shape of ``u``.
    """
    from scipy.special import ndtr, ndtri

    mass_below = ndtr((low - means) / sigmas)
    mass_upto = ndtr((high - means) / sigmas)
    return np.asarray(np.clip(means + sigmas * ndtri(mass_below + (mass_upto - mass_below) * u), low, high))


def normal_cdf(z: FloatArray) -> FloatArray:
    """Standard normal distribution function, elementwise."""
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def normal_ppf(u: FloatArray) -> FloatArray:
    """Standard normal quantile function, elementwise."""
    from scipy.special import ndtri

    return np.asarray(ndtri(u))


def log_mass_between(a: FloatArray, b: FloatArray) -> FloatArray:
    """Log of the standard normal mass of [a, b], elementwise; -690 where less than double precision holds.

    Faster than :func:`log_gauss_mass`, for tables in which the digits of a far tail do not count.
    """
    from scipy.special import ndtr

    is_right = a > 0
    low, high = np.where(is_right, -b, a), np.where(is_right, -a, b)
    return np.asarray(np.log(np.maximum(ndtr(high) - ndtr(low), 1e-300)))


def log_sum_exp(a: NDArray[np.floating]) -> FloatArray:
    """Log of the sum of exponentials over the last axis; several times faster than ``np.logaddexp.reduce``.

    Args:
        a: Shape (n, k), k > 0; without ``+inf``.

    Returns:
        Shape (n,), in double precision; ``-inf`` for a row that has nothing else.
    """
    highest = a.max(axis=1)
    relative = a - np.maximum(highest, np.finfo(a.dtype).min)[:, None]  # -inf - -inf is NaN
    np.maximum(relative, NEGLIGIBLE, out=relative)
    return np.asarray(np.log(np.exp(relative, out=relative).sum(axis=1)) + highest, dtype=float)
