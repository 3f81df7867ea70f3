"""``SparkTrials``: trials that run on a Spark cluster, many at a time."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sparktune.exceptions import InvalidTypeError
from sparktune.history.documents import losses_of
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor
from sparktune.run.loop import FMinIter
from sparktune.run.stopping import validate_loss_threshold, validate_timeout
from sparktune.spark.gateway import ClassicGateway
from sparktune.spark.jobs import JobsExecutor
from sparktune.spark.session import get_session
from sparktune.trials import Trials

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

logger = logging.getLogger("sparktune")


class SparkTrials(Trials):
    """Trials whose objective runs on Spark executors, up to ``parallelism`` at a time.

    Each result goes to the algorithm as soon as it is in. A trial whose objective raises, or whose worker dies, is
    recorded as failed and the run goes on. A timeout, a loss threshold, an early stop and Ctrl-C cancel the trials
    that run, and those jobs only; finished results are kept, and a second ``fmin`` goes on from them.

    Args:
        parallelism: Trials at a time; None (or 0): as many as the cluster has slots.
        timeout: Seconds for a whole ``fmin``; used where ``fmin`` is given none.
        loss_threshold: Used where ``fmin`` is given none.
        spark_session: The session; None: the active one, or a new one, see :func:`sparktune.spark.get_session`.
        resource_profile: Resources of each trial's task, for stage-level scheduling; not in local mode.

    Raises:
        SparkUnavailableError: If pyspark is missing, or the session is stopped or a Spark Connect one.
        JavaNotFoundError: If a local session is needed and there is no Java.
        InvalidTypeError, InvalidArgumentError: If an argument is out of its rule.
    """

    asynchronous = True

    def __init__(
        self,
        parallelism: int | None = None,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        spark_session: SparkSession | None = None,
        resource_profile: ResourceProfile | None = None,
    ) -> None:
        super().__init__(exp_key=None, refresh=False)
        is_whole = isinstance(parallelism, (int, np.integer)) and not isinstance(parallelism, bool)
        if parallelism is not None and not is_whole:
            raise InvalidTypeError(f"parallelism is a whole number of trials at a time, or None, got {parallelism!r}")
        validate_timeout(timeout)
        validate_loss_threshold(loss_threshold)
        self._spark = spark_session if spark_session is not None else get_session()
        self._gateway = ClassicGateway(self._spark, resource_profile)
        self.resource_profile = resource_profile
        self.user_specified_parallelism = parallelism
        self.parallelism = self._decide_parallelism(parallelism)
        self.timeout = timeout
        self.loss_threshold = loss_threshold
        self._fmin_cancelled = False
        self._fmin_cancelled_reason: str | None = None
        self.refresh()

    def _decide_parallelism(self, parallelism: int | None) -> int:
        if parallelism is not None and parallelism > 0:
            return int(parallelism)
        n_slots = self._gateway.n_slots
        logger.info("parallelism: %d trials at a time, one per slot of the cluster", n_slots)
        return n_slots

    @property
    def fmin_cancelled_reason(self) -> str | None:
        """Why the last ``fmin`` ended before its last trial; None if it did not."""
        return self._fmin_cancelled_reason

    def make_executor(self, domain: Domain) -> Executor:
        """One Spark job per trial."""
        return JobsExecutor(self._gateway, domain, self.parallelism)

    def fmin(self, fn: Any, space: Any, *args: Any, **kwargs: Any) -> Any:
        """Minimise ``fn`` over ``space`` on Spark; arguments as for :meth:`Trials.fmin`.

        ``timeout`` and ``loss_threshold`` are this object's where not given; failing trials never end the run.
        """
        bound = _bind(Trials.fmin, self, fn, space, *args, **kwargs)
        bound["timeout"] = self.timeout if bound.get("timeout") is None else bound["timeout"]
        bound["loss_threshold"] = (
            self.loss_threshold if bound.get("loss_threshold") is None else bound["loss_threshold"]
        )
        bound["catch_eval_exceptions"] = True
        self._fmin_cancelled, self._fmin_cancelled_reason = False, None
        with _own_interrupt():
            return super().fmin(**bound)

    def _exhaust(self, iterator: FMinIter) -> None:
        try:
            iterator.exhaust()
        finally:
            self._fmin_cancelled = iterator.is_cancelled
            self._fmin_cancelled_reason = iterator.stop_reason
            logger.info(
                "Total Trials: %d: %d succeeded, %d failed, %d cancelled.",
                self.count_total_trials(),
                self.count_successful_trials(),
                self.count_failed_trials(),
                self.count_cancelled_trials(),
            )

    # -- counting ---------------------------------------------------------------------------------------------------

    def count_successful_trials(self) -> int:
        """Trials that ended with a loss."""
        return sum(bool(losses_of(document)) for document in self._dynamic_trials)

    def count_failed_trials(self) -> int:
        """Trials that ended without a loss: an error, a dead worker, status fail, a NaN loss."""
        n_done = self.count_by_state_unsynced([JOB_STATE_DONE, JOB_STATE_ERROR])
        return n_done - self.count_successful_trials()

    def count_cancelled_trials(self) -> int:
        """Trials that were cancelled."""
        return self.count_by_state_unsynced(JOB_STATE_CANCEL)

    def count_total_trials(self) -> int:
        """All trials."""
        return len(self._dynamic_trials)

    def delete_all(self) -> None:
        """Forget all trials, and why the last run was cancelled."""
        super().delete_all()
        self._fmin_cancelled, self._fmin_cancelled_reason = False, None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for key in ("_spark", "_gateway", "resource_profile"):  # they live in this process
            state.pop(key, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.resource_profile = None

    def __getattr__(self, name: str) -> Any:
        # Only missing attributes come here: an unpickled object finds its session when it first needs one, so that
        # reading saved results takes no Spark.
        if name == "_spark":
            self._spark = get_session()
            return self._spark
        if name == "_gateway":
            self._gateway = ClassicGateway(self._spark)
            return self._gateway
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


def _bind(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments by name, without ``self``."""
    import inspect

    arguments = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    del arguments["self"]
    return arguments


@contextlib.contextmanager
def _own_interrupt() -> Iterator[None]:
    """Within it, Ctrl-C raises KeyboardInterrupt and nothing more; afterwards the handler is as it was.

    pyspark's own handler in scripts cancels every job of the application, other people's too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is None or before is signal.SIG_IGN:  # set outside Python, or to be ignored: not ours to change
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
