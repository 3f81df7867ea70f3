"""Expression nodes: what ``hp.*`` and ``scope.*`` build, and what programs written for hyperopt walk.

A search space is a graph of :class:`Apply` nodes with :class:`Literal` leaves. Identity matters: a node used twice is
one parameter. ``.name``, ``.pos_args``, ``.named_args``, ``.arg`` and ``Literal.obj`` are public in practice, so that
shape is kept; everything else works on the compiled :class:`~sparktune.space.compile.Space`.
"""

from __future__ import annotations

import inspect
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidSpaceError, InvalidTypeError
from sparktune.space.numbers import plain

#: Functions by symbol name; ``space.symbols`` fills it. Kept here since ``Apply.arg`` needs the signatures.
IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
#: By symbol name the number of elements of its value, where known, and whether it is pure.
INFO: dict[str, tuple[int | None, bool]] = {}
_NO_INFO = (None, False)
#: Names that come with the package; ``space.functions`` fills it.
BUILT_IN: set[str] = set()
#: What numpy's functions are called here that calculate with nodes.
OF_UFUNC = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "truediv",
    "floor_divide": "floordiv",
    "remainder": "mod",
    "power": "pow",
    "negative": "neg",
    "absolute": "abs",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
} | {name: name for name in ("exp", "log", "log2", "log10", "sqrt", "sin", "cos", "tan", "minimum", "maximum")}
#: Containers that are opened to see whether there is a node in one; others may do anything when they are asked.
_PLAIN = (list, tuple, set, frozenset, deque)
_CONTAINERS = frozenset([*_PLAIN, dict, MappingProxyType, SimpleNamespace, UserDict, UserList, ChainMap, np.ndarray])


class MissingArgument:
    """Stands in :attr:`Apply.arg` for an argument with neither value nor default."""


