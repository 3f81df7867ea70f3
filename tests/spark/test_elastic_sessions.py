"""``parallelism="auto"`` on sessions that are not there any more; each test stops the one it gets."""

import pickle

import pytest

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.exceptions import SparkUnavailableError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE
from sparktune.spark import get_session, parallelism

pytestmark = pytest.mark.spark

SPACE = hp.randint("i", 100)
QUIET = {"show_progressbar": False, "verbose": False}


@pytest.fixture
def mortal_session(session, monkeypatch):
    """A session that the test may stop, whose slots are counted a hundred times a second."""
    monkeypatch.setattr(parallelism, "INTERVAL", 0.01)
    return get_session("local[2]", config={"spark.ui.enabled": "false"})


def test_trials_can_be_kept_after_the_session(mortal_session, tmp_path):
    """Once the session has stopped, the number of slots is the last one, and the trials pickle with it."""
    trials = SparkTrials("auto", spark_session=mortal_session)
    fmin(float, SPACE, rand.suggest, 2, trials=trials, **QUIET)
    mortal_session.stop()
    assert trials.parallelism == 2
    trials.save(tmp_path / "study")
    assert pickle.loads(pickle.dumps(trials)).losses() == trials.losses()
    with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
        fmin(float, SPACE, rand.suggest, 4, trials=trials, **QUIET)


def test_session_that_ends_in_mid_run_is_the_error_of_the_run(mortal_session, desk, background, tmp_path):
    """The run ends with what became of it, and the file of the trials has those that are finished."""
    check_in, path = desk.check_in, tmp_path / "trials.pkl"

    def objective(i):
        return float(check_in(i)) if i else 0.0

    trials = SparkTrials("auto", spark_session=mortal_session)
    options = {"points_to_evaluate": [{"i": i} for i in range(4)], "trials_save_file": str(path), **QUIET}
    ended = background(fmin, objective, SPACE, rand.suggest, 0, trials=trials, **options)
    desk.next(), desk.next()
    mortal_session.sparkContext._jsc.sc().stop()
    with pytest.raises(SparkUnavailableError, match="ended while trials were running; finished trials are kept"):
        ended.result(timeout=60)
    mortal_session.stop()
    states = [document["state"] for document in pickle.loads(path.read_bytes())._dynamic_trials]
    assert states == [JOB_STATE_DONE] + [JOB_STATE_CANCEL] * 3
