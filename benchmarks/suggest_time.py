"""CPU time of one suggestion beside hyperopt and Optuna, the memory it needs, and how both grow.

    python benchmarks/suggest_time.py                     # the table of times, and the memory per trial
    python benchmarks/suggest_time.py --growth 100000     # one fmin of so many trials instead

A study gets n finished trials, then each library in turn is asked for a trial and told its loss, all through public
functions: hyperopt and sparktune with real trial documents and ``trials.refresh()``, Optuna with ``study.ask`` and
``study.tell``. The spaces have two floats to one log float, one integer and one choice of five options. Set
OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1, on a machine that does little else, and quote ratios.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "quality"))  # its optimisers, seen from any folder
from optimizers import HyperoptForm, Optuna, Random, available, make
from parameters import Choice, Config, Float, Int, Space, choice

TITLE = """\
## Time of a suggestion

`python benchmarks/suggest_time.py`: CPU milliseconds of one ask and tell, medians (and the longest) of {rounds} rounds
in which the libraries take turns; one thread; hyperopt and sparktune with real trial documents and
`trials.refresh()`. Two floats to one log float, one integer and one choice."""
#: (parameters, finished trials); the peers are left out of the last, where they would take minutes per suggestion.
SIZES = ((5, 100), (20, 1_000), (50, 10_000), (50, 100_000))
PEERS_UP_TO = 10_000
NAMES = ("hyperopt", "optuna", "sparktune-tpe", "sparktune-auto")


def mixed_space(n: int) -> Space:
    """n parameters: floats, log floats, integers and choices as 2 : 1 : 1 : 1."""
    kinds: tuple[Callable[[str], Any], ...] = (
        lambda name: Float(name, 0, 1),
        lambda name: Float(name, 0, 1),
        lambda name: Float(name, 1e-5, 1, log=True),
        lambda name: Int(name, 1, 100),
        lambda name: choice(name, 5),
    )
    return tuple(kinds[i % 5](f"p{i}") for i in range(n))


def loss_of(config: Config) -> float:
    """Any loss that depends on every parameter."""
    return float(sum((value - 0.3) ** 2 if isinstance(value, float) else 0.01 * value for value in config.values()))


def preload(optimizer: Any, space: Space, n: int) -> None:
    """Give a study n finished trials, drawn from the prior."""
    source = Random(space, 1)
    configs = [source.ask()[1] for _ in range(n)]
    if isinstance(optimizer, Optuna):
        _preload_optuna(optimizer, space, configs)
    elif isinstance(optimizer, HyperoptForm):
        _preload_documents(optimizer, configs)


def _preload_optuna(optimizer: Optuna, space: Space, configs: list[Config]) -> None:
    from optuna import distributions as d
    from optuna.trial import create_trial

    kinds: dict[str, Any] = {}
    for p in space:
        if isinstance(p, Choice):
            kinds[p.name] = d.CategoricalDistribution(list(range(len(p.options))))
        else:
            kind: Any = d.IntDistribution if isinstance(p, Int) else d.FloatDistribution
            kinds[p.name] = kind(p.low, p.high, log=p.log)
    trials = [create_trial(params=config, distributions=kinds, value=loss_of(config)) for config in configs]
    optimizer.study.add_trials(trials)


def _preload_documents(optimizer: HyperoptForm, configs: list[Config]) -> None:
    trials = optimizer.trials
    ids = trials.new_trial_ids(len(configs))
    miscs: list[dict[str, Any]] = []
    for tid, config in zip(ids, configs, strict=True):
        values = {name: [float(value) if isinstance(value, float) else value] for name, value in config.items()}
        miscs.append(
            {"tid": tid, "cmd": optimizer.domain.cmd, "idxs": {name: [tid] for name in config}, "vals": values}
        )
    results = [{"status": "ok", "loss": loss_of(config)} for config in configs]
    documents = trials.new_trial_docs(ids, [None] * len(ids), results, miscs)
    for document in documents:
        document["state"] = optimizer.done
    trials.insert_trial_docs(documents)
    trials.refresh()


def milliseconds(optimizer: Any) -> float:
    """CPU time of the process for one ask and tell."""
    start = time.process_time()
    token, config = optimizer.ask()
    spent = time.process_time() - start
    loss = loss_of(config)
    start = time.process_time()
    optimizer.tell(token, loss)
    return 1e3 * (spent + time.process_time() - start)


def measure(names: list[str], n_parameters: int, n_trials: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, by optimiser; the first, which fills caches, is left out."""
    space = mixed_space(n_parameters)
    optimizers = {name: make(name, space, 0) for name in names}
    for optimizer in optimizers.values():
        preload(optimizer, space, n_trials)
        milliseconds(optimizer)
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    for _ in range(rounds):
        for name, optimizer in optimizers.items():
            times[name].append(milliseconds(optimizer))
    return times


