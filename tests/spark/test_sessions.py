"""Sessions that are not there any more; each test stops the one it gets."""

import pickle
import time

import pyspark
import pytest

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.exceptions import SparkUnavailableError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE
from sparktune.spark import get_session

pytestmark = pytest.mark.spark

QUIET = {"show_progressbar": False, "verbose": False}
SPACE = hp.randint("i", 100)


@pytest.fixture
def mortal_session(session):
    """A session that the test may stop; a new one if an earlier test did."""
    return get_session("local[2]", config={"spark.ui.enabled": "false"})


def test_stopped_session_is_refused(mortal_session):
    """A session that was stopped before is an error that says so."""
    mortal_session.stop()
    with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
        SparkTrials(spark_session=mortal_session)


def test_session_stopped_before_fmin_is_an_error_of_fmin(mortal_session):
    """Trials whose session was stopped since cannot run, and the trials object is as it was."""
    trials = SparkTrials(parallelism=2, spark_session=mortal_session)
    mortal_session.stop()
    with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
        fmin(float, SPACE, max_evals=2, trials=trials, **QUIET)
    assert len(trials._dynamic_trials) == 0


def test_session_ended_by_the_jvm_is_an_error_of_fmin(mortal_session):
    """An application that ended on Spark's side, with the Python session unaware, gives the same error."""
    trials = SparkTrials(parallelism=2, spark_session=mortal_session)
    mortal_session.sparkContext._jsc.sc().stop()
    try:
        with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
            fmin(float, SPACE, max_evals=2, trials=trials, **QUIET)
        with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
            SparkTrials(spark_session=mortal_session)
    finally:
        mortal_session.stop()


def test_session_stopped_in_mid_run_keeps_what_is_finished(mortal_session, desk, background):
    """The run ends with an error, finished trials are kept, and they resume on another session."""
    check_in = desk.check_in

    def objective(i):
        return float(check_in(i)) if i else 0.0

    def run(trials, points, fn):
        fmin(
            fn,
            SPACE,
            algo=rand.suggest,
            max_evals=len(trials),
            trials=trials,
            points_to_evaluate=[{"i": i} for i in points],
            **QUIET,
        )

    trials = SparkTrials(parallelism=2, spark_session=mortal_session)
    ended = background(run, trials, range(4), objective)
    desk.next(), desk.next()
    mortal_session.stop()
    with pytest.raises(SparkUnavailableError, match="the Spark application ended while trials were running"):
        ended.result(timeout=60)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_DONE] + [JOB_STATE_CANCEL] * 3

    get_session("local[2]", config={"spark.ui.enabled": "false"})
    trials = pickle.loads(pickle.dumps(trials))
    run(trials, [8, 9], float)
    assert trials.losses() == [0.0, 8.0, 9.0]


def test_active_session_is_used_without_asking(mortal_session):
    """SparkTrials() and get_session() find the session that is there, whatever master they would have chosen."""
    assert (
        get_session("local[7]") is mortal_session or get_session("local[7]").sparkContext is mortal_session.sparkContext
    )
    assert SparkTrials().parallelism == 2


def test_what_is_asked_of_an_active_session_is_ignored_aloud(mortal_session, caplog):
    """Another master, and a setting that the active session has not, are named; what it has is no news."""
    get_session("local[2]", config={"spark.ui.enabled": "false"})
    assert not caplog.records
    get_session("local[7]", config={"spark.ui.enabled": "false", "spark.executor.memory": "3g"})
    (record,) = caplog.records
    assert "ignored: master 'local[7]', spark.executor.memory;" in record.getMessage()


def test_application_that_copies_slow_tasks_is_refused(mortal_session):
    """Where Spark starts copies of slow one-task stages, SparkTrials names the setting to change."""
    mortal_session.stop()
    speculation = {"spark.speculation": "true", "spark.speculation.task.duration.threshold": "1s"}
    session = get_session("local[2]", config={"spark.ui.enabled": "false", **speculation})
    try:
        with pytest.raises(SparkUnavailableError, match=r"set spark\.speculation to false"):
            SparkTrials(spark_session=session)
    finally:
        session.stop()


@pytest.mark.skipif(pyspark.__version__ < "4.1", reason="Spark has the setting since 4.1")
def test_application_that_kills_silent_workers_is_pointed_out(mortal_session, caplog):
    """Where Spark takes a long trial for one that hangs, a warning and the trial's error name the setting to change."""
    mortal_session.stop()
    limit = {"spark.python.worker.idleTimeoutSeconds": "1", "spark.python.worker.killOnIdleTimeout": "true"}
    session = get_session("local[2]", config={"spark.ui.enabled": "false", **limit})
    try:
        # Without the check, which on a busy machine may itself be silent for too long.
        trials = SparkTrials(parallelism=1, spark_session=session, preflight=False)
        fmin(lambda i: time.sleep(60), hp.randint("i", 9), max_evals=1, trials=trials, return_argmin=False)
    finally:
        session.stop()
    assert "send nothing for 1 s" in caplog.text
    assert "killOnIdleTimeout" in trials._dynamic_trials[0]["misc"]["error"][1]
