"""fmin reaches the bounds that hyperopt's own TPE is held to on its test domains, and finds trade-offs and limits.

The domains and their bounds are those hyperopt is known by; budgets are theirs or smaller.
"""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_limits

from sparktune import STATUS_OK, Trials, auto, fmin, gp, hp, rand, tpe
from sparktune.pyll.base import scope

ALGORITHMS = {"tpe": tpe.suggest, "auto": auto.suggest}


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """The matrices are small: with more threads the tests take twice the processor time."""
    assert scipy.linalg.cholesky  # its library must be loaded to be limited
    with threadpool_limits(1):
        yield


def quadratic1(x):
    return (x - 3) ** 2


def q1_lognormal(x):
    return min(0.1 * (x - 10) ** 2, 10)


def distractor(x):
    """A broad slope to the right, a narrow and deeper hole at -10."""
    return -1 / (1 + math.exp(-x)) - 2 * math.exp(-((x + 10) ** 2))


def gauss_wave(t):
    return -math.sin(t) - 2 * math.exp(-((t / 5) ** 2))


def branin(p):
    x, y = p
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return (y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10


def gauss_wave_space():
    x = hp.uniform("x", -20, 20)
    return hp.choice("curve", [x, x + math.pi])


def many():
    return {
        "a": hp.choice("a", [0, 1, 2]),
        "b": hp.randint("b", 10),
        "bb": hp.randint("bb", 12, 25),
        "c": hp.uniform("c", 4, 7),
        "d": hp.loguniform("d", -2, 0),
        "e": hp.quniform("e", 0, 10, 3),
        "f": hp.qloguniform("f", 0, 3, 2),
        "g": hp.normal("g", 4, 7),
        "h": hp.lognormal("h", -2, 2),
        "i": hp.qnormal("i", 0, 10, 2),
        "j": hp.qlognormal("j", 0, 2, 1),
        "k": hp.pchoice("k", [(0.1, 0), (0.9, 1)]),
    }


def closeness(p):
    """How far the sum of every distribution's value is from 100, by a log scale of its square."""
    return math.log1p((sum(p.values()) - 100.0) ** 2)


#: Objective, space, evaluations, and the bound that the median of some seeds must be below.
DOMAINS = {
    "quadratic1": (quadratic1, hp.uniform("x", -5, 5), 200, 1e-5),
    "q1_lognormal": (q1_lognormal, hp.lognormal("x", 0, 2), 250, 0.01),
    "gauss_wave": (gauss_wave, gauss_wave_space(), 50, -2.0),
    "branin": (branin, (hp.uniform("x", -5, 10), hp.uniform("y", 0, 15)), 75, 0.7),
    "many_dists": (closeness, many(), 200, 0.0005),
}


def best_loss(objective, space, algo, n, seed):
    trials = Trials()
    fmin(objective, space, algo, n, trials=trials, rstate=seed, verbose=False, return_argmin=False)
    assert len(trials) == n
    return min(trials.losses())


#: What ``auto`` needs no more evaluations than, where that is fewer; each takes it ten times as long as ``tpe``.
ENOUGH_FOR_AUTO = {"quadratic1": 40, "q1_lognormal": 40}


@pytest.mark.parametrize(
    ("domain", "algo"),
    [
        pytest.param(domain, algo, marks=[pytest.mark.slow] if (domain, algo) == ("many_dists", "auto") else [])
        for domain in DOMAINS
        for algo in ALGORITHMS
    ],
)
def test_bounds_of_hyperopts_domains(domain, algo):
    """The median of the best losses of three runs, of tpe's fifteen, is below the bound."""
    objective, space, n, bound = DOMAINS[domain]
    n_runs = 15  # of one of them tpe is below most of the bounds in two of three cases
    if algo == "auto":
        n, n_runs = ENOUGH_FOR_AUTO.get(domain, n), 3
    assert np.median([best_loss(objective, space, ALGORITHMS[algo], n, seed) for seed in range(n_runs)]) < bound


@pytest.mark.parametrize(
    "algo",
    [
        pytest.param(auto.suggest, marks=pytest.mark.slow),
        partial(tpe.suggest, prior_weight=4),
        partial(tpe.suggest, hyperopt_rules=True),
    ],
    ids=["auto", "tpe that explores", "hyperopt's rules"],
)
def test_the_hole_beside_the_distractor_is_found(algo):
    """The optimum that ten first points miss half of the time is found in 7 of 8 runs.

    It is 5 % of the range wide, and everywhere else the slope leads away from it. ``tpe.suggest`` with its defaults
    stays on the slope in half of the runs (docs/adr/0003).
    """
    found = [best_loss(distractor, hp.uniform("x", -15, 15), algo, 100, seed) for seed in range(8)]
    assert np.count_nonzero(np.array(found) < -1.96) >= 7, np.round(found, 2)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_noisy_arms_are_told_apart(algo):
    """Of ten arms with noisy rewards the best is pulled more than any other; its mean is lower by 1, noise 0.5."""
    rng = np.random.default_rng(0)
    means = np.append(np.linspace(0, -1.5, 9), -2.5)
    trials = Trials()
    fmin(
        lambda arm: means[arm] + 0.5 * rng.standard_normal(),
        hp.choice("arm", list(range(10))),
        ALGORITHMS[algo],
        60,
        trials=trials,
        rstate=0,
        verbose=False,
    )
    pulls = np.bincount([arm[0] for arm in (d["misc"]["vals"]["arm"] for d in trials.trials)], minlength=10)
    assert pulls.argmax() == 9


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_noise_inside_the_space(algo):
    """Arithmetic on parameters, as hyperopt's second wave has it: amplitude and a choice of two slopes."""
    x, amplitude = hp.uniform("x", -20, 20), hp.uniform("amplitude", 0, 1)
    space = hp.choice("form", [{"t": x, "a": amplitude}, {"t": scope.float(x / 2), "a": 0.5 * amplitude}])

    def objective(p):
        return -p["a"] * math.sin(p["t"]) - 2 * math.exp(-((p["t"] / 5) ** 2))

    assert np.median([best_loss(objective, space, ALGORITHMS[algo], 75, seed) for seed in range(3)]) < -2.0


# -- several losses, and constraints -----------------------------------------------------------------------------------


def trade_off(p):
    """Zitzler, Deb and Thiele's first problem with three parameters."""
    rest = 1 + 4.5 * (p["y"] + p["z"])
    return {"status": STATUS_OK, "losses": [p["x"], rest * (1 - math.sqrt(p["x"] / rest))]}


UNIT = {label: hp.uniform(label, 0, 1) for label in "xyz"}


@pytest.mark.parametrize("name", ["tpe", "auto", "gp"])
def test_fronts_are_better_than_those_of_random_search(name):
    """Over three seeds of 60 trials, the mean hypervolume is above random search's highest."""

    def hypervolumes(algo):
        for seed in range(3):
            trials = Trials()
            fmin(trade_off, UNIT, algo, 60, trials=trials, rstate=seed, verbose=False)
            yield trials.hypervolume([1.1, 11.0])

    algo = {**ALGORITHMS, "gp": gp.suggest}[name]
    assert np.mean(list(hypervolumes(algo))) > max(hypervolumes(rand.suggest))


def limited(p):
    """A slope towards a corner, of which a narrow band alone is feasible."""
    return {
        "status": STATUS_OK,
        "loss": p["x"] + p["y"],
        "constraints": [abs(p["x"] - p["y"]) - 0.15, 0.4 - p["x"], math.nan if p["z"] > 0.9 else p["z"] - 0.5],
    }


@pytest.mark.parametrize("name", ["tpe", "auto", "gp"])
def test_constraints_are_kept_better_than_by_random_search(name):
    """Over three seeds of 50 trials more are feasible, and the best of them is better, NaN among the constraints."""

    def runs(algo):
        found = []
        for seed in range(3):
            trials = Trials()
            fmin(limited, UNIT, algo, 50, trials=trials, rstate=seed, verbose=False)
            feasible = [d for d in trials.trials if all(c <= 0 for c in d["result"]["constraints"])]
            best = trials.best_feasible
            found.append([len(feasible), best["result"]["loss"] if best else 2.0])
        return np.mean(found, axis=0)

    n_feasible, best = runs({**ALGORITHMS, "gp": gp.suggest}[name])
    n_random, best_random = runs(rand.suggest)
    assert n_feasible > 2 * n_random
    assert best < best_random


@pytest.mark.parametrize("name", ["tpe", "auto", "gp"])
def test_no_feasible_point_at_all(name):
    """Where nothing can be feasible the run ends, and its best is the smallest violation."""
    trials = Trials()
    fmin(
        lambda x: {"status": STATUS_OK, "loss": x, "constraints": [1 + x]},
        hp.uniform("x", 0, 1),
        {**ALGORITHMS, "gp": gp.suggest}[name],
        25,
        trials=trials,
        rstate=0,
        verbose=False,
    )
    assert trials.best_feasible is None
    assert trials.argmin["x"] == min(d["misc"]["vals"]["x"][0] for d in trials.trials)
    assert trials.argmin["x"] < 0.1
