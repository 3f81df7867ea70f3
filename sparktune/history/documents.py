"""hyperopt's trial documents: how they are made, checked, read and finished.

A document is a plain dictionary that users read, pickle, edit and insert; it stays the source of truth, and
:class:`~sparktune.history.columns.History` is an index over many of them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np

from sparktune.exceptions import InvalidTrial
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    JOB_STATES,
    STATUS_NEW,
    STATUS_OK,
    Outcome,
)
from sparktune.space.numbers import Integer, Real

Document: TypeAlias = dict[str, Any]

TRIAL_KEYS = ["tid", "spec", "result", "misc", "state", "owner", "book_time", "refresh_time", "exp_key"]
TRIAL_MISC_KEYS = ["tid", "cmd", "idxs", "vals"]
#: The ``cmd`` of trials evaluated by ``fmin``: where those who evaluate them find the domain, see ``FMinIter``.
FMIN_CMD = ("domain_attachment", "FMinIter_Domain")


class SeveralValuesError(InvalidTrial, NotImplementedError):
    """A label of a document has several values, which is a NotImplementedError in hyperopt."""


def utcnow() -> datetime.datetime:
    """Now in UTC, without time zone, to the millisecond, as hyperopt's documents have it."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


# -- making -----------------------------------------------------------------------------------------------------------


def new_result() -> dict[str, Any]:
    """The result of a trial that has not run."""
    return {"status": STATUS_NEW}


def new_misc(
    tid: Any, raw: Mapping[str, Any], labels: Iterable[str], cmd: Any = FMIN_CMD, workdir: Any = None
) -> Document:
    """The ``misc`` of a trial: ``vals[label]`` is ``[value]``, or ``[]`` where the label is inactive."""
    ordered = sorted(labels)
    return {
        "tid": tid,
        "cmd": cmd,
        "workdir": workdir,
        "idxs": {label: [tid] if label in raw else [] for label in ordered},
        "vals": {label: [raw[label]] if label in raw else [] for label in ordered},
    }


def new_document(tid: Any, spec: Any, result: Any, misc: Document, exp_key: Any) -> Document:
    """The document of a trial that has not run."""
    return {
        "state": JOB_STATE_NEW,
        "tid": tid,
        "spec": spec,
        "result": result,
        "misc": misc,
        "exp_key": exp_key,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }


def validate(document: Any) -> Document:
    """``document`` itself, if it has the shape of one.

    Raises:
        InvalidTrial: If it has not.
    """
    if not isinstance(document, dict):
        raise InvalidTrial(f"a trial document is a dict, got {type(document).__name__}: {document!r}", document)
    for key in TRIAL_KEYS:
        if key not in document:
            raise InvalidTrial(f"a trial document needs the keys {TRIAL_KEYS}, got one without {key!r}", document)
    for key in ("misc", "result"):
        if not isinstance(document[key], Mapping):
            raise InvalidTrial(f"a document's {key} is a dict, got {document[key]!r}", document)
    misc = document["misc"]
    for key in TRIAL_MISC_KEYS:
        if key not in misc:
            raise InvalidTrial(f"a document's misc needs the keys {TRIAL_MISC_KEYS}, got one without {key!r}", document)
    if document["tid"] != misc["tid"]:
        raise InvalidTrial(
            f"a document has its tid twice, and both must agree: got {document['tid']!r} and, in misc, {misc['tid']!r}",
            document,
        )
    if document["state"] not in JOB_STATES:
        raise InvalidTrial(f"a document's state is one of {JOB_STATES}, got {document['state']!r}", document)
    return document


# -- reading ----------------------------------------------------------------------------------------------------------


def raw_values(document: Document) -> dict[str, Any]:
    """The value of each active label; of several, where somebody has made such a document, the first."""
    return _first_values(document["misc"])


#: In which a result counts: programs tell one by writing it into a new trial, and never set its state.
TOLD_STATES = frozenset([JOB_STATE_NEW, JOB_STATE_DONE])


