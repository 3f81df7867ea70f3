"""Write the sections on search quality and suggestion time of docs/benchmarks.md from stored results.

    python benchmarks/quality/report.py
    python benchmarks/quality/report.py --add build/quality-*.jsonl

``--add`` takes files of ``run.py`` and keeps their losses, in short form, in results/: a file per optimiser and number
of workers, replaced if it is there. Beside them are suggest_time.md and growth.md, from ``suggest_time.py --out``.
Everything between the two markers in the page is written anew; nothing else is touched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from optimizers import OPTIMIZERS
from references import references
from score import Comparison, Losses, compare, load, store, summary_table, task_table, verdicts

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin: written by benchmarks/quality/report.py -->", "<!-- end -->"
PEERS = ("optuna", "hyperopt")
#: Workers and evaluations of each table.
SETTINGS = ((1, 50), (1, 100), (1, 200), (8, 100), (32, 100))

QUALITY = """\
## Quality of the search

{tasks} tasks ([suite.py](../benchmarks/quality/suite.py)): BBOB functions in 5 to 20 dimensions, mixed grids, choices,
conditional spaces, noisy functions, a choice of classifiers, and tables of real training runs. They are not the tasks
that the search was tuned on, but for three settings of `tpe.suggest` that were chosen with a look at them: the weight
of the prior, what its ranks call an improvement, and their trend ([adr/0011](adr/0011-ranks.md)). Regret is 0 at the
optimum and 1 at what random search reaches on average in 100 evaluations; the trial with the best observed loss counts,
with its true loss. Brackets are 95 % intervals of a paired bootstrap over seeds, the tasks being fixed; all optimisers
have the same seeds, noise and evaluation times.
[score.py](../benchmarks/quality/score.py) says how each figure is formed.

Peers: hyperopt 0.3.0 and Optuna 5.0.0. `optuna` is its default, a TPE with a joint density; `optuna-univariate` has
`multivariate=False`; `sobol` is a scrambled Sobol sequence. `sparktune-hyperopt-rules` is `tpe.suggest` with
`hyperopt_rules=True`. "Better" and "worse" on a task mean that the 95 % interval of the difference excludes 0; of
twenty tasks without any difference, one is expected to be called so."""

PER_TASK = """\
### Task by task, {workers}, {evals} evaluations

Mean regrets over {seeds} seeds; ↓ is better than a peer and ↑ worse, o being `optuna` and h `hyperopt`."""


def page_text(losses: Losses, results: Path) -> str:
    """What goes between the markers."""
    parts = [QUALITY.format(tasks=len(references()))]
    for workers, evals in SETTINGS:
        parts += setting(losses, workers, evals)
    comparison, _ = complete(losses, 1, 100)
    if comparison.tasks:
        parts.append(PER_TASK.format(workers=_workers(1), evals=100, seeds=_seeds(comparison)))
        parts.append(task_table(comparison, PEERS))
    parts += [
        path.read_text().strip() for path in (results / "suggest_time.md", results / "growth.md") if path.exists()
    ]
    return "\n\n".join(parts)


def complete(losses: Losses, workers: int, evals: int) -> tuple[Comparison, list[str]]:
    """The comparison of those that have all the runs, and the names of those that lack some."""
    runs = {
        name: {(task, seed) for task, by_seed in losses.get((name, workers, evals), {}).items() for seed in by_seed}
        for name in OPTIMIZERS
    }
    wanted = set().union(*runs.values())
    names = [name for name, have in runs.items() if have == wanted] if wanted else []
    lacking = [name for name, have in runs.items() if have and have != wanted]
    return compare(losses, names, workers, evals), lacking


def setting(losses: Losses, workers: int, evals: int) -> list[str]:
    """Title, table, and the wins and losses of each of our algorithms; nothing if there are no runs."""
    comparison, lacking = complete(losses, workers, evals)
    if not comparison.tasks:
        return []
    title = f"### {_workers(workers).capitalize()}, {evals} evaluations"
    parts = [
        title,
        f"{len(comparison.tasks)} tasks, {_seeds(comparison)} seeds each.",
        summary_table(comparison, PEERS),
    ]
    lines = [
        f"- `{name}`: " + "; ".join(wins_and_losses(comparison, name, peer) for peer in PEERS if peer != name) + "."
        for name in comparison.optimizers
        if name.startswith("sparktune") and set(PEERS) <= set(comparison.optimizers)
    ]
    if lines:
        parts.append("\n".join(lines))
    if lacking:
        parts.append(f"Left out, for some of their runs are missing: {', '.join(lacking)}.")
    return parts


def wins_and_losses(comparison: Comparison, name: str, peer: str) -> str:
    """On how many tasks one is better and worse than a peer, the worse ones by name."""
    marks = verdicts(comparison, peer)[:, comparison.row(name)]
    worse = [task for task, mark in zip(comparison.tasks, marks, strict=True) if mark > 0]
    named = f"{len(worse)} ({', '.join(worse)})" if worse else "none"
    return f"better than {peer} on {(marks < 0).sum()}, worse on {named}"


def _workers(workers: int) -> str:
    return "one worker" if workers == 1 else f"{workers} asynchronous workers"


def _seeds(comparison: Comparison) -> int:
    return int(min(matrix.shape[1] for matrix in comparison.regrets))


def main() -> None:
    """Keep what is given, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs="+", type=Path, default=[], help="files of run.py to keep first")
    args = parser.parse_args()
    store(load(args.add), RESULTS)
    head, rest = PAGE.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n\n{page_text(load(sorted(RESULTS.glob('*.jsonl'))), RESULTS)}\n\n{END}{tail}")


if __name__ == "__main__":
    main()
