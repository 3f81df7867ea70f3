"""``points_to_evaluate``: what a point may have beside the labels that are active in it."""

import numpy as np
import pytest

from sparktune import Domain, Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError
from sparktune.fmin import generate_trials_to_calculate
from sparktune.run.points import point_documents, points_left
from sparktune.space.scope import scope

SPACE = {
    "lr": hp.uniform("lr", 0, 1),
    "n_jobs": 4,
    "loss": None,
    "layers": [8, 4],
    "model": hp.choice(
        "model",
        [
            {"type": "svm", "kernel": hp.choice("kernel", ["rbf", None, np.nan]), "c": hp.lognormal("c", 0, 1)},
            {"type": "forest", "depth": 5, "size": hp.randint("size", 1, 9)},
        ],
    ),
}
FOREST = {"lr": 0.1, "model": 1, "size": 3}
SVM = {"lr": 0.1, "model": 0, "kernel": "rbf", "c": 2.0}


def values(point, space=SPACE):
    """By active label the value that the document of a point has."""
    (document,) = point_documents([point], Domain(lambda _: 0.0, space), Trials())
    return {label: value[0] for label, value in document["misc"]["vals"].items() if value}


@pytest.mark.parametrize(
    "further",
    [
        {"n_jobs": 4},
        {"n_jobs": 4.0, "loss": None},  # rows of tables have floats
        {"n_jobs": np.int64(4), "layers": [8, 4]},
        {"layers": (8, 4), "type": "forest", "depth": 5},
    ],
)
def test_constants_of_the_space_are_left_out_of_a_point(further):
    """A key of a dict in the space, with the constant that the dict has for it, says nothing new."""
    assert values({**FOREST, **further}) == FOREST


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"n_jobs": 8}, "'n_jobs': 8, but 'n_jobs' is no label of the space, it is a constant there, 4: leave it out"),
        ({"n_jobs": True}, "'n_jobs': True"),
        ({"n_jobs": None}, "'n_jobs': None"),
        ({"n_jobs": float("nan")}, "'n_jobs': nan"),
        ({"layers": [8]}, r"'layers': \[8\], .* a constant there, \(8, 4\): "),
        ({"type": "svm"}, "'type': 'svm'.* a constant there, 'forest': "),
        ({"type": "tree"}, "'type': 'tree'"),
        ({"depth": 6}, "'depth': 6"),
        ({"njobs": 4}, r"labels the space has not: \['njobs'\]"),
        ({"njobs": None, "n_jobs": 8}, r"labels the space has not: \['njobs'\]"),
    ],
)
def test_constants_that_are_others_in_the_space(further, message):
    """Another value than that of the option chosen is refused with the constant, and so is a key that is in no dict."""
    with pytest.raises(InvalidArgumentError, match=r"points_to_evaluate\[0\] has " + message):
        values({**FOREST, **further})


def test_a_key_whose_value_is_a_parameter_is_no_label():
    """Where key and label differ, the point has to have the label."""
    space = {"rate": hp.uniform("lr", 0, 1), "twice": 2 * hp.uniform("x", 0, 1)}
    for key in space:
        with pytest.raises(InvalidArgumentError, match="labels the space has not"):
            values({"lr": 0.5, "x": 0.5, key: 0.5}, space)


def test_constants_of_options_that_are_not_chosen():
    """They are taken, or may have no value; another value is refused."""
    assert values({**SVM, "depth": 5}) == values({**SVM, "depth": float("nan")}) == values(SVM)
    with pytest.raises(InvalidArgumentError, match="'depth': 6"):
        values({**SVM, "depth": 6})


def test_an_option_that_hangs_on_arithmetic():
    """Constants are found below a switch whose index is calculated, too."""
    space = scope.switch((hp.randint("n", 4) + 1) % 2, {"kind": "odd"}, {"kind": "even"})
    assert values({"n": 2, "kind": "even"}, space) == {"n": 2}
    with pytest.raises(InvalidArgumentError, match="a constant there, 'odd'"):
        values({"n": 1, "kind": "even"}, space)


@pytest.mark.parametrize("nothing", [None, float("nan"), np.float32("nan")])
def test_an_inactive_label_may_have_no_value(nothing):
    """The row of a table has None or NaN for labels of options that are not chosen."""
    assert values({**FOREST, "kernel": nothing, "c": nothing}) == FOREST
    assert values({**SVM, "size": nothing}) == values(SVM)


@pytest.mark.parametrize("nothing", [None, float("nan")])
@pytest.mark.parametrize("label", ["lr", "model", "c"])
def test_an_active_label_needs_a_value(label, nothing):
    """None and NaN are refused for a label that is active, by its name."""
    with pytest.raises(InvalidArgumentError, match=f"'{label}' must be .*got {nothing}"):
        values({**SVM, label: nothing})


def test_none_and_nan_as_options():
    """Where a choice has None or NaN among its options, these are values."""
    assert [values({**SVM, "kernel": option})["kernel"] for option in ("rbf", None, float("nan"))] == [0, 1, 2]


