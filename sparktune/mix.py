"""A mixture of algorithms: one of several, drawn anew for each call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.history.documents import Document
from sparktune.space.numbers import is_number

__all__ = ["suggest"]

Suggest: TypeAlias = Callable[[Sequence[Any], Any, Any, Any], list[Document]]


def suggest(
    new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any, p_suggest: Sequence[tuple[float, Suggest]]
) -> list[Document]:
    """The documents of one of several algorithms.

    ``partial(mix.suggest, p_suggest=[(0.1, rand.suggest), (0.9, tpe.suggest)])`` explores at random in one call of ten.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes; draws the algorithm, and its seed.
        p_suggest: Probability and algorithm, in pairs; the probabilities sum to 1.

    Raises:
        InvalidArgumentError: If the probabilities are none.
        InvalidTypeError: If an algorithm cannot be called.
    """
    probabilities, algorithms = _checked(p_suggest)
    rng = np.random.default_rng(seed)
    chosen = algorithms[int(rng.choice(len(algorithms), p=probabilities))]
    return chosen(new_ids, domain, trials, int(rng.integers(2**31)))


def _checked(p_suggest: Sequence[tuple[float, Suggest]]) -> tuple[list[float], list[Suggest]]:
    try:
        pairs = [(p, algorithm) for p, algorithm in p_suggest]
    except (TypeError, ValueError):
        raise InvalidTypeError(
            f"mix.suggest takes for p_suggest pairs of probability and algorithm, got {p_suggest!r}: "
            "write [(0.1, rand.suggest), (0.9, tpe.suggest)]"
        ) from None
    probabilities = [p for p, _ in pairs]
    if not all(is_number(p) and p >= 0 for p in probabilities) or not math.isclose(sum(probabilities), 1, abs_tol=1e-6):
        raise InvalidArgumentError(
            f"mix.suggest needs probabilities >= 0 that sum to 1, got {probabilities}: "
            "write [(0.1, rand.suggest), (0.9, tpe.suggest)]"
        )
    for _, algorithm in pairs:
        if not callable(algorithm):
            raise InvalidTypeError(
                f"mix.suggest needs algorithms that can be called, got {algorithm!r}: write tpe.suggest, or "
                "partial(tpe.suggest, gamma=0.2)"
            )
    total = sum(probabilities)  # numpy wants a sum of 1 with more digits than people write
    return [p / total for p in probabilities], [algorithm for _, algorithm in pairs]
