"""Which number of a result is optimised, and in which direction."""

import math

import numpy as np
import pytest

from sparktune import STATUS_FAIL, STATUS_OK, Trials, fmin, hp, rand
from sparktune.early_stop import no_progress_loss
from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, InvalidLoss, InvalidTypeError
from sparktune.run.goal import Goal

X = hp.uniform("x", -5, 5)


def run(fn, **options):
    """The trials of an fmin run of 8 points by random search."""
    trials = options.pop("trials") if "trials" in options else Trials()
    options = {"algo": rand.suggest, "max_evals": 8, "verbose": False, "rstate": 0, **options}
    fmin(fn, X, trials=trials, **options)
    return trials


# -- the arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "metric", "goal"),
    [
        ("minimize", None, Goal()),
        ("maximize", None, Goal((), (-1.0,))),
        ("maximize", "auc", Goal(("auc",), (-1.0,))),
        (["maximize"], ["auc"], Goal(("auc",), (-1.0,))),
        ("maximize", ["a", "b"], Goal(("a", "b"), (-1.0, -1.0))),
        (("maximize", "minimize"), ("a", "b"), Goal(("a", "b"), (-1.0, 1.0))),
    ],
)
def test_what_the_arguments_stand_for(direction, metric, goal):
    """A word stands for all metrics, a list has one for each."""
    assert Goal.of(direction, metric) == goal


@pytest.mark.parametrize("direction", ["up", "MAXIMIZE", "", None, 5, True, ["maximize", "up"], [1], {"maximize"}])
def test_directions_that_are_none(direction):
    """A direction that is none is refused with the two words there are, and the value."""
    with pytest.raises(InvalidArgumentError, match='"minimize" or "maximize"') as caught:
        Goal.of(direction, ["a", "b"])
    assert repr(direction) in str(caught.value)


@pytest.mark.parametrize(("direction", "metric"), [(["maximize"] * 2, None), (["maximize"], ["a", "b"]), ([], None)])
def test_a_direction_for_each_metric(direction, metric):
    """A list of directions has as many words as there are metrics; the error counts both, and says what to write."""
    with pytest.raises(InvalidArgumentError, match=r"one word for each metric.*metric=\[\.\.\.\]"):
        Goal.of(direction, metric)


@pytest.mark.parametrize("metric", [5, b"auc", {"auc": 1}, {"auc"}, ["a", 5], object()])
def test_metrics_of_a_wrong_type(metric):
    """A metric is a text or a list of texts."""
    with pytest.raises(InvalidTypeError, match="metric is a key of the result dict"):
        Goal.of("minimize", metric)


@pytest.mark.parametrize("metric", [[], ["a", "a"], "status", "losses", ["a", "status"]])
def test_metrics_that_cannot_be_optimised(metric):
    """Metrics are at least one, all different, and none of the keys that mean something else."""
    with pytest.raises(InvalidArgumentError, match="each once, got"):
        Goal.of("minimize", metric)


def test_arguments_are_checked_before_anything_runs():
    """fmin refuses them before it touches the trials."""
    trials = Trials()
    with pytest.raises(InvalidArgumentError):
        run(lambda x: x, trials=trials, direction="up", points_to_evaluate=[{"x": 1}])
    assert trials._dynamic_trials == []


# -- results -----------------------------------------------------------------------------------------------------------


def test_results_are_left_alone_without_a_goal():
    """The plain goal returns the very object, whatever it is."""
    for value in (1.0, "text", None, {"losses": [1, 2]}):
        assert Goal().apply(value) is value


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int8(3), np.float64(3)])
def test_a_number_to_be_maximised(value):
    """The loss is its negative; the number itself is kept as value, a Python float."""
    result = Goal.of("maximize").apply(value)
    assert result == {"status": STATUS_OK, "value": 3.0, "loss": -3.0}
    assert type(result["value"]) is type(result["loss"]) is float


def test_booleans_are_numbers_in_both_directions():
    """True counts as 1, as it does without a direction."""
    assert Goal.of("maximize").apply(True) == {"status": STATUS_OK, "value": 1.0, "loss": -1.0}


