"""``import hyperopt`` on Spark's workers."""

import subprocess
import sys

import pytest

PROGRAM = """
import helper
from hyperopt import SparkTrials, fmin, hp, rand

def objective(x):
    import hyperopt
    assert hyperopt.fmin.__module__ == "sparktune.fmin"
    return helper.loss(x)

trials = SparkTrials(parallelism=2)
fmin(objective, hp.uniform("x", -1, 1), algo=rand.suggest, max_evals=3, trials=trials, verbose=False)
print(trials.statuses())
"""

HELPER = """
from hyperopt import STATUS_OK

def loss(x):
    return {"loss": x * x, "status": STATUS_OK}
"""


@pytest.mark.spark
def test_workers_take_hyperopt_for_sparktune_as_the_driver_does(tmp_path):
    """An objective that imports hyperopt, itself and by a module of the user's, runs on Spark's workers."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper.py").write_text(HELPER)
    command = [sys.executable, "-m", "sparktune.compat", str(tmp_path / "program.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "['ok', 'ok', 'ok']\n"
