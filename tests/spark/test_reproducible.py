"""Runs on Spark that can be repeated."""

import random
import time

import pytest
from pyspark.sql import SparkSession

from sparktune import SparkTrials, Trials, fmin, hp, tpe

pytestmark = pytest.mark.spark

SPACE = {"x": hp.uniform("x", -5, 5), "k": hp.choice("k", ["a", {"c": hp.uniform("c", 0, 1)}])}


RUNS = pytest.mark.parametrize("n_runs", [2, pytest.param(20, marks=pytest.mark.slow)])


def run(trials):
    """The values of all trials, in order."""

    def objective(point):  # in here, for a module of tests cannot be imported on a Connect server
        time.sleep(random.SystemRandom().random() * 0.05)  # another time each time
        return point["x"] ** 2 + (point["k"] != "a")

    options = {"algo": tpe.suggest, "rstate": 5, "verbose": False, "reproducible": True}
    fmin(objective, SPACE, trials=trials, max_evals=16, **options)
    return [document["misc"]["vals"] for document in trials._dynamic_trials]


@RUNS
@pytest.mark.parametrize("engine", ["jobs", "workers", "driver"])
def test_same_seed_gives_the_same_trials(session, engine, n_runs):
    """On each engine, whatever the timing, the trials are those of four threads of this process."""
    expected = run(Trials(parallelism=4))
    for _ in range(n_runs):
        assert run(SparkTrials(4, spark_session=session, engine=engine)) == expected


@RUNS
def test_same_seed_gives_the_same_trials_on_connect(connect_server, monkeypatch, n_runs):
    """So they are through Spark Connect."""
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # a process has either a classic session or Connect's
    session = SparkSession.builder.remote(connect_server.url).create()
    try:
        expected = run(Trials(parallelism=4))
        for _ in range(n_runs):
            assert run(SparkTrials(4, spark_session=session)) == expected
    finally:
        session.stop()
