"""Several losses and constraints, from what an objective returns to what ``fmin`` does."""

import contextlib
import math
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest

from sparktune import STATUS_FAIL, STATUS_OK, Trials, early_stop, fmin, hp, rand, tpe, trials_from_docs
from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, InvalidLoss, InvalidTypeError
from sparktune.history.columns import History
from sparktune.history.returned import as_result
from sparktune.kernels import pareto
from sparktune.run.progress import no_progress_callback
from sparktune.trials import SeveralLossesError

X = hp.uniform("x", 0, 1)
PAGE = Path(__file__).parents[2] / "docs/multi_objective.md"


def ok(**result):
    return {"status": STATUS_OK, **result}


def minimise(fn, **options):
    return fmin(fn, X, **{"algo": rand.suggest, "max_evals": 8, "verbose": False, "rstate": 0, **options})


def run(results, **options):
    """The trials of a run that gives these results, one after another."""
    trials, rest = Trials(), iter(results)
    minimise(lambda x: next(rest), trials=trials, max_evals=len(results), return_argmin=False, **options)
    return trials


STEPS = [ok(losses=[2, 0]), ok(losses=[0, 2]), ok(losses=[2, 2]), ok(losses=[1, 1]), ok(losses=[1, 1])]


# -- what an objective may return --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "losses", [[1, 2.0], (1, 2), np.array([1.0, 2.0]), np.array([1, 2]), [np.float32(1), True + 1]]
)
def test_losses_become_a_list_of_floats(losses):
    """Lists, tuples and arrays of numbers are taken, and a scalar loss may be left out."""
    result = as_result(ok(losses=losses, constraints=losses, note="kept"))
    assert result == {"status": STATUS_OK, "losses": [1.0, 2.0], "constraints": [1.0, 2.0], "note": "kept"}
    assert {type(number) for number in result["losses"] + result["constraints"]} == {float}


def test_a_scalar_loss_may_stand_beside_the_losses():
    """The user's own figure is kept, as a float; None is as good as none."""
    assert as_result(ok(losses=[1, 2], loss=np.int64(3))) == ok(losses=[1.0, 2.0], loss=3.0)
    assert as_result(ok(losses=[1, 2], loss=None)) == ok(losses=[1.0, 2.0])


def test_one_loss_in_a_list_is_the_loss():
    """A list of one number gives the scalar loss; if both are given they must agree."""
    assert as_result(ok(losses=[4]))["loss"] == 4.0
    assert as_result(ok(losses=[4], loss=4))["loss"] == 4.0
    with pytest.raises(InvalidLoss, match=r"got 4\.0 and 'loss': 5: leave one out"):
        as_result(ok(losses=[4], loss=5))


@pytest.mark.parametrize(
    "losses", [[], "12", 3.0, {"a": 1}, {1, 2}, [1, "b"], [1, None], np.ones((2, 2)), np.array(1.0)]
)
def test_losses_that_are_no_numbers_are_refused(losses):
    """The message shows what was given."""
    with pytest.raises(InvalidLoss, match="losses is a list of at least one number, all to be minimised, got"):
        as_result(ok(losses=losses, loss=1.0))


@pytest.mark.parametrize("constraints", ["12", 3.0, {"a": 1}, [1, "b"], np.ones((2, 2))])
def test_constraints_that_are_no_numbers_are_refused(constraints):
    """The message shows the rule and what was given."""
    with pytest.raises(InvalidLoss, match="constraints is a list of numbers, each <= 0 where it is met, got"):
        as_result(ok(loss=1.0, constraints=constraints))


def test_failed_results_are_not_looked_into():
    """A result with another status may hold anything."""
    assert as_result({"status": STATUS_FAIL, "losses": "none"}) == {"status": STATUS_FAIL, "losses": "none"}


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (ok(losses=[1, 2]), ok(losses=[1, 2, 3]), "same number of losses, here 2, got 3"),
        (ok(losses=[1, 2]), 1.0, "same number of losses, here 2, got 1"),
        (1.0, ok(losses=[1, 2]), "same number of losses, here 1, got 2"),
        (ok(loss=1, constraints=[0, 0]), ok(loss=1, constraints=[0]), "same number of constraints, here 2, got 1"),
    ],
)
def test_another_number_than_the_first_trial_is_an_error(first, second, text):
    """The trial fails with an error that names both numbers, and ends the run unless errors are caught."""
    with pytest.raises(InvalidLoss, match=text):
        run([first, second])
    trials = run([first, second, first], catch_eval_exceptions=True)
    assert [document["state"] for document in trials._dynamic_trials] == [2, 3, 2]
    assert text in trials._dynamic_trials[1]["misc"]["error"][1]


