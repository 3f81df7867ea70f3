"""What docs/spark.md shows works on a local Spark; its blocks that need a server are marked py, not python."""

import re
from pathlib import Path

import pytest
from pyspark.ml.linalg import Vectors

from sparktune import SparkTrials

pytestmark = pytest.mark.spark

PAGE = Path(__file__).parents[2] / "docs/spark.md"
FIRST, DRIVER, RECORDS, DATA = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_first_run_and_its_records(session):
    """The run finds the minimum, and there is a record of each of its trials."""
    names = {}
    exec(FIRST, names)
    assert abs(names["best"]["x"] - 1) < 0.1
    assert len(names["trials"]) == 100
    exec(RECORDS, names)
    assert names["trials"].trials[7]["misc"]["run"].keys() >= {"host", "pid", "start", "end", "queue_time", "attempts"}


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
