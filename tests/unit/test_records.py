"""Values instead of indices: ``best_params``, ``to_records``, ``to_dataframe``."""

import datetime
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, rand, space_eval
from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, InvalidTypeError
from sparktune.pyll.base import scope
from sparktune.trials import SeveralLossesError

SPACE = {
    "model": hp.choice(
        "model",
        [
            {"kind": "linear"},
            {"kind": "tree", "depth": hp.uniformint("depth", 1, 9), "rule": hp.choice("rule", ["gini", None])},
        ],
    ),
    "n": scope.int(hp.quniform("n", 10, 90, 10)),
    "cache": hp.choice("cache", np.array([True, False])),
    "rate": hp.loguniform("rate", -3, 0),
}
LINEAR = {"model": {"kind": "linear"}, "n": 20, "cache": True, "rate": 0.5}
TREE = {"model": 1, "depth": 3, "rule": None, "n": 30, "cache": False, "rate": 0.25}


def run(fn=lambda params: float(params["n"]), space=SPACE, **options):
    """The trials of the points LINEAR and TREE, unless told otherwise."""
    trials = options.pop("trials") if "trials" in options else Trials()
    options = {"max_evals": 0, "points_to_evaluate": [LINEAR, TREE], "verbose": False, **options}
    fmin(fn, space, rand.suggest, trials=trials, rstate=0, **options)
    return trials


def outcomes(*results, **options):
    """The trials of an objective over X that gives these results one after another; exceptions are raised."""
    rest = iter(results)

    def fn(x):
        result = next(rest)
        if isinstance(result, BaseException):
            raise result
        return result

    options = {"catch_eval_exceptions": True, "max_evals": len(results), "points_to_evaluate": None, **options}
    return run(fn, hp.uniform("x", 0, 1), return_argmin=False, **options)


# -- the best ----------------------------------------------------------------------------------------------------------


def test_best_params_is_what_the_objective_got():
    """best_params is the value of the space at the best trial: options by name, types of Python's own."""
    seen = []
    trials = run(lambda params: seen.append(params) or -params["n"])
    assert trials.best_params == seen[1]
    assert trials.best_params == {
        "model": {"kind": "tree", "depth": 3, "rule": None},
        "n": 30,
        "cache": False,
        "rate": 0.25,
    }
    assert type(trials.best_params["n"]) is int
    assert type(trials.best_params["cache"]) is bool
    assert json.loads(json.dumps(trials.best_params)) == trials.best_params


@pytest.mark.parametrize(
    ("space", "point", "value"),
    [
        (hp.choice("c", ["a", "b"]), {"c": "b"}, "b"),
        ([hp.randint("r", 5), {"k": [1]}], {"r": 2}, (2, {"k": (1,)})),
        (2 ** hp.randint("r", 5), {"r": 3}, 8),
    ],
)
def test_best_params_has_the_shape_of_the_space(space, point, value):
    """Any space has its own shape: a single value, a tuple, the value of an expression."""
    assert run(lambda params: 0.0, space, points_to_evaluate=[point]).best_params == value


def test_there_may_be_no_best():
    """Without a loss, or with several, there is no best; the errors are those of best_trial."""
    with pytest.raises(AllTrialsFailed, match="No trial was run"):
        Trials().best_params  # noqa: B018
    with pytest.raises(AllTrialsFailed, match="ZeroDivisionError"):
        outcomes(ZeroDivisionError()).best_params  # noqa: B018
    with pytest.raises(SeveralLossesError, match="pareto_front"):
        outcomes({"status": STATUS_OK, "losses": [1, 2]}).best_params  # noqa: B018


def test_trials_from_a_pickle_do_not_know_their_space():
    """A pickle has no space: best_params says how to get the values, and that works."""
    trials = pickle.loads(pickle.dumps(run()))
    with pytest.raises(InvalidArgumentError, match=r"space_eval\(space, trials\.argmin\)"):
        trials.best_params  # noqa: B018
    assert space_eval(SPACE, trials.argmin)["model"] == {"kind": "linear"}
    run(trials=trials, max_evals=2, points_to_evaluate=None)
    assert trials.best_params["model"] == {"kind": "linear"}


