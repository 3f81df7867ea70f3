"""``cv_results_``: from trials to the table of all candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import BadSearchSpace
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import is_outside
from sparktune.history.trial import STATUS_OK
from sparktune.space.compile import Space
from sparktune.storage.encoding import Pickled

TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


def is_foreign(document: Document) -> bool:
    """Whether a trial is one of another objective, in trials that were filled before."""
    result = document["result"]
    return result.get("status") == STATUS_OK and "cv_results" not in result


def candidate_of(document: Document, space: Space) -> Mapping[str, Any] | None:
    """The parameters that a trial was evaluated with; None if it failed in another space, and nobody knows."""
    # With a warm start the space may have other constants and options than it had then.
    params = document["result"].get("params")
    if isinstance(params, Mapping) and not _has_pickles(params):
        return params
    if is_outside(document):
        return None
    try:
        found: Mapping[str, Any] = space.evaluate(documents.raw_values(document))
    except BadSearchSpace:
        return None
    return found


def _has_pickles(value: Any) -> bool:
    """Whether a value that was read from a storage has parts that nobody has said may be trusted."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, Pickled) or any(map(_has_pickles, parts))


def failure_of(document: Document) -> str:
    """Why a candidate could not be fitted and scored."""
    return str(document["result"].get("error") or documents.failure_text(document))


def cv_results(
    candidates: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, float] | None], error_score: Any
) -> dict[str, Any]:
    """The table of all candidates, in the form and order of ``GridSearchCV.cv_results_``.

    Args:
        candidates: Parameters of each.
        found: Numbers of each by column; None for one that failed. At least one has not.
        error_score: Score of those that failed, in all splits.
    """
    columns = dict.fromkeys(key for row in found if row is not None for key in row)  # earlier fits may have had others
    table: dict[str, Any] = {}

    def add(key: str) -> None:
        missing = np.nan if key in TIMES else 0.0 * error_score if key.startswith("std_") else error_score
        table[key] = np.array([missing if row is None else row.get(key, np.nan) for row in found], dtype=float)

    for key in TIMES:
        add(key)
    for name in dict.fromkeys(name for candidate in candidates for name in candidate):
        table[f"param_{name}"] = _parameter_column(candidates, name)
    table["params"] = [dict(candidate) for candidate in candidates]
    for key in columns:
        if key not in TIMES:
            add(key)
        if key.startswith("std_test_"):
            metric = key.removeprefix("std_test_")
            table[f"rank_test_{metric}"] = _ranks(table[f"mean_test_{metric}"])
    return table


def _parameter_column(candidates: Sequence[Mapping[str, Any]], name: str) -> Any:
    """One parameter's values, masked where a candidate does not have it."""
    values = [candidate[name] for candidate in candidates if name in candidate]
    try:
        inferred = np.array(values)
    except ValueError:  # lists of different lengths
        inferred = np.empty(0, dtype=object)
    is_plain = inferred.ndim == 1 and inferred.dtype.kind != "U"
    empty = np.empty(len(candidates), dtype=inferred.dtype if is_plain else object)
    column: Any = np.ma.MaskedArray(empty, mask=True)
    for row, candidate in enumerate(candidates):
        if name in candidate:
            column[row] = candidate[name]
    return column


def _ranks(means: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rank of each mean score, the highest 1; equal ones share the better rank, NaN is the lowest."""
    descending = np.where(np.isnan(means), np.inf, -means)
    return (1 + np.searchsorted(np.sort(descending), descending, side="left")).astype(np.int32)
