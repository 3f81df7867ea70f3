"""Optuna's samplers behind ``fmin``, our search as a sampler of Optuna, and studies from one to the other.

:func:`suggest` keeps an Optuna study in memory beside each ``Trials`` object and tells it every document once;
:class:`Sampler` keeps a ``Trials`` object beside each Optuna study. Each side sees only public names of the other.
"""

from sparktune.exceptions import MissingPackageError

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    raise MissingPackageError(
        "sparktune.bridges.optuna needs Optuna, which is not installed: pip install 'sparktune[optuna]'"
    ) from error

from sparktune.bridges.optuna.export import load, to_study
from sparktune.bridges.optuna.sampler import Sampler
from sparktune.bridges.optuna.study import suggest

__all__ = ["Sampler", "load", "suggest", "to_study"]
