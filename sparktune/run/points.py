"""``points_to_evaluate``: points that the user wants evaluated first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.run.domain import Domain
from sparktune.space.choices import index_of, options_of, value_nodes
from sparktune.space.compile import Parameter, Space
from sparktune.space.nodes import Apply, is_finite
from sparktune.space.numbers import Integer, Real


def point_documents(points: Sequence[Mapping[str, Any]], domain: Domain, trials: Any) -> list[Document]:
    """New documents for points the user wants evaluated first.

    Args:
        points: Values by label; of ``hp.choice`` the index or the option. Labels of options that are not chosen may be
            left out.
        domain: Gives the space the points must lie in.
        trials: Gives the ids.

    Raises:
        InvalidArgumentError: If a label is unknown or missing, or a value is out of its bounds.
        InvalidTypeError: If ``points`` is no list of dictionaries.
    """
    given: Any = points
    if not isinstance(given, Sequence) or not all(isinstance(point, Mapping) for point in given):
        raise InvalidTypeError(f"points_to_evaluate is a list of dicts {{label: value}}, got {points!r}")
    space = domain.space
    nodes = value_nodes(space)
    raws = [_raw(point, space, nodes, f"points_to_evaluate[{number}]") for number, point in enumerate(points)]
    tids = trials.new_trial_ids(len(points))
    miscs = [
        documents.new_misc(tid, raw, space.labels, domain.cmd, domain.workdir)
        for tid, raw in zip(tids, raws, strict=True)
    ]
    docs: list[Document] = trials.new_trial_docs(
        tids, [None] * len(points), [documents.new_result() for _ in points], miscs
    )
    return docs


def _raw(point: Mapping[str, Any], space: Space, nodes: Mapping[str, Apply], what: str) -> dict[str, Any]:
    """The value of each active label as documents have it; ``what`` names the point in errors."""
    unknown = sorted(set(point) - set(space.labels))
    if unknown:
        raise InvalidArgumentError(f"{what} has labels the space has not: {unknown}; it has {list(space.labels)}")
    checked = {
        label: _checked(value, space.parameters[space.index[label]], nodes[label], what)
        for label, value in point.items()
    }
    filled = np.where(np.isnan(row := space.row(checked)), -1.0, row)
    active = space.activity(filled[None, :])[0]
    labels = [label for label, is_active in zip(space.labels, active, strict=True) if is_active]
    missing = [label for label in labels if label not in point]
    if missing:
        raise InvalidArgumentError(f"{what} needs a value for {missing} as well, got only {dict(point)}")
    return {label: checked[label] for label in labels}


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
