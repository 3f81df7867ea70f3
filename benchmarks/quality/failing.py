"""Trials that fail, and penalties: sparktune beside hyperopt, Optuna and random search; prints a table in Markdown.

    python benchmarks/quality/failing.py --seeds 10

Each cell is the median over seeds of the best loss after 60 evaluations, less the lowest one possible, and the share of
the last 40 that failed or were given the penalty.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from optimizers import available, make
from parameters import Config, Float, Int, Space, choice, floats

NAMES = ("sparktune-auto", "sparktune-gp", "sparktune-tpe", "optuna", "hyperopt", "random")
EVALS, N_START = 60, 20


@dataclass(frozen=True)
class Case:
    """What fails of an objective.

    Attributes:
        is_bad: Whether a configuration always fails.
        chance: How many of the others do.
        penalty: What the bad ones return instead; None: they fail.
        is_mixed: Whether the space is a mixed one.
        least: The lowest loss of what does not always fail.
    """

    is_bad: Callable[[Config], bool] = lambda config: False
    chance: float = 0.0
    penalty: float | None = None
    is_mixed: bool = False
    least: float = 0.0


BOWL = floats(4, -5.0, 5.0)
MIXED: Space = (Float("x", -5.0, 5.0), choice("c", 3), Int("n", 0, 19))

CASES = {
    "nothing fails": Case(),
    "1 in 10, by chance": Case(chance=0.1),
    "3 in 10, by chance": Case(chance=0.3),
    "3 in 10, by chance, mixed space": Case(chance=0.3, is_mixed=True),
    "one option of three": Case(lambda c: c["c"] == 0, is_mixed=True, least=1.0),
    "half of the space": Case(lambda c: c["x0"] < 0.0),
    "half of it, and 1 in 5 of the rest": Case(lambda c: c["x0"] < 0.0, 0.2),
    "up to the optimum": Case(lambda c: c["x0"] < 1.4),
    "all but a corner, and 1 in 10 there": Case(lambda c: c["x0"] < 1.4 or c["x1"] > 1.6, 0.1),
    "half of the space gives 100": Case(lambda c: c["x0"] < 0.0, penalty=100.0),
    "half of the space gives 1e6": Case(lambda c: c["x0"] < 0.0, penalty=1e6),
    "a quarter gives 1e10": Case(lambda c: c["x0"] < -2.5, penalty=1e10),
}


def loss_of(case: Case, config: Config) -> float:
    """The loss where nothing fails."""
    if case.is_mixed:
        return float((config["x"] - 1.0) ** 2 + config["c"] + abs(config["n"] - 7))
    return float(sum((value - 1.5) ** 2 for value in config.values()))


def search(case: Case, name: str, seed: int) -> tuple[float, float]:
    """The best loss above the least one, and the share of bad trials after the first 20."""
    chance = np.random.default_rng([seed, 1])
    optimizer = make(name, MIXED if case.is_mixed else BOWL, seed)
    best, n_bad = math.inf, 0
    for i in range(EVALS):
        token, config = optimizer.ask()
        fails = chance.random() < case.chance
        is_bad = case.is_bad(config)
        n_bad += i >= N_START and (is_bad or fails)
        if is_bad or fails:
            optimizer.tell(token, case.penalty if is_bad else None)
            continue
        loss = loss_of(case, config)
        best = min(best, loss)
        optimizer.tell(token, loss)
    return best - case.least, n_bad / (EVALS - N_START)


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    names = available(NAMES)
    print("|  |", " | ".join(names), "|")
    print("|---|" + "---|" * len(names))
    for label, case in CASES.items():
        cells = []
        for name in names:
            best, bad = zip(*(search(case, name, seed) for seed in range(args.seeds)), strict=True)
            cells.append(f"{statistics.median(best):.2g} ({100 * statistics.median(bad):.0f} %)")
        print("|", label, "|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
