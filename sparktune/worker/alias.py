"""``import hyperopt`` in an evaluation, where it means sparktune on the driver (:mod:`sparktune.compat`)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any


def is_installed() -> bool:
    """Whether ``import hyperopt`` means sparktune in this process."""
    return "hyperopt" in sys.modules and sys.modules["hyperopt"] is sys.modules.get("sparktune")


def install() -> None:
    """Have the first ``import hyperopt`` in this process mean sparktune; until then nothing is imported."""
    if not is_installed() and not any(type(finder) is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Makes way for sparktune's own finder when ``hyperopt`` is first looked for."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] != "hyperopt":
            return None
        try:
            compat = importlib.import_module("sparktune.compat")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "sparktune":
                raise
            raise ModuleNotFoundError(
                f"the objective imports {fullname}, which means sparktune on the driver, and this worker has no "
                "sparktune: install it on the executors (pip install sparktune), or import hyperopt outside the "
                "objective and use there only what it needs, such as the constant STATUS_OK",
                name=fullname,
            ) from None
        sys.meta_path.remove(self)
        compat.install()
        return sys.meta_path[0].find_spec(fullname, path, target)
