"""``no_progress_loss`` and rules like it, in whole runs."""

import numpy as np
import pytest

from sparktune import STATUS_FAIL, Trials, early_stop, fmin, hp, rand
from sparktune.early_stop import no_progress_loss
from sparktune.exceptions import InvalidArgumentError


def n_trials(losses, rule, max_evals=40, **options):
    """How many trials a run over these losses takes; the last loss repeats, an exception is raised."""
    trials, rest = Trials(), iter(losses)

    def fn(x):
        loss = next(rest, losses[-1])
        if isinstance(loss, Exception):
            raise loss
        return loss

    options = {"algo": rand.suggest, "verbose": False, "rstate": 0, "return_argmin": False, **options}
    fmin(fn, hp.uniform("x", 0, 1), max_evals=max_evals, early_stop_fn=rule, trials=trials, **options)
    return len(trials._dynamic_trials)


@pytest.mark.parametrize(
    ("losses", "count", "percent", "expected"),
    [
        ([1], 1, 0.0, 2),
        ([1], 5, 0.0, 5),
        ([3, 3, 2], 5, 0.0, 8),
        ([5, 4, 3, 2, 1], 3, 0.0, 8),
        ([10, 9.95, 9.9, 9.85, 9.8], 3, 1.0, 3),
        ([-10, -10.05, -10.2], 3, 1.0, 6),
        ([0, 0, -1], 3, 50.0, 6),
        ([100, 50.2, 49.8], 3, 50.0, 6),
        (list(range(40, 0, -1)), 2, 0.0, 40),
    ],
)
def test_stops_after_as_many_trials_as_hyperopt(losses, count, percent, expected):
    """The run ends after ``count`` trials without a better loss; the first trial counts, as in hyperopt."""
    assert n_trials(losses, no_progress_loss(count, percent)) == expected


@pytest.mark.parametrize("bad", [{"status": STATUS_FAIL}, {"status": STATUS_FAIL, "loss": -9.0}, float("nan")], ids=str)
def test_trials_without_a_loss_are_no_progress(bad):
    """Failed trials count as trials without a better loss."""
    assert n_trials([1, bad, bad, 1], no_progress_loss(4)) == 4
    assert n_trials([bad], no_progress_loss(4)) == 4


def test_trials_that_raise_are_no_progress():
    """Trials whose objective raised count as well, where errors are caught."""
    assert n_trials([1, ValueError(), ValueError(), 1], no_progress_loss(4), catch_eval_exceptions=True) == 4


def test_a_rule_counts_anew_in_each_run():
    """The same rule object given to a second run starts afresh, and earlier trials are not counted again."""
    rule, trials = no_progress_loss(3), Trials()
    options = {
        "algo": rand.suggest,
        "verbose": False,
        "trials": trials,
        "early_stop_fn": rule,
        "max_evals": 40,
    }
    fmin(lambda x: 1.0, hp.uniform("x", 0, 1), **options)
    assert len(trials) == 3
    fmin(lambda x: 1.0, hp.uniform("x", 0, 1), **options)
    assert len(trials) == 6


def test_no_trial_is_counted_twice():
    """A rule that is asked again before another trial has ended waits on."""
    rule, trials, state = no_progress_loss(2), Trials(), []
    fmin(lambda x: 1.0, hp.uniform("x", 0, 1), rand.suggest, 1, trials=trials, verbose=False, rstate=0)
    for _ in range(5):
        stop, state = rule(trials, *state)
        assert not stop
    fmin(lambda x: 1.0, hp.uniform("x", 0, 1), rand.suggest, 2, trials=trials, verbose=False, rstate=1)
    assert rule(trials, *state)[0]


@pytest.mark.parametrize("percent", [0.0, 1.0])
@pytest.mark.parametrize(
    ("losses", "expected"), [([np.inf, np.inf, 5.0, 4.0], 9), ([np.inf], 5), ([3.0, -np.inf, 5.0], 7)]
)
def test_infinite_losses(losses, expected, percent):
    """Every number is better than infinity, which some return for points that cannot be; none than minus infinity."""
    assert n_trials(losses, no_progress_loss(5, percent)) == expected


@pytest.mark.parametrize("others", ["a warm start", "an earlier run"])
def test_only_trials_of_this_run_are_waited_for(others):
    """Trials of a warm start and of an earlier run are none without progress, also where the first new one fails."""
    earlier = Trials()
    options = {"algo": rand.suggest, "verbose": False, "rstate": 0, "return_argmin": False}
    fail, space = {"status": STATUS_FAIL}, hp.uniform("x", 0, 1)
    result = 1.0 if others == "a warm start" else fail
    fmin(lambda x: result, space, max_evals=25, trials=earlier, **options)
    if others == "a warm start":
        trials, options["warm_start"] = Trials(), earlier
    else:
        trials = earlier
    calls = []

    def fn(x):
        calls.append(x)
        return fail if len(calls) == 1 else 1.0

    fmin(fn, space, max_evals=60, trials=trials, early_stop_fn=no_progress_loss(20), **options)
    assert len(calls) == 21


@pytest.mark.parametrize("count", [0, -1, float("nan"), "5", None, Trials()])
def test_counts_out_of_their_rule(count):
    """The count must be a positive number; an error shows how the rule is passed."""
    with pytest.raises(InvalidArgumentError, match=r"positive number of trials, got .*no_progress_loss\(20\)"):
        no_progress_loss(count)


def test_the_rule_itself_in_place_of_its_result():
    """early_stop_fn=no_progress_loss, without the call, is refused."""
    with pytest.raises(InvalidArgumentError, match=r"no_progress_loss\(20\)"):
        n_trials([1], no_progress_loss)


@pytest.mark.parametrize("percent", [float("nan"), np.inf, "5", None])
def test_percentages_out_of_their_rule(percent):
    """The percentage must be a finite number; an error shows how the rule is passed."""
    with pytest.raises(InvalidArgumentError, match=r"percent_increase is a finite number, got .*loss\(20, 1.5\)"):
        no_progress_loss(5, percent)


def test_an_error_in_a_rule_comes_out():
    """An exception in a rule ends the run, with the trials so far kept."""
    trials = Trials()

    def rule(trials):
        raise RuntimeError("in the rule")

    with pytest.raises(RuntimeError, match="in the rule"):
        fmin(
            lambda x: x,
            hp.uniform("x", 0, 1),
            algo=rand.suggest,
            max_evals=3,
            trials=trials,
            early_stop_fn=rule,
            verbose=False,
        )
    assert [document["state"] for document in trials] == [2]


def test_the_names_that_are_offered():
    """The module lists its rule."""
    assert early_stop.__all__ == ["no_progress_loss"]
