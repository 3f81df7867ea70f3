"""The engines *jobs* and *connect*: one tagged Spark job of one task per trial, from a driver thread of its own."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.history.trial import Call, Failure, Outcome
from sparktune.run.domain import Domain, failure_from
from sparktune.run.executor import done
from sparktune.run.replies import Reader, lost, with_queue_time
from sparktune.space.graph import dfs
from sparktune.space.nodes import Literal
from sparktune.spark.gateway import Gateway, SparkJobError, cancel_until, trial_tag
from sparktune.spark.objective import advice_on, pickle_argument, pickle_objective
from sparktune.spark.preflight import Preflight
from sparktune.spark.shipping import ship
from sparktune.worker import alias
from sparktune.worker.evaluator import Limits

logger = logging.getLogger("sparktune")


class RemoteObjective:
    """An objective that Spark's workers can evaluate, with all that its trials have in common.

    The objective, with whatever data it captures, is pickled and sent once; a trial then costs its parameters.

    Args:
        gateway: The way to Spark.
        domain: Objective and space; the space is evaluated here, so workers see plain parameters.
        limits: Of each trial; ``cpus`` None stands for those of the Spark task.
        preflight: Whether a worker must load the objective, and have the driver's versions, before the first trial.

    Attributes:
        reader: Makes outcomes of replies.
        run_id: In the tags of all Spark jobs of this run.
        options: What a task needs to know, see :func:`sparktune.worker.task.run_trial`.

    Raises:
        SerializationError: If the objective cannot be pickled.
        InvalidArgumentError: If the objective wants ``expr``, ``memo`` and ``ctrl``, which cannot travel.
    """

    def __init__(self, gateway: Gateway, domain: Domain, limits: Limits, preflight: bool = True) -> None:
        if domain.pass_expr_memo_ctrl:
            raise InvalidArgumentError(
                "an objective with pass_expr_memo_ctrl runs in the driver, so this engine cannot take it: use "
                'SparkTrials(engine="driver") or Trials(), or write an objective that takes the value of the space'
            )
        self.gateway = gateway
        self.domain = domain
        self.reader = Reader(domain.result_of, gateway.remedy, advice_on)
        self.run_id = uuid.uuid4().hex[:12]
        self.properties = gateway.properties()  # of the thread that calls fmin
        pickled = pickle_objective(domain.fn, (n.obj for n in dfs(domain.expr) if isinstance(n, Literal)))
        self._blob = gateway.share(pickled.data)
        self.options: dict[str, Any] = {
            "digest": pickled.digest,
            "objective": self._blob,
            "values": {digest: value.blob(gateway) for digest, value in pickled.shared.items()},
            "broadcasts": pickled.broadcasts,  # those it may be called with as well, and so in the values
            # On this machine the workers can import what the driver can: modules beside the user's script, for one.
            "path": tuple(sys.path) if gateway.is_local else (),
            "alias": alias.is_installed(),  # whether ``import hyperopt`` means sparktune, see sparktune.compat
            "timeout": limits.timeout,
            "memory": limits.memory,
            "cpus": limits.cpus,
        }
        self._task = ship("task", "run_trial", self.options)
        self._preflight = Preflight(self._check, pickled, gateway.remedy) if preflight else None

    def request(self, call: Call) -> bytes:
        """What the objective is called with, pickled.

        Raises:
            Exception: If the space cannot be evaluated at this point, or its value not be pickled.
        """
        return pickle_argument(self.domain.arguments(call.raw), self.options["values"], self.options["broadcasts"])

    def wait_until_checked(self) -> None:
        """Return when a worker has passed the preflight, if there is one; raises as :meth:`Preflight.wait`."""
        if self._preflight is not None:
            self._preflight.wait()

    def _check(self, request: bytes) -> bytes:
        return self.gateway.run(self._task, request, self.check_tag, "sparktune preflight", self.properties)

    @property
    def check_tag(self) -> str:
        """The tag of the preflight's Spark job."""
        return f"sparktune-{self.run_id}-preflight"

    def evaluate(self, tid: Any, argument: bytes) -> dict[str, Any]:
        """The reply of a Spark job that makes one evaluation; raises as :meth:`Gateway.run`."""
        reply = self.gateway.run(
            self._task, pickle.dumps(("evaluate", argument)), self.tag(tid), f"sparktune trial {tid}", self.properties
        )
        return pickle.loads(reply)  # type: ignore[no-any-return]

    def tag(self, tid: Any) -> str:
        """The tag of a trial's Spark job."""
        return trial_tag(self.run_id, tid)

    def close(self) -> None:
        """Free the objective on the executors; shared values stay, for the next run."""
        try:
            self.gateway.unshare(self._blob)
        except Exception as error:  # py4j, where the JVM goes away meanwhile: nothing is left to free then
            logger.debug("could not free the objective on the executors: %s", error)


class JobsExecutor:
    """Runs each evaluation as one Spark job of one task, at most ``slots`` at a time.

    Args:
        objective: What to run.
        slots: Says how many trials may run at a time, each time it is asked.
    """

    def __init__(self, objective: RemoteObjective, slots: Callable[[], int]) -> None:
        self._objective = objective
        self._slots = slots
        self.slots_interval = getattr(slots, "interval", None)
        # As many threads as there are trials to wait for: it starts them as they are needed.
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="sparktune")
        self._futures: dict[Any, Future[Outcome]] = {}
        self._cancelled: set[Any] = set()
        self._is_shut_down = False

    @property
    def slots(self) -> int:
        """Trials at a time."""
        return self._slots()

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation."""
        try:
            argument = self._objective.request(call)
        except Exception as error:  # the space itself failed at this point: the trial's failure, not the run's
            return done(Outcome(failure=failure_from(error)))
        future = self._threads.submit(self._evaluate, call.tid, argument)
        self._futures[call.tid] = future
        future.add_done_callback(lambda ended: self._forget(call.tid, ended))
        return future

    def _forget(self, tid: Any, future: Future[Outcome]) -> None:
        if self._futures.get(tid) is future:  # not that of a second attempt
            del self._futures[tid]

    def _evaluate(self, tid: Any, argument: bytes) -> Outcome:
        if tid in self._cancelled:
            return Outcome()
        start = time.monotonic()
        try:
            self._objective.wait_until_checked()
        except SparkJobError:
            if tid in self._cancelled:
                return Outcome()
            raise
        try:
            reply = self._objective.evaluate(tid, argument)
        except SparkJobError as error:
            if tid in self._cancelled:
                return Outcome()
            if error.is_lost:
                return lost(str(error), end=time.time())
            return Outcome(failure=Failure(str(type(error)), str(error)))
        return with_queue_time(self._objective.reader.outcome(reply), time.monotonic() - start)

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation; Spark kills its Python worker, and that the trial's processes."""
        self._cancelled.add(tid)
        future = self._futures.get(tid)
        if future is not None and not future.cancel():

            def has_ended(seconds: float) -> bool:
                return bool(wait([future], seconds).done)

            what = (has_ended, self._objective.gateway, self._objective.check_tag, self._objective.tag(tid))
            name = f"sparktune-cancel-{tid}"
            threading.Thread(target=cancel_until, args=what, name=name, daemon=True).start()

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it, and free threads and the shared objective."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if cancel:
            for tid in list(self._futures):
                self.cancel(tid)
        self._threads.shutdown(wait=not cancel, cancel_futures=True)
        self._objective.close()


#: Far above any number of trials at a time that one driver can feed.
MAX_THREADS = 4096
