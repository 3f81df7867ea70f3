"""``import hyperopt[.x]`` answered with ``sparktune[.x]``, the very module, never a second copy of it."""

from __future__ import annotations

import contextlib
import copyreg
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import os
import sys
import threading
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sparktune
from sparktune.exceptions import SparktuneError
from sparktune.space.nodes import Apply, Literal, blank_node

#: The release of hyperopt whose API is meant by ``importlib.metadata.version("hyperopt")`` where none is installed.
API_VERSION = "0.3.0"

#: Parts of hyperopt that are read from its own files: its tests, which are no part of its API.
_OWN_FILES = ("hyperopt.tests", "hyperopt.pyll.tests")

_ABSENT = {
    "atpe_models": "atpe.suggest needs no model files here",
    "tests": "hyperopt's tests are read from an installed hyperopt: pip install --no-deps hyperopt",
    "pyll.tests": "hyperopt's tests are read from an installed hyperopt: pip install --no-deps hyperopt",
}

#: Programs tell the nodes of a space by ``"hyperopt" in str(type(node))``. What pickles name is another matter, see
#: :func:`_by_own_name`.
_SHOWN_AS = {Apply: "hyperopt.pyll.base", Literal: "hyperopt.pyll.base"}
_OWN_NAMES = {node_type: node_type.__module__ for node_type in _SHOWN_AS}

#: Modules that have a ``logger`` in hyperopt, which programs import to silence it or to log by; the name it has here.
_LOGGERS = {
    f"sparktune.{name}": f"sparktune.{name}"
    for name in ("anneal", "base", "early_stop", "fmin", "mongoexp", "pyll.base", "rand", "tpe", "utils")
} | {"sparktune.spark": "hyperopt-spark"}

_lock = threading.RLock()


class HyperoptLoadedError(SparktuneError, ImportError):
    """hyperopt itself has been imported, so the name is taken."""