def loss_of(document: Document) -> float:
    """The scalar loss, if the trial has a result with status ok and a numeric one; NaN otherwise."""
    result = document["result"]
    if document["state"] not in TOLD_STATES or result.get("status") != STATUS_OK:
        return math.nan
    loss = result.get("loss")
    if loss is None:
        given = as_floats(result.get("losses"))
        return given[0] if given and len(given) == 1 else math.nan
    try:
        return float(loss)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def losses_of(document: Document) -> tuple[float, ...]:
    """What the trial minimises: its ``losses``, or its one loss; empty if there is none, or any is no number."""
    result = document["result"]
    loss = loss_of(document)
    if result.get("losses") is None:
        return () if math.isnan(loss) else (loss,)
    if document["state"] not in TOLD_STATES or result.get("status") != STATUS_OK:
        return ()
    losses = as_floats(result["losses"]) or ()
    if len(losses) == 1 and not math.isnan(loss):
        return (loss,)
    has_bad_loss = result.get("loss") is not None and math.isnan(loss)
    return () if has_bad_loss or any(map(math.isnan, losses)) else losses


def constraints_of(document: Document) -> tuple[float, ...]:
    """The constraints of a trial that has a result with status ok; empty if it gives none that can be read."""
    result = document["result"]
    if document["state"] not in TOLD_STATES or result.get("status") != STATUS_OK:
        return ()
    return as_floats(result.get("constraints")) or ()


def violation_of(document: Document, n_constraints: int) -> float:
    """The total violation of a finished trial's constraints, infinite if it does not give n of them as numbers."""
    if not n_constraints:
        return 0.0
    constraints = constraints_of(document)
    total = sum(max(0.0, constraint) if constraint == constraint else math.inf for constraint in constraints)
    return total if len(constraints) == n_constraints else math.inf


def mismatch(result: Mapping[str, Any], n_losses: int, n_constraints: int) -> str | None:
    """What is wrong with the number of losses or constraints in a result, in words; None if nothing is.

    Args:
        result: As :func:`sparktune.history.returned.as_result` returns it.
        n_losses, n_constraints: How many the other trials have.
    """
    if result["status"] != STATUS_OK:
        return None
    n_given = 1 if result.get("losses") is None else len(result["losses"])
    if n_given != n_losses:
        return f"all trials of a study have the same number of losses, here {n_losses}, got {n_given}"
    n_given = len(result.get("constraints") or ())
    if n_constraints and n_given not in (0, n_constraints):
        return f"all trials of a study have the same number of constraints, here {n_constraints}, got {n_given}"
    return None


def as_floats(values: Any) -> tuple[float, ...] | None:
    """A sequence or array of numbers as floats; None if it is not one."""
    if values is None or isinstance(values, (str, bytes, Mapping, Set)):
        return None
    try:
        # One NaN for all: tuples with the same NaN are equal, and a reader can tell that nothing has changed.
        return tuple(math.nan if number != number else number for number in map(float, values))
    except (TypeError, ValueError, OverflowError):  # the last of an int beyond the largest double
        return None


def failure_text(document: Document) -> str | None:
    """Why a trial gave no loss, in words; None if it gave one or has not ended."""
    error = document["misc"].get("error")
    params = raw_values(document)
    if document["state"] == JOB_STATE_ERROR and error:
        trace = document["misc"].get("traceback") or f"{error[0]}: {error[1]}"
        return f"trial {document['tid']} with {params} raised:\n{trace}"
    if document["state"] == JOB_STATE_DONE and not losses_of(document):
        return f"trial {document['tid']} with {params} returned {document['result']!r}"
    return None


STATE_NAMES = {
    JOB_STATE_NEW: "new",
    JOB_STATE_RUNNING: "running",
    JOB_STATE_DONE: "done",
    JOB_STATE_ERROR: "error",
    JOB_STATE_CANCEL: "cancelled",
}


