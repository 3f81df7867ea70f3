"""Annealing: around the best trials, ever closer."""

import math

import numpy as np
import pytest
from scipy import stats

from sparktune import Domain, Trials, anneal, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.trial import JOB_STATE_ERROR, JOB_STATE_RUNNING
from sparktune.space.compile import Space

LINE = Space(hp.uniform("x", 0, 1))
NAN = math.nan


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("avg_best_idx", 0.5, ">= 1"),
        ("avg_best_idx", math.inf, "finite"),
        ("shrink_coef", -0.1, ">= 0"),
        ("shrink_coef", NAN, ">= 0"),
        ("shrink_coef", "much", "a finite number"),
    ],
)
def test_options_are_checked(option, value, rule):
    """An option out of its rule is refused by name, with rule and value."""
    with pytest.raises(InvalidArgumentError, match=rule) as caught:
        anneal.suggest([0], Domain(lambda _: 0.0, LINE.expr), Trials(), 0, **{option: value})
    assert f"{option}={value!r}" in str(caught.value)


@pytest.mark.parametrize("state", [JOB_STATE_ERROR, JOB_STATE_RUNNING])
def test_without_a_loss_proposals_are_the_prior(state, history_of, rng):
    """Failed and running trials at one spot say nothing of where to look."""
    history = history_of(LINE, np.full((50, 1), 0.5), state=state)
    drawn = anneal.propose(LINE, history, np.random.default_rng(1), 200)
    assert stats.kstest(drawn[:, 0], "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(drawn, rand.propose(LINE, history, np.random.default_rng(1), 200))


@pytest.mark.parametrize(("n", "shrink_coef"), [(10, 0.1), (90, 0.1), (90, 1.0), (90, 0.0)])
@pytest.mark.parametrize("best", [0.5, 0.01, 0.99])
def test_windows_narrow_as_trials_come_in(n, shrink_coef, best, history_of, rng):
    """Even over a window of 1 / (1 + shrink_coef n) of the range around the best trial, moved inside the bounds."""
    values = rng.random((n, 1))
    values[3] = best
    history = history_of(LINE, values, np.abs(values[:, 0] - best))
    settings = anneal.Settings(avg_best_idx=1, shrink_coef=shrink_coef)
    x = anneal.propose(LINE, history, rng, 400, settings)[:, 0]
    width = 1 / (1 + shrink_coef * n)
    low = min(max(best - width / 2, 0), 1 - width)
    assert stats.kstest(x, stats.uniform(low, width).cdf).pvalue > 1e-3


def test_normal_parameters_take_normal_steps(history_of, rng):
    """Around the best trial, with a standard deviation that narrows in the same way."""
    space = Space(hp.normal("x", 5, 2))
    history = history_of(space, space.sample(rng, 30), [-1, *range(29)])
    x = anneal.propose(space, history, rng, 400, anneal.Settings(avg_best_idx=1))[:, 0]
    assert stats.kstest(x, stats.norm(history.values[0, 0], 2 / (1 + 0.1 * 30)).cdf).pvalue > 1e-3


def test_starts_are_of_geometric_rank(history_of, rng):
    """With windows nearly closed, proposals show which trials they started from: the mean rank is the option."""
    values = np.linspace(0.02, 0.98, 49)[:, None]
    history = history_of(LINE, rng.permutation(values), range(49))
    x = anneal.propose(LINE, history, rng, 1000, anneal.Settings(avg_best_idx=3, shrink_coef=1e6))[:, 0]
    ranks = np.abs(x[:, None] - history.values[:, 0]).argmin(axis=1) + 1
    assert np.bincount(ranks)[1:4] / 1000 == pytest.approx([1 / 3, 2 / 9, 4 / 27], abs=0.05)  # three deviations
    assert ranks.mean() == pytest.approx(3, abs=0.3)


def test_categories_stay_more_and_more_often(history_of, rng):
    """A category is drawn anew with the probability that is the window's width."""
    space = Space([hp.choice("c", list("abcd")), hp.uniform("x", 0, 1)])
    values = space.sample(rng, 90)
    history = history_of(space, values, [-1, *range(89)])
    c = space.index["c"]
    drawn = anneal.propose(space, history, rng, 800, anneal.Settings(avg_best_idx=1))[:, c]
    assert np.mean(drawn != values[0, c]) == pytest.approx(0.1 * 3 / 4, abs=0.03)  # three deviations


@pytest.mark.parametrize("expr", [hp.quniform("q", 0, 5, 1), hp.qloguniform("q", 0, 2, 1), hp.qnormal("q", 0, 9, 3)])
def test_a_grid_never_freezes(expr, history_of, rng):
    """After very many trials neighbours of the best value are still proposed."""
    space = Space([expr, hp.uniform("x", 0, 1)])
    values = space.sample(rng, 300)
    history = history_of(space, values, [-1, *range(299)])
    q = anneal.propose(space, history, rng, 300)[:, space.index["q"]]
    assert len(np.unique(q)) > 2


def test_branches_of_the_start_are_kept_and_others_drawn(history_of, rng):
    """What is active in the start stays near it; in another branch values are draws from the prior."""
    space = Space(hp.choice("c", [hp.uniform("a", 0, 1), hp.uniform("b", 0, 1)]))
    values = np.array([space.row({"c": 0, "a": 0.25 + 0.001 * i}) for i in range(60)])
    values[0] = space.row({"c": 0, "a": 0.25})
    drawn = anneal.propose(space, history_of(space, values, range(60)), rng, 1500)
    c, a, b = (drawn[:, space.index[label]] for label in "cab")
    assert (np.abs(a[c == 0] - 0.25) < 0.2).all()
    assert stats.kstest(b[c == 1], "uniform").pvalue > 1e-3
    assert np.isnan(a[c == 1]).all()


@pytest.mark.parametrize(("n", "is_better"), [(1, True), (8, True)])
def test_it_finds_a_minimum_alone_and_in_batches(n, is_better):
    """Far below random search's best of as many trials."""
    space = {"x": hp.uniform("x", -5, 5), "y": hp.loguniform("y", -5, 5)}

    def objective(p):
        return (p["x"] - 1) ** 2 + math.log(p["y"]) ** 2

    best = {}
    for algo in (anneal.suggest, rand.suggest):
        trials = Trials()
        fmin(objective, space, algo, 120, trials=trials, rstate=2, max_queue_len=n, verbose=False)
        best[algo] = min(trials.losses())
    assert (best[anneal.suggest] < 0.2 * best[rand.suggest]) == is_better


def test_several_losses_and_constraints():
    """Starts are the trials that TPE calls good: by feasibility and domination."""
    trials = Trials()
    fmin(
        lambda x: {"status": "ok", "loss": x, "losses": [x, (x - 0.1) ** 2], "constraints": [0.5 - x]},
        LINE.expr,
        anneal.suggest,
        80,
        trials=trials,
        rstate=0,
        verbose=False,
    )
    assert 0.5 <= trials.best_feasible["misc"]["vals"]["x"][0] < 0.52


def test_changed_defaults_are_honoured(monkeypatch, document):
    """hyperopt's programs change module constants; calls from then on follow."""
    trials = Trials()
    trials.insert_trial_docs([document(i, {"x": i / 100}, abs(i - 50)) for i in range(100)])
    trials.refresh()
    monkeypatch.setattr(anneal, "_default_shrink_coef", 1e9)
    monkeypatch.setattr(anneal, "_default_avg_best_idx", 1.0)
    docs = anneal.suggest(range(100, 120), Domain(lambda _: 0.0, LINE.expr), trials, 0)
    assert [d["misc"]["vals"]["x"][0] for d in docs] == pytest.approx([0.5] * 20)


def test_no_arithmetic_goes_wrong():
    """With floating-point errors raised, over all distributions, with bounds at the ends of what a float holds."""
    space = {
        "a": hp.choice("a", [0, 1, 2]),
        "b": hp.randint("b", 10),
        "big": hp.randint("big", 2**50),
        "c": hp.uniform("c", -1e300, 7e307),
        "d": hp.loguniform("d", -700, 700),
        "e": hp.quniform("e", 0, 10, 3),
        "f": hp.qloguniform("f", 0, 3, 2),
        "g": hp.normal("g", 4, 1e300),
        "h": hp.lognormal("h", -200, 90),
        "i": hp.qnormal("i", 0, 10, 2),
        "j": hp.qlognormal("j", 0, 2, 1),
        "k": hp.pchoice("k", [(0.1, 0), (0.9, hp.uniformint("l", 1, 3))]),
    }
    rng, compiled = np.random.default_rng(0), Space(space)
    trials, domain = Trials(), Domain(lambda p: 0.0, space)
    with np.errstate(all="raise"):
        for i in range(60):
            (document,) = anneal.suggest([i], domain, trials, i)
            document["state"], document["result"] = 2, {"status": "ok", "loss": float(rng.normal())}
            trials.insert_trial_docs([document])
            trials.refresh()
    for parameter in compiled.parameters:
        low, high = parameter.distribution.bounds
        assert all(low <= value <= high for value in trials.vals[parameter.label])
