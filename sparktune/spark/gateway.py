"""The one place that talks to Spark and translates its errors; here, classic Spark through py4j."""

from __future__ import annotations

import functools
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sparktune.exceptions import InvalidArgumentError, SparkUnavailableError

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

#: Properties of the caller's thread that our threads take over, so that the jobs stay in the caller's group and pool.
INHERITED_PROPERTIES = ("spark.jobGroup.id", "spark.job.interruptOnCancel", "spark.scheduler.pool")

STOPPED = (
    "the Spark session is stopped: make a new one and new SparkTrials on it (pickled and unpickled trials find the new "
    "session, and go on)"
)


class SparkJobError(SparkUnavailableError):
    """A Spark job failed for a reason other than the objective: a worker died, an executor was lost."""


class PrePickled:
    """A function that pickles as bytes made once; it arrives as the function itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from pyspark import cloudpickle

        self._pickle: bytes = cloudpickle.dumps(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickle,)

    def __call__(self, *args: Any) -> Any:
        """Refuse: only there to make the object one that ``functools.partial`` takes."""
        raise TypeError("a pre-pickled function is called where it arrives")


class ClassicGateway:
    """One-task Spark jobs on a classic session, each under a tag of its own.

    Args:
        session: A session with a ``sparkContext``.
        resource_profile: Resources of each task, for stage-level scheduling.

    Raises:
        SparkUnavailableError: If the session is a Spark Connect one, or stopped.
        InvalidArgumentError: If resources are asked for in local mode, where Spark has none to schedule.
    """

    def __init__(self, session: SparkSession, resource_profile: ResourceProfile | None = None) -> None:
        self._context = _context_of(session)
        if resource_profile is not None and self.is_local:
            raise InvalidArgumentError(
                f"resource_profile needs a cluster, and this session runs on {self._context.master}: leave it out"
            )
        conf = self._context.getConf()
        if conf.get("spark.speculation") == "true" and conf.get("spark.speculation.task.duration.threshold"):
            # A copy of a slow trial cannot be told from a second attempt at a lost one, which is refused; see ADR 4.
            raise SparkUnavailableError(
                "this Spark application starts copies of slow tasks (spark.speculation is true and "
                "spark.speculation.task.duration.threshold is set), which would end trials that run well: set "
                "spark.speculation to false"
            )
        self._profile = resource_profile
        self._ready = threading.local()

    @property
    def is_local(self) -> bool:
        """Whether the workers run on this machine, under this user; a ``local-cluster`` is a cluster in all else."""
        return str(self._context.master).split("[")[0] == "local"

    @property
    def n_slots(self) -> int:
        """How many one-task jobs can run at once, by the session's own count of cores."""
        cpus_per_task = int(self._context.getConf().get("spark.task.cpus", "1") or 1)
        return max(1, self._context.defaultParallelism // cpus_per_task)

    def properties(self) -> dict[str, str]:
        """Those properties of the calling thread that its jobs in other threads should have too.

        Raises:
            SparkUnavailableError: If the Spark application has ended.
        """
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        values = {key: self._context.getLocalProperty(key) for key in INHERITED_PROPERTIES}
        return {key: value for key, value in values.items() if value is not None}

    def share(self, data: bytes) -> Any:
        """Send bytes to the executors once; tasks read them from the variable's ``value``."""
        return self._context.broadcast(data)

    def unshare(self, shared: Any) -> None:
        """Free what :meth:`share` made, on the driver and on the executors."""
        if not self.is_stopped:
            shared.destroy()

    def run(
        self,
        function: Callable[..., Any],
        request: bytes,
        tag: str,
        description: str,
        properties: Mapping[str, str],
    ) -> bytes:
        """Run ``function(rows)`` as a job of one task over the one row ``request``; its one row of output.

        Args:
            function: Must pickle.
            request: The row.
            tag: Cancels the job, see :meth:`cancel`.
            description: Shown in Spark's UI.
            properties: Job group and pool, see :meth:`properties`; the same in all calls from one thread.

        Raises:
            SparkJobError: If the job failed or was cancelled.
            SparkUnavailableError: If the Spark application has ended.
        """
        context = self._context
        try:
            if not hasattr(self._ready, "is_set"):  # once per thread: properties live in its twin in the JVM
                for key, value in properties.items():
                    context.setLocalProperty(key, value)
                self._ready.is_set = True
            context.setLocalProperty("spark.job.description", description)
            context.addJobTag(tag)
            try:
                rows = context.parallelize([request], 1)
                if self._profile is not None:
                    rows = rows.withResources(self._profile)
                [reply] = rows.mapPartitions(function).collect()
            finally:
                context.removeJobTag(tag)
        except Exception as error:
            if self.is_stopped:
                raise SparkUnavailableError(
                    "the Spark application ended while trials were running; finished trials are kept in the trials "
                    f"object ({_first_line(error)})"
                ) from error
            raise SparkJobError(_explain(error)) from error
        return reply  # type: ignore[no-any-return]

    def cancel(self, tag: str) -> None:
        """Cancel the jobs under a tag; other jobs of the application are not touched."""
        if not self.is_stopped:
            self._context.cancelJobsWithTag(tag)

    @property
    def is_stopped(self) -> bool:
        """Whether the Spark application has ended."""
        return _is_stopped(self._context)


def bind(function: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """``function`` with its first arguments bound, made to be pickled many times at the cost of once."""
    return functools.partial(PrePickled(function), *args)


def _context_of(session: SparkSession) -> SparkContext:
    try:
        context = session.sparkContext
    except Exception as error:  # PySparkAttributeError and its kin differ between versions
        raise SparkUnavailableError(
            "SparkTrials needs a classic Spark session with a sparkContext, and this one "
            f"({type(session).__module__}) has none: Spark Connect is not supported yet. Use a cluster in classic mode "
            "(on Databricks, access mode 'dedicated')"
        ) from error
    if _is_stopped(context):
        raise SparkUnavailableError(STOPPED)
    return context


def _is_stopped(context: SparkContext) -> bool:
    try:
        return context._jsc is None or bool(context._jsc.sc().isStopped())
    except Exception:  # py4j's errors: there is no JVM to ask
        return True


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _explain(error: BaseException) -> str:
    """What went wrong in a Spark job, in the words of its innermost cause."""
    text = str(error)
    if "Python worker exited unexpectedly" in text or "Python worker failed to connect back" in text:
        return (
            "the Python worker died during the evaluation: killed (out of memory?), crashed, or ended by os._exit. "
            "Its last words, if any, are in the executor's stderr"
        )
    if "ExecutorLostFailure" in text:
        return "the executor was lost during the evaluation: killed, out of memory, or its machine went away"
    java = getattr(error, "java_exception", None)
    message = str(java.getMessage()) if java is not None else text
    return "the Spark job failed: " + "\n".join(message.strip().splitlines()[:12])