def test_a_trial_may_leave_out_constraints():
    """It counts as infinitely bad, not as an error: an objective may not get so far as to know them."""
    trials = run([ok(loss=1, constraints=[0]), ok(loss=0), {"status": STATUS_FAIL}])
    assert trials.best_trial["tid"] == 0


def test_nan_among_losses_is_a_failed_trial():
    """As with a NaN loss, the trial is done and has no usable result."""
    trials = run([ok(losses=[0, math.nan]), *STEPS])
    assert trials.trials[0]["state"] == 2
    assert [document["tid"] for document in trials.pareto_front] == [2, 4, 1]
    with pytest.raises(AllTrialsFailed, match="nan"):
        minimise(lambda x: ok(losses=[1.0, math.nan]))


# -- the front ---------------------------------------------------------------------------------------------------------


def test_a_trial_with_nan_among_its_losses_is_never_the_best():
    """Whatever the scalar loss beside them: it has failed."""
    trials = run([ok(losses=[math.nan, 2], loss=0), ok(losses=[1, 2], loss=1)])
    assert trials.best_trial["tid"] == trials.best_feasible["tid"] == 1
    assert trials.best_loss == 1


def test_the_front_lists_each_best_trade_off_once():
    """Undominated trials by their first loss; of two with the same losses the first."""
    assert [document["tid"] for document in run(STEPS).pareto_front] == [1, 3, 0]


def test_the_front_of_one_loss_is_the_best_trial():
    """And it is empty as long as there is none."""
    trials = run([3.0, 1.0, 1.0, 2.0])
    assert trials.pareto_front == [trials.best_trial] == [trials.trials[1]]
    assert Trials().pareto_front == []


def test_only_feasible_trials_are_in_the_front():
    """A trial that violates a constraint dominates nobody."""
    limits = [[1], [0], [-1], [0], [2]]
    results = [result | {"constraints": limit} for result, limit in zip(STEPS, limits, strict=True)]
    assert [document["tid"] for document in run(results).pareto_front] == [1, 3]
    assert run([result | {"constraints": [1]} for result in STEPS]).pareto_front == []


def test_edits_show_in_the_front_however_long_the_study(monkeypatch):
    """A finished document edited without a refresh is seen, as ``best_trial`` sees it."""
    trials = run([ok(losses=[tid, tid]) for tid in range(5)])
    monkeypatch.setattr("sparktune.history.columns.CHECKED_PER_SYNC", 1)
    trials.trials[4]["result"]["losses"] = [-1.0, -1.0]
    assert [document["tid"] for document in trials.pareto_front] == [4]


def test_hypervolume_up_to_a_reference():
    """Against (3, 3) the three steps cover six squares; without one, the worst of each loss seen is taken."""
    trials = run(STEPS)
    assert trials.hypervolume([3, 3]) == trials.hypervolume(np.array([3.0, 3.0])) == 6.0
    assert trials.hypervolume() == 1.0
    assert trials.hypervolume((1, 1)) == 0.0
    assert run([3.0, 1.0, 2.0]).hypervolume() == 2.0


def test_default_reference_is_the_worst_finite_loss_of_any_trial():
    """Infeasible trials count for the reference though not for the front, infinite losses do not."""
    results = [ok(losses=[0, 0], constraints=[0]), ok(losses=[2, 3], constraints=[1])]
    assert run(results).hypervolume() == 6.0
    assert run([*results, ok(losses=[math.inf, 1], constraints=[0])]).hypervolume() == 6.0


def test_hypervolume_of_nothing_is_zero():
    """No results, none feasible, none finite: 0."""
    assert Trials().hypervolume() == Trials().hypervolume([1, 1]) == 0.0
    assert run([ok(losses=[1, 1], constraints=[1])]).hypervolume([2, 2]) == 0.0
    assert run([ok(losses=[math.inf, 1])]).hypervolume() == 0.0


@pytest.mark.parametrize(
    ("reference", "error", "text"),
    [
        ([1], InvalidArgumentError, "one number per loss, of which these trials have 2, got 1"),
        ([1, 2, 3], InvalidArgumentError, "got 3"),
        ([1, math.inf], InvalidArgumentError, "finite"),
        ("12", InvalidTypeError, "list of numbers"),
        (3.0, InvalidTypeError, "list of numbers"),
    ],
)
def test_bad_references_are_refused(reference, error, text):
    """The message has the rule and what was given."""
    with pytest.raises(error, match=text):
        run(STEPS).hypervolume(reference)


# -- the best ----------------------------------------------------------------------------------------------------------


