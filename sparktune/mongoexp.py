"""hyperopt's import path ``mongoexp``: its names can be imported; to use one raises an error that says what to use.

Trials in parallel need no database here: ``SparkTrials`` on a cluster, ``Trials(parallelism=4, backend="processes")``
on one machine, ``trials_save_file=`` to keep what is done.
"""

from __future__ import annotations

from typing import Any

from sparktune.compat.replaced import ReplacedTrials, refuse
from sparktune.exceptions import InvalidTrial, SparktuneError
from sparktune.run.domain import Ctrl

__all__ = [
    "DomainSwapError",
    "InvalidMongoTrial",
    "MongoCtrl",
    "MongoJobs",
    "MongoTrials",
    "MongoWorker",
    "OperationFailure",
    "ReserveTimeout",
    "Shutdown",
    "WaitQuit",
    "as_mongo_str",
    "connection_from_string",
    "connection_with_tunnel",
    "exec_import",
    "main",
    "main_worker",
    "main_worker_helper",
    "number_of_jobs_in_db",
    "parse_url",
    "read_pw",
]

_INSTEAD = (
    'SparkTrials(parallelism=8) on a cluster, or Trials(parallelism=4, backend="processes") on one machine, with '
    "trials_save_file= to keep what is done; objectives run in their workers, so no process of yours has to be started"
)


class OperationFailure(SparktuneError):
    """Never raised here; there for ``except`` clauses."""


class Shutdown(SparktuneError):
    """Never raised here; there for ``except`` clauses."""


class WaitQuit(SparktuneError):
    """Never raised here; there for ``except`` clauses."""


class InvalidMongoTrial(InvalidTrial):
    """Never raised here; there for ``except`` clauses."""


class DomainSwapError(SparktuneError):
    """Never raised here; there for ``except`` clauses."""


class ReserveTimeout(SparktuneError):
    """Never raised here; there for ``except`` clauses."""


class MongoTrials(ReplacedTrials):
    """Cannot be made; use ``SparkTrials``, or ``Trials(parallelism=4, backend="processes")``."""

    instead = _INSTEAD


class MongoJobs:
    """Cannot be made; see :class:`MongoTrials`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse("hyperopt.mongoexp.MongoJobs", _INSTEAD)

    @classmethod
    def new_from_connection_str(cls, *args: Any, **kwargs: Any) -> Any:
        """Raise the error that says what to use."""
        refuse("hyperopt.mongoexp.MongoJobs", _INSTEAD)


class MongoWorker:
    """Cannot be made; see :class:`MongoTrials`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse("hyperopt.mongoexp.MongoWorker", _INSTEAD)


class MongoCtrl(Ctrl):
    """Cannot be made; objectives get a ``Ctrl``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse("hyperopt.mongoexp.MongoCtrl", "hyperopt.Ctrl, which objectives with pass_expr_memo_ctrl get,")


def as_mongo_str(url: str) -> str:
    """The address with ``mongo://`` at its head."""
    return url if url.startswith("mongo://") else f"mongo://{url}"


def parse_url(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.parse_url", _INSTEAD)


def connection_from_string(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.connection_from_string", _INSTEAD)


def connection_with_tunnel(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.connection_with_tunnel", _INSTEAD)


def exec_import(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.exec_import", "importlib.import_module")


def read_pw(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.read_pw", _INSTEAD)


def number_of_jobs_in_db(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.number_of_jobs_in_db", "trials.count_by_state_synced(JOB_STATE_NEW)")


def main_worker(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt-mongo-worker", _INSTEAD)


def main_worker_helper(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt-mongo-worker", _INSTEAD)


def main(*args: Any, **kwargs: Any) -> Any:
    """Raise the error that says what to use."""
    refuse("hyperopt.mongoexp.main", _INSTEAD)
