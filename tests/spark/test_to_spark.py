"""Trials as a Spark data frame."""

import datetime
import json

import pytest
from pyspark.ml.classification import LogisticRegression, RandomForestClassifier
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


def test_names_that_differ_only_in_case(session, tmp_path, caplog):
    """Which Spark takes for one: the data frame can be saved and asked, and a warning says what is called otherwise."""
    space, trials = {"C": hp.uniform("C", 0, 1), "c": hp.uniform("c", 2, 3)}, Trials()

    def objective(point):
        return {"status": STATUS_OK, "loss": point["c"], "Loss": 7.0, "F1": 1.0, "f1": 2.0}

    fmin(objective, space, rand.suggest, 3, trials=trials, rstate=0, verbose=False)
    frame = trials.to_spark(session)
    frame.write.parquet(str(tmp_path / "trials.parquet"))
    rows = session.read.parquet(str(tmp_path / "trials.parquet")).orderBy("tid").collect()
    records = trials.to_records()
    for row, record in zip(rows, records, strict=True):
        assert (row["loss"], row["Loss_2"], row["f1"], row["F1_2"]) == (record["loss"], 7.0, 2.0, 1.0)
        assert (row["params_c"], row["params_C_2"]) == (record["params_c"], record["params_C"])
    assert frame.select("loss", "params_c").count() == 3
    assert "'Loss' is 'Loss_2', " in caplog.text
    assert "'params_C' is 'params_C_2'" in caplog.text


def test_the_best_point_goes_into_spark(session):
    """What ``fmin`` returns is what a model of MLlib is made with; and a row of a data frame."""
    space = {"regParam": hp.loguniform("regParam", -5, 0), "maxIter": hp.quniform("maxIter", 10, 50, 1)}
    space["maxBins"] = hp.randint("maxBins", 9)
    best = fmin(lambda p: p["regParam"], space, rand.suggest, 3, rstate=0, verbose=False)
    model = LogisticRegression(regParam=best["regParam"], maxIter=best["maxIter"], aggregationDepth=best["maxBins"] + 2)
    assert (model.getRegParam(), model.getMaxIter()) == (best["regParam"], best["maxIter"])
    assert RandomForestClassifier(maxBins=best["maxBins"]).getMaxBins() == best["maxBins"]
    assert session.createDataFrame([best]).collect()[0].asDict() == best


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
