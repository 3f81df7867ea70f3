"""The records of one evaluation: what is asked of an executor, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JOB_STATE_NEW = 0
JOB_STATE_RUNNING = 1
JOB_STATE_DONE = 2
JOB_STATE_ERROR = 3
JOB_STATE_CANCEL = 4
JOB_STATES = [JOB_STATE_NEW, JOB_STATE_RUNNING, JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_CANCEL]
#: States of the trials that ``Trials.trials`` lists.
JOB_VALID_STATES = {JOB_STATE_NEW, JOB_STATE_RUNNING, JOB_STATE_DONE}

STATUS_NEW = "new"
STATUS_RUNNING = "running"
STATUS_SUSPENDED = "suspended"
STATUS_OK = "ok"
STATUS_FAIL = "fail"
STATUS_STRINGS = (STATUS_NEW, STATUS_RUNNING, STATUS_SUSPENDED, STATUS_OK, STATUS_FAIL)


@dataclass(frozen=True, slots=True)
class Call:
    """One evaluation to make.

    Attributes:
        tid: The trial's id.
        raw: Value by label, inactive labels left out.
        ctrl: The handle the objective may have asked for; None where it cannot travel.
    """

    tid: Any
    raw: dict[str, Any]
    ctrl: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an evaluation gave no result.

    Attributes:
        type: The exception's class, as ``str(type(error))`` gives it.
        message: ``str(error)``.
        traceback: Text of the traceback where it was raised.
        exception: The exception itself, where it could be brought here.
        is_lost: Whether it says nothing about the objective: its process or machine went away, and another try may do.
    """

    type: str
    message: str
    traceback: str = ""
    exception: BaseException | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one evaluation: a ``result``, a ``failure``, or neither if it was cancelled.

    Attributes:
        result: The objective's result as a dictionary with ``status``.
        failure: Why there is none.
        attachments: Large objects the objective attached to its result.
        record: What the executor knows of the run, of these what applies: ``host``, ``pid``, ``start`` and ``end``
            (seconds since 1970), ``queue_time`` (seconds from submission to start), ``log`` (the end of what was
            printed and logged).
    """

    result: dict[str, Any] | None = None
    failure: Failure | None = None
    attachments: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, result: dict[str, Any], record: dict[str, Any] | None = None) -> Outcome:
        """The outcome of a result, out of which the attachments are taken."""
        attachments = dict(result.pop("attachments", None) or {})
        return cls(result, attachments=attachments, record=record or {})

    @property
    def state(self) -> int:
        """The job state the trial ends in."""
        if self.result is not None:
            return JOB_STATE_DONE
        return JOB_STATE_ERROR if self.failure is not None else JOB_STATE_CANCEL
