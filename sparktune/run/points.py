"""``points_to_evaluate``: points that the user wants evaluated first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import is_borrowed
from sparktune.history.trial import JOB_STATE_CANCEL
from sparktune.run.domain import Domain
from sparktune.space.choices import index_of, is_nan, is_same, options_of, value_nodes
from sparktune.space.compile import Parameter, Space
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply
from sparktune.space.numbers import Integer, Real, is_finite
from sparktune.space.scope import rec_eval


def point_documents(
    points: Sequence[Mapping[str, Any]], domain: Domain, trials: Any, name: str = "points_to_evaluate[{}]"
) -> list[Document]:
    """New documents for points the user wants evaluated first.

    Args:
        points: Values by label; of ``hp.choice`` the index or the option. Labels of options that are not chosen may be
            left out, or be None or NaN. Constants of the space may be there as well, by their key in a dict.
        domain: Gives the space the points must lie in.
        trials: Gives the ids.
        name: What errors call a point, with a place for its number.

    Raises:
        InvalidArgumentError: If a label is unknown or missing, a value is out of its bounds, or that of a constant is
            another one.
        InvalidTypeError: If ``points`` is no list of dictionaries.
    """
    space, raws = domain.space, _raws(points, domain.space, name)
    tids = trials.new_trial_ids(len(points))
    miscs = [
        documents.new_misc(tid, raw, space.labels, domain.cmd, domain.workdir)
        for tid, raw in zip(tids, raws, strict=True)
    ]
    docs: list[Document] = trials.new_trial_docs(
        tids, [None] * len(points), [documents.new_result() for _ in points], miscs
    )
    return docs


def points_left(points: Sequence[Mapping[str, Any]], domain: Domain, trials: Any) -> list[Mapping[str, Any]]:
    """The points that a program which is started again has still to evaluate.

    Those of which the study has a trial are left out, unless it was cancelled: that one says nothing.

    Args:
        points, domain: As for :func:`point_documents`.
        trials: Of the study.

    Raises:
        InvalidArgumentError, InvalidTypeError: As :func:`point_documents` does.
    """
    known = [
        documents.raw_values(document)
        for document in trials.own_documents()
        if document["state"] != JOB_STATE_CANCEL and not is_borrowed(document)
    ]
    return [point for point, raw in zip(points, _raws(points, domain.space), strict=True) if raw not in known]


def _raws(
    points: Sequence[Mapping[str, Any]], space: Space, name: str = "points_to_evaluate[{}]"
) -> list[dict[str, Any]]:
    """The values of each point as documents have them."""
    given: Any = points
    if not isinstance(given, Sequence) or not all(isinstance(point, Mapping) for point in given):
        raise InvalidTypeError(f"points_to_evaluate is a list of dicts {{label: value}}, got {points!r}")
    nodes, constants = value_nodes(space), _constants(dfs(space.expr))
    return [_raw(point, space, nodes, constants, name.format(number)) for number, point in enumerate(points)]


def _raw(
    point: Mapping[str, Any],
    space: Space,
    nodes: Mapping[str, Apply],
    constants: Mapping[str, Sequence[Any]],
    what: str,
) -> dict[str, Any]:
    """The value of each active label as documents have it; ``what`` names the point in errors."""
    unknown = sorted(set(point) - set(space.labels) - set(constants))
    if unknown:
        raise InvalidArgumentError(f"{what} has labels the space has not: {unknown}; it has {list(space.labels)}")

    def check(label: str) -> Any:
        return _checked(point[label], space.parameters[space.index[label]], nodes[label], what)

    given = [label for label in point if label in space.index]
    checked = {label: check(label) for label in given if not _is_absent(point[label], nodes[label])}
    filled = np.where(np.isnan(row := space.row(checked)), -1.0, row)
    active = space.activity(filled[None, :])[0]
    labels = [label for label, is_active in zip(space.labels, active, strict=True) if is_active]
    missing = [label for label in labels if label not in point]
    if missing:
        raise InvalidArgumentError(f"{what} needs a value for {missing} as well, got only {dict(point)}")
    raw = {label: checked[label] if label in checked else check(label) for label in labels}
    others = {key: value for key, value in point.items() if key not in space.index}
    if others:
        _require_constants(others, constants, _constants(_reached(space, raw)), what)
    return raw


def _is_absent(value: Any, node: Apply) -> bool:
    """Whether a value says that there is none, as rows of a table do, and is not an option of the choice ``node``."""
    is_option = node.name == "switch" and index_of(value, node) is not None
    return (value is None or is_nan(value)) and not is_option


def _require_constants(
    given: Mapping[str, Any], constants: Mapping[str, Sequence[Any]], reached: Mapping[str, Sequence[Any]], what: str
) -> None:
    """Refuse values by key that are not those of the constants: if some are ``reached`` in this point, of these."""
    for key, value in given.items():
        values = reached.get(key) or constants[key]
        is_left_out = key not in reached and (value is None or is_nan(value))
        if not is_left_out and not any(is_same(value, constant) for constant in values):
            raise InvalidArgumentError(
                f"{what} has {key!r}: {value!r}, but {key!r} is no label of the space, it is a constant there, "
                f"{' or '.join(map(repr, values))}: leave it out of the point, or make it a parameter"
            )


def _constants(nodes: Iterable[Apply]) -> dict[str, list[Any]]:
    """By key the values that dicts among ``nodes`` have for it, of those that hang on nothing."""
    found = defaultdict(list)
    for key, child in (pair for node in nodes if node.name == "dict" for pair in node.named_args):
        if all(part.name in ("literal", "pos_args", "dict") for part in dfs(child)):
            found[key].append(rec_eval(child))
    return dict(found)


def _reached(space: Space, raw: Mapping[str, Any]) -> Iterable[Apply]:
    """The nodes that the value of the space hangs on in one point: of a switch its index and the option chosen."""
    reached: dict[Apply, None] = {}
    waiting = [space.expr]
    while waiting:
        node = waiting.pop()
        if node in reached:
            continue
        reached[node] = None
        if node.name == "switch":
            selector, *options = node.pos_args
            index = int(space.evaluate(raw, of=selector))
            waiting += [selector, *options[index : index + 1]]
        else:
            waiting += node.inputs()
    return reached


def _checked(value: Any, parameter: Parameter, node: Apply, what: str) -> Any:
    """A value as documents have it, within the bounds of its parameter."""
    if node.name == "switch":
        index = index_of(value, node)
        if index is None:
            options = [option for option in options_of(node) if not isinstance(option, Apply)]
            raise InvalidArgumentError(
                f"{what}: {parameter.label!r} must be a whole number from 0 to {len(node.pos_args) - 2}, the option's "
                f"index, or an option" + (f", of {options!r}" if options else "") + f", got {value!r}"
            )
        return Integer(index)
    low, high = parameter.distribution.bounds
    slack = 1e-9 * max(abs(low), abs(high)) if np.isfinite([low, high]).all() else 0.0
    is_inside = isinstance(value, bool) or (is_finite(value) and low - slack <= value <= high + slack)
    if not is_inside or (parameter.is_integer and int(value) != value):
        kind = "whole number" if parameter.is_integer else "number"
        raise InvalidArgumentError(
            f"{what}: {parameter.label!r} must be a {kind} from {low:g} to {high:g}, got {value!r}"
        )
    return Integer(value) if parameter.is_integer else Real(value)
