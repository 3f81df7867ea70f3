"""Options of choices, as they are known in another place: in an older space, or as the text of a table."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sparktune.space.choices import is_same, native
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, Literal
from sparktune.space.scope import rec_eval


class _Hole:
    """Stands where an option has a parameter: any value fits there."""

    def __repr__(self) -> str:
        return "..."


HOLE = _Hole()
#: How deep in a value is looked for what tells it from others of its kind.
DEEPEST_LOOK = 3


@dataclass(frozen=True)
class Option:
    """One option of a choice.

    Attributes:
        index: Its number.
        value: Its value, with ``HOLE`` wherever that hangs on a parameter.
        labels: Of the parameters in it.
        is_possible: Whether it can be drawn: not an option of probability 0.
    """

    index: int
    value: Any
    labels: frozenset[str]
    is_possible: bool = True

    @classmethod
    def all_of(cls, switch: Apply, weights: Sequence[float] | None = None) -> list[Option]:
        """The options of a ``switch`` node.

        Args:
            switch: The node.
            weights: Probability of each option; None: all can be drawn.
        """
        return [
            cls(index, _skeleton(node), _labels(node), weights is None or weights[index] > 0)
            for index, node in enumerate(switch.pos_args[1:])
        ]


def _labels(node: Apply) -> frozenset[str]:
    parameters = [below for below in dfs(node) if below.name == "hyperopt_param"]
    names = [parameter.arg["label"] for parameter in parameters]
    return frozenset(name.obj for name in names if isinstance(name, Literal))


def _skeleton(node: Apply) -> Any:
    if not any(below.name == "hyperopt_param" for below in dfs(node)):
        return native(rec_eval(node))
    if node.name == "dict" and not node.pos_args:
        return {key: _skeleton(child) for key, child in node.named_args}
    if node.name == "pos_args":
        return tuple(_skeleton(child) for child in node.pos_args)
    return HOLE


# -- which option is meant --------------------------------------------------------------------------------------------


def matching(value: Any, labels: AbstractSet[str], options: Sequence[Option]) -> Option | None:
    """The option that a value stands for; None if there is none, or several could be.

    An equal one; else one that differs only in what it has besides, as a branch that was given a parameter. Where
    several fit, the one with the most parameters in common.

    Args:
        value: An option's value; ``HOLE`` in it where it is not known.
        labels: Of the parameters that are known to be in the option, or in the point at least.
        options: To choose from.
    """
    if (equal := equal_to(value, options)) is not None:
        return equal
    fitting = [option for option in options if _fits(value, option.value)]
    if value is not HOLE:  # a bare parameter takes anything: only what nothing else takes
        fitting = [option for option in fitting if option.value is not HOLE] or fitting
    fitting = fitting or [option for option in options if _resembles(value, option.value)]
    if len(fitting) > 1:
        common = [len(labels & option.labels) for option in fitting]
        best = [option for option, n in zip(fitting, common, strict=True) if n == max(common)]
        fitting = best if len(best) == 1 else []
    return fitting[0] if fitting else None


def meant(value: Any, labels: AbstractSet[str], options: Sequence[Option], *, is_text: bool = False) -> Option | None:
    """The option that a value of another place means, which may be its text; None if there is none.

    Args:
        value: The value.
        labels: Of the parameters that have a value in the same trial.
        options: To choose from.
        is_text: Whether all values are text there, so that one that is the text of an option need not be that option.
    """
    if not is_text and (equal := equal_to(value, options)) is not None:
        return equal
    index = index_of_text(value, labels, options) if isinstance(value, str) else None
    return options[index] if index is not None else matching(value, labels, options)


def alike(option: Option, others: Sequence[Option], options: Sequence[Option]) -> Option | None:
    """The option that looks as one that equals nothing but itself; None if none does, or that one can be compared.

    Functions, and objects of classes without equality, are others each time that a program makes the space. Where
    several look alike, they have to be alike in each place.

    Args:
        option: Of the earlier choice.
        others: The options of that.
        options: To choose from.
    """
    if (look := _look(option.value)) is None:
        return None
    before, looks = ([_look(other.value) for other in known] for known in (others, options))
    if before.count(look) == looks.count(look) == 1:
        return options[looks.index(look)]
    return options[option.index] if before == looks else None


def _look(value: Any, depth: int = 0) -> str | None:
    """What can be seen of a value that equals itself alone, the same in each process; None for other values."""
    try:
        return None if depth > DEEPEST_LOOK else _seen(value, depth)
    except Exception:  # a repr of any class, a cell of a closure that is empty
        return None


def _seen(value: Any, depth: int) -> str | None:
    def shown(part: Any) -> str:
        return _look(part, depth + 1) or repr(part)

    if isinstance(value, Mapping):
        has_look = any(_look(item, depth + 1) for item in value.values())
        return _without_addresses(repr([(key, shown(item)) for key, item in value.items()])) if has_look else None
    if isinstance(value, (list, tuple)):
        has_look = any(_look(item, depth + 1) for item in value)
        return _without_addresses(repr(list(map(shown, value)))) if has_look else None
    if isinstance(value, functools.partial):
        return _without_addresses(f"{shown(value.func)} of {shown(value.args)} {shown(value.keywords)}")
    if isinstance(value, types.FunctionType):
        given = value.__defaults__, value.__kwdefaults__, inspect.getclosurevars(value).nonlocals
        text = f"{value.__module__}.{value.__qualname__} {_body(value.__code__)!r} {list(map(shown, given))}"
        return _without_addresses(text)
    if value is HOLE or isinstance(value, (type, types.BuiltinFunctionType)) or not _has_default(value, "__eq__"):
        return None
    text = shown(_parts(value)) if _has_default(value, "__repr__") else repr(value)
    return _without_addresses(f"{type(value).__module__}.{type(value).__qualname__} {text}")


def _parts(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too."""
    parts = dict(getattr(value, "__dict__", {}))
    for own in type(value).__mro__:
        slots = vars(own).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            is_private = name.startswith("__") and not name.endswith("__")
            mangled = f"_{own.__name__.lstrip('_')}{name}" if is_private else name
            if hasattr(value, mangled):
                parts[mangled] = getattr(value, mangled)
    return parts


