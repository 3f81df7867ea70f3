"""An algorithm of sparktune's as data, by which it can be found again."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError
from sparktune.storage.encoding import Pickled, decode

#: The modules whose ``suggest`` can be found again. A study from somebody else must not say what else is called.
MODULES = frozenset(f"sparktune.{name}" for name in "anneal atpe auto gp grid mix qmc rand tpe".split())


def algo_description(algo: Any) -> dict[str, Any] | None:
    """An algorithm of sparktune's with its options, which may be algorithms too; None if it is another's."""
    options: dict[str, Any] = {}
    while isinstance(algo, functools.partial):
        options = {**algo.keywords, **options}
        algo = algo.func
    module, name = getattr(algo, "__module__", ""), getattr(algo, "__qualname__", "")
    if module not in MODULES or name != "suggest":
        return None
    return {"function": f"{module}:{name}", "options": {key: _described(value) for key, value in options.items()}}


def _described(value: Any) -> Any:
    """An option, with descriptions in place of algorithms in it, and arrays in that of numpy's numbers.

    As Python's numbers, which storages make of numpy's, they would lead to other results: of 32 bits, for one.
    """
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_described, value)) if type(value) in (list, tuple) else value
    return algo_description(value) or value if callable(value) else value


def stored_algo(run: Mapping[str, Any], call: str, trust: bool = False) -> Any:
    """The algorithm of a stored run, with its options.

    Args:
        run: The event.
        call: What to call with an algorithm if there is none, for the message.
        trust: Whether to open pickles among the options, which can run code of whoever wrote them.

    Raises:
        InvalidArgumentError: If it is not stored, none of sparktune's, or has an option that stays a pickle.
    """
    described = run.get("algo")
    if not described:
        raise InvalidArgumentError(
            "the algorithm of this study is not stored, as it is none of sparktune's own, and has to be given: "
            f"call {call}(..., algo=)"
        )
    found = _found(described, trust)
    if _has_pickle(found):
        raise InvalidArgumentError(
            "the algorithm of this study has an option that is stored as a pickle, which "
            + ("cannot be opened here: " if trust else "can run code of whoever wrote it: ")
            + ("" if trust else "pass trust=True (--trust in a shell) if you trust it, or ")
            + f"call {call}(..., algo=)"
        )
    return found


def _has_pickle(value: Any) -> bool:
    if isinstance(value, functools.partial):
        return _has_pickle([value.func, *value.args, *value.keywords.values()])
    return isinstance(value, Pickled) or (isinstance(value, (list, tuple)) and any(map(_has_pickle, value)))


def _found(described: Any, trust: bool) -> Any:
    if not _is_description(described) or not isinstance(described["function"], str):
        raise InvalidArgumentError(f"the algorithm of this study cannot be read, got {described!r}: give it as algo=")
    module, _, name = described["function"].partition(":")
    if module not in MODULES or name != "suggest":
        raise InvalidArgumentError(
            f"only algorithms of sparktune are loaded, and the study names {module}:{name}: give it as algo="
        )
    # Encoded with the algorithm and then with its event: reading the event has undone the latter, and opened nothing.
    options = {str(key): _with_algos(value, trust) for key, value in decode(described["options"], trust).items()}
    return functools.partial(importlib.import_module(module).suggest, **options)


def _with_algos(value: Any, trust: bool) -> Any:
    """An option, with algorithms in place of their descriptions in it, and numpy's numbers in that of arrays of one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    if isinstance(value, (list, tuple)):
        return type(value)(_with_algos(item, trust) for item in value)
    return _found(value, trust) if _is_description(value) else value


def _is_description(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"function", "options"} and isinstance(value["options"], dict)
