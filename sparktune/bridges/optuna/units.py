"""What a parameter of one library is in the other, and what its values are there."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from sparktune import hp
from sparktune.exceptions import InvalidSpaceError, InvalidTypeError
from sparktune.space.compile import Parameter
from sparktune.space.distributions import (
    Categorical,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
    Uniform,
)
from sparktune.space.limits import MAX_EXPONENT, MAX_INTEGER
from sparktune.space.nodes import Apply
from sparktune.space.numbers import is_finite

#: Standard deviations to either side that a sampler searches of a normal parameter: all but 6e-7 of its mass.
NORMAL_REACH = 5.0
#: Whether Optuna can be told of constraints as values of a trial: since version 5.
TAKES_CONSTRAINTS = hasattr(Trial, "set_constraint")
#: Optuna's logarithmic floats begin above 0, and those below this have not all their digits.
TINY = float(np.finfo(float).tiny)

# -- from ours to Optuna's --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """How one of our parameters looks to Optuna.

    Attributes:
        distribution: Optuna's distribution.
        encode: Optuna's value of one of ours, which is within bounds.
        decode: Our value of one of Optuna's, on the grid and within bounds.
    """

    distribution: BaseDistribution
    encode: Callable[[float], Any]
    decode: Callable[[Any], float]


def axis_of(parameter: Parameter) -> Axis:
    """What Optuna sees of a parameter."""
    match parameter.distribution:
        case Categorical(p):
            # Optuna has no weights: options of weight 0 are left out, all others are alike.
            return Axis(CategoricalDistribution([k for k, weight in enumerate(p) if weight > 0]), int, float)
        case RandInt(low, high) if parameter.is_choice:
            return Axis(CategoricalDistribution(range(int(low), int(high))), int, float)
        case RandInt(low, high):
            return Axis(IntDistribution(int(low), int(high) - 1), int, float)
        case Uniform(low, high):
            return _float_axis(FloatDistribution(low, high))
        case LogUniform() as uniform:
            low, high = uniform.bounds
            if not high > TINY:
                raise InvalidSpaceError(
                    f"Optuna's samplers search numbers above {TINY:.3g}, and of {parameter.label!r} all are below, got "
                    f"{uniform!r}, whose bounds are logarithms: search hp.uniform({parameter.label!r}, {uniform.low}, "
                    f"{uniform.high}) and take exp of it as far as needed"
                )
            return _float_axis(FloatDistribution(max(low, TINY), high, log=True))
        case (QUniform() | QLogUniform()) as quantised:
            return _grid_axis(quantised)
        case (Normal() | LogNormal() | QNormal() | QLogNormal()) as normal:
            return _normal_axis(normal)
    raise TypeError(f"{parameter.distribution!r} has no counterpart in Optuna")


def _float_axis(distribution: FloatDistribution) -> Axis:
    def within(x: float) -> float:
        return min(max(float(x), distribution.low), distribution.high)

    return Axis(distribution, within, float)


def _grid_axis(distribution: QUniform | QLogUniform) -> Axis:
    """The multiples of q themselves where Optuna can count them without rounding, else their numbers."""
    (first, last), (low, high), q = distribution.grid, distribution.bounds, float(distribution.q)
    is_log = isinstance(distribution, QLogUniform)

    def nearest(x: float) -> int:
        return min(max(round(x / q), first), last)

    def value(k: int) -> float:
        return min(max(k * q, low), high)

    if not is_log and not (Decimal(str(float(high))) - Decimal(str(float(low)))) % Decimal(str(q)):

        def snapped(x: float) -> float:
            return value(nearest(x))

        return Axis(FloatDistribution(low, high, step=q), snapped, snapped)
    return Axis(IntDistribution(first, last, log=is_log), nearest, value)


def _normal_axis(distribution: Normal | LogNormal | QNormal | QLogNormal) -> Axis:
    """The quantile: uniform where the parameter is normal, so that a sampler's uniform prior is the parameter's own."""
    normal, standard = NormalDist(distribution.mu, distribution.sigma), NormalDist()
    is_log = isinstance(distribution, (LogNormal, QLogNormal))
    q = getattr(distribution, "q", 0.0)
    low, high = standard.cdf(-NORMAL_REACH), standard.cdf(NORMAL_REACH)

    def encode(x: float) -> float:
        if is_log:
            x = math.log(max(x, 0.25 * q, TINY))  # the cell of 0 has no logarithm: its middle
        return min(max(normal.cdf(x), low), high)

    def decode(u: float) -> float:
        x = normal.inv_cdf(u)
        x = math.exp(min(x, MAX_EXPONENT)) if is_log else x
        return round(x / q) * q if q else x

    return Axis(FloatDistribution(low, high), encode, decode)


def contains(parameter: Parameter, value: float) -> bool:
    """Whether a parameter can have the value; between two grid points will do."""
    if isinstance(parameter.distribution, Categorical):
        return value in range(len(parameter.distribution.p)) and parameter.distribution.p[int(value)] > 0
    low, high = parameter.distribution.bounds
    slack = 1e-9 * (high - low) if math.isfinite(high - low) else 0.0
    return low - slack <= value <= high + slack


def constraints_by_name(constraints: Iterable[float]) -> dict[str, float]:
    """What Optuna is told of a trial's constraints; nothing if it is too old for it.

    Optuna takes no NaN, and a trial that lacks a constraint for one that meets it: what is not known is infinite.
    """
    if not TAKES_CONSTRAINTS:
        return {}
    return {f"constraint {k}": float(c) if c == c else math.inf for k, c in enumerate(constraints)}


def suggested(trial: Any, label: str, distribution: BaseDistribution) -> Any:
    """What a trial of Optuna suggests for a parameter."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(label, choices)
        case IntDistribution(low=low, high=high, log=log):
            return trial.suggest_int(label, low, high, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(label, low, high, step=step, log=log)


# -- from Optuna's to ours --------------------------------------------------------------------------------------------


def _step_of(distribution: BaseDistribution) -> float | None:
    """The grid step where the values are counted from the lower bound."""
    if isinstance(distribution, IntDistribution):
        return None if distribution.log else distribution.step
    return distribution.step if isinstance(distribution, FloatDistribution) else None


def node_of(name: str, distribution: BaseDistribution) -> Apply:
    """Our parameter for one of Optuna's: floats as they are, options by index, grids by the number of the point."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return hp.choice(name, list(range(len(choices))))
        case FloatDistribution() | IntDistribution():
            _require_floats(name, distribution)
    match distribution:
        case IntDistribution(low=low, high=high, log=True):
            return hp.qloguniform(name, math.log(low), math.log(high), 1)
        case FloatDistribution(low=low, high=high, log=True):
            return hp.loguniform(name, math.log(low), math.log(high))
        case FloatDistribution(low=low, high=high, step=None):
            return hp.uniform(name, low, high)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            n_steps = round((high - low) / float(step or 1))
            if n_steps > MAX_INTEGER:  # more points than floats to tell them apart
                return hp.uniform(name, 0, n_steps)
            # Not a randint, of which few values would be taken for options without order.
            return hp.quniform(name, 0, n_steps, 1)
    raise InvalidTypeError(f"sparktune cannot search {name!r}, {distribution!r}: use suggest_float, _int, _categorical")


def _require_floats(name: str, distribution: FloatDistribution | IntDistribution) -> None:
    """Refuse bounds that no float reaches from one to the other."""
    low, high, step = distribution.low, distribution.high, distribution.step
    kind = "float" if isinstance(distribution, FloatDistribution) else "int"
    got = f"got suggest_{kind}({name!r}, {low!r}, {high!r}, step={step!r}, log={distribution.log!r})"
    if not is_finite(high - low):
        raise InvalidSpaceError(
            f"sparktune needs a high - low that is a finite float, {got}: narrow the bounds, or suggest an exponent"
        )
    if distribution.log and math.log(high) > MAX_EXPONENT:
        raise InvalidSpaceError(
            f"sparktune needs high <= exp({MAX_EXPONENT:g}), about {math.exp(MAX_EXPONENT):.3g}, with log=True, {got}: "
            "lower high, or suggest an exponent"
        )


def from_optuna(distribution: Any, value: Any) -> float:
    """Our value of one of Optuna's."""
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    step = _step_of(distribution)
    return float(value) if step is None else round((value - distribution.low) / step)


def is_within(distribution: Any, value: Any) -> bool:
    """Whether one of Optuna's values is within bounds, or among the options."""
    if not isinstance(distribution, CategoricalDistribution):
        return bool(distribution.low <= value <= distribution.high)
    try:
        distribution.to_internal_repr(value)  # it knows NaN, which is unlike itself
    except ValueError:
        return False
    return True


def to_optuna(distribution: Any, value: float) -> Any:
    """Optuna's value of one of ours, within bounds."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(value)]
    step = _step_of(distribution)
    kind = int if isinstance(distribution, IntDistribution) else float
    found = kind(value) if step is None else distribution.low + int(value) * step
    return min(max(found, distribution.low), distribution.high)


def widest(old: Any, new: Any) -> Any:
    """Bounds around both distributions; the new one alone where they have no common grid."""
    if isinstance(new, CategoricalDistribution) or (old.step, old.log) != (new.step, new.log):
        return new
    if new.step is not None and abs((gap := (new.low - old.low) / new.step) - round(gap)) > 1e-9:
        return new
    wide = copy.copy(new)
    wide.low, wide.high = min(old.low, new.low), max(old.high, new.high)
    return wide
