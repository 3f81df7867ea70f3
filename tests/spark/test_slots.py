"""Resources per trial and the slots they leave, on clusters with CPUs and GPUs of their own."""

import pytest
from pyspark.sql import SparkSession

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.resources import build_profile
from sparktune.spark.session import connect_to, get_session

pytestmark = [pytest.mark.spark, pytest.mark.slow]

#: Two executors with two cores each.
CLUSTER = "local-cluster[2,2,1024]"


def stop():
    """Stop the session that is active, if any: a process can have one only."""
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


@pytest.fixture
def start():
    """Starts a session on the cluster with some settings; it ends with the test."""
    stop()
    # Settings of the session that starts the JVM stay with it, and would be those of all later tests.
    get_session("local[1]", config={"spark.ui.enabled": "false"}).stop()

    def start(**settings):
        config = {f"spark.{key.replace('_', '.')}": value for key, value in settings.items()}
        return get_session(CLUSTER, config={"spark.ui.enabled": "false", **config})

    yield start
    stop()


def resources_of_a_task(gateway):
    """The CPUs of a task that the gateway runs, and how many GPUs it may use."""

    def task(rows):
        from pyspark import TaskContext

        list(rows)
        context = TaskContext.get()
        gpus = context.resources().get("gpu")
        yield f"{context.cpus()} {len(gpus.addresses) if gpus else 0}".encode()

    n_cpus, n_gpus = gateway.run(task, b"", "tag", "", {}).split()
    return int(n_cpus), int(n_gpus)


def test_resources_of_a_trial_bound_the_slots(start, tmp_path):
    """Two CPUs or two GPUs per trial halve the slots, and tasks see theirs; what fits no executor is refused."""
    discovery = tmp_path / "gpus"  # Spark asks a script for the GPUs of a machine
    discovery.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["7", "8"]}\'\n')
    discovery.chmod(0o755)
    # Not 0.5: where tasks share GPUs by default, Spark 3.5 gives a task that asks for two the same one twice.
    gpus = {"task_resource_gpu_amount": "1"}
    for owner in ("worker", "executor"):
        gpus |= {f"{owner}_resource_gpu_amount": "2", f"{owner}_resource_gpu_discoveryScript": str(discovery)}
    session = start(**gpus)
    assert connect_to(session).n_slots() == 4
    for (cpus, gpus), (n_slots, seen) in {
        (1, None): (4, (1, 0)),
        (2, None): (2, (2, 0)),
        (None, 2): (2, (1, 2)),
        (2, 1): (2, (2, 1)),
        (None, 0.5): (4, (1, 1)),
    }.items():
        gateway = connect_to(session, build_profile(session, cpus, gpus))
        assert (gateway.n_slots(), gateway.max_slots()) == (n_slots, n_slots)
        assert resources_of_a_task(gateway) == seen
    with pytest.raises(SparkUnavailableError, match=r"no executor .* can hold a trial .*cpus: 3"):
        connect_to(session, build_profile(session, 3)).n_slots()
    with pytest.raises(SparkUnavailableError, match=r"gpus_per_trial.* no more than one executor has, got gpu: 3: ask"):
        connect_to(session, build_profile(session, None, 3))


def test_dynamic_allocation_bounds_the_slots_by_what_may_come(start):
    """The most slots are those of all executors that Spark may start, and a first trial makes it start one."""
    session = start(
        executor_cores="2",
        dynamicAllocation_enabled="true",
        dynamicAllocation_shuffleTracking_enabled="true",
        dynamicAllocation_maxExecutors="5",
    )
    assert connect_to(session).n_slots() >= 1
    assert connect_to(session).max_slots() == 10
    halved = connect_to(session, build_profile(session, 2))
    assert halved.max_slots() == 5
    halved.check_resources(wait=True)  # there may be no executor yet
    assert resources_of_a_task(halved) == (2, 0)
    with pytest.raises(SparkUnavailableError, match=r"cpus_per_trial.* no more than one executor has, got cpus: 3:"):
        connect_to(session, build_profile(session, 3))


def test_dynamic_allocation_without_bound_has_no_most_slots(start):
    """Without maxExecutors there is no bound to tell."""
    session = start(
        executor_cores="2", dynamicAllocation_enabled="true", dynamicAllocation_shuffleTracking_enabled="true"
    )
    assert connect_to(session).max_slots() is None