def summary(document: Document) -> dict[str, Any]:
    """What is to say of a trial in a row of a table, in Python's own types; None where there is nothing.

    Returns:
        ``tid``; ``state``, a name; ``status`` and ``loss`` of the result; ``start`` and ``end`` in UTC; ``duration``
        in seconds, of the evaluation itself where it is known; ``error``. With several losses ``loss_0``, ``loss_1``.
    """
    run, result = document["misc"].get("run") or {}, document["result"]
    error = document["misc"].get("error")
    has_ended = document["state"] not in (JOB_STATE_NEW, JOB_STATE_RUNNING)
    times = document["book_time"], document["refresh_time"] if has_ended else None
    start, end = (time if isinstance(time, datetime.datetime) else None for time in times)  # users insert others
    losses = losses_of(document)
    row = {
        "tid": document["tid"],
        "state": STATE_NAMES[document["state"]],
        "status": result.get("status"),
        "loss": losses[0] if len(losses) == 1 else None,
        "start": _when(run["start"]) if "start" in run else start,
        "end": _when(run["end"]) if "end" in run else end,
        "duration": None,
        "error": f"{error[0]}: {error[1]}" if error else None,
    }
    if row["start"] is not None and row["end"] is not None:
        row["duration"] = (row["end"] - row["start"]).total_seconds()
    if len(losses) > 1:
        row.update({f"loss_{number}": loss for number, loss in enumerate(losses)})
    return row


def _when(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


# -- the course of a trial --------------------------------------------------------------------------------------------

#: From which states a trial may come into a state.
TRANSITIONS = {
    JOB_STATE_RUNNING: {JOB_STATE_NEW},
    JOB_STATE_DONE: {JOB_STATE_RUNNING},
    JOB_STATE_ERROR: {JOB_STATE_RUNNING},
    JOB_STATE_CANCEL: {JOB_STATE_NEW, JOB_STATE_RUNNING},
}


def _move(document: Document, state: int) -> None:
    if document["state"] not in TRANSITIONS[state]:
        raise InvalidTrial(f"trial {document['tid']} cannot go from state {document['state']} to {state}", document)
    document["state"] = state
    document["refresh_time"] = utcnow()


def start(document: Document, owner: Any = None) -> None:
    """Mark a new trial as running."""
    _move(document, JOB_STATE_RUNNING)
    document["book_time"] = document["refresh_time"]
    document["owner"] = owner


def note_attempt(document: Document, outcome: Outcome) -> None:
    """Write down one attempt at a trial; the last one is noted by :func:`finish`, which has its log in the run."""
    attempt = dict(outcome.record)
    if outcome.failure is not None:
        attempt["error"] = f"{outcome.failure.type}: {outcome.failure.message}"
    document["misc"].setdefault("run", {}).setdefault("attempts", []).append(attempt)


def n_attempts(document: Document) -> int:
    """How many attempts at a trial have been noted."""
    return len((document["misc"].get("run") or {}).get("attempts", ()))


def log_text(document: Document) -> str:
    """What the objective printed and logged, its end if it was long, and the traceback if it raised.

    If attempts were lost, what each of them printed comes first, below a line that says so.
    """
    run = document["misc"].get("run") or {}
    lost = [
        f"attempt {number}, lost: {attempt.get('error', '').partition(': ')[2]}\n{attempt['log']}"
        for number, attempt in enumerate(run.get("attempts", ()), 1)
        if attempt.get("log")
    ]
    last = [text for text in (run.get("log", ""), document["misc"].get("traceback", "")) if text]
    texts = [*lost, *(["last attempt:"] if lost and last else []), *last]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in texts[:-1]) + "".join(texts[-1:])


