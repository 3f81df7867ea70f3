"""The best rows of a history as results come in, and what looking for them costs in comparisons."""

import math

import numpy as np
import pytest

from sparktune.history.columns import History
from sparktune.history.reading import OK
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK
from sparktune.kernels import pareto


@pytest.fixture
def running(document):
    """Makes the document of a running trial."""

    def make(tid):
        return document(tid, {"x": tid}, state=JOB_STATE_RUNNING)

    return make


@pytest.fixture
def history_of():
    """Gives columns of some documents, and the documents."""

    def make(documents):
        history = History(["x"])
        history.sync(documents)
        return history, documents

    return make


@pytest.fixture
def calls(monkeypatch):
    """How many points each look for a front was given, and how many were compared with one."""
    sizes, added = [], []
    all_at_once, one_by_one = pareto.front, pareto.Front.add
    monkeypatch.setattr(pareto, "front", lambda losses: sizes.append(len(losses)) or all_at_once(losses))
    monkeypatch.setattr(pareto.Front, "add", lambda *args: added.append(args[2]) or one_by_one(*args))
    return sizes, added


def finish(document, **result):
    document.update(state=JOB_STATE_DONE, result={"status": STATUS_OK, **result})


def slow_front(history):
    """The rows of the front by its definition: all pairs compared."""
    rows = [row for row in range(len(history)) if history.kinds[row] == OK and history.violations[row] <= 0]
    losses = {row: tuple(history.objectives[row].tolist()) for row in rows}

    def is_behind(row):
        found = losses[row]
        return any(
            all(a <= b for a, b in zip(losses[k], found, strict=True)) and (losses[k] != found or k < row) for k in rows
        )

    return sorted([row for row in rows if not is_behind(row)], key=losses.get)


@pytest.mark.parametrize("n_losses", [2, 3])
@pytest.mark.parametrize("has_constraints", [False, True])
def test_results_in_any_order(rng, running, n_losses, has_constraints):
    """Trials that end in any order, fail or have NaN, asked about now and then: the same as comparing all pairs."""
    history, documents = History(["x"]), []
    n_asked = 0
    while len(documents) < 150 or len(history.running_rows):
        if len(documents) < 150:
            documents.append(running(len(documents)))
        rows = history.running_rows
        if len(rows) > 12 or (len(rows) and len(documents) == 150):
            numbers = rng.choice([-math.inf, -0.0, 0.0, 1.0, 2.0, 3.0, 4.0, math.inf], n_losses).tolist()
            result = {"losses": numbers}
            result |= {"loss": float(rng.integers(4))} if rng.random() < 0.5 else {}
            result |= {"constraints": [float(rng.integers(-2, 2))]} if has_constraints and rng.random() < 0.9 else {}
            result |= {"status": STATUS_FAIL} if rng.random() < 0.1 else {}
            result |= {"losses": [math.nan] * n_losses} if rng.random() < 0.1 else {}
            finish(documents[rng.choice(rows)], **result)
        history.sync(documents)
        if rng.random() < 0.3:
            n_asked += 1
            assert history.front_rows == slow_front(history)
            rows = np.flatnonzero((history.kinds == OK) & ~np.isnan(history.losses)).tolist()
            key = {row: (history.violations[row], history.losses[row], row) for row in rows}
            assert history.best_row == min(rows, key=key.get, default=None)
    assert n_asked > 30
    assert history.front_rows == slow_front(history) != []


def test_a_trial_that_began_earlier_takes_the_place_of_its_equal(history_of, running):
    """Of equal losses the trial that was inserted first is on the front, also if it ends last."""
    history, documents = history_of([running(tid) for tid in range(3)])
    for tid in (2, 0, 1):
        finish(documents[tid], losses=[1.0, 2.0])
        history.sync(documents)
        assert history.front_rows == [2 if tid == 2 else 0]


def test_new_results_are_compared_with_the_front_alone(history_of, running, calls):
    """Where all trials are on the front, none of them is looked at again as a new one comes in."""
    sizes, added = calls
    history, documents = history_of([running(tid) for tid in range(100)])
    for tid in range(100):
        finish(documents[tid], losses=[float(tid), float(-tid)])
        history.sync(documents)
        for _ in range(2):
            assert history.front_rows == list(range(tid + 1))
    assert sum(sizes) + len(added) <= 101


def test_the_best_row_is_found_without_a_front(history_of, running, calls):
    """Who asks for the best of trials with losses, a scalar one and constraints has no front looked for."""
    history, documents = history_of([running(tid) for tid in range(50)])
    for tid in range(50):
        finish(documents[tid], losses=[float(tid), float(-tid)], loss=float(-tid), constraints=[0.0])
        history.sync(documents)
        assert history.best_row == tid
    assert calls == ([], [])
    assert history.front_rows == list(range(50))


def test_a_point_takes_the_lead_from_those_that_are_none(history_of, running):
    """The first point of the space with losses unseats trials of another space, however good, from both leads."""
    documents = [running(tid) for tid in range(4)]
    for tid in (0, 1):
        documents[tid]["misc"]["other_space"] = {"is_point": False}
    history, documents = history_of(documents)
    leads = []
    for tid in (0, 1, 2, 3):
        finish(documents[tid], losses=[float(tid), float(-tid)], loss=float(tid))
        history.sync(documents)
        leads.append((history.best_row, history.front_rows))
    assert leads == [(0, [0]), (0, [0, 1]), (2, [2]), (2, [2, 3])]


def test_many_results_that_nobody_asked_about(history_of, running):
    """Thousands of results between two questions, and edits of those that lead, are all taken in."""
    history, documents = history_of([running(tid) for tid in range(2500)])
    assert (history.best_row, history.front_rows) == (None, [])
    for tid in range(2500):
        finish(documents[tid], losses=[float(tid % 7), float(-(tid % 7))])
    history.sync(documents)
    assert history.front_rows == list(range(7))
    finish(documents[3], losses=[9.0, 9.0])
    history.check_all()
    assert history.front_rows == [0, 1, 2, 10, 4, 5, 6]
