"""What a trial costs whose objective captures a large array, beside hyperopt's SparkTrials.

    python benchmarks/captured_data.py --megabytes 100

Each library runs the same trials on one session. The objective reports whether it is the first one in its Python
worker: that one has to load the data. "shipped" is the size of the pickled objective, times the trials for hyperopt,
which pickles it anew for each.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from typing import Any

import numpy as np
from _peers import hyperopt_or_none, run_fmin

import sparktune
from sparktune.spark import get_session


def make_objective(megabytes: int) -> Any:
    """An objective that captures an array of random bytes; megabytes=0 captures nothing of size."""
    data = np.random.default_rng(0).integers(0, 256, megabytes * 2**20 + 1, dtype=np.uint8)

    def objective(x: float) -> dict[str, Any]:
        import os
        import sys
        import types

        seen = sys.modules.setdefault("_benchmark_seen", types.ModuleType("_benchmark_seen")).__dict__
        key = f"run {data.size}"
        is_first = key not in seen
        seen[key] = True
        return {
            "loss": (x - 1.0) ** 2 + 0.0 * float(data[-1]),
            "status": "ok",
            "first": is_first,
            "pid": os.getpid(),
        }

    return objective


def run(library: Any, session: Any, objective: Any, n: int, parallelism: int) -> tuple[list[float], list[float], int]:
    """Seconds from booking to result: of first trials in their workers, of the others; and the number of workers."""
    documents = run_fmin(library, session, objective, "rand", n, parallelism)
    first, later = [], []
    for document in documents:
        seconds = (document["refresh_time"] - document["book_time"]).total_seconds()
        (first if document["result"]["first"] else later).append(seconds)
    return first, later, len({document["result"]["pid"] for document in documents})


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--hyperopt-trials", type=int, default=10, help="0 leaves hyperopt out")
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("--master", default="local[2]")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    session = get_session(args.master, config={"spark.ui.enabled": "false", "spark.driver.memory": "4g"})
    session.sparkContext.setLogLevel("ERROR")
    hyperopt = hyperopt_or_none() if args.hyperopt_trials else None
    libraries = [(sparktune, args.trials)] + ([(hyperopt, args.hyperopt_trials)] if hyperopt is not None else [])
    from pyspark import cloudpickle

    print(
        "| library | captured | trials | shipped, MB | Python workers | first trial of a worker, s | later trials, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for library, n in libraries:
        for megabytes in (0, args.megabytes):
            objective = make_objective(megabytes)
            size = len(cloudpickle.dumps(objective)) / 1e6
            shipped = size if library is sparktune else size * n
            first, later, n_workers = run(library, session, objective, n, args.parallelism)
            cells = [f"{statistics.median(c):.3f}" if c else "none" for c in (first, later)]
            print(
                f"| {library.__name__} | {megabytes} MB | {n} | {shipped:.1f} | {n_workers} | {' | '.join(cells)} |",
                flush=True,
            )
    session.stop()


if __name__ == "__main__":
    main()
