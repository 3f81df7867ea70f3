"""Rules for ending a run early, for ``fmin(early_stop_fn=...)``.

A rule is a function ``f(trials, *state) -> (stop, state)``, called after every result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.space.numbers import is_finite, is_number

__all__ = ["no_progress_loss"]


def no_progress_loss(
    iteration_stop_count: int = 20, percent_increase: float = 0.0
) -> Callable[..., tuple[bool, list[Any]]]:
    """A rule that stops after ``iteration_stop_count`` finished trials without a better loss.

    Args:
        iteration_stop_count: Trials to wait for a better loss.
        percent_increase: By how many percent of the best loss a new one must be below it to count as better.

    Trials without a loss (failed, running) count as no progress once they have ended, and so do those that violate
    constraints. Where trials have several losses and no scalar one, every change of the Pareto front is progress.

    Raises:
        InvalidArgumentError: If the count is not a positive number, or the percentage not a finite one.
    """
    if not (is_number(iteration_stop_count) and iteration_stop_count > 0):
        raise InvalidArgumentError(
            f"iteration_stop_count is a positive number of trials, got {iteration_stop_count!r}: "
            "write early_stop_fn=no_progress_loss(20)"
        )
    if not is_finite(percent_increase):
        raise InvalidArgumentError(
            f"percent_increase is a finite number, got {percent_increase!r}: "
            "write no_progress_loss(20, 1.5) for 1.5 percent"
        )

    def stop_fn(
        trials: Any,
        best_loss: float | None = None,
        iteration_no_progress: int = 0,
        n_seen: int | None = None,
        front: list[Any] | None = None,
    ) -> tuple[bool, list[Any]]:
        finished = trials.n_finished
        loss = trials.best_loss
        if loss is None and trials.n_objectives > 1 and front != (front := trials.front_losses.tolist()):
            return False, [None, 0, finished, front]
        if loss is not None and (best_loss is None or loss < _to_beat(best_loss, percent_increase)):
            # The first loss is the first of those that bring no progress over it, as hyperopt counts.
            return False, [loss, 0 if best_loss is not None else 1, finished]
        # Of those that were there at the first call, a warm start or an earlier run, only the newest is of this run.
        n_new = min(1, finished) if n_seen is None else max(0, finished - n_seen)
        waited = iteration_no_progress + n_new
        return waited >= iteration_stop_count, [
            best_loss if best_loss is not None else loss,
            waited,
            finished,
            front,
        ]

    return stop_fn


def _to_beat(best_loss: float, percent_increase: float) -> float:
    """Below what a loss is better than the best one by so many percent: below infinity, every number is."""
    return best_loss if math.isinf(best_loss) else best_loss - abs(best_loss) * percent_increase / 100.0
