"""The distributions of ``hp.*``: frozen, in hyperopt's units, with ``sample`` and ``log_pdf``.

``log_pdf`` is a density for continuous distributions and a log mass for discrete ones. Quantised draws are the
multiples of ``q`` inside the bounds, and the first and the last of them have their full mass (hyperopt's can leave the
bounds and give the end points half).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparktune.exceptions import InvalidSpaceError
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.special import LOG_SQRT_2PI, log_gauss_mass
from sparktune.space import limits
from sparktune.space.grids import Cells, first_and_last, is_on_grid
from sparktune.space.nodes import Apply, literal_value
from sparktune.space.numbers import plain

Size: TypeAlias = int | tuple[int, ...]

#: Grids of more points are not corrected for what rounding takes from the ends, half of a share that is next to none.
MAX_CELLS = 2**14
EPSILON = float(np.finfo(float).eps)


class Distribution(Protocol):
    """What every distribution offers."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log density (log mass, if discrete) of ``x``, elementwise."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """U, uniform on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        limits.require_range("uniform", self.low, self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.low, self.high

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(rng.uniform(self.low, self.high, size))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log density of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        return np.where((x >= self.low) & (x <= self.high), -math.log(self.high - self.low), -np.inf)


@dataclass(frozen=True, slots=True)
class QUniform:
    """A multiple of q, each of those in [low, high] equally likely."""

    low: float
    high: float
    q: float

    def __post_init__(self) -> None:
        limits.require_range("quniform", self.low, self.high)
        limits.require_positive("quniform", "q", self.q)
        limits.require_grid("quniform", self.low, self.high, self.q, *self.grid)

    @property
    def grid(self) -> tuple[int, int]:
        """First and last multiple of q."""
        return first_and_last("quniform", self.low, self.high, self.q)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        first, last = self.grid
        return _clip(first * self.q, self.low, self.high), _clip(last * self.q, self.low, self.high)

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        first, last = self.grid
        if last - first < MAX_CELLS:
            steps = first + _cells_of(self).index(rng.uniform(self.low, self.high, size))
        else:
            steps = np.clip(np.rint(rng.uniform(self.low, self.high, size) / self.q), float(first), float(last))
        # Clipped, since 3 * 0.1 is 0.30000000000000004.
        return np.asarray(np.minimum(np.maximum(steps * float(self.q), self.low), self.high))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        first, last = self.grid
        return np.where(is_on_grid(x, self.q, first, last), -math.log(last - first + 1), -np.inf)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """exp(U) with U uniform on [low, high]; the bounds are logarithms, as in ``hp.loguniform``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        limits.require_range("loguniform", self.low, self.high)
        limits.require_exponent("loguniform", self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return math.exp(self.low), math.exp(self.high)

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(np.exp(rng.uniform(self.low, self.high, size)))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log density of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        low, high = self.bounds
        # What is drawn at a bound may be rounded to the other side of it, by more the larger the logarithm.
        slack = 4.0 * EPSILON * max(1.0, abs(self.low), abs(self.high))
        inside = (x > 0) & (x >= low * (1.0 - slack)) & (x <= high * (1.0 + slack))
        return np.where(inside, -_log(x) - math.log(self.high - self.low), -np.inf)


@dataclass(frozen=True, slots=True)
class QLogUniform:
    """exp(U) rounded to a multiple of q inside [exp(low), exp(high)]; the bounds are logarithms.

    U is uniform on the logarithms of the cells of all those multiples, so that the end points have full cells.
    """

    low: float
    high: float
    q: float

    def __post_init__(self) -> None:
        limits.require_range("qloguniform", self.low, self.high)
        limits.require_exponent("qloguniform", self.high)
        limits.require_positive("qloguniform", "q", self.q)
        first_and_last("qloguniform", math.exp(self.low), math.exp(self.high), self.q)

    @property
    def grid(self) -> tuple[int, int]:
        """First and last multiple of q; the first is at least 1."""
        return first_and_last("qloguniform", math.exp(self.low), math.exp(self.high), self.q)

    @property
    def log_edges(self) -> tuple[float, float]:
        """Logarithms of the outer edges of the first and of the last cell."""
        first, last = self.grid
        return math.log((first - 0.5) * self.q), math.log((last + 0.5) * self.q)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        first, last = self.grid
        return first * self.q, last * self.q

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        first, last = self.grid
        if last - first < MAX_CELLS:
            steps = first + _cells_of(self).index(rng.uniform(self.low, self.high, size))
        else:
            steps = np.round(np.exp(rng.uniform(*self.log_edges, size)) / self.q)
        # On the grid, not cut to exp(high), which may be 19.999999999999996 for 20.
        return np.asarray(np.clip(steps, float(first), float(last)) * float(self.q))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        low, high = self.log_edges
        with np.errstate(all="ignore"):
            cell = 2.0 * np.arctanh(0.5 * self.q / x)  # the difference of the logarithms of x + q / 2 and x - q / 2
            return np.where(is_on_grid(x, self.q, *self.grid), np.log(cell / (high - low)), -np.inf)


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with mean mu and standard deviation sigma."""

    mu: float
    sigma: float

    def __post_init__(self) -> None:
        limits.require_numbers("normal", mu=self.mu)
        limits.require_positive("normal", "sigma", self.sigma)
        limits.require_moderate("normal", mu=self.mu, sigma=self.sigma)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return -math.inf, math.inf

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(rng.normal(self.mu, self.sigma, size))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log density of ``x``, elementwise."""
        with np.errstate(over="ignore"):
            z = (np.asarray(x, dtype=float) - self.mu) / self.sigma
            return np.asarray(-0.5 * z**2 - math.log(self.sigma) - LOG_SQRT_2PI)


@dataclass(frozen=True, slots=True)
class QNormal:
    """A normal draw rounded to the nearest multiple of q."""

    mu: float
    sigma: float
    q: float

    def __post_init__(self) -> None:
        limits.require_numbers("qnormal", mu=self.mu)
        limits.require_positive("qnormal", "sigma", self.sigma)
        limits.require_positive("qnormal", "q", self.q)
        limits.require_moderate("qnormal", mu=self.mu, sigma=self.sigma, q=self.q)
        limits.require_multiples("qnormal", 1e6 * (abs(float(self.mu)) + float(self.sigma)), self.q)
        limits.require_deviations("qnormal", self.sigma, self.q)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return -math.inf, math.inf

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(np.round(rng.normal(self.mu, self.sigma, size) / self.q) * self.q)

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        width = float(self.q) / float(self.sigma)
        with np.errstate(over="ignore"):
            z = (x - self.mu) / self.sigma
        mass = log_gauss_mass(z - 0.5 * width, z + 0.5 * width, width)
        return np.where(is_on_grid(x, self.q), mass, -np.inf)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp of a normal with mean mu and standard deviation sigma."""

    mu: float
    sigma: float

    def __post_init__(self) -> None:
        limits.require_numbers("lognormal", mu=self.mu)
        limits.require_positive("lognormal", "sigma", self.sigma)
        limits.require_moderate("lognormal", mu=self.mu, sigma=self.sigma)
        limits.require_exponent("lognormal", self.mu)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return 0.0, math.inf

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return _exp(rng.normal(self.mu, self.sigma, size))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log density of ``x``, elementwise."""
        log_x = _log(x)
        z = (log_x - self.mu) / self.sigma
        with np.errstate(invalid="ignore", over="ignore"):
            density = -0.5 * z**2 - math.log(self.sigma) - LOG_SQRT_2PI - log_x
        return np.where(np.isfinite(log_x), density, -np.inf)


@dataclass(frozen=True, slots=True)
class QLogNormal:
    """exp of a normal draw, rounded to the nearest multiple of q; 0 is possible."""

    mu: float
    sigma: float
    q: float

    def __post_init__(self) -> None:
        limits.require_numbers("qlognormal", mu=self.mu)
        limits.require_positive("qlognormal", "sigma", self.sigma)
        limits.require_moderate("qlognormal", mu=self.mu, sigma=self.sigma)
        limits.require_exponent("qlognormal", self.mu)
        limits.require_positive("qlognormal", "q", self.q)
        limits.require_multiples("qlognormal", limits.highest_lognormal(self.mu, self.sigma), self.q)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return 0.0, math.inf

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(np.round(_exp(rng.normal(self.mu, self.sigma, size)) / self.q) * self.q)

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        lower, upper = _log(x - 0.5 * self.q), _log(x + 0.5 * self.q)
        # Far out the difference of the logarithms has no digits, which the cell's width relative to x has.
        with np.errstate(all="ignore"):
            width = np.where(x > 0.5 * self.q, 2.0 * np.arctanh(0.5 * self.q / x), np.inf) / self.sigma
        mass = log_gauss_mass((lower - self.mu) / self.sigma, (upper - self.mu) / self.sigma, width)
        return np.where(is_on_grid(x, self.q, first=0), mass, -np.inf)


@dataclass(frozen=True, slots=True)
class RandInt:
    """An integer from low to high - 1, all equally likely."""

    low: int
    high: int

    def __post_init__(self) -> None:
        limits.require_integers("randint", self.low, self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.low, self.high - 1

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(rng.integers(int(self.low), int(self.high), size))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        inside = is_on_grid(x, 1.0, int(self.low), int(self.high) - 1)
        return np.where(inside, -math.log(self.high - self.low), -np.inf)


@dataclass(frozen=True, slots=True)
class Categorical:
    """Index k with probability p[k]."""

    p: tuple[float, ...]

    def __post_init__(self) -> None:
        limits.require_probabilities("pchoice", self.p)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return 0, len(self.p) - 1

    def sample(self, rng: np.random.Generator, size: Size = ()) -> NDArray[Any]:
        """Draw values, of shape ``size``."""
        return np.asarray(np.argmax(rng.multinomial(1, self._shares(), size), axis=-1))

    def log_pdf(self, x: ArrayLike) -> FloatArray:
        """Log mass of ``x``, elementwise."""
        x = np.asarray(x, dtype=float)
        inside = is_on_grid(x, 1.0, 0, len(self.p) - 1)
        with np.errstate(divide="ignore"):
            log_p = np.log(self._shares())
        return np.where(inside, log_p[np.where(inside, x, 0).astype(int)], -np.inf)

    def _shares(self) -> FloatArray:
        """The probabilities, shape (k,), summing to 1: what is missing is the last one's, as in hyperopt."""
        p = np.asarray(self.p, dtype=float)
        if p[-1] == 0 or p.sum() > 1.0 + 1e-9:  # 1e-9: a sum of 1, but for rounding
            return np.asarray(p / p.sum())
        return np.append(p[:-1], max(1.0 - p[:-1].sum(), 0.0))


@lru_cache(maxsize=64)  # at most half a megabyte each
def _cells_of(distribution: QUniform | QLogUniform) -> Cells:
    """The cells of a uniform draw between the bounds (of their logarithms), with the shares of the grid points."""
    first, last = distribution.grid
    between: FloatArray = (np.arange(first, last, dtype=np.float64) + 0.5) * float(distribution.q)
    if isinstance(distribution, QLogUniform):
        low, high = distribution.log_edges
        between = _log(between)
        shares = np.diff(np.concatenate([[low], between, [high]])) / (high - low)
        return Cells(_edges(distribution, between), shares)
    return Cells(_edges(distribution, between), np.full(last - first + 1, 1.0 / (last - first + 1)))


def _edges(distribution: QUniform | QLogUniform, between: FloatArray) -> FloatArray:
    """Edges of cells within the bounds; a bound may be half a step beyond the last one's."""
    low, high = float(distribution.low), float(distribution.high)
    return np.concatenate([[low], np.clip(between, low, high), [high]])


def _log(x: ArrayLike) -> FloatArray:
    """Log of ``x``; ``-inf`` at and below 0."""
    x = np.asarray(x, dtype=float)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(x, 0.0)))


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _exp(x: ArrayLike) -> FloatArray:
    return np.asarray(np.exp(np.minimum(x, limits.MAX_EXPONENT)))


