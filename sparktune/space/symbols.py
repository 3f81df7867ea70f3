"""``scope``, the table of the functions that may appear in a space, and what can be registered in it.

``scope.name(...)`` builds a node that calls the function registered under ``name``; ``scope.define`` registers one of
the user's own. Functions that the user registers travel with the nodes that call them, so a space that is unpickled in
another process can be evaluated there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, TypeVar

from sparktune.exceptions import SparktuneError
from sparktune.space.graph import clone
from sparktune.space.nodes import BUILT_IN, IMPLEMENTATIONS, INFO, Apply, Literal, MissingArgument, apply, as_apply

F = TypeVar("F", bound=Callable[..., Any])


class PyllImportError(SparktuneError, ImportError):
    """``scope.import_`` was asked for a function that is not registered."""


class MissingArgumentError(SparktuneError, TypeError, NotImplementedError):
    """A partial call or a :class:`Lambda` was called without some of its arguments."""


class SymbolTable:
    """Functions by name; attribute access gives their node builders.

    ``_impls`` is the dictionary behind it, under the name that programs written for hyperopt use.
    """

    def __init__(self) -> None:
        self._impls = IMPLEMENTATIONS
        self._info = INFO

    def __getattr__(self, name: str) -> Callable[..., Apply]:
        if name not in IMPLEMENTATIONS:  # not self._impls, which a copy in the making has not yet
            raise AttributeError(
                f"scope has no function {name!r}: register it with scope.define, or use one of the functions listed "
                "in docs/space.md"
            )
        return SymbolTableEntry(self, name, *INFO.get(name, (None, False)))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._impls]

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "scope" if self is scope else super().__reduce__()

    def define(self, f: F, o_len: int | None = None, pure: bool = False) -> F:
        """Register ``f`` under its name; returns ``f``, so that it serves as a decorator.

        A function that is defined again in its module, as by a cell of a notebook that is run again, takes the place of
        the one before, in nodes that call it already as well.

        Raises:
            ValueError: If the name is taken.
        """
        self._define(f.__name__, f, o_len, pure)
        return f

    def _define(self, name: str, f: Callable[..., Any], o_len: int | None = None, pure: bool = False) -> None:
        if name in self._impls and (name in BUILT_IN or not _is_again(f, self._impls[name])):
            raise ValueError(f"scope has a function {name!r} already: choose another name, or scope.undefine it first")
        self._impls[name] = f
        self._info[name] = (o_len, pure)

    def define_pure(self, f: F) -> F:
        """Register ``f`` as a function whose value hangs on its arguments alone."""
        return self.define(f, pure=True)

    def define_info(self, o_len: int | None = None, pure: bool = False) -> Callable[[F], F]:
        """A decorator that registers a function whose value has ``o_len`` elements."""
        return partial(self.define, o_len=o_len, pure=pure)

    def define_if_new(self, f: F, o_len: int | None = None, pure: bool = False) -> F:
        """Register ``f`` unless its name is taken; returns what is registered."""
        if f.__name__ in self._impls:
            registered: F = self._impls[f.__name__]  # type: ignore[assignment]
            return registered
        return self.define(f, o_len, pure)

    def undefine(self, f: Callable[..., Any] | str) -> None:
        """Remove a function, given itself or its name."""
        name = f if isinstance(f, str) else f.__name__
        if name not in self._impls:
            raise ValueError(f"scope has no function {name!r} to remove")
        del self._impls[name]
        self._info.pop(name, None)

    def inject(self, *args: Callable[..., Any], **kwargs: Callable[..., Any]) -> None:
        """Register functions, under their own names or under keywords, if these are free."""
        for name, function in ({f.__name__: f for f in args} | kwargs).items():
            self._define(name, function)

    def import_(self, _globals: MutableMapping[str, Any], *args: str, **kwargs: str) -> None:
        """Put node builders into a dictionary: ``scope.import_(globals(), "sqrt", power="pow")``.

        Raises:
            PyllImportError: If a name is not registered.
        """
        for target, name in ({name: name for name in args} | kwargs).items():
            if not hasattr(self, name):
                raise PyllImportError(f"scope has no function {name!r} to import: register it with scope.define")
            _globals[target] = getattr(self, name)

    # -- builders of more than one node -------------------------------------------------------------------------------

    def one_of(self, *args: object) -> Apply:
        """One of the options, drawn at random; unlike ``hp.choice`` no parameter of the search."""
        return apply("switch", apply("randint", len(args)), *args)

    def choice(self, args: Any) -> Apply:
        """One of the options in the list ``args``, drawn at random; see :meth:`one_of`."""
        return self.one_of(*args)

    def kwswitch(self, kw: object, **kwargs: object) -> Apply:
        """The option whose keyword is the value of ``kw``; the others are not evaluated."""
        return apply("switch", apply("call_method_pure", list(kwargs), "index", kw), *kwargs.values())


def _is_again(function: Callable[..., Any], before: Callable[..., Any]) -> bool:
    """Whether a function is another one from the same place at the top of a module."""
    name = getattr(function, "__qualname__", "<none>")
    # By each call of a function around it, at each lambda, of each object, there may be one that does something else.
    is_one_of_many = "<" in name or hasattr(function, "__self__")
    if function is before or is_one_of_many or name != getattr(before, "__qualname__", None):
        return False
    return function.__module__ == before.__module__


class SymbolTableEntry:
    """Builds nodes that call the function ``apply_name``, with ``fixed`` arguments before those it is called with."""

    def __init__(
        self,
        symbol_table: SymbolTable,
        apply_name: str,
        o_len: int | None = None,
        pure: bool = False,
        fixed: tuple[Any, ...] = (),
        fixed_keywords: dict[str, Any] | None = None,
    ) -> None:
        self.symbol_table = symbol_table
        self.apply_name = apply_name
        self.o_len = o_len
        self.pure = pure
        self.fixed = fixed
        self.fixed_keywords = fixed_keywords or {}

    def __call__(self, *args: object, **kwargs: object) -> Apply:
        """The node; arguments that are no nodes are wrapped by ``as_apply``."""
        positional = [as_apply(argument) for argument in (*self.fixed, *args)]
        named = {key: as_apply(value) for key, value in (self.fixed_keywords | kwargs).items()}
        node = Apply(self.apply_name, positional, named, self.o_len, self.pure)
        if self.fixed or self.fixed_keywords:
            _require_all_arguments(node)
        return node

    def __repr__(self) -> str:
        keywords = [f"{key}={value!r}" for key, value in self.fixed_keywords.items()]
        return f"SymbolTableEntry({', '.join([self.apply_name, *map(repr, self.fixed), *keywords])})"


def _require_all_arguments(node: Apply) -> None:
    signature = inspect.signature(IMPLEMENTATIONS[node.name])
    optional = {name for name, parameter in signature.parameters.items() if parameter.default is not parameter.empty}
    missing = [name for name, value in node.arg.items() if value is MissingArgument and name not in optional]
    if missing:
        raise MissingArgumentError(f"a partial call of {node.name!r} still needs {', '.join(missing)}")


class UndefinedValue:
    """What the placeholders ``p0`` to ``p4`` hold: nothing, until a :class:`Lambda` is called."""


p0 = Literal(UndefinedValue)
p1 = Literal(UndefinedValue)
p2 = Literal(UndefinedValue)
p3 = Literal(UndefinedValue)
p4 = Literal(UndefinedValue)


class Lambda:
    """A function written as an expression; it may call itself by ``apply(name, ...)``.

    Args:
        name: Its ``__name__``, under which ``scope.define`` registers it.
        params: (parameter name, placeholder node) pairs, such as ``[("x", p0)]``.
        expr: The expression, with the placeholders in it.
    """

    def __init__(self, name: str, params: list[tuple[str, Apply]], expr: Apply) -> None:
        self.__name__ = name
        self.params = params
        self.expr = expr
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(label, kind) for label, _ in params])

    def __call__(self, *args: object, **kwargs: object) -> Apply:
        """The expression with arguments in place of the placeholders."""
        given = self.__signature__.bind_partial(*args, **kwargs).arguments
        missing = [label for label, _ in self.params if label not in given]
        if missing:
            raise MissingArgumentError(f"{self.__name__} needs {', '.join(missing)} as well")
        return clone(self.expr, {placeholder: as_apply(given[label]) for label, placeholder in self.params})


scope = SymbolTable()

# -- how functions of the user travel ---------------------------------------------------------------------------------

_pickled: dict[str, tuple[Callable[..., Any], bytes | None]] = {}


def definition_of(name: str) -> bytes | None:
    """What another process needs to register the function ``name``; None if it has it, or cannot be given it."""
    function = IMPLEMENTATIONS.get(name)
    if function is None or name in BUILT_IN:
        return None
    if name not in _pickled or _pickled[name][0] is not function:
        import cloudpickle  # a fifth of the time that importing this package takes

        _pickled[name] = function, None  # a Lambda may hold nodes that call it, which are pickled on the way
        try:
            _pickled[name] = function, cloudpickle.dumps((function, INFO.get(name, (None, False))))
        except Exception:  # whatever the function holds; the other process then needs the module that registers it
            return None
    return _pickled[name][1]


def register_definition(name: str, definition: bytes) -> None:
    """Register what :func:`definition_of` gave, unless the function has come with its module meanwhile."""
    import cloudpickle

    try:
        function, info = cloudpickle.loads(definition)
    except Exception:  # its module is missing here: evaluating the node, if anybody does, names the function
        return
    if name not in IMPLEMENTATIONS:
        IMPLEMENTATIONS[name] = function
        INFO[name] = info
