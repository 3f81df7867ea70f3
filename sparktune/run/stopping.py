"""When a run ends before its last trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.space.numbers import is_number

logger = logging.getLogger("sparktune")

EarlyStop: TypeAlias = Callable[..., tuple[bool, Sequence[Any]]]

REASON_EARLY_STOP = "early stopping condition"
REASON_TIMEOUT = "fmin run timeout"
REASON_USER = "fmin run cancelled by user"
REASON_LOSS = "loss threshold reached"

#: Seconds that one wait lasts at most; the queue cannot wait for longer than some 292 years, nor for ``math.inf``.
LONGEST_WAIT = 86400.0


def validate_timeout(timeout: object) -> None:
    """Refuse a timeout that is not None or a positive number of seconds. Programs compare the text, hyperopt's."""
    if timeout is not None and not (is_number(timeout) and timeout > 0):  # type: ignore[operator]
        raise InvalidArgumentError(f"The timeout argument should be None or a positive value. Given value: {timeout}")


def validate_loss_threshold(loss_threshold: object) -> None:
    """Refuse a loss threshold that is not None or a number."""
    if loss_threshold is not None and (not is_number(loss_threshold) or loss_threshold != loss_threshold):
        raise InvalidArgumentError(
            f"The loss_threshold argument should be None or a numeric value. Given value: {loss_threshold}"
        )


@dataclass
class Stopping:
    """The rules of one run, with its clock.

    Args:
        timeout: Seconds from when the object was made; None for no limit.
        loss_threshold: The run ends when the best loss is below it; of several losses none is compared with it.
        early_stop_fn: Called as ``f(trials, *state)``, returns (stop, state).
        started: When the object was made, by ``time.perf_counter()``, as ``FMinIter.start_time`` is in hyperopt.
        state: What ``early_stop_fn`` is called with next time.
    """

    timeout: float | None = None
    loss_threshold: float | None = None
    early_stop_fn: EarlyStop | None = None
    started: float = field(default_factory=time.perf_counter)
    state: Sequence[Any] = ()
    _has_warned: bool = False

    def __post_init__(self) -> None:
        validate_timeout(self.timeout)
        validate_loss_threshold(self.loss_threshold)
        if self.early_stop_fn is not None and not callable(self.early_stop_fn):
            raise InvalidTypeError(
                f"early_stop_fn must be callable, got {self.early_stop_fn!r}: pass early_stop.no_progress_loss(20)"
            )

    def remaining(self) -> float | None:
        """Seconds until the timeout, at least 0 and at most ``LONGEST_WAIT``; None if there is none."""
        if self.timeout is None:
            return None
        return min(max(0.0, self.started + float(self.timeout) - time.perf_counter()), LONGEST_WAIT)

    def reason(self, trials: Any, best_loss: float | None, *, has_new_result: bool) -> str | None:
        """Why the run must end now, or None. The early stop rule is asked after new results only."""
        if self.remaining() == 0.0:
            return REASON_TIMEOUT
        if self.loss_threshold is not None and best_loss is not None and best_loss < self.loss_threshold:
            return REASON_LOSS
        if self.loss_threshold is not None and best_loss is None and not self._has_warned:
            self._warn_without_loss(trials)
        if has_new_result and self.early_stop_fn is not None:
            answer = self.early_stop_fn(trials, *self.state)
            try:
                stop, state = answer
                self.state = tuple(state)
            except (TypeError, ValueError):
                raise InvalidTypeError(
                    "early_stop_fn returns (stop, state), where state is a list of what it is called with next time, "
                    f"got {answer!r}: return stop, []"
                ) from None
            if stop:
                return REASON_EARLY_STOP
        return None

    def _warn_without_loss(self, trials: Any) -> None:
        """Say once, as soon as that is known, that there is no loss for the threshold."""
        self._has_warned = getattr(trials, "_has_only_several_losses", False)
        if self._has_warned:
            logger.warning(
                "loss_threshold is compared with the 'loss' of a result, got results with %d 'losses' and no 'loss': "
                "the run does not end by it; return a 'loss' beside the 'losses', or give an early_stop_fn",
                trials.n_objectives,
            )
