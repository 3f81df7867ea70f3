"""The engine *workers*: long-lived Spark tasks that evaluate one trial after another, over connections to the driver.

A Spark job costs 30 to 100 ms, a message to a worker a tenth of a millisecond. In return workers hold their slots, so
they are given back when they have nothing to do, and the executors must be able to reach the driver, so there is
:mod:`sparktune.spark.jobs` to fall back on.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sparktune.exceptions import InvalidArgumentError, SparkUnavailableError
from sparktune.history.trial import Call, Outcome
from sparktune.run.domain import failure_from
from sparktune.run.executor import Executor, done
from sparktune.run.pilots import Patience, PilotPool
from sparktune.spark.classic import ClassicGateway
from sparktune.spark.gateway import SparkJobError, cancel_until
from sparktune.spark.jobs import JobsExecutor, RemoteObjective
from sparktune.spark.shipping import ship

logger = logging.getLogger("sparktune")

#: Seconds that a worker keeps its slot while other jobs of the application are there, which may be waiting for one.
TURN = 10.0

#: Seconds to wait for the preflight's Spark job to end once it was cancelled.
PREFLIGHT_DEADLINE = 15.0


class WorkersExecutor:
    """Runs evaluations in Spark jobs of one long-lived task each, at most ``slots`` of them.

    If no worker can connect to the driver, a warning says why, and each evaluation becomes a Spark job of its own.

    Args:
        objective: What to run.
        slots: Says how many trials may run at a time, each time it is asked.
        jobs: Evaluates where no worker can connect; whoever gives it shuts it down. None: one is made if needed.
        patience: How long to wait for what; None: what is usual.

    Raises:
        InvalidArgumentError: On Spark Connect, where the driver cannot be reached.
    """

    def __init__(
        self,
        objective: RemoteObjective,
        slots: Callable[[], int],
        *,
        jobs: JobsExecutor | None = None,
        patience: Patience | None = None,
    ) -> None:
        if not isinstance(objective.gateway, ClassicGateway):
            raise InvalidArgumentError(
                'engine="workers" needs a classic Spark session: on Spark Connect the executors cannot reach this '
                'program. Leave engine out, or use engine="connect"'
            )
        self._objective = objective
        self._gateway = objective.gateway
        self._slots = slots
        self.slots_interval = getattr(slots, "interval", None)
        self._given_jobs, self._jobs = jobs, jobs
        self._bind_host, self._host = objective.gateway.driver_addresses()
        self._address = (self._host, 0)
        self._secret = secrets.token_bytes(32)
        self._pool = PilotPool(self, self._secret, objective.reader, patience or Patience(turn=TURN))
        self._preparation: threading.Thread | None = None
        self._is_shut_down = False

    @property
    def slots(self) -> int:
        """Trials at a time."""
        self._pool.limit = n_slots = self._slots()
        return n_slots

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation, or queue it."""
        try:
            argument = self._objective.request(call)
        except Exception as error:  # the space itself failed at this point: the trial's failure, not the run's
            return done(Outcome(failure=failure_from(error)))
        if self._preparation is None:
            self._pool.limit = self._slots()
            self._preparation = threading.Thread(target=self._prepare, name="sparktune-preflight", daemon=True)
            self._preparation.start()
        return self._pool.submit(call, argument)

    def _prepare(self) -> None:
        try:
            self._objective.wait_until_checked()
            self._open()
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the pool has ended: a shutdown was interrupted
                self._pool.fail(error)

    def _open(self) -> None:
        try:
            self._address = (self._host, self._pool.listen(self._bind_host))
        except OSError as error:
            self._pool.give_up(f"no port could be opened at {self._bind_host}: {error}")
        else:
            self._pool.open()

    def cancel(self, tid: Any) -> None:
        """Stop one evaluation and kill its processes; the worker goes on."""
        self._pool.cancel(tid)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` stop it; end the workers, and free the shared objective."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        with contextlib.ExitStack() as stack:  # an interrupt ends a step, and leaves out none
            stack.callback(self._free, cancel)
            stack.callback(self._pool.shutdown, cancel=cancel)
            if cancel:
                tag = self._objective.check_tag
                cancel_until(self._has_prepared, self._gateway, tag, deadline=PREFLIGHT_DEADLINE)

    def _free(self, cancel: bool) -> None:
        if self._jobs is None:
            self._objective.close()
        elif self._given_jobs is None:
            self._jobs.shutdown(cancel=cancel)

    def _has_prepared(self, seconds: float) -> bool:
        if self._preparation is None:
            return True
        self._preparation.join(seconds)
        return not self._preparation.is_alive()

    # -- for the pool -------------------------------------------------------------------------------------------------

    def run(self, number: int) -> str:
        """Have a worker run as a Spark job, until it ends."""
        options = {**self._objective.options, "address": self._address, "secret": self._secret, "number": number}
        task = ship("pilot", "run_pilot", options)
        try:
            reply = self._objective.gateway.run(
                task, b"", self._tag(number), f"sparktune worker {number}", self._objective.properties
            )
        except SparkJobError as error:  # cancelled, or its executor was lost: the next may do better
            return str(error)
        return reply.decode()

    def stop(self, number: int) -> None:
        """Cancel a worker's Spark job."""
        try:
            self._objective.gateway.cancel(self._tag(number))
        except SparkUnavailableError as error:
            logger.debug("could not cancel the job of worker %d: %s", number, error)

    def is_needed_elsewhere(self, n_pilots: int) -> bool:
        """Whether the application has other jobs."""
        try:
            return self._gateway.n_active_jobs() > n_pilots
        except SparkUnavailableError as error:
            logger.debug("could not count the jobs of the application: %s", error)
            return False

    def replace(self, reason: str) -> Executor:
        """Spark jobs evaluate instead."""
        logger.warning(
            "no long-lived worker could connect to the driver at %s:%d (%s), so each trial is a Spark job of its own "
            "from here on, which costs 30 to 100 ms. Either other jobs of the application hold all slots, or executors "
            "cannot reach the driver: see spark.driver.host and spark.driver.bindAddress",
            *self._address,
            reason,
        )
        if self._jobs is None:
            self._jobs = JobsExecutor(self._objective, self._slots)
        return self._jobs

    def _tag(self, number: int) -> str:
        return f"sparktune-{self._objective.run_id}-pilot-{number}"
