"""hyperopt's import path ``pyll_utils``: the ``hp`` functions under their long names, and conditions of parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from sparktune.exceptions import BadSearchSpace, DuplicateLabel, InvalidSpaceError, InvalidTypeError
from sparktune.hp import choice as hp_choice
from sparktune.hp import lognormal as hp_lognormal
from sparktune.hp import loguniform as hp_loguniform
from sparktune.hp import normal as hp_normal
from sparktune.hp import pchoice as hp_pchoice
from sparktune.hp import qlognormal as hp_qlognormal
from sparktune.hp import qloguniform as hp_qloguniform
from sparktune.hp import qnormal as hp_qnormal
from sparktune.hp import quniform as hp_quniform
from sparktune.hp import randint as hp_randint
from sparktune.hp import uniform as hp_uniform
from sparktune.hp import uniformint as hp_uniformint
from sparktune.space.compile import Space
from sparktune.space.functions import hyperopt_param
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, Literal, MissingArgument, as_apply
from sparktune.space.numbers import is_number
from sparktune.space.scope import scope

__all__ = [
    "EQ",
    "Cond",
    "MissingArgument",
    "expr_to_config",
    "hp_choice",
    "hp_lognormal",
    "hp_loguniform",
    "hp_normal",
    "hp_pchoice",
    "hp_qlognormal",
    "hp_qloguniform",
    "hp_qnormal",
    "hp_quniform",
    "hp_randint",
    "hp_uniform",
    "hp_uniformint",
    "hyperopt_param",
    "scope",
    "validate_distribution_range",
    "validate_label",
]

P = ParamSpec("P")
R = TypeVar("R")


# -- checks for functions that make parameters ------------------------------------------------------------------------


def validate_label(f: Callable[P, R]) -> Callable[P, R]:
    """A decorator: the first argument, ``label``, must be text."""

    @wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        label = kwargs["label"] if "label" in kwargs else args[0] if args else None
        if not isinstance(label, (str, bytes)):
            raise InvalidTypeError(f"require string label: the first argument names the parameter, got {label!r}")
        return f(*args, **kwargs)

    return checked


def validate_distribution_range(f: Callable[P, R]) -> Callable[P, R]:
    """A decorator: of ``(label, low, high, ...)``, by position or by keyword, ``low`` must be less than ``high``."""

    @wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = dict(zip(("label", "low", "high"), args, strict=False)) | kwargs
        low, high = (_plain(given.get(name)) for name in ("low", "high"))
        if is_number(low) and is_number(high) and not low < high:
            raise InvalidSpaceError(f"low should be less than high, got low={low}, high={high}")
        return f(*args, **kwargs)

    return checked


def _plain(value: object) -> Any:
    return value.obj if isinstance(value, Literal) else value


# -- conditions -------------------------------------------------------------------------------------------------------


class Cond:
    """A condition on a choice: its value ``op`` ``val``; equal conditions are equal objects.

    Args:
        name: Label of the choice.
        val: Number of the option.
        op: How they compare, ``"="`` in all conditions made here.
    """

    def __init__(self, name: str, val: Hashable, op: str) -> None:
        self.op = op
        self.name = name
        self.val = val

    def __str__(self) -> str:
        return f"Cond{{{self.name} {self.op} {self.val}}}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cond):
            return NotImplemented
        return (self.op, self.name, self.val) == (other.op, other.name, other.val)

    def __hash__(self) -> int:
        return hash((self.op, self.name, self.val))


EQ = partial(Cond, op="=")


def expr_to_config(expr: object, conditions: Collection[Any] | None, hps: dict[str, dict[str, Any]]) -> None:
    """Fill ``hps`` with the parameters of a space and the conditions under which each is active.

    Args:
        expr: The space.
        conditions: What holds for the whole of it: the beginning of every sequence of conditions.
        hps: Receives for each label ``{"label": label, "node": its distribution, "conditions": {sequence, ...}}``. The
            parameter is active if all conditions of one sequence hold. A ``switch`` on anything but a choice's own
            value adds no condition.

    Raises:
        DuplicateLabel: If two nodes have one label and are not one parameter, see
            :class:`~sparktune.space.compile.Space`.
        BadSearchSpace: If a label is not text, or a node is below itself.
    """
    start = tuple(conditions or ())
    n_options: dict[str, int] = {}
    seen: set[tuple[Apply, tuple[Any, ...]]] = set()
    root = as_apply(expr)
    order = dfs(root)  # refuses a circle, around which the conditions would grow for ever
    labels = [_label(node) for node in order if node.name == "hyperopt_param"]
    if len(set(labels)) < len(labels):
        root = Space(root).expr  # with one node for those that are one parameter
    stack: list[tuple[Apply, tuple[Any, ...]]] = [(root, start)]
    while stack:
        node, holds = stack.pop()
        if (node, holds) in seen:
            continue
        seen.add((node, holds))
        if node.name == "hyperopt_param":
            _add(node, holds, hps)
        below = [(child, holds) for child in node.inputs()]
        if node.name == "switch" and node.pos_args[0].name == "hyperopt_param":
            label = _label(node.pos_args[0])
            n_options[label] = len(node.pos_args) - 1
            below[1:] = [(child, (*holds, EQ(label, k))) for k, child in enumerate(node.pos_args[1:])]
        stack.extend(reversed(below))
    _merge_all_options(hps, n_options, start)


def _label(param: Apply) -> str:
    label = _plain(param.arg["label"])
    if not isinstance(label, str):
        raise BadSearchSpace(f"a label must be a string, got {label}")
    return label


def _add(param: Apply, holds: tuple[Any, ...], hps: dict[str, dict[str, Any]]) -> None:
    label, node = _label(param), param.arg["obj"]
    entry = hps.setdefault(label, {"node": node, "conditions": set(), "label": label})
    if entry["node"] is not node:
        raise DuplicateLabel(f"{label}: this label is on two parameters; give each its own")
    entry["conditions"].add(holds)


def _merge_all_options(hps: dict[str, dict[str, Any]], n_options: dict[str, int], start: tuple[Any, ...]) -> None:
    """Parameters in every option of one choice hang on nothing."""
    for entry in hps.values():
        for label, n in n_options.items():
            if entry["conditions"] == {(*start, EQ(label, k)) for k in range(n)}:
                entry["conditions"] = {start}
                break
