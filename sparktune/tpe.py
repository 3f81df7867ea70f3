"""Tree-structured Parzen estimator: propose where good trials are dense and the others are not.

The finished trials are split by loss into a good group and the rest; a Parzen mixture is fitted to each, candidates are
drawn from the good one, and the candidate with the highest ratio of the two densities is proposed. Trials that run or
failed are in the bad group: no point is proposed twice because its result is not in yet, and none is learned from as
good before it is known to be.

The ratio stands for the expected improvement. With one loss per trial and no constraints the log of a second estimate
of it is added, that of a regression of the trials' ranks, see :mod:`sparktune.search.ranks`: the densities propose, and
where the ranks are sure they decide.

Sources:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization" (TPE). Falkner et al. 2018 (joint kernels).
    The score adds the joint ratio and the per-parameter ratios, for one finds valleys and the other separable optima;
    candidates are joint draws, per-parameter draws, and crossings of the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.reading import OK
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.blas import single_threaded
from sparktune.kernels.parzen import Points
from sparktune.kernels.special import log_sum_exp
from sparktune.search import classic_tpe
from sparktune.search.best import best_rows, is_ordered_by_loss
from sparktune.search.mixtures import (
    GMM1,
    LGMM1,
    GMM1_lpdf,
    LGMM1_lpdf,
    adaptive_parzen_normal,
    adaptive_parzen_normal_orig,
    ap_split_trials,
    linear_forgetting_weights,
    lognormal_cdf,
    lognormal_lpdf,
    normal_cdf,
    qlognormal_lpdf,
)
from sparktune.search.options import AT_LEAST_0, COUNT, FINITE_ABOVE_0, INSIDE_0_1, check_options
from sparktune.search.ranks import Ranks
from sparktune.search.state import SearchState
from sparktune.search.suggestion import suggested
from sparktune.space.compile import Space

__all__ = [
    "GMM1",
    "LGMM1",
    "GMM1_lpdf",
    "LGMM1_lpdf",
    "Settings",
    "adaptive_parzen_normal",
    "adaptive_parzen_normal_orig",
    "ap_split_trials",
    "linear_forgetting_weights",
    "lognormal_cdf",
    "lognormal_lpdf",
    "normal_cdf",
    "propose",
    "qlognormal_lpdf",
    "suggest",
]

#: The good group has at most this many trials; beyond, more of them would only blur it.
MAX_GOOD = 25
#: ... and where there are constraints at least this many, else it stays in the first feasible corner.
MIN_GOOD_CONSTRAINED = 4
#: No kernel of the good group is narrower than this over the number of finished trials, or than this share of the
#: range.
MIN_BANDWIDTH_SCALE, MIN_BANDWIDTH = 3.0, 0.01
#: The number of finished trials, as widths see it, grows in steps of this factor: most proposals find the mixture of
#: the one before them as it was.
FLOOR_GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`, under hyperopt's names.

    Attributes:
        prior_weight: Weight of the prior in each mixture, in trials; > 0. Above 1 the ranks count less as well:
            with 4 the search looks elsewhere more often.
        n_startup_jobs: Draw from the prior until this many trials have finished.
        n_EI_candidates: Candidates per proposal.
        gamma: Share of the finished trials in the good group, which has at most 25, and with constraints at least 4;
            in (0, 1).
    """

    prior_weight: float = 1.0
    n_startup_jobs: int = 10
    n_EI_candidates: int = 64
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_options(
            "tpe.suggest",
            self,
            {
                "prior_weight": FINITE_ABOVE_0,
                "n_startup_jobs": AT_LEAST_0,
                "n_EI_candidates": COUNT,
                "gamma": INSIDE_0_1,
            },
        )


DEFAULTS = Settings()
# hyperopt's names: programs read these defaults, or change them for all calls that follow.
_default_prior_weight = DEFAULTS.prior_weight
_default_n_startup_jobs = DEFAULTS.n_startup_jobs
_default_n_EI_candidates = DEFAULTS.n_EI_candidates  # noqa: N816
_default_gamma = DEFAULTS.gamma


