"""Annealing: search around one of the best trials, ever closer to it.

Each proposal starts from a good trial, mostly the best one. Each number is drawn evenly from a window around that
trial's value, which narrows as trials come in; where the window reaches beyond a bound it is moved inside. A normal
parameter takes a normal step. A category stays, but it and any discrete parameter are drawn from the prior with a
probability that is the width of the window. What is not active in the start is drawn from the prior.

A proposal costs next to nothing. What the search does not find while the windows are wide it does not find.

Source:
    The docstring of hyperopt's ``AnnealingAlgo`` states the rules: geometric draw of the rank, window ``1 / (1 +
    shrink_coef * n)`` of the range after n observations. Here all parameters of a proposal start from one trial, and
    no grid's window is narrower than its next neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.reading import OK
from sparktune.kernels.arrays import FloatArray
from sparktune.search.best import best_rows
from sparktune.search.options import AT_LEAST_1, FINITE_AT_LEAST_0, check_options
from sparktune.search.suggestion import suggested
from sparktune.search.tried import Tried, kept
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates

__all__ = ["Settings", "propose", "suggest"]

#: Points drawn around starts before one that was tried is given up for a draw from the prior.
N_CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`, under hyperopt's names.

    Attributes:
        avg_best_idx: Mean rank of the trial to start from, of which 1 is the best; at least 1.
        shrink_coef: How fast the windows narrow: their width is 1 / (1 + shrink_coef * n) of the range; at least 0.
    """

    avg_best_idx: float = 2.0
    shrink_coef: float = 0.1

    def __post_init__(self) -> None:
        check_options("anneal.suggest", self, {"avg_best_idx": AT_LEAST_1, "shrink_coef": FINITE_AT_LEAST_0})


DEFAULTS = Settings()
# As in tpe.py: programs may change these defaults for all calls that follow.
_default_avg_best_idx = DEFAULTS.avg_best_idx
_default_shrink_coef = DEFAULTS.shrink_coef


def suggest(
    new_ids: Sequence[Any],
    domain: Any,
    trials: Any,
    seed: Any,
    avg_best_idx: float | None = None,
    shrink_coef: float | None = None,
) -> list[Document]:
    """A document per id, drawn around good trials; from the prior while there are none.

    On a discrete space a point that was tried is passed over while another is left.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        avg_best_idx, shrink_coef: See :class:`Settings`, where the defaults stand.

    Raises:
        InvalidArgumentError: If an option is out of its rule.
    """
    settings = Settings(
        _default_avg_best_idx if avg_best_idx is None else avg_best_idx,
        _default_shrink_coef if shrink_coef is None else shrink_coef,
    )
    return suggested("anneal", propose, settings, new_ids, domain, trials, seed)


def propose(
    space: Space, history: History, rng: np.random.Generator, n: int, settings: Settings | None = None
) -> FloatArray:
    """n points, shape (n, d), NaN where inactive.

    Args:
        space: What may be tried.
        history: What has been tried, with the columns of ``space``.
        rng: Random stream.
        n: Number of points.
        settings: Options; the defaults if None.
    """
    settings, tried = settings or DEFAULTS, Tried.of(space, history)
    rows = np.empty((0, len(space)))
    if not history.n_ok or not len(space):
        for _ in range(n):
            rows = np.vstack([rows, tried.new_draw(rows, rng)])
        return rows
    coordinates = kept(history, "coordinates", space, lambda: Coordinates(space))
    n_active = np.count_nonzero(~np.isnan(history.values[history.kinds == OK]), axis=0)
    widths = 1.0 / (1.0 + settings.shrink_coef * n_active)
    n_drawn = N_CANDIDATES if tried.can_repeat else 1
    for _ in range(n):
        starts = coordinates.encode(history.values[_ranked(history, rng, n_drawn, settings)])
        with np.errstate(under="ignore"):  # the exponential of a very low logarithm is 0
            candidates = space.mask(coordinates.decode(_around(coordinates, starts, widths, rng)))
        rows = np.vstack([rows, tried.first_new(candidates, rows, rng)])
    return rows


def _ranked(history: History, rng: np.random.Generator, n: int, settings: Settings) -> NDArray[np.intp]:
    """Rows of n trials to start from: their ranks are geometric."""
    ranks = np.minimum(rng.geometric(1.0 / settings.avg_best_idx, n), history.n_ok)
    best = best_rows(history, int(ranks.max()))
    return np.asarray(best[np.minimum(ranks, len(best)) - 1])


def _around(coordinates: Coordinates, starts: FloatArray, widths: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Coordinates around ``starts`` (m, d), every column filled; ``widths`` (d,) are shares of the range."""
    layout, shape = coordinates.layout, starts.shape
    drawn = coordinates.sample_prior(rng, len(starts))
    # Of a grid, two steps at least: so that the neighbours are in reach.
    windows = np.minimum(np.maximum(widths, 2.0 * layout.widths), 1.0)
    low = np.clip(starts - 0.5 * windows, 0.0, 1.0 - windows)
    near = low + windows * rng.random(shape)
    steps = np.maximum(widths, layout.widths) * rng.standard_normal(shape)
    near = np.where(layout.is_unbounded, starts + steps, near)
    near[:, coordinates.categorical] = starts[:, coordinates.categorical]
    # A grid of logarithms has cells wider than any window, and a category has no neighbours at all.
    is_drawn = coordinates.is_discrete & (rng.random(shape) < widths)
    return np.where(np.isnan(starts) | is_drawn, drawn, near)
