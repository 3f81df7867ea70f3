"""Functions with a cache, as they are pickled for another process; not sent to workers, who load them without it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection
from typing import Any


def reduced(obj: Any, by_value: Collection[str] = ()) -> tuple[Any, ...] | None:
    """How to pickle ``obj`` if it is a function with a cache that is not found by its name elsewhere; else None.

    Pickle sends what ``functools.lru_cache`` and ``functools.cache`` make by name, and so does cloudpickle. A main
    program's cannot be found by it in another process. Where it is loaded its cache is empty.

    Args:
        obj: Anything.
        by_value: Names of modules whose functions do not travel by name, as cloudpickle's
            ``list_registry_pickle_by_value`` gives them.
    """
    if not isinstance(obj, functools._lru_cache_wrapper) or _is_found(obj, by_value):
        return None
    parameters = obj.cache_parameters()
    made_anew = ("__wrapped__", "cache_parameters")
    # As a state of its own: in a function that calls itself, what it wraps is not whole yet when this is loaded.
    attributes = {name: value for name, value in vars(obj).items() if name not in made_anew}
    return _Decorator(parameters["maxsize"], parameters["typed"]), (obj.__wrapped__,), attributes


class _Decorator:
    """Arrives as what ``functools.lru_cache`` with these arguments returns."""

    def __init__(self, maxsize: int | None, typed: bool) -> None:
        self._arguments = maxsize, typed

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.lru_cache, self._arguments

    def __call__(self, function: Any) -> Any:
        """Decorate; only there because what is called at the other end must be callable here."""
        return functools.lru_cache(*self._arguments)(function)


def _is_found(obj: Any, by_value: Collection[str]) -> bool:
    """Whether an object is what its name stands for in a module other than the main program."""
    module = obj.__module__ or "__main__"
    if module == "__main__" or any(f"{module}.".startswith(f"{name}.") for name in by_value):
        return False
    found: Any = sys.modules.get(module)
    for name in getattr(obj, "__qualname__", "").split("."):  # what wraps a functools.partial has none
        found = getattr(found, name, None)
    return found is obj