def test_the_best_trial_meets_the_constraints():
    """An infeasible trial is never the best while there is a feasible one, whatever its loss."""
    losses = [(1, 1), (5, 0), (3, -1), (3, 0), (0, 0.1)]
    trials = run([ok(loss=loss, constraints=[limit]) for loss, limit in losses])
    assert trials.best_trial["tid"] == trials.best_feasible["tid"] == 2
    assert trials.argmin == {"x": trials.vals["x"][2]}
    assert trials.best_loss == 3.0


def test_without_a_feasible_trial_the_least_violating_is_the_best():
    """By total violation, then by loss; ``best_feasible`` and ``best_loss`` are None."""
    violations = [(0, [1, 1]), (9, [1, -5]), (8, [0.5, 0.5]), (1, [math.nan, 0])]
    trials = run([ok(loss=loss, constraints=limits) for loss, limits in violations])
    assert trials.best_trial["tid"] == 2
    assert trials.best_feasible is None
    assert trials.best_loss is None
    rest = iter(violations)
    best = minimise(
        lambda x: dict(zip(("loss", "constraints"), next(rest), strict=True), status=STATUS_OK), max_evals=4
    )
    assert best == trials.argmin


def test_best_feasible_without_constraints_is_the_best():
    """And None where there is no result."""
    trials = run([2.0, 1.0])
    assert trials.best_feasible is trials.best_trial
    assert Trials().best_feasible is None


@pytest.mark.parametrize("name", ["best_trial", "argmin", "best_feasible", "average_best_error"])
def test_no_trial_is_the_best_by_several_losses(name):
    """The error says where to look instead, and can be pickled."""
    with pytest.raises(SeveralLossesError, match=r"trials\.pareto_front") as caught:
        value = getattr(run(STEPS), name)
        value()  # of those that are methods
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_scalar_loss_beside_the_losses_decides():
    """It names the best trial, and ``fmin`` returns one point."""
    results = [ok(losses=[0, 2], loss=5), ok(losses=[2, 0], loss=4), ok(losses=[1, 1])]
    trials, rest = Trials(), iter(results)
    best = minimise(lambda x: next(rest), trials=trials, max_evals=3)
    assert trials.best_trial["tid"] == 1
    assert best == trials.argmin
    assert trials.best_loss == 4.0
    assert len(trials.pareto_front) == 3


# -- fmin --------------------------------------------------------------------------------------------------------------


def trade_off(x):
    return ok(losses=[x**2, (x - 0.5) ** 2], constraints=[x - 0.4])


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest])
def test_fmin_returns_the_points_of_the_front(algo):
    """One point per trial of the front, in its order; as values of the space with ``return_argmin=False``."""
    trials = Trials()
    points = minimise(trade_off, trials=trials, algo=algo, max_evals=25)
    assert points == [{"x": document["misc"]["vals"]["x"][0]} for document in trials.pareto_front]
    assert len(points) > 1
    assert all(point["x"] <= 0.4 for point in points)
    values = minimise(trade_off, trials=trials, max_evals=25, return_argmin=False)
    assert values == [point["x"] for point in points]


def test_fmin_returns_no_point_where_none_is_feasible():
    """An empty front is an empty list."""
    assert minimise(lambda x: ok(losses=[x, -x], constraints=[1])) == []


def test_points_to_evaluate_and_a_second_run():
    """Points given first are in the study, and more trials continue it."""
    trials = Trials()
    minimise(trade_off, trials=trials, points_to_evaluate=[{"x": 0.0}, {"x": 0.4}], max_evals=3)
    assert trials.pareto_front[0]["misc"]["vals"]["x"] == [0.0]
    minimise(trade_off, trials=trials, max_evals=10)
    assert len(trials) == 10
    assert trials.pareto_front[-1]["misc"]["vals"]["x"] == [0.4]


def test_the_front_survives_saving(tmp_path):
    """A study read back from its file, or from pickled documents, has the same front, and goes on."""
    path = tmp_path / "study.pkl"
    points = minimise(trade_off, trials_save_file=path)
    trials = cloudpickle.loads(path.read_bytes())
    assert [{"x": document["misc"]["vals"]["x"][0]} for document in trials.pareto_front] == points
    assert trials_from_docs(trials.trials).hypervolume([1, 1]) == trials.hypervolume([1, 1])
    minimise(trade_off, trials_save_file=path, max_evals=12)
    assert len(pickle.loads(path.read_bytes())) == 12


def test_an_infeasible_loss_does_not_reach_the_threshold():
    """The run goes on until a trial that meets the constraints is below it."""
    losses = iter([(-9, 1), (5, 0), (-1, 0), (-2, 0)])
    trials = Trials()

    def fn(x):
        loss, limit = next(losses)
        return ok(loss=loss, constraints=[limit])

    minimise(fn, trials=trials, loss_threshold=0, max_evals=4)
    assert len(trials) == 3


