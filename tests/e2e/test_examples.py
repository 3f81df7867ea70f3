"""Every program in examples/ runs as a newcomer would run it, with small arguments, and prints what it promises."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import spark_submit

import sparktune
from sparktune.spark.java import ensure_java

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[2]
TESTED = {
    "connect_quickstart.py",
    "mllib_random_forest.py",
    "quickstart.py",
    "sklearn_search.py",
    "trade_offs.py",
    "tune_random_forest.py",
    "warm_start.py",
}
SMALL = ["--rows", "4000", "--max-evals", "6"]


@pytest.fixture
def run(monkeypatch):
    """Runs a command line from the root of the repository, with variables (None: without); returns its stdout."""
    monkeypatch.setenv("JAVA_HOME", os.environ.get("JAVA_HOME", ""))  # put back afterwards, whatever is set
    ensure_java()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_"))},
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(sparktune.__file__).parents[1]),
    }

    def run(*command, **variables):
        merged = {**environment, **variables}
        given = {name: value for name, value in merged.items() if value is not None}
        process = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=500)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run


def parameters(output):
    """The list of best parameters as {name: text}."""
    block = output.partition("Best parameters, found by TPE\n")[2].partition("\n\n")[0]
    return dict(line.split(maxsplit=1) for line in block.splitlines())


def row(output, name, n_columns):
    """The cells after the name in the table row of that name with so many columns."""
    cells = (re.split(r" {2,}", line.strip()) for line in output.splitlines() if line.startswith(f"{name} "))
    return next(rest for _, *rest in cells if len(rest) == n_columns)


def assert_is_point_of_space(found):
    assert found["criterion"] in {"gini", "entropy"}
    assert 0 < float(found["min_impurity_decrease"]) <= 2e-3
    assert 10 <= int(found["n_estimators"]) <= 50
    assert 0.05 <= float(found["max_features"]) <= 0.3
    depth, leaf = ast.literal_eval(found["max_depth"]), int(found["min_samples_leaf"])
    assert (depth is None and 2 <= leaf <= 500) or (3 <= depth <= 20 and leaf == 1)
    weight = ast.literal_eval(found["class_weight"])
    assert weight is None or (weight[0] == 1 and 1 <= weight[1] <= 20)


def test_every_example_is_tested():
    """A new example needs a test here."""
    assert {path.name for path in ROOT.glob("examples/*.py")} == TESTED


def test_quickstart_finds_a_good_model(run):
    """It prints the parameters as values, and an accuracy that the untuned model (0.970) reaches too, give or take."""
    output = run(sys.executable, "examples/quickstart.py")
    best = ast.literal_eval(re.search(r"^best parameters: (.*)$", output, re.MULTILINE)[1])
    assert best["C"] > 0
    assert best["shape"]["kernel"] in {"linear", "rbf"}
    assert ("gamma" in best["shape"]) == (best["shape"]["kernel"] == "rbf")
    assert 0.96 < float(re.search(r"^accuracy: (.*)$", output, re.MULTILINE)[1]) < 1


def test_sklearn_search_finds_a_good_model(run):
    """Cross-validated on Spark, the model it finds does well on digits that it has not seen."""
    output = run(sys.executable, "examples/sklearn_search.py")
    assert float(re.search(r"^test: ([\d.]+)", output, re.MULTILINE)[1]) > 0.97


def test_warm_start_learns_from_the_first_search(run):
    """The second search, over a wider space and with fewer trials, finds nothing worse than the first."""
    output = run(sys.executable, "examples/warm_start.py")
    first, second = (float(error) for error in re.findall(r"error ([\d.]+)%", output))
    assert 0 < second <= first < 10


def test_trade_offs_lists_models_from_accurate_to_small(run):
    """It prints a front on which errors grow while sizes shrink, all within the limit, and the smallest good model."""
    output = run(sys.executable, "examples/trade_offs.py")
    rows = [line.split() for line in output.partition("error   nodes\n")[2].partition("\n\n")[0].splitlines()]
    errors, sizes = [float(cells[0].rstrip("%")) for cells in rows], [int(cells[1].replace(",", "")) for cells in rows]
    assert len(rows) > 2
    assert errors == sorted(errors)
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[0] <= 20_000
    smallest_good = re.search(r"^smallest forest with an error below 6%: ([\d,]+) nodes$", output, re.MULTILINE)
    assert int(smallest_good[1].replace(",", "")) in sizes


def test_forest_prints_parameters_scores_and_times(run):
    """It counts the rows, names the best parameters as values, and compares the forests and the searches."""
    output = run(sys.executable, "examples/tune_random_forest.py", *SMALL, "--parallelism", "2", "--master", "local[2]")
    assert "336,776 rows loaded; 327,346 with a known arrival; 4,000 used" in output
    assert_is_point_of_space(parameters(output))
    for forest in ("default", "TPE", "random search"):
        validation, *test = row(output, forest, 3)
        scores = test if forest == "default" else [validation, *test]
        assert all(0 < float(score) < 1 for score in scores), output
    for search in ("TPE", "random search"):
        n_trials, trial_time, wall_time, speed_up = row(output, search, 4)
        assert n_trials == "6"
        assert float(trial_time.removesuffix(" s")) > 0
        assert float(wall_time.removesuffix(" s")) > 0
        assert float(speed_up.removesuffix(" x")) > 0


@pytest.mark.slow  # test_spark_submit.py has it for a program that takes seconds
def test_forest_takes_the_master_of_spark_submit(run):
    """Where spark-submit names a master and the program does not, its cores decide how many trials run at a time."""
    submit = [spark_submit(), "--properties-file", "conf/spark-defaults.conf", "--master", "local[3]"]
    output = run(*submit, "examples/tune_random_forest.py", *SMALL)
    assert "TPE: 6 trials, 3 at a time" in output
    assert_is_point_of_space(parameters(output))


@pytest.mark.slow
def test_mllib_forest_is_tuned_beside_itself(run):
    """The objective's own Spark jobs run four trials at a time, with the scores they have one after another."""
    output = run(sys.executable, "examples/mllib_random_forest.py", "--rows", "2000", "--max-evals", "4",
                 "--compare", "4", "--parallelism", "2", "--master", "local[2]")  # fmt: skip
    assert "with the same scores" in output
    assert re.search(r"^Speed-up: +[\d.]+ x$", output, re.MULTILINE)


def test_connect_quick_start_finds_a_good_model(run, connect_server):
    """On a Connect server it says its engine, and prints what the classic quick start prints."""
    output = run(sys.executable, "examples/connect_quickstart.py", connect_server.url)
    assert "engine: connect" in output
    assert float(re.search(r"^accuracy: (.*)$", output, re.MULTILINE)[1]) > 0.95


@pytest.mark.slow
def test_connect_quick_start_starts_a_server_whose_workers_have_its_packages(run, tmp_path):
    """Without an address, in an environment that is not activated, workers run the example's own Python."""
    other = tmp_path / "python3"  # what Spark takes from PATH unless told otherwise
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    output = run(sys.executable, "examples/connect_quickstart.py", PYSPARK_PYTHON=None, PATH=path)
    assert "engine: connect" in output
