"""Tune a pipeline of Spark's MLlib, four trials at once on one table, and measure what "at once" is worth.

    python examples/mllib_random_forest.py

Here the training itself runs on Spark: each trial is a dozen small Spark jobs. Such an objective cannot be sent to the
executors, where there is no Spark session; with ``engine="driver"`` each trial runs in a thread of the driver instead,
under a scheduler pool, a job group and a tag of its own. Between two of its jobs a trial leaves cores idle, as it does
while the last tasks of a job run: other trials fill them, if Spark shares its cores between pools
(``spark.scheduler.mode`` FAIR).

The data and the question are those of ``tune_random_forest.py``: which flights from New York will arrive more than 15
minutes late? The days are split there, too: the search never sees those of the final test.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import SQLTransformer, VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from tune_random_forest import FEATURES, Sample, load_samples

from sparktune import STATUS_OK, SparkTrials, fmin, hp, space_eval, tpe
from sparktune.pyll import scope
from sparktune.spark import get_session

SPACE = {
    "numTrees": scope.int(hp.quniform("numTrees", 5, 20, 5)),
    "maxDepth": hp.uniformint("maxDepth", 3, 8),
    "minInstancesPerNode": scope.int(hp.loguniform("minInstancesPerNode", math.log(2), math.log(200))),
    "featureSubsetStrategy": hp.choice("featureSubsetStrategy", ["sqrt", "log2", "onethird"]),
    "late_weight": hp.loguniform("late_weight", math.log(1), math.log(10)),  # what a late flight counts for
}


def make_pipeline(params: dict[str, Any]) -> Pipeline:
    """Weights, a vector of the features, and the forest that a point of the space stands for."""
    forest = {name: value for name, value in params.items() if name != "late_weight"}
    weight = f"SELECT *, IF(late = 1, {params['late_weight']}D, 1D) AS weight FROM __THIS__"
    return Pipeline(
        stages=[
            SQLTransformer(statement=weight),
            VectorAssembler(inputCols=FEATURES, outputCol="features"),
            RandomForestClassifier(labelCol="late", weightCol="weight", seed=0, **forest),
        ]
    )


def score(model: PipelineModel, table: DataFrame) -> float:
    """The F1 of the late flights, as one flight in four is late."""
    evaluator = MulticlassClassificationEvaluator(labelCol="late", metricName="fMeasureByLabel", metricLabel=1.0)
    return float(evaluator.evaluate(model.transform(table)))


def make_objective(train: DataFrame, valid: DataFrame) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function to minimise. It uses the tables as they are: nothing is pickled or sent."""

    def objective(params: dict[str, Any]) -> dict[str, Any]:
        model = make_pipeline(params).fit(train)
        return {"status": STATUS_OK, "loss": -score(model, valid)}

    return objective


def as_table(spark: SparkSession, sample: Sample) -> DataFrame:
    """A sample as a table in Spark's memory, in as many parts as there are cores."""
    frame = pd.DataFrame(sample.features.astype(float), columns=FEATURES).assign(late=sample.late.astype(float))
    table = spark.createDataFrame(frame).repartition(spark.sparkContext.defaultParallelism).cache()
    table.count()  # brings it there now, and not in the first trial
    return table


def search(spark: SparkSession, objective: Callable[..., Any], parallelism: int, **options: Any) -> SparkTrials:
    """Search, or evaluate given points, so many at a time."""
    trials = SparkTrials(parallelism=parallelism, spark_session=spark, engine="driver")
    fmin(objective, SPACE, trials=trials, return_argmin=False, **options)
    return trials


def points_of(trials: SparkTrials) -> list[dict[str, Any]]:
    """The points of a search, to be evaluated once more."""
    return [{label: found[0] for label, found in trial["misc"]["vals"].items() if found} for trial in trials.trials]


class Timed(NamedTuple):
    """How long some trials took together, and their losses."""

    seconds: float
    losses: list[float]


def timed(spark: SparkSession, objective: Callable[..., Any], parallelism: int, points: list[dict[str, Any]]) -> Timed:
    """Evaluate points, so many at a time."""
    start = time.perf_counter()
    trials = search(spark, objective, parallelism, algo=tpe.suggest, max_evals=0, points_to_evaluate=points)
    seconds = time.perf_counter() - start
    return Timed(seconds, [round(loss, 9) for loss in trials.losses()])


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=20_000, help="use this many flights, drawn at random (default: %(default)s)")
    add("--max-evals", type=int, default=16, help="trials of the search (default: %(default)s)")
    add("--compare", type=int, default=8, help="points to measure the speed-up with (default: %(default)s)")
    add("--parallelism", type=int, default=4, help="trials at a time (default: %(default)s)")
    add("--master", help="Spark master, such as local[4] (default: spark-submit's, else local[*])")
    add("--seed", type=int, default=0, help="of the split and of the search (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    samples = load_samples(args.rows, args.seed)
    # Static: the mode of a session that runs already stays as it is.
    config = {"spark.scheduler.mode": "FAIR", "spark.sql.shuffle.partitions": "4"}
    spark = get_session(master=args.master, app_name="mllib_random_forest", config=config)
    train, valid, test = (as_table(spark, sample) for sample in samples)
    objective = make_objective(train, valid)

    print(f"\nTPE: {args.max_evals} trials, {args.parallelism} at a time", flush=True)
    rstate = np.random.default_rng(args.seed)
    found = search(spark, objective, args.parallelism, algo=tpe.suggest, max_evals=args.max_evals, rstate=rstate)
    params = space_eval(SPACE, found.argmin)
    model: PipelineModel = make_pipeline(params).fit(train.union(valid))
    print("\nBest parameters")
    for name, value in params.items():
        print(f"  {name:<22} {value:.3g}" if isinstance(value, float) else f"  {name:<22} {value}")
    print(f"F1 on the validation days: {-found.best_trial['result']['loss']:.4f}")
    print(f"F1 on the test days:       {score(model, test):.4f}")

    # Both with points that are known, and after the search, for which Java still had to compile what runs often.
    points = points_of(found)[: args.compare]
    print(f"\n{len(points)} of its points again: one after another, then {args.parallelism} at a time", flush=True)
    in_turn, at_once = (timed(spark, objective, parallelism, points) for parallelism in (1, args.parallelism))
    print(f"\nOne after another: {in_turn.seconds:6.1f} s")
    same = "the same" if in_turn.losses == at_once.losses else "other"
    print(f"{args.parallelism} at a time:       {at_once.seconds:6.1f} s, with {same} scores")
    print(f"Speed-up:          {in_turn.seconds / at_once.seconds:6.2f} x")
    spark.stop()


if __name__ == "__main__":
    main()
