"""Choices between index and option: documents have the option's number, people want the option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sparktune.exceptions import BadSearchSpace
from sparktune.space.compile import Space
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, as_apply
from sparktune.space.numbers import Integer, Real
from sparktune.space.scope import rec_eval

#: Functions that change the type of a value and nothing else.
CASTS = ("int", "float")


def value_nodes(space: Space) -> dict[str, Apply]:
    """By label the node that gives the value people mean: of a choice its switch, of a cast parameter the cast."""
    shown = {parameter.node: parameter.node for parameter in space.parameters}
    owner = {parameter.node: parameter.node for parameter in space.parameters}
    for node in dfs(space.expr):  # arguments come before their users
        inner = node.pos_args[0] if node.pos_args else None
        is_cast = node.name in CASTS and inner in owner and shown[owner[inner]] is inner
        is_switch = node.name == "switch" and inner in shown and shown[inner] is inner
        if inner is not None and (is_cast or is_switch):
            owner[node] = owner[inner]
            shown[owner[inner]] = node
    return {parameter.label: shown[parameter.node] for parameter in space.parameters}


def options_of(switch: Apply) -> list[Any]:
    """The values of the options that hold no parameter; for the others the node."""
    return [
        option if any(node.name == "hyperopt_param" for node in dfs(option)) else rec_eval(option)
        for option in switch.pos_args[1:]
    ]


def index_of(option: Any, switch: Apply) -> int | None:
    """The index that ``option`` stands for: an option's value, or an index; None if it is neither.

    A number that could be both is the index, as in hyperopt; but True and False are options where there are such.
    """
    options = options_of(switch)
    is_index = isinstance(option, (int, float, np.number)) and 0 <= option < len(options) and option == int(option)
    if is_index and not (isinstance(option, (bool, np.bool_)) and any(is_same(option, other) for other in options)):
        return int(option)
    return next((index for index, other in enumerate(options) if is_same(option, other)), None)


def is_nan(value: Any) -> bool:
    """Whether a value is the number NaN. As options all NaN are one: ``numpy.nan`` stands for a missing value."""
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def is_same(one: Any, other: Any) -> bool:
    """Whether a value is that of an option: equal, and of the same shape; a list is the tuple that a space makes of it.

    Args:
        one: The value.
        other: That of the option, or its node, which nothing equals.
    """
    if isinstance(other, Apply) or isinstance(one, (bool, np.bool_)) != isinstance(other, (bool, np.bool_)):
        return False  # True == 1, but nobody means it
    if isinstance(one, list) and isinstance(other, tuple):
        one = tuple(one)  # lists in spaces become tuples
    if is_nan(one) and is_nan(other):
        return True
    try:
        return bool(np.all(one == other)) and np.shape(one) == np.shape(other)
    except Exception:  # comparisons of objects of any class
        return False


def named_values(space: Space, raw: Mapping[str, Any], nodes: Mapping[str, Apply]) -> dict[str, Any]:
    """The value of each active label, in Python's own types: of a choice the option.

    Args:
        space: The space.
        raw: Value by label, choices by index.
        nodes: As :func:`value_nodes` gives them for the space.
    """
    labels = [label for label in space.labels if label in raw]
    try:
        # All at once: an evaluation for each would look at every parameter each time.
        values = space.evaluate(raw, of=as_apply([nodes[label] for label in labels]))
    except BadSearchSpace:
        return {label: native(_value_or_raw(space, raw, nodes, label)) for label in labels}
    return {label: native(value) for label, value in zip(labels, values, strict=True)}


def _value_or_raw(space: Space, raw: Mapping[str, Any], nodes: Mapping[str, Apply], label: str) -> Any:
    try:
        return space.evaluate(raw, of=nodes[label])
    except BadSearchSpace:  # a document of an older space: an option with parameters that it has not
        return raw[label]


def native(value: Any) -> Any:
    """``value`` with numpy's numbers made Python's, also within dicts, lists and tuples."""
    if isinstance(value, (np.generic, Integer, Real)):
        return value.item()
    if isinstance(value, Mapping):
        return {native(key): native(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(native(item) for item in value)
    return value
