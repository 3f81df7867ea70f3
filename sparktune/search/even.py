"""Points that fill a space evenly: a sequence over the unit cube, mapped to the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from sparktune.history.columns import History
from sparktune.history.proposals import proposal_record
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.sobol import sobol
from sparktune.search.tried import Tried, kept
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates

#: Beyond so many parameters even points cost more than they give, and draws from the prior take their place.
MAX_DIMENSIONS = 1000
#: Gives points of the unit cube, shape (n, d), from d, seed, start and n.
UnitPoints: TypeAlias = Callable[[int, int, int, int], FloatArray]


def even_points(
    space: Space, history: History, rng: np.random.Generator, n: int, sequence: UnitPoints = sobol
) -> FloatArray:
    """The next n points of a sequence over the prior, shape (n, d), NaN where inactive; for one tried before, another.

    Args:
        space: What may be tried.
        history: What has been tried; its length says where the sequence goes on.
        rng: Random stream.
        n: Number of points.
        sequence: Points of the unit cube; draws from the prior if there are more than ``MAX_DIMENSIONS`` parameters.
    """
    tried, d = Tried.of(space, history), len(space)
    if not n or not 0 < d <= MAX_DIMENSIONS:
        values = space.sample(rng, n)
    else:
        coordinates = kept(history, "coordinates", space, lambda: Coordinates(space))
        points = sequence(d, _study_seed(history, rng), len(history), n)
        values = space.mask(coordinates.decode(coordinates.prior_quantile(points)))
    for i, row in enumerate(values):
        if tried.is_tried(row, values[:i]):
            values[i] = tried.new_draw(values[:i], rng)
    return values


def _study_seed(history: History, rng: np.random.Generator) -> int:
    """What picks the sequence: the first number that the study's first proposal drew."""
    for document in history.documents:
        record = proposal_record(document)
        if record is not None and record["seed"] is not None:
            rng = np.random.default_rng(record["seed"])
            break
    return int(rng.integers(2**31))
