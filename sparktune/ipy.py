"""hyperopt's import path ``ipy``: its names can be imported; to use one raises an error that says what to use."""

from __future__ import annotations

from typing import Any

from sparktune.compat.replaced import ReplacedTrials, refuse
from sparktune.exceptions import SparktuneError

__all__ = ["IPYAsync", "IPythonTrials", "LostEngineError", "call_domain"]

_INSTEAD = 'Trials(parallelism=4, backend="processes") on one machine, or SparkTrials(parallelism=8) on a cluster,'


class LostEngineError(SparktuneError, RuntimeError):
    """Never raised here; there for ``except`` clauses."""


class IPythonTrials(ReplacedTrials):
    """Cannot be made; use ``Trials(parallelism=4, backend="processes")`` or ``SparkTrials``."""

    instead = _INSTEAD


class IPYAsync:
    """Cannot be made; see :class:`IPythonTrials`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse("hyperopt.ipy.IPYAsync", _INSTEAD)


def call_domain(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.ipy.call_domain", "hyperopt.Domain.evaluate")
