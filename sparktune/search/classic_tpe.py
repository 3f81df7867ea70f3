"""TPE by hyperopt's published rules: what ``tpe.suggest(..., hyperopt_rules=True)`` proposes, to compare with.

Every parameter is looked at on its own. The best ``ceil(gamma * sqrt(n))`` of n trials, at most 25, are the good group;
in each group a Parzen estimator is fitted to the parameter's values in the trials in which it was active; 24 candidates
are drawn from the good one, and the candidate with the highest ratio of the two densities is the proposal.

A trial that runs or failed counts as one with an infinite loss, toward the start-up as well. So a search whose first
trials all run in parallel takes running trials for good ones; our own rules, in ``tpe.py``, do not.

On purpose not as in hyperopt 0.3.0: a batch gives a point per id, each taking those before it for running trials; a
failed trial's loss is never learned from, and a cancelled trial says nothing; quantised values stay within their
bounds; ``randint`` takes any range; and a 0 of ``qlognormal`` is looked at as the middle of its cell, not as 1e-12.

Sources:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", sections 4 and 5. Bergstra et al. 2013, "Making
    a science of model search". The constants are those of hyperopt 0.3.0, which the papers leave open in part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparktune import rand
from sparktune.history.columns import History
from sparktune.history.reading import IGNORED, OK
from sparktune.kernels.adaptive_parzen import NormalMixture, adaptive_parzen, pseudo_counts
from sparktune.kernels.arrays import FloatArray
from sparktune.search.options import AT_LEAST_0, COUNT, FINITE_ABOVE_0, check_options
from sparktune.space.compile import Space
from sparktune.space.distributions import (
    Categorical,
    Distribution,
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

__all__ = ["Settings", "propose"]

#: The name in the documents' records of what their proposals saw.
ALGO = "tpe with hyperopt_rules"
#: The good group has at most this many trials.
MAX_GOOD = 25


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of ``tpe.suggest(..., hyperopt_rules=True)``, with hyperopt's names and defaults.

    Attributes:
        prior_weight: Weight of the prior in each estimator, in trials (of a categorical one: per category); > 0.
        n_startup_jobs: Draw from the prior until there are this many trials, those that run included.
        n_EI_candidates: Candidates per parameter.
        gamma: The good group has ``ceil(gamma * sqrt(n))`` of n trials, at most 25; > 0.
    """

    prior_weight: float = 1.0
    n_startup_jobs: int = 20
    n_EI_candidates: int = 24
    gamma: float = 0.25

    def __post_init__(self) -> None:
        check_options(
            "tpe.suggest with hyperopt_rules",
            self,
            {
                "prior_weight": FINITE_ABOVE_0,
                "n_startup_jobs": AT_LEAST_0,
                "n_EI_candidates": COUNT,
                "gamma": FINITE_ABOVE_0,
            },
        )


DEFAULTS = Settings()


def propose(
    space: Space, history: History, rng: np.random.Generator, n: int, settings: Settings | None = None
) -> FloatArray:
    """n points, shape (n, d), NaN where inactive; each takes those before it for running trials.

    Args:
        space: What may be tried.
        history: What has been tried, with the columns of ``space``.
        rng: Random stream.
        n: Number of points.
        settings: Options; the defaults if None.
    """
    settings = settings or DEFAULTS
    is_counted = history.kinds != IGNORED
    values = history.values[is_counted]
    losses = np.where(history.kinds == OK, history.losses, np.inf)[is_counted]
    rows = np.empty((0, len(space)))
    for _ in range(n):
        if len(losses) < settings.n_startup_jobs:
            row = rand.propose(space, history, rng, 1)
        else:
            row = _propose_one(space, values, losses, rng, settings)
        rows, values, losses = np.vstack([rows, row]), np.vstack([values, row]), np.append(losses, np.inf)
    return rows


def good_trials(losses: FloatArray, gamma: float) -> NDArray[np.bool_]:
    """Which trials are in the good group, shape (n,): the best ``ceil(gamma * sqrt(n))``, at most 25.

    Args:
        losses: Shape (n,); infinite for trials without one. Of equal losses the earlier trial's is the better.
        gamma: See :class:`Settings`.
    """
    n_good = math.ceil(min(gamma * math.sqrt(len(losses)), MAX_GOOD))
    is_good = np.zeros(len(losses), dtype=bool)
    is_good[np.argsort(losses, kind="stable")[:n_good]] = True
    return is_good


def _propose_one(
    space: Space, values: FloatArray, losses: FloatArray, rng: np.random.Generator, settings: Settings
) -> FloatArray:
    """One point, shape (1, d).

    No estimator looks at another parameter, so all are asked, and those in branches not chosen are left out afterwards:
    the same as to go down from the choices.
    """
    is_good = good_trials(losses, settings.gamma)
    is_active = ~np.isnan(values)
    row = np.empty((1, len(space)))
    for column, parameter in enumerate(space.parameters):
        model = _model_of(parameter.distribution, settings.prior_weight)
        good = values[is_good & is_active[:, column], column]
        bad = values[~is_good & is_active[:, column], column]
        candidates, scores = model.candidates(good, bad, rng, settings.n_EI_candidates)
        row[0, column] = candidates[np.argmax(np.nan_to_num(scores, nan=-np.inf))]
    return space.mask(row)


