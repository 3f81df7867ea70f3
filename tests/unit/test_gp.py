"""Gaussian process search: what it learns from, what it proposes, and that it finds the optimum."""

import math
import pickle
import sys

import numpy as np
import pytest
from scipy import stats

from sparktune import Domain, Trials, fmin, gp, hp, rand
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_ERROR, JOB_STATE_RUNNING
from sparktune.kernels.gaussian_process import LossScale
from sparktune.search.state import SearchState
from sparktune.space.compile import Space

INF, NAN = math.inf, math.nan
LINE = Space(hp.uniform("x", 0, 1))
SQUARE = Space({"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", 0, 1)})
NO_BATCH = np.empty((0, 1))


def surrogate_of(space, history, rng):
    return gp.Surrogate(SearchState.of(space, history), history, np.empty((0, len(space))), rng)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_penalty_of_the_largest_float_leaves_the_other_losses_apart(history_of, rng):
    """Objectives that return sys.float_info.max for what is bad: the others stay in order, and a proposal comes."""
    losses = np.append(np.linspace(0, 0.1, 20), [sys.float_info.max] * 3)
    found = LossScale(losses)(losses)
    assert np.isfinite(found).all()
    assert (np.diff(found[:21]) > 0).all()
    values = np.append(np.linspace(0, 0.5, 20), [0.7, 0.8, 0.9])[:, None]
    assert 0 <= gp.propose(LINE, history_of(LINE, values, losses), rng, 1)[0, 0] <= 1


def test_several_losses_become_one_that_no_dominated_trial_wins(rng):
    """Whatever the weights, the lowest is not dominated; one loss is left as it is."""
    objectives = rng.random((50, 2)) * [1, 1000]
    is_dominated = (objectives[:, None] > objectives).all(axis=2).any(axis=1)
    winners = {int(gp.scalarised(objectives, rng).argmin()) for _ in range(100)}
    assert len(winners) > 2
    assert not is_dominated[list(winners)].any()
    np.testing.assert_array_equal(gp.scalarised(objectives[:, :1], rng), objectives[:, 0])


