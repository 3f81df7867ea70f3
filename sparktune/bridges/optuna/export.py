"""A study's trials as a study of Optuna's, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sparktune.bridges.optuna.units import constraints_by_name
from sparktune.exceptions import InvalidArgumentError
from sparktune.exchange.matching import Matcher
from sparktune.exchange.options import Option, as_json, looks_of, meant
from sparktune.exchange.source import Row, Source
from sparktune.exchange.studies import BY_INDEX, EXPORTED, from_optuna
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import borrowed_from, is_outside
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.space.choices import value_nodes
from sparktune.space.compile import Parameter, Space
from sparktune.space.distributions import LogNormal, LogUniform, Normal, QLogNormal, QLogUniform, QNormal, QUniform
from sparktune.space.nodes import Apply

#: Standard deviations to either side in which Optuna is told that a normal parameter lies.
NORMAL_REACH = 5.0
PLAIN = (type(None), bool, int, float, str)


def load(storage: Any, study_name: str | None = None) -> Source:
    """The trials of a study in an Optuna storage, for ``warm_start=``.

    Args:
        storage: Its URL, or a storage object of Optuna's.
        study_name: Of the study; None if there is only one.

    Raises:
        InvalidArgumentError: If there is no such study.
    """
    try:
        study = optuna.load_study(study_name=study_name, storage=storage)
    except (KeyError, ValueError) as error:
        names = optuna.get_all_study_names(storage)
        raise InvalidArgumentError(
            f"load takes a storage and the name of a study in it, which has {names}, got study_name={study_name!r}"
        ) from error
    return from_optuna(study)


def to_study(trials: Any, space: Any, *, storage: Any = None, study_name: str | None = None) -> optuna.Study:
    """An Optuna study with the finished trials, failed ones as failed; what each minimises is minimised there.

    Parameters keep their names and bounds. Options of choices are themselves where Optuna takes them (None, numbers,
    text), else text, or their numbers where neither tells them apart; a normal parameter has the bounds mu - 5 sigma
    and mu + 5 sigma, or those of its values if they are beyond. Trials that are outside of the space have no
    parameters. Ids are in ``user_attrs["tid"]``. Constraints that are not known, NaN or missing, are infinite there.

    Args:
        trials: A ``Trials`` object.
        space: Its search space.
        storage: URL or storage object of Optuna's; None: in memory.
        study_name: Of the new study; None: one is made up.

    Raises:
        InvalidArgumentError: If there is a study of that name already.
    """
    compiled = Space.of(space)
    ended = [d for d in trials.own_documents() if d["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)]
    rows = [Row(document["tid"], {} if is_outside(document) else documents.raw_values(document)) for document in ended]
    raws = [fitted.raw for fitted in Matcher(compiled, Source("trials", rows)).fitted(rows)]
    n_losses = trials.n_objectives
    axes = _axes(compiled, raws)
    n_constraints = trials.history(compiled.labels).n_constraints
    made = [_trial(document, raw, axes, n_losses, n_constraints) for document, raw in zip(ended, raws, strict=True)]
    try:
        study = optuna.create_study(storage=storage, study_name=study_name, directions=["minimize"] * n_losses)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InvalidArgumentError(
            f"to_study makes a new study, and there is one of the name {study_name!r} already: name another, or delete "
            "that one with optuna.delete_study"
        ) from error
    study.set_user_attr(EXPORTED, {BY_INDEX: {label: axis.looks for label, axis in axes.items() if axis.looks}})
    study.add_trials(made)
    return study


class _Axis:
    """How a parameter looks to Optuna.

    Attributes:
        distribution: Optuna's distribution.
        options: Of a choice, what Optuna calls them.
        looks: What they look like, if that is their numbers.
    """

    def __init__(
        self, distribution: BaseDistribution, options: Sequence[Any] | None = None, looks: Sequence[str] = ()
    ) -> None:
        self.distribution = distribution
        self.options = options
        self.looks = looks

    def value(self, raw: Any) -> Any:
        """Optuna's value."""
        if self.options is not None:
            return self.options[int(raw)]
        if isinstance(self.distribution, IntDistribution):
            return int(raw)
        assert isinstance(self.distribution, FloatDistribution)
        return min(max(float(raw), self.distribution.low), self.distribution.high)


