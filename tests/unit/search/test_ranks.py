"""The regression of ranks that TPE's scores contain."""

import numpy as np
import pytest
from scipy import stats

from sparktune import hp
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_RUNNING
from sparktune.search import ranks
from sparktune.search.ranks import N_BEST, N_RUNNING, Ranks, scores
from sparktune.search.state import SearchState
from sparktune.space.compile import Space

LINE = Space(hp.uniform("x", 0, 1))
AT = np.linspace(0.02, 0.98, 49)[:, None]


def log_improvements(history, running=(), prior_weight=1.0):
    """Of points on a line, after some trials run."""
    state = SearchState.of(LINE, history)
    found = Ranks(state, history, prior_weight)
    for value in running:
        found.add_running(np.array([[value]]))
    return found.log_improvement(state.points(AT))


def test_most_is_expected_where_the_losses_fall(history_of, rng):
    """Of a valley seen at 20 points, within a twentieth of its bottom; and little at its top."""
    values = rng.random((20, 1))
    losses = np.abs(values[:, 0] - 0.3)
    expected = log_improvements(history_of(LINE, values, losses.tolist()))
    assert AT[np.argmax(expected), 0] == pytest.approx(0.3, abs=0.05)
    assert expected.max() > expected[-1] + 1


def test_a_heavy_prior_expects_something_anywhere(history_of):
    """At least its share of what it expects, also far up a steep slope; no heavy one expects nothing."""
    values = np.linspace(0, 0.5, 30)[:, None]
    history = history_of(LINE, values, values[:, 0].tolist())
    alone, with_prior = log_improvements(history), log_improvements(history, prior_weight=4.0)
    assert alone.min() < with_prior.min() - 1
    best = scores(values[:, 0]).min()
    at_least = stats.norm.pdf(best) + best * stats.norm.cdf(best)
    np.testing.assert_allclose(np.exp(with_prior) - np.exp(alone), 0.5 * at_least, rtol=1e-6)
    np.testing.assert_array_equal(log_improvements(history, prior_weight=0.5), alone)


def test_little_is_expected_where_trials_run(history_of, rng):
    """Less than before at the place of a trial that runs, and no more anywhere."""
    values = rng.random((20, 1))
    losses = (values[:, 0] - 0.3) ** 2
    history = history_of(LINE, values, losses.tolist())
    before, after = log_improvements(history), log_improvements(history, running=[0.9])
    assert after[np.argmin(np.abs(AT - 0.9))] < before[np.argmin(np.abs(AT - 0.9))] - 0.05
    assert (after <= before + 1e-9).all()


def test_a_trial_that_runs_in_the_history_counts_as_one_that_is_added(document, rng):
    """Whether a trial was proposed before, or just now in the same batch, makes no difference."""
    documents = [document(i, {"x": x}, x) for i, x in enumerate(rng.random(12).tolist())]
    history = History(LINE.labels)
    history.sync(documents)
    added = log_improvements(history, running=[0.4])
    history = History(LINE.labels)
    history.sync([*documents, document(12, {"x": 0.4}, state=JOB_STATE_RUNNING)])
    np.testing.assert_allclose(log_improvements(history), added, rtol=1e-12)


def test_scores_are_normal_quantiles_of_the_middle_ranks():
    """Equals share the middle of their ranks; infinite losses are ranked like any other."""
    losses = np.array([3.0, -np.inf, 1.0, np.inf, 1.0])
    np.testing.assert_allclose(scores(losses), stats.norm.ppf((stats.rankdata(losses) - 0.5) / 5))


def test_infinite_losses_rank_last():
    """Behind the worst finite one, and as equals."""
    found = scores(np.array([1e300, np.inf, -1.0, np.inf]))
    assert found[2] < found[0] < found[1] == found[3]


@pytest.mark.parametrize("n", [1, N_BEST, 10 * N_BEST])
def test_the_best_and_the_newest_are_regressed(n, history_of, rng, monkeypatch):
    """Each once, however long the history; and the newest of the trials that run."""
    seen = []

    class Watched(ranks.GaussianProcess):
        def condition(self, x, y, awaited=None):
            seen[:] = x[:, 0].tolist(), awaited[:, 0].tolist()
            super().condition(x, y, awaited)

    monkeypatch.setattr(ranks, "GaussianProcess", Watched)
    values, losses, running = rng.random(n), rng.random(n), rng.random(3 * N_RUNNING)
    log_improvements(history_of(LINE, values[:, None], losses.tolist()), running)
    best = np.argsort(losses)[:N_BEST]
    others = [row for row in range(n) if row not in best][-N_BEST:]
    np.testing.assert_allclose(seen[0], values[[*best, *others]])
    np.testing.assert_allclose(seen[1], running[-N_RUNNING:])


def test_cancelled_trials_say_nothing(document, rng):
    """What is expected is the same with some between the others."""
    documents = [document(i, {"x": x}, x) for i, x in enumerate(rng.random(10).tolist())]
    cancelled = [document(i, {"x": x}, state=JOB_STATE_CANCEL) for i, x in enumerate(rng.random(5).tolist(), start=10)]
    found = []
    for mixed in (documents, [*documents[:4], *cancelled, *documents[4:]]):
        history = History(LINE.labels)
        history.sync(mixed)
        found.append(log_improvements(history))
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_less_is_expected_where_trials_fail(history_of, rng):
    """In a region that fails, by far; where a third fails anywhere, nearly what is expected without the failed ones."""
    values = rng.random((40, 1))
    losses = np.abs(values[:, 0] - 0.6)
    without = log_improvements(history_of(LINE, values[values[:, 0] > 0.4], losses[values[:, 0] > 0.4].tolist()))
    failing = log_improvements(history_of(LINE, values, np.where(values[:, 0] > 0.4, losses, np.nan).tolist()))
    fails = AT[:, 0] < 0.35
    assert (failing[fails] < without[fails] - 3).all()
    assert failing[AT[:, 0] > 0.45] == pytest.approx(without[AT[:, 0] > 0.45], abs=1.5)
    by_chance = np.arange(40) % 3 == 0
    without = log_improvements(history_of(LINE, values[~by_chance], losses[~by_chance].tolist()))
    failing = log_improvements(history_of(LINE, values, np.where(by_chance, np.nan, losses).tolist()))
    assert np.ptp(failing - without) < 4
    assert AT[np.argmax(failing), 0] == pytest.approx(0.6, abs=0.05)
