"""What ``SparkTrials`` can be told, and what it finds out by itself: engines, retries, preflight, parallelism."""

import importlib
import logging
import os
import sys
import time
import uuid

import numpy as np
import pytest

from sparktune import SparkTrials, fmin, hp, rand, tpe
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, ObjectiveError
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.spark.preflight import VersionMismatchError

pytestmark = pytest.mark.spark

CLUSTER = "local-cluster[2,1,1024]"
on_cluster = pytest.mark.parametrize("session", [CLUSTER], indirect=True, scope="module")

# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        ({"parallelism": "many"}, InvalidTypeError, "whole number of trials at a time, \"auto\".*'many'"),
        ({"parallelism": 2.5}, InvalidTypeError, "2.5"),
        (
            {"engine": "connect"},
            InvalidArgumentError,
            "on a classic Spark session is one of 'automatic', 'jobs'.*'connect'",
        ),
        ({"engine": "fast"}, InvalidArgumentError, "'fast'"),
        ({"max_retries": -1}, InvalidArgumentError, "max_retries is 0.*-1"),
        ({"max_retries": 1.0}, InvalidTypeError, "max_retries is a whole number.*1.0"),
        ({"trial_timeout": 0}, InvalidArgumentError, "trial_timeout is a number of seconds above 0.*0"),
        ({"trial_timeout": "1h"}, InvalidTypeError, "trial_timeout.*'1h'"),
        ({"trial_memory": "much"}, InvalidTypeError, "trial_memory.*\"512m\".*'much'"),
        ({"trial_memory": -5}, InvalidArgumentError, "trial_memory is above 0 bytes.*-5"),
        ({"trial_memory": "2g", "engine": "driver"}, InvalidArgumentError, 'trial_memory.*engine="driver"'),
        ({"parallelism": "auto", "engine": "driver"}, InvalidArgumentError, "give a number"),
        ({"cpus_per_trial": 2}, InvalidArgumentError, "on a cluster only.*local"),
        ({"gpus_per_trial": 1}, InvalidArgumentError, "on a cluster only.*local"),
    ],
    ids=str,
)
def test_argument_out_of_its_rule_is_refused(session, argument, error, text):
    """The error says the rule and what was received."""
    with pytest.raises(error, match=text):
        SparkTrials(spark_session=session, **argument)


def test_memory_is_read_in_spark_s_units(session):
    """A limit of memory may be a text as in Spark's settings."""
    assert SparkTrials(spark_session=session, trial_memory="1.5g").trial_memory == 3 * 2**29


# -- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_retries", "n_evaluations"), [(0, 1), (2, 3)])
def test_lost_trial_is_evaluated_as_often_as_asked(session, tune, journal, max_retries, n_evaluations):
    """A trial that always dies is evaluated ``max_retries`` further times; each attempt is in its document."""
    write = journal.write

    def objective(i):
        write(i)
        os._exit(3)

    trials = SparkTrials(2, spark_session=session, max_retries=max_retries)
    tune(objective, 1, trials=trials)
    assert journal.lines == ["0"] * n_evaluations
    [document] = trials._dynamic_trials
    assert document["state"] == JOB_STATE_ERROR
    assert "WorkerLostError" in document["misc"]["error"][0]
    assert "exit code 3" in document["misc"]["error"][1]
    assert ["exit code 3" in attempt["error"] for attempt in document["misc"]["run"]["attempts"]] == [
        True
    ] * n_evaluations


def test_retry_is_said_in_the_log(tune, journal, caplog):
    """A warning names the trial that is evaluated again, and why."""
    path = journal.path

    def objective(i):
        if not os.path.exists(path):
            open(path, "w").close()
            os._exit(3)
        return float(i)

    with caplog.at_level(logging.WARNING, "sparktune"):
        assert tune(objective, 1).losses() == [0.0]
    assert "trial 0 was lost and is evaluated again" in caplog.text
    assert "exit code 3" in caplog.text


@pytest.mark.slow  # test_faults.py has one with children
@on_cluster
def test_trial_of_a_lost_executor_is_evaluated_again(tune, journal):
    """An executor that is killed costs its trials one more attempt each, not the run."""
    write, path = journal.write, journal.path

    def objective(i):
        write(i)
        with open(path) as file:
            is_first = file.read().split().count("0") == 1
        if i == 0 and is_first:
            os.kill(java_above(os.getpid()), 9)
            time.sleep(300)
        return float(i)

    def java_above(pid):
        while True:
            with open(f"/proc/{pid}/stat") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if name == "java":
                return pid
            pid = int(rest.split()[1])

    trials = tune(objective, 4)
    assert trials.losses() == [0.0, 1.0, 2.0, 3.0]
    assert sorted(journal.lines) == ["0", "0", "1", "2", "3"]
    assert len(trials.trials[0]["misc"]["run"]["attempts"]) == 2


# -- preflight --------------------------------------------------------------------------------------------------------