def _axes(space: Space, raws: Sequence[Mapping[str, Any]]) -> dict[str, _Axis]:
    nodes = value_nodes(space)
    return {
        parameter.label: _axis(parameter, nodes[parameter.label], [raw for raw in raws if parameter.label in raw])
        for parameter in space.parameters
    }


def _axis(parameter: Parameter, node: Apply, raws: Sequence[Mapping[str, Any]]) -> _Axis:
    label = parameter.label
    if node.name == "switch":
        options = Option.all_of(node)
        below = frozenset[str]().union(*(option.labels for option in options))  # no others say which option is meant
        points = {(int(raw[label]), below.intersection(raw)) for raw in raws}
        points |= {(option.index, option.labels) for option in options}  # those of trials to come
        names = _names(options, points)
        known = [option.index for option in options] if names is None else names
        return _Axis(CategoricalDistribution(known), known, looks_of(options) if names is None else ())
    values = [raw[label] for raw in raws]
    distribution = parameter.distribution
    low, high = distribution.bounds
    if parameter.is_integer:
        return _Axis(IntDistribution(int(low), int(high)))
    if isinstance(distribution, (Normal, QNormal, LogNormal, QLogNormal)):
        reach = NORMAL_REACH * distribution.sigma
        low, high = distribution.mu - reach, distribution.mu + reach
        if isinstance(distribution, (LogNormal, QLogNormal)):
            low, high = math.exp(low), math.exp(min(high, 700.0))
        low, high = min([low, *values]), max([high, *values])
        return _Axis(FloatDistribution(low, high, log=isinstance(distribution, LogNormal) and low > 0))
    if isinstance(distribution, (QUniform, QLogUniform)):
        return _Axis(_grid(distribution, node.name == "int", low, high))
    return _Axis(FloatDistribution(low, high, log=isinstance(distribution, LogUniform) and low > 0))


def _grid(distribution: QUniform | QLogUniform, is_cast: bool, low: float, high: float) -> BaseDistribution:
    q, is_log = float(distribution.q), isinstance(distribution, QLogUniform)
    is_whole = all(float(number).is_integer() for number in (q, low, high))  # Python's ints can say so since 3.12
    if is_cast and is_whole and not (is_log and q != 1):
        return IntDistribution(int(low), int(high), log=is_log, step=int(q))
    if is_log:
        return FloatDistribution(low, high, log=True)
    is_even = not (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(q))
    return FloatDistribution(low, high, step=q if is_even else None)


def _names(options: Sequence[Option], points: AbstractSet[tuple[int, AbstractSet[str]]]) -> list[Any] | None:
    """What Optuna calls the options, each another one, from which they can be told; None if nothing is that.

    Args:
        options: Of a choice.
        points: Numbers of options, each with the labels that have a value beside it.
    """
    plain = [option.value if isinstance(option.value, PLAIN) else as_json(option.value) for option in options]
    for names in (plain, [as_json(option.value) for option in options]):
        is_each_another = all(name != other for n, name in enumerate(names) for other in names[:n])  # 1 == True there
        if is_each_another and all(meant(names[index], labels, options) is options[index] for index, labels in points):
            return names
    return None


def _trial(
    document: Document, raw: Mapping[str, Any], axes: Mapping[str, _Axis], n_losses: int, n_constraints: int
) -> FrozenTrial:
    losses = documents.losses_of(document)
    is_complete = len(losses) == n_losses
    constraints = documents.constraints_of(document)
    if len(constraints) != n_constraints:
        constraints = (math.nan,) * n_constraints
    named = constraints_by_name(constraints) if is_complete else {}
    # Named only where there are any: Optuna 4 has no such argument.
    extra: dict[str, Any] = {"constraints": named} if named else {}
    tid, mark = document["tid"], borrowed_from(document)
    attributes: dict[str, Any] = {"tid": tid if isinstance(tid, (int, str)) else str(tid)}
    if mark is not None:
        attributes["source"] = str(mark["from"])
    if not is_complete and (error := documents.summary(document)["error"]):
        attributes["error"] = error
    return create_trial(
        state=TrialState.COMPLETE if is_complete else TrialState.FAIL,
        values=list(losses) if is_complete else None,
        params={label: axes[label].value(value) for label, value in raw.items()},
        distributions={label: axes[label].distribution for label in raw},
        user_attrs=attributes,
        **extra,
    )