def test_a_loss_to_be_maximised():
    """Of a dict it is the loss that is turned round; other keys stay, and the dict given is not changed."""
    given = {"status": STATUS_OK, "loss": 2, "model": "m"}
    assert Goal.of("maximize").apply(given) == {"status": STATUS_OK, "loss": -2.0, "value": 2, "model": "m"}
    assert given == {"status": STATUS_OK, "loss": 2, "model": "m"}


@pytest.mark.parametrize(("direction", "loss"), [("minimize", 0.9), ("maximize", -0.9)])
def test_a_metric_of_a_dict(direction, loss):
    """The metric becomes the loss, in place of one that is there; the status may be left out."""
    goal = Goal.of(direction, "auc")
    assert goal.apply({"auc": 0.9, "loss": 5.0}) == {"status": STATUS_OK, "auc": 0.9, "loss": loss}
    assert goal.apply({"auc": np.float32(0.5)})["loss"] == abs(goal.apply(0.5)["loss"]) * math.copysign(1, loss)


def test_a_number_is_the_one_metric():
    """Of an objective that returns a number the metric's name is where it is kept."""
    assert Goal.of("maximize", "auc").apply(0.5) == {"status": STATUS_OK, "auc": 0.5, "loss": -0.5}


def test_several_metrics_are_several_losses():
    """Each metric gives a loss, in the order of the names."""
    goal = Goal.of(["maximize", "minimize"], ["auc", "time"])
    assert goal.apply({"time": 3, "auc": 0.9})["losses"] == [-0.9, 3.0]


@pytest.mark.parametrize("status", [STATUS_FAIL, "new", "perhaps"])
def test_results_of_another_status_are_left_alone(status):
    """A result that is not ok needs no metric, and is not changed."""
    value = {"status": status}
    assert Goal.of("maximize", "auc").apply(value) is value
    assert Goal.of("maximize").apply(value) is value


@pytest.mark.parametrize(
    ("goal", "value", "message"),
    [
        (Goal.of("maximize", "auc"), {"acc": 1}, r"metric=\['auc'\].*got \['acc'\]"),
        (Goal.of("minimize", "auc"), {"auc": None}, "numbers, got 'auc': None"),
        (Goal.of("minimize", "auc"), {"auc": "high"}, "numbers, got 'auc': 'high'"),
        (Goal.of("minimize", "auc"), {"auc": [1.0, 2.0]}, "numbers, got 'auc'"),
        (Goal.of("minimize", "auc"), "text", "got 'text'"),
        (Goal.of("minimize", "auc"), None, "got None"),
        (Goal.of("minimize", ["a", "b"]), 1.0, "a dict with these keys, got 1.0"),
        (Goal.of("minimize", ["a", "b"]), {"a": 1}, r"\['a', 'b'\].*got \['a'\]"),
        (Goal.of("maximize"), None, "a number or a dict with 'loss', got None"),
        (Goal.of("maximize"), [1.0], "a number or a dict with 'loss'"),
        (Goal.of("maximize"), {"status": STATUS_OK, "loss": "a"}, "numbers, got"),
        pytest.param(Goal.of("maximize"), 10**400, "up to 1.8e308, got a larger int for 'value'", id="beyond a float"),
        pytest.param(Goal.of("minimize", "a"), {"a": 10**400}, "got a larger int for 'a': return a float", id="beyond"),
    ],
)
def test_results_without_the_metric(goal, value, message):
    """A result that has no number where one must be is refused, with what was expected and what came."""
    with pytest.raises(InvalidLoss, match=message) as caught:
        goal.apply(value)
    assert caught.value.result is value or caught.value.result == value


@pytest.mark.parametrize("extra", [{}, {"loss": 1.0}])
@pytest.mark.parametrize(("goal"), [Goal.of("maximize"), Goal.of("maximize", "auc"), Goal.of("minimize", "auc")])
def test_losses_beside_one_goal(goal, extra):
    """Losses that the goal does not speak of are refused, rather than minimised without a word; the fix is named."""
    with pytest.raises(InvalidLoss, match=r"'losses'.*metric=\["):
        goal.apply({"status": STATUS_OK, "auc": 0.5, "losses": [1.0, 2.0], **extra})


def test_a_dict_without_a_loss_says_so():
    """With a direction alone, an ok result without a loss is refused as it is without one."""
    with pytest.raises(InvalidLoss):
        run(lambda x: {"status": STATUS_OK}, direction="maximize")


