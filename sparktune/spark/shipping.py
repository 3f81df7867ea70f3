"""What travels to Spark's workers: our code for them as source, and the user's objective as bytes."""

from __future__ import annotations

import functools
import hashlib
import pickle
import zlib
from collections.abc import Callable
from importlib import resources
from typing import Any

#: The modules of ``sparktune.worker`` in an order in which each imports only those before it.
MODULES = ("alias", "frames", "processes", "readiness", "child", "guardian", "evaluator", "task", "pilot")


class PrePickled:
    """A function that pickles as bytes made once; it arrives as the function itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from pyspark import cloudpickle

        self._pickle: bytes = cloudpickle.dumps(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickle,)

    def __call__(self, *args: Any) -> Any:
        """Refuse: only there to make the object one that ``functools.partial`` takes."""
        raise TypeError("a pre-pickled function is called where it arrives")


def ship(module: str, function: str, *args: Any) -> Callable[..., Any]:
    """A function of ``sparktune.worker`` with its first arguments bound, which workers without sparktune can call.

    Args:
        module: Its module's name, without the package's.
        function: Its name.
        *args: Must pickle.
    """
    return functools.partial(_caller(), *_bundle(), module, function, *args)


@functools.cache
def _caller() -> PrePickled:
    import sys

    from pyspark import cloudpickle

    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    try:
        return PrePickled(_call)
    finally:
        cloudpickle.unregister_pickle_by_value(here)


@functools.cache
def _bundle() -> tuple[str, bytes]:
    """A name that stands for this version of the modules, and their source."""
    folder = resources.files("sparktune.worker")
    sources = [(name, folder.joinpath(f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]
    packed = zlib.compress(pickle.dumps(sources))
    return f"_sparktune_worker_{hashlib.sha256(packed).hexdigest()[:12]}", packed


def _call(name: str, packed: bytes, module: str, function: str, *args: Any) -> Any:
    # Runs on the worker, sent by value, so it imports what it needs itself. The modules become real ones there: they
    # are made once per worker process, keep what they hold from task to task, and pickle by reference.
    import sys

    if name not in sys.modules:
        import linecache
        import pickle
        import types
        import zlib

        package = types.ModuleType(name)
        package.__path__ = []
        made = {name: package}
        try:
            sys.modules[name] = package
            for short, source in pickle.loads(zlib.decompress(packed)):
                loaded = types.ModuleType(f"{name}.{short}")
                loaded.__package__ = name
                made[loaded.__name__] = sys.modules[loaded.__name__] = loaded
                setattr(package, short, loaded)
                file = f"<sparktune.worker.{short}>"
                linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # for tracebacks
                exec(compile(source, file, "exec"), loaded.__dict__)
        except BaseException:
            for key in made:
                sys.modules.pop(key, None)
            raise
    return getattr(sys.modules[f"{name}.{module}"], function)(*args)
