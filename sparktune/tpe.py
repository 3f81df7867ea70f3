"""Tree-structured Parzen estimator: propose where good trials are dense and the others are not.

The finished trials are split by loss into a good group and the rest; a Parzen mixture is fitted to each, candidates are
drawn from the good one, and the candidate with the highest ratio of the two densities is proposed. Trials that run or
failed are in the bad group: no point is proposed twice because its result is not in yet, and none is learned from as
good before it is known to be.

Sources:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization" (TPE). Falkner et al. 2018 (joint kernels).
    The score adds the joint ratio and the per-parameter ratios, for one finds valleys and the other separable optima;
    candidates are joint draws, per-parameter draws, and crossings of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune import rand
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.columns import FAILED, IGNORED, OK, PENDING, History
from sparktune.history.documents import Document, proposal_documents
from sparktune.kernels import histogram
from sparktune.kernels.parzen import Mixture
from sparktune.kernels.special import normal_cdf
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates
from sparktune.space.distributions import FloatArray
from sparktune.space.nodes import is_number

__all__ = ["Settings", "propose", "suggest"]

#: The good group has at most this many trials; beyond, more of them would only blur it.
MAX_GOOD = 25
#: The mixture of the bad group has at most this many kernels, drawn at random from it; the pending ones always count.
MAX_BAD_KERNELS = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`, under hyperopt's names.

    Attributes:
        prior_weight: Weight of the prior in each mixture, in trials; > 0.
        n_startup_jobs: Draw from the prior until this many trials have finished.
        n_EI_candidates: Candidates per proposal.
        gamma: Share of the finished trials in the good group, which has at most 25; in (0, 1).
    """

    prior_weight: float = 1.0
    n_startup_jobs: int = 10
    n_EI_candidates: int = 64
    gamma: float = 0.1

    def __post_init__(self) -> None:
        rules: dict[str, tuple[str, Callable[[Any], object]]] = {
            "prior_weight": ("a finite number > 0", lambda value: 0 < value < math.inf),
            "n_startup_jobs": ("a number >= 0", lambda value: value >= 0),
            "n_EI_candidates": ("an integer >= 1", lambda value: hasattr(value, "__index__") and value >= 1),
            "gamma": ("a number between 0 and 1", lambda value: 0 < value < 1),
        }
        for name, (rule, holds) in rules.items():
            value = getattr(self, name)
            if not is_number(value) or not holds(value):  # NaN included
                raise InvalidArgumentError(f"tpe.suggest takes for {name} {rule}, got {name}={value!r}")


DEFAULTS = Settings()


def suggest(
    new_ids: Sequence[Any],
    domain: Any,
    trials: Any,
    seed: Any,
    prior_weight: float = DEFAULTS.prior_weight,
    n_startup_jobs: int = DEFAULTS.n_startup_jobs,
    n_EI_candidates: int = DEFAULTS.n_EI_candidates,
    gamma: float = DEFAULTS.gamma,
    verbose: bool = True,
) -> list[Document]:
    """A document per id, proposed by TPE.

    Each proposal takes those before it in the batch for running trials. On a discrete space one that was tried is
    passed over while something else is in reach; the draws of the start-up may repeat.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        prior_weight, n_startup_jobs, n_EI_candidates, gamma: See :class:`Settings`.
        verbose: Accepted for hyperopt's signature; nothing is printed.

    Raises:
        InvalidArgumentError: If an option is out of its rule.
    """
    settings = Settings(prior_weight, n_startup_jobs, n_EI_candidates, gamma)
    history = trials.history(domain.space.labels)
    values = propose(domain.space, history, np.random.default_rng(seed), len(new_ids), settings)
    return proposal_documents(values, new_ids, domain, trials)


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
    if history.n_finished < settings.n_startup_jobs or not len(space):
        return rand.propose(space, history, rng, n)
    coordinates = Coordinates(space)
    # Not only by name: a study may go on over the same labels with other bounds.
    key = tuple((parameter.distribution, parameter.is_choice) for parameter in space.parameters)
    points = history.derived(key, coordinates.encode)
    good, bad = split(history, settings.gamma)
    good_mixture = _mixture(coordinates, points[good], rank_weights(len(good)), len(good), settings)
    rows = np.empty((0, len(space)))
    for _ in range(n):
        row = _propose_one(coordinates, history, points, bad, rows, good_mixture, rng, settings)
        rows = np.vstack([rows, row])
    return rows


