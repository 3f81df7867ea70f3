"""What a document says of its trial's result: what became of it, its losses and its constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparktune.history.documents import Document, constraints_of, loss_of, losses_of
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_NEW, JOB_STATE_RUNNING, STATUS_OK

#: Without a result yet; with losses that are numbers; without, though it has ended; cancelled, or another study's that
#: has other numbers of losses or constraints than this one, which says nothing.
PENDING, OK, FAILED, IGNORED = range(4)


def result_of(document: Document) -> tuple[int, float, tuple[float, ...], tuple[float, ...]]:
    """Kind, scalar loss, losses and constraints."""
    state = document["state"]
    if state == JOB_STATE_CANCEL:
        return IGNORED, np.nan, (), ()
    losses = losses_of(document)
    if not losses:
        kind = PENDING if state in (JOB_STATE_NEW, JOB_STATE_RUNNING) else FAILED
        return kind, np.nan, (), ()
    return OK, loss_of(document), losses, constraints_of(document)


def is_alike(losses: Sequence[float], constraints: Sequence[float], n_losses: int, n_constraints: int) -> bool:
    """Whether a result has as many losses as others have, and as many constraints, where both have any."""
    return len(losses) == n_losses and (not constraints or n_constraints in (0, len(constraints)))


def reading_of(document: Document) -> Any:
    """What a document says of its result, in a form that equals itself as long as that is the same."""
    result = document["result"]
    loss = result.get("loss")
    if document["state"] == JOB_STATE_DONE and result.get("status") == STATUS_OK and (loss is None or _is_float(loss)):
        losses, constraints = _copied(result.get("losses")), _copied(result.get("constraints"))
        if losses == constraints == ():
            return loss  # nearly always; the document's own number, which takes no memory here
        if losses is not None and constraints is not None:
            return loss, losses, constraints
    return result_of(document)


def _copied(numbers: Any) -> tuple[float, ...] | None:
    """A list of floats as a tuple, empty for None; None if it is something else."""
    if numbers is None:
        return ()
    return tuple(numbers) if type(numbers) is list and all(map(_is_float, numbers)) else None


def _is_float(number: object) -> bool:
    return type(number) is float
