"""What hyperopt has pickled: ``Trials``, spaces, ``Domain``."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Mapping
from typing import IO, Any

from sparktune.compat.finder import HyperoptLoadedError, aliased
from sparktune.run.domain import Domain

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
        if module == "hyperopt.vectorize":
            return _Dropped
        if (module, name) == ("hyperopt.base", "Domain"):
            return _PickledDomain
        if module == "hyperopt" or module.startswith("hyperopt."):
            module = "sparktune" + module[len("hyperopt") :]
        return super().find_class(module, name)


class _Dropped:
    """A part of an object that its counterpart here does not have."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _PickledDomain(Domain):
    """A ``Domain`` on its way: made anew from what hyperopt's was made from."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        Domain.__init__(
            self,
            state["fn"],
            state["expr"],
            workdir=state["workdir"],
            pass_expr_memo_ctrl=state["pass_expr_memo_ctrl"],
            name=state["name"],
            loss_target=state["loss_target"],
        )
        self.__class__ = Domain  # type: ignore[assignment]
