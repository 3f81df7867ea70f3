"""The order in which hyperopt draws the parameters of a space, so that a seed gives here what it gives there.

Found by running hyperopt 0.3.0 on random spaces. Labels are drawn from the last to the first in alphabetical order, and
before each of them whatever choices decide whether it is active. These are met on the way down from the root to the
parameter, among several ways down on the last one first. Where many ways lead to one choice (nodes that are used many
times, in options and in the options of those) hyperopt's order is sometimes another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply

#: By node those that use it, and at which of their inputs.
Users: TypeAlias = defaultdict[Apply, list[tuple[Apply, int]]]


def draw_order(expr: Apply, nodes: Mapping[str, Apply]) -> list[str]:
    """Labels in the order of their draws: any choice comes before what it switches.

    Args:
        expr: The space.
        nodes: Its parameter nodes by label.
    """
    users: Users = defaultdict(list)
    for node in dfs(expr):
        for position, child in enumerate(node.inputs()):
            users[child].append((node, position))
    labels = {node: label for label, node in nodes.items()}
    asked: set[Apply] = set()
    drawn: list[str] = []

    def draw(parameter: Apply) -> None:
        # One that is being drawn may be asked for again: an option may use what its own selector is made of.
        if parameter not in asked:
            asked.add(parameter)
            for selector in _selectors_above(parameter, expr, users):
                for node in reversed(dfs(selector)):
                    if node in labels:
                        draw(node)
            drawn.append(labels[parameter])

    for label in sorted(nodes, reverse=True):
        draw(nodes[label])
    return drawn


def _selectors_above(parameter: Apply, expr: Apply, users: Users) -> Iterator[Apply]:
    """The selectors of the switches on the ways from the root down to a parameter."""
    inputs = _inputs_towards(parameter, users)
    seen: set[Apply] = set()
    stack: list[tuple[Apply, Apply | None]] = [(expr, None)]
    while stack:
        node, selector = stack.pop()
        if selector is not None:
            yield selector
        if node in seen:
            continue
        seen.add(node)
        selector = node.pos_args[0] if node.name == "switch" else None
        for child, _ in sorted(inputs[node].items(), key=lambda item: item[1]):
            stack.append((child, None if child is selector else selector))


def _inputs_towards(parameter: Apply, users: Users) -> defaultdict[Apply, dict[Apply, int]]:
    """By node above a parameter those of its inputs that lead there, each with its first position."""
    inputs: defaultdict[Apply, dict[Apply, int]] = defaultdict(dict)
    stack = [parameter]
    while stack:
        child = stack.pop()
        for user, position in users.get(child, ()):
            if user not in inputs:
                stack.append(user)
            inputs[user].setdefault(child, position)  # one that is there twice counts once
    return inputs
