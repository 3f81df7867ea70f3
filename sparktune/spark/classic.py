"""The gateway to a classic session: jobs of one task on its ``SparkContext``, each under a tag of its own."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.gateway import (
    APPLICATION_ENDED,
    STOPPED,
    refuse_copies,
    registering,
    translated,
    unless_stopped,
    warn_of_idle_timeout,
)
from sparktune.spark.resources import described, is_local_master
from sparktune.worker.task import Blob, Task

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

T = TypeVar("T")

_GROUP = "spark.jobGroup.id"
_DESCRIPTION = "spark.job.description"
_INTERRUPT = "spark.job.interruptOnCancel"
_POOL = "spark.scheduler.pool"
_TAGS = "spark.job.tags"

#: Properties of the caller's thread that our threads take over, so that the jobs stay in the caller's group and pool.
INHERITED_PROPERTIES = (_GROUP, _INTERRUPT, _POOL, _TAGS)

_YOUNG = 60.0  # seconds that an application may still be getting its first executors, one by one
_SETTLED = 2.0  # seconds without a new executor after which no more are expected, where their number is not known
_PATIENCE = 30.0  # seconds to wait for executors; Spark's own, see spark.scheduler.maxRegisteredResourcesWaitingTime


class ClassicGateway:
    """One-task Spark jobs on a classic session; see :class:`sparktune.spark.gateway.Gateway`.

    Jobs are cancelled by their tags, never by their group, which may hold the caller's own.

    Args:
        session: A session with a ``sparkContext``.
        resource_profile: Resources of each task, from :func:`sparktune.spark.resources.build_profile`.

    Raises:
        SparkUnavailableError: If the session is stopped, or set up in a way that would end or mix up trials, or if
            Spark knows that it can never have such resources.
    """

    engine = "jobs"
    remedy = (
        "A missing module must be installed on the executors, or sent along with spark-submit --py-files or "
        "SparkContext.addPyFile."
    )

    def __init__(self, session: SparkSession, resource_profile: ResourceProfile | None = None) -> None:
        self._session: Any = session
        self._context: Any = session.sparkContext  # whose annotations know less than it takes
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        _refuse_unfit_settings(self._context)
        self._profile = resource_profile
        self._thread = threading.local()
        self._is_settled = False
        if resource_profile is not None:
            with registering(self, resource_profile):
                self._java_profile()

    @property
    def session_id(self) -> str:
        """The application's id."""
        return str(self._context.applicationId)

    @property
    def is_local(self) -> bool:
        """Whether the workers run on this machine, under this user; a ``local-cluster`` is a cluster in all else."""
        return is_local_master(str(self._context.master))

    @property
    def is_stopped(self) -> bool:
        """Whether the Spark application has ended."""
        try:
            return self._context._jsc is None or bool(self._context._jsc.sc().isStopped())
        except Exception:  # py4j's errors: there is no JVM to ask
            return True

    def driver_addresses(self) -> tuple[str, str]:
        """The driver's address as it knows it itself, to listen at, and as executors know it."""
        conf = self._context.getConf()
        host = str(conf.get("spark.driver.host"))
        return str(conf.get("spark.driver.bindAddress") or host), host

    # -- slots ------------------------------------------------------------------------------------------------------

    @property
    def cpus_per_task(self) -> int:
        """Cores that Spark reserves for each task."""
        requests = self._profile.taskResources if self._profile is not None else {}
        if "cpus" in requests:
            return int(requests["cpus"].amount)
        return int(self._context.getConf().get("spark.task.cpus", "1") or 1)

    def n_slots(self) -> int:
        """Tasks with this gateway's resources that the executors there now can run at once, at least 1.

        The first call waits, some seconds at most, for the executors of an application that has just started.

        Raises:
            SparkUnavailableError: If the Spark application has ended, or no executor can hold such a task.
        """
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        with translated(self):
            profile = self._java_profile()
            if not self._is_settled:
                self._wait_for_executors()
                self._is_settled = True
            n_tasks = self._count(profile)
            if n_tasks > 0:
                return n_tasks
            self._refuse_unfit_profile()
            # No executor yet: Spark's own guess, which is right as soon as there are some.
            return max(1, int(self._context.defaultParallelism) // self.cpus_per_task)

    def check_resources(self, *, wait: bool) -> None:
        """Refuse resources that no executor can hold, as :meth:`n_slots` does; nothing if none are asked for.

        Where dynamic allocation starts executors of the right kind later, those that are there say nothing.

        Args:
            wait: Whether to wait, some seconds at most, for the executors of an application that has just started;
                if not, nothing is refused before they are there.

        Raises:
            SparkUnavailableError: If the Spark application has ended, or no executor can hold such a task.
        """
        if self._profile is None:
            return
        with translated(self):
            if _is_dynamic(self._context):
                return
            is_known = wait or self._is_settled or self._wait_for_executors(0.0)
        if is_known:
            self.n_slots()

    def max_slots(self) -> int | None:
        """The most tasks that executors can ever run at once, where Spark starts them as they are needed.

        Returns:
            Without dynamic allocation the slots there are now; with it, the executors it may start times the tasks
            of each; None if it has no bound, or the cores of an executor are not set.

        Raises:
            SparkUnavailableError: As :meth:`n_slots`.
        """
        with translated(self):
            if not _is_dynamic(self._context):
                return self.n_slots()
            conf = self._context.getConf()
            n_executors, cores = conf.get("spark.dynamicAllocation.maxExecutors"), conf.get("spark.executor.cores")
            if self._profile is not None and "cores" in self._profile.executorResources:
                cores = self._profile.executorResources["cores"].amount
            if n_executors is None or cores is None:
                return None
            return int(n_executors) * max(1, int(cores) // self.cpus_per_task)

    def _count(self, profile: Any) -> int:
        return int(self._context._jsc.sc().maxNumConcurrentTasks(profile))

    def _wait_for_executors(self, patience: float = _PATIENCE) -> bool:
        """Whether, after so many seconds at most, those are there that are expected."""
        context = self._context
        if self.is_local or _starts_without_executors(context):
            return True
        n_expected, n_seen = _n_expected(context), 0
        is_young = time.time() - float(context.startTime) / 1000 < _YOUNG
        start = changed = now = time.monotonic()
        pause = threading.Event()
        while True:
            n_executors = len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1  # the driver is one of them
            if n_executors > n_seen:
                n_seen, changed = n_executors, now
            is_complete = n_seen >= n_expected if n_expected else now - changed > _SETTLED
            if n_seen > 0 and (is_complete or not is_young):
                return True
            if now - start >= patience:
                return False
            pause.wait(0.1)
            now = time.monotonic()

    def _refuse_unfit_profile(self) -> None:
        """A task that fits no executor would wait for ever; dynamic allocation may yet start one that it fits."""
        n_default = self._count(self._default_profile())
        if self._profile is not None and n_default > 0 and not _is_dynamic(self._context):
            raise SparkUnavailableError(
                f"no executor of this application can hold a trial with these resources ({described(self._profile)}), "
                f"while {n_default} tasks with the default ones can run: ask for less per trial (cpus_per_trial, "
                "gpus_per_trial or resource_profile), or start the application with larger executors "
                "(spark.executor.cores, spark.executor.resource.gpu.amount)"
            )

    def _default_profile(self) -> Any:
        return self._context._jsc.sc().resourceProfileManager().defaultResourceProfile()

    def _java_profile(self) -> Any:
        if self._profile is None:
            return self._default_profile()
        # Makes the profile known to Spark, which can say nothing about one it has never seen.
        return self._context.emptyRDD().withResources(self._profile)._jrdd.rdd().getResourceProfile()

    # -- jobs -------------------------------------------------------------------------------------------------------

    def n_active_jobs(self) -> int:
        """The jobs of the application that run or wait, ours among them.

        Raises:
            SparkUnavailableError: If the Spark application has ended.
        """
        with translated(self):
            return len(self._context._jsc.sc().statusTracker().getActiveJobIds())

    def properties(self) -> dict[str, str]:
        """Those properties of the calling thread that its jobs in other threads should have too.

        Raises:
            SparkUnavailableError: If the Spark application has ended.
        """
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        values = {key: self._context.getLocalProperty(key) for key in INHERITED_PROPERTIES}
        return {key: value for key, value in values.items() if value}

    def share(self, data: bytes) -> Blob:
        """Send bytes to the executors once, as a broadcast variable.

        Raises:
            SparkUnavailableError: If the Spark application has ended.
        """
        with translated(self):
            return "broadcast", self._context.broadcast(data)

    def unshare(self, blob: Blob) -> None:
        """Free what :meth:`share` made, on the driver and on the executors; without effect where Spark has ended."""
        unless_stopped(self, lambda: blob[1].destroy())

    def run(self, task: Task, request: bytes, tag: str, description: str, properties: Mapping[str, str]) -> bytes:
        """Run ``task`` as a job of one task over the one row ``request``; its one row of output.

        Raises:
            SparkJobError: If the job failed or was cancelled.
            SparkUnavailableError: If the Spark application has ended, or cannot run any Python task.
        """
        context = self._context
        with translated(self):
            self._take_over(properties)
            context.setLocalProperty(_DESCRIPTION, description)
            context.addJobTag(tag)
            try:
                rows = context.parallelize([request], 1)
                if self._profile is not None:
                    rows = rows.withResources(self._profile)
                [reply] = rows.mapPartitions(task).collect()
            finally:
                context.removeJobTag(tag)
        return bytes(reply)

    def _take_over(self, properties: Mapping[str, str]) -> None:
        # Properties live in the thread's twin in the JVM: set once, unless they are others than last time.
        if getattr(self._thread, "properties", None) != properties:
            for key in INHERITED_PROPERTIES:
                self._context.setLocalProperty(key, properties.get(key))  # None takes the property away
            self._thread.properties = dict(properties)

    def cancel(self, tag: str) -> None:
        """Cancel the jobs under a tag; other jobs of the application are not touched."""
        unless_stopped(self, lambda: self._context.cancelJobsWithTag(tag))

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: the JVM is a child of this process, and its end shows at once."""
        return contextlib.nullcontext()

    def in_thread(
        self, function: Callable[[], T], tag: str, description: str, properties: Mapping[str, str], pool: str
    ) -> Callable[[], T]:
        """``function``, for which the session is the active one of its thread, and whose Spark jobs run under a pool,
        a group, a description and a tag of their own.

        The thread that calls it has its own session and properties back afterwards. Threads that ``function`` starts
        with pyspark's ``inheritable_thread_target``, as MLlib does, are under the same tag.
        """
        own = {_GROUP: tag, _INTERRUPT: "false", _POOL: pool, _DESCRIPTION: description}

        def run() -> T:
            if self.is_stopped:
                raise SparkUnavailableError(APPLICATION_ENDED)
            context = self._context
            scala_context = context._jsc.sc()
            before = scala_context.getLocalProperties().clone()  # all: the objective may set others
            for key, value in {_TAGS: None, **properties, **own}.items():
                context.setLocalProperty(key, value)
            context.addJobTag(tag)
            try:
                return self._in_session(function)
            finally:
                if not self.is_stopped:
                    scala_context.setLocalProperties(before)

        return run

    def _in_session(self, function: Callable[[], T]) -> T:
        """Call ``function`` with the session as the active one of its thread, where a new thread has none."""
        session = self._session
        find = getattr(session, "_get_j_spark_session_class", None)  # since 4.0
        java_class = session._jvm.SparkSession if find is None else find(session._jvm)
        active = java_class.getActiveSession()
        before = active.get() if active.isDefined() else None
        java_class.setActiveSession(session._jsparkSession)
        try:
            with _active_session.named(session):
                return function()
        finally:
            if not self.is_stopped:
                if before is None:
                    java_class.clearActiveSession()
                else:
                    java_class.setActiveSession(before)


class _ActiveSession:
    """What ``SparkSession.getActiveSession()`` gives while functions of ours run, whatever gateway they are of.

    The JVM knows which session a thread has, but pyspark then gives one that all threads have in common: that of the
    function that began last. It is put back when the last of them has ended, unless somebody else has changed it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[Any] = []
        self._before: Any = None

    @contextlib.contextmanager
    def named(self, session: Any) -> Iterator[None]:
        """Within it, this session is named, or that of a function that has begun since."""
        from pyspark.sql import SparkSession

        owner: Any = SparkSession
        with self._lock:
            if not self._inside:
                self._before = owner._activeSession
            self._inside.append(session)
            owner._activeSession = session
        try:
            yield
        finally:
            with self._lock:
                is_ours = any(owner._activeSession is known for known in self._inside)
                self._inside.remove(session)
                if is_ours:
                    owner._activeSession = self._inside[-1] if self._inside else self._before
                if not self._inside:
                    self._before = None


_active_session = _ActiveSession()


def _starts_without_executors(context: SparkContext) -> bool:
    """Whether dynamic allocation starts the first executor for the first job, so that waiting for one is idle."""
    conf = context.getConf()
    keys = ("spark.dynamicAllocation.minExecutors", "spark.dynamicAllocation.initialExecutors")
    n_initial = max(int(conf.get(key, "0") or 0) for key in (*keys, "spark.executor.instances"))
    return _is_dynamic(context) and n_initial == 0


def _n_expected(context: SparkContext) -> int | None:
    """How many executors the application starts with, where that is written somewhere."""
    in_master = re.match(r"local-cluster\[\s*(\d+)", str(context.master))
    written = in_master[1] if in_master else context.getConf().get("spark.executor.instances")
    return int(written) if written else None


def _is_dynamic(context: SparkContext) -> bool:
    """Whether Spark starts and ends executors by itself; in local mode the setting has no effect."""
    is_enabled = context.getConf().get("spark.dynamicAllocation.enabled") == "true"
    return is_enabled and not is_local_master(str(context.master))


def _refuse_unfit_settings(context: SparkContext) -> None:
    conf = context.getConf()
    refuse_copies(conf.get)
    if os.environ.get("PYSPARK_PIN_THREAD", "true").lower() != "true":
        raise SparkUnavailableError(
            "with PYSPARK_PIN_THREAD=false the threads of a program share Spark's job tags and groups, so that "
            "cancelling one trial would cancel others: remove it from the environment"
        )
    warn_of_idle_timeout(conf.get, "spark.python.worker")
