"""Resources per trial that a cluster does not have, on two executors with one core each and no GPU."""

import math

import pytest
from pyspark.resource import ExecutorResourceRequests, ResourceProfileBuilder, TaskResourceRequests

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, SparkUnavailableError
from sparktune.spark import classic
from sparktune.spark.resources import build_profile
from sparktune.spark.session import connect_to

pytestmark = [
    pytest.mark.spark,
    pytest.mark.parametrize("session", ["local-cluster[2,1,1024]"], indirect=True, scope="module"),
]


def profile_of(*requests):
    """A profile made by hand."""
    builder = ResourceProfileBuilder()
    for request in requests:
        builder = builder.require(request)
    return builder.build


@pytest.fixture
def executors(session):
    """Returns when both executors are there."""
    connect_to(session).n_slots()


@pytest.mark.parametrize("engine", [None, "jobs", "workers"])
@pytest.mark.parametrize("parallelism", [2, "auto", None])
def test_trials_that_fit_no_executor_are_refused(session, executors, parallelism, engine):
    """They would wait for ever, so the error names them, whatever is said of their number and of the engine."""
    with pytest.raises(SparkUnavailableError, match=r"no executor .*\(cpus: 4\).*ask for less per trial \(cpus_per_tr"):
        SparkTrials(parallelism, spark_session=session, cpus_per_trial=4, engine=engine)


def test_profile_that_fits_no_executor_is_refused(session, executors):
    """A profile made by hand is looked at like one that is made of numbers."""
    profile = profile_of(TaskResourceRequests().cpus(3))
    with pytest.raises(SparkUnavailableError, match=r"no executor .*\(cpus: 3\).*or resource_profile\)"):
        SparkTrials(2, spark_session=session, resource_profile=profile)


def test_executors_that_are_not_there_yet_are_not_waited_for_before_fmin(session, monkeypatch):
    """In an application that has just started the trials object is made at once, and fmin refuses what does not fit."""
    with monkeypatch.context() as patch:
        patch.setattr(classic, "_n_expected", lambda context: 3)  # one is still to come
        patch.setattr(classic, "_YOUNG", math.inf)
        trials = SparkTrials(2, spark_session=session, cpus_per_trial=4)
    with pytest.raises(SparkUnavailableError, match=r"no executor .*\(cpus: 4\)"):
        fmin(float, hp.uniform("x", 0, 1), rand.suggest, 2, trials=trials, timeout=10, return_argmin=False)
    assert len(trials.trials) == 0


def test_executors_that_dynamic_allocation_may_start_are_not_judged_by_those_there(session, executors, monkeypatch):
    """Under dynamic allocation what fits no executor now is not refused: a larger one may come."""
    gateway = connect_to(session, build_profile(session, 4))
    monkeypatch.setattr(classic, "_is_dynamic", lambda context: True)
    gateway.check_resources(wait=True)


def test_gpus_that_executors_lack_are_refused(session):
    """The error names the argument, and how executors get GPUs, before a trial is made."""
    with pytest.raises(
        SparkUnavailableError, match=r"gpus_per_trial.*must be .*, got gpu: 1: .*spark\.executor\.resource\.gpu\.amount"
    ):
        SparkTrials(2, spark_session=session, gpus_per_trial=1)


def test_executors_that_nobody_starts_are_refused(session):
    """A profile that asks for executors without dynamic allocation is refused, with what it asks for and what to do."""
    profile = profile_of(ExecutorResourceRequests().cores(2), TaskResourceRequests().cpus(1))
    with pytest.raises(
        SparkUnavailableError,
        match=r"needs dynamic allocation.*, got executor cores: 2, cpus: 1: set spark\.dynamicAllocation\.enabled",
    ):
        SparkTrials(2, spark_session=session, resource_profile=profile)


@pytest.mark.parametrize("name", ["cpus_per_trial", "gpus_per_trial", "resource_profile"])
def test_engine_driver_reserves_nothing(session, name):
    """Trials in the driver have none of Spark's resources, so asking for them is an error, not a no-op."""
    value = profile_of(TaskResourceRequests().cpus(1)) if name == "resource_profile" else 1
    with pytest.raises(InvalidArgumentError, match=f'{name} cannot be kept with engine="driver".*got .*leave it out'):
        SparkTrials(2, spark_session=session, engine="driver", **{name: value})


def test_trials_that_fit_run(session, executors, tune):
    """Resources that executors have are no obstacle, with a number of trials that is given."""
    trials = SparkTrials(2, spark_session=session, cpus_per_trial=1)
    assert tune(float, 2, trials=trials).losses() == [0.0, 1.0]
