"""Random search: every proposal is a draw from the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparktune.history.columns import History
from sparktune.history.documents import Document, miscs_to_idxs_vals
from sparktune.search.suggestion import suggested
from sparktune.space.compile import Space
from sparktune.space.distributions import FloatArray

__all__ = ["propose", "suggest", "suggest_batch"]


def propose(space: Space, history: History, rng: np.random.Generator, n: int, settings: object = None) -> FloatArray:
    """n draws from the prior, shape (n, d), NaN where inactive; ``history`` and ``settings`` are not looked at."""
    return np.array([space.draw(rng) for _ in range(n)]).reshape(n, len(space))


def suggest(new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any) -> list[Document]:
    """A document per id, drawn from the prior: with the same seed the draws of hyperopt's ``rand.suggest``.

    Quantised draws differ where hyperopt's leave the bounds or give the end points half of their share.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
    """
    return suggested("rand", propose, None, new_ids, domain, trials, seed)


def suggest_batch(
    new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """What :func:`suggest` draws, as two dictionaries by label: the ids in which it is active, and its values there.

    Args:
        new_ids, domain, trials, seed: See :func:`suggest`.
    """
    documents = suggest(new_ids, domain, trials, seed)
    return miscs_to_idxs_vals([document["misc"] for document in documents], domain.space.labels)
