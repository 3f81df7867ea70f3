"""Trials as a Spark data frame."""

import datetime
import json

import pytest
from pyspark.sql import SparkSession

from sparktune import STATUS_OK, Trials, fmin, hp, rand

pytestmark = pytest.mark.spark

SPACE = {
    "x": hp.uniform("x", -5, 5),
    "n": hp.uniformint("n", 1, 9),
    "flag": hp.choice("flag", [True, False]),
    "any": hp.choice("any", ["a", None, 3]),
    "nested": hp.choice("nested", [{"kind": "linear"}, {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}]),
}


@pytest.fixture(scope="module")
def trials():
    def objective(point):
        if point["x"] > 3:
            raise ValueError("too high")
        return {"status": STATUS_OK, "loss": point["x"] ** 2, "note": "`"}

    trials = Trials()
    options = {"show_progressbar": False, "catch_eval_exceptions": True, "rstate": 0}
    fmin(objective, SPACE, rand.suggest, 20, trials=trials, **options)
    return trials


def check(frame, trials):
    """Types are fixed, and the rows are the trials."""
    types = dict(frame.dtypes)
    assert types["tid"] == "bigint"
    assert types["loss"] == types["params_x"] == "double"
    assert types["params_flag"] == "boolean"
    assert types["params_nested"] == types["params_any"] == "string"
    assert types["start"] == "timestamp"
    rows = frame.orderBy("tid").collect()
    assert len(rows) == 20
    for row, named in zip(rows, trials.to_records(), strict=True):
        assert row["loss"] == named["loss"]
        assert (row["error"] is None) == (named["error"] is None)
        assert row["params_flag"] is named["params_flag"]
        assert json.loads(row["params_nested"]) == named["params_nested"]
        assert row["params_any"] == {"a": "a", None: "null", 3: "3"}[named["params_any"]]
        assert row["params_depth"] == named.get("params_depth")
        start = named["start"].replace(tzinfo=datetime.timezone.utc).timestamp()
        assert row["start"].timestamp() == pytest.approx(start, abs=1e-3)


def test_a_classic_session(session, trials):
    """On a classic session, options are values, nested ones JSON, and times the same moment."""
    check(trials.to_spark(session), trials)


def test_no_trials(session):
    """Without trials there is a frame without rows, to which others can be joined."""
    frame = Trials().to_spark(session)
    assert frame.count() == 0
    assert dict(frame.dtypes)["loss"] == "double"


def test_a_connect_session(connect_server, trials, monkeypatch):
    """On Spark Connect it is the same."""
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # a process has either a classic session or Connect's
    session = SparkSession.builder.remote(connect_server.url).create()
    try:
        check(trials.to_spark(session), trials)
    finally:
        session.stop()
