"""hyperopt's import path ``main``, a command line that hyperopt 0.3.0 itself can no longer import.

Its names are there; to use one raises an error that says what to use.
"""

from __future__ import annotations

from typing import Any

from sparktune.compat.replaced import refuse

__all__ = ["main", "main_search", "main_show"]

_INSTEAD = "a program that calls fmin"


def main(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.main.main", _INSTEAD)


def main_search(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.main.main_search", f"{_INSTEAD}, with trials_save_file= to go on later,")


def main_show(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.main.main_show", "the functions of hyperopt.plotting")


if __name__ == "__main__":
    main()
