"""Where a node is in a space, in words that its author recognises."""

from __future__ import annotations

from sparktune.space.nodes import Apply, Literal

#: Functions that stand around a parameter without anybody having written them.
_TRANSPARENT = ("float", "int", "hyperopt_param")


def place_of(node: Apply, expr: Apply) -> str:
    """The shortest way to a node from the whole space, such as ``space['model'], option 1 of 'kind', ['c']``."""
    steps: dict[Apply, tuple[Apply, str]] = {}
    level = [expr]
    while level and node not in steps:
        below = []
        for parent in level:
            for position, child in enumerate(parent.inputs()):
                if child not in steps and child is not expr:
                    steps[child] = parent, _step(parent, position)
                    below.append(child)
        level = below
    names = []
    while node is not expr:
        node, name = steps[node]
        names.append(name)
    text = "space"
    for name in reversed(names):
        text += name if name.startswith("[") or not name else f", {name}, "
    return text.replace(", , ", ", ").rstrip(", ")


def _step(parent: Apply, position: int) -> str:
    if parent.name in _TRANSPARENT or (parent.name == "switch" and position == 0):
        return ""
    if parent.name == "dict" and position >= len(parent.pos_args):
        return f"[{parent.named_args[position - len(parent.pos_args)][0]!r}]"
    if parent.name == "pos_args":
        return f"[{position}]"
    if parent.name == "switch":
        selector = parent.pos_args[0]
        label = selector.pos_args[0] if selector.name == "hyperopt_param" and selector.pos_args else None
        return f"option {position - 1} of {label.obj!r}" if isinstance(label, Literal) else f"option {position - 1}"
    return f"argument {position} of {parent.name}"