def finish(document: Document, outcome: Outcome, *, error_is_traceback: bool = False) -> None:
    """Write down what became of a trial. The result goes in before the state, so that no reader sees half of it.

    Args:
        document: Of the trial.
        outcome: What became of it.
        error_is_traceback: Whether ``misc["error"]`` has the traceback beside the type, and not the message.
    """
    is_lost = outcome.failure is not None and outcome.failure.is_lost
    if outcome.record or is_lost or n_attempts(document):
        if outcome.state != JOB_STATE_CANCEL:  # an attempt that was cancelled has not ended
            note_attempt(document, outcome)
            document["misc"]["run"]["attempts"][-1].pop("log", None)  # the run has it
        document["misc"].setdefault("run", {}).update(outcome.record)
    if outcome.result is not None:
        document["result"] = outcome.result
    if outcome.failure is not None:
        text = (error_is_traceback and outcome.failure.traceback) or outcome.failure.message
        document["misc"]["error"] = (outcome.failure.type, text)
        if outcome.failure.traceback:
            document["misc"]["traceback"] = outcome.failure.traceback
    _move(document, outcome.state)


# -- many documents at once -------------------------------------------------------------------------------------------


def miscs_to_idxs_vals(
    miscs: Sequence[Document], keys: Iterable[str] | None = None
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Trial ids and values by label, over many miscs."""
    if keys is None:
        if not miscs:
            raise ValueError("cannot tell the labels from no trials: pass keys=[...]")
        keys = miscs[0]["idxs"].keys()
    idxs: dict[str, list[Any]] = {key: [] for key in keys}
    vals: dict[str, list[Any]] = {key: [] for key in idxs}
    for misc in miscs:
        for key in idxs:
            idxs[key].extend(misc["idxs"].get(key, []))
            vals[key].extend(misc["vals"].get(key, []))
    return idxs, vals


def miscs_update_idxs_vals(
    miscs: Sequence[Document],
    idxs: Mapping[str, Sequence[Any]],
    vals: Mapping[str, Sequence[Any]],
    assert_all_vals_used: bool = True,
    idxs_map: Mapping[Any, Any] | None = None,
) -> Sequence[Document]:
    """Put ids and values by label back into the miscs they belong to; returns ``miscs``."""
    rename: Callable[[Any], Any] = (lambda tid: tid) if idxs_map is None else (lambda tid: idxs_map.get(tid, tid))
    by_tid = {misc["tid"]: misc for misc in miscs}
    for misc in miscs:
        misc["idxs"] = {key: [] for key in idxs}
        misc["vals"] = {key: [] for key in idxs}
    for key in idxs:
        for tid, value in zip(idxs[key], vals[key], strict=True):
            owner = by_tid.get(rename(tid))
            if owner is not None:
                owner["idxs"][key] = [owner["tid"]]
                owner["vals"][key] = [_of_document(value)]
            elif assert_all_vals_used:
                raise InvalidTrial(f"{key!r} has a value for trial {rename(tid)!r}, which is not among the miscs")
    return miscs


def _of_document(value: Any) -> Any:
    """A value as documents have it: numpy's numbers, from arrays of values, are Python's with ``item()``."""
    if isinstance(value, np.integer):
        return Integer(value)
    return Real(value) if isinstance(value, np.floating) else value


def spec_from_misc(misc: Document) -> dict[str, Any]:
    """The value of each active label of a misc.

    Raises:
        InvalidTrial: If a label has something else than a list.
        SeveralValuesError: If a label has several values.
    """
    spec = _first_values(misc)
    for label, values in misc["vals"].items():
        if len(values) > 1:
            raise SeveralValuesError(
                f"a label of a document has one value, [value], got {label!r}: {values!r} in trial "
                f"{misc.get('tid')!r}: make a document of each value",
                misc,
            )
    return spec


def _first_values(misc: Document) -> dict[str, Any]:
    try:
        return {label: values[0] for label, values in misc["vals"].items() if len(values)}
    except TypeError as error:
        raise InvalidTrial(
            f"a document's vals are lists, [value] or, where a label is inactive, [], got {misc['vals']!r} in trial "
            f"{misc.get('tid')!r}",
            misc,
        ) from error