def split(history: History, gamma: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the good trials, best first, and of the others that count: worse, failed and running ones."""
    kinds = history.kinds
    finished = np.flatnonzero(kinds == OK)
    n_good = min(math.ceil(gamma * history.n_finished), MAX_GOOD, len(finished))
    losses = history.losses[finished]
    if n_good < len(finished):
        # Partition first, so that the sort is of the few; ties at the edge go to the earlier trials.
        edge = np.partition(losses, n_good - 1)[n_good - 1] if n_good else -np.inf
        nearest = np.flatnonzero(losses <= edge)
        best = nearest[np.argsort(losses[nearest], kind="stable")][:n_good]
    else:
        best = np.argsort(losses, kind="stable")
    good = finished[best]
    is_bad = (kinds == OK) | (kinds == FAILED) | (kinds == PENDING)
    is_bad[good] = False
    return good, np.flatnonzero(is_bad)


def rank_weights(n: int) -> FloatArray:
    """Weights of the good trials, best first, falling with the logarithm of the rank; they sum to n."""
    if not n:
        return np.empty(0)
    weights = np.log(n + 0.5) - np.log(np.arange(n) + 0.5)
    return np.asarray(weights * (n / weights.sum()))


def _mixture(
    coordinates: Coordinates, points: FloatArray, weights: FloatArray, n_observations: int, settings: Settings
) -> Mixture:
    numeric, categories = _parts(coordinates, points)
    return Mixture(
        numeric,
        categories,
        weights,
        settings.prior_weight,
        coordinates.low,
        coordinates.high,
        coordinates.log_priors,
        n_observations,
    )


def _parts(coordinates: Coordinates, points: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    categories = points[:, coordinates.categorical]
    return points[:, coordinates.numeric], np.where(np.isnan(categories), -1, categories).astype(np.intp)


def _propose_one(
    coordinates: Coordinates,
    history: History,
    points: FloatArray,
    bad: NDArray[np.intp],
    batch: FloatArray,
    good_mixture: Mixture,
    rng: np.random.Generator,
    settings: Settings,
) -> FloatArray:
    """One point, shape (d,)."""
    values = _candidates(coordinates, good_mixture, rng, settings.n_EI_candidates)
    numeric, categories = _parts(coordinates, coordinates.encode(values))
    bad_points, weights = _bad_points(coordinates, history, points, bad, batch, rng)
    bad_mixture = _mixture(coordinates, bad_points, weights, len(bad) + len(batch), settings)
    scores = good_mixture.log_pdf(numeric, categories) - bad_mixture.log_pdf(numeric, categories)
    if len(coordinates.space) > 1:
        scores += _marginal_scores(coordinates, good_mixture, bad_mixture, numeric, categories, settings)
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    tried = history.values[history.kinds != IGNORED]
    return _first_new(coordinates, np.vstack([tried, batch]), values[order], rng)


def _candidates(coordinates: Coordinates, mixture: Mixture, rng: np.random.Generator, n: int) -> FloatArray:
    """Values of n candidates, shape (n, d), NaN where inactive: half joint draws, then marginal ones and crossings."""
    n_marginal = n_crossed = n // 4
    n_joint = n - n_marginal - n_crossed
    z = coordinates.sample_prior(rng, n_joint + n_crossed)
    joint = _drawn(coordinates, z, mixture.sample_joint, rng)
    z = coordinates.sample_prior(rng, n_marginal + n_crossed)
    marginal = _drawn(coordinates, z, mixture.sample_marginals, rng)
    is_joint = rng.random((n_crossed, z.shape[1])) < 0.5
    crossed = np.where(is_joint, joint[n_joint:], marginal[n_marginal:])
    values = coordinates.decode(np.vstack([joint[:n_joint], marginal[:n_marginal], crossed]))
    return coordinates.space.mask(values)


def _drawn(coordinates: Coordinates, z: FloatArray, draw: Any, rng: np.random.Generator) -> FloatArray:
    numeric, categories = z[:, coordinates.numeric], z[:, coordinates.categorical].astype(np.intp)
    draw(rng, numeric, categories)
    z[:, coordinates.numeric], z[:, coordinates.categorical] = numeric, categories
    return z


def _bad_points(
    coordinates: Coordinates,
    history: History,
    points: FloatArray,
    bad: NDArray[np.intp],
    batch: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Points of the bad group, a random part of it if it is large, and the weights that make up for the rest."""
    weights = np.ones(len(bad))
    if len(bad) > MAX_BAD_KERNELS:
        is_pending = history.kinds[bad] == PENDING
        pending, known = bad[is_pending][-MAX_BAD_KERNELS // 2 :], bad[~is_pending]
        n_kept = min(len(known), MAX_BAD_KERNELS - len(pending))
        kept = np.sort(rng.choice(known, n_kept, replace=False)) if n_kept else known
        weights = np.append(np.full(n_kept, len(known) / max(1, n_kept)), np.ones(len(pending)))
        bad = np.append(kept, pending)
    bad_points = points[bad]
    if len(batch):
        bad_points = np.vstack([bad_points, coordinates.encode(batch)])
        weights = np.append(weights, np.ones(len(batch)))
    return bad_points, weights


def _marginal_scores(
    coordinates: Coordinates,
    good_mixture: Mixture,
    bad_mixture: Mixture,
    numeric: FloatArray,
    categories: NDArray[np.intp],
    settings: Settings,
) -> FloatArray:
    """Sum over the active parameters of their own log density ratios, shape (m,)."""
    good_numeric, good_categories = good_mixture.log_marginals(numeric, categories)
    is_unbounded = coordinates.is_unbounded
    # The bad group is large: a histogram over the prior's distribution function stands for its marginals.
    u = np.where(is_unbounded, normal_cdf(numeric), numeric)
    bad_u = np.where(is_unbounded, normal_cdf(bad_mixture.numeric), bad_mixture.numeric)
    bad_numeric = histogram.log_marginals(bad_u, u, settings.prior_weight)
    bad_numeric += bad_mixture.log_prior(np.nan_to_num(numeric), ~np.isnan(numeric))
    scores = (good_numeric - bad_numeric).sum(axis=1)
    scores += good_categories.sum(axis=1) - bad_mixture.log_category_marginals(categories).sum(axis=1)
    return np.asarray(scores)


def _first_new(coordinates: Coordinates, tried: FloatArray, values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The first of ``values`` that was not tried; where all were, a new draw from the prior if there is one."""
    row: FloatArray
    for row in values:
        if not _is_repeat(coordinates, tried, row):
            return row
    for row in coordinates.space.sample(rng, len(values)):
        if not _is_repeat(coordinates, tried, row):
            return row
    best: FloatArray = values[0]
    return best


def _is_repeat(coordinates: Coordinates, tried: FloatArray, row: FloatArray) -> bool:
    if not coordinates.is_discrete[~np.isnan(row)].all():
        return False  # a continuous parameter never repeats
    same = (tried == row) | (np.isnan(tried) & np.isnan(row))
    return bool(same.all(axis=1).any())
