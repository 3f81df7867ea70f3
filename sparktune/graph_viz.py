"""A drawing of a space's conditions, as text for Graphviz."""

from __future__ import annotations

from typing import Any

from sparktune.pyll_utils import expr_to_config

__all__ = ["dot_hyperparameters"]


def dot_hyperparameters(expr: object) -> str:
    """The parameters of a space and what they hang on, in Graphviz's language: ``dot -Tsvg``.

    Boxes are parameters, ellipses conditions; where several conditions must hold, each points to their conjunction.

    Args:
        expr: The space.
    """
    hps: dict[str, dict[str, Any]] = {}
    expr_to_config(expr, (), hps)
    nodes: dict[str, str] = {}
    edges: dict[tuple[str, str], None] = {}  # in order, each once
    for label, entry in hps.items():
        nodes[label] = "box"
        for conditions in sorted(entry["conditions"], key=str):
            if not conditions:
                continue
            names = [f"{condition.name}{condition.op}{condition.val}" for condition in conditions]
            together = " & ".join(names)
            for name, condition in zip(names, conditions, strict=True):
                nodes.setdefault(name, "ellipse")
                edges[condition.name, name] = None
                if name != together:
                    edges[name, together] = None
            nodes.setdefault(together, "ellipse")
            edges[together, label] = None
    lines = [f"{_quoted(name)} [shape={shape}];" for name, shape in nodes.items()]
    lines += [f"{_quoted(source)} -> {_quoted(target)};" for source, target in edges]
    return "\n".join(["digraph {", *lines, "}", ""])


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