def suggest(
    new_ids: Sequence[Any],
    domain: Any,
    trials: Any,
    seed: Any,
    prior_weight: float | None = None,
    n_startup_jobs: int | None = None,
    n_EI_candidates: int | None = None,
    gamma: float | None = None,
    verbose: bool = True,
    hyperopt_rules: bool = False,
) -> list[Document]:
    """A document per id, proposed by TPE.

    Each proposal takes those before it in the batch for running trials. On a discrete space one that was tried is
    passed over while another is left, but not with ``hyperopt_rules``.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        prior_weight, n_startup_jobs, n_EI_candidates, gamma: See :class:`Settings`, where the defaults stand.
        verbose: Accepted for hyperopt's signature; nothing is printed.
        hyperopt_rules: Whether to propose by the rules of hyperopt's TPE, to compare with; the options then mean what
            they mean there, see :class:`sparktune.search.classic_tpe.Settings`.

    Raises:
        InvalidArgumentError: If an option is out of its rule.
    """
    options = {
        "prior_weight": prior_weight,
        "n_startup_jobs": n_startup_jobs,
        "n_EI_candidates": n_EI_candidates,
        "gamma": gamma,
    }
    given = _changed_defaults() | {name: value for name, value in options.items() if value is not None}
    if hyperopt_rules:
        classic = classic_tpe.Settings(**given)
        return suggested(
            classic_tpe.ALGO,
            classic_tpe.propose,
            classic,
            new_ids,
            domain,
            trials,
            seed,
            classic.n_startup_jobs,
        )
    settings = Settings(**given)
    return suggested("tpe", propose, settings, new_ids, domain, trials, seed, settings.n_startup_jobs)


def _changed_defaults() -> dict[str, Any]:
    """Those of the module's ``_default_*`` constants that a program has changed, by option."""
    constants = {option: globals()[f"_default_{option}"] for option in DEFAULTS.__dataclass_fields__}
    return {option: value for option, value in constants.items() if value != getattr(DEFAULTS, option)}


@single_threaded()
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
    state = SearchState.of(space, history)
    rows = np.empty((n, len(space)))
    if history.n_finished < settings.n_startup_jobs or not len(space):
        for i in range(n):
            rows[i] = state.tried.new_draw(rows[:i], rng)
        return rows
    densities = Densities(state, history, settings)
    ranks = ranks_of(state, history, settings.prior_weight)
    for i in range(n):
        rows[i] = densities.propose_one(rows[:i], rng, ranks)
        if i + 1 < n:
            densities.add_running(rows[i : i + 1])
            if ranks is not None:
                ranks.add_running(rows[i : i + 1])
    return rows


def ranks_of(state: SearchState, history: History, prior_weight: float) -> Ranks | None:
    """What the ranks of the trials say; None where they are not asked."""
    # Several losses have no ranks, and where constraints are the best trials lie at an edge that ranks do not show.
    if not history.n_ok or not is_ordered_by_loss(history):
        return None
    return Ranks(state, history, prior_weight)


def good_rows(history: History, gamma: float) -> NDArray[np.intp]:
    """Rows of the good trials, best first; of equals, the first.

    As long as none meets the constraints, those are not good that are as far from it as any.
    """
    n_good = math.ceil(gamma * history.n_finished)
    if history.n_constraints:
        # The first trials that meet the constraints may be far from the best ones that do.
        n_good = max(n_good, MIN_GOOD_CONSTRAINED)
    good = best_rows(history, min(n_good, MAX_GOOD, history.n_ok))
    if history.n_constraints and len(good) and (violations := history.violations)[good].min() > 0:
        good = good[violations[good] < violations[history.kinds == OK].max()]
    return good


def least_bandwidth(n_finished: int) -> float:
    """The least bandwidth of the good group's kernels after so many finished trials, as a share of the range."""
    n = FLOOR_GROWTH ** math.floor(math.log(n_finished + 2.0, FLOOR_GROWTH))
    return min(1.0, max(MIN_BANDWIDTH, MIN_BANDWIDTH_SCALE / n))


