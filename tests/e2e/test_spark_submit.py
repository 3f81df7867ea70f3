"""A program started with spark-submit and the settings that come with the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import spark_submit

import sparktune
from sparktune.spark.java import ensure_java

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[2]

PROGRAM = """
from sparktune import SparkTrials, fmin, hp, rand


def objective(x):
    if x < 0:
        raise ValueError("negative")
    return x


trials = SparkTrials()
points = [{"x": -1.0}, {"x": 1.0}, {"x": 2.0}]
best = fmin(objective, hp.uniform("x", -5, 5), algo=rand.suggest, max_evals=0, trials=trials, points_to_evaluate=points)
session = trials._spark
mode = session.conf.get("spark.scheduler.mode")
print("best", best, "failed", trials.count_failed_trials(), mode, "parallelism", trials.parallelism)
session.stop()
"""


def test_submitted_program_runs_with_the_settings_of_the_repository(tmp_path, monkeypatch):
    """It exits with 0, runs as many trials at a time as the master has cores, and its console has its own output
    without Spark's warnings, even where a trial has failed."""
    monkeypatch.setenv("JAVA_HOME", os.environ.get("JAVA_HOME", ""))  # put back afterwards, whatever is set
    ensure_java()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_"))},
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(sparktune.__file__).parents[1]),
        "PYTHONWARNINGS": "ignore::FutureWarning",  # pyspark's about a pandas newer than it knows
    }
    process = subprocess.run(
        [spark_submit(), "--properties-file", "conf/spark-defaults.conf", "--master", "local[3]", str(program)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert process.returncode == 0, process.stderr
    console = process.stdout + process.stderr  # Java sends the program's stderr to stdout
    assert "best {'x': 1.0} failed 1 FAIR parallelism 3" in console.splitlines()
    of_java = "WARNING: Using incubator modules: jdk.incubator.vector\n"  # which Spark asks for; not ours to silence
    for word in ("WARN", "ERROR", "Exception", "Traceback", "log4j"):
        assert word not in console.replace(of_java, ""), console