#: Distribution by symbol name.
BY_SYMBOL: dict[str, type[Any]] = {
    "uniform": Uniform,
    "quniform": QUniform,
    "loguniform": LogUniform,
    "qloguniform": QLogUniform,
    "normal": Normal,
    "qnormal": QNormal,
    "lognormal": LogNormal,
    "qlognormal": QLogNormal,
    "randint": RandInt,
    "categorical": Categorical,
}


def randint_bounds(low: int, high: int | None = None) -> tuple[int, int]:
    """The bounds of ``randint(upper)`` and of ``randint(low, high)``."""
    return (0, low) if high is None else (low, high)


def distribution_of(node: Apply) -> Distribution:
    """The distribution that a stochastic node such as ``uniform(0, 1)`` stands for.

    Raises:
        InvalidSpaceError: If the node is not a distribution, or its arguments are no numbers or out of range.
    """
    kind = BY_SYMBOL.get(node.name)
    if kind is None:
        raise InvalidSpaceError(
            f"hyperopt_param holds {node.name!r}, which is not one of the distributions {', '.join(sorted(BY_SYMBOL))}"
        )
    arguments = {
        name: plain(literal_value(child, f"{node.name}'s {name}"))
        for name, child in node.arg.items()
        if isinstance(child, Apply) and name not in ("rng", "size")
    }
    if kind is RandInt:
        low, high = randint_bounds(**arguments)
        return RandInt(low, high)
    if kind is Categorical:
        return Categorical(tuple(np.ravel(np.asarray(arguments["p"], dtype=object)).tolist()))
    distribution: Distribution = kind(**arguments)
    return distribution
