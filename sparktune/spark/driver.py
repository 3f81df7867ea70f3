"""The engine *driver*: objectives that use Spark themselves, each in a driver thread with a pool and tag of its own."""

from __future__ import annotations

import functools
import logging
import threading
import uuid
from dataclasses import replace

from sparktune.exceptions import SparkUnavailableError
from sparktune.history.trial import Call, Failure, Outcome
from sparktune.run.domain import Domain
from sparktune.run.threads import Evaluation, ThreadsExecutor
from sparktune.spark.gateway import APPLICATION_ENDED, Gateway, cancel_until, translate, trial_tag

logger = logging.getLogger("sparktune")

#: Seconds that a trial that is stopped gets to end: Spark's word that a job is cancelled takes a moment to come back.
GRACE = 5.0


class DriverExecutor(ThreadsExecutor):
    """Runs each evaluation in a thread of the driver; what it starts on Spark can be told apart and cancelled.

    The Spark jobs of a trial are in a scheduler pool of their own, so that with ``spark.scheduler.mode`` FAIR all
    trials advance together, and under a job group, a description and a tag of their own. Nothing is pickled:
    objectives may use the session and DataFrames, as MLlib and TorchDistributor need it.

    Args:
        gateway: The way to Spark.
        domain: Objective and space.
        slots: Trials at a time.
        timeout: Seconds that a trial may run, counted from the call of the objective; None for no limit.

    Raises:
        SparkUnavailableError: If the Spark application has ended.
    """

    def __init__(self, gateway: Gateway, domain: Domain, slots: int, timeout: float | None = None) -> None:
        super().__init__(domain, slots, timeout=timeout, grace=GRACE)
        self._gateway = gateway
        self._run_id = uuid.uuid4().hex[:12]
        self._properties = gateway.properties()  # of the thread that calls fmin
        if slots > 1 and not _is_fair(gateway):
            logger.info(
                "the Spark jobs of the trials queue behind one another, as this application's spark.scheduler.mode is "
                "FIFO: set it to FAIR where the session is made (a running one cannot change it), and all advance"
            )

    def _tag(self, call: Call) -> str:
        return trial_tag(self._run_id, call.tid)

    def _run(self, call: Call, slot: int) -> Outcome:
        """Evaluate in this thread, with Spark set up for it.

        Raises:
            SparkUnavailableError: If the Spark application ended meanwhile, and the objective failed for it.
        """
        evaluate = functools.partial(super()._run, call, slot)
        pool = f"sparktune-{self._run_id}-{slot}"
        run = self._gateway.in_thread(evaluate, self._tag(call), f"sparktune trial {call.tid}", self._properties, pool)
        outcome = run()
        if outcome.failure is not None:
            self._raise_if_ended(outcome.failure)
        return replace(outcome, record={"executor": "driver"})

    def _raise_if_ended(self, failure: Failure) -> None:
        """Tell a trial that failed for want of Spark from one that failed."""
        if self._gateway.is_stopped:
            raise SparkUnavailableError(APPLICATION_ENDED) from failure.exception
        if failure.exception is not None:  # the server may be gone without a word
            error = translate(failure.exception, is_stopped=False)
            if str(error).startswith(APPLICATION_ENDED):
                raise error from failure.exception

    def _stop(self, evaluation: Evaluation) -> None:
        name = f"sparktune-cancel-jobs-{evaluation.call.tid}"
        what = (evaluation.has_ended.wait, self._gateway, self._tag(evaluation.call))
        threading.Thread(target=cancel_until, args=what, name=name, daemon=True).start()
        super()._stop(evaluation)


def _is_fair(gateway: Gateway) -> bool:
    """Whether Spark shares its slots between pools; on Connect, where pools are the server's affair, no matter."""
    if gateway.engine != "jobs":
        return True
    from pyspark import SparkContext

    context = SparkContext._active_spark_context  # a process has one only
    return context is None or str(context.getConf().get("spark.scheduler.mode", "FIFO")).upper() == "FAIR"