def test_module_that_workers_lack_is_one_error(session, tune, journal, tmp_path, monkeypatch):
    """An objective that cannot be loaded on a worker ends the run before its first trial, with the remedy."""
    path = tmp_path / "only_here.py"
    path.write_text("def objective(i):\n    return float(i)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    trials = SparkTrials(2, spark_session=session)
    monkeypatch.setattr(sys, "path", sys.path[1:])  # what workers of a local session are told to look at
    with pytest.raises(ObjectiveError, match=r"No module named 'only_here'.*--py-files.*addPyFile"):
        tune(only_here.objective, 4, trials=trials)
    assert all(document["state"] != JOB_STATE_ERROR for document in trials._dynamic_trials)


@pytest.fixture
def two_versions(tmp_path, monkeypatch):
    """Writes a package that is of one version here, and of another where workers look for it.

    Each has a name of its own: workers live longer than a test, and keep what they have imported.
    """
    name = f"twofold_{uuid.uuid4().hex[:8]}"

    def two_versions(here, there):
        for folder, version in (("here", here), ("there", there)):
            package = tmp_path / folder / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f"__version__ = {version!r}\ndef loss(i): return float(i)\n")
        monkeypatch.syspath_prepend(str(tmp_path / "here"))
        package = importlib.import_module(name)
        monkeypatch.setattr(sys, "path", [str(tmp_path / "there"), *sys.path[1:]])
        return package

    yield two_versions
    sys.modules.pop(name, None)


def test_package_of_another_major_version_is_one_error(two_versions, tune):
    """A package whose first number differs on the workers ends the run before its first trial."""
    twofold = two_versions("2.0.1", "1.9.3")
    with pytest.raises(VersionMismatchError, match=r"twofold_\w+ 1\.9\.3 \(here 2\.0\.1\).*preflight=False"):
        tune(lambda i: twofold.loss(i), 2)


def test_preflight_can_be_left_out(session, two_versions, tune):
    """Without preflight, versions are not compared."""
    twofold = two_versions("2.0.1", "1.9.4")
    trials = SparkTrials(2, spark_session=session, preflight=False)
    assert tune(lambda i: twofold.loss(i), 2, trials=trials).losses() == [0.0, 1.0]


def test_package_of_a_near_version_is_a_warning(two_versions, tune, caplog):
    """A package whose later numbers differ is named once, and the run goes on."""
    twofold = two_versions("2.0.1", "2.3.0")
    with caplog.at_level(logging.WARNING, "sparktune"):
        assert tune(lambda i: twofold.loss(i), 2).losses() == [0.0, 1.0]
    assert caplog.text.count(f"{twofold.__name__} 2.3.0 (here 2.0.1)") == 1


def test_missing_import_is_named(tune, caplog):
    """A package that the objective imports only when it runs, and that workers lack, is named before they fail."""

    def objective(i):
        import nowhere_at_all  # noqa: F401

        return float(i)

    with caplog.at_level(logging.WARNING, "sparktune"):
        trials = tune(objective, 2)
    assert "imports nowhere_at_all, which the executor" in caplog.text
    assert trials.count_failed_trials() == 2


# -- shared values ----------------------------------------------------------------------------------------------------


def test_broadcast_value_is_sent_once_for_many_runs(tune, journal):
    """A shared value is loaded once per process, however many objectives use it."""
    write = journal.write

    class Data:
        def __init__(self):
            self.values = np.arange(1_000_000)

        def __setstate__(self, state):
            self.__dict__.update(state)
            write(os.getpid())

    data = SparkTrials.broadcast(Data())
    assert data.value.values[7] == 7
    sums = [tune(lambda i, k=k: float(data.value.values[i] + k), 3).losses() for k in range(3)]
    assert sums == [[0.0 + k, 1.0 + k, 2.0 + k] for k in range(3)]
    [(_, (_, variable))] = data._sent.values()
    assert os.path.exists(variable._path)
    data.unpersist()
    assert not os.path.exists(variable._path)
    assert tune(lambda i: float(data.value.values[i]), 2).losses() == [0.0, 1.0]


def test_spark_s_own_broadcast_variables_work(session, tune):
    """An objective may use a broadcast variable that the program made itself, as with hyperopt."""
    table = session.sparkContext.broadcast({i: i * 10.0 for i in range(5)})
    assert tune(lambda i: table.value[i], 5).losses() == [0.0, 10.0, 20.0, 30.0, 40.0]


def test_broadcast_variable_of_an_objective_stays_out_of_other_jobs(session, tune):
    """After fmin the program may destroy its broadcast variable, and its next job has nothing to do with it."""
    table = session.sparkContext.broadcast([1.0, 2.0])
    tune(lambda i: table.value[i], 2)
    table.destroy()
    assert session.sparkContext.parallelize([1], 1).map(lambda x: x + 1).collect() == [2]


# -- parallelism ------------------------------------------------------------------------------------------------------


