"""The evaluator of expressions, and draws from them.

Parameters (``hyperopt_param`` nodes) get their values through the evaluator's ``memo``. The functions are in
``space.functions``, the table that holds them in ``space.symbols``.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from sparktune.exceptions import BadSearchSpace, SparktuneError
from sparktune.space.functions import STOCHASTIC_SYMBOLS
from sparktune.space.generators import generator_of
from sparktune.space.graph import circle, clone, dfs
from sparktune.space.nodes import IMPLEMENTATIONS, Apply, Literal, as_apply
from sparktune.space.symbols import SymbolTable, scope

__all__ = [
    "IMPLEMENTATIONS",
    "STOCHASTIC_SYMBOLS",
    "GarbageCollected",
    "NoIndexError",
    "NoSuchOptionError",
    "SymbolTable",
    "UndrawnParameterError",
    "rec_eval",
    "recursive_set_rng_kwarg",
    "sample",
    "scope",
]

#: As many calls of one evaluation may give expressions (see ``Lambda``): a recursion without an end must end.
MAX_CALLS = 10_000


class GarbageCollected:
    """Stands for the value of a parameter that is inactive, in the memos that objectives and programs are given."""


class UndrawnParameterError(SparktuneError):
    """A stochastic node was evaluated with neither a value nor a generator; ``node`` is that node."""

    def __init__(self, node: Apply) -> None:
        super().__init__(f"{node.name} has no value: give one in the memo, or draw one with pyll.stochastic.sample")
        self.node = node

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.node,)


class NoSuchOptionError(BadSearchSpace, IndexError):
    """A ``switch`` got a number that none of its options has."""


class NoIndexError(BadSearchSpace, TypeError):
    """A ``switch`` got something else than an integer for the number of an option."""


# -- evaluation -------------------------------------------------------------------------------------------------------


def rec_eval(
    expr: object,
    deepcopy_inputs: bool = False,
    memo: Mapping[Apply, Any] | None = None,
    max_program_len: int | None = None,
    memo_gc: bool = True,
    print_trace: bool = False,
    print_node_on_error: bool = True,
) -> Any:
    """The value of an expression; options of a ``switch`` that are not chosen are not evaluated.

    Where a function returns an expression, as a ``Lambda`` does, the value of that takes its place.

    Args:
        expr: Node, or anything :func:`as_apply` takes.
        deepcopy_inputs: Give each function deep copies of its arguments, so that it cannot change shared values.
        memo: Values of nodes that are known already; :class:`GarbageCollected` is none.
        max_program_len: Most nodes to evaluate; None for no limit.
        memo_gc, print_trace, print_node_on_error: Accepted for hyperopt's signature; nothing is printed.

    Raises:
        NoSuchOptionError, NoIndexError: If a ``switch`` has no option for its index.
        BadSearchSpace: If the program is too long, or a value is needed for itself.
        Exception: Whatever a function of the expression raises.
    """
    root = as_apply(expr)
    values = {node: value for node, value in memo.items() if value is not GarbageCollected} if memo else {}
    called: dict[Apply, Apply] = {}  # calls that gave an expression, with that expression
    waited: dict[Apply, list[Apply]] = {}  # by node the arguments that it was last seen to wait for
    stack = [root]
    while stack:
        node = stack[-1]
        if node in values:
            stack.pop()
            continue
        if called and node in called:
            values[node] = values[called[node]]
            continue
        waiting_for = []
        for child in _needs(node, values):
            if child not in values:
                if isinstance(child, Literal):  # half of all nodes: not worth a round of the loop
                    values[child] = child.obj
                else:
                    waiting_for.append(child)
        if waiting_for:
            if waited.get(node) == waiting_for:
                raise circle(node)
            waited[node] = waiting_for
            stack.extend(waiting_for)
            if max_program_len is not None and len(values) > max_program_len:
                raise BadSearchSpace(f"the space has more than {max_program_len} nodes: raise max_program_len")
            continue
        value = _value(node, values, deepcopy_inputs)
        if isinstance(value, Apply):
            called[node] = value
            stack.append(value)
            if len(called) > MAX_CALLS:
                raise BadSearchSpace(f"{node.name} goes on calling expressions: end the recursion by a scope.switch")
            continue
        values[node] = value
        stack.pop()
    return values[root]


def _needs(node: Apply, values: Mapping[Apply, Any]) -> list[Apply]:
    """The arguments without which ``node`` has no value; of a switch the chosen option alone."""
    if node.name != "switch":
        return node.inputs()
    selector = node.pos_args[0]
    if selector in values:
        return [selector, _chosen(node, values[selector])]
    return [selector, _chosen(node, selector.obj)] if isinstance(selector, Literal) else [selector]


def _chosen(node: Apply, index: Any) -> Apply:
    options = node.pos_args[1:]
    try:
        position = operator.index(index if not isinstance(index, np.bool_) else bool(index))
    except TypeError:
        raise NoIndexError(f"a switch needs an integer index, got {index!r}: wrap it with scope.int(...)") from None
    if not 0 <= position < len(options):
        raise NoSuchOptionError(f"a switch of {len(options)} options got index {position}; indices count from 0")
    return options[position]


def _value(node: Apply, values: Mapping[Apply, Any], deepcopy_inputs: bool) -> Any:
    if isinstance(node, Literal):
        return node.obj
    if node.name == "switch":
        return values[_chosen(node, values[node.pos_args[0]])]
    args = [values[child] for child in node.pos_args]
    kwargs = {key: values[child] for key, child in node.named_args}
    if deepcopy_inputs:
        args, kwargs = copy.deepcopy(args), copy.deepcopy(kwargs)
    if node.name in STOCHASTIC_SYMBOLS and kwargs.get("rng") is None:
        raise UndrawnParameterError(node)
    function = IMPLEMENTATIONS.get(node.name)
    if function is None:
        raise BadSearchSpace(
            f"the space calls {node.name!r}, which is not registered here: register it with scope.define"
        )
    return function(*args, **kwargs)


# -- sampling ---------------------------------------------------------------------------------------------------------


def recursive_set_rng_kwarg(expr: Apply, rng: object = None) -> Apply:
    """Give every stochastic node of the graph the generator ``rng``, in place; returns ``expr``."""
    literal = as_apply(rng)
    for node in dfs(expr):
        if node.name in STOCHASTIC_SYMBOLS:
            node.set_kwarg("rng", literal)
    return expr


def sample(expr: object, rng: object = None, **kwargs: Any) -> Any:
    """One draw of the value of a space from its prior.

    Args:
        expr: A space.
        rng: See :func:`~sparktune.space.generators.generator_of`.
        **kwargs: Passed to :func:`rec_eval`.
    """
    generator = rng if isinstance(rng, Apply) else Literal(generator_of(rng))
    copied = recursive_set_rng_kwarg(clone(as_apply(expr)), generator)
    return rec_eval(copied, **kwargs)
