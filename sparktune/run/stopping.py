"""When a run ends before its last trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sparktune.exceptions import InvalidArgumentError
from sparktune.space.nodes import is_number

EarlyStop: TypeAlias = Callable[..., tuple[bool, Sequence[Any]]]

REASON_EARLY_STOP = "early stopping condition"
REASON_TIMEOUT = "fmin run timeout"
REASON_USER = "fmin run cancelled by user"
REASON_LOSS = "loss threshold reached"


def validate_timeout(timeout: object) -> None:
    """Refuse a timeout that is not None or a positive number of seconds."""
    if timeout is not None and not (is_number(timeout) and timeout > 0):  # type: ignore[operator]
        raise InvalidArgumentError(
            f"The timeout argument should be None or a positive value. Given value: {timeout} "
            f"({type(timeout).__name__}); it is a number of seconds"
        )


def validate_loss_threshold(loss_threshold: object) -> None:
    """Refuse a loss threshold that is not None or a number."""
    if loss_threshold is not None and not is_number(loss_threshold):
        raise InvalidArgumentError(
            "The loss_threshold argument should be None or a numeric value. "
            f"Given value: {loss_threshold} ({type(loss_threshold).__name__})"
        )


@dataclass
class Stopping:
    """The rules of one run, with its clock.

    Args:
        timeout: Seconds from :meth:`start`; None for no limit.
        loss_threshold: The run ends when the best loss is below it.
        early_stop_fn: Called as ``f(trials, *state)``, returns (stop, state).
    """

    timeout: float | None = None
    loss_threshold: float | None = None
    early_stop_fn: EarlyStop | None = None
    _started: float = field(default_factory=time.monotonic)
    _state: Sequence[Any] = ()

    def __post_init__(self) -> None:
        validate_timeout(self.timeout)
        validate_loss_threshold(self.loss_threshold)

    def remaining(self) -> float | None:
        """Seconds until the timeout, at least 0; None if there is none."""
        if self.timeout is None:
            return None
        return max(0.0, self._started + float(self.timeout) - time.monotonic())

    def reason(self, trials: Any, best_loss: float | None, *, has_new_result: bool) -> str | None:
        """Why the run must end now, or None. The early stop rule is asked after new results only."""
        if self.remaining() == 0.0:
            return REASON_TIMEOUT
        if self.loss_threshold is not None and best_loss is not None and best_loss < self.loss_threshold:
            return REASON_LOSS
        if has_new_result and self.early_stop_fn is not None:
            stop, self._state = self.early_stop_fn(trials, *self._state)
            if stop:
                return REASON_EARLY_STOP
        return None
