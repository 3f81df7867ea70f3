"""Write references.json: for each task the optimum, and the loss that random search reaches in 100 evaluations.

    python benchmarks/quality/references.py

Regret is measured on this scale. The level of random search is the mean true loss, over 4,000 searches, of the trial
with the best observed loss; the searches are drawn from 40,000 random configurations.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import suite
from optimizers import Random

REFERENCES = Path(__file__).parent / "references.json"
DRAWS, SEARCHES, EVALUATIONS = 40_000, 4_000, 100


@functools.cache
def references() -> dict[str, dict[str, float]]:
    """The stored levels: task -> "optimum" and "random_100"."""
    levels: dict[str, dict[str, float]] = json.loads(REFERENCES.read_text())
    return levels


def measure(task: suite.Task, draws: int = DRAWS) -> dict[str, float]:
    """The two levels of one task."""
    rng, source = np.random.default_rng(12345), Random(task.space, 54321)
    losses = np.array([task.evaluate(source.ask()[1], rng) for _ in range(draws)])  # (draws, 2): observed, true
    picks = rng.integers(draws, size=(SEARCHES, EVALUATIONS))
    incumbents = picks[np.arange(SEARCHES), losses[picks, 0].argmin(axis=1)]
    return {"optimum": task.optimum, "random_100": float(losses[incumbents, 1].mean())}


def main() -> None:
    """Measure every task that is available, and keep the others as they are."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    levels = references() if REFERENCES.exists() else {}
    for name in suite.available():
        levels[name] = measure(suite.get(name))
        print(name, levels[name], flush=True)
    REFERENCES.write_text(json.dumps(levels, indent=1) + "\n")


if __name__ == "__main__":
    main()
