"""The algorithm to recommend: TPE and a Gaussian process choose together.

A proposal maximises the Gaussian process's log expected improvement plus a share of TPE's log density ratio, over the
candidates of both. The two err in different ways: the process needs few trials where the objective is smooth, and TPE
is not misled by noise, by many optima, or by branches that have little in common. A share of the proposals is TPE's
alone, and all but a few once the history is so long that the process can only look at a small part of it.

Source:
    The sum of an acquisition and a decaying log density is the form of Hvarfner et al. 2022 (piBO), with TPE in the
    place of the user's prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparktune import gp, tpe
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.blas import single_threaded
from sparktune.search.even import even_points
from sparktune.search.options import AT_LEAST_0, FROM_0_TO_1, check_options
from sparktune.search.state import SearchState
from sparktune.search.suggestion import suggested
from sparktune.space.compile import Space

__all__ = ["Settings", "propose", "suggest"]

#: TPE's log density ratio counts with this weight beside the log expected improvement.
TPE_WEIGHT = 0.2
#: From this many finished trials on, the Gaussian process takes part less often, in inverse proportion.
LONG = 300
#: Candidates that TPE adds.
N_CANDIDATES = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`.

    Attributes:
        n_startup_jobs: Take points that fill the space evenly until this many trials have finished, and as long as all
            have the same loss.
        tpe_share: Share of the proposals that TPE's densities make alone, without its ranks, from the end of the
            start-up on; in [0, 1].
    """

    n_startup_jobs: int = 10
    tpe_share: float = 0.2

    def __post_init__(self) -> None:
        check_options("auto.suggest", self, {"n_startup_jobs": AT_LEAST_0, "tpe_share": FROM_0_TO_1})


DEFAULTS = Settings()
#: TPE's part is to look elsewhere, so its prior weighs more than where it searches alone.
TPE_SETTINGS = tpe.Settings(n_startup_jobs=0, prior_weight=12.0)
#: ... and no kernel is narrower than this share of a grid's step. TPE alone has to close in on an optimum that lies
#: between the steps of several grids; here the process does.
STEP_SHARE = 0.5


def suggest(
    new_ids: Sequence[Any],
    domain: Any,
    trials: Any,
    seed: Any,
    n_startup_jobs: int = DEFAULTS.n_startup_jobs,
    tpe_share: float = DEFAULTS.tpe_share,
) -> list[Document]:
    """A document per id, proposed by TPE and a Gaussian process together.

    Each proposal takes those before it in the batch for running trials. On a discrete space one that was tried is
    passed over while another is left.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        n_startup_jobs, tpe_share: See :class:`Settings`.

    Raises:
        InvalidArgumentError: If an option is out of its rule.
    """
    settings = Settings(n_startup_jobs, tpe_share)
    return suggested("auto", propose, settings, new_ids, domain, trials, seed, n_startup_jobs)


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
    if gp.is_starting(history, settings.n_startup_jobs) or gp.is_flat(history) or not len(space):
        return even_points(space, history, rng, n)
    rows = np.empty((n, len(space)))
    densities = tpe.Densities(state, history, TPE_SETTINGS, STEP_SHARE)
    gp_share = (1.0 - settings.tpe_share) * min(1.0, LONG / history.n_finished)
    for i in range(n):
        if rng.random() < gp_share:
            rows[i] = _both(state, history, densities, rows[:i], rng)
        else:
            rows[i] = densities.propose_one(rows[:i], rng)
        if i + 1 < n:
            densities.add_running(rows[i : i + 1])
    return rows


def _both(
    state: SearchState, history: History, densities: tpe.Densities, batch: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """The candidate that both together like best, shape (d,)."""
    surrogate = gp.Surrogate(state, history, batch, rng)
    values, _ = densities.candidates(rng, N_CANDIDATES)
    return gp.best_candidate(
        state,
        surrogate,
        lambda points: surrogate.acquisition(points) + TPE_WEIGHT * densities.score(points),
        batch,
        rng,
        values,
    )