def test_the_space_is_that_of_the_last_run():
    """After a run over another space, best_params is in its terms; a study sets it as well."""
    trials = run()
    Study(hp.uniform("rate", 0, 1), trials=trials)
    assert trials.best_params == 0.5


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_record_of_a_trial():
    """A record has id, state, result and times of a trial, and the values of its active parameters."""
    first, second = run().to_records()
    assert list(first)[:8] == ["tid", "state", "status", "loss", "start", "end", "duration", "error"]
    assert (first["tid"], first["state"], first["status"], first["loss"], first["error"]) == (0, "done", "ok", 20, None)
    assert first["start"] <= first["end"]
    assert first["duration"] == (first["end"] - first["start"]).total_seconds()
    assert isinstance(first["start"], datetime.datetime)
    params = {key: value for key, value in second.items() if key.startswith("params_")}
    assert params == {
        "params_model": {"kind": "tree", "depth": 3, "rule": None},
        "params_depth": 3,
        "params_rule": None,
        "params_n": 30,
        "params_cache": False,
        "params_rate": 0.25,
    }
    assert "params_depth" not in first


def test_records_can_be_written_as_json():
    """Every value is of Python's own types; only times need their text."""
    trials = run(lambda params: {"status": STATUS_OK, "loss": np.float32(1), "auc": np.float64(0.5), "n": np.int64(3)})
    for record in trials.to_records():
        text = json.loads(json.dumps({k: str(v) if k in ("start", "end") else v for k, v in record.items()}))
        assert {**record, "start": text["start"], "end": text["end"]} == text
        assert (record["auc"], record["n"], record["loss"]) == (0.5, 3, 1.0)


def test_what_of_a_result_is_in_its_record():
    """Numbers, texts and booleans of a result are in the record; what is large or nested is not, nor hides a column."""
    [record] = outcomes(
        {"status": STATUS_OK, "loss": 1.0, "auc": 0.5, "ok": True, "note": "n", "curve": [1, 2], "d": {}, "tid": 7}
    ).to_records()
    assert (record["auc"], record["ok"], record["note"], record["tid"]) == (0.5, True, "n", 0)
    assert not {"curve", "d"} & set(record)


def test_every_trial_has_a_record():
    """Failed, cancelled and open trials have records too, with names for their states."""
    trials = outcomes(1.0, ZeroDivisionError("of it"), {"status": STATUS_FAIL}, math.nan)
    study = Study(hp.uniform("x", 0, 1), trials=trials)
    study.tell(study.ask(), None)
    study.ask()
    study.enqueue({"x": 0.5})
    records = trials.to_records()
    assert [record["state"] for record in records] == ["done", "error", "done", "done", "cancelled", "running", "new"]
    assert [record["status"] for record in records] == ["ok", "new", "fail", "ok", "new", "new", "new"]
    assert [record["loss"] for record in records[:3]] == [1.0, None, None]
    assert records[1]["error"] == "<class 'ZeroDivisionError'>: of it"
    assert [record["error"] for record in records].count(None) == 6
    assert [record["end"] is None for record in records] == [False] * 5 + [True] * 2
    assert records[6]["start"] is records[6]["duration"] is None
    assert all("params_x" in record for record in records)


def test_several_losses_have_a_column_each():
    """With several losses there are loss_0, loss_1, and so on; of one metric its name."""
    [record] = outcomes({"status": STATUS_OK, "losses": [1.5, 2.5]}).to_records()
    assert (record["loss"], record["loss_0"], record["loss_1"]) == (None, 1.5, 2.5)
    [record] = outcomes({"auc": 0.5}, metric="auc", direction="maximize").to_records()
    assert (record["loss"], record["auc"]) == (-0.5, 0.5)


def test_records_without_a_space():
    """Where no space is known choices are indices; a space that is given turns them into options."""
    trials = pickle.loads(pickle.dumps(run()))
    assert trials.to_records()[0]["params_model"] == 0
    assert trials.to_records(SPACE)[0]["params_model"] == {"kind": "linear"}
    assert trials.to_records({"other": hp.uniform("other", 0, 1)})[0]["params_model"] == 0


