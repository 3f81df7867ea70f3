"""The engine "workers" where the driver cannot be reached, or Spark ends; on sessions of their own."""

import logging

import pytest

from sparktune import hp
from sparktune.exceptions import SparkUnavailableError
from sparktune.history.trial import Call
from sparktune.run.domain import Domain
from sparktune.run.pilots import Patience
from sparktune.spark import get_session
from sparktune.spark.classic import ClassicGateway
from sparktune.spark.jobs import RemoteObjective
from sparktune.spark.workers import WorkersExecutor
from sparktune.worker.evaluator import Limits

pytestmark = pytest.mark.spark

#: The driver says it is at an address where nobody listens.
UNREACHABLE = {"spark.driver.host": "127.0.0.2", "spark.driver.bindAddress": "127.0.0.1"}


@pytest.fixture
def own_session(request):
    """A session with the settings that the test names as ``indirect`` parameter."""
    from pyspark.sql import SparkSession

    if (active := SparkSession.getActiveSession()) is not None:
        active.stop()
    session = get_session("local[2]", config={"spark.ui.enabled": "false", **request.param})
    yield session
    session.stop()


def workers(session, **options):
    objective = RemoteObjective(ClassicGateway(session), Domain(lambda x: x, hp.uniform("x", 0, 10)), Limits())
    return WorkersExecutor(objective, lambda: 2, **options)


def call(tid=0, x=1.0):
    return Call(tid, {"x": x})


@pytest.mark.parametrize("own_session", [UNREACHABLE], indirect=True, ids=["unreachable"])
def test_unreachable_driver_falls_back_to_jobs_with_one_warning(own_session, caplog):
    """All trials are evaluated, as Spark jobs, and one sentence says where workers could not connect, and why."""
    executor = workers(own_session)
    with caplog.at_level(logging.WARNING, "sparktune"):
        futures = [executor.submit(call(tid, x=float(tid))) for tid in range(5)]
        assert [future.result(120).result["loss"] for future in futures] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert executor.submit(call(5)).result(120).result["loss"] == 1.0
    executor.shutdown()
    [warning] = [record.getMessage() for record in caplog.records if record.name == "sparktune"]
    assert "could connect to the driver at 127.0.0.2:" in warning
    assert "refused" in warning


@pytest.mark.parametrize("own_session", [{}], indirect=True, ids=["local"])
def test_ended_application_breaks_the_run(own_session):
    """If Spark is gone, a trial ends with an error that says so; the shutdown works all the same."""
    executor = workers(own_session, patience=Patience(idle=0.2))
    executor.submit(call()).result(120)
    own_session.stop()
    with pytest.raises(SparkUnavailableError, match="ended"):
        for tid in range(3):  # the first may be lost with its worker
            assert executor.submit(call(tid)).result(120).failure.is_lost
    executor.shutdown(cancel=True)