@pytest.mark.parametrize("further", [{"c": -1.0}, {"c": "x"}, {"kernel": "poly"}])
def test_values_of_inactive_labels_are_looked_at(further):
    """A value that a label cannot have is refused where it is inactive, too."""
    with pytest.raises(InvalidArgumentError, match=f"'{next(iter(further))}' must be"):
        values({**FOREST, **further})


@pytest.mark.parametrize("given", [3, 3.0, np.int64(3), np.float32(3)])
def test_values_have_the_type_of_their_parameter(given):
    """However a whole number is given: as ints where the parameter has whole numbers, else as floats."""
    space = {"n": hp.randint("n", 9), "x": hp.uniform("x", 0, 9), "c": hp.choice("c", [1, 2, 3, 4])}
    found = values({"n": given, "x": given, "c": given}, space)
    assert {label: isinstance(value, int) for label, value in found.items()} == {"n": True, "x": False, "c": True}
    assert isinstance(found["x"], float)


def test_a_value_may_be_beyond_a_bound_by_rounding():
    """As text of a table is that was written with fewer digits; not by more."""
    space = {"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", -3, -1)}
    for x, y in ((1 + 1e-12, -3 - 1e-12), (-1e-12, -1 + 1e-12)):
        assert values({"x": x, "y": y}, space) == {"x": x, "y": y}
    for x, y in ((1 + 1e-6, -2), (-1e-6, -2), (0.5, -3.001), (0.5, -0.999)):
        with pytest.raises(InvalidArgumentError, match=r"must be a number from (0 to 1|-3 to -1), got"):
            values({"x": x, "y": y}, space)


@pytest.mark.parametrize("pass_memo", [False, True])
def test_trials_of_points_with_more_than_labels(pass_memo):
    """generate_trials_to_calculate looks at no space: what its points have beside the labels stands in no way."""
    trials = generate_trials_to_calculate([{"x": 0.5, "n_jobs": 4}])
    objective = (lambda expr, memo, ctrl: 1.0) if pass_memo else (lambda params: 1.0)
    space = {"x": hp.uniform("x", 0, 1), "n_jobs": 4}
    options = {"pass_expr_memo_ctrl": pass_memo, "trials": trials, "verbose": False, "rstate": 0}
    fmin(objective, space, rand.suggest, 3, **options)
    assert trials.losses() == [1.0] * 4


X = hp.uniform("x", 0, 9)


def test_points_that_are_left_to_a_program_started_again():
    """Those without a trial, and those whose trial was cancelled; a warm start's trials are not the study's own."""
    study, points = Study(X, rand.suggest), [{"x": float(x)} for x in range(6)]
    study.enqueue(*points[:4])
    for trial, result in zip(study.ask(3), (1.0, {"status": "fail"}, None), strict=True):
        study.tell(trial, result)
    domain = Domain(None, X)
    assert points_left(points, domain, study.trials) == [points[2], *points[4:]]
    assert points_left(points, domain, Study(X, warm_start=study.trials).trials) == points
    study.enqueue(points[2])
    assert points_left(points, domain, study.trials) == points[4:]
    with pytest.raises(InvalidArgumentError, match=r"points_to_evaluate\[1\]: 'x' must be"):
        points_left([points[0], {"x": 10}], domain, study.trials)


@pytest.mark.parametrize("place", ["{}/study.jsonl", "sqlite:///{}/study.db"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_points_of_a_run_that_was_cut_come_again(tmp_path, place, error):
    """From a storage, too, with the ids after those that there are; one whose objective raised has failed."""
    seen, points = [], [{"x": float(x)} for x in range(1, 5)]

    def objective(x):
        seen.append(x)
        if len(seen) == 2:
            raise error
        return x

    def run():
        trials, options = Trials(), {"storage": place.format(tmp_path), "verbose": False, "rstate": 0}
        fmin(objective, X, rand.suggest, 1, trials=trials, points_to_evaluate=points, **options)
        return [document["tid"] for document in trials._dynamic_trials]

    with pytest.raises(error):
        run()
    again = [3.0, 4.0] if error is ValueError else [2.0, 3.0, 4.0]
    tids = run()
    assert seen[2:-1] == again
    assert tids == list(range(4 + len(again) + 1))
    assert run() == tids
    assert len(seen) == 2 + len(again) + 1


def test_points_that_are_there_take_no_ids(tmp_path):
    """A program that is started again goes on with the ids after those of its trials."""
    trials = Trials(storage=tmp_path / "study.jsonl")
    for max_evals in range(1, 4):
        options = {"points_to_evaluate": [{"x": 1.0}, {"x": 2.0}], "verbose": False, "rstate": 0}
        fmin(lambda x: x, X, rand.suggest, max_evals, trials=trials, **options)
    assert trials.tids == [0, 1, 2, 3, 4]
