"""The distributions of ``hp.*`` in the manner of ``scipy.stats``: pdf or pmf, cdf, random variates.

The quantised ones have hyperopt's law: a continuous draw rounded to the nearest multiple of q, which can lie beyond the
bounds, and gives the first and the last multiple part of a cell only. ``hp.quniform`` and ``hp.qloguniform`` draw
otherwise here, within the bounds and with full cells: :mod:`sparktune.space.distributions` has that law.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import rv_continuous

from sparktune.kernels.arrays import FloatArray
from sparktune.space.distributions import (
    Distribution,
    LogNormal,
    LogUniform,
    QLogNormal,
    QNormal,
    Uniform,
)
from sparktune.space.generators import generator_of
from sparktune.space.grids import is_on_grid

__all__ = [
    "lognorm_gen",
    "loguniform_gen",
    "qlognormal_gen",
    "qloguniform_gen",
    "qnormal_gen",
    "quniform_gen",
]

MAX_INT64 = 2.0**63

# -- continuous -------------------------------------------------------------------------------------------------------


class loguniform_gen(rv_continuous):  # type: ignore[misc]  # noqa: N801
    """exp(U), U uniform on [low, high].

    Args:
        low, high: Bounds of the logarithm, as in ``hp.loguniform``.
    """

    def __init__(self, low: float = 0, high: float = 1) -> None:
        self.distribution = LogUniform(low, high)
        self._low, self._high = low, high
        super().__init__(a=math.exp(low), b=math.exp(high), name="loguniform")

    def _updated_ctor_param(self) -> dict[str, Any]:
        return {"low": self._low, "high": self._high}  # what makes a frozen copy

    def _rvs(self, *args: Any, size: Any = None, random_state: Any = None) -> Any:
        return np.exp(random_state.uniform(self._low, self._high, size))

    def _pdf(self, x: FloatArray) -> FloatArray:
        return 1.0 / (x * (self._high - self._low))

    def _logpdf(self, x: FloatArray) -> FloatArray:
        return -np.log(x) - math.log(self._high - self._low)

    def _cdf(self, x: FloatArray) -> FloatArray:
        return (np.log(x) - self._low) / (self._high - self._low)

    def _ppf(self, q: FloatArray) -> FloatArray:
        return np.exp(self._low + q * (self._high - self._low))


class lognorm_gen(rv_continuous):  # type: ignore[misc]  # noqa: N801
    """exp of a normal draw.

    Args:
        mu, sigma: Mean and standard deviation of the logarithm, as in ``hp.lognormal``.
    """

    def __init__(self, mu: float, sigma: float) -> None:
        self.distribution = LogNormal(mu, sigma)
        self._mu, self._sigma = mu, sigma
        super().__init__(a=0.0, name="lognorm")

    def _updated_ctor_param(self) -> dict[str, Any]:
        return {"mu": self._mu, "sigma": self._sigma}

    def _z(self, x: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.asarray((np.log(x) - self._mu) / self._sigma)

    def _rvs(self, *args: Any, size: Any = None, random_state: Any = None) -> Any:
        return np.exp(random_state.normal(self._mu, self._sigma, size))

    def _pdf(self, x: FloatArray) -> FloatArray:
        return np.exp(self._logpdf(x))

    def _logpdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.distribution.log_pdf(x))

    def _cdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(ndtr(self._z(x)))

    def _logcdf(self, x: FloatArray) -> FloatArray:
        return np.asarray(log_ndtr(self._z(x)))

    def _sf(self, x: FloatArray) -> FloatArray:
        return np.asarray(ndtr(-self._z(x)))

    def _logsf(self, x: FloatArray) -> FloatArray:
        return np.asarray(log_ndtr(-self._z(x)))

    def _ppf(self, q: FloatArray) -> FloatArray:
        return np.asarray(np.exp(self._mu + self._sigma * ndtri(q)))

    def _isf(self, q: FloatArray) -> FloatArray:
        return np.asarray(np.exp(self._mu - self._sigma * ndtri(q)))


# -- quantised --------------------------------------------------------------------------------------------------------


class _Quantised:
    """What all quantised distributions offer: ``pmf``, ``logpmf`` and ``rvs``."""

    q: float

    def pmf(self, x: ArrayLike) -> Any:
        """Probability of ``x``, elementwise; 0 for what is no multiple of q."""
        return np.exp(self.logpmf(x))

    def logpmf(self, x: ArrayLike) -> Any:
        """Logarithm of :meth:`pmf`."""
        return self._logpmf(np.asarray(x, dtype=float))[()]

    def rvs(self, size: Any = (), random_state: Any = None) -> Any:
        """Random variates: integers if q is an int and all fit into 64 bits, else floats.

        Args:
            size: Shape of the result; ``()`` for a number.
            random_state: See :func:`~sparktune.space.generators.generator_of`.
        """
        values = _multiples(self._draw(generator_of(random_state, "random_state"), size), self.q)
        return values.item() if values.ndim == 0 else values

    def _draw(self, rng: np.random.Generator, size: Any) -> NDArray[Any]:
        """Continuous draws, or multiples of q; rounding does not change those."""
        raise NotImplementedError

    def _logpmf(self, x: FloatArray) -> FloatArray:
        raise NotImplementedError


def _multiples(x: NDArray[Any], q: float) -> NDArray[Any]:
    """The multiples of ``q`` nearest to ``x``: integers if ``q`` is one and they are no larger than 64 bits hold."""
    steps = np.round(x / q)
    is_integer = isinstance(q, (int, np.integer)) and bool((np.abs(steps) * float(q) < MAX_INT64).all())
    return np.asarray((steps.astype(np.int64) if is_integer else steps) * q)


class quniform_gen(_Quantised):  # noqa: N801
    """A uniform draw rounded to the nearest multiple of q.

    Args:
        low, high: Bounds of the draw before it is rounded.
        q: The step.

    Attributes:
        qlow, qhigh: Smallest and largest value.
    """

    def __init__(self, low: float, high: float, q: float) -> None:
        self.low, self.high, self.q = float(low), float(high), q
        self._continuous, self._first, self._last = self._parts()
        self.qlow, self.qhigh = _multiples(np.asarray([self._first, self._last]), q)

    def _parts(self) -> tuple[Distribution, float, float]:
        """What is rounded, with its bounds."""
        return Uniform(self.low, self.high), self.low, self.high

    @property
    def xs(self) -> NDArray[Any]:
        """All values, ascending."""
        first, last = round(self.qlow / self.q), round(self.qhigh / self.q)
        return np.arange(first, last + 1) * self.q

    @property
    def ps(self) -> FloatArray:
        """Probabilities of :attr:`xs`."""
        return np.asarray(self.pmf(self.xs))

    def _draw(self, rng: np.random.Generator, size: Any) -> NDArray[Any]:
        return self._continuous.sample(rng, size)

    def _logpmf(self, x: FloatArray) -> FloatArray:
        steps = np.round(x / self.q)
        lower, upper = (np.clip((steps + half) * self.q, self._first, self._last) for half in (-0.5, 0.5))
        with np.errstate(divide="ignore"):
            return np.asarray(np.where(is_on_grid(x, self.q), np.log(self._mass(lower, upper)), -np.inf))

    def _mass(self, lower: FloatArray, upper: FloatArray) -> FloatArray:
        return (upper - lower) / (self.high - self.low)


class qloguniform_gen(quniform_gen):  # noqa: N801
    """exp(U), U uniform on [low, high], rounded to the nearest multiple of q.

    Args:
        low, high: Bounds of the logarithm.
        q: The step.
    """

    def _parts(self) -> tuple[Distribution, float, float]:
        return LogUniform(self.low, self.high), math.exp(self.low), math.exp(self.high)

    def _mass(self, lower: FloatArray, upper: FloatArray) -> FloatArray:
        return np.log(upper / lower) / (self.high - self.low)


class qnormal_gen(_Quantised):  # noqa: N801
    """A normal draw rounded to the nearest multiple of q.

    Args:
        mu, sigma: Mean and standard deviation of the draw before it is rounded.
        q: The step.
    """

    def __init__(self, mu: float, sigma: float, q: float) -> None:
        self.mu, self.sigma, self.q = float(mu), float(sigma), q
        self._distribution = self._rounded()

    def _rounded(self) -> Distribution:
        return QNormal(self.mu, self.sigma, self.q)

    def in_domain(self, x: ArrayLike) -> Any:
        """Whether ``x`` is a possible value, elementwise."""
        return np.isfinite(self.logpmf(x))

    def _draw(self, rng: np.random.Generator, size: Any) -> NDArray[Any]:
        return self._distribution.sample(rng, size)

    def _logpmf(self, x: FloatArray) -> FloatArray:
        return self._distribution.log_pdf(x)


class qlognormal_gen(qnormal_gen):  # noqa: N801
    """exp of a normal draw, rounded to the nearest multiple of q; 0 is possible.

    Args:
        mu, sigma: Mean and standard deviation of the logarithm.
        q: The step.
    """

    def _rounded(self) -> Distribution:
        return QLogNormal(self.mu, self.sigma, self.q)
