"""Trials to MLflow and back."""

import math
import subprocess
import sys

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")

from mlflow.tracking import MlflowClient
from studies import told

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, rand
from sparktune.bridges.mlflow import _names, log, runs
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and SQLAlchemy's own

SPACE = {
    "x": hp.uniform("x", -5, 5),
    "n": hp.uniformint("n", 1, 9),
    "any": hp.choice("any", ["a", None, 3, True, "", (1, 2)]),
    "nested": hp.choice("nested", [{"kind": "linear"}, {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}]),
}


def objective(point):
    if point["x"] > 3:
        return {"status": STATUS_FAIL}
    if point["x"] < -4:
        raise ValueError("too low")
    return {"status": STATUS_OK, "loss": point["x"] ** 2, "size": point["n"], "constraints": [point["x"] - 1]}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """A store of MLflow's, empty."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def trials():
    trials = Trials()
    options = {"show_progressbar": False, "catch_eval_exceptions": True, "rstate": 1}
    fmin(objective, SPACE, rand.suggest, 12, trials=trials, **options)
    return trials


@pytest.fixture(scope="module")
def parent(uri, trials):
    """The trials, logged; the id of the parent run."""
    return log(trials, experiment="forests", run_name="tuning", tracking_uri=uri)


def test_there_and_back(uri, trials, parent):
    """A warm start from an experiment, by name or id, or from the parent run, has what was logged."""
    experiment_id = MlflowClient(uri).get_experiment_by_name("forests").experiment_id
    expected = sorted(map(repr, told(trials)))
    for where in ({"experiment": "forests"}, {"experiment": experiment_id}, {"run_id": parent}):
        found = told(Study(SPACE, warm_start=runs(**where, tracking_uri=uri)).trials)
        assert sorted(map(repr, found)) == expected


def test_what_is_logged(uri, trials, parent):
    """Runs are nested in the parent, with parameters as text, numbers as metrics, and their state."""
    client = MlflowClient(uri)
    found = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(found) == 12
    assert client.get_run(parent).info.run_name == "tuning"
    by_tid = {int(run.data.tags["sparktune.tid"]): run for run in found}
    for document, named in zip(trials._dynamic_trials, trials.to_records(), strict=True):
        run = by_tid[document["tid"]]
        assert float(run.data.params["x"]) == named["params_x"]
        is_ok = document["result"]["status"] == STATUS_OK
        assert run.info.status == ("FINISHED" if is_ok else "FAILED")
        assert run.data.metrics.get("loss") == document["result"].get("loss")
        assert run.data.metrics.get("size") == document["result"].get("size")
        assert ("sparktune.error" in run.data.tags) == (document["state"] == 3)


@pytest.mark.parametrize(
    "labels",
    [["x[0]", "x(0)", "x_0_"], ["a//b", "./a", "..", "/a", "a/b"], ["", "_"], ["y" * 300, "y" * 299 + "z"]],
    ids=["characters", "paths", "empty", "long"],
)
def test_labels_that_mlflow_does_not_take(uri, labels):
    """Parameters with names that MLflow refuses are logged under names of their own, and are read as they were."""
    space = {label: hp.uniform(label, 0, 1) for label in labels}
    trials = Trials()
    fmin(lambda point: sum(point.values()), space, rand.suggest, 3, trials=trials, rstate=0, show_progressbar=False)
    logged = runs(run_id=log(trials, tracking_uri=uri), tracking_uri=uri)
    assert sorted(map(repr, told(Study(space, warm_start=logged).trials))) == sorted(map(repr, told(trials)))


@pytest.mark.parametrize("labels", [["a", "a/b"], ["a/b", "a"], ["x[0]", "x[0]/b"], ["a/b", "a]", "a", "a_/c"]])
def test_labels_that_are_folders_of_others(tmp_path, monkeypatch, labels):
    """A store of files has no file "a/b" beside a file "a": the one, and a number of a result, gets another name."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = tmp_path.as_uri()
    space = {label: hp.uniform(label, 0, 1) for label in labels}
    study = Study(space, rstate=0)
    study.tell(study.ask(), {"status": STATUS_OK, "loss": 1.0, "f/1": 2.0, "f": 3.0})
    logged = runs(run_id=log(study.trials, tracking_uri=uri), tracking_uri=uri)
    assert told(Study(space, warm_start=logged).trials) == told(study.trials)


@pytest.mark.parametrize(
    "keys", [["a/b/c", "a/b", "a"], ["a]/b", "a]", "a_"], ["a_/b", "a]", "a_2/c"], ["a/[", "a"], ["a/[", "a/_/c"]]
)
def test_names_are_no_folders_of_others(keys):
    """Each key has a name, and no name is another one or the path of a folder of it."""
    names = list(_names(keys).values())
    assert len(set(names)) == len(keys)
    assert not [(a, b) for a in names for b in names if b.startswith(a + "/")]


