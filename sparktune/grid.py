"""Exhaustive search: every point of a finite space, once.

The first label changes slowest, each parameter goes up from its lowest value, and a parameter that is inactive takes no
part: so there are no two points that the objective could not tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidSpaceError
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.kernels.arrays import FloatArray
from sparktune.search.suggestion import suggested
from sparktune.search.tree import values_of
from sparktune.search.tried import Tried
from sparktune.space.compile import Space
from sparktune.space.distributions import LogNormal, LogUniform, QLogNormal

__all__ = ["propose", "suggest"]


def suggest(new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any) -> list[Document]:
    """Documents of the next points that were not visited, one per id; fewer at the end, and then none: the run ends.

    Trials that run or failed count as visited, cancelled ones do not.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Not looked at.

    Raises:
        InvalidSpaceError: If a parameter has infinitely many values; the message names it.
    """
    return suggested("grid", propose, None, new_ids, domain, trials, seed)


def propose(space: Space, history: History, rng: np.random.Generator, n: int, settings: object = None) -> FloatArray:
    """n points that were not visited, or those that are left, shape (m, d), NaN where inactive.

    Args:
        space: What may be tried; finite.
        history: What has been tried, with the columns of ``space``.
        rng, settings: Not looked at.
        n: Number of points.

    Raises:
        InvalidSpaceError: If a parameter has infinitely many values.
    """
    for parameter in space.parameters:
        values = values_of(parameter.distribution)
        if values is None or math.isinf(values.count):
            is_log = isinstance(parameter.distribution, LogUniform | LogNormal | QLogNormal)
            raise InvalidSpaceError(
                f"grid.suggest needs parameters with finitely many values, got {parameter.label!r} with "
                f"{parameter.distribution}: use hp.{'qloguniform' if is_log else 'quniform'} or hp.choice "
                "with the values to try, or another algorithm, such as qmc.suggest"
            )
    return Tried.of(space, history).in_order(n)
