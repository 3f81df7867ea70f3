"""The graph of an expression: its nodes in an order in which they can be computed, and copies of it."""

from __future__ import annotations

from typing import Any

from sparktune.exceptions import InvalidSpaceError
from sparktune.space.nodes import Apply, Literal


def dfs(expr: Apply, seq: list[Apply] | None = None, seqset: set[Apply] | None = None) -> list[Apply]:
    """All nodes below ``expr``, arguments before the nodes that use them, each once, ``expr`` last.

    Raises:
        InvalidSpaceError: If a node is below itself.
    """
    seq = [] if seq is None else seq
    seen = set(seq) if seqset is None else seqset
    entered: set[Apply] = set()
    stack: list[tuple[Apply, bool]] = [(expr, False)]
    while stack:  # an explicit stack: spaces built by a loop nest deeper than Python recurses
        node, is_expanded = stack.pop()
        if node in seen:
            continue
        if is_expanded:
            seen.add(node)
            seq.append(node)
        elif node in entered:
            raise circle(node)
        else:
            entered.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.inputs()) if child not in seen)
    return seq


def circle(node: Apply) -> InvalidSpaceError:
    """The error of a node that is below itself, as when its arguments were replaced by what uses it."""
    return InvalidSpaceError(
        f"the space goes in a circle: a {node.name!r} node is among its own arguments, or below them. Put clone(node) "
        "into an expression that is to take the node's place"
    )


def toposort(expr: Apply) -> list[Apply]:
    """The nodes of ``expr`` in an order in which they can be computed."""
    return dfs(expr)


def clone(expr: Apply, memo: dict[Apply, Apply] | None = None) -> Apply:
    """A copy of the graph; ``memo`` maps nodes to the copies to use in their place."""
    copies = {} if memo is None else memo
    for node in dfs(expr):
        if node not in copies:
            copies[node] = node.clone_from_inputs([copies[child] for child in node.inputs()])
    return copies[expr]


def clone_merge(expr: Apply, memo: dict[Apply, Apply] | None = None, merge_literals: bool = False) -> Apply:
    """A copy of the graph in which equal calls of pure functions are one node.

    Args:
        expr: The graph.
        memo: Nodes and the copies to use in their place.
        merge_literals: Whether leaves of one type with equal values become one as well.
    """
    copies = {} if memo is None else memo
    first: dict[Any, Apply] = {}
    for node in dfs(expr):
        if node in copies:
            continue
        copied = node.clone_from_inputs([copies[child] for child in node.inputs()])
        key = _merge_key(copied, merge_literals)
        copies[node] = copied if key is None else first.setdefault(key, copied)
    return copies[expr]


def _merge_key(node: Apply, merge_literals: bool) -> Any:
    """Equal for nodes that may be one; None for a node that stays by itself."""
    if isinstance(node, Literal):
        try:
            hash(node.obj)
        except TypeError:
            return None
        return (type(node.obj), node.obj) if merge_literals else None
    if not node.pure:
        return None
    return node.name, node.o_len, tuple(node.pos_args), tuple((key, child) for key, child in node.named_args)
