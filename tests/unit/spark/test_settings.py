"""Settings of an application that would end trials which run well, and how a session is asked for them."""

import re

import pytest

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.gateway import refuse_copies, warn_of_idle_timeout
from sparktune.spark.resources import setting_of

THRESHOLD = "spark.speculation.task.duration.threshold"


@pytest.mark.parametrize(
    "settings", [{}, {"spark.speculation": "true"}, {"spark.speculation": "false", THRESHOLD: "1s"}, {THRESHOLD: "1s"}]
)
def test_copies_of_one_task_stages_take_both_settings(settings):
    """Without the threshold Spark makes no copy of a stage's only task, and nothing is refused."""
    refuse_copies(settings.get)
    with pytest.raises(SparkUnavailableError, match=r"set spark\.speculation to false"):
        refuse_copies({**settings, "spark.speculation": "true", THRESHOLD: "1s"}.get)


@pytest.mark.parametrize(
    ("kill", "timeout", "text"),
    [
        ("true", "30", "nothing for 30 s, .* unless prefix.killOnIdleTimeout is set"),
        ("true", "2min", "nothing for 2min, "),
        ("true", "0s", None),
        ("true", None, None),
        ("false", "30", None),
        (None, "30", None),
    ],
)
def test_silent_workers_are_killed_by_a_time_and_a_switch(kill, timeout, text, caplog):
    """There is a warning if both are set, with the time as it is written, and the name of the switch."""
    warn_of_idle_timeout({"prefix.killOnIdleTimeout": kill, "prefix.idleTimeoutSeconds": timeout}.get, "prefix")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (text is not None)
    assert all(re.search(text, message) for message in messages)


def test_session_that_refuses_to_answer_has_no_settings():
    """An error of the service, and a setting that is not there, are both nothing."""

    class Session:
        """A session with one setting, whose others cannot be seen."""

        @property
        def conf(self):
            return self

        def get(self, key, default):
            if key == "hidden":
                raise PermissionError(key)
            return {"known": "value"}.get(key, default)

    assert [setting_of(Session(), key) for key in ("known", "unknown", "hidden")] == ["value", "", ""]
