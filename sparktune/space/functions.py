"""The functions that come registered in ``scope``."""

from __future__ import annotations

import copy
import inspect
import math
import operator
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from typing import Any

import numpy as np

from sparktune.space import distributions
from sparktune.space.nodes import BUILT_IN, IMPLEMENTATIONS, INFO, Apply
from sparktune.space.numbers import plain
from sparktune.space.symbols import SymbolTableEntry, scope

#: Functions that draw: they take ``rng`` and ``size``, and have no value without a generator.
STOCHASTIC_SYMBOLS = {*distributions.BY_SYMBOL, "uniformint", "randint_via_categorical"}

#: What a draw takes besides the arguments of its distribution, with the defaults.
EXTRA = [
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
    for name, default in (("rng", None), ("size", ()))
]

# -- draws ------------------------------------------------------------------------------------------------------------


def _stochastic(symbol: str, make: Callable[..., distributions.Distribution]) -> None:
    """Register ``symbol`` as a draw from ``make(*arguments)``, with the extra arguments ``rng`` and ``size``."""
    signature = inspect.Signature([*inspect.signature(make).parameters.values(), *EXTRA])

    def draw(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        *arguments, rng, size = bound.arguments.values()
        value = make(*map(plain, arguments)).sample(np.random.default_rng(rng), size)
        return value[()] if value.ndim == 0 else value

    draw.__signature__ = signature  # type: ignore[attr-defined] # Apply.arg reads the names of arguments there
    IMPLEMENTATIONS[symbol] = draw


def _randint(low: int, high: int | None = None) -> distributions.RandInt:
    return distributions.RandInt(*distributions.randint_bounds(low, high))


def _categorical(p: Any) -> distributions.Categorical:
    return distributions.Categorical(tuple(np.ravel(np.asarray(p, dtype=float)).tolist()))


for _symbol, _class in distributions.BY_SYMBOL.items():
    _draws: Any = {"randint": _randint, "categorical": _categorical}.get(_symbol, _class)
    _stochastic(_symbol, _draws)


def _randint_via_categorical(p: Any, rng: Any = None, size: distributions.Size = ()) -> Any:
    return IMPLEMENTATIONS["categorical"](p, rng, size)


# -- the rest ---------------------------------------------------------------------------------------------------------


def hyperopt_param(label: str, obj: Any) -> Any:
    """``obj``: the value of a parameter is the value of its distribution."""
    return obj


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _call(f: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    return f(*args, **(kwargs or {}))


def _call_method(obj: Any, methodname: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(obj, methodname)(*args, **kwargs)


def _copy_call_method(obj: Any, methodname: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(copy.copy(obj), methodname)(*args, **kwargs)


def _evaluated(value: Any) -> Any:
    """``value``, or if it is an expression its value: the builders in ``scope`` may be passed as functions."""
    return value.eval() if isinstance(value, Apply) else value


def _partial(name: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    if callable(name):
        return partial(name, *args, **kwargs)
    entry = getattr(scope, name)
    return SymbolTableEntry(scope, name, entry.o_len, entry.pure, args, kwargs)


def _callpipe1(fn_list: list[Callable[[Any], Any]], arg: Any) -> Any:
    return reduce(lambda value, function: _evaluated(function(value)), fn_list, arg)


def _map(fn: Callable[..., Any], seq: Iterable[Any], *more: Iterable[Any]) -> list[Any]:
    return [_evaluated(fn(*items)) for items in zip(seq, *more, strict=False)]


def _sum(x: Any, axis: int | None = None) -> Any:
    return sum(x) if axis is None and np.ndim(x) == 1 else np.sum(x, axis=axis)


def bincount(x: Any, offset: int = 0, weights: Any = None, minlength: int | None = None, p: Any = None) -> Any:
    """How often each integer from ``offset`` on is in ``x``; at least ``minlength`` counts, and one for each of ``p``.

    Args:
        x: Integers, none below ``offset``.
        offset: What the first count is of.
        weights: What each of ``x`` counts; 1 if None.
        minlength: Least number of counts.
        p: Something with an element for each integer there can be.
    """
    return np.bincount(np.asarray(x) - offset, weights, max(minlength or 0, 0 if p is None else len(p)))


def _curtime(obj: Any = None) -> Any:
    return time.time(), obj


def _raise(exception: type[BaseException], *args: Any, **kwargs: Any) -> Any:
    raise exception(*args, **kwargs)


def _array_union(*arrays: Any) -> Any:
    return reduce(np.union1d, arrays)


def _pos_args(*args: Any) -> tuple[Any, ...]:
    return args


def _switch(index: int, *options: Any) -> Any:
    return options[index]


def _asarray(a: Any, dtype: Any = None) -> Any:
    return np.asarray(a) if dtype is None else np.asarray(a, dtype=dtype)


IMPLEMENTATIONS.update(
    {
        name: getattr(operator, name)
        for name in "add sub mul truediv floordiv mod neg pow eq ne lt le gt ge getitem abs".split()
    }
    | {f.__name__: f for f in (int, float, str, len, list, tuple, range, max, min, getattr, round)}
    | {
        f.__name__: getattr(np, f.__name__)
        for f in (np.exp, np.log, np.sqrt, np.sin, np.cos, np.tan, np.minimum, np.maximum)
    }
    | {
        "hyperopt_param": hyperopt_param,
        "dict": _dict,
        "pos_args": _pos_args,
        "switch": _switch,
        "call": _call,
        "call_method": _call_method,
        "call_method_pure": _call_method,
        "copy_call_method_pure": _copy_call_method,
        "callpipe1": _callpipe1,
        "identity": lambda obj: obj,
        "asarray": _asarray,
        "repeat": lambda n_times, obj: [obj] * n_times,
        "bincount": bincount,
        "array_union": _array_union,
        "array_union1": lambda args: _array_union(*args),
        "str_join": lambda s, seq: s.join(seq),
        "rng_from_seed": np.random.default_rng,
        "curtime": _curtime,
        "Raise": _raise,
        "map": _map,
        "partial": _partial,
        "sum": _sum,
        "randint_via_categorical": _randint_via_categorical,
        "log10": math.log10,
        "log2": math.log2,
    }
)

#: Functions whose value may differ from call to call, or that change what they are given. Two nodes that call one
#: with equal arguments are two, not one.
IMPURE = {*STOCHASTIC_SYMBOLS, "call", "call_method", "callpipe1", "curtime", "dict", "hyperopt_param", "list", "map"}
IMPURE |= {"partial", "pos_args", "repeat", "rng_from_seed"}

BUILT_IN.update(IMPLEMENTATIONS)
INFO.update({_name: (None, _name not in IMPURE) for _name in IMPLEMENTATIONS})
