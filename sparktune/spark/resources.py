"""Resources of one trial: CPUs and GPUs as a task-only resource profile, where Spark can schedule by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, SparkUnavailableError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession


def build_profile(
    session: SparkSession,
    cpus_per_trial: int | None = None,
    gpus_per_trial: float | None = None,
    resource_profile: ResourceProfile | None = None,
) -> ResourceProfile | None:
    """The resources of each trial's task; None if none are asked for.

    Args:
        session: Classic or Connect.
        cpus_per_trial: Cores for each trial, at least 1; None: ``spark.task.cpus``.
        gpus_per_trial: GPUs for each trial: a whole number, or a part of one up to 0.5, for trials that share it.
            The executors need GPUs that Spark knows of (``spark.executor.resource.gpu.amount``).
        resource_profile: A profile made by hand; not together with the two above.

    Raises:
        InvalidArgumentError: If an argument is out of its rule, or Spark has nothing to schedule by: local mode.
        InvalidTypeError: If an argument has the wrong type.
        SparkUnavailableError: If the session cannot take resources: Spark Connect before 4.0.
    """
    _validate(cpus_per_trial, gpus_per_trial, resource_profile)
    if cpus_per_trial is None and gpus_per_trial is None and resource_profile is None:
        return None
    asked = "resource_profile" if resource_profile is not None else "cpus_per_trial and gpus_per_trial"
    master = master_of(session)
    if master is not None and is_local_master(master):
        raise InvalidArgumentError(
            f"{asked}: Spark has resources to schedule on a cluster only, and this session runs on {master}. Leave out "
            "what asks for them"
        )
    if is_connect(session) and not _takes_profiles():
        import pyspark

        raise SparkUnavailableError(
            f"{asked} need pyspark 4.0 or newer with Spark Connect, and this is {pyspark.__version__}: leave them out, "
            "or set spark.task.cpus for the whole application"
        )
    return resource_profile if resource_profile is not None else _task_profile(cpus_per_trial, gpus_per_trial)


def is_connect(session: Any) -> bool:
    """Whether it is a Spark Connect session; asks its class, so that neither gRPC nor a server is needed."""
    return any(cls.__module__.startswith("pyspark.sql.connect.") for cls in type(session).__mro__)


def is_local_master(master: str) -> bool:
    """Whether tasks run in the driver's own JVM; a ``local-cluster`` is a cluster."""
    return master.split("[")[0] == "local"


def master_of(session: Any) -> str | None:
    """Spark's master; None where it cannot be read (serverless Connect)."""
    if not is_connect(session):
        return str(session.sparkContext.master)
    try:
        return str(session.conf.get("spark.master"))
    except Exception:  # gRPC's or the service's refusal: not every service shows its configuration
        return None


def setting_of(session: Any, key: str) -> str:
    """What a session has for a setting; empty if it has none, or does not say."""
    try:
        return session.conf.get(key, None) or ""
    except Exception:  # py4j's, gRPC's or the service's refusal: not every service shows its configuration
        return ""


def described(profile: ResourceProfile) -> str:
    """What a profile asks for, in words: ``"cpus: 4, gpu: 1"``; what it asks of executors has their name in front."""
    of_executors = [f"executor {name}: {request.amount:g}" for name, request in profile.executorResources.items()]
    return ", ".join(of_executors + [f"{name}: {request.amount:g}" for name, request in profile.taskResources.items()])


def _validate(cpus: object, gpus: object, profile: object) -> None:
    if profile is not None and (cpus is not None or gpus is not None):
        raise InvalidArgumentError(
            "cpus_per_trial and gpus_per_trial make a resource profile of their own, and resource_profile is given as "
            "well: leave out one or the other"
        )
    if cpus is not None:
        if not isinstance(cpus, int) or isinstance(cpus, bool):
            raise InvalidTypeError(f"cpus_per_trial is a whole number of cores, got {cpus!r}")
        if cpus < 1:
            raise InvalidArgumentError(f"cpus_per_trial must be 1 or more, got {cpus}")
    if gpus is not None:
        if not isinstance(gpus, (int, float)) or isinstance(gpus, bool):
            raise InvalidTypeError(f"gpus_per_trial is a number of GPUs, got {gpus!r}")
        if not (0 < gpus <= 0.5 or (gpus >= 1 and gpus == int(gpus))):  # Spark's own rule
            raise InvalidArgumentError(f"gpus_per_trial must be a whole number, or a part up to 0.5, got {gpus}")


def _takes_profiles() -> bool:
    import inspect

    from pyspark.sql.connect.dataframe import DataFrame

    return "profile" in inspect.signature(DataFrame.mapInArrow).parameters


def _task_profile(cpus: int | None, gpus: float | None) -> ResourceProfile:
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    requests = TaskResourceRequests()
    if cpus is not None:
        requests = requests.cpus(cpus)
    if gpus is not None:
        requests = requests.resource("gpu", float(gpus))
    return ResourceProfileBuilder().require(requests).build
