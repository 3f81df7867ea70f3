"""How many trials run at a time, and why."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, SparkUnavailableError
from sparktune.spark.gateway import Gateway

logger = logging.getLogger("sparktune")

#: Trials at a time where Spark does not say how many it could run (Connect), and for objectives that are Spark jobs
#: themselves, which fill the cluster each on its own.
DEFAULT = 4

#: Seconds after which the slots of a cluster that grows and shrinks are counted again.
INTERVAL = 2.0

Parallelism = int | Literal["auto"] | None


def validate(parallelism: Any) -> None:
    """Refuse what is not a whole number, ``"auto"`` or None."""
    is_whole = isinstance(parallelism, (int, np.integer)) and not isinstance(parallelism, bool)
    if parallelism is not None and parallelism != "auto" and not is_whole:
        raise InvalidTypeError(
            f'parallelism is a whole number of trials at a time, "auto" to follow the cluster, or None for as many as '
            f"it has slots now, got {parallelism!r}"
        )


class Slots:
    """Says how many trials may run at a time now.

    Args:
        gateway: Knows the cluster.
        parallelism: A number; ``"auto"``: as many as there are slots, and as much again where the cluster may grow, for
            Spark starts executors for tasks that wait; None, or a number below 1: as there are slots now.
        engine: Of the trials.

    Raises:
        InvalidArgumentError: If ``"auto"`` is asked for where slots cannot be counted.
    """

    def __init__(self, gateway: Gateway, parallelism: Parallelism, engine: str) -> None:
        self._gateway = gateway
        self.is_elastic = parallelism == "auto"
        self.interval = INTERVAL if self.is_elastic else None
        self._counted = -np.inf
        if self.is_elastic:
            if engine == "driver" or gateway.n_slots() is None:
                raise InvalidArgumentError(
                    'parallelism="auto" follows the slots of a classic cluster, and here they cannot be counted or do '
                    f"not say how many trials fit (engine {engine!r}): give a number"
                )
            self._n = self._count()
            logger.info("parallelism: %d trials at a time now, and more or fewer as executors come and go", self._n)
        elif parallelism is not None and int(parallelism) > 0:
            self._n = int(parallelism)
        else:
            self._n = self._default(engine)

    def __call__(self) -> int:
        """The number now; once Spark has ended, the last one there was: whoever needs Spark hears of it there."""
        if self.is_elastic and time.monotonic() - self._counted > INTERVAL:
            try:
                self._n = self._count()
            except SparkUnavailableError as error:
                logger.debug("could not count the slots of the cluster: %s", error)
        return self._n

    def _count(self) -> int:
        self._counted = time.monotonic()
        n, bound = self._gateway.n_slots() or 1, self._gateway.max_slots()
        return 2 * n if bound is None else max(n, min(bound, 2 * n))

    def _default(self, engine: str) -> int:
        n = self._gateway.n_slots()
        if engine == "driver":
            chosen = DEFAULT if n is None else min(DEFAULT, n)
            why = "for trials that are Spark jobs themselves share the cluster's slots"
        elif n is None:
            chosen, why = DEFAULT, "for Spark Connect does not say how many slots there are; if there are more, say so"
        else:
            chosen, why = n, "one for each task that the executors there are now can run at once"
        logger.info("parallelism: %d trials at a time, %s (set it with SparkTrials(parallelism=...))", chosen, why)
        return chosen


def warn_if_blind(parallelism: int, max_evals: int, n_before: int = 0) -> None:
    """Say so if too few trials come after the first results for the search to learn from them.

    Args:
        parallelism: Trials at a time.
        max_evals: Trials of the study.
        n_before: How many of them there are before this run, none with a loss.
    """
    n_trials = max_evals - n_before
    if n_trials < 1 or parallelism <= 1 or parallelism * 3 <= n_trials:
        return
    if parallelism >= n_trials:
        text = "all %d trials start before the first result is in (parallelism=%d), so this is random search"
        logger.warning(text + ": lower parallelism, or raise max_evals", n_trials, parallelism)
    else:
        fewer = f"{n_trials // 4} or lower" if n_trials >= 8 else "1"
        text = "of %d trials, %d start before the first result is in, and the others see few (parallelism=%d)"
        logger.warning(
            text + ": parallelism=%s, or max_evals=%d or higher, would let the search learn",
            n_trials, parallelism, parallelism, fewer, n_before + 4 * parallelism,
        )  # fmt: skip
