"""What takes the place of those parts of hyperopt that are left out on purpose."""

from __future__ import annotations

from typing import Any, NoReturn

from sparktune.exceptions import SparktuneError
from sparktune.trials import Trials


class ReplacedError(SparktuneError, NotImplementedError):
    """A part of hyperopt's that sparktune replaces by another; the message names it."""


def refuse(name: str, instead: str) -> NoReturn:
    """Raise the error that says what to use.

    Args:
        name: What was used, by hyperopt's name.
        instead: What to use instead.

    Raises:
        ReplacedError: Always.
    """
    raise ReplacedError(f"{name} is not part of sparktune, on purpose: use {instead} instead")


class ReplacedTrials(Trials):
    """Base of the ``Trials`` that cannot be made here; they are classes so that ``isinstance`` and ``except`` work."""

    instead = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse(f"{type(self).__module__}.{type(self).__name__}".replace("sparktune.", "hyperopt."), self.instead)
