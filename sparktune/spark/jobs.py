"""The engine *jobs*: one tagged Spark job of one task per trial, each from a driver thread of its own."""

from __future__ import annotations

import hashlib
import logging
import pickle
import sys
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from sparktune.exceptions import InvalidArgumentError, ObjectiveError, SerializationError
from sparktune.history import documents
from sparktune.history.trial import Call, Failure, Outcome
from sparktune.run.domain import Domain, failure_from
from sparktune.spark import gateway as spark_gateway
from sparktune.spark import task
from sparktune.spark.gateway import ClassicGateway, SparkJobError

logger = logging.getLogger("sparktune")


class JobsExecutor:
    """Runs each evaluation as one Spark job of one task, at most ``slots`` at a time.

    The objective, with whatever data it captures, is pickled and sent once; a trial then costs its parameters.

    Args:
        gateway: The way to Spark.
        domain: Objective and space; the space is evaluated here, so workers see plain parameters.
        slots: Trials at a time.

    Raises:
        SerializationError: If the objective cannot be pickled.
        InvalidArgumentError: If the objective wants ``expr``, ``memo`` and ``ctrl``, which cannot travel.
    """

    def __init__(self, gateway: ClassicGateway, domain: Domain, slots: int) -> None:
        if domain.pass_expr_memo_ctrl:
            raise InvalidArgumentError(
                "an objective with pass_expr_memo_ctrl runs in the driver, so SparkTrials cannot take it: use Trials() "
                "or write an objective that takes the value of the space"
            )
        self.slots = slots
        self._gateway = gateway
        self._domain = domain
        self._run_id = uuid.uuid4().hex[:12]
        self._properties = gateway.properties()  # of the thread that calls fmin
        pickled = _pickle_objective(domain.fn)
        self.n_bytes_shipped = len(pickled)
        self._shared = gateway.share(pickled)
        digest = hashlib.sha256(pickled).hexdigest()
        # On this machine the workers can import what the driver can: modules beside the user's script, for one.
        path = tuple(sys.path) if gateway.is_local else ()
        self._task = spark_gateway.bind(task.run_trial, self._shared, digest, path)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="sparktune")
        self._futures: dict[Any, Future[Outcome]] = {}
        self._cancelled: set[Any] = set()
        self._is_shut_down = False

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation."""
        try:
            request = _dumps(self._domain.arguments(call.raw))
        except Exception as error:  # the space itself failed at this point: the trial's failure, not the run's
            failed: Future[Outcome] = Future()
            failed.set_result(Outcome(failure=failure_from(error)))
            return failed
        future = self._threads.submit(self._evaluate, call.tid, request)
        self._futures[call.tid] = future
        future.add_done_callback(lambda _: self._futures.pop(call.tid, None))
        return future

    def _tag(self, tid: Any) -> str:
        return f"sparktune-{self._run_id}-{str(tid).replace(',', '_')}"

    def _evaluate(self, tid: Any, request: bytes) -> Outcome:
        if tid in self._cancelled:
            return Outcome()
        try:
            description = f"sparktune trial {tid}"
            reply = self._gateway.run(self._task, request, self._tag(tid), description, self._properties)
        except SparkJobError as error:
            if tid in self._cancelled:
                return Outcome()
            return Outcome(failure=Failure(str(type(error)), str(error)))
        return _outcome(pickle.loads(reply))

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation; Spark kills its Python worker."""
        self._cancelled.add(tid)
        future = self._futures.get(tid)
        if future is not None and not future.cancel():
            name = f"sparktune-cancel-{tid}"
            threading.Thread(target=self._cancel_job, args=(tid, future), name=name, daemon=True).start()

    def _cancel_job(self, tid: Any, future: Future[Outcome]) -> None:
        # Again until it ends: a job that its thread submits just now is not there yet to be cancelled.
        pause = 0.1
        while not future.done():
            self._gateway.cancel(self._tag(tid))
            wait([future], timeout=pause)
            pause = min(2.0, 2.0 * pause)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it, and free threads and the shared objective."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if cancel:
            for tid in list(self._futures):
                self.cancel(tid)
        self._threads.shutdown(wait=not cancel, cancel_futures=True)
        try:
            self._gateway.unshare(self._shared)
        except Exception as error:  # py4j, where the JVM goes away meanwhile: nothing is left to free then
            logger.debug("could not free the objective on the executors: %s", error)


def _outcome(reply: dict[str, Any]) -> Outcome:
    """The outcome that a worker's reply stands for.

    Raises:
        ObjectiveError: If the objective cannot be loaded on a worker, for then no trial can run.
    """
    record = reply["record"]
    match reply["kind"]:
        case "ok":
            try:
                result = documents.as_result(pickle.loads(reply["value"]))
                attachments = dict(result.pop("attachments", None) or {})
            except BaseException as error:  # not a result, or of a class that cannot be loaded here
                return Outcome(failure=failure_from(error), record=record)
            return Outcome(result, attachments=attachments, record=record)
        case "lost":
            message = (
                "the Python worker or the executor died during the evaluation (out of memory? preempted?); Spark's "
                f"second attempt on {record['host']} was refused, so that nothing is evaluated twice unasked"
            )
            return Outcome(failure=Failure(str(SparkJobError), message), record=record)
        case kind:
            name, message, text, pickled = reply["error"]
            if kind == "unloadable":
                raise ObjectiveError(
                    f"the objective cannot be loaded on the executor {record['host']}: {message}. A missing module "
                    "must be installed there, or sent along with spark-submit --py-files or SparkContext.addPyFile.\n"
                    + text
                )
            return Outcome(failure=Failure(name, message, text, _loads_exception(pickled)), record=record)


def _loads_exception(pickled: bytes | None) -> BaseException | None:
    try:
        error = pickle.loads(pickled) if pickled is not None else None
    except BaseException:  # odd constructors, which may even call sys.exit, classes unknown here: the text has to do
        return None
    return error if isinstance(error, BaseException) else None


def _dumps(value: Any) -> bytes:
    from pyspark import cloudpickle

    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def _pickle_objective(fn: Any) -> bytes:
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(task)
    try:
        return _dumps(fn)
    except Exception as error:  # pickling calls code of any class
        hint = (
            "it uses the Spark session, which exists on the driver only: evaluate it there, with Trials()"
            if "SparkContext" in str(error) or "_ONLY_VALID_ON_DRIVER" in str(error)
            else "open files, locks and connections inside the objective, not around it"
        )
        raise SerializationError(f"the objective cannot be pickled to be sent to Spark ({error}): {hint}") from error