@pytest.mark.parametrize("n", [1, 100, 250, 251, 4000])
def test_representatives_are_the_best_and_some_others(n, rng):
    """At most 250 different trials; of many, the best half of that are among them, feasible ones first."""
    losses, violations = rng.random(n), np.where(rng.random(n) < 0.9, 0.0, 1.0)
    kept = gp.representatives(losses, violations, rng)
    assert len(kept) == len(set(kept.tolist())) == min(n, gp.MAX_POINTS)
    best = np.lexsort((losses, violations))[: min(n, gp.MAX_POINTS // 2)]
    assert set(best.tolist()) <= set(kept.tolist())


def test_to_how_many_trials_hyperparameters_are_fitted():
    """To all up to 10, then to 87 % of them at least, in steps; a function of their number alone."""
    assert [gp.n_fitted(n) for n in range(15)] == [*range(15)]
    assert gp.n_fitted(15) == 14
    found = np.array([gp.n_fitted(n) for n in range(1, 3000)])
    assert (found <= np.arange(1, 3000)).all()
    assert (found > np.arange(1, 3000) / 1.15 - 1).all()
    assert len(set(found[100:1000].tolist())) < 20


def hyperparameters_of(space, history, n):
    rows = np.arange(n)
    return gp.hyperparameters(SearchState.of(space, history), history, rows)


def test_hyperparameters_are_kept_as_long_as_their_trials_are_the_same(document, rng):
    """Later trials change nothing, an edited loss does, and a new history finds the same ones."""
    documents = [document(i, {"x": v}, math.sin(9 * v)) for i, v in enumerate(rng.random(30).tolist())]
    history = History(["x"])
    history.sync(documents[:20])
    first = hyperparameters_of(LINE, history, 20)
    history.sync(documents)
    assert hyperparameters_of(LINE, history, 20) is first
    documents[3]["result"]["loss"] = 5.0
    history.sync(documents)
    edited, again = hyperparameters_of(LINE, history, 20), History(["x"])
    assert (edited[0] != first[0]).any()
    again.sync(documents)
    np.testing.assert_array_equal(hyperparameters_of(LINE, again, 20), edited)


@pytest.mark.parametrize("n_losses", [1, 2])
def test_hyperparameters_when_the_first_trials_failed(n_losses, document, rng):
    """There are some, though the trials they are fitted to have no loss."""
    documents = [document(i, {"x": v}, None if i < 10 else v) for i, v in enumerate(rng.random(11).tolist())]
    documents[10]["result"] |= {"losses": [0.5] * n_losses} if n_losses > 1 else {}
    history = History(["x"])
    history.sync(documents)
    assert np.isfinite(hyperparameters_of(LINE, history, 10)).all()
    assert np.isfinite(gp.propose(LINE, history, rng, 3)).all()


def test_parameters_that_others_hang_on():
    """Choices with parameters in their options, also inside another; not those without any, nor numbers."""
    inner = hp.choice("inner", [hp.uniform("x", 0, 1), 2])
    space = Space(
        [hp.choice("outer", [inner, hp.normal("y", 0, 1)]), hp.choice("plain", [1, 2, 3]), hp.randint("r", 4)]
    )
    found = SearchState(space, History(space.labels)).is_selector
    assert {label for label, is_one in zip(space.labels, found, strict=True) if is_one} == {"outer", "inner"}


def test_branches_are_farther_apart_than_options(history_of, rng):
    """Where losses say nothing, the length-scale of a choice with branches is less than a third of that of another."""
    space = Space([hp.choice("arm", [hp.uniform("a", 0, 1), 1]), hp.choice("plain", [1, 2])])
    history = history_of(space, space.sample(rng, 12), [1.0] * 12)
    log_scales = hyperparameters_of(space, history, 12)[0]
    arm, plain = (log_scales[space.index[label]] for label in ("arm", "plain"))
    assert arm < plain - math.log(3)


# -- moves -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_whole", [gp.N_WHOLE - 1, gp.N_WHOLE])
def test_trials_that_lack_a_value_are_left_out_when_there_are_whole_ones(n_whole, rng):
    """What a missing value did looks like noise. An inactive parameter is not missing."""
    old, trials = {"x": hp.uniform("x", 0, 1)}, Trials()
    branch = hp.choice("c", [0, {"z": hp.uniform("z", 0, 1)}])
    space = {**old, "y": hp.uniform("y", 0, 1), "c": branch}
    for each, n in ((old, 12), (space, 12 + n_whole)):
        fmin(lambda p: p["x"], each, rand.suggest, n, trials=trials, rstate=0, verbose=False)
    domain = Domain(lambda p: 0.0, space)
    history = trials.history(domain.space.labels)
    surrogate = gp.Surrogate(SearchState.of(domain.space, history), history, np.empty((0, 4)), rng)
    assert len(surrogate.x) == (12 + n_whole if n_whole < gp.N_WHOLE else n_whole)


def test_whole_trials_on_a_plateau_do_not_stand_alone(rng):
    """Of equal losses a process knows no slope, and would go to the corners: then the others stay."""
    trials, space = Trials(), {"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", 0, 1)}
    fmin(lambda p: p["x"], {"x": space["x"]}, rand.suggest, 8, trials=trials, rstate=0, verbose=False)
    fmin(lambda p: 1.0, space, rand.suggest, 20, trials=trials, rstate=0, verbose=False)
    compiled = Space(space)
    history = trials.history(compiled.labels)
    assert len(gp.whole_points(SearchState.of(compiled, history), history, np.arange(20))) == 20


def test_moves_are_points_of_the_space(rng, history_of):
    """On their grids, within bounds, with the conditions of the space; each differs from where it started."""
    space = Space(
        [
            hp.quniform("q", 0, 1, 0.1),
            hp.normal("n", 3, 2),
            hp.choice("c", [hp.loguniform("l", -9, 0), "b", hp.randint("r", 40)]),
        ]
    )
    state = SearchState.of(space, history_of(space, []))
    start = space.sample(rng, 1)
    moved = gp.moves(state, state.coordinates.encode(start), 400, 0.05, rng)
    np.testing.assert_array_equal(space.mask(np.nan_to_num(moved)), moved)
    for column, parameter in enumerate(space.parameters):
        active = moved[~np.isnan(moved[:, column]), column]
        assert np.isfinite(parameter.distribution.log_pdf(active)).all(), parameter.label
        assert len(np.unique(active)) > 1
    assert np.mean((moved == start) | (np.isnan(moved) & np.isnan(start))) > 0.1  # a few parameters at a time


@pytest.mark.parametrize(("node", "start"), [(hp.quniform("x", 0, 20, 1), 10.0), (hp.quniform("x", 0, 200, 1), 100.0)])
def test_moves_on_a_grid_reach_the_next_step(node, start, rng, history_of):
    """However small the scale, a grid parameter moves by a step at least."""
    space = Space(node)
    state = SearchState.of(space, history_of(space, []))
    moved = gp.moves(state, state.coordinates.encode(np.array([[start]])), 200, 1e-4, rng)
    assert set(moved[:, 0]) == {start - 1, start + 1}


# -- the start ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JOB_STATE_ERROR, JOB_STATE_RUNNING, JOB_STATE_CANCEL])
def test_without_a_loss_the_start_goes_on(state, history_of, rng):
    """Failed, running or cancelled trials alone, whatever their number, leave points that fill the space (KS)."""
    history = history_of(LINE, LINE.sample(rng, 64), state=state)
    proposed = gp.propose(LINE, history, rng, 200)
    assert stats.kstest(proposed[:, 0], "uniform").pvalue > 1e-3


def test_start_up_points_are_more_even_than_random_ones(history_of, rng):
    """The first 32 of a batch have one in each 32nd of each parameter."""
    proposed = gp.propose(SQUARE, history_of(SQUARE, []), rng, 32)
    assert (np.sort(np.floor(proposed * 32), axis=0) == np.arange(32)[:, None]).all()


def test_no_start_up_and_no_history(history_of, rng):
    """With nothing to learn from there is still a point."""
    proposed = gp.propose(LINE, history_of(LINE, []), rng, 3, gp.Settings(n_startup_jobs=0))
    assert ((proposed >= 0) & (proposed <= 1)).all()


@pytest.mark.parametrize("n", [1020, 1030])
def test_a_long_start_goes_on_with_random_draws(n, history_of, rng):
    """Beyond the length of the sequence points are drawn from the prior."""
    proposed = gp.propose(LINE, history_of(LINE, LINE.sample(rng, n)), rng, 20)
    assert len(np.unique(proposed)) == 20


def test_the_start_is_that_of_a_study_that_was_loaded():
    """The next point of the start does not hang on whether those before it were proposed by this process."""
    points = []
    for loads in (False, True):
        trials = Trials()
        for n in range(1, 6):
            if loads:
                trials = pickle.loads(pickle.dumps(trials))
            fmin(
                lambda x: x, hp.uniform("x", 0, 1), algo=gp.suggest, max_evals=n, trials=trials, rstate=n, verbose=False
            )
        points.append(trials.vals["x"])
    assert points[0] == points[1]
    assert len({int(8 * x) for x in points[0]}) > 3  # of one sequence: they fill the range


# -- the surrogate -----------------------------------------------------------------------------------------------------


def test_the_acquisition_is_high_near_the_optimum(history_of, rng):
    """Of a parabola seen at 15 points, the score is highest next to its minimum."""
    x = np.linspace(0, 1, 15)[:, None]
    surrogate = surrogate_of(LINE, history_of(LINE, x, (x[:, 0] - 0.53) ** 2), rng)
    at = np.linspace(0, 1, 201)
    state = SearchState.of(LINE, history_of(LINE, []))
    scores = surrogate.acquisition(state.points(at[:, None]))
    assert abs(at[scores.argmax()] - 0.53) < 0.04
    assert np.isfinite(scores).all()


def test_a_running_trial_keeps_others_away(document, rng):
    """In a gap between results less improvement is expected once a trial runs there, and elsewhere as much."""
    documents = [document(i, {"x": v}, math.sin(20 * v)) for i, v in enumerate([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.8, 1])]
    alone, with_running = History(["x"]), History(["x"])
    alone.sync(documents)
    with_running.sync([*documents, document(8, {"x": 0.5}, None, JOB_STATE_RUNNING)])
    at = SearchState.of(LINE, alone).points(np.array([[0.5], [0.9]]))
    before, after = (surrogate_of(LINE, h, rng).acquisition(at) for h in (alone, with_running))
    assert after[0] < before[0] - 2
    assert after[1] == pytest.approx(before[1], abs=0.5)


def test_the_acquisition_knows_the_constraints(document, rng):
    """Where a constraint is violated the score is far lower than where it is met."""
    history = History(["x"])
    documents = [document(i, {"x": v}, v) for i, v in enumerate(np.linspace(0, 1, 15).tolist())]
    for d in documents:
        d["result"]["constraints"] = [0.4 - d["misc"]["vals"]["x"][0]]
    history.sync(documents)
    scores = surrogate_of(LINE, history, rng).acquisition(
        SearchState.of(LINE, history).points(np.array([[0.1], [0.42], [0.41]]))
    )
    assert scores[0] < min(scores[1:]) - 2


@pytest.mark.parametrize("bad", [[NAN], [INF]])
def test_a_constraint_that_is_not_a_number(bad, document, rng):
    """Unknown and infinite constraints, of some trials or of all, give points."""
    for every in (1, 3):
        history = History(["x"])
        documents = [document(i, {"x": v}, v) for i, v in enumerate(np.linspace(0, 1, 15).tolist())]
        for i, d in enumerate(documents):
            d["result"]["constraints"] = bad if i % every == 0 else [0.4 - d["misc"]["vals"]["x"][0]]
        history.sync(documents)
        proposed = gp.propose(LINE, history, rng, 3)
        assert ((proposed >= 0) & (proposed <= 1)).all()


def test_what_is_no_number_is_violated(document, rng):
    """A constraint that is NaN or infinite is violated, by as much as any; a trial without constraints says nothing."""
    documents = [document(i, {"x": v}, v) for i, v in enumerate(rng.random(5).tolist())]
    for each, constraint in zip(documents, ([-2.0], [4.0], [NAN], [math.inf], None), strict=True):
        each["result"] |= {} if constraint is None else {"constraints": constraint}
    history = History(["x"])
    history.sync(documents)
    (found,) = gp.constraint_targets(history, np.arange(5))
    assert found[0] < 0 < found[1] == found[2] == found[3]
    assert np.isnan(found[4])


def test_a_failed_trial_leaves_the_constraints_known(document, rng):
    """A trial that failed, and so has no constraints, does not hide those of the others."""
    history = History(["x"])
    documents = [document(i, {"x": v}, v) for i, v in enumerate(np.linspace(0, 1, 15).tolist())]
    for d in documents:
        d["result"]["constraints"] = [0.4 - d["misc"]["vals"]["x"][0]]
    history.sync([*documents, document(15, {"x": 0.8}, None)])
    at = SearchState.of(LINE, history).points(np.array([[0.1], [0.42], [0.41]]))
    scores = surrogate_of(LINE, history, rng).acquisition(at)
    assert np.isfinite(scores).all()
    assert scores[0] < min(scores[1:]) - 2


def test_without_a_feasible_trial_it_looks_for_one(document, rng):
    """As long as no trial meets the constraint proposals go to where it is nearest to being met."""
    history = History(["x"])
    documents = [document(i, {"x": v}, -v) for i, v in enumerate(np.linspace(0.3, 1, 15).tolist())]
    for d in documents:
        d["result"]["constraints"] = [d["misc"]["vals"]["x"][0] - 0.2]
    history.sync(documents)
    proposed = [gp.propose(LINE, history, np.random.default_rng(s), 1)[0, 0] for s in range(10)]
    assert np.mean(np.array(proposed) < 0.3) > 0.8


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
def test_positive_affine_maps_of_the_loss_change_nothing(factor, history_of, rng):
    """Proposals are the same up to rounding."""
    values = SQUARE.sample(rng, 25)
    losses = np.sin(5 * values[:, 0]) + values[:, 1]
    first, second = (
        gp.propose(SQUARE, history_of(SQUARE, values, y), np.random.default_rng(3), 2)
        for y in (losses, factor * losses + 7)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


# -- proposals ---------------------------------------------------------------------------------------------------------


def test_options_are_checked():
    """An option out of its rule is refused by name, with rule and value."""
    for value in (-1, NAN, "10", None, True):
        with pytest.raises(InvalidArgumentError, match="n_startup_jobs a number >= 0") as caught:
            gp.suggest([0], Domain(lambda _: 0.0, LINE.expr), Trials(), 0, n_startup_jobs=value)
        assert f"n_startup_jobs={value!r}" in str(caught.value)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_space_without_parameters(n, history_of, rng):
    """Constants alone: as many empty points as asked for."""
    space = Space({"constant": 1})
    assert gp.propose(space, history_of(space, np.empty((15, 0)), losses=range(15)), rng, n).shape == (n, 0)


def test_a_region_that_fails_is_avoided(study):
    """Proposals do not stay where the objective fails."""
    _, points = study(gp.propose, LINE, lambda x: NAN if x < 0.5 else abs(x - 0.8), 40)
    assert np.mean(np.array(points[20:]) < 0.5) < 0.4


def test_a_failing_optimum_does_not_hold_the_search(study):
    """Where losses fall towards a region that fails, the search comes close to its edge, and goes on beside it."""
    history, points = study(gp.propose, SQUARE, lambda p: NAN if p["x"] < 0.5 else p["x"] + (p["y"] - 0.3) ** 2, 40)
    assert np.nanmin(history.losses) < 0.502
    assert np.mean(np.array([p["x"] for p in points[20:]]) < 0.5) < 1


@pytest.mark.parametrize("dimension", [1, 4])
def test_it_finds_a_smooth_optimum_much_better_than_random_search(dimension, study):
    """Over two seeds of 30 trials the mean of the best losses is below a fifth of random search's."""
    space = Space({f"x{i}": hp.uniform(f"x{i}", -5, 5) for i in range(dimension)})

    def sphere(p):
        return sum((x - 1.3) ** 2 for x in p.values())

    best = {
        propose: np.mean([study(propose, space, sphere, 30, seed)[0].losses.min() for seed in range(2)])
        for propose in (gp.propose, rand.propose)
    }
    assert best[gp.propose] < 0.2 * best[rand.propose]


def test_a_choice_with_branches(study):
    """It finds the better branch and the optimum within."""
    space = Space(hp.choice("c", [{"far": hp.normal("far", 0, 9)}, {"near": hp.uniform("near", -9, 9)}]))
    history, points = study(gp.propose, space, lambda p: 5 + abs(p["far"]) if "far" in p else (p["near"] - 1) ** 2, 40)
    assert history.losses.min() < 0.05
    assert sum("near" in p for p in points[15:]) > 15
