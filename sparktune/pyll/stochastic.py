"""hyperopt's import path ``pyll.stochastic``: draws, and the functions that draw.

The functions ``uniform``, ``normal`` and so on draw at once: ``uniform(0, 1, rng=rng, size=(2, 3))``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sparktune.space.functions import STOCHASTIC_SYMBOLS as implicit_stochastic_symbols
from sparktune.space.graph import clone, dfs
from sparktune.space.nodes import IMPLEMENTATIONS, as_apply
from sparktune.space.scope import rec_eval, recursive_set_rng_kwarg, sample
from sparktune.space.symbols import scope

__all__ = [
    "as_apply",
    "choice",
    "clone",
    "dfs",
    "implicit_stochastic",
    "implicit_stochastic_symbols",
    "one_of",
    "rec_eval",
    "recursive_set_rng_kwarg",
    "rng_from_seed",
    "sample",
    "scope",
]

F = TypeVar("F", bound=Callable[..., Any])

choice = scope.choice
one_of = scope.one_of
rng_from_seed = IMPLEMENTATIONS["rng_from_seed"]


def implicit_stochastic(f: F) -> F:
    """Make ``f``, registered with ``scope.define`` and with an argument ``rng``, one of the functions that draw."""
    implicit_stochastic_symbols.add(f.__name__)
    return f


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in implicit_stochastic_symbols or name not in IMPLEMENTATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return IMPLEMENTATIONS[name]
