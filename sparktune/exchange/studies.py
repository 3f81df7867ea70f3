"""Earlier trials in a study of Optuna. Optuna itself is not imported: whoever has a study has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparktune.exceptions import InvalidTypeError
from sparktune.exchange.source import Row, Source, losses_from
from sparktune.run.goal import Goal

#: By the names of Optuna's states: trials that have ended. A pruned one counts as failed: its value is not comparable.
ENDED = ("COMPLETE", "PRUNED", "FAIL")
#: A constraint that a trial does not set, which Optuna takes for one that is met. Not 0: that is the edge, where a
#: model of the constraint expects it to be violated as often as not.
MET = -math.inf
#: An attribute of studies that we have written: what is low there may be the negative of what was to be high.
EXPORTED = "sparktune"
#: In there, the choices whose options have their numbers as names, as no others tell them apart: what each looks like.
BY_INDEX = "by_index"


def is_optuna_study(item: Any) -> bool:
    """Whether something is a study of Optuna's."""
    return hasattr(item, "get_trials") and hasattr(item, "directions") and hasattr(item, "study_name")


def from_optuna(study: Any, *, name: str | None = None) -> Source:
    """The trials of an Optuna study, by the values of their parameters; failed and pruned ones as failed.

    Args:
        study: An ``optuna.Study``; of one in a storage see :func:`sparktune.bridges.optuna.load`.
        name: Says where the trials are from.

    Raises:
        InvalidTypeError: If it is no study.
    """
    if not is_optuna_study(study):
        raise InvalidTypeError(f"from_optuna takes an optuna.Study, got {study!r}: load it with optuna.load_study(...)")
    signs = tuple(-1.0 if direction.name == "MAXIMIZE" else 1.0 for direction in study.directions)
    trials = study.get_trials(deepcopy=False)
    names = constraint_names(trials)
    rows = [_row(trial, signs, names) for trial in trials if trial.state.name in ENDED]
    text = name or f"Optuna study {study.study_name}"
    metrics = tuple(getattr(study, "metric_names", None) or ())  # since Optuna 3.2
    exported = study.user_attrs.get(EXPORTED)
    by_index = exported.get(BY_INDEX, {}) if isinstance(exported, Mapping) else {}
    return Source(
        text,
        rows,
        choices="value",
        n_open=len(trials) - len(rows),
        goal=None if exported else Goal(metrics, signs),
        has_none=True,
        by_index=by_index,
    )


def _row(trial: Any, signs: Sequence[float], names: Sequence[str]) -> Row:
    is_complete = trial.state.name == "COMPLETE"
    row = Row(
        trial.number,
        dict(trial.params),
        losses_from(trial.values, signs) if is_complete else (),
        constraints_by_column(trial, constraint_names([trial])),
    )
    constraints = constraints_by_column(trial, names) if is_complete else ()
    # The key is of what the trial itself sets: it stays the same when a later trial sets a constraint of a new name.
    return row if constraints == row.constraints else replace(row, constraints=constraints, mark={"key": row.key})


def constraint_names(trials: Iterable[Any], known: Iterable[str] = ()) -> list[str]:
    """Names of all constraints that completed trials set, "constraint 10" after "constraint 9".

    Args:
        trials: Optuna's; before version 5 they have none.
        known: Further names.
    """
    names = {name for trial in trials if trial.state.name == "COMPLETE" for name in _constraints(trial)}
    return sorted(names.union(known), key=lambda name: (len(name), name))


def constraints_by_column(trial: Any, names: Sequence[str]) -> tuple[float, ...]:
    """A number per constraint, ``MET`` where the trial does not set it.

    Args:
        trial: Optuna's.
        names: Of the constraints, see :func:`constraint_names`.
    """
    constraints = _constraints(trial) if names else {}
    return tuple(float(constraints.get(name, MET)) for name in names)


def _constraints(trial: Any) -> Mapping[str, Any]:
    return getattr(trial, "constraints", None) or {}  # since Optuna 5