def test_records_of_one_experiment_key():
    """Only the documents with the trials' own key are listed."""
    trials = run(trials=Trials(exp_key="mine"))
    run(trials=trials.view("yours"), points_to_evaluate=[TREE])
    assert len(trials.to_records()) == 2
    assert [record["params_rule"] for record in trials.view("yours").to_records(SPACE)] == [None]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_durations_are_those_of_the_evaluation(backend):
    """Where the backend notes when a trial really ran, start, end and duration are of that."""
    trials = run(trials=Trials(backend=backend))
    for record, document in zip(trials.to_records(), trials, strict=True):
        noted = document["misc"]["run"]
        assert record["duration"] == pytest.approx(noted["end"] - noted["start"], abs=1e-5)  # times to the microsecond
        # The document's own times are cut to the millisecond.
        assert document["book_time"] <= record["start"]


# -- data frames -------------------------------------------------------------------------------------------------------


def test_a_data_frame():
    """The frame has a row per record, by tid, and columns of the types that pandas has for them."""
    pandas = pytest.importorskip("pandas")
    frame = run().to_dataframe()
    assert frame.index.name == "tid"
    assert list(frame.index) == [0, 1]
    assert list(frame["loss"]) == [20.0, 30.0]
    assert frame["params_n"].dtype == int
    assert pandas.api.types.is_datetime64_any_dtype(frame["start"])
    assert math.isnan(frame.loc[0, "params_depth"])
    frame = pickle.loads(pickle.dumps(run())).to_dataframe(SPACE)
    assert frame.loc[0, "params_model"] == {"kind": "linear"}


def test_a_data_frame_of_whole_numbers_beyond_floats():
    """They stay what they are, as in the records; the other columns have the types that they have without them."""
    pandas = pytest.importorskip("pandas")
    huge, point = 10**400, {"status": STATUS_OK, "loss": 1.0}
    trials = outcomes({**point, "n": huge, "m": 1}, {**point, "n": 1.5, "m": -huge}, {**point, "n": None}, ValueError())
    frame = trials.to_dataframe()
    assert list(frame.columns) == [column for column in trials.to_records()[0] if column != "tid"]
    assert list(frame["n"][:2]) == [huge, 1.5]
    assert list(frame["m"][:2]) == [1, -huge]
    assert frame[["n", "m"]].isna().sum().tolist() == [2, 2]
    assert frame["loss"].dtype == float
    assert pandas.api.types.is_datetime64_any_dtype(frame["start"])
    kind = hp.choice("kind", [huge, 2])
    assert list(run(lambda n: 1.0, kind, points_to_evaluate=[{"kind": 0}]).to_dataframe()["params_kind"]) == [huge]
    found = Study(hp.uniform("x", 0, 1), warm_start=frame).trials
    assert found.losses()[:3] == [1.0] * 3


def test_a_data_frame_of_nothing():
    """Without trials the frame is empty."""
    pytest.importorskip("pandas")
    assert len(Trials().to_dataframe()) == 0


def test_a_data_frame_without_pandas():
    """Without pandas the error names what to install, and what to take instead; records need nothing."""
    code = """
import sys
sys.modules["pandas"] = None
from sparktune import Trials, fmin, hp, rand
trials = Trials()
fmin(abs, hp.uniform("x", -1, 1), rand.suggest, 2, trials=trials, verbose=False)
assert len(trials.to_records()) == 2
try:
    trials.to_dataframe()
except ImportError as error:
    print(type(error).__name__, error)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "MissingPackageError" in printed
    assert "pip install pandas" in printed
    assert "to_records()" in printed


@pytest.mark.parametrize("session", [None, "local[2]", Trials])
def test_to_spark_takes_a_session(session):
    """What is none is an error that says where to get one."""
    with pytest.raises(InvalidTypeError, match=r"to_spark takes a Spark session.*got .*get_session\(\)"):
        Trials().to_spark(session)
