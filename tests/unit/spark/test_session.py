"""What is given as a session, and what is asked of one that is there, without a Spark."""

from types import SimpleNamespace

import pytest

from sparktune import SparkTrials
from sparktune.exceptions import InvalidTypeError
from sparktune.spark import session as sessions


class Session:
    """A session of the master ``local[2]`` with some settings, of which one cannot be read."""

    sparkContext = SimpleNamespace(master="local[2]")

    @property
    def conf(self):
        return self

    def get(self, key, default=None):
        if key == "spark.hidden":
            raise PermissionError(key)
        return {"spark.executor.memory": "2g", "spark.speculation": "true"}.get(key, default)


@pytest.mark.parametrize("given", ["local", 5, Session, Session()])
def test_what_is_no_session(given):
    """SparkTrials takes a session; a master, a class and what else there is are errors that say what to pass."""
    with pytest.raises(InvalidTypeError, match=r"spark_session is a Spark session.*got .*get_session"):
        SparkTrials(spark_session=given)


def test_what_the_active_session_has_not_is_named(caplog):
    """A master and settings that are asked of a session that is there are said to be ignored."""
    config = {"spark.executor.memory": "3g", "spark.executor.cores": "1", "spark.hidden": "1"}
    sessions._warn_of_ignored(Session(), "local[4]", config)
    (record,) = caplog.records
    message = record.getMessage()
    assert "master local[2]" in message
    ignored = "master 'local[4]', spark.executor.memory, spark.executor.cores, spark.hidden"
    assert f"ignored: {ignored}; end the active one first" in message


def test_the_session_that_was_asked_for_is_no_news(caplog):
    """A program that is run again, in a notebook, has the session that it had, and no warning."""
    sessions._warn_of_ignored(Session(), "local[2]", {"spark.executor.memory": "2g", "spark.speculation": True})
    sessions._warn_of_ignored(Session(), None, {})
    assert not caplog.records
