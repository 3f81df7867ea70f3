"""``python -m sparktune.compat script.py [args]``: run a program written for hyperopt on sparktune.

``-m module`` and ``-c code`` stand for a script as they do for ``python`` itself.
"""

from __future__ import annotations

import importlib.machinery
import io
import os
import runpy
import sys
import types
import zipfile
from typing import Any

from sparktune.compat.finder import install

_USAGE = """\
usage: python -m sparktune.compat [-m module | -c code | script.py] [args ...]

Runs a program as python does, except that every `import hyperopt` means sparktune."""


def main(arguments: list[str]) -> None:
    """Run the program that the command line names, in this process, as ``__main__``."""
    if not arguments or arguments[0] in ("-h", "--help") or (arguments[0] in ("-m", "-c") and len(arguments) == 1):
        help_asked = bool(arguments) and arguments[0] in ("-h", "--help")
        (sys.stdout if help_asked else sys.stderr).write(_USAGE + "\n")
        raise SystemExit(0 if help_asked else 2)
    install()
    kind, *rest = arguments
    if kind == "-m":
        sys.argv[:] = rest
        _run_main_module(rest[0])
    elif kind == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        _set_first_path("")
        _execute(compile(rest[0], "<string>", "exec"))
    else:
        sys.argv[:] = arguments
        _run_script(kind)


def _run_script(script: str) -> None:
    if os.path.isdir(script) or zipfile.is_zipfile(script):  # with a __main__.py
        _set_first_path(os.path.abspath(script))
        _run_main_module("__main__")
        return
    _set_first_path(os.path.dirname(os.path.realpath(script)))
    try:
        with io.open_code(os.path.abspath(script)) as file:
            source = file.read()
    except OSError as error:  # as python says it, without our lines
        sys.stderr.write(f"python -m sparktune.compat: can't open file {script!r}: {error.strerror}\n")
        raise SystemExit(2) from None
    code = compile(source, script, "exec")
    _execute(code, __file__=script, __loader__=importlib.machinery.SourceFileLoader("__main__", script))


def _run_main_module(name: str) -> None:
    """Run a module as ``__main__``, by what ``python`` itself calls for ``-m`` and for folders."""
    sys.modules["__main__"] = types.ModuleType("__main__")
    runpy._run_module_as_main(name, alter_argv=name != "__main__")  # type: ignore[attr-defined]


def _execute(code: types.CodeType, **attributes: Any) -> None:
    """Run code as the module ``__main__``, which stays when it has ended: threads may still use it."""
    module = types.ModuleType("__main__")
    module.__dict__.update(attributes, __builtins__=sys.modules["builtins"], __spec__=None)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _set_first_path(folder: str) -> None:
    """Where ``python -m`` has put the working folder, put what ``python`` would for the program."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


if __name__ == "__main__":
    main(sys.argv[1:])
