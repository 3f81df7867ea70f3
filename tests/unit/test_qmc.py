"""Even search."""

import re

import numpy as np
import pytest
from scipy import stats

from sparktune import Domain, Trials, fmin, hp, qmc
from sparktune.exceptions import InvalidArgumentError
from sparktune.space.compile import Space

SPACE = {"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", 0, 1)}
SEQUENCES = ["sobol", "halton"]


def studied(sizes, sequence="sobol", seed=3, between=lambda trials: trials):
    """Points of a study that asks for so many at a time, with seeds of its own for each call."""
    domain, trials, seeds = Domain(lambda _: 0.0, SPACE), Trials(), np.random.default_rng(seed)
    for size in sizes:
        ids = trials.new_trial_ids(size)
        trials.insert_trial_docs(qmc.suggest(ids, domain, trials, int(seeds.integers(2**31)), sequence))
        trials.refresh()
        trials = between(trials)
    return np.array([[t["misc"]["vals"][label][0] for label in "xy"] for t in trials.trials])


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_calls_go_on_with_one_sequence(sequence):
    """However many ids are asked for at a time, the study has the points of one sequence; the seed picks it."""
    at_once = studied([64], sequence)
    np.testing.assert_array_equal(studied([1, 2, 30, 31], sequence), at_once)
    np.testing.assert_array_equal(studied([64], sequence), at_once)
    assert not np.isclose(studied([64], sequence, seed=4), at_once).any()


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_points_are_evener_than_random_ones(sequence):
    """Discrepancy of 64 points."""
    random = stats.qmc.discrepancy(np.random.default_rng(0).random((64, 2)))
    assert stats.qmc.discrepancy(studied([1] * 64, sequence)) < 0.5 * random


def test_a_run_that_is_resumed_goes_on():
    """Two runs over the same trials have the points of one, though each begins with a new seed."""
    points = []
    for parts in ([16], [5, 16]):
        trials = Trials()
        for n in parts:
            fmin(lambda p: 0.0, SPACE, qmc.suggest, n, trials=trials, rstate=np.random.default_rng(1), verbose=False)
        points.append(trials.vals)
    assert points[0] == points[1]


def test_all_distributions_and_branches(history_of, rng):
    """Points have the prior's distribution in each parameter, and are inactive where they must be."""
    space = Space(
        hp.choice("c", [{"n": hp.normal("n", 1, 2), "q": hp.quniform("q", 1, 4, 1)}, {"l": hp.loguniform("l", -3, 0)}])
    )
    values = qmc.propose(space, history_of(space, []), rng, 512)
    c, n, q, log = (values[:, space.index[label]] for label in ("c", "n", "q", "l"))
    assert np.bincount(c.astype(int)).tolist() == [256, 256]
    np.testing.assert_array_equal(np.isnan(n), c == 1)
    np.testing.assert_array_equal(np.isnan(log), c == 0)
    assert stats.kstest(n[c == 0], stats.norm(1, 2).cdf).pvalue > 0.01
    assert stats.kstest(np.log(log[c == 1]), stats.uniform(-3, 3).cdf).pvalue > 0.01
    assert (abs(np.bincount(q[c == 0].astype(int))[1:] - 64) <= 8).all()


def test_many_points_later(history_of, rng):
    """Far along the sequence the next points are as quickly there."""
    space = Space(SPACE)
    history = history_of(space, space.sample(rng, 5000), range(5000))
    assert qmc.propose(space, history, rng, 3).shape == (3, 2)


def test_thousands_of_parameters(history_of, rng):
    """More than a sequence is made for: draws from the prior."""
    space = Space([hp.uniform(f"x{i}", 0, 1) for i in range(1200)])
    assert qmc.propose(space, history_of(space, []), rng, 2).shape == (2, 1200)


@pytest.mark.parametrize("sequence", ["latin", ["sobol"], {"sobol": 1}, None, np.array(["sobol", "halton"])])
def test_an_unknown_sequence_is_refused(sequence):
    """By name, with those there are."""
    with pytest.raises(InvalidArgumentError, match=re.escape(f"one of sobol, halton, got sequence={sequence!r}")):
        qmc.suggest([0], Domain(lambda _: 0.0, SPACE), Trials(), 0, sequence=sequence)
