"""``SparkTrials``: trials that run on a Spark cluster, many at a time."""

from __future__ import annotations

import contextlib
import inspect
import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sparktune import rand
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.documents import Document, losses_of
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.run.arguments import as_memory, as_retries, as_seconds
from sparktune.run.callbacks import Callback
from sparktune.run.domain import Domain
from sparktune.run.executor import Executor
from sparktune.run.fminiter import FMinIter
from sparktune.run.stopping import validate_loss_threshold, validate_timeout
from sparktune.spark.automatic import AutomaticExecutor
from sparktune.spark.driver import DriverExecutor
from sparktune.spark.gateway import Gateway
from sparktune.spark.jobs import JobsExecutor, RemoteObjective
from sparktune.spark.objective import SharedValue
from sparktune.spark.parallelism import Parallelism, Slots, validate, warn_if_blind
from sparktune.spark.resources import build_profile
from sparktune.spark.session import connect_to, get_session
from sparktune.spark.workers import WorkersExecutor
from sparktune.trials import Trials
from sparktune.worker.evaluator import Limits

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

logger = logging.getLogger("sparktune")
#: Under this name, and in these words, programs written for hyperopt look for what becomes of trials.
hyperopt_logger = logging.getLogger("hyperopt-spark")

T = TypeVar("T")

#: By the kind of session, the engines that run on it, the default first.
ENGINES = {"jobs": ("automatic", "jobs", "workers", "driver"), "connect": ("connect", "driver")}