class Apply:
    """A call of the function registered under ``name``, not evaluated yet.

    Args:
        name: Symbol of the function, see ``scope``.
        pos_args: Positional argument nodes.
        named_args: ``[keyword, node]`` pairs.
        o_len: Number of elements of the value, where known; makes the node iterable.
        pure: Whether equal arguments always give an equal value.
        define_params: What a fresh process needs to register the function; pickling sets it, see ``space.symbols``.
    """

    def __init__(
        self,
        name: str,
        pos_args: list[Apply] | tuple[Apply, ...],
        named_args: list[list[Any]] | Mapping[str, Apply],
        o_len: int | None = None,
        pure: bool = False,
        define_params: object = None,
    ) -> None:
        pairs = named_args.items() if isinstance(named_args, Mapping) else named_args
        self.name = name
        self.pos_args = list(pos_args)
        # Lists, not tuples: programs written for hyperopt replace the node in place.
        self.named_args: list[Any] = sorted(([key, node] for key, node in pairs), key=lambda pair: str(pair[0]))
        self.o_len = o_len
        self.pure = pure
        self.define_params = define_params
        for node in self.inputs():
            if not isinstance(node, Apply):
                raise TypeError(f"the arguments of a node must be nodes, got {node!r}: wrap it with as_apply(...)")

    # -- structure ----------------------------------------------------------------------------------------------

    @property
    def arg(self) -> dict[str, Any]:
        """The argument nodes by parameter name of the implementation; defaults come as literals."""
        function = IMPLEMENTATIONS.get(self.name)
        if function is None:
            raise NameError(f"no function is registered under {self.name!r}: register it with scope.define")
        keywords = {key: node for key, node in self.named_args}
        try:
            signature = inspect.signature(function)
        except ValueError:  # builtins such as dict have none
            return keywords
        bound = signature.bind_partial(*self.pos_args, **keywords).arguments
        nodes: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if parameter.name in bound:
                value = bound[parameter.name]
                nodes[parameter.name] = list(value) if isinstance(value, tuple) else value
            elif parameter.default is not inspect.Parameter.empty and parameter.default is not None:
                nodes[parameter.name] = Literal(parameter.default)
            elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                nodes[parameter.name] = MissingArgument
        return nodes

    def inputs(self) -> list[Apply]:
        """The argument nodes: positional ones, then named ones by keyword."""
        return self.pos_args + [node for _, node in self.named_args]

    def clone_from_inputs(self, inputs: list[Apply], o_len: int | str | None = "same") -> Apply:
        """A node with the same function and other argument nodes, in the order of :meth:`inputs`."""
        if len(inputs) != len(self.inputs()):
            raise TypeError(f"{self.name} has {len(self.inputs())} inputs, got {len(inputs)}")
        n_positional = len(self.pos_args)
        named = [[key, node] for (key, _), node in zip(self.named_args, inputs[n_positional:], strict=True)]
        length = self.o_len if o_len == "same" else o_len
        assert length is None or isinstance(length, int)
        return type(self)(self.name, inputs[:n_positional], named, length, self.pure, self.define_params)

    def replace_input(self, old_node: Apply, new_node: Apply) -> list[int | str]:
        """Put ``new_node`` wherever ``old_node`` is an argument; the positions and keywords where it was."""
        replaced: list[int | str] = []
        for position, node in enumerate(self.pos_args):
            if node is old_node:
                self.pos_args[position] = new_node
                replaced.append(position)
        for pair in self.named_args:
            if pair[1] is old_node:
                pair[1] = new_node
                replaced.append(pair[0])
        return replaced

    def set_kwarg(self, name: str, value: object) -> None:
        """Set the named argument ``name``, replacing an earlier one."""
        self.named_args = [pair for pair in self.named_args if pair[0] != name]
        self.named_args = sorted([*self.named_args, [name, as_apply(value)]], key=lambda pair: str(pair[0]))

    def eval(self, memo: dict[Apply, Any] | None = None) -> Any:
        """The value of the expression, see :func:`~sparktune.space.scope.rec_eval`."""
        from sparktune.space.scope import rec_eval  # scope registers functions that need this module

        return rec_eval(self, memo=memo)

    def __getstate__(self) -> dict[str, Any]:
        if self.name in BUILT_IN or self.name == "literal":
            return self.__dict__
        from sparktune.space.symbols import definition_of  # see eval

        return self.__dict__ | {"define_params": definition_of(self.name)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state.get("define_params") and self.name not in IMPLEMENTATIONS:
            from sparktune.space.symbols import register_definition

            register_definition(self.name, state["define_params"])

    # -- text -----------------------------------------------------------------------------------------------------

    def pprint(
        self,
        ofile: Any,
        lineno: list[int] | None = None,
        indent: int = 0,
        memo: dict[Apply, int] | None = None,
    ) -> None:
        """Write one numbered line per node to ``ofile``; a node met again refers to its first line."""
        lineno = [0] if lineno is None else lineno
        memo = {} if memo is None else memo
        stack: list[tuple[str | Apply, int]] = [(self, indent)]
        while stack:  # as in dfs: deeper than Python recurses
            item, indent = stack.pop()
            text = item if isinstance(item, str) else item._text()
            if isinstance(item, Apply) and item in memo:
                text += f"  [line:{memo[item]}]"
            elif isinstance(item, Apply):
                memo[item] = lineno[0]
                named = [line for key, node in item.named_args for line in ((f" {key} =", indent), (node, indent + 2))]
                stack.extend(reversed([*((node, indent + 2) for node in item.pos_args), *named]))
            ofile.write(f"{lineno[0]} {' ' * indent}{text}\n")
            lineno[0] += 1

    def _text(self) -> str:
        return self.name

    def __str__(self) -> str:
        import io

        text = io.StringIO()
        self.pprint(text)
        return text.getvalue()[:-1]

    # -- operators --------------------------------------------------------------------------------------------------

    def __add__(self, other: object) -> Apply:
        return apply("add", self, other)

    def __radd__(self, other: object) -> Apply:
        return apply("add", plain(other), self)

    def __sub__(self, other: object) -> Apply:
        return apply("sub", self, other)

    def __rsub__(self, other: object) -> Apply:
        return apply("sub", plain(other), self)

    def __mul__(self, other: object) -> Apply:
        return apply("mul", self, other)

    def __rmul__(self, other: object) -> Apply:
        return apply("mul", plain(other), self)

    def __truediv__(self, other: object) -> Apply:
        return apply("truediv", self, other)

    def __rtruediv__(self, other: object) -> Apply:
        return apply("truediv", plain(other), self)

    def __floordiv__(self, other: object) -> Apply:
        return apply("floordiv", self, other)

    def __rfloordiv__(self, other: object) -> Apply:
        return apply("floordiv", plain(other), self)

    def __mod__(self, other: object) -> Apply:
        return apply("mod", self, other)

    def __rmod__(self, other: object) -> Apply:
        return apply("mod", plain(other), self)

    def __pow__(self, other: object) -> Apply:
        return apply("pow", self, other)

    def __rpow__(self, other: object) -> Apply:
        return apply("pow", plain(other), self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """What numpy's arithmetic gives: a node. By itself it would give arrays of nodes, which nobody would search."""
        if ufunc.__name__ in ("equal", "not_equal"):  # nodes are equal to themselves alone
            return (inputs[0] is inputs[1]) is (ufunc.__name__ == "equal")
        if ufunc.__name__ == "square":
            return self.__array_ufunc__(np.multiply, method, *inputs, *inputs, **options)
        name = OF_UFUNC.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            return NotImplemented
        return apply(name, *map(plain, inputs))

    def __neg__(self) -> Apply:
        return apply("neg", self)

    def __abs__(self) -> Apply:
        return apply("abs", self)

    def __lt__(self, other: object) -> Apply:
        return apply("lt", self, other)

    def __le__(self, other: object) -> Apply:
        return apply("le", self, other)

    def __gt__(self, other: object) -> Apply:
        return apply("gt", self, other)

    def __ge__(self, other: object) -> Apply:
        return apply("ge", self, other)

    def __getitem__(self, index: object) -> Apply:
        if self.o_len is not None and isinstance(index, int) and not -self.o_len <= index < self.o_len:
            raise IndexError(f"index {index} of a node with {self.o_len} elements")
        return apply("getitem", self, index)

    def __len__(self) -> int:
        if self.o_len is None:
            raise TypeError("len of pyll.Apply either undefined or unknown")
        return self.o_len

    def __bool__(self) -> bool:
        if self.o_len is None:
            raise TypeError(
                "a node of a search space has no truth value before it is evaluated: compare inside the objective, "
                "or build the choice with hp.choice / scope.switch"
            )
        return self.o_len > 0

    # Python asks these for numbers at once: round() as well, for it may have to give an int.

    def __int__(self) -> int:
        raise _no_number("int(...)", "scope.int(node)")

    def __float__(self) -> float:
        raise _no_number("float(...), or a function of math,", "scope.float(node), or numpy's function, np.exp(node)")

    def __round__(self, n_digits: object = None) -> int:
        raise _no_number("round(...)", "scope.round(node)")

    def __index__(self) -> int:
        raise _no_number("an index, or range(...),", "scope.switch(node, *options), or hp.choice(label, options)")

    def __iter__(self) -> Iterator[Apply]:
        return iter([self[index] for index in range(len(self))])

    def __call__(self, *args: object, **kwargs: object) -> Apply:
        """The node that calls this node's value."""
        return apply("call", self, args, kwargs)


class Literal(Apply):
    """A leaf that evaluates to ``obj`` as it is."""

    def __init__(self, obj: Any = None) -> None:
        length: int | None
        try:
            length = len(obj)
        except Exception:  # no length, or none yet: a scikit-learn ensemble raises AttributeError before it is fitted
            length = None
        super().__init__("literal", [], [], length, pure=True)
        self._obj = obj

    @property
    def obj(self) -> Any:
        """The value of the leaf."""
        return self._obj

    @property
    def arg(self) -> dict[str, Any]:
        """No arguments."""
        return {}

    def _text(self) -> str:
        if isinstance(self._obj, np.ndarray) and self._obj.size and self._obj.dtype.kind in "biuf":
            low, high = self._obj.min(), self._obj.max()
            return f"Literal{{np.ndarray,shape={self._obj.shape},min={low:f},max={high:f}}}"
        return f"Literal{{{self._obj}}}"

    def clone_from_inputs(self, inputs: list[Apply], o_len: int | str | None = "same") -> Literal:
        """A leaf with the same object."""
        return type(self)(self._obj)


def blank_node(is_literal: bool) -> Apply:
    """A node with nothing in it yet, for pickles that must not name a class: its state comes after."""
    kind = Literal if is_literal else Apply
    return kind.__new__(kind)


def _no_number(asked: str, fix: str) -> InvalidTypeError:
    """The error where Python asks a node for a number."""
    return InvalidTypeError(
        f"{asked} needs a number, and a node of a search space has none before it is evaluated: write {fix}, or do it "
        "inside the objective"
    )


def apply(name: str, *args: object, **kwargs: object) -> Apply:
    """The node that calls symbol ``name``; arguments that are not nodes are wrapped by :func:`as_apply`."""
    named = [[key, as_apply(value)] for key, value in kwargs.items()]
    return Apply(name, [as_apply(a) for a in args], named, *INFO.get(name, _NO_INFO))


def as_apply(obj: object) -> Apply:
    """``obj`` as a node: containers become ``dict`` and ``pos_args`` nodes, anything else a literal.

    Lists evaluate to tuples, as they do in hyperopt.

    Raises:
        InvalidSpaceError: If a container holds itself, or nodes are in one that is taken as it is: a set, an array, a
            deque, or a mapping or namespace that is no dict.
    """
    try:
        return _as_node(obj)
    except RecursionError:
        raise InvalidSpaceError(
            "a list, tuple or dict in the space holds itself, or they nest deeper than Python recurses: nest fewer"
        ) from None


def _as_node(obj: object) -> Apply:
    if isinstance(obj, Apply):
        return obj
    if isinstance(obj, (tuple, list)):
        return Apply("pos_args", [_as_node(item) for item in obj], [], len(obj))
    if isinstance(obj, dict):
        if all(isinstance(key, str) for key in obj):
            return Apply("dict", [], {key: _as_node(value) for key, value in obj.items()}, len(obj))
        try:
            items = sorted(obj.items(), key=lambda item: item[0])
        except TypeError:  # keys of several types cannot be ordered: the order written is as good
            items = list(obj.items())
        return Apply("dict", [_as_node(items)], [], len(obj))
    if _is_container(type(obj)) and _holds_node(obj):
        kind = "an array" if isinstance(obj, np.ndarray) else f"a {type(obj).__name__}"
        raise InvalidSpaceError(
            f"parameters in {kind} would not be searched, for it is taken as it is: use {_instead(obj)}"
        )
    return Literal(obj)


def _is_container(kind: type) -> bool:
    return not _CONTAINERS.isdisjoint(kind.__mro__)  # issubclass takes long where there are abstract base classes


def _holds_node(container: Any) -> bool:
    """Whether there is a node in a container that is taken as it is, or in containers inside; no other is opened."""
    level, seen = [container], {id(container)}
    while level:
        items = [item for inner in level for item in _contents(inner)]
        kinds = set(map(type, items))  # one, of a million numbers
        if any(issubclass(kind, Apply) for kind in kinds):
            return True
        kinds = {kind for kind in kinds if _is_container(kind)}
        below = {id(item): item for item in items if type(item) in kinds} if kinds else {}
        level = [item for key, item in below.items() if key not in seen]
        seen.update(below)
    return False


def _contents(container: Any) -> Iterable[Any]:
    """What is in a container, by as few of its methods as can be: a subclass may have made anything of them."""
    if isinstance(container, _PLAIN):
        return container
    if isinstance(container, np.ndarray):
        return container.flat if container.dtype == object else ()
    if isinstance(container, (dict, MappingProxyType)):
        return container.values()
    return list(vars(container).values())  # of a UserDict, a UserList and a ChainMap the dicts or lists that they keep


def _instead(container: object) -> str:
    """What to write in place of a container with parameters."""
    if isinstance(container, np.ndarray):
        return "a list, or scope.asarray([...])"
    if isinstance(container, (MappingProxyType, UserDict, ChainMap, SimpleNamespace)):
        return f"a dict, and make the {type(container).__name__} of it in the objective"
    return "a list"


def literal_value(node: object, what: str) -> Any:
    """The object of a literal node, or of a container of literals.

    Raises:
        InvalidSpaceError: If the value hangs on a parameter.
    """
    if isinstance(node, Literal):
        return node.obj
    if isinstance(node, Apply) and node.name == "pos_args":
        return [literal_value(child, what) for child in node.pos_args]
    if isinstance(node, Apply):
        raise InvalidSpaceError(
            f"{what} must be a number, got an expression ({node.name} ...): bounds cannot depend on other parameters. "
            "Search a fraction and scale it inside the space: low + (high - low) * hp.uniform(label, 0, 1)"
        )
    return node
