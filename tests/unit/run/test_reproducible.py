"""Runs that can be repeated, on the backends of one machine."""

import random
import time

import pytest

from sparktune import Trials, auto, early_stop, fmin, hp, rand, tpe
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError

SPACE = {"x": hp.uniform("x", -5, 5), "k": hp.choice("k", ["a", {"c": hp.uniform("c", 0, 1)}])}


def objective(point):
    """Takes its time, another one each time."""
    time.sleep(random.SystemRandom().random() * 0.01)
    return point["x"] ** 2 + (point["k"] != "a")


def run(trials, **options):
    """The values of all trials, in order."""
    arguments = {"max_evals": 25, "algo": tpe.suggest, "rstate": 3, "verbose": False, **options}
    fmin(objective, SPACE, trials=trials, **arguments)
    return [document["misc"]["vals"] for document in trials._dynamic_trials]


def local(n, has_processes):
    """Trials of each kind on this machine; processes take a second to start."""
    trials = [Trials(), Trials(parallelism=n), Trials(parallelism=n), Trials(parallelism=2 * n)]
    return [*trials, Trials(parallelism=n, backend="processes")] if has_processes else trials


@pytest.mark.parametrize(
    ("algo", "has_processes"),
    [(rand.suggest, False), (tpe.suggest, True), (auto.suggest, False)],
    ids=["rand", "tpe", "auto"],
)
def test_same_seed_gives_the_same_trials_on_every_backend(algo, has_processes):
    """With reproducible=4 the trials hang on the seed alone, not on the backend, its slots, or the time each takes."""
    runs = [run(trials, algo=algo, reproducible=4) for trials in local(4, has_processes)]
    assert all(other == runs[0] for other in runs)
    assert len(runs[0]) == 25


@pytest.mark.parametrize("backend", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_twenty_runs_with_random_sleeps(backend):
    """reproducible=True takes the number of trials at a time from the trials object; twenty runs are all alike."""
    runs = [run(Trials(parallelism=3, backend=backend), reproducible=True, max_evals=18) for _ in range(20)]
    assert all(other == runs[0] for other in runs)
    assert runs[0] == run(Trials(), reproducible=3, max_evals=18)


@pytest.mark.parametrize(
    ("rule", "has_processes"),
    [({"loss_threshold": 0.3}, True), ({"early_stop_fn": early_stop.no_progress_loss(4)}, False)],
    ids=["threshold", "early stop"],
)
def test_rules_for_stopping_stop_at_the_same_trial(rule, has_processes):
    """A loss threshold and an early stop end the run after the same trials, and let those that run end."""
    trials = local(4, has_processes)
    runs = [run(each, reproducible=4, max_evals=200, **rule) for each in trials]
    assert all(other == runs[0] for other in runs)
    assert len(runs[0]) < 200
    assert {document["state"] for each in trials for document in each._dynamic_trials} == {2}


def test_a_proposal_sees_the_trials_that_came_long_enough_before_it():
    """The algorithm of proposal k is shown results up to k - p, and the trials after that as running."""
    seen = []

    def algo(new_ids, domain, trials, seed):
        seen.append([document["state"] for document in trials.trials])
        return rand.suggest(new_ids, domain, trials, seed)

    run(Trials(parallelism=3), algo=algo, reproducible=True, max_evals=7)
    assert seen == [[2] * max(0, k - 2) + [1] * min(k, 2) for k in range(7)]


def test_an_early_stop_rule_is_asked_once_for_each_result_that_is_seen():
    """Not before the first result, nor again for what it was asked about."""
    asked = []

    def rule(trials, *state):
        asked.append((trials.n_finished, state))
        return False, [len(asked)]

    run(Trials(parallelism=3), early_stop_fn=rule, reproducible=True, max_evals=7)
    assert asked == [(1, ()), (2, (1,)), (3, (2,)), (4, (3,))]


def test_a_run_goes_on_as_if_it_had_not_ended():
    """Two runs one after the other, with the same seed, give the trials of one long run."""
    trials = Trials(parallelism=3)
    run(trials, reproducible=True, max_evals=10)
    resumed = run(trials, reproducible=True, max_evals=25)
    assert resumed == run(Trials(), reproducible=3, max_evals=25)


@pytest.mark.parametrize(
    ("value", "error"), [(0, InvalidArgumentError), (-1, InvalidArgumentError), ("yes", InvalidTypeError)]
)
def test_other_values_are_refused(value, error):
    """reproducible is True, False or a number of trials."""
    with pytest.raises(error, match=r"reproducible is .*got"):
        run(Trials(), reproducible=value)
