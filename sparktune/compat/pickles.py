"""What hyperopt has pickled: ``Trials``, spaces, ``Domain``."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from typing import IO, Any

from sparktune.compat.finder import HyperoptLoadedError, aliased

__all__ = ["load", "loads"]


def load(file: str | os.PathLike[str] | IO[bytes]) -> Any:
    """The object in a pickle that hyperopt, or sparktune, has written, such as a ``Trials``.

    A pickle can run code: load only files that you trust.

    Args:
        file: Its path, or a file open for reading bytes.

    Raises:
        ModuleNotFoundError, AttributeError: If it names a class that is not there.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return load(opened)
    with contextlib.ExitStack() as stack:
        # Functions in it may import hyperopt by themselves. Where hyperopt is loaded, they keep it.
        with contextlib.suppress(HyperoptLoadedError):
            stack.enter_context(aliased())
        return _Unpickler(file).load()


def loads(data: bytes) -> Any:
    """The object in a pickle given as bytes, see :func:`load`."""
    return load(io.BytesIO(data))


class _Unpickler(pickle.Unpickler):
    """Reads hyperopt's module names as ours."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "hyperopt" or module.startswith("hyperopt."):
            module = "sparktune" + module[len("hyperopt") :]
        return super().find_class(module, name)