def search_means(names: list[str], n_parameters: int = 20, evals: int = 100) -> dict[str, float]:
    """Mean milliseconds over a whole search from its start, by optimiser."""
    space = mixed_space(n_parameters)
    optimizers = {name: make(name, space, 0) for name in names}
    times = [[milliseconds(optimizer) for optimizer in optimizers.values()] for _ in range(evals)]
    return dict(zip(names, map(statistics.mean, zip(*times, strict=True)), strict=True))


def array_bytes(root: object) -> int:
    """Bytes of all the numpy arrays that an object keeps alive; a view counts as what it is a view of."""
    seen, stack, total = set(), [root], 0
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray) and item.base is None:
            total += item.nbytes
        stack.extend([item.base] if isinstance(item, np.ndarray) else gc.get_referents(item))
    return total


def bytes_per_trial(n_parameters: int = 50, n_trials: int = 10_000) -> float:
    """Of the arrays behind ``trials.history``, after a suggestion of sparktune's TPE."""
    space = mixed_space(n_parameters)
    optimizer: Any = make("sparktune-tpe", space, 0)
    preload(optimizer, space, n_trials)
    milliseconds(optimizer)
    return array_bytes(optimizer.trials.history(optimizer.domain.space.labels)) / n_trials


def growth(n: int, algo: str) -> str:
    """An ``fmin`` of n trials: CPU time per trial by tenth, and the largest memory of the process."""
    import sparktune

    suggest = importlib.import_module(f"sparktune.{algo}").suggest
    times = [time.process_time()]

    def objective(config: dict[str, float]) -> float:
        count[0] += 1
        if count[0] % (n // 10) == 0:
            times.append(time.process_time())
        return (config["x"] - 1) ** 2 + (config["y"] + 2) ** 2

    count = [0]
    space = {"x": sparktune.hp.uniform("x", -5, 5), "y": sparktune.hp.uniform("y", -5, 5)}
    sparktune.fmin(objective, space, algo=suggest, max_evals=n, rstate=0, show_progressbar=False, verbose=False)
    per_trial = [1e3 * (b - a) / (n // 10) for a, b in zip(times, times[1:], strict=False)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    by_tenth = ", ".join(f"{ms:.2f}" for ms in per_trial)
    return (
        f"An `fmin` of {n:,} trials with `{algo}.suggest`, two floats and a trivial objective: CPU milliseconds per "
        f"trial by tenth of the run {by_tenth}; largest memory of the process {peak:.0f} MB."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Medians, the longest in brackets, and the ratios to the peers in the same run."""
    names = [name for name in NAMES if any(name in row["ms"] for row in rows)]
    pairs = [(a, b) for a in names if a.startswith("sparktune") for b in names if not b.startswith("sparktune")]
    head = ["parameters", "trials", *(f"{name}, ms" for name in names), *(f"{a} / {b}" for a, b in pairs)]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        ms = row["ms"]
        medians = [f"{statistics.median(ms[name]):.2f} ({max(ms[name]):.1f})" if name in ms else "–" for name in names]
        both = [f"{statistics.median(ms[a]) / statistics.median(ms[b]):.4f}" if b in ms else "–" for a, b in pairs]
        lines.append([str(row["parameters"]), f"{row['trials']:,}", *medians, *both])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times_section(names: list[str], rounds: int, max_trials: int) -> str:
    """Measure every size, whole searches, and the memory."""
    rows = []
    for n_parameters, n_trials in SIZES:
        if n_trials <= max_trials:
            measured = [name for name in names if n_trials <= PEERS_UP_TO or name.startswith("sparktune")]
            ms = measure(measured, n_parameters, n_trials, rounds)
            rows.append({"parameters": n_parameters, "trials": n_trials, "ms": ms})
            print(f"{n_parameters} parameters, {n_trials} trials: done", file=sys.stderr, flush=True)
    means = ", ".join(f"{name} {ms:.2f}" for name, ms in search_means(names).items())
    whole = f"Means over a whole search of 100 evaluations, 20 parameters, in ms: {means}."
    memory = f"The arrays of the search: {bytes_per_trial():.0f} bytes per trial at 50 parameters and 10,000 trials."
    return f"{TITLE.format(rounds=rounds)}\n\n{table(rows)}\n\n{whole}\n\n{memory}"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--max-trials", type=int, default=SIZES[-1][1], help="leaves out the larger sizes")
    parser.add_argument("--growth", type=int, metavar="N", help="run one fmin of N trials instead")
    parser.add_argument("--algo", default="tpe", help="of --growth: the module of sparktune whose suggest is used")
    parser.add_argument("--out", type=Path, help="write the text to this file as well, for quality/report.py")
    args = parser.parse_args()
    if args.growth:
        text = growth(args.growth, args.algo)
    else:
        text = times_section(available(args.optimizers), args.rounds, args.max_trials)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
