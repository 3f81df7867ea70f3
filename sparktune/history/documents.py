"""hyperopt's trial documents: the one place that knows their keys.

A document is a plain dictionary that users read, pickle, edit and insert; it stays the source of truth, and
:class:`~sparktune.history.columns.History` is an index over many of them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sparktune.exceptions import InvalidLoss, InvalidResultStatus, InvalidTrial
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    JOB_STATES,
    STATUS_NEW,
    STATUS_OK,
    STATUS_STRINGS,
    Outcome,
)
from sparktune.space.nodes import is_number

Document: TypeAlias = dict[str, Any]

TRIAL_KEYS = ["tid", "spec", "result", "misc", "state", "owner", "book_time", "refresh_time", "exp_key"]
TRIAL_MISC_KEYS = ["tid", "cmd", "idxs", "vals"]
#: The ``cmd`` of trials evaluated by ``fmin``.
FMIN_CMD = ("domain_attachment", "FMinIter_Domain")


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
    """The value of each active label."""
    return {label: values[0] for label, values in document["misc"]["vals"].items() if len(values)}


def loss_of(document: Document) -> float:
    """The loss, if the trial is done with status ok and a numeric loss; NaN otherwise."""
    result = document["result"]
    if document["state"] != JOB_STATE_DONE or result.get("status") != STATUS_OK:
        return math.nan
    try:
        return float(result["loss"])
    except (KeyError, TypeError, ValueError):
        return math.nan


def failure_text(document: Document) -> str | None:
    """Why a trial gave no loss, in words; None if it gave one or has not ended."""
    error = document["misc"].get("error")
    params = raw_values(document)
    if document["state"] == JOB_STATE_ERROR and error:
        trace = document["misc"].get("traceback") or f"{error[0]}: {error[1]}"
        return f"trial {document['tid']} with {params} raised:\n{trace}"
    if document["state"] == JOB_STATE_DONE and math.isnan(loss_of(document)):
        return f"trial {document['tid']} with {params} returned {document['result']!r}"
    return None


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


def finish(document: Document, outcome: Outcome) -> None:
    """Write down what became of a trial. The result goes in before the state, so that no reader sees half of it."""
    if outcome.record:
        document["misc"]["run"] = dict(outcome.record)
    if outcome.result is not None:
        document["result"] = outcome.result
    if outcome.failure is not None:
        document["misc"]["error"] = (outcome.failure.type, outcome.failure.message)
        if outcome.failure.traceback:
            document["misc"]["traceback"] = outcome.failure.traceback
    _move(document, outcome.state)


def as_result(value: Any, numeric_types: tuple[type, ...] = ()) -> dict[str, Any]:
    """What an objective returned, as a result dictionary: a copy, with a float ``loss``.

    Args:
        value: A number, or a mapping with ``status`` and, if that is ok, ``loss``.
        numeric_types: Further types that count as numbers.

    Raises:
        InvalidLoss: If there is no number where one must be.
        InvalidResultStatus: If the status is missing or unknown.
    """
    if is_number(value) or isinstance(value, (bool, *numeric_types)):
        return {"loss": float(value), "status": STATUS_OK}
    if not isinstance(value, Mapping):
        hint = "; did the objective forget to return?" if value is None else ""
        hint = "; write float(...) around it" if hasattr(value, "shape") else hint
        raise InvalidLoss(
            value,
            f"an objective returns a number or a dict with 'status' and 'loss', got {_short(value)} "
            f"({type(value).__name__}){hint}",
        )
    result = dict(value)
    if "status" not in result:
        raise InvalidResultStatus(
            value,
            f"a result dict needs 'status', got {_short(value)}: add 'status': STATUS_OK (or STATUS_FAIL)",
        )
    if result["status"] not in STATUS_STRINGS:
        raise InvalidResultStatus(
            value, f"a result's status is one of {', '.join(STATUS_STRINGS)}, got {result['status']!r}"
        )
    if result["status"] == STATUS_OK:
        try:
            result["loss"] = float(result["loss"])
        except KeyError:
            raise InvalidLoss(value, f"a result with status ok needs 'loss', got {_short(value)}") from None
        except (TypeError, ValueError):
            raise InvalidLoss(
                value,
                f"a loss is a number, got {result['loss']!r} ({type(result['loss']).__name__}): return a float, or "
                "'status': STATUS_FAIL if there is none",
            ) from None
    return result


def _short(value: object, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


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
                owner["idxs"][key] = [rename(tid)]
                owner["vals"][key] = [value]
            elif assert_all_vals_used:
                raise InvalidTrial(f"{key!r} has a value for trial {rename(tid)!r}, which is not among the miscs")
    return miscs


def spec_from_misc(misc: Document) -> dict[str, Any]:
    """The value of each active label of a misc."""
    return {label: values[0] for label, values in misc["vals"].items() if len(values)}


def proposal_documents(values: Any, new_ids: Sequence[Any], domain: Any, trials: Any) -> list[Document]:
    """New documents for proposed points.

    Args:
        values: Points, shape (n, d), NaN where inactive.
        new_ids: n ids.
        domain: Gives ``space``, ``cmd`` and ``workdir``.
        trials: Makes the documents.
    """
    space = domain.space
    miscs = [
        new_misc(tid, space.raw(row), space.labels, domain.cmd, domain.workdir)
        for tid, row in zip(new_ids, values, strict=True)
    ]
    docs: list[Document] = trials.new_trial_docs(
        list(new_ids), [None] * len(miscs), [new_result() for _ in miscs], miscs
    )
    return docs
