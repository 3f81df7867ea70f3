"""``scope``: the functions that may appear in a space, and the evaluator.

``scope.name(...)`` builds a node that calls the function registered under ``name``; ``scope.define`` registers one of
the user's own. Parameters (``hyperopt_param`` nodes) get their values through the evaluator's ``memo``.
"""

from __future__ import annotations

import copy
import math
import operator
import time
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, TypeVar

import numpy as np

from sparktune.exceptions import BadSearchSpace, SparktuneError
from sparktune.space import distributions
from sparktune.space.nodes import IMPLEMENTATIONS, Apply, Literal, apply, as_apply, clone, dfs

F = TypeVar("F", bound=Callable[..., Any])


class SymbolTable:
    """Functions by name; attribute access gives their node builders.

    ``_impls`` is the dictionary behind it, under the name that programs written for hyperopt use.
    """

    def __init__(self) -> None:
        self._impls = IMPLEMENTATIONS
        self._info: dict[str, tuple[int | None, bool]] = {}

    def __getattr__(self, name: str) -> Callable[..., Apply]:
        if name.startswith("_") or name not in self._impls:
            raise AttributeError(
                f"scope has no function {name!r}: register it with scope.define, or use one of the functions listed "
                "in docs/space.md"
            )
        return partial(self._new_apply, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._impls]

    def _new_apply(self, name: str, /, *args: object, **kwargs: object) -> Apply:
        length, pure = self._info.get(name, (None, False))
        return Apply(name, [as_apply(a) for a in args], {k: as_apply(v) for k, v in kwargs.items()}, length, pure)

    def define(self, f: F, o_len: int | None = None, pure: bool = False) -> F:
        """Register ``f`` under its name; returns ``f``, so that it serves as a decorator.

        Raises:
            ValueError: If the name is taken.
        """
        name = f.__name__
        if name in self._impls:
            raise ValueError(f"scope has a function {name!r} already: choose another name, or scope.undefine it first")
        self._impls[name] = f
        self._info[name] = (o_len, pure)
        return f

    def define_pure(self, f: F) -> F:
        """Register ``f`` as a function whose value hangs on its arguments alone."""
        return self.define(f, pure=True)

    def define_info(self, o_len: int | None = None, pure: bool = False) -> Callable[[F], F]:
        """A decorator that registers a function whose value has ``o_len`` elements."""
        return partial(self.define, o_len=o_len, pure=pure)

    def define_if_new(self, f: F, *args: Any, **kwargs: Any) -> F:
        """Register ``f`` unless its name is taken; returns what is registered."""
        if f.__name__ in self._impls:
            registered: F = self._impls[f.__name__]  # type: ignore[assignment]
            return registered
        return self.define(f, *args, **kwargs)

    def undefine(self, f: Callable[..., Any] | str) -> None:
        """Remove a function, given itself or its name."""
        name = f if isinstance(f, str) else f.__name__
        if name not in self._impls:
            raise ValueError(f"scope has no function {name!r} to remove")
        del self._impls[name]
        self._info.pop(name, None)

    def inject(self, *args: Callable[..., Any], **kwargs: Callable[..., Any]) -> None:
        """Register functions, under their own names or under keywords, if these are free."""
        functions = {f.__name__: f for f in args} | kwargs
        for name, function in functions.items():
            if name in self._impls:
                raise ValueError(f"scope has a function {name!r} already: choose another name")
            self._impls[name] = function

    def import_(self, other: Mapping[str, Callable[..., Any]], *names: str) -> None:
        """Register the functions ``names`` (all, if none is given) of the dictionary ``other``."""
        self.inject(**{name: other[name] for name in names or other if callable(other[name])})

    def one_of(self, *options: object) -> Apply:
        """One of the options, drawn at random; unlike ``hp.choice`` no parameter of the search."""
        return apply("switch", apply("randint", len(options)), *options)


scope = SymbolTable()


