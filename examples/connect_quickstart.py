"""The quick start on Spark Connect: the program needs no Java and no cluster manager, just the address of a server.

Run it with the address of yours: ``python examples/connect_quickstart.py sc://host:15002``. With Databricks Connect,
``DatabricksSession.builder.getOrCreate()`` makes the session. Without an address, a server is started on this machine.
"""

import os
import sys

from pyspark.sql import SparkSession
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from sparktune import STATUS_OK, SparkTrials, auto, fmin, hp, space_eval
from sparktune.spark.java import ensure_java

X, y = load_digits(return_X_y=True)  # the objective uses them; above 1 MiB they become a file of the session, sent once

space = {
    "C": hp.loguniform("C", -5, 7),  # bounds are logarithms
    "shape": hp.choice("shape", [{"kernel": "linear"}, {"kernel": "rbf", "gamma": hp.loguniform("gamma", -12, 0)}]),
}


def objective(params):
    model = SVC(C=params["C"], **params["shape"])
    return {"status": STATUS_OK, "loss": 1 - cross_val_score(model, X, y, cv=3).mean()}


if len(sys.argv) > 1:
    address = sys.argv[1]
else:
    ensure_java()  # only a server on this machine needs it, and runs the "python3" that it finds unless told otherwise
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    address = "local[2]"
spark = SparkSession.builder.remote(address).getOrCreate()

trials = SparkTrials(parallelism=2, spark_session=spark)  # a server does not say how many slots it has
best = fmin(objective, space, algo=auto.suggest, max_evals=20, trials=trials, rstate=0)
print("engine:", trials.engine)
print("best parameters:", space_eval(space, best))
print(f"accuracy: {1 - trials.best_trial['result']['loss']:.4f}")
spark.stop()
