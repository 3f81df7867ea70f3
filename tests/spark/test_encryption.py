"""A session that encrypts what it writes, and reserves two cores for each task."""

import os

import pytest
from pyspark.sql import SparkSession

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.spark import get_session

pytestmark = pytest.mark.spark

SPACE = hp.randint("i", 100)
QUIET = {"show_progressbar": False, "verbose": False, "return_argmin": False}


@pytest.fixture(scope="module")
def encrypted():
    """The session, on four cores."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()
    settings = {"spark.ui.enabled": "false", "spark.io.encryption.enabled": "true", "spark.task.cpus": "2"}
    session = get_session("local[4]", config=settings)
    yield session
    session.stop()


@pytest.mark.parametrize("engine", ["jobs", "workers"])
def test_broadcast_variable_is_new_to_a_process_that_is_there(encrypted, engine):
    """With encryption, too, the process of an evaluation gets to know the variables that were made after its start."""
    for n in range(3):
        variable, option = (encrypted.sparkContext.broadcast({"n": k}) for k in (n, 10 * n))
        trials = SparkTrials(1, spark_session=encrypted, engine=engine)
        space = [SPACE, hp.choice("option", [option])]
        fmin(lambda p, b=variable: b.value["n"] + p[1].value["n"], space, rand.suggest, 2, trials=trials, **QUIET)
        assert trials.losses() == [11 * n, 11 * n]


@pytest.mark.parametrize("engine", ["jobs", "workers"])
def test_broadcast_variable_in_a_handle_is_loaded_before_it(encrypted, engine):
    """With encryption it travels beside the shared values, and one of these may hold it."""
    variable = encrypted.sparkContext.broadcast([5.0])
    handle = SparkTrials.broadcast({"variable": variable})
    trials = SparkTrials(1, spark_session=encrypted, engine=engine)
    fmin(lambda i: handle.value["variable"].value[0], SPACE, rand.suggest, 2, trials=trials, **QUIET)
    assert trials.losses() == [5.0, 5.0]


@pytest.mark.parametrize(("parallelism", "threads"), [(1, "4"), (2, "2"), (8, "2")])
def test_thread_pools_fit_the_cores_of_the_tasks(encrypted, parallelism, threads):
    """Where a task has two cores, its trial's thread pools are told of both; trials beyond the tasks wait."""

    def objective(i):
        return {"loss": 0.0, "status": "ok", "threads": os.environ["LOKY_MAX_CPU_COUNT"]}

    trials = SparkTrials(parallelism, spark_session=encrypted, engine="jobs")
    fmin(objective, SPACE, rand.suggest, 1, trials=trials, **QUIET)
    assert trials.results[0]["threads"] == threads