def test_default_parallelism_is_said_with_its_reason(session, caplog):
    """Without a number there are as many trials at a time as slots, and one line says so."""
    with caplog.at_level(logging.INFO, "sparktune"):
        assert SparkTrials(spark_session=session).parallelism == 2
    [line] = [record.getMessage() for record in caplog.records if "parallelism" in record.getMessage()]
    assert line.startswith("parallelism: 2 trials at a time, one for each task")


@pytest.mark.parametrize(
    ("parallelism", "n_trials", "text"),
    [(8, 8, "all 8 trials start before the first result"), (4, 10, "of 10 trials, 4 start before"), (2, 10, None)],
)
def test_blind_search_is_warned_of(session, caplog, parallelism, n_trials, text):
    """A parallelism too close to the number of trials is a warning with numbers."""
    trials = SparkTrials(parallelism, spark_session=session)
    with caplog.at_level(logging.WARNING, "sparktune"):
        fmin(float, hp.randint("i", 9), tpe.suggest, max_evals=n_trials, trials=trials, show_progressbar=False)
    assert (text in caplog.text) if text else ("parallelism" not in caplog.text)


def test_study_that_goes_on_is_not_blind(session, caplog):
    """A run that adds few trials to a study with results has those to learn from."""
    trials = SparkTrials(2, spark_session=session)
    for n in (10, 15):
        fmin(float, hp.uniform("x", 0, 9), tpe.suggest, max_evals=n, trials=trials, show_progressbar=False)
    assert "first result" not in caplog.text


def test_blind_search_after_failures_is_told_the_whole_number(session, caplog):
    """The advice is for ``max_evals``, in which the trials before this run count."""
    trials = SparkTrials(2, spark_session=session)
    fmin(lambda i: float("nan"), hp.randint("i", 9), tpe.suggest, 6, trials=trials, return_argmin=False)
    caplog.clear()
    fmin(float, hp.randint("i", 9), tpe.suggest, max_evals=11, trials=trials, show_progressbar=False)
    assert "parallelism=1, or max_evals=14 or higher" in caplog.text


@pytest.mark.parametrize(("parallelism", "cpus"), [(1, "2"), (2, "1")])
def test_thread_pools_fit_the_trial(session, tune, parallelism, cpus):
    """Trials of a local session share its cores: thread pools of each are told its part."""

    def objective(i):
        return {"loss": 0.0, "status": "ok", "threads": os.environ["LOKY_MAX_CPU_COUNT"]}

    trials = tune(objective, 1, trials=SparkTrials(parallelism, spark_session=session))
    assert trials.results[0]["threads"] == cpus


def test_joblib_uses_the_trial_s_cpus(session, tune):
    """``n_jobs=-1`` in an objective means the cores of its trial."""

    def objective(i):
        import joblib

        return float(joblib.effective_n_jobs(-1))

    assert tune(objective, 1, trials=SparkTrials(2, spark_session=session)).losses() == [1.0]


def test_session_that_the_objective_prints_to_is_told_apart(tune):
    """Logs of trials that run at the same time do not mix."""

    def objective(i):
        for _ in range(50):
            print("trial", i)
        return float(i)

    trials = tune(objective, 4)
    for i in range(4):
        assert set(trials.logs(i).split("\n")) == {f"trial {i}", ""}
    with pytest.raises(InvalidArgumentError, match="got 99"):
        trials.logs(99)


def test_task_context_is_the_trial_s(tune):
    """Spark's task context can be read in an objective, and is that of the trial's own task."""

    def objective(i):
        from pyspark import TaskContext

        return float(TaskContext.get().stageId())

    stages = tune(objective, 4).losses()
    assert len(set(stages)) == 4


@pytest.mark.slow
def test_dynamic_allocation_is_followed(tmp_path):
    """With parallelism="auto", waiting trials make the cluster grow, and it is used to its bound."""
    from pyspark import SparkContext

    from sparktune.spark import get_session

    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
    session = get_session(
        "local-cluster[3,1,1024]",
        config={
            "spark.ui.enabled": "false",
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.initialExecutors": "1",
            "spark.dynamicAllocation.minExecutors": "1",
            "spark.dynamicAllocation.maxExecutors": "3",
            "spark.executor.cores": "1",
            "spark.executor.memory": "1g",
            "spark.dynamicAllocation.executorIdleTimeout": "3s",
        },
    )
    folder = str(tmp_path)

    def objective(i):
        with open(f"{folder}/{i}", "w"):
            pass
        end = time.monotonic() + 150
        while len(os.listdir(folder)) < 3:  # three at once need three executors
            if time.monotonic() > end:
                raise TimeoutError("the cluster has not grown")
            time.sleep(0.05)
        return float(i)

    try:
        trials = SparkTrials("auto", spark_session=session)
        fmin(
            objective,
            hp.randint("i", 10**6),
            algo=rand.suggest,
            max_evals=6,
            trials=trials,
            return_argmin=False,
            show_progressbar=False,
        )
        assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_DONE] * 6
    finally:
        session.stop()
