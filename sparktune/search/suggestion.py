"""From proposed points to documents: what every ``suggest`` does around its ``propose``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from sparktune.exceptions import CHANGE_IMPORTS, InvalidTypeError
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.proposals import proposal_documents
from sparktune.kernels.arrays import FloatArray
from sparktune.space.compile import Space

S = TypeVar("S")
#: Gives n points or fewer, shape (n, d), from space, history, random stream, n and settings.
Propose: TypeAlias = Callable[[Space, History, np.random.Generator, int, S], FloatArray]


def suggested(
    algo: str,
    propose: Propose[S],
    settings: S,
    new_ids: Sequence[Any],
    domain: Any,
    trials: Any,
    seed: Any,
    n_startup: float = 0,
) -> list[Document]:
    """Documents for the points that ``propose`` gives, for the first ids where it gives fewer.

    Args:
        algo: Name of the algorithm, for the documents' record of what their proposal saw.
        propose: Makes the points.
        settings: Its settings.
        new_ids, domain, trials, seed: What hyperopt's algorithms take.
        n_startup: Finished trials until which the algorithm does not learn.
    """
    history = history_of(trials, domain)
    values = propose(domain.space, history, np.random.default_rng(seed), len(new_ids), settings)
    record = history.record(algo, seed, n_startup)
    return proposal_documents(values, new_ids[: len(values)], domain, trials, record)


def history_of(trials: Any, domain: Any) -> History:
    """What has been tried of the domain's space.

    Raises:
        InvalidTypeError: If the trials have no history, as those of an installed hyperopt's ``fmin`` have none.
    """
    if not hasattr(trials, "history"):
        raise InvalidTypeError(
            f"trials must be sparktune's, got {type(trials).__module__.partition('.')[0]}'s {type(trials).__name__}: "
            f"{CHANGE_IMPORTS}"
        )
    history: History = trials.history(domain.space.labels)
    return history
