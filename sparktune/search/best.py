"""Which trials of a study are the best, whatever makes them so: losses, constraints, or both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.history.reading import OK
from sparktune.kernels import pareto


def is_ordered_by_loss(history: History) -> bool:
    """Whether trials have one loss and no constraints, so that of two trials the one with the lower loss is better."""
    return history.n_objectives == 1 and not history.n_constraints


def best_rows(history: History, n: int) -> NDArray[np.intp]:
    """The rows of the n best trials that have losses, best first, of equals the first; fewer if there are not n.

    Several losses are compared by domination rank and hypervolume; trials that meet the constraints come before others.
    """
    if is_ordered_by_loss(history):
        return history.lowest_rows(n)
    finished = np.flatnonzero(history.kinds == OK)
    return finished[pareto.order(history.objectives[finished], history.violations[finished], n)]
