"""Settings of a Spark Connect server that would end trials which run well."""

import pytest
from connect_server import ConnectServer
from pyspark.sql import SparkSession

from sparktune import SparkTrials
from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.session import connect_to

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """On a server that starts copies of tasks that take longer than a second."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # of another test: a process has either a classic session or Connect's
    speculation = {"spark.speculation": "true", "spark.speculation.task.duration.threshold": "1s"}
    with (
        pytest.MonkeyPatch.context() as patch,
        ConnectServer(tmp_path_factory.mktemp("server"), "local[1]", speculation) as server,
    ):
        patch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
        session = SparkSession.builder.remote(server.url).create()
        yield session
        session.stop()


def refuse(*args):
    """A service's answer to whoever asks for its settings."""
    raise PermissionError("this service does not show its configuration")


def test_application_that_copies_slow_tasks_is_refused(session):
    """Where Spark starts copies of slow one-task stages, SparkTrials names the setting, as on a classic session."""
    with pytest.raises(SparkUnavailableError, match=r"set spark\.speculation to false"):
        SparkTrials(2, spark_session=session)


def test_service_that_hides_its_settings_is_taken_as_it_is(session, monkeypatch):
    """What a service does not say is no reason to refuse it."""
    monkeypatch.setattr(type(session.conf), "get", refuse)
    assert SparkTrials(2, spark_session=session).parallelism == 2


def test_application_that_kills_silent_workers_is_pointed_out(session, monkeypatch, caplog):
    """Where the server takes a long trial for one that hangs, a warning names the setting, which is the session's."""
    prefix = "spark.sql.execution.pyspark.udf"
    get = type(session.conf).get
    settings = {"spark.speculation": "false"}  # cannot be changed in a server that runs
    monkeypatch.setattr(type(session.conf), "get", lambda conf, key, *args: settings.get(key) or get(conf, key, *args))
    for key, value in {"idleTimeoutSeconds": "30", "killOnIdleTimeout": "true"}.items():
        session.conf.set(f"{prefix}.{key}", value)
    connect_to(session)
    (record,) = caplog.records
    assert "send nothing for 30 s" in record.getMessage()
    assert f"unless {prefix}.killOnIdleTimeout is set to false" in record.getMessage()
    session.conf.set(f"{prefix}.killOnIdleTimeout", "false")
    connect_to(session)
    assert len(caplog.records) == 1