@pytest.mark.parametrize(
    ("goal", "best", "text"),
    [
        (Goal(), 1.5, "loss: 1.5"),
        (Goal(), None, "loss: ?"),
        (Goal.of("maximize"), -1.5, "value: 1.5"),
        (Goal.of("maximize", "auc"), -0.5, "auc: 0.5"),
        (Goal.of("minimize", "auc"), 0.5, "auc: 0.5"),
    ],
)
def test_the_text_for_people(goal, best, text):
    """What a display shows is the metric as the objective gave it."""
    assert goal.text(best) == text


# -- runs --------------------------------------------------------------------------------------------------------------


def test_the_highest_is_the_best():
    """fmin with direction="maximize" returns the point with the highest value."""
    trials = run(lambda x: x, direction="maximize")
    assert trials.best_params == trials.argmin["x"] == max(trials.vals["x"])
    assert trials.best_loss == -max(trials.vals["x"])


@pytest.mark.parametrize(("direction", "threshold", "n"), [("maximize", 2, 3), ("maximize", 3, 4), ("minimize", 2, 2)])
def test_a_threshold_is_of_the_metric(direction, threshold, n):
    """loss_threshold is in the metric's own direction, and strict."""
    values = iter([2, 1, 3, 4, 5, 6, 7, 8])
    trials = run(lambda x: {"m": next(values)}, direction=direction, metric="m", loss_threshold=threshold)
    assert len(trials) == n


def test_no_progress_is_of_the_metric():
    """Early stopping counts from the highest value, if that is the goal."""
    values = iter([1, 2, 3, 3, 2, 1, 9, 9])
    assert len(run(lambda x: next(values), direction="maximize", early_stop_fn=no_progress_loss(3))) == 6


@pytest.mark.parametrize("value", [float("nan"), {"status": STATUS_OK, "loss": float("nan")}])
def test_nan_is_never_the_best(value):
    """NaN is a trial without a best, in both directions."""
    values = iter([value, 1.0, value, 2.0, 1.5, value, value, value])
    trials = run(lambda x: next(values), direction="maximize")
    assert trials.best_trial["tid"] == 3
    with pytest.raises(AllTrialsFailed):
        run(lambda x: value, direction="maximize")


@pytest.mark.parametrize(("infinite", "best"), [(math.inf, 0), (-math.inf, 1)])
def test_infinity_keeps_its_direction(infinite, best):
    """Infinity is the best value to be maximised, and minus infinity the worst."""
    values = iter([infinite] + [1.0] * 7)
    assert run(lambda x: next(values), direction="maximize").best_trial["tid"] == best


def test_failed_trials_need_no_metric():
    """Trials with STATUS_FAIL are done without a loss, and are never the best."""
    results = iter([{"status": STATUS_FAIL}, {"auc": 0.1}] * 4)
    trials = run(lambda x: next(results), direction="maximize", metric="auc")
    assert trials.losses() == [None, -0.1] * 4
    assert trials.best_trial["tid"] == 1


def test_a_missing_metric_fails_the_trial():
    """A trial whose result lacks the metric has failed, with the names in its error; others count."""
    results = iter([{"acc": 1.0}, {"auc": 0.1}] * 4)
    trials = run(lambda x: next(results), metric="auc", catch_eval_exceptions=True)
    failed = [document for document in trials._dynamic_trials if document["state"] == 3]
    assert len(failed) == 4
    assert "['acc']" in failed[0]["misc"]["error"][1]


def test_several_metrics_have_a_front():
    """With a list of metrics fmin returns the Pareto front, each metric in its own direction."""
    trials = run(lambda x: {"gain": x, "cost": 2 * x}, metric=["gain", "cost"], direction=["maximize", "minimize"])
    assert len(trials.pareto_front) == 8
    trials = run(lambda x: {"gain": x, "cost": 2 * x}, metric=["gain", "cost"], direction="maximize")
    assert [document["misc"]["vals"]["x"] for document in trials.pareto_front] == [[max(trials.vals["x"])]]


def test_a_run_that_goes_on():
    """A run resumed with the same direction compares old and new values."""
    trials = run(lambda x: x, direction="maximize", max_evals=4)
    run(lambda x: x, direction="maximize", trials=trials)
    assert len(trials) == 8
    assert trials.best_params == max(trials.vals["x"])
