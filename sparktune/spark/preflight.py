"""The check before the first trial: one task that loads the objective and compares Pythons and packages."""

from __future__ import annotations

import logging
import pickle
import platform
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sparktune.exceptions import ObjectiveError, SparkUnavailableError
from sparktune.spark.gateway import SparkJobError
from sparktune.spark.objective import PickledObjective, advice_on
from sparktune.worker.child import version_of

logger = logging.getLogger("sparktune")

PYTHON = "Python"

#: A worker may be lost during the check as well as during a trial; a third time it is no accident.
N_ATTEMPTS = 3


class VersionMismatchError(SparkUnavailableError):
    """The workers have another Python, or a package of the objective's in another major version, than the driver."""


class Preflight:
    """One task that does not evaluate anything, run before the first trial.

    Args:
        run: Sends a request to a worker and returns its reply, both pickled.
        objective: What will run.
        remedy: How a missing module is sent along.
    """

    def __init__(self, run: Callable[[bytes], bytes], objective: PickledObjective, remedy: str) -> None:
        self._run = run
        self._objective = objective
        self._remedy = remedy
        self._future: Future[None] = Future()
        self._start = threading.Lock()
        self._is_started = False

    def wait(self) -> None:
        """Return when a worker has passed; the first call starts the task, and runs it in its own thread.

        Raises:
            ObjectiveError: If the objective cannot be loaded on the worker.
            VersionMismatchError: If versions differ too much.
            SparkUnavailableError: If the task failed.
        """
        with self._start:
            is_first, self._is_started = not self._is_started, True
        if is_first:
            try:
                self._check()
                self._future.set_result(None)
            except BaseException as error:
                self._future.set_exception(error)
        failure = self._future.exception()
        if failure is not None:  # the same one for all who wait: each would add its own lines to the traceback
            raise failure.with_traceback(None)

    def _check(self) -> None:
        packages = sorted({name.partition(".")[0] for name in self._objective.modules | self._objective.imports})
        reply = pickle.loads(self._ask(pickle.dumps(("check", packages))))
        host = reply["record"]["host"]
        if reply["kind"] not in ("ok", "unloadable"):
            raise SparkUnavailableError(
                f"the check before the first trial failed on the executor {host} while the objective was loaded: "
                f"{reply.get('message')}"
            )
        problems = differences(reply, {name: version_of(name) for name in packages})
        if reply["kind"] == "unloadable":
            _, message, text, _ = reply["error"]
            raise ObjectiveError(
                f"the objective cannot be loaded on the executor {host}: {message}. "
                + (f"Versions differ there: {'; '.join(map(str, problems))}. " if problems else "")
                + f"{advice_on(text) or self._remedy}\n{text}"
            )
        fatal = [str(problem) for problem in problems if problem.is_fatal]
        if fatal:
            raise VersionMismatchError(
                f"the executor {host} has other versions than this driver: {'; '.join(fatal)}. Results would not be "
                "what they are here, or fail to load: install the same versions, or pass SparkTrials(preflight=False) "
                "to go on all the same"
            )
        if problems:
            logger.warning(
                "the executor %s has other versions than this driver: %s", host, "; ".join(map(str, problems))
            )
        missing = sorted(name for name in self._objective.imports if reply["packages"].get(name) is None)
        if missing:
            logger.warning(
                "the objective imports %s, which the executor %s does not have. %s",
                ", ".join(missing),
                host,
                self._remedy,
            )

    def _ask(self, request: bytes) -> bytes:
        for _ in range(N_ATTEMPTS - 1):
            try:
                return self._run(request)
            except SparkJobError as error:
                if not error.is_lost:
                    raise
        return self._run(request)


@dataclass(frozen=True, slots=True)
class Difference:
    """A version that is not the same on a worker and on the driver."""

    name: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.name} {self.there} (here {self.here})"

    @property
    def is_fatal(self) -> bool:
        """Whether Python differs in its second number, or a package in its first."""
        n = 2 if self.name == PYTHON else 1
        return self.there.split(".")[:n] != self.here.split(".")[:n]


def differences(reply: Mapping[str, Any], here: Mapping[str, str | None]) -> list[Difference]:
    """What differs between a worker and the driver; packages that either does not have are left out.

    Args:
        reply: The worker's, with ``python`` and ``packages``.
        here: The driver's version by package, as :func:`sparktune.worker.child.version_of` gives it.
    """
    pairs = {PYTHON: (".".join(map(str, reply["python"])), platform.python_version())}
    pairs.update({name: (reply["packages"].get(name) or "", version or "") for name, version in here.items()})
    return [Difference(name, *pair) for name, pair in pairs.items() if all(pair) and pair[0] != pair[1]]