@pytest.mark.parametrize("backend", [{}, {"reproducible": True}], ids=["plain", "reproducible"])
def test_a_threshold_of_several_losses_is_warned_of(caplog, backend):
    """loss_threshold ends no run whose trials have several losses and no scalar one, and the log says so, once."""
    minimise(lambda x: ok(losses=[x, -x]), loss_threshold=9.0, **backend)
    (record,) = [record for record in caplog.records if "loss_threshold" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert "got results with 2 'losses' and no 'loss'" in record.getMessage()
    caplog.clear()
    minimise(lambda x: ok(losses=[x, -x], loss=x, constraints=[1.0]), loss_threshold=9.0, **backend)
    assert "loss_threshold" not in caplog.text


def test_an_early_stop_waits_for_feasible_progress():
    """Better losses that violate constraints are no progress."""
    results = [(5, 0), (4, 1), (4.5, 0), (2, 1), (1, 1), (0, 1), (0, 0)]
    trials = run(
        [ok(loss=loss, constraints=[limit]) for loss, limit in results], early_stop_fn=early_stop.no_progress_loss(3)
    )
    assert len(trials) == 6
    assert run([ok(loss=1, constraints=[1])] * 6, early_stop_fn=early_stop.no_progress_loss(3)).n_finished == 3


def test_an_early_stop_waits_for_a_change_of_the_front():
    """With several losses, a trial that joins the front is progress, and one that is dominated is none."""
    front = [ok(losses=[2, 0]), ok(losses=[2, 2]), ok(losses=[0, 2]), ok(losses=[1, 1])]
    trials = run([*front, *[ok(losses=[3, 3])] * 9], early_stop_fn=early_stop.no_progress_loss(3))
    assert len(trials) == len(front) + 3


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (STEPS, ["Pareto front: 1", "Pareto front: 2", "Pareto front: 2", "Pareto front: 3", "Pareto front: 3"]),
        ([ok(losses=[1, 2], loss=3)], ["best loss: 3.0"]),
        ([ok(loss=1, constraints=[1]), ok(loss=2, constraints=[0])], ["best loss: ?", "best loss: 2.0"]),
    ],
)
def test_progress_shows_the_front_or_the_best_feasible_loss(results, expected):
    """With several losses and no scalar one, the bar has the size of the front."""
    shown = []

    class Bar:
        postfix = ""

        def __init__(self, initial, total):
            self.silent = no_progress_callback(initial, total)

        def __enter__(self):
            self.silent.__enter__()
            return self

        def __exit__(self, *error):
            return self.silent.__exit__(*error)

        def update(self, n):
            shown.append(self.postfix)

    run(results, show_progressbar=Bar, verbose=True)
    assert shown == expected


def test_a_dominated_result_costs_no_look_at_the_whole_study(monkeypatch):
    """The front is found among the former one and what came in, also while a run is going on."""
    trials = run([ok(losses=[tid % 7, -(tid % 7)]) for tid in range(300)])
    assert len(trials.front_losses) == 7
    all_at_once, sizes = pareto.front, []
    monkeypatch.setattr(pareto, "front", lambda losses: sizes.append(len(losses)) or all_at_once(losses))
    document = trials.trials[0] | {"tid": 300, "misc": trials.trials[0]["misc"] | {"tid": 300}}
    trials.insert_trial_doc(document)
    trials.refresh()
    assert len(trials.front_losses) == 7
    assert sum(sizes) <= 8


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_run_looks_for_the_front_only_to_show_it(monkeypatch, is_shown):
    """Without a display nobody asks for the front before the end; with one it is brought forward, not found anew."""
    asked, sizes = [], []
    front_rows, all_at_once = History.front_rows.fget, pareto.front
    monkeypatch.setattr(History, "front_rows", property(lambda self: asked.append(len(self)) or front_rows(self)))
    monkeypatch.setattr(pareto, "front", lambda losses: sizes.append(len(losses)) or all_at_once(losses))

    @contextlib.contextmanager
    def display(initial, total):
        yield SimpleNamespace(postfix="", update=lambda n: None)

    trials = run([ok(losses=[tid, -tid]) for tid in range(60)], show_progressbar=display if is_shown else False)
    assert asked == ([*range(1, 61), 60] if is_shown else [60])
    assert sum(sizes) <= 60
    assert len(trials.front_losses) == 60


# -- documentation -----------------------------------------------------------------------------------------------------


def test_code_in_the_page_runs():
    """The blocks of docs/multi_objective.md run in order, and find a front and a trial that meets the constraint."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    assert len(names["front"]) > 1
    assert names["best"]["result"]["constraints"][0] <= 0
