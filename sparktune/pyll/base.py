"""hyperopt's import path ``pyll.base``.

Beside what is listed in ``__all__``, every function that is registered in ``scope`` can be imported from here.
"""

from collections.abc import Callable
from typing import Any

from sparktune.space.functions import bincount
from sparktune.space.graph import clone, clone_merge, dfs, toposort
from sparktune.space.nodes import IMPLEMENTATIONS, Apply, Literal, MissingArgument, apply, as_apply
from sparktune.space.scope import GarbageCollected, rec_eval
from sparktune.space.symbols import (
    Lambda,
    PyllImportError,
    SymbolTable,
    SymbolTableEntry,
    UndefinedValue,
    p0,
    p1,
    p2,
    p3,
    p4,
    scope,
)

__all__ = [
    "DEFAULT_MAX_PROGRAM_LEN",
    "Apply",
    "GarbageCollected",
    "Lambda",
    "Literal",
    "MissingArgument",
    "PyllImportError",
    "SymbolTable",
    "SymbolTableEntry",
    "UndefinedValue",
    "apply",
    "as_apply",
    "bincount",
    "clone",
    "clone_merge",
    "dfs",
    "p0",
    "p1",
    "p2",
    "p3",
    "p4",
    "rec_eval",
    "scope",
    "toposort",
]


#: hyperopt's limit for ``rec_eval``, for programs that pass it on; here there is none unless it is passed.
DEFAULT_MAX_PROGRAM_LEN = 100_000


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in IMPLEMENTATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return IMPLEMENTATIONS[name]
