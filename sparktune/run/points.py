"""``points_to_evaluate``: points that the user wants evaluated first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.run.domain import Domain
from sparktune.space.nodes import is_finite


def point_documents(points: Sequence[Mapping[str, Any]], domain: Domain, trials: Any) -> list[Document]:
    """New documents for points the user wants evaluated first.

    Args:
        points: Values by label; ``hp.choice`` by index. Labels of options that are not chosen may be left out.
        domain: Gives the space the points must lie in.
        trials: Gives the ids.

    Raises:
        InvalidArgumentError: If a label is unknown or missing, or a value is out of its bounds.
    """
    space = domain.space
    miscs = []
    given: Any = points
    if not isinstance(given, Sequence) or not all(isinstance(point, Mapping) for point in given):
        raise InvalidTypeError(f"points_to_evaluate is a list of dicts {{label: value}}, got {points!r}")
    tids = trials.new_trial_ids(len(points))
    for number, (tid, point) in enumerate(zip(tids, points, strict=True)):
        what = f"points_to_evaluate[{number}]"
        unknown = sorted(set(point) - set(space.labels))
        if unknown:
            raise InvalidArgumentError(f"{what} has labels the space has not: {unknown}; it has {list(space.labels)}")
        for label, value in point.items():
            parameter = space.parameters[space.index[label]]
            low, high = parameter.distribution.bounds
            slack = 1e-9 * max(abs(low), abs(high)) if np.isfinite([low, high]).all() else 0.0
            is_inside = isinstance(value, bool) or (is_finite(value) and low - slack <= value <= high + slack)
            if not is_inside or (parameter.is_integer and int(value) != value):
                kind = "whole number" if parameter.is_integer else "number"
                raise InvalidArgumentError(
                    f"{what}: {label!r} must be a {kind} from {low:g} to {high:g} (of a choice, the option's index), "
                    f"got {value!r}"
                )
        filled = np.where(np.isnan(row := space.row(point)), -1.0, row)
        active = space.activity(filled[None, :])[0]
        missing = [
            label for label, is_active in zip(space.labels, active, strict=True) if is_active and label not in point
        ]
        if missing:
            raise InvalidArgumentError(f"{what} needs a value for {missing} as well, got only {dict(point)}")
        raw = {
            parameter.label: int(point[parameter.label]) if parameter.is_integer else point[parameter.label]
            for parameter, is_active in zip(space.parameters, active, strict=True)
            if is_active
        }
        miscs.append(documents.new_misc(tid, raw, space.labels, domain.cmd, domain.workdir))
    docs: list[Document] = trials.new_trial_docs(
        tids, [None] * len(points), [documents.new_result() for _ in points], miscs
    )
    return docs
