"""Trials per second with an objective that costs nothing, beside hyperopt's SparkTrials and bare Spark jobs.

    python benchmarks/throughput.py --parallelism 2 4 8

The three run in turn, several rounds, on one session. A bare job is the least that Spark can do for a trial:
``sc.parallelize([0], 1).mapPartitions(f).collect()`` from as many threads. Start-up of Python workers is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from _peers import hyperopt_or_none, run_fmin

import sparktune
from sparktune.spark import get_session


def objective(x: float) -> float:
    """A parabola: no work at all."""
    return (x - 1.0) ** 2


def rate_of_bare_jobs(session: Any, n: int, parallelism: int) -> float:
    """Jobs per second, from ``parallelism`` threads."""
    context = session.sparkContext

    def count(rows: Iterable[int]) -> list[int]:
        return [sum(1 for _ in rows)]

    with ThreadPoolExecutor(parallelism) as threads:
        start = time.perf_counter()
        list(threads.map(lambda _: context.parallelize([0], 1).mapPartitions(count).collect(), range(n)))
        return n / (time.perf_counter() - start)


def rate_of_fmin(library: Any, session: Any, n: int, parallelism: int) -> float:
    """Trials per second of a whole ``fmin`` with TPE."""
    start = time.perf_counter()
    run_fmin(library, session, objective, "tpe", n, parallelism)
    return n / (time.perf_counter() - start)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallelism", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--trials", type=int, default=100, help="per round, of sparktune and of bare jobs")
    parser.add_argument("--hyperopt-trials", type=int, default=20, help="per round, of hyperopt; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hyperopt-rounds", type=int, default=2)
    parser.add_argument("--master", default="local[2]")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    session = get_session(args.master, config={"spark.ui.enabled": "false"})
    session.sparkContext.setLogLevel("ERROR")
    hyperopt = hyperopt_or_none() if args.hyperopt_trials else None
    peers: dict[str, Callable[[int], float]] = {
        "bare Spark jobs": lambda p: rate_of_bare_jobs(session, args.trials, p),
        "sparktune": lambda p: rate_of_fmin(sparktune, session, args.trials, p),
    }
    if hyperopt is not None:
        peers[f"hyperopt {hyperopt.__version__}"] = lambda p: rate_of_fmin(hyperopt, session, args.hyperopt_trials, p)
    rates: dict[tuple[str, int], list[float]] = {}
    for parallelism in args.parallelism:
        rate_of_bare_jobs(session, 4 * parallelism, parallelism)  # warm: Python workers exist
        rate_of_fmin(sparktune, session, 4 * parallelism, parallelism)
        for number in range(args.rounds):
            for name, measure in peers.items():
                if not name.startswith("hyperopt") or number < args.hyperopt_rounds:
                    rates.setdefault((name, parallelism), []).append(measure(parallelism))
    print(f"\ntrials per second on {args.master}, median (lowest to highest)\n")
    print("| | " + " | ".join(f"parallelism {p}" for p in args.parallelism) + " |")
    print("|---|" + "---|" * len(args.parallelism))
    for name in peers:
        cells = [rates[name, p] for p in args.parallelism]
        print(
            f"| {name} | "
            + " | ".join(f"{statistics.median(c):.2f} ({min(c):.2f} to {max(c):.2f})" for c in cells)
            + " |"
        )
    for name in peers:
        if name != "sparktune":
            ratios = [
                statistics.median(rates["sparktune", p]) / statistics.median(rates[name, p]) for p in args.parallelism
            ]
            print(f"| sparktune / {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    session.stop()


if __name__ == "__main__":
    main()
