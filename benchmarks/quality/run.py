"""Run optimisers on the suite; appends a line of JSON per run.

    python benchmarks/quality/run.py --optimizers optuna sparktune-tpe --seeds 20 --evals 200 --out results.jsonl
    python benchmarks/quality/run.py --optimizers sparktune-auto --workers 8 --evals 100 --out results.jsonl

``--workers k`` simulates k asynchronous workers: an evaluation takes a log-normal time, and as soon as a worker is
free the next configuration is asked for, with k - 1 trials running. These times, and the noise of the observations,
depend on the task, the seed and the order of the evaluations, not on the optimiser. A run that the output has already,
or a longer one, is left out, so that a command can be given again. Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import time
import traceback
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import suite
from optimizers import OPTIMIZERS, available, make

#: After so many evaluations the incumbent's loss is written down.
BUDGETS = (25, 50, 100, 200, 500, 1000)
#: Standard deviation of the logarithm of an evaluation's time.
TIME_SPREAD = 0.5


def run(task: suite.Task, optimizer_name: str, seed: int, evals: int, workers: int = 1) -> dict[str, Any]:
    """One search: the true loss, at each budget, of the trial with the best observed loss."""
    number = zlib.crc32(task.name.encode()) & 0xFFFF
    noise, clock = np.random.default_rng([number, seed, 1]), np.random.default_rng([number, seed, 2])
    optimizer = make(optimizer_name, task.space, 1009 * seed + number)
    running: list[tuple[float, int, Any, float, float]] = []  # a heap by time of the end
    curve: list[float] = []
    incumbent, cpu, now, asked = (math.inf, math.inf), 0.0, 0.0, 0
    while len(curve) < evals:
        while asked < evals and len(running) < workers:
            start = time.process_time()
            token, config = optimizer.ask()
            cpu += time.process_time() - start
            end = now + clock.lognormal(0.0, TIME_SPREAD)
            heapq.heappush(running, (end, asked, token, *task.evaluate(config, noise)))
            asked += 1
        now, _, token, observed, true = heapq.heappop(running)
        start = time.process_time()
        optimizer.tell(token, observed)
        cpu += time.process_time() - start
        if observed < incumbent[0]:
            incumbent = observed, true
        curve.append(incumbent[1])
    return {
        "task": task.name,
        "optimizer": optimizer_name,
        "workers": workers,
        "seed": seed,
        "evals": evals,
        "best": {str(budget): curve[budget - 1] for budget in BUDGETS if budget <= evals},
        "cpu_ms": round(1e3 * cpu / evals, 3),
    }


def finished(path: Path) -> dict[tuple[str, str, int, int], int]:
    """The evaluations of the longest run in a file, by task, optimiser, workers and seed."""
    longest: dict[tuple[str, str, int, int], int] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        key = row["task"], row["optimizer"], row["workers"], row["seed"]
        longest[key] = max(longest.get(key, 0), row["evals"])
    return longest


def main() -> None:
    """Run what is missing in the output; the exit code is 1 if any run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS), choices=list(OPTIMIZERS), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", help="names from suite.py; all of them if not given")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evals", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    optimizers, tasks = available(args.optimizers), args.tasks or suite.available()
    done, failures = finished(args.out), 0
    # Seeds in the outer loop, so that a run that is cut short has every task.
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name in tasks:
            for optimizer in optimizers:
                if done.get((name, optimizer, args.workers, seed), 0) >= args.evals:
                    continue
                try:
                    row = run(suite.get(name), optimizer, seed, args.evals, args.workers)
                except Exception:  # the other runs are worth having all the same
                    failures += 1
                    print(f"FAILED: {optimizer} on {name}, seed {seed}\n{traceback.format_exc()}", file=sys.stderr)
                    continue
                with args.out.open("a") as out:
                    out.write(json.dumps(row) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