def _has_default(value: Any, method: str) -> bool:
    return getattr(type(value), method) is getattr(object, method)


def _without_addresses(text: str) -> str:
    return re.sub(r"\b0x[0-9a-f]+", "", text)


def _body(code: types.CodeType) -> tuple[Any, ...]:
    constants = [_body(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return code.co_code, code.co_names, constants


def equal_to(value: Any, options: Sequence[Option]) -> Option | None:
    """The first option without parameters that equals a value, of its own type if there is one."""
    if _has_hole(value):
        return None
    equal = [option for option in options if not option.labels and _fits(value, option.value)]
    return next((option for option in equal if type(option.value) is type(value)), equal[0] if equal else None)


def _fits(value: Any, pattern: Any) -> bool:
    """Whether a value is that of a pattern, holes left aside."""
    if value is HOLE or pattern is HOLE:
        return True
    if isinstance(pattern, Mapping) and isinstance(value, Mapping):
        return value.keys() == pattern.keys() and all(_fits(value[key], pattern[key]) for key in pattern)
    if isinstance(pattern, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(value) == len(pattern) and all(map(_fits, value, pattern))
    return is_same(value, pattern)


def _has_hole(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_hole, value.values()))
    return value is HOLE or (isinstance(value, (list, tuple)) and any(map(_has_hole, value)))


def _resembles(value: Any, pattern: Any) -> bool:
    """Whether two dictionaries have a constant in common, and contradict each other in nothing."""
    if not isinstance(pattern, Mapping) or not isinstance(value, Mapping):
        return False
    common = value.keys() & pattern.keys()
    has_constant = any(value[key] is not HOLE and pattern[key] is not HOLE for key in common)
    return has_constant and all(
        _fits(value[key], pattern[key]) or _resembles(value[key], pattern[key]) for key in common
    )


# -- options as text --------------------------------------------------------------------------------------------------


def texts_of(options: Sequence[Option]) -> list[str | None]:
    """The text of each option in a table; None where it has parameters, so that each trial has its own.

    Text stays as it is, other values become JSON. Where two options would look alike, or like no value at all, text is
    quoted as in JSON.
    """
    plain = [None if option.labels else as_text(option.value) for option in options]
    shown = [text for text in plain if text is not None]
    if len(set(shown)) == len(shown) and all(text.strip() for text in shown):
        return plain
    return [None if option.labels else as_json(option.value) for option in options]


def as_text(value: Any) -> str:
    """A value as the text of a cell: text as it is, the rest as JSON."""
    if not isinstance(value, str):
        return as_json(value)
    return value.encode(errors="backslashreplace").decode()  # halves of characters, as in names of odd files, are none


def as_json(value: Any) -> str:
    """A value as JSON; of objects that JSON does not have, their text."""
    return json.dumps(native(value), default=repr)


def looks_of(options: Sequence[Option]) -> list[str]:
    """What each option looks like, to see elsewhere whether that of its number is the same; some may be alike."""
    return [_without_addresses(as_json(option.value)) for option in options]


def index_of_text(text: str, labels: AbstractSet[str], options: Sequence[Option]) -> int | None:
    """The index of the option that a text means: as :func:`texts_of` writes it, or as Python or JSON would.

    Space around the text counts for nothing, unless an option has it.

    Args:
        text: Of a cell.
        labels: Of the parameters that have a value in the same trial.
        options: To choose from.
    """
    for texts in (texts_of(options), *([_spelled(option, how) for option in options] for how in (as_json, str, repr))):
        if text in texts:
            return options[texts.index(text)].index
    if text != text.strip():
        return index_of_text(text.strip(), labels, options)
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        option = matching(value, labels, options)
        if option is not None:
            return option.index
    return None


def _spelled(option: Option, how: Any) -> str | None:
    return None if option.labels else how(option.value)
