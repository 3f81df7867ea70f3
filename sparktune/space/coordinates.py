"""Coordinates in which densities are estimated: every numeric parameter on one scale, every choice as an index.

A bounded parameter (its logarithm, where it has one) maps to [0, 1], with half a grid step beyond the outermost values
of a quantised one; a normal one maps to standard deviations from its mean. Options of ``hp.choice`` and short
``randint`` ranges have no order and stay indices; longer ``randint`` ranges are ordinal, so that no array ever has the
length of the range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparktune.space.compile import Parameter, Space
from sparktune.space.distributions import (
    MAX_EXPONENT,
    Categorical,
    FloatArray,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
    Uniform,
)

#: Up to this many integers a ``randint`` is a set of categories; above, neighbours are taken to be alike.
MAX_CATEGORICAL_RANDINT = 10


@dataclass(frozen=True, slots=True)
class Axis:
    """How one numeric parameter maps to its coordinate: ``z = (f(x) - shift) / scale``, f the logarithm or nothing.

    Attributes:
        is_log: Whether f is the logarithm.
        shift, scale: The linear part.
        low, high: Bounds of z; infinite for the normal family.
        q: Grid step of x; 0 for continuous parameters.
        first, last: Smallest and largest x.
    """

    is_log: bool
    shift: float
    scale: float
    low: float
    high: float
    q: float
    first: float
    last: float


def _bounded(is_log: bool, low: float, high: float, q: float, first: float, last: float) -> Axis:
    return Axis(is_log, low, high - low, 0.0, 1.0, q, first, last)


def axis_of(distribution: object) -> Axis:
    """The axis of a numeric distribution."""
    match distribution:
        case Uniform(low, high):
            return _bounded(False, low, high, 0.0, low, high)
        case LogUniform(low, high):
            return _bounded(True, low, high, 0.0, math.exp(low), math.exp(high))
        case QUniform(q=q):
            first, last = distribution.grid
            return _bounded(False, (first - 0.5) * q, (last + 0.5) * q, q, *distribution.bounds)
        case QLogUniform(q=q):
            return _bounded(True, *distribution.log_edges, q, *distribution.bounds)
        case RandInt(low, high):
            return _bounded(False, low - 0.5, high - 0.5, 1.0, low, high - 1)
        case Normal(mu, sigma):
            return Axis(False, mu, sigma, -math.inf, math.inf, 0.0, -math.inf, math.inf)
        case QNormal(mu, sigma, q):
            return Axis(False, mu, sigma, -math.inf, math.inf, q, -math.inf, math.inf)
        case LogNormal(mu, sigma):
            return Axis(True, mu, sigma, -math.inf, math.inf, 0.0, 0.0, math.inf)
        case QLogNormal(mu, sigma, q):
            return Axis(True, mu, sigma, -math.inf, math.inf, q, 0.0, math.inf)
    raise TypeError(f"{distribution!r} has no axis")


def n_categories(parameter: Parameter) -> int:
    """How many categories a parameter has; 0 if it is numeric."""
    distribution = parameter.distribution
    if isinstance(distribution, Categorical):
        return len(distribution.p)
    if isinstance(distribution, RandInt):
        size = int(distribution.high - distribution.low)
        return size if parameter.is_choice or size <= MAX_CATEGORICAL_RANDINT else 0
    return 0


class Coordinates:
    """The coordinates of a space: ``encode`` values to them, ``decode`` them back to values.

    Attributes:
        numeric, categorical: Columns of each kind.
        low, high: Bounds of the numeric coordinates, in the order of ``numeric``.
        log_priors: Log prior probability of each category, one array per column of ``categorical``.
        is_discrete: Shape (d,): parameters with a grid or categories.

    Args:
        space: The compiled space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        counts = [n_categories(p) for p in space.parameters]
        self.numeric = np.array([c for c, n in enumerate(counts) if not n], dtype=np.intp)
        self.categorical = np.array([c for c, n in enumerate(counts) if n], dtype=np.intp)
        axes = [axis_of(space.parameters[c].distribution) for c in self.numeric]
        self._is_log = np.array([a.is_log for a in axes], dtype=bool)
        self._shift, self._scale, self.low, self.high, self._q, self._first, self._last = (
            np.array([getattr(a, name) for a in axes], dtype=float)
            for name in ("shift", "scale", "low", "high", "q", "first", "last")
        )
        self.is_unbounded = np.isinf(self.low)
        self._offset = np.array(
            [getattr(space.parameters[c].distribution, "low", 0) for c in self.categorical], dtype=float
        )
        self.log_priors: list[FloatArray] = [
            space.parameters[c].distribution.log_pdf(np.arange(counts[c]) + offset)
            for c, offset in zip(self.categorical, self._offset, strict=True)
        ]
        self._cumulative = [np.cumsum(np.exp(log_p)) for log_p in self.log_priors]
        self.is_discrete = np.array([n > 0 for n in counts], dtype=bool)
        self.is_discrete[self.numeric] = self._q > 0

    def encode(self, values: FloatArray) -> FloatArray:
        """Coordinates of values (n, d); NaN stays NaN, and a category that does not exist becomes it."""
        z = np.array(values, dtype=float)
        x = z[:, self.numeric]
        if self._is_log.any():
            # The cell of 0 of a quantised lognormal has no logarithm: its middle stands for it.
            tiny = np.where(self._q > 0, 0.25 * self._q, np.finfo(float).tiny)
            x[:, self._is_log] = np.log(np.maximum(x, tiny)[:, self._is_log])
        z[:, self.numeric] = np.clip((x - self._shift) / self._scale, self.low, self.high)
        categories = z[:, self.categorical] - self._offset
        # A history may know options that the space no longer has; they say nothing of those it has.
        z[:, self.categorical] = np.where((categories >= 0) & (categories < self.n_categories()), categories, np.nan)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        """Values at coordinates (n, d), on their grids and within their bounds; every column filled."""
        values = np.array(z, dtype=float)
        x = z[:, self.numeric] * self._scale + self._shift
        if self._is_log.any():
            x[:, self._is_log] = np.exp(np.minimum(x[:, self._is_log], MAX_EXPONENT))
        on_grid = self._q > 0
        if on_grid.any():
            x[:, on_grid] = np.round(x[:, on_grid] / self._q[on_grid]) * self._q[on_grid]
        values[:, self.numeric] = np.clip(x, self._first, self._last)
        values[:, self.categorical] += self._offset
        return values

    def sample_prior(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw coordinates from the prior, shape (n, d), every column filled."""
        z = rng.random((n, len(self.space)))
        if self.is_unbounded.any():
            columns = self.numeric[self.is_unbounded]
            z[:, columns] = rng.standard_normal((n, len(columns)))
        for column, cumulative in zip(self.categorical, self._cumulative, strict=True):
            drawn = np.searchsorted(cumulative, z[:, column] * cumulative[-1], side="right")
            z[:, column] = np.minimum(drawn, len(cumulative) - 1)
        return z

    def n_categories(self) -> NDArray[np.intp]:
        """Number of categories of each categorical column."""
        return np.array([len(p) for p in self.log_priors], dtype=np.intp)
