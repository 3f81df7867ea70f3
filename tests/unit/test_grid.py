"""Exhaustive search."""

import numpy as np
import pytest

from sparktune import Domain, Trials, fmin, grid, hp
from sparktune.exceptions import InvalidSpaceError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_RUNNING

SPACE = {
    "model": hp.choice("model", [{"kind": "tree", "depth": hp.quniform("depth", 2, 4, 1)}, {"kind": "none"}]),
    "seed": hp.randint("seed", 2),
}
#: Three depths or none, twice.
SIZE = 8


def visited(trials):
    return [(p["model"][0], *p["depth"], p["seed"][0]) for p in (t["misc"]["vals"] for t in trials.trials)]


def test_every_point_is_visited_once_and_then_the_run_ends():
    """Without max_evals; a branch without the depth is visited once for each seed."""
    trials = Trials()
    best = fmin(lambda p: p["seed"] + p["model"].get("depth", 9), SPACE, grid.suggest, trials=trials, verbose=False)
    assert len(trials) == len(set(visited(trials))) == SIZE
    assert best == {"model": 0, "depth": 2, "seed": 0}


def test_max_evals_may_be_less_and_a_later_run_goes_on():
    """Resumed, also from documents, a run visits what is left."""
    trials = Trials()
    fmin(lambda p: 0.0, SPACE, grid.suggest, 3, trials=trials, verbose=False)
    assert len(trials) == 3
    fmin(lambda p: 0.0, SPACE, grid.suggest, 100, trials=trials, verbose=False)
    assert len(trials) == len(set(visited(trials))) == SIZE
    fmin(lambda p: 0.0, SPACE, grid.suggest, 100, trials=trials, verbose=False)
    assert len(trials) == SIZE


@pytest.mark.parametrize("queue", [3, SIZE, 50])
def test_batches(queue):
    """Several ids at a time visit each point once; the last batch may be short."""
    trials = Trials()
    fmin(lambda p: 0.0, SPACE, grid.suggest, 100, trials=trials, max_queue_len=queue, verbose=False)
    assert len(trials) == len(set(visited(trials))) == SIZE


def test_more_ids_than_points():
    """The first ids get the points that are left, and the others nothing."""
    trials, domain = Trials(), Domain(lambda _: 0.0, hp.randint("x", 3))
    docs = grid.suggest([7, 8, 9, 10, 11], domain, trials, 0)
    assert [(doc["tid"], doc["misc"]["vals"]["x"]) for doc in docs] == [(7, [0]), (8, [1]), (9, [2])]
    trials.insert_trial_docs(docs)
    trials.refresh()
    assert grid.suggest([10], domain, trials, 0) == []


@pytest.mark.parametrize(
    ("state", "left"),
    [(JOB_STATE_NEW, [1]), (JOB_STATE_RUNNING, [1]), (JOB_STATE_ERROR, [1]), (JOB_STATE_CANCEL, [0, 1])],
)
def test_what_counts_as_visited(state, left, document, history_of, rng):
    """Running and failed trials do, cancelled ones do not."""
    domain = Domain(lambda _: 0.0, hp.randint("x", 2))
    history = history_of(domain.space, np.zeros((1, 1)), state=state)
    assert grid.propose(domain.space, history, rng, 9)[:, 0].tolist() == left


def test_points_of_the_user_count():
    """Points to evaluate first are not visited again, whatever their rounding."""
    trials = Trials()
    points = [{"q": 0.3}, {"q": 0.1}]
    fmin(lambda q: q, hp.quniform("q", 0, 0.4, 0.1), grid.suggest, 100, points_to_evaluate=points, trials=trials)
    assert sorted(round(q[0], 9) for q in (t["misc"]["vals"]["q"] for t in trials.trials)) == [0, 0.1, 0.2, 0.3, 0.4]


def test_options_that_cannot_be_drawn_are_left_out():
    """An option of probability 0 is no point."""
    trials = Trials()
    fmin(lambda c: c, hp.pchoice("c", [(0.5, 1), (0.0, 2), (0.5, 3)]), grid.suggest, trials=trials, verbose=False)
    assert trials.losses() == [1, 3]


def test_a_space_without_parameters_has_one_point():
    """It is evaluated once."""
    trials = Trials()
    fmin(lambda p: 0.0, {"constant": 1}, grid.suggest, trials=trials, verbose=False)
    assert len(trials) == 1


def test_more_points_than_integers_of_numpy_count():
    """A long grid is walked from its start, as far as the run goes."""
    trials = Trials()
    fmin(lambda x: x, hp.qloguniform("x", 0, 45, 1), grid.suggest, max_evals=3, trials=trials, verbose=False)
    assert trials.losses() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("expr", "remedy"),
    [
        (hp.uniform("x", 0, 1), "hp.quniform"),
        (hp.choice("c", [0, hp.loguniform("x", -3, 0)]), "hp.qloguniform"),
        ([hp.randint("r", 2), hp.normal("x", 0, 1)], "hp.choice"),
        (hp.lognormal("x", 0, 1), "hp.qloguniform"),
        (hp.qnormal("x", 0, 1, 1), "hp.quniform"),
        (hp.qlognormal("x", 0, 1, 1), "hp.qloguniform"),
    ],
)
def test_a_parameter_without_end_is_refused(expr, remedy):
    """By name, with what to use instead, also in a branch."""
    with pytest.raises(InvalidSpaceError, match=r"finitely many values, got 'x' with") as caught:
        grid.suggest([0], Domain(lambda _: 0.0, expr), Trials(), 0)
    assert remedy in str(caught.value)