class SparkTrials(Trials):
    """Trials whose objective runs on Spark executors, up to ``parallelism`` at a time.

    Each result goes to the algorithm as soon as it is in. A trial whose objective raises is recorded as failed and the
    run goes on; one whose process or executor is lost is evaluated again, ``max_retries`` times at most. A timeout, a
    loss threshold, an early stop and Ctrl-C cancel the trials that run, and those jobs only; finished results are kept,
    and a second ``fmin`` goes on from them.

    Args:
        parallelism: Trials at a time; None (or 0): as many as the cluster has slots; ``"auto"``: as many as it has at
            any time, with enough waiting to make it grow under dynamic allocation.
        timeout: Seconds for a whole ``fmin``; used where ``fmin`` is given none.
        loss_threshold: Used where ``fmin`` is given none.
        spark_session: The session, classic or Connect; None: the active one, or a new one, see
            :func:`sparktune.spark.get_session`.
        resource_profile: Resources of each trial's task, for stage-level scheduling; not in local mode, and not with
            ``engine="driver"``.
        engine: Where and how trials run. ``"jobs"``: each as a Spark job of one task. ``"workers"``: in long-lived
            tasks that take one trial after another, for trials shorter than a second. ``"automatic"``, the default:
            jobs, and workers once trials have turned out to be that short. On Spark Connect there is ``"connect"``
            (the default there), the same as jobs. ``"driver"``, on both: in threads of the driver, for objectives that
            use Spark themselves (MLlib, DataFrames).
        max_retries: How often a trial is evaluated again whose worker or executor was lost; 0 for never.
        trial_timeout: Seconds that one trial may run before it is killed, with all processes it has started; counted
            from the call of the objective. With ``engine="driver"`` its Spark jobs are cancelled.
        trial_memory: Memory that the processes of one trial may hold together before they are killed: bytes, or a
            text such as ``"512m"`` or ``"2g"``. It includes some 50 MB of Python's own.
        cpus_per_trial: Cores that Spark reserves for each trial; not in local mode, and not with ``engine="driver"``.
            None: ``spark.task.cpus``. Thread pools (OpenMP, BLAS, joblib) are told to use that many.
        gpus_per_trial: GPUs that Spark reserves for each trial; not in local mode, and not with ``engine="driver"``.
        preflight: Whether one task, before the first trial, checks that the objective can be loaded on a worker and
            that versions are the driver's.
        storage: Where the study is kept while it runs, see :meth:`Trials.keep_in`.

    Raises:
        SparkUnavailableError: If pyspark is missing, or the session is stopped or does not fit.
        JavaNotFoundError: If a local session is needed and there is no Java.
        InvalidTypeError, InvalidArgumentError: If an argument is out of its rule.
    """

    asynchronous = True
    error_is_traceback = True  # as programs written for hyperopt's SparkTrials have it
    # They look at these as well; with hyperopt they hang on the version of Spark.
    _spark_supports_job_cancelling = True
    _spark_pinned_threads_enabled = True
    MAX_CONCURRENT_JOBS_ALLOWED = 128  # hyperopt's bound, which programs keep their parallelism to; here there is none
    max_retries = 1
    _saved_parallelism = 1
    engine: str
    resource_profile: ResourceProfile | None = None  # of one that was lost with its pickle, see _connect

    def __init__(
        self,
        parallelism: Parallelism = None,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        spark_session: SparkSession | None = None,
        resource_profile: ResourceProfile | None = None,
        *,
        engine: str | None = None,
        max_retries: int = 1,
        trial_timeout: float | None = None,
        trial_memory: int | str | None = None,
        cpus_per_trial: int | None = None,
        gpus_per_trial: float | None = None,
        preflight: bool = True,
        storage: Any = None,
    ) -> None:
        super().__init__(exp_key=None, refresh=False, storage=storage)
        validate(parallelism)
        validate_timeout(timeout)
        validate_loss_threshold(loss_threshold)
        self.max_retries = as_retries(max_retries)
        self.trial_timeout = as_seconds(trial_timeout, "trial_timeout")
        self.trial_memory = as_memory(trial_memory, "trial_memory")
        self.cpus_per_trial = cpus_per_trial
        self.gpus_per_trial = gpus_per_trial
        self.preflight = bool(preflight)
        self.resource_profile = resource_profile
        self._requested_engine = engine
        if spark_session is not None:
            self._spark = spark_session
        if engine == "driver":
            self._refuse_limits_of_workers()
        gateway = self._gateway  # which says what the engine is
        gateway.check_resources(wait=False)
        self.user_specified_parallelism = parallelism
        self._slots = Slots(gateway, parallelism, self.engine)
        self.timeout = timeout
        self.loss_threshold = loss_threshold
        self._fmin_cancelled = False
        self._fmin_cancelled_reason: str | None = None
        self.refresh()

    def _refuse_limits_of_workers(self) -> None:
        if self.trial_memory is not None:
            raise InvalidArgumentError(
                'trial_memory cannot be kept with engine="driver", where all trials share the memory of the driver: '
                "leave it out"
            )
        for name in ("cpus_per_trial", "gpus_per_trial", "resource_profile"):
            if (value := getattr(self, name)) is not None:
                raise InvalidArgumentError(
                    f'{name} cannot be kept with engine="driver", where Spark reserves nothing for a trial but for the '
                    f"tasks that it starts, got {value!r}: leave it out, and set spark.task.cpus or "
                    "spark.task.resource.gpu.amount for the application if those tasks need more"
                )

    # An unpickled object finds its session when it first needs one, so that reading saved results takes no Spark.

    @cached_property
    def _spark(self) -> SparkSession:
        return get_session()

    @cached_property
    def _gateway(self) -> Gateway:
        gateway = self._connect()
        self.engine = _resolve_engine(self._requested_engine, gateway.engine)
        return gateway

    @cached_property
    def _slots(self) -> Slots:
        return Slots(self._gateway, self.user_specified_parallelism, self.engine)

    def _connect(self) -> Gateway:
        if "resource_profile" not in self.__dict__:
            raise InvalidArgumentError(
                "the trials of this study ran with a resource_profile, which its pickle does not keep: load it, set "
                "trials.resource_profile to one made in this session, or to None to run without, and pass fmin trials="
            )
        profile = build_profile(self._spark, self.cpus_per_trial, self.gpus_per_trial, self.resource_profile)
        return connect_to(self._spark, profile)

    @property
    def parallelism(self) -> int:
        """Trials at a time, now; of an object that was pickled, what it was then, until it runs again."""
        slots = self.__dict__.get("_slots")
        return slots() if slots is not None else self._saved_parallelism

    @property
    def fmin_cancelled_reason(self) -> str | None:
        """Why the last ``fmin`` ended before its last trial; None if it did not."""
        return self._fmin_cancelled_reason

    @staticmethod
    def broadcast(value: T) -> SharedValue[T]:
        """A handle on a value that is sent to Spark once, however many objectives and ``fmin`` calls use it.

        Let the objective use the handle's ``value``. It is sent when the first such ``fmin`` starts, and stays on the
        executors until the session ends or :meth:`~sparktune.spark.objective.SharedValue.unpersist` is called.

        Args:
            value: Anything that pickles: arrays, pandas frames.
        """
        return SharedValue(value)

    def make_executor(self, domain: Domain) -> Executor:
        """What runs this study's evaluations: see ``engine``."""
        gateway = self._gateway  # first: an unpickled object learns here what session there is
        if self.engine == "driver":
            return DriverExecutor(gateway, domain, self._slots(), self.trial_timeout)
        gateway.check_resources(wait=True)
        objective = RemoteObjective(gateway, domain, self._limits(), preflight=self.preflight)
        if self.engine == "automatic":
            return AutomaticExecutor(objective, self._slots)
        if self.engine == "workers":
            return WorkersExecutor(objective, self._slots)
        return JobsExecutor(objective, self._slots)

    def _limits(self) -> Limits:
        cpus = None
        if self._gateway.is_local:  # Spark gives each task one core there, but we know how many there are in all
            n_tasks = self._gateway.n_slots() or 1
            cpus = max(1, n_tasks * self._gateway.cpus_per_task // min(n_tasks, self._slots()))
        return Limits(self.trial_timeout, self.trial_memory, cpus)

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
        callbacks = bound.get("callbacks", ())
        if isinstance(callbacks, Iterable | None):  # else Trials says what they must be
            bound["callbacks"] = [HyperoptLog(), *(() if callbacks is None else callbacks)]
        with _own_interrupt():
            return super().fmin(**bound)

    def _exhaust(self, iterator: FMinIter) -> None:
        self._fmin_cancelled, self._fmin_cancelled_reason = False, None
        # Random search learns nothing anyway, and a study that goes on knows its results.
        if iterator.algo is not rand.suggest and not self.count_successful_trials():
            warn_if_blind(self._slots(), iterator.max_evals, len(self.trials))
        try:
            with self._gateway.watching():
                iterator.exhaust()
        finally:
            self._fmin_cancelled = iterator.is_cancelled
            self._fmin_cancelled_reason = iterator.stop_reason
            hyperopt_logger.info(
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

    # -- pickling -------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["_saved_parallelism"] = self.parallelism
        state["_lacks_profile"] = "resource_profile" not in state or state["resource_profile"] is not None
        for key in ("_spark", "_gateway", "_slots", "resource_profile"):  # they live in this process
            state.pop(key, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self.__dict__.pop("_lacks_profile", False):
            self.resource_profile = None


class HyperoptLog(Callback):
    """Says what becomes of each trial where hyperopt's SparkTrials says it."""

    def on_trial_end(self, trials: Any, trial: Document) -> None:
        """Log a line for the trial."""
        tid = trial["tid"]
        if trial["state"] == JOB_STATE_DONE:
            hyperopt_logger.debug("trial %s task thread exits normally", tid)
            return
        if trial["state"] == JOB_STATE_CANCEL:
            hyperopt_logger.info("trial task %s cancelled", tid)
        hyperopt_logger.debug("trial %s task thread catches an exception: %s", tid, trial["misc"].get("error"))

    def on_run_end(self, trials: Any) -> None:
        """Log that, and why."""
        if trials._fmin_cancelled:
            hyperopt_logger.info("fmin cancelled because of %s", trials._fmin_cancelled_reason)
        hyperopt_logger.debug("fmin thread exits normally")


def _resolve_engine(engine: str | None, kind: str) -> str:
    """The engine to use on a kind of session ("jobs" for classic, "connect")."""
    if engine is None:
        return ENGINES[kind][0]
    if engine in ENGINES[kind]:
        return engine
    session = "a Spark Connect session" if kind == "connect" else "a classic Spark session"
    known = ", ".join(map(repr, ENGINES[kind]))
    raise InvalidArgumentError(f"engine on {session} is one of {known}, or None to have it chosen, got {engine!r}")


def _bind(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments by name, without ``self``."""
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