class _Finder(importlib.metadata.DistributionFinder):
    """Finds ``hyperopt`` and what is below it; leaves all other names to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "hyperopt" and not fullname.startswith("hyperopt."):
            return None
        if fullname in _OWN_FILES and (folder := _installed_folder()) is not None:
            location = os.path.join(folder, *fullname.split(".")[1:-1])
            return importlib.machinery.PathFinder.find_spec(fullname, [location])
        if fullname.startswith(tuple(f"{name}." for name in _OWN_FILES)):
            return None  # an ordinary module, in the folder of its package
        ours = _ours(fullname)
        if importlib.util.find_spec(ours) is None:
            if fullname.partition(".")[2] in _ABSENT:  # hyperopt's own name: programs import it, and are to know why
                raise ModuleNotFoundError(_absent(fullname), name=fullname)
            return None
        return importlib.machinery.ModuleSpec(fullname, _Loader(ours), is_package=False)

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """A distribution "hyperopt", for programs that look up its version, unless there is a real one."""
        if context is None or (context.name or "").lower() != "hyperopt":
            return
        if not any(True for _ in importlib.metadata.MetadataPathFinder.find_distributions(context)):
            yield _Distribution()


class _Loader(importlib.abc.Loader):
    """Gives a module that has been imported under another name."""

    def __init__(self, ours: str) -> None:
        self._ours = ours
        self._spec: importlib.machinery.ModuleSpec | None = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self._ours)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        # It has been executed. The import system has just described it by the other name; reload, pickle and pkgutil
        # need its own.
        module.__spec__ = self._spec
        _give_logger(module)


class _Distribution(importlib.metadata.Distribution):
    """The metadata of a hyperopt that is not installed."""

    def read_text(self, filename: str) -> str | None:
        if filename not in ("METADATA", "PKG-INFO"):
            return None
        return f"Metadata-Version: 2.1\nName: hyperopt\nVersion: {API_VERSION}\nSummary: sparktune under this name\n"

    def locate_file(self, path: str | os.PathLike[str]) -> os.PathLike[str]:  # type: ignore[override]
        return importlib.metadata.distribution("sparktune").locate_file(path)  # type: ignore[return-value]


_finder = _Finder()


def install() -> None:
    """From now on, ``import hyperopt`` in this process means sparktune, in other packages too.

    Modules are the same objects: ``hyperopt.base is sparktune.base``. Called again, it changes nothing.

    Raises:
        HyperoptLoadedError: If hyperopt itself has been imported: what holds its classes would not notice.
    """
    with _lock:
        if is_installed():
            return
        if (real := sys.modules.get("hyperopt")) is not None and real is not sparktune:
            raise HyperoptLoadedError(
                f"hyperopt has been imported already, from {getattr(real, '__file__', None)!r}, and what uses it would "
                "go on to: import sparktune.compat.hyperopt before anything that imports hyperopt (in a notebook, "
                "restart the kernel), or run the program by python -m sparktune.compat"
            )
        sys.meta_path.insert(0, _finder)
        # Those that are there need no finding. For hyperopt.fmin it must be so: an import would set the attribute
        # ``fmin`` of the package, which is the function, to the module.
        for name, module in list(sys.modules.items()):
            if name == "sparktune" or name.startswith("sparktune."):
                sys.modules["hyperopt" + name[len("sparktune") :]] = module
                _give_logger(module)
        for node_type, name in _SHOWN_AS.items():
            node_type.__module__ = name
            copyreg.pickle(node_type, _by_own_name)
        _log_below("hyperopt")


def uninstall() -> None:
    """Take back :func:`install`: ``import hyperopt`` finds an installed hyperopt again, or nothing.

    What has been imported under the name stays sparktune.
    """
    with _lock:
        if not is_installed():
            return
        sys.meta_path.remove(_finder)
        for name in [name for name in sys.modules if name == "hyperopt" or name.startswith("hyperopt.")]:
            del sys.modules[name]
        for node_type, name in _OWN_NAMES.items():
            node_type.__module__ = name
            copyreg.dispatch_table.pop(node_type, None)
        for package in (sparktune, sparktune.pyll):
            vars(package).pop("tests", None)  # hyperopt's
        for name, logger_name in _LOGGERS.items():
            names = vars(sys.modules[name]) if name in sys.modules else {}
            if names.get("logger") is logging.getLogger(logger_name):
                del names["logger"]
        _log_below(None)


def is_installed() -> bool:
    """Whether ``import hyperopt`` means sparktune in this process."""
    return _finder in sys.meta_path


@contextlib.contextmanager
def aliased() -> Iterator[None]:
    """A context in which :func:`install` holds."""
    before = is_installed()
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()


def _by_own_name(node: Apply) -> tuple[Any, ...]:
    """How pickle takes a node under the alias: without its class, which it would name as it is shown.

    What has been pickled is so read with the alias and without.
    """
    return blank_node, (type(node) is Literal,), node.__getstate__()


def _give_logger(module: types.ModuleType) -> None:
    """Have what programs log by a module's logger go where sparktune's messages go: it is below theirs."""
    if (name := _LOGGERS.get(module.__name__)) is not None:
        vars(module).setdefault("logger", logging.getLogger(name))


def _log_below(name: str | None) -> None:
    """Have the level and the handlers that a program gives to a logger hold for sparktune's; None: the root's only."""
    logger = logging.getLogger("sparktune")
    logger.parent = logging.getLogger(name)
    logger.setLevel(logger.level)  # what is enabled by the former parent is kept until some level is set


def _ours(fullname: str) -> str:
    return "sparktune" + fullname[len("hyperopt") :]


def _absent(fullname: str) -> str:
    name = fullname.partition(".")[2]
    return f"hyperopt means sparktune here, which has no module {_ours(fullname)!r}: {_ABSENT[name]}"


def _installed_folder() -> str | None:
    """The folder of an installed hyperopt."""
    spec = importlib.machinery.PathFinder.find_spec("hyperopt")
    return spec.submodule_search_locations[0] if spec is not None and spec.submodule_search_locations else None
