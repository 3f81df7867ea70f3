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

from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.parzen import Layout
from sparktune.kernels.special import normal_ppf
from sparktune.space.compile import Parameter, Space
from sparktune.space.distributions import (
    Categorical,
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
from sparktune.space.limits import MAX_EXPONENT

#: Up to this many integers a ``randint`` is a set of categories; above, neighbours are taken to be alike.
MAX_CATEGORICAL_RANDINT = 10
#: A grid of up to this many steps has a mass for each; a finer one is as good as continuous.
MAX_STEPS = 32
#: Grids that reach further, in steps, are counted from their first value: floats run out of digits for half steps.
FAR = 2**40
#: Over a grid that is so many times shorter than it is far from 0 the logarithm is straight, but has few digits.
STRAIGHT = 2**30


@dataclass(frozen=True, slots=True)
class Axis:
    """How one numeric parameter maps to its coordinate: ``z = (f(x) - origin * q - shift) / scale``.

    Attributes:
        is_log: Whether f is the logarithm; else it is nothing.
        shift, scale: The linear part.
        low, high: Bounds of z; infinite for the normal family.
        q: Grid step of x; 0 for continuous parameters.
        first, last: Smallest and largest x.
        origin: From which step a far grid is counted; 0 on other axes.
    """

    is_log: bool
    shift: float
    scale: float
    low: float
    high: float
    q: float
    first: float
    last: float
    origin: float = 0.0

    def edges(self) -> FloatArray | None:
        """Edges of the grid's cells in z, ascending from 0 to 1; None without a grid of few steps."""
        if not self.q or math.isinf(self.low):
            return None
        if not self.is_log:
            n_steps = round(self.scale / self.q)
            return np.arange(n_steps + 1) / n_steps if n_steps <= MAX_STEPS else None
        first, last = round(self.first / self.q), round(self.last / self.q)
        if last - first >= MAX_STEPS:
            return None
        edges = (np.log((np.arange(first, last + 2) - 0.5) * self.q) - self.shift) / self.scale
        edges[0], edges[-1] = 0.0, 1.0
        return np.asarray(edges)


def _bounded(is_log: bool, low: float, high: float, q: float, first: float, last: float) -> Axis:
    return Axis(is_log, low, high - low, 0.0, 1.0, q, first, last)


def _linear_grid(first: int, last: int, q: float, bounds: tuple[float, float]) -> Axis:
    """The axis of the multiples of q from the first to the last, without a logarithm."""
    if max(-first, last) < FAR:
        return _bounded(False, (first - 0.5) * q, (last + 0.5) * q, q, *bounds)
    return Axis(False, -0.5 * q, (last - first + 1) * q, 0.0, 1.0, q, *bounds, float(first))


def axis_of(distribution: object) -> Axis:
    """The axis of a numeric distribution."""
    match distribution:
        case Uniform(low, high):
            return _bounded(False, low, high, 0.0, low, high)
        case LogUniform(low, high):
            return _bounded(True, low, high, 0.0, math.exp(low), math.exp(high))
        case QUniform(q=q):
            return _linear_grid(*distribution.grid, q, distribution.bounds)
        case QLogUniform(q=q):
            first, last = distribution.grid
            if (last - first + 1) * STRAIGHT < first:
                return _linear_grid(first, last, q, distribution.bounds)
            return _bounded(True, *distribution.log_edges, q, *distribution.bounds)
        case RandInt(low, high):
            return _linear_grid(int(low), int(high) - 1, 1.0, distribution.bounds)
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
        shift, scale, self.low, self.high, q, first, last, origin = (
            np.array([getattr(a, name) for a in axes], dtype=float)
            for name in ("shift", "scale", "low", "high", "q", "first", "last", "origin")
        )
        self.is_unbounded = np.isinf(self.low)
        self._grids = self.numeric[q > 0]
        self._q, self._origin_steps = q[q > 0], origin[q > 0]
        is_log = np.array([axis.is_log for axis in axes], dtype=bool)
        self._logs = self.numeric[is_log]
        # The cell of 0 of a quantised lognormal has no logarithm: its middle stands for it.
        self._tiny = np.where(q > 0, 0.25 * q, np.finfo(float).tiny)[is_log]
        # Far out, a value of a fine grid is finite and its number of steps is not.
        self._max_exponents = MAX_EXPONENT + np.log(np.where((q > 0) & (q < 1), q, 1.0))[is_log]
        offset = np.array([getattr(space.parameters[c].distribution, "low", 0) for c in self.categorical], dtype=float)
        # Of every column, for whole rows at once: a category is its value less the lowest, and has no bounds.
        self._shift, self._scale = self._of_columns(shift, offset), self._of_columns(scale, 1.0)
        self._origin = self._of_columns(origin * q, 0.0)
        self._low, self._high = self._of_columns(self.low, -math.inf), self._of_columns(self.high, math.inf)
        self._first, self._last = self._of_columns(first, -math.inf), self._of_columns(last, math.inf)
        self.log_priors: list[FloatArray] = [
            space.parameters[c].distribution.log_pdf(np.arange(counts[c]) + lowest)
            for c, lowest in zip(self.categorical, offset, strict=True)
        ]
        self._n_categories = np.array([len(log_p) for log_p in self.log_priors], dtype=np.intp)
        self._cumulative = [np.cumsum(np.exp(log_p)) for log_p in self.log_priors]
        self.layout = self._layout(axes)
        self.is_discrete = np.array([n > 0 for n in counts], dtype=bool)
        self.is_discrete[self.numeric] = q > 0

    def _of_columns(self, numeric: FloatArray, categorical: float | FloatArray) -> FloatArray:
        """One array for all columns, shape (d,), from those of the numeric and of the categorical ones."""
        out = np.empty(len(self.space))
        out[self.numeric], out[self.categorical] = numeric, categorical
        return out

    def _layout(self, axes: list[Axis]) -> Layout:
        d = len(self.space)
        low, high, widths = np.zeros(d), np.ones(d), np.zeros(d)
        low[self.numeric], high[self.numeric] = self.low, self.high
        widths[self.numeric] = [0.0 if axis.is_log else axis.q / axis.scale for axis in axes]
        edges = {int(c): e for c, axis in zip(self.numeric, axes, strict=True) if (e := axis.edges()) is not None}
        log_priors = {int(c): p for c, p in zip(self.categorical, self.log_priors, strict=True)}
        return Layout(low, high, widths, edges, log_priors)

    def encode(self, values: FloatArray) -> FloatArray:
        """Coordinates of values (n, d); NaN stays NaN, and a category that does not exist becomes it."""
        z = np.array(values, dtype=float)
        if len(self._logs):
            z[:, self._logs] = np.log(np.maximum(z.take(self._logs, axis=1), self._tiny))
        z -= self._origin
        z -= self._shift
        z /= self._scale
        np.maximum(z, self._low, out=z)
        np.minimum(z, self._high, out=z)
        if len(self.categorical):
            categories = z.take(self.categorical, axis=1)
            # A history may know options that the space no longer has; they say nothing of those it has.
            is_unknown = (categories < 0) | (categories >= self._n_categories)
            if is_unknown.any():
                z[:, self.categorical] = np.where(is_unknown, np.nan, categories)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        """Values at coordinates (n, d), on their grids and within their bounds; every column filled."""
        values = z * self._scale
        values += self._shift
        if len(self._logs):
            values[:, self._logs] = np.exp(np.minimum(values.take(self._logs, axis=1), self._max_exponents))
        if len(self._grids):
            steps = values.take(self._grids, axis=1) / self._q
            np.rint(steps, out=steps)
            steps += self._origin_steps
            values[:, self._grids] = steps * self._q + 0.0  # not -0.0
        np.maximum(values, self._first, out=values)
        return np.asarray(np.minimum(values, self._last, out=values))

    def sample_prior(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw coordinates from the prior, shape (n, d), every column filled."""
        return self.prior_quantile(rng.random((n, len(self.space))))

    def prior_quantile(self, u: FloatArray) -> FloatArray:
        """The prior's quantiles at ``u`` in [0, 1), shape (n, d): a uniform draw becomes one of the prior."""
        z = np.array(u)
        if self.is_unbounded.any():
            columns = self.numeric[self.is_unbounded]
            z[:, columns] = normal_ppf(np.maximum(z[:, columns], np.finfo(float).tiny))
        for column, cumulative in zip(self.categorical, self._cumulative, strict=True):
            drawn = np.searchsorted(cumulative, z[:, column] * cumulative[-1], side="right")
            z[:, column] = np.minimum(drawn, len(cumulative) - 1)
        return z
