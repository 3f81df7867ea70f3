"""Earlier trials in a study of Optuna. Optuna itself is not imported: whoever has a study has it."""

from __future__ import annotations

from typing import Any

from sparktune.exceptions import InvalidTypeError
from sparktune.exchange.source import Row, Source, losses_from

#: By the names of Optuna's states: trials that have ended. A pruned one counts as failed: its value is not comparable.
ENDED = ("COMPLETE", "PRUNED", "FAIL")
#: The option None, which is a value in Optuna, as text: elsewhere None says that there is no value.
NONE = "null"


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
    signs = [-1.0 if direction.name == "MAXIMIZE" else 1.0 for direction in study.directions]
    trials = study.get_trials(deepcopy=False)
    rows = [_row(trial, signs) for trial in trials if trial.state.name in ENDED]
    text = name or f"Optuna study {study.study_name}"
    return Source(text, rows, choices="value", n_open=len(trials) - len(rows))


def _row(trial: Any, signs: list[float]) -> Row:
    is_complete = trial.state.name == "COMPLETE"
    constraints = getattr(trial, "constraints", None) or {}  # since Optuna 5
    names = sorted(constraints, key=lambda name: (len(name), name))  # "constraint 10" after "constraint 9"
    return Row(
        trial.number,
        {label: NONE if value is None else value for label, value in trial.params.items()},
        losses_from(trial.values, signs) if is_complete else (),
        tuple(float(constraints[name]) for name in names) if is_complete else (),
    )
