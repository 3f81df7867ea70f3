"""Score searches, and print the tables.

    python benchmarks/quality/score.py results/*.jsonl --budgets 50 100 --peers optuna hyperopt

The regret of a search is (loss - optimum) / (level of random search - optimum), at most 5: 0 is the optimum, 1 what
random search reaches on average in 100 evaluations. The loss is the true one of the trial with the best observed loss.

- mean: of the regrets, over seeds and then over tasks;
- geometric mean: over tasks, of the means over seeds, each at least 0.001;
- rank: of the optimisers listed, by task and seed, averaged; 1 is best;
- ratio: of the mean to that of a peer.

Brackets are 95 % intervals of a bootstrap over seeds: within a task, all optimisers take the same resampled seeds, so
that comparisons are paired. The tasks are fixed. Only seeds that every listed optimiser has run are used.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from references import references
from scipy.stats import rankdata

CAP, FLOOR, RESAMPLES = 5.0, 1e-3, 2000
#: Marks of a regret that is significantly below or above a peer's.
ARROWS = {-1: "↓", 1: "↑"}

#: (optimiser, workers, budget) -> task -> seed -> loss.
Losses = dict[tuple[str, int, int], dict[str, dict[int, float]]]


@dataclass(frozen=True)
class Comparison:
    """Searches of several optimisers at one budget.

    Attributes:
        optimizers: Their names, in the order of the rows of ``regrets``.
        tasks: Names of the tasks.
        regrets: For each task an array of shape (optimisers, seeds).
    """

    optimizers: list[str]
    tasks: list[str]
    regrets: list[Any]

    def row(self, name: str) -> int:
        """Where an optimiser is in ``regrets``."""
        return self.optimizers.index(name)


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """The figure and its interval, as in the tables."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def load(paths: Iterable[Path]) -> Losses:
    """The losses in files of ``run.py``, or in those that ``report.py`` keeps, with a line per task and budget."""
    losses: Losses = defaultdict(lambda: defaultdict(dict))
    for row in (json.loads(line) for path in paths for line in path.read_text().splitlines()):
        if "losses" in row:
            by_seed = dict(zip(row["seeds"], row["losses"], strict=True))
            losses[row["optimizer"], row["workers"], row["budget"]][row["task"]].update(by_seed)
        else:
            for budget, loss in row["best"].items():
                losses[row["optimizer"], row["workers"], int(budget)][row["task"]][row["seed"]] = loss
    return losses


def store(losses: Losses, folder: Path) -> None:
    """Write losses in the short form, a file per optimiser and number of workers; replaces those files."""
    files: dict[Path, list[str]] = defaultdict(list)
    for (optimizer, workers, budget), runs in sorted(losses.items()):
        for task, by_seed in sorted(runs.items()):
            row = {"task": task, "optimizer": optimizer, "workers": workers, "budget": budget}
            row |= {"seeds": sorted(by_seed), "losses": [float(f"{by_seed[seed]:.8g}") for seed in sorted(by_seed)]}
            files[folder / f"{optimizer}-w{workers}.jsonl"].append(json.dumps(row))
    folder.mkdir(exist_ok=True)
    for path, lines in files.items():
        path.write_text("\n".join(lines) + "\n")


def compare(losses: Losses, optimizers: Sequence[str], workers: int, budget: int) -> Comparison:
    """The regrets of some optimisers on the tasks and seeds that all of them have run."""
    runs = [losses.get((name, workers, budget), {}) for name in optimizers]
    tasks, regrets = [], []
    for task in references():
        seeds = sorted(set.intersection(*(set(run.get(task, ())) for run in runs))) if runs else []
        if seeds:
            tasks.append(task)
            regrets.append(normalise(task, [[run[task][seed] for seed in seeds] for run in runs]))
    return Comparison(list(optimizers), tasks, regrets)


def normalise(task: str, losses: Any) -> Any:
    """Regrets of losses, of the same shape: 0 at the optimum, 1 at the level of random search, at most ``CAP``."""
    levels = references()[task]
    scale = levels["random_100"] - levels["optimum"]
    return np.clip((np.asarray(losses) - levels["optimum"]) / scale, 0.0, CAP)


def task_means(matrices: Sequence[Any], seed: int = 0) -> tuple[Any, Any]:
    """Means over seeds, and what they are in bootstrap samples.

    Args:
        matrices: Shape (optimisers, seeds), one for each task.
        seed: Of the bootstrap.

    Returns:
        Shapes (tasks, optimisers) and (tasks, optimisers, samples).
    """
    rng = np.random.default_rng(seed)
    picks = [rng.integers(m.shape[1], size=(RESAMPLES, m.shape[1])) for m in matrices]
    samples = [m[:, pick].mean(axis=2) for m, pick in zip(matrices, picks, strict=True)]
    return np.array([m.mean(axis=1) for m in matrices]), np.array(samples)


