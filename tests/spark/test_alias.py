"""``import hyperopt`` on Spark's workers."""

import json
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


#: Says what functions and trials find on workers, in a session with the daemon.
DAEMON = """
import json
import hyperopt
from hyperopt import SparkTrials, fmin, hp, rand
from sparktune.spark import get_session

def draw(_):
    import numpy
    from hyperopt import fmin
    from pyspark import BarrierTaskContext

    BarrierTaskContext.get().barrier()  # so that there are two workers
    best = fmin(lambda x: x, hyperopt.hp.uniform("x", 0, 1), hyperopt.tpe.suggest, 3, show_progressbar=False)
    yield fmin.__module__, list(best), numpy.random.random()

def objective(x):
    from hyperopt import fmin
    return {"loss": x, "status": "ok", "fmin": fmin.__module__}

config = {"spark.ui.enabled": "false", "spark.python.daemon.module": "sparktune.compat.daemon"}
session = get_session("local[2]", config=config)
found = {"functions": session.sparkContext.parallelize([0, 1], 2).barrier().mapPartitions(draw).collect()}
for engine in ("jobs", "workers", "driver"):
    trials = SparkTrials(parallelism=2, engine=engine)
    fmin(objective, hp.uniform("x", 0, 1), algo=rand.suggest, max_evals=3, trials=trials, verbose=False)
    found[engine] = [result["fmin"] for result in trials.results]
print(json.dumps(found))
"""


@pytest.mark.spark
@pytest.mark.slow
def test_a_daemon_gives_the_alias_to_all_functions_on_workers(tmp_path):
    """Under sparktune.compat.daemon a function of an RDD imports hyperopt and gets sparktune, each worker draws numbers
    of its own, and trials run by every engine."""
    (tmp_path / "program.py").write_text(DAEMON)
    command = [sys.executable, "-m", "sparktune.compat", str(tmp_path / "program.py")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    (*first, x), (*second, y) = found.pop("functions")
    assert first == second == ["sparktune.fmin", ["x"]]
    assert x != y
    assert found == {engine: ["sparktune.fmin"] * 3 for engine in ("jobs", "workers", "driver")}
