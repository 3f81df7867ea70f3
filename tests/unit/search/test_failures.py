"""Searches in which trials fail, by chance or where the point is to blame, and in which they give penalties instead."""

import math

import numpy as np
import pytest

from sparktune import STATUS_FAIL, STATUS_OK, Trials, auto, fmin, gp, hp, tpe
from sparktune.history.reading import FAILED, OK
from sparktune.search.failures import failure_targets

ALGORITHMS = pytest.mark.parametrize("algo", [tpe.suggest, auto.suggest, gp.suggest], ids=["tpe", "auto", "gp"])
SPACE = {label: hp.uniform(label, -5, 5) for label in "abcd"}
FAILURE = {"status": STATUS_FAIL}


def bowl(point):
    return sum((value - 1.5) ** 2 for value in point.values())


def search(algo, objective, space=SPACE, n=50, seed=0, **options):
    trials = Trials()
    fmin(objective, space, algo, n, trials=trials, rstate=seed, show_progressbar=False, **options)
    return trials


def best_losses(algo, objective_of, n=50, n_runs=3):
    """Of some searches; ``objective_of`` makes the objective from a random stream."""
    return [search(algo, objective_of(np.random.default_rng(seed)), n=n, seed=seed).best_loss for seed in range(n_runs)]


@ALGORITHMS
def test_failures_by_chance_do_not_mislead(algo):
    """With three in ten trials failing anywhere, a search comes nearly as far as without."""

    def failing(rng):
        return lambda point: FAILURE if rng.random() < 0.3 else bowl(point)

    assert np.mean(best_losses(algo, failing)) < 0.4


@ALGORITHMS
def test_a_region_that_fails_is_left(algo):
    """Half of the space fails, away from the optimum: hardly a trial is lost there once that is known."""
    trials = search(algo, lambda point: FAILURE if point["a"] < 0 else bowl(point), n=60)
    assert np.mean([result["status"] == STATUS_FAIL for result in trials.results[20:]]) < 0.3
    assert trials.best_loss < 0.4


@ALGORITHMS
def test_an_option_that_fails_is_left(algo):
    """One option of three always fails, and lower losses seem to be there."""
    space = {"x": hp.uniform("x", -5, 5), "c": hp.choice("c", [0, 1, 2])}
    trials = search(algo, lambda p: FAILURE if p["c"] == 0 else (p["x"] - 1) ** 2 + p["c"], space, n=60)
    assert np.mean([result["status"] == STATUS_FAIL for result in trials.results[20:]]) < 0.3
    assert trials.best_loss < 1.1


@ALGORITHMS
@pytest.mark.parametrize("penalty", [1e6, math.inf])
def test_a_penalty_does_not_hide_the_other_losses(algo, penalty):
    """Half of the space gives a huge loss: the others are told apart all the same."""

    def penalised(_):
        return lambda point: penalty if point["a"] < 0 else bowl(point)

    assert np.median(best_losses(algo, penalised, n=40, n_runs=5)) < 1.0  # random search: 6


@pytest.mark.parametrize("algo", [auto.suggest, gp.suggest], ids=["auto", "gp"])
@pytest.mark.parametrize("diverged", [{4: 1e300}, {3: 1e6, 6: 3e7}])
def test_runs_that_diverge_do_not_hide_the_other_losses(algo, diverged):
    """One or two trials of fifty end with a huge loss of their own: the search comes as close as without."""

    def diverging(_):
        numbers = iter(range(50))
        return lambda point: diverged.get(next(numbers), bowl(point))

    assert np.median(best_losses(algo, diverging, n_runs=5)) < 0.05  # taken at their word: 0.2 to 7


@ALGORITHMS
def test_a_condition_that_only_says_no(algo):
    """Where constraints are met or not, and nowhere nearly, a search finds where they are met."""

    def objective(point):
        is_met = point["a"] > 3 and point["b"] > 3
        return {"status": STATUS_OK, "loss": bowl(point), "constraints": [0.0 if is_met else 1.0]}

    assert all(search(algo, objective, n=80, seed=seed).best_loss is not None for seed in range(3))


@ALGORITHMS
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_constraints_that_are_no_numbers_are_learned_from(algo, bad):
    """The optimum is at the edge of what gives NaN."""

    def objective(point):
        return {"status": STATUS_OK, "loss": bowl(point), "constraints": [-1.0 if point["a"] < 1 else bad]}

    space = {label: SPACE[label] for label in "ab"}
    assert search(algo, objective, space, n=60).best_loss < 0.6  # 0.25 at the edge


@ALGORITHMS
def test_no_point_is_evaluated_twice(algo):
    """Nor in one batch, though only one of the parameters is continuous, and though the optimum is at a bound."""
    space = {"x": hp.uniform("x", 0, 1), "n": hp.quniform("n", 1, 12, 1), "c": hp.choice("c", [0, 1, 2])}
    trials = search(algo, lambda p: p["x"] + abs(p["n"] - 5) + p["c"], space, n=76, max_queue_len=12)
    points = {str(sorted(document["misc"]["vals"].items())) for document in trials.trials}
    assert len(points) == 76


def test_targets():
    """Failed trials are above 0, those with losses below."""
    assert failure_targets(np.array([OK, FAILED, OK])).tolist() == [-1, 1, -1]