class _Model(Protocol):
    """How one kind of parameter is estimated."""

    def candidates(
        self, good: FloatArray, bad: FloatArray, rng: np.random.Generator, n: int
    ) -> tuple[FloatArray, FloatArray]:
        """n draws from the good estimator, and their log density ratios; the groups are values, oldest first."""


@dataclass(frozen=True, slots=True)
class _Numeric:
    """A mixture of normals over the parameter, or over its logarithm; a quantised value has the mass of its cell.

    Attributes:
        prior_weight: See :class:`Settings`.
        is_log: Whether the mixture is over the logarithm.
        low, high: Bounds on the mixture's scale.
        prior_mean, prior_sigma: The prior's component on that scale.
        q: Grid step of the values; 0 for continuous ones.
        first, last: Smallest and largest value.
    """

    prior_weight: float
    is_log: bool
    low: float
    high: float
    prior_mean: float
    prior_sigma: float
    q: float
    first: float
    last: float

    def candidates(
        self, good: FloatArray, bad: FloatArray, rng: np.random.Generator, n: int
    ) -> tuple[FloatArray, FloatArray]:
        good_mixture, bad_mixture = self._mixture(good), self._mixture(bad)
        z = good_mixture.sample(rng, n)
        x = np.exp(np.minimum(z, MAX_EXPONENT)) if self.is_log else z
        if not self.q:
            return np.clip(x, self.first, self.last), good_mixture.log_pdf(z) - bad_mixture.log_pdf(z)
        x = np.clip(np.round(x / self.q) * self.q, self.first, self.last)
        cells, position = np.unique(x, return_inverse=True)  # a mass costs more than a density, and draws repeat
        around = self._around(cells)
        return x, (good_mixture.log_cell_mass(*around) - bad_mixture.log_cell_mass(*around))[position.ravel()]

    def _mixture(self, x: FloatArray) -> NormalMixture:
        if self.is_log:
            # The cell of 0 of a quantised lognormal has no logarithm: its middle stands for it.
            x = np.log(np.maximum(x, 0.25 * self.q or np.finfo(float).tiny))
        return adaptive_parzen(x, self.prior_mean, self.prior_sigma, self.prior_weight, self.low, self.high)

    def _around(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Values on the mixture's scale, and how far below and above their cells reach there.

        The outermost cells reach to the bounds. Not the edges: floats cannot tell those of a fine grid apart.
        """
        if self.is_log:
            # 0, which has no logarithm, is looked at from the upper edge of its cell.
            share = np.where(x > 0, 0.5 * self.q / np.maximum(x, 0.5 * self.q), 0.0)
            center = np.clip(np.log(np.maximum(x, 0.5 * self.q)), self.low, self.high)
            below, above = -np.log1p(-share), np.log1p(share)
        else:
            center, below, above = x, np.full(len(x), 0.5 * self.q), np.full(len(x), 0.5 * self.q)
        return center, np.where(x <= self.first, np.inf, below), np.where(x >= self.last, np.inf, above)


@dataclass(frozen=True, slots=True)
class _Categories:
    """Counts of the values on top of the prior's pseudo-counts.

    Attributes:
        prior_weight: See :class:`Settings`.
        offset: The first category's value.
        n_categories: Number of categories.
        prior: Their prior probabilities, None if all are alike.
    """

    prior_weight: float
    offset: int
    n_categories: int
    prior: FloatArray | None

    def candidates(
        self, good: FloatArray, bad: FloatArray, rng: np.random.Generator, n: int
    ) -> tuple[FloatArray, FloatArray]:
        good_counts, bad_counts = (
            pseudo_counts((x - self.offset).astype(np.intp), self.n_categories, self.prior_weight, self.prior)
            for x in (good, bad)
        )
        drawn = good_counts.sample(rng, n)
        return drawn.astype(float) + self.offset, good_counts.log_mass(drawn) - bad_counts.log_mass(drawn)


def _model_of(distribution: Distribution, prior_weight: float) -> _Model:
    """The model of a parameter with this distribution."""
    is_log = isinstance(distribution, LogUniform | QLogUniform | LogNormal | QLogNormal)
    match distribution:
        case RandInt(low, high):
            return _Categories(prior_weight, int(low), int(high - low), None)
        case Categorical(p):
            return _Categories(prior_weight, 0, len(p), np.asarray(p, dtype=float) / sum(p))
        case Uniform(low, high) | LogUniform(low, high) | QUniform(low, high) | QLogUniform(low, high):
            mean, sigma = low + 0.5 * (high - low), high - low
        case Normal(mean, sigma) | LogNormal(mean, sigma) | QNormal(mean, sigma) | QLogNormal(mean, sigma):
            low, high = -math.inf, math.inf
        case _:
            raise TypeError(f"{distribution!r} has no model")
    q = getattr(distribution, "q", 0.0)
    return _Numeric(prior_weight, is_log, low, high, mean, sigma, q, *distribution.bounds)
