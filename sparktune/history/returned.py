"""What an objective returned, read as the result of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sparktune.exceptions import InvalidLoss, InvalidResultStatus
from sparktune.history.documents import as_floats
from sparktune.history.trial import STATUS_OK, STATUS_STRINGS
from sparktune.space.numbers import is_number

#: What to do with several numbers.
SEVERAL = (
    "to minimise several at once, return {'status': STATUS_OK, 'losses': [...]} with all of them; else one number, as "
    "their mean is"
)


class InvalidLossTypeError(InvalidLoss, TypeError):
    """The objective returned neither a number nor a dict."""


class InvalidResultStatusKeyError(InvalidResultStatus, KeyError):
    """The objective returned a dict without ``status``."""

    __str__ = Exception.__str__  # that of a KeyError shows the repr of its message


def as_result(value: Any) -> dict[str, Any]:
    """What an objective returned, as a result dictionary: a copy, with floats for its loss, losses and constraints.

    Args:
        value: A number, or a mapping with ``status`` and, if that is ok, ``loss`` or ``losses``.

    Raises:
        InvalidLossTypeError: If it is neither a number nor a mapping.
        InvalidLoss: If there is no number where one must be, or no dict of attachments.
        InvalidResultStatusKeyError: If the status is missing.
        InvalidResultStatus: If the status is unknown.
    """
    if is_number(value) or isinstance(value, bool):
        return {"loss": _as_float(value, value), "status": STATUS_OK}
    if not isinstance(value, Mapping):
        raise InvalidLossTypeError(
            value,
            f"an objective returns a number or a dict with 'status' and 'loss', got {_short(value)} "
            f"({type(value).__name__}){_advice(value)}",
        )
    result = dict(value)
    if "status" not in result:
        raise InvalidResultStatusKeyError(
            value,
            f"a result dict needs 'status', got {_short(value)}: add 'status': STATUS_OK (or STATUS_FAIL)",
        )
    if result["status"] not in STATUS_STRINGS:
        raise InvalidResultStatus(
            value, f"a result's status is one of {', '.join(STATUS_STRINGS)}, got {result['status']!r}"
        )
    if result.get("attachments") is not None and not isinstance(result["attachments"], Mapping):
        raise InvalidLoss(
            value,
            f"a result's attachments are a dict of contents by name, got {_short(result['attachments'])}: "
            "write 'attachments': {'name': content}",
        )
    if result["status"] == STATUS_OK:
        _check_losses(result, value)
        _check_constraints(result, value)
    return result


def _advice(value: object) -> str:
    """What to return in place of something that is no result."""
    if value is None:
        return "; did the objective forget to return?"
    if _count(value) > 1:
        return f": {SEVERAL}"
    if (shape := _shape(value)) is None:
        return ""
    # numpy makes no float of an array that has a dimension.
    return "; write .item() behind it" if shape and hasattr(value, "item") else "; write float(...) around it"


def _count(value: Any) -> int:
    """How many numbers there are in a list, tuple or array; 0 in something else."""
    if (shape := _shape(value)) is not None:
        return math.prod(shape)
    return len(as_floats(value) or ()) if isinstance(value, (list, tuple)) else 0


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array; None of something else, whose attributes may be or do anything."""
    try:
        shape = value.shape
    except Exception:
        return None
    is_one = isinstance(shape, tuple) and all(isinstance(size, int) for size in shape)
    return shape if is_one else None


def _check_losses(result: dict[str, Any], value: object) -> None:
    """Make ``loss`` and ``losses`` of a result floats; with several losses, ``loss`` may be left out."""
    if result.get("losses") is not None:
        losses = as_floats(result["losses"])
        if not losses:
            raise InvalidLoss(
                value,
                f"losses is a list of at least one number, all to be minimised, got {_short(result['losses'])}: "
                "return floats, or 'status': STATUS_FAIL if there are none",
            )
        result["losses"] = list(losses)
        if result.get("loss") is None:
            result.pop("loss", None)
            if len(losses) > 1:
                return
            result["loss"] = losses[0]
        elif len(losses) == 1 and as_floats([result["loss"]]) != losses:
            raise InvalidLoss(
                value,
                f"one number in 'losses' is the loss, got {losses[0]!r} and 'loss': {_short(result['loss'])}: "
                "leave one out",
            )
    if "loss" not in result:
        raise InvalidLoss(value, f"a result with status ok needs 'loss', got {_short(value)}")
    result["loss"] = _as_float(result["loss"], value)


def _as_float(loss: Any, value: object) -> float:
    """A loss as a float; ``value`` is what the objective returned."""
    try:
        return float(loss)
    except OverflowError:
        raise InvalidLoss(
            value,
            f"a loss is a number that a float can hold, up to 1.8e308, got {_short(loss)} ({type(loss).__name__}): "
            "return a float, such as its logarithm or math.inf",
        ) from None
    except (TypeError, ValueError):
        advice = SEVERAL if _count(loss) > 1 else "return a float, or 'status': STATUS_FAIL if there is none"
        raise InvalidLoss(value, f"a loss is a number, got {_short(loss)} ({type(loss).__name__}): {advice}") from None


def _check_constraints(result: dict[str, Any], value: object) -> None:
    """Make the ``constraints`` of a result, if there are any, a list of floats."""
    if result.get("constraints") is not None:
        constraints = as_floats(result["constraints"])
        if constraints is None:
            raise InvalidLoss(
                value,
                f"constraints is a list of numbers, each <= 0 where it is met, got {_short(result['constraints'])}: "
                "return floats, as in 'constraints': [memory - limit]",
            )
        result["constraints"] = list(constraints)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no int of more than 4300 digits
        text = f"{type(value).__name__} with an int of thousands of digits"
    return text if len(text) <= 200 else text[:197] + "..."
