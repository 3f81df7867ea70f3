"""Random search: every proposal is a draw from the prior, on a finite space one that was not tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.kernels.arrays import FloatArray
from sparktune.search.suggestion import suggested
from sparktune.search.tried import Tried
from sparktune.space.compile import Space
from sparktune.space.generators import generator_of

__all__ = ["propose", "suggest", "suggest_batch"]


def propose(space: Space, history: History, rng: np.random.Generator, n: int, settings: object = None) -> FloatArray:
    """n draws from the prior, shape (n, d), NaN where inactive; of a point that was tried another one, if there is one.

    Args:
        space: What may be tried.
        history: What has been tried, with the columns of ``space``.
        rng: Random stream.
        n: Number of points.
        settings: Not looked at.
    """
    tried = Tried.of(space, history)
    rows = np.array([space.draw(rng) for _ in range(n)]).reshape(n, len(space))
    others: np.random.Generator | None = None  # draws of its own, so that those of the seed stay what they are
    for i in range(n):
        if tried.is_tried(rows[i], rows[:i]):
            others = others or np.random.default_rng(rng.integers(2**63))
            rows[i] = tried.first_new(rows[i : i + 1], rows[:i], others)
    return rows


def suggest(new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any) -> list[Document]:
    """A document per id, drawn from the prior: with the same seed the draws of hyperopt's ``rand.suggest``.

    Quantised draws differ where hyperopt's leave the bounds or give the end points half of their share, and so does a
    draw that was tried before, while there are points that were not.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
    """
    return suggested("rand", propose, None, new_ids, domain, trials, seed)


def suggest_batch(
    new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Draws from the prior, as two dictionaries by label: the ids in which it is active, and its values there.

    Both are arrays. With the same seed the draws of hyperopt's ``rand.suggest_batch``, all values of one label before
    those of the next, where :func:`suggest` draws id by id; quantised draws differ as there. Points that were tried
    may come again.

    Args:
        new_ids, domain, trials, seed: See :func:`suggest`; nothing is asked of ``trials``.
    """
    space: Space = domain.space
    return space.by_label(list(space.draw_batch(generator_of(seed, "seed"), len(new_ids))), new_ids)