@cache
def rank_weights(n: int) -> FloatArray:
    """Weights of the good trials, best first, falling with the logarithm of the rank; they sum to n. Not to change."""
    if not n:
        return np.empty(0)
    weights = np.log(n + 0.5) - np.log(np.arange(n) + 0.5)
    return np.asarray(weights * (n / weights.sum()))


class Densities:
    """The densities of the good and of the other trials at one moment of a study.

    Args:
        state: What is kept between proposals.
        history: What has been tried.
        settings: Options.
        step_share: On a grid of few steps no kernel of the good group is narrower than this share of a step.
    """

    def __init__(self, state: SearchState, history: History, settings: Settings, step_share: float = 0.0) -> None:
        self._state, self._settings = state, settings
        good, prior_weight = good_rows(history, settings.gamma), settings.prior_weight
        floor = least_bandwidth(history.n_finished)
        self._good = state.mixture(good, rank_weights(len(good)), prior_weight, floor, step_share)
        # All other trials are bad: worse, failed and running ones; but cancelled ones say nothing.
        not_bad = np.append(good, history.ignored_rows)
        self._marginals = state.density(not_bad, prior_weight)
        self._coefficients = state.coefficients
        self._weights = state.weights(not_bad, prior_weight)

    def add_running(self, values: FloatArray) -> None:
        """Count points (m, d) as running trials."""
        self._coefficients = np.concatenate([self._coefficients, self._state.kernels_among(values)])
        self._weights = np.append(self._weights, np.ones(len(values)))

    def propose_one(self, batch: FloatArray, rng: np.random.Generator, ranks: Ranks | None = None) -> FloatArray:
        """The candidate that the densities, and the ranks if given, like best and that was not tried, shape (d,)."""
        values, points = self.candidates(rng, self._settings.n_EI_candidates)
        scores = self.score(points)
        if ranks is not None:
            scores += ranks.log_improvement(points)
        values = values[np.argsort(-scores, kind="stable")]
        return self._state.tried.first_new(values, batch, rng)

    def candidates(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, Points]:
        """n points drawn from the good density, and their values (n, d).

        Half are joint draws, a quarter has each parameter from a kernel of its own, a quarter crosses the two.
        """
        state, mixture = self._state, self._good
        prior = state.coordinates.sample_prior(rng, n)
        shape = prior.shape
        n_marginal = n_crossed = n // 4
        is_own = np.zeros(shape, dtype=bool)
        is_own[n - n_marginal - n_crossed :] = True
        is_own[n - n_crossed :] = rng.random((n_crossed, shape[1])) < 0.5
        chosen = np.where(is_own, mixture.choose(rng, shape), mixture.choose(rng, n)[:, None])
        values = state.on_grid(mixture.sample(rng, chosen, prior))
        return values, state.points(values)

    def score(self, points: Points) -> FloatArray:
        """Log of the good density over the bad one, jointly and summed over the parameters, shape (m,)."""
        joint = self._good.log_pdf(points) - self._log_bad(points)
        return joint if points.z.shape[1] == 1 else np.asarray(joint + self.log_ratios(points).sum(axis=1))

    def log_joint(self, point: Points) -> tuple[float, float]:
        """Log of the good and of the bad joint density at one point."""
        return float(self._good.log_pdf(point)[0]), float(self._log_bad(point)[0])

    def log_ratios(self, points: Points) -> FloatArray:
        """Log of good over bad density of each parameter, shape (m, d), in the order of ``Layout.columns``."""
        bad = self._state.histogram.log_marginals(points, self._marginals)
        return np.asarray(self._good.log_marginals(points) - bad)

    def _log_bad(self, points: Points) -> FloatArray:
        with np.errstate(divide="ignore"):
            log_weights = np.log(self._weights / self._weights.sum()).astype(points.features.dtype)
        return log_sum_exp(points.features @ self._coefficients.T + log_weights)