class UndrawnParameterError(SparktuneError):
    """A stochastic node was evaluated with neither a value nor a generator; ``node`` is that node."""

    def __init__(self, node: Apply) -> None:
        super().__init__(f"{node.name} has no value: give one in the memo, or draw one with pyll.stochastic.sample")
        self.node = node

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.node,)


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

    Args:
        expr: Node, or anything :func:`as_apply` takes.
        deepcopy_inputs: Give each function deep copies of its arguments, so that it cannot change shared values.
        memo: Values of nodes that are known already.
        max_program_len: Most nodes to evaluate; None for no limit.
        memo_gc, print_trace, print_node_on_error: Accepted for hyperopt's signature; nothing is printed.

    Raises:
        BadSearchSpace: If a ``switch`` has no option for its index, or the program is too long.
        Exception: Whatever a function of the expression raises.
    """
    root = as_apply(expr)
    values: dict[Apply, Any] = dict(memo) if memo else {}
    stack = [root]
    while stack:
        node = stack[-1]
        if node in values:
            stack.pop()
            continue
        waiting_for = [child for child in _needs(node, values) if child not in values]
        if waiting_for:
            stack.extend(reversed(waiting_for))
            if max_program_len is not None and len(values) > max_program_len:
                raise BadSearchSpace(f"the space has more than {max_program_len} nodes: raise max_program_len")
            continue
        values[node] = _value(node, values, deepcopy_inputs)
        stack.pop()
    return values[root]


def _needs(node: Apply, values: Mapping[Apply, Any]) -> list[Apply]:
    """The arguments without which ``node`` has no value; of a switch the chosen option alone."""
    if node.name != "switch":
        return node.inputs()
    selector = node.pos_args[0]
    return [selector, _chosen(node, values[selector])] if selector in values else [selector]


def _chosen(node: Apply, index: Any) -> Apply:
    options = node.pos_args[1:]
    try:
        position = operator.index(index)
    except TypeError:
        raise BadSearchSpace(f"a switch needs an integer index, got {index!r}: wrap it with scope.int(...)") from None
    if not 0 <= position < len(options):
        raise BadSearchSpace(f"a switch of {len(options)} options got index {position}; indices count from 0")
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

STOCHASTIC_SYMBOLS = frozenset(distributions.BY_SYMBOL) | {"uniformint"}


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
        rng: Whatever ``numpy.random.default_rng`` takes; fresh entropy if None.
        **kwargs: Passed to :func:`rec_eval`.
    """
    generator = rng if isinstance(rng, Apply) else Literal(np.random.default_rng(rng))  # type: ignore[arg-type]
    copied = recursive_set_rng_kwarg(clone(as_apply(expr)), generator)
    return rec_eval(copied, **kwargs)


# -- the functions ----------------------------------------------------------------------------------------------------


def _stochastic(symbol: str, make: Callable[..., distributions.Distribution]) -> None:
    """Register ``symbol`` as a draw from ``make(*arguments)``, with the extra arguments ``rng`` and ``size``."""
    names = {"randint": ("low", "high"), "categorical": ("p",)}.get(symbol) or tuple(
        distributions.BY_SYMBOL[symbol].__dataclass_fields__
    )
    defaults = {"high": "=None"} if symbol == "randint" else {}
    parameters = ", ".join(name + defaults.get(name, "") for name in names)

    def draw(arguments: tuple[Any, ...], rng: Any, size: distributions.Size) -> Any:
        value = make(*arguments).sample(np.random.default_rng(rng), size)
        return value[()] if value.ndim == 0 else value

    # Built from text, since Apply.arg reads the argument names from the signature.
    source = f"lambda {parameters}, rng=None, size=(): draw(({', '.join(names)},), rng, size)"
    IMPLEMENTATIONS[symbol] = eval(source, {"draw": draw})


def _randint(low: int, high: int | None) -> distributions.RandInt:
    return distributions.RandInt(*distributions.randint_bounds(low, high))


def _categorical(p: Any) -> distributions.Categorical:
    return distributions.Categorical(tuple(np.ravel(np.asarray(p, dtype=float)).tolist()))


for _symbol, _class in distributions.BY_SYMBOL.items():
    _draws: Any = {"randint": _randint, "categorical": _categorical}.get(_symbol, _class)
    _stochastic(_symbol, _draws)


def _hyperopt_param(label: str, obj: Any) -> Any:
    return obj


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _call(f: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    return f(*args, **(kwargs or {}))


def _call_method(obj: Any, methodname: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(obj, methodname)(*args, **kwargs)


def _copy_call_method(obj: Any, methodname: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(copy.copy(obj), methodname)(*args, **kwargs)


def _callpipe1(functions: list[Callable[[Any], Any]], value: Any) -> Any:
    return reduce(lambda result, function: function(result), functions, value)


def _bincount(x: Any, offset: int = 0, weights: Any = None, minlength: int | None = None) -> Any:
    counts = np.asarray(x) - offset
    return np.bincount(counts, weights, 0 if minlength is None else minlength)


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
    | {f.__name__: f for f in (int, float, str, len, list, tuple, range, map, max, min, sum, getattr, partial)}
    | {
        f.__name__: getattr(np, f.__name__)
        for f in (np.exp, np.log, np.sqrt, np.sin, np.cos, np.tan, np.minimum, np.maximum)
    }
    | {
        "hyperopt_param": _hyperopt_param,
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
        "bincount": _bincount,
        "array_union": _array_union,
        "array_union1": lambda args: _array_union(*args),
        "str_join": lambda s, seq: s.join(seq),
        "rng_from_seed": np.random.default_rng,
        "curtime": time.time,
        "Raise": _raise,
        "round": round,
        "log10": math.log10,
        "log2": math.log2,
    }
)
