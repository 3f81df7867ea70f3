"""hyperopt's import path ``vectorize``, left out: the names can be imported, and say when used what stands for them.

In hyperopt this module rewrites a space into an expression that draws many points at once. Here a space is compiled,
see :class:`~sparktune.space.compile.Space`, and draws arrays by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from sparktune.exceptions import SparktuneError

__all__ = ["VectorizeHelper", "VectorizeLeftOutError", "replace_repeat_stochastic", "vectorize_stochastic"]


class VectorizeLeftOutError(SparktuneError, NotImplementedError):
    """Something of hyperopt's ``vectorize`` was used."""


def _raise_left_out(name: str) -> NoReturn:
    raise VectorizeLeftOutError(
        f"vectorize.{name} is hyperopt's own machinery and is left out: a compiled space draws points without it. "
        "For n points write Space(space).sample(rng, n), from sparktune.space.compile import Space; for one value "
        "pyll.stochastic.sample(space, rng); for documents rand.suggest"
    )


def _left_out(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        _raise_left_out(name)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Raises VectorizeLeftOutError: hyperopt's ``{name}`` is left out."
    return refuse


class VectorizeHelper:
    """Left out: making one raises VectorizeLeftOutError. A class, for each ``Domain`` that hyperopt pickled has one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _raise_left_out("VectorizeHelper")

    def __setstate__(self, state: Any) -> None:
        """Take nothing of what hyperopt has pickled: a ``Domain`` needs none of it here."""


replace_repeat_stochastic = _left_out("replace_repeat_stochastic")
vectorize_stochastic = _left_out("vectorize_stochastic")
idxs_map = _left_out("idxs_map")
idxs_take = _left_out("idxs_take")
uniq = _left_out("uniq")
vchoice_merge = _left_out("vchoice_merge")
vchoice_split = _left_out("vchoice_split")
