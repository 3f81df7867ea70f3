"""How engines talk to Spark: one protocol for classic sessions and Connect, and one place that translates errors."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.resources import described
from sparktune.worker.task import Blob, Task

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile

logger = logging.getLogger("sparktune")

T = TypeVar("T")

STOPPED = (
    "the Spark session is stopped: make a new one and new SparkTrials on it (pickled and unpickled trials find the new "
    "session, and go on)"
)
APPLICATION_ENDED = (
    "the Spark application ended while trials were running; finished trials are kept in the trials object"
)


class SparkJobError(SparkUnavailableError):
    """A Spark job failed for a reason other than the objective.

    Attributes:
        is_lost: Whether its worker or executor died, so that another try may do.
    """

    def __init__(self, message: str, *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class Gateway(Protocol):
    """One-task Spark jobs, from bytes to bytes, on one session. All methods may be called from any thread.

    Only :class:`SparkJobError` and its base :class:`SparkUnavailableError` leave it, never py4j's or gRPC's errors.
    """

    @property
    def engine(self) -> str:
        """``"jobs"`` on a classic session, ``"connect"`` on Spark Connect."""
        ...

    @property
    def session_id(self) -> str:
        """Identifies the application or the Connect session: what is shared belongs to it."""
        ...

    @property
    def remedy(self) -> str:
        """How a module that workers lack is sent to them, in a sentence."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether the workers run on this machine, under this user, and can import what the driver can."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether the application or the session has ended."""
        ...

    @property
    def cpus_per_task(self) -> int:
        """Cores that Spark reserves for each task that :meth:`n_slots` counts."""
        ...

    def n_slots(self) -> int | None:
        """Tasks with this gateway's resources that can run at once now; None if Spark does not say (Connect)."""
        ...

    def max_slots(self) -> int | None:
        """The most there can be under dynamic allocation; None if unbounded or unknown."""
        ...

    def check_resources(self, *, wait: bool) -> None:
        """Refuse resources that no executor can hold, as far as Spark says: such trials would wait for ever.

        Args:
            wait: Whether to wait, some seconds at most, for the executors of an application that has just started.

        Raises:
            SparkUnavailableError: If no executor can hold a trial, or Spark has ended.
        """
        ...

    def properties(self) -> dict[str, str]:
        """What the jobs of other threads take over from the calling one: job group, pool, tags."""
        ...

    def share(self, data: bytes) -> Blob:
        """Send bytes to the workers once."""
        ...

    def unshare(self, blob: Blob) -> None:
        """Free what :meth:`share` made, where that is possible and nobody else uses it."""
        ...

    def run(self, task: Task, request: bytes, tag: str, description: str, properties: Mapping[str, str]) -> bytes:
        """Run a task over one request, in the calling thread, and return its reply.

        Args:
            task: Must pickle, see :func:`sparktune.spark.shipping.ship`.
            request: Its one row.
            tag: Names the job for :meth:`cancel`; without commas.
            description: For Spark's UI.
            properties: What :meth:`properties` said.

        Raises:
            SparkJobError: If the job failed or was cancelled.
            SparkUnavailableError: If Spark has ended, or can run no task at all.
        """
        ...

    def cancel(self, tag: str) -> None:
        """Cancel the jobs under a tag that are there now, and no others."""
        ...

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Within it a warning says when Spark is away, if nothing else does."""
        ...

    def in_thread(
        self, function: Callable[[], T], tag: str, description: str, properties: Mapping[str, str], pool: str
    ) -> Callable[[], T]:
        """``function`` for a thread of the driver: Spark jobs that it starts run under the tag, and in the pool."""
        ...


def trial_tag(run_id: str, tid: Any) -> str:
    """The tag of a trial's Spark jobs, in which there may be no comma.

    Args:
        run_id: Of the run that the trial belongs to.
        tid: The trial's id.
    """
    return f"sparktune-{run_id}-{str(tid).replace(',', '_')}"


#: Seconds between two looks whether there is a job to cancel: the first, and the longest.
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0


def cancel_until(has_ended: Callable[[float], bool], gateway: Gateway, *tags: str, deadline: float = math.inf) -> None:
    """Cancel the jobs under some tags until whoever starts them has ended.

    Once is not enough: a job that is being submitted is not there yet to be cancelled, and an objective may start more.

    Args:
        has_ended: Waits for so many seconds at most; says whether no more jobs come.
        gateway: The way to Spark.
        *tags: Of the jobs.
        deadline: Seconds after which to leave it.
    """
    end = time.monotonic() + deadline
    pause = FIRST_PAUSE
    while not has_ended(0.0) and not gateway.is_stopped and time.monotonic() < end:
        for tag in tags:
            try:
                gateway.cancel(tag)
            except SparkUnavailableError as error:
                logger.debug("could not cancel the Spark jobs under the tag %s: %s", tag, error)
        has_ended(pause)
        pause = min(LAST_PAUSE, 2.0 * pause)


# -- errors -----------------------------------------------------------------------------------------------------------

#: By what stands in an error's text: why no Python task can run, and what to do about it. Such an error ends the run.
_UNFIT = {
    "PYTHON_VERSION_MISMATCH": (
        "the workers run another version of Python than this program: set PYSPARK_PYTHON, or spark.pyspark.python, to "
        "a Python of the same minor version on the executors"
    ),
    "Cannot run program": (
        "the workers' Python cannot be started: set PYSPARK_PYTHON, or spark.pyspark.python, to a Python that exists "
        "on the executors"
    ),
    "No module named 'pyarrow'": "Spark Connect needs pyarrow on the workers: install it there",
    "PyArrow >=": "Spark Connect needs a newer pyarrow on the workers: install it there",
    "No module named 'pandas'": "Spark Connect needs pandas on the workers: install it there",
}

#: By what stands in an error's text: why one job failed.
_JOB_FAILURES = {
    "Python worker exited unexpectedly": (
        "the Python worker died during the evaluation: killed (out of memory?), crashed, or ended by os._exit. "
        "Its last words, if any, are in the executor's stderr"
    ),
    "ExecutorLostFailure": (
        "the executor was lost during the evaluation: killed, out of memory, or its machine went away"
    ),
    "terminated due to idle timeout": (
        "Spark killed the Python worker because it had sent nothing for the idle timeout of the configuration, and a "
        "trial sends nothing before it ends: set spark.python.worker.killOnIdleTimeout (on Spark Connect "
        "spark.sql.execution.pyspark.udf.killOnIdleTimeout) to false, or trial_timeout to less"
    ),
    "SPARK_JOB_CANCELLED": "the Spark job was cancelled",
    "OPERATION_CANCELED": "the Spark job was cancelled",
    "cancelled part of cancelled job": "the Spark job was cancelled",  # before 4.0
    "spark.driver.maxResultSize": (
        "the result is larger than spark.driver.maxResultSize: write models and predictions to storage and return "
        "their path"
    ),
    "message larger than max": (
        "the parameters or the result are larger than a message of Spark Connect may be (128 MiB): write what is large "
        "to storage and pass its path"
    ),
}
_JOB_FAILURES["Python worker failed to connect back"] = _JOB_FAILURES["Python worker exited unexpectedly"]
_JOB_FAILURES["cancelled because killed via the Web UI"] = _JOB_FAILURES["SPARK_JOB_CANCELLED"]
_LOST = ("Python worker exited unexpectedly", "Python worker failed to connect back", "ExecutorLostFailure")

#: In the text of errors that say that the application or the session is no more.
_GONE = (
    "SESSION_CLOSED",
    "SESSION_CHANGED",
    "SESSION_NOT_FOUND",
    "server side session identifier",
    "stopped SparkContext",
    "SparkContext was shut down",
    "closed channel",
    "Channel closed",
    "StatusCode.UNAVAILABLE",  # before 4.0, whose errors have the code as well
)


def translate(error: BaseException, *, is_stopped: bool) -> SparkUnavailableError:
    """The error to raise for one of py4j, gRPC or pyspark.

    Args:
        error: What a call of Spark raised.
        is_stopped: Whether the application or the session has ended.
    """
    if isinstance(error, SparkUnavailableError):
        return error
    text = _text(error)
    if is_stopped or _is_unavailable(error) or any(sign in text for sign in _GONE):
        return SparkUnavailableError(f"{APPLICATION_ENDED} ({_first_line(text) or type(error).__name__})")
    for sign, sentence in _UNFIT.items():
        if sign in text:
            return SparkUnavailableError(f"{sentence} ({_line_with(sign, text)})")
    for sign, sentence in _JOB_FAILURES.items():
        if sign in text:
            return SparkJobError(sentence, is_lost=sign in _LOST)
    return SparkJobError("the Spark job failed: " + "\n".join(text.splitlines()[:12]))


@contextlib.contextmanager
def translated(gateway: Gateway) -> Iterator[None]:
    """Within it, errors of py4j, gRPC and pyspark are raised as ours."""
    try:
        yield
    except SparkUnavailableError:
        raise
    except Exception as error:
        raise translate(error, is_stopped=gateway.is_stopped) from error


#: By what stands in an error's text: the rule that the resources of a trial break, and what to do.
_UNFIT_RESOURCES = {
    "No executor resource configs were specified": (
        "gpus_per_trial, or what else a resource_profile asks for, must be something that the executors have",
        "leave it out, or start the application with it: spark.executor.resource.gpu.amount and "
        "spark.executor.resource.gpu.discoveryScript, and the same of spark.worker on a standalone cluster",
    ),
    "needs to be >= the task resource request": (
        "gpus_per_trial, or what else a resource_profile asks for, must be no more than one executor has",
        "ask for less per trial, or start the application with more (spark.executor.resource.gpu.amount)",
    ),
    "has to be >= the number of cpus per task": (
        "cpus_per_trial, or the CPUs of a resource_profile, must be no more than one executor has",
        "ask for less per trial, or start the application with more (spark.executor.cores)",
    ),
    # Of ResourceProfiles as of TaskResourceProfiles, and the places differ from version to version.
    "ResourceProfiles are only supported": (
        "a resource_profile that asks for executors needs dynamic allocation, which starts them",
        "set spark.dynamicAllocation.enabled to true where the application is started, or make the profile of "
        "TaskResourceRequests alone, as cpus_per_trial and gpus_per_trial do",
    ),
}


@contextlib.contextmanager
def registering(gateway: Gateway, profile: ResourceProfile) -> Iterator[None]:
    """As :func:`translated`, where Spark sees the resources of a trial first and refuses those that can never be."""
    try:
        yield
    except Exception as error:
        text = _text(error)
        for sign, (rule, fix) in _UNFIT_RESOURCES.items():
            if sign in text:
                asked = f"{rule}, got {described(profile)}: {fix}"
                raise SparkUnavailableError(f"{asked} ({_line_with(sign, text)})") from error
        raise translate(error, is_stopped=gateway.is_stopped) from error


def refuse_copies(setting: Callable[[str], str | None]) -> None:
    """Refuse an application that starts copies of slow tasks.

    Args:
        setting: Says what the application has for a setting; None or empty if it has none, or does not say.

    Raises:
        SparkUnavailableError: If it does so even for jobs of one task.
    """
    if setting("spark.speculation") == "true" and setting("spark.speculation.task.duration.threshold"):
        # A copy of a slow trial cannot be told from a second attempt at a lost one, which is refused; see ADR 4.
        raise SparkUnavailableError(
            "this Spark application starts copies of slow tasks (spark.speculation is true and "
            "spark.speculation.task.duration.threshold is set), which would end trials that run well: set "
            "spark.speculation to false"
        )


def warn_of_idle_timeout(setting: Callable[[str], str | None], prefix: str) -> None:
    """Say so if the application kills Python workers that are silent, as they are while a trial runs.

    Args:
        setting: As for :func:`refuse_copies`.
        prefix: Of the two settings, which classic sessions and Connect have under names of their own.
    """
    if setting(f"{prefix}.killOnIdleTimeout") == "true":
        timeout = setting(f"{prefix}.idleTimeoutSeconds") or "0"  # "30", but "30s" and "1min" are as good
        if not re.fullmatch("0+[a-z]*", timeout):
            logger.warning(
                "this Spark application kills Python workers that send nothing for %s, as a trial does until it "
                "ends: longer trials will fail, unless %s.killOnIdleTimeout is set to false",
                f"{timeout} s" if timeout.isdigit() else timeout,
                prefix,
            )


def unless_stopped(gateway: Gateway, action: Callable[[], object]) -> None:
    """Do what is of no use once Spark has ended; an error of it is raised as ours, unless Spark ends meanwhile."""
    if gateway.is_stopped:
        return
    try:
        action()
    except Exception as error:
        if not gateway.is_stopped:
            raise translate(error, is_stopped=False) from error


def _text(error: BaseException) -> str:
    java = getattr(error, "java_exception", None)
    try:
        return str(java.getMessage() if java is not None else error).strip()
    except Exception:  # the JVM it would ask is gone
        return type(error).__name__


def _is_unavailable(error: BaseException) -> bool:
    """Whether it is gRPC's word for a server that cannot be reached, after the client has tried for long."""
    for source in ("getGrpcStatusCode", "code"):
        status = getattr(error, source, None)
        if callable(status) and getattr(status(), "name", None) == "UNAVAILABLE":
            return True
    return False


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _line_with(sign: str, text: str) -> str:
    return next(line.strip() for line in text.splitlines() if sign in line)