def estimates(matrices: Sequence[Any], statistic: Callable[[Any], Any]) -> list[Estimate]:
    """A figure per optimiser of the means over seeds, (tasks, optimisers, ...) -> (optimisers, ...), with intervals."""
    means, samples = task_means(matrices)
    low, high = np.percentile(statistic(samples), [2.5, 97.5], axis=-1)
    return [Estimate(*map(float, figures)) for figures in zip(statistic(means), low, high, strict=True)]


def mean_regrets(comparison: Comparison) -> list[Estimate]:
    """The mean over tasks, for each optimiser."""
    return estimates(comparison.regrets, lambda means: means.mean(axis=0))


def geometric_means(comparison: Comparison) -> list[Estimate]:
    """The geometric mean over tasks, for each optimiser."""
    return estimates(comparison.regrets, lambda means: np.exp(np.log(np.maximum(means, FLOOR)).mean(axis=0)))


def ranks(comparison: Comparison) -> list[Estimate]:
    """The average rank, for each optimiser; ties share the mean of their places."""
    matrices = [rankdata(matrix, axis=0) for matrix in comparison.regrets]
    return estimates(matrices, lambda means: means.mean(axis=0))


def ratios(comparison: Comparison, peer: str) -> list[Estimate]:
    """Mean regret divided by the peer's, for each optimiser."""
    row = comparison.row(peer)
    return estimates(comparison.regrets, lambda means: means.mean(axis=0) / means.mean(axis=0)[row])


def verdicts(comparison: Comparison, peer: str) -> Any:
    """Where regrets differ from the peer's, shape (tasks, optimisers).

    1 is significantly worse, -1 significantly better (the 95 % interval of the difference of the means excludes 0), 0
    neither. Of twenty comparisons without a difference, one is expected to be marked.
    """
    _, samples = task_means(comparison.regrets)
    row = comparison.row(peer)
    low, high = np.percentile(samples - samples[:, row : row + 1], [2.5, 97.5], axis=-1)
    return (low > 0).astype(int) - (high < 0).astype(int)


def summary_table(comparison: Comparison, peers: Sequence[str]) -> str:
    """A row per optimiser, best mean first."""
    peers = [peer for peer in peers if peer in comparison.optimizers]
    means, geometric, places = mean_regrets(comparison), geometric_means(comparison), ranks(comparison)
    to_peers = [ratios(comparison, peer) for peer in peers]
    rows = [["optimiser", "mean regret", "geometric mean", "rank", *(f"ratio to {peer}" for peer in peers)]]
    for i in sorted(range(len(means)), key=lambda i: means[i].value):
        quotients = ["1" if comparison.row(p) == i else r[i].text() for p, r in zip(peers, to_peers, strict=True)]
        rows.append([comparison.optimizers[i], means[i].text(), geometric[i].text(), places[i].text(1), *quotients])
    return markdown(rows)


def task_table(comparison: Comparison, peers: Sequence[str]) -> str:
    """A row per task: mean regrets, marked where they differ from a peer's, which is named by its first letter."""
    peers = [peer for peer in peers if peer in comparison.optimizers]
    marks = {peer: verdicts(comparison, peer) for peer in peers}
    rows = [["task", *comparison.optimizers]]
    for i, (task, matrix) in enumerate(zip(comparison.tasks, comparison.regrets, strict=True)):
        cells = []
        for j, regret in enumerate(matrix.mean(axis=1)):
            arrows = [ARROWS[marks[peer][i, j]] + peer[0] for peer in peers if marks[peer][i, j]]
            cells.append(" ".join([f"{regret:.3f}", *arrows]))
        rows.append([task, *cells])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, the first row being its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    """Print a table for each budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--optimizers", nargs="+", help="all in the files if not given")
    parser.add_argument("--budgets", nargs="+", type=int, default=[25, 50, 100, 200])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peers", nargs="+", default=["optuna", "hyperopt"])
    parser.add_argument("--per-task", action="store_true")
    args = parser.parse_args()
    losses = load(args.files)
    for budget in args.budgets:
        found = sorted({name for name, workers, b in losses if (workers, b) == (args.workers, budget)})
        comparison = compare(losses, args.optimizers or found, args.workers, budget)
        if comparison.tasks:
            seeds = sorted({matrix.shape[1] for matrix in comparison.regrets})
            print(f"\n{budget} evaluations, {args.workers} workers, {len(comparison.tasks)} tasks, seeds: {seeds}\n")
            print(summary_table(comparison, args.peers))
            if args.per_task:
                print("\n" + task_table(comparison, args.peers))


if __name__ == "__main__":
    main()
