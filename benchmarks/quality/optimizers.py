"""The optimisers under one form: ``ask`` for a configuration, ``tell`` its loss; several may be open at once."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from parameters import Config, Int, Space, flatten, from_quantiles, hp_space, suggest_with_optuna


class Optimizer(Protocol):
    """What ``run.py`` drives."""

    def ask(self) -> tuple[Any, Config]:
        """A token for ``tell``, and the configuration to evaluate."""

    def tell(self, token: Any, loss: float | None) -> None:
        """Report the loss of what ``ask`` gave; None if it failed."""


class Random:
    """Independent draws from the prior."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._names = space, [parameter.name for parameter in flatten(space)]
        self._rng = np.random.default_rng(seed)

    def _point(self) -> Any:
        return self._rng.random(len(self._names))

    def ask(self) -> tuple[Any, Config]:
        return None, from_quantiles(self._space, dict(zip(self._names, self._point(), strict=True)))

    def tell(self, token: Any, loss: float | None) -> None:
        """Results change nothing."""


class Sobol(Random):
    """The points of a scrambled Sobol sequence, which fill the cube more evenly than random ones."""

    def __init__(self, space: Space, seed: int) -> None:
        from scipy.stats import qmc

        super().__init__(space, seed)
        self._sequence = qmc.Sobol(len(self._names), rng=np.random.default_rng(seed))

    def _point(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a single point is not a power of two
            return self._sequence.random()[0]


class HyperoptForm:
    """A library with hyperopt's API, through its public callable and real trial documents."""

    def __init__(self, space: Space, seed: int, library: str, algo: str, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hyperopt imports pkg_resources
            package = importlib.import_module(library)
            base = importlib.import_module(f"{library}.base")
        self._suggest = importlib.import_module(f"{library}.{algo}").suggest
        self._options = options
        self._rng = np.random.default_rng(seed)
        self._integers = {parameter.name for parameter in flatten(space) if isinstance(parameter, Int)}
        self._running, self.done = base.JOB_STATE_RUNNING, base.JOB_STATE_DONE
        self.domain = base.Domain(lambda config: 0.0, hp_space(package.hp, space))
        self.trials = package.Trials()

    def ask(self) -> tuple[Any, Config]:
        ids = self.trials.new_trial_ids(1)
        seed = int(self._rng.integers(2**31 - 1))
        self.trials.insert_trial_docs(self._suggest(ids, self.domain, self.trials, seed, **self._options))
        self.trials.refresh()
        # As the libraries' own loops do; ``trials.trials`` makes a list of all documents.
        document = self.trials._dynamic_trials[-1]
        document["state"] = self._running
        values = {name: value[0] for name, value in document["misc"]["vals"].items() if len(value)}
        return document, {
            name: round(float(value)) if name in self._integers else np.asarray(value).item()
            for name, value in values.items()
        }

    def tell(self, token: Any, loss: float | None) -> None:
        token["result"] = {"status": "fail"} if loss is None else {"status": "ok", "loss": loss}
        token["state"] = self.done
        self.trials.refresh()


class Optuna:
    """Optuna's TPE through ``study.ask`` and ``study.tell``."""

    def __init__(self, space: Space, seed: int, **options: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an option is experimental
            sampler = optuna.samplers.TPESampler(seed=seed, **options)
        self.study = optuna.create_study(sampler=sampler)
        self._space = space

    def ask(self) -> tuple[Any, Config]:
        trial = self.study.ask()
        return trial, suggest_with_optuna(trial, self._space)

    def tell(self, token: Any, loss: float | None) -> None:
        if loss is None:
            from optuna.trial import TrialState

            self.study.tell(token, state=TrialState.FAIL)
        else:
            self.study.tell(token, loss)


def _hyperopt_form(library: str, algo: str, **options: Any) -> Callable[[Space, int], Optimizer]:
    return lambda space, seed: HyperoptForm(space, seed, library, algo, **options)


#: Name in the results -> the module it needs, and what makes it from a space and a seed.
OPTIMIZERS: dict[str, tuple[str, Callable[[Space, int], Optimizer]]] = {
    "random": ("numpy", Random),
    "sobol": ("scipy", Sobol),
    "hyperopt": ("hyperopt", _hyperopt_form("hyperopt", "tpe", verbose=False)),
    "optuna": ("optuna", Optuna),  # the defaults of Optuna 5: joint density, and running trials taken for bad ones
    "optuna-univariate": ("optuna", lambda space, seed: Optuna(space, seed, multivariate=False)),
    "sparktune-tpe": ("sparktune.tpe", _hyperopt_form("sparktune", "tpe")),
    "sparktune-auto": ("sparktune.auto", _hyperopt_form("sparktune", "auto")),
    "sparktune-gp": ("sparktune.gp", _hyperopt_form("sparktune", "gp")),
    "sparktune-hyperopt-rules": ("sparktune.tpe", _hyperopt_form("sparktune", "tpe", hyperopt_rules=True)),
}


def make(name: str, space: Space, seed: int) -> Optimizer:
    """The optimiser of a name, at the start of a search."""
    return OPTIMIZERS[name][1](space, seed)


def available(names: Iterable[str] = OPTIMIZERS) -> list[str]:
    """Those of the names whose module is installed; prints a line for each that is left out."""
    found = []
    for name in names:
        module = OPTIMIZERS[name][0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if importlib.util.find_spec(module.split(".")[0]) and importlib.util.find_spec(module):
                found.append(name)
            else:
                print(f"left out, for {module} is not installed: {name}", file=sys.stderr)
    return found
