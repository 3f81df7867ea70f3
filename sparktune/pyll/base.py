"""hyperopt's import path ``pyll.base``."""

from sparktune.space.nodes import Apply, Literal, MissingArgument, apply, as_apply, clone, dfs, toposort
from sparktune.space.scope import SymbolTable, rec_eval, scope

__all__ = [
    "Apply",
    "Literal",
    "MissingArgument",
    "SymbolTable",
    "apply",
    "as_apply",
    "clone",
    "dfs",
    "rec_eval",
    "scope",
    "toposort",
]
