"""Search spaces in one form, and what each library makes of them.

A space is a tuple of parameters; an option of a :class:`Choice` may have parameters of its own, which exist only when
it is chosen. A configuration is a flat dict: a float, an int, or the index of an option for each name that is active.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]
Space = tuple["Parameter", ...]


@dataclass(frozen=True)
class Float:
    """A number in [low, high]; uniform, or log-uniform if ``log``."""

    name: str
    low: float
    high: float
    log: bool = False

    def at(self, quantile: float) -> float:
        """The value at a quantile in [0, 1) of the prior."""
        return _between(self.low, self.high, quantile, self.log)


@dataclass(frozen=True)
class Int:
    """A whole number from low to high, both included."""

    name: str
    low: int
    high: int
    log: bool = False

    def at(self, quantile: float) -> int:
        """The value at a quantile in [0, 1) of the prior."""
        value = round(_between(self.low - 0.5, self.high + 0.5, quantile, self.log))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of several options, each with the parameters that come with it."""

    name: str
    options: tuple[Space, ...]

    def at(self, quantile: float) -> int:
        """The option at a quantile in [0, 1) of the prior."""
        return int(quantile * len(self.options))


Parameter = Float | Int | Choice


def choice(name: str, n: int) -> Choice:
    """A choice of n options without parameters."""
    return Choice(name, ((),) * n)


def floats(n: int, low: float, high: float) -> Space:
    """The numbers x0, x1, ... of a function on a box."""
    return tuple(Float(f"x{i}", low, high) for i in range(n))


def _between(low: float, high: float, share: float, log: bool) -> float:
    if log:
        return math.exp(_between(math.log(low), math.log(high), share, False))
    return low + share * (high - low)


def flatten(space: Space) -> Iterator[Parameter]:
    """Every parameter, those of options that may not be chosen included."""
    for parameter in space:
        yield parameter
        if isinstance(parameter, Choice):
            for children in parameter.options:
                yield from flatten(children)


def active(space: Space, config: Config) -> Iterator[Parameter]:
    """The parameters that exist, parents first; ``config`` needs a choice only by the time its options are reached."""
    for parameter in space:
        yield parameter
        if isinstance(parameter, Choice):
            yield from active(parameter.options[config[parameter.name]], config)


def from_quantiles(space: Space, quantiles: Mapping[str, float]) -> Config:
    """The configuration at a point of the unit cube, which has a coordinate for every parameter."""
    config: Config = {}
    for parameter in active(space, config):
        config[parameter.name] = parameter.at(quantiles[parameter.name])
    return config


def hp_space(hp: Any, space: Space) -> dict[str, Any]:
    """The space in hyperopt's form; ``hp`` is that of hyperopt or of sparktune."""
    return {parameter.name: _hp_node(hp, parameter) for parameter in space}


def _hp_node(hp: Any, parameter: Parameter) -> Any:
    name = parameter.name
    if isinstance(parameter, Choice):
        options = [
            {"option": index, **hp_space(hp, children)} if children else index
            for index, children in enumerate(parameter.options)
        ]
        return hp.choice(name, options)
    low, high = parameter.low, parameter.high
    if parameter.log:
        low, high = math.log(low), math.log(high)
    if isinstance(parameter, Int):
        return (hp.qloguniform if parameter.log else hp.quniform)(name, low, high, 1)
    return (hp.loguniform if parameter.log else hp.uniform)(name, low, high)


def suggest_with_optuna(trial: Any, space: Space) -> Config:
    """Ask an Optuna trial for each parameter in turn."""
    config: Config = {}
    for parameter in active(space, config):
        name = parameter.name
        if isinstance(parameter, Choice):
            config[name] = trial.suggest_categorical(name, list(range(len(parameter.options))))
        else:
            suggest = trial.suggest_int if isinstance(parameter, Int) else trial.suggest_float
            config[name] = suggest(name, parameter.low, parameter.high, log=parameter.log)
    return config