def test_a_label_that_is_no_utf8(uri):
    """Half of a surrogate pair can be no tag: the trial is logged without it, and ``params`` says which it was."""
    label = "\udcff"
    space = hp.uniform(label, 0, 1)
    study = Study(space, rstate=0)
    study.tell(study.ask(), 1.0)
    logged = runs(run_id=log(study.trials, tracking_uri=uri), tracking_uri=uri, params={label: "_"})
    assert told(Study(space, warm_start=logged).trials) == told(study.trials)


def test_names_in_mlflow_by_label_go_before_those_that_were_logged(uri):
    """A label that ``params`` names another parameter for has that one's values, not what was logged under its own."""
    study = Study({label: hp.uniform(label, 0, 1) for label in ("x[0]", "y")}, rstate=0)
    study.tell(study.ask(), 1.0)
    (row,) = runs(run_id=log(study.trials, tracking_uri=uri), tracking_uri=uri, params={"x[0]": "y"}).rows
    assert row.values == {"x[0]": str(study.trials.vals["y"][0])}


def test_numbers_with_names_that_mlflow_does_not_take(uri):
    """Metrics whose names become the same get different ones."""
    study = Study(hp.uniform("x", 0, 1))
    study.tell(study.ask(), {"status": STATUS_OK, "loss": 1.0, "f1@5": 2.0, "f1#5": 3.0, "": 4.0})
    client = MlflowClient(uri)
    parent = client.get_run(log(study.trials, tracking_uri=uri))
    nested = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    (run,) = client.search_runs([parent.info.experiment_id], nested)
    del run.data.metrics["duration"]
    assert run.data.metrics == {"loss": 1.0, "f1_5": 2.0, "f1_5_2": 3.0, "_": 4.0}


def test_infinite_losses(uri):
    """An infinite loss, or constraint, is one again when it is read, though a database keeps the largest float."""
    study = Study(hp.uniform("x", 0, 1), rstate=0)
    for loss in (1.0, math.inf, -math.inf):
        study.tell(study.ask(), {"status": STATUS_OK, "loss": loss, "constraints": [-loss]})
    logged = runs(run_id=log(study.trials, tracking_uri=uri), tracking_uri=uri)
    assert sorted(row.losses + row.constraints for row in logged.rows) == [
        (-math.inf, math.inf),
        (1.0, -1.0),
        (math.inf, -math.inf),
    ]


def test_what_are_no_trials(uri):
    """A study in place of its trials is an error that says what to pass, and nothing is logged."""
    with pytest.raises(InvalidTypeError, match=r"study\.trials"):
        log(Study(SPACE), experiment="nothing", tracking_uri=uri)
    assert MlflowClient(uri).get_experiment_by_name("nothing") is None


def test_runs_of_other_programs(uri):
    """Any metric may be the loss, maximised too; params may have other names; runs that still run are left out."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("others")
    for number, status in enumerate(["FINISHED", "FAILED", "KILLED", None]):
        run = client.create_run(experiment)
        client.log_param(run.info.run_id, "learning rate", str(0.1 * (number + 1)))
        client.log_metric(run.info.run_id, "accuracy", 0.5)
        if status:
            client.set_terminated(run.info.run_id, status)
    options = {"metric": "accuracy", "direction": "maximize", "params": {"lr": "learning rate"}}
    source = runs("others", tracking_uri=uri, **options)
    assert source.n_open == 2
    found = told(Study(hp.uniform("lr", 0, 1), warm_start=source).trials)
    assert found == [({"lr": 0.1}, -0.5, None), ({"lr": 0.2}, None, None)]
    with pytest.raises(InvalidArgumentError, match=r"got direction='minimize'.* after direction='maximize'"):
        Study(hp.uniform("lr", 0, 1), metric="accuracy", direction="minimize", warm_start=source)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "one of them"),
        ({"experiment": "a", "run_id": "b"}, "one of them"),
        ({"experiment": "nowhere"}, "which is neither"),
        ({"run_id": "0" * 32}, "id of an MLflow run"),
        ({"experiment": "forests", "metric": "rmse"}, r"got 'rmse' for MLflow experiment forests, which has \["),
    ],
)
def test_arguments_out_of_their_rule(uri, parent, arguments, text):
    """What is not there is an error that says what is."""
    with pytest.raises(InvalidArgumentError, match=text):
        runs(**arguments, tracking_uri=uri)


def test_without_mlflow_the_error_says_what_to_install():
    """Importing the bridge without MLflow is an ImportError of ours, with the command to run."""
    code = "import sys; sys.modules['mlflow'] = None; import sparktune.bridges.mlflow"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError" in run.stderr
    assert "pip install 'sparktune[mlflow]'" in run.stderr
