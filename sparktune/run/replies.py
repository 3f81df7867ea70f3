"""What the process of an evaluation replied, as an outcome."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sparktune.exceptions import ObjectiveError, TrialMemoryError, TrialTimeoutError, WorkerLostError
from sparktune.history.trial import Failure, Outcome
from sparktune.run.domain import failure_from

#: The error that a trial has whose process was ended from outside, by the kind of the reply.
ERRORS = {"lost": WorkerLostError, "timeout": TrialTimeoutError, "memory": TrialMemoryError}


@dataclass(frozen=True)
class Reader:
    """Makes outcomes of replies.

    Attributes:
        read_result: Makes a result dictionary of what the objective returned.
        remedy: What to do if the objective cannot be loaded.
        advise: Says what to do about an error with this traceback; empty where it knows nothing.
    """

    read_result: Callable[[Any], dict[str, Any]]
    remedy: str
    advise: Callable[[str], str] = field(default=lambda _: "")

    def outcome(self, reply: Mapping[str, Any]) -> Outcome:
        """The outcome that a reply stands for.

        Args:
            reply: As :meth:`sparktune.worker.evaluator.Evaluator.evaluate` returns it.

        Raises:
            ObjectiveError: If the objective cannot be loaded where it should run, for then no trial can.
        """
        record = {key: value for key, value in reply["record"].items() if value is not None}
        kind = reply["kind"]
        if kind == "ok":
            try:
                return Outcome.of(self.read_result(pickle.loads(reply["value"])), record)
            except BaseException as error:  # not a result, or of a class that cannot be loaded here
                return Outcome(failure=failure_from(error), record=record)
        if kind == "cancelled":
            return Outcome(record=record)
        if kind in ERRORS:
            failure = Failure(str(ERRORS[kind]), reply["message"], is_lost=kind == "lost")
            return Outcome(failure=failure, record=record)
        name, message, text, pickled = reply["error"]
        advice = self.advise(text)
        if kind == "unloadable":
            raise ObjectiveError(
                f"the objective cannot be loaded on {record['host']}: {message}. {advice or self.remedy}\n{text}"
            )
        if advice:
            message, text = f"{message} ({advice})", f"{text}{advice}\n"
        return Outcome(failure=Failure(name, message, text, _loads_exception(pickled)), record=record)


def lost(message: str, **record: Any) -> Outcome:
    """The outcome of an evaluation that nothing came back from, with what is known of it all the same."""
    return Outcome(failure=Failure(str(WorkerLostError), message, is_lost=True), record=record)


def with_queue_time(outcome: Outcome, total: float) -> Outcome:
    """The outcome with the time it waited in its record: what is left of ``total`` seconds when it did not run."""
    record = outcome.record
    if "start" not in record or "end" not in record:
        return outcome
    # Differences of one clock each: those of two machines may disagree.
    return replace(outcome, record={**record, "queue_time": max(0.0, total - (record["end"] - record["start"]))})


def _loads_exception(pickled: bytes | None) -> BaseException | None:
    try:
        error = pickle.loads(pickled) if pickled is not None else None
    except BaseException:  # odd constructors, which may even call sys.exit, classes unknown here: the text has to do
        return None
    return error if isinstance(error, BaseException) else None
