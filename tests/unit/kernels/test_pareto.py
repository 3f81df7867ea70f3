"""Comparison by several losses: examples worked out by hand, extremes, and costs in calls."""

import itertools
import math
import sys

import numpy as np
import pytest

from sparktune.kernels import pareto

STAIRS = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.0]])


def test_ranks_front_and_volume_of_a_small_set():
    """Three steps, a point above them and a double: ranks 0 and 1, the double once in the front, five unit squares."""
    assert pareto.nondominated_ranks(STAIRS).tolist() == [0, 0, 0, 1, 0]
    assert pareto.front(STAIRS).tolist() == [0, 1, 2]
    # Against (3, 3): the squares below x + y = 3 are missing from the nine, of which one is below all points.
    assert pareto.hypervolume(STAIRS, np.array([3.0, 3.0])) == 3 + 2 + 1


def test_volume_of_points_at_or_beyond_the_reference():
    """They add nothing, and none at all is a volume of 0."""
    reference = np.array([1.0, 1.0])
    assert pareto.hypervolume(np.array([[0.5, 1.0], [0.0, 2.0], [math.inf, 0.0]]), reference) == 0.0
    assert pareto.hypervolume(np.empty((0, 2)), reference) == 0.0


def test_infinitely_good_loss_has_infinite_volume():
    """A loss of minus infinity below the reference makes the volume infinite, not NaN."""
    losses = np.array([[-math.inf, 0.5], [-math.inf, 0.2], [0.0, 0.0]])
    assert pareto.hypervolume(losses, np.array([1.0, 1.0])) == math.inf


def test_volume_that_no_float_holds():
    """It is infinite, not NaN."""
    losses = np.array([[-1e200, 0.0, -1e200], [0.0, -1e200, -1e200]])
    assert pareto.hypervolume(losses, np.full(3, 1e200)) == math.inf


@pytest.mark.parametrize("m", [3, 4, 5, 6, 8])
def test_volume_is_that_of_inclusion_and_exclusion(rng, m):
    """The volumes that all subsets share, added and taken away in turn, with ties; whole numbers make both exact."""
    for losses in rng.integers(0, 4, (10, 8, m)).astype(float):
        subsets = [losses[list(rows)] for k in range(1, 9) for rows in itertools.combinations(range(8), k)]
        shared = sum((-1) ** (len(subset) + 1) * np.prod(5.0 - subset.max(axis=0)) for subset in subsets)
        assert pareto.hypervolume(losses, np.full(m, 5.0)) == shared


def sphere(rng, n, m):
    """n points with m losses of which none dominates another."""
    directions = np.abs(rng.normal(size=(n, m)))
    return 1 - directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_volume_with_many_losses_in_few_calls(rng):
    """The calls of functions are as many as points times losses, a few times; what grows faster is in arrays."""
    n_calls = 0

    def count(frame, event, _):
        nonlocal n_calls
        n_calls += event == "call"

    losses, before = sphere(rng, 60, 6), sys.getprofile()
    sys.setprofile(count)
    try:
        pareto.hypervolume(losses, np.full(6, 1.1))
    finally:
        sys.setprofile(before)
    assert n_calls < 20 * 60 * 6


@pytest.mark.parametrize(("n", "m"), [(20, 1), (20, 2), (20, 3), (20, 4), (20, 5), (60, 8)])
def test_volume_agrees_with_sampling(rng, n, m):
    """The share of random points that are dominated is the volume, within five standard errors."""
    losses, samples = rng.random((n, m)), rng.random((40_000, m))
    dominated = (losses[:, None] <= samples).all(axis=2).any(axis=0).mean()
    error = math.sqrt(dominated * (1 - dominated) / len(samples)) + 1e-9
    assert pareto.hypervolume(losses, np.ones(m)) == pytest.approx(dominated, abs=5 * error)


@pytest.mark.parametrize("m", [2, 3])
def test_subset_of_a_sphere_is_near_the_whole(rng, m):
    """Fifteen of 300 points on a sphere dominate at least 1 - 1/e of the volume of all, as the greedy choice must."""
    losses = sphere(rng, 300, m)
    picked = pareto.hypervolume_subset(losses, np.full(m, 1.1), 15)
    whole = pareto.hypervolume(losses, np.full(m, 1.1))
    assert pareto.hypervolume(losses[picked], np.full(m, 1.1)) >= (1 - 1 / math.e) * whole


def test_points_that_add_nothing_are_picked_last_in_their_order():
    """Once all volume is dominated, the rest is taken as it comes."""
    losses = np.array([[2.0, 2.0], [3.0, 0.5], [0.0, 0.0], [1.0, 1.0]])
    assert pareto.hypervolume_subset(losses, np.array([2.5, 2.5]), 4).tolist() == [2, 0, 1, 3]
    assert pareto.hypervolume_subset(losses, np.array([2.5, 2.5]), 2).tolist() == [2, 0]


def test_order_of_one_loss():
    """Feasible points by loss, equals in their order; then the others by violation, and by loss if that is the same."""
    objectives = np.array([[3.0], [1.0], [2.0], [1.0], [0.0], [-1.0], [math.inf]])
    violations = np.array([0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0])
    assert pareto.order(objectives, violations).tolist() == [1, 3, 2, 0, 6, 5, 4]
    assert pareto.order(objectives, violations, 2).tolist() == [1, 3]


def test_order_spreads_over_the_front():
    """Within a rank, a crowd comes after points far from it, whose losses are in units a thousand times larger."""
    losses = np.array([[0.50, 500.0], [0.51, 490.0], [0.52, 480.0], [0.0, 1000.0], [1.0, 0.0]])
    order = pareto.order(losses, np.zeros(5), 3)
    assert set(order) == {order[0], 3, 4}


def test_order_bounds_the_volumes_it_computes(rng, monkeypatch):
    """With k given, no more than k points are picked by volume, however many there are."""
    asked = []
    subset = pareto.hypervolume_subset
    monkeypatch.setattr(pareto, "hypervolume_subset", lambda *args: asked.append(args[2]) or subset(*args))
    losses = rng.random((2000, 3))
    assert len(pareto.order(losses, np.zeros(2000), 7)) == 7
    assert asked == [7]


def test_front_of_two_losses_compares_no_pairs(rng, monkeypatch):
    """Points with two losses are looked at in one sweep, also where all of them are on the front."""
    compared = []
    pairs = pareto._is_dominated
    monkeypatch.setattr(
        pareto, "_is_dominated", lambda coded, by: compared.append(len(coded) * len(by)) or pairs(coded, by)
    )
    x = rng.random(2000)
    assert pareto.front(np.column_stack([x, 1 - x])).tolist() == np.argsort(x).tolist()
    assert not pareto.nondominated_ranks(np.column_stack([x, 1 - x])).any()
    assert not compared
    # That pairs are seen here at all: with three losses there is no such order.
    assert len(pareto.front(np.column_stack([x, 1 - x, x]))) == 2000
    assert sum(compared) > 2000


@pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
def test_zeros_are_equal_on_a_front(zeros):
    """Of 0.0 and -0.0 the first one is kept, whichever comes in first."""
    losses = np.array([[zero, 1.0] for zero in zeros])
    assert pareto.front(losses).tolist() == [0]
    front = pareto.Front(losses[:0], np.arange(0))
    for i in (1, 0):
        front.add(losses[i], i)
    assert front.ids == [0]


@pytest.mark.parametrize("k", [None, 0, 3])
def test_order_of_nothing(k):
    """No points have an empty order."""
    assert pareto.order(np.empty((0, 2)), np.empty(0), k).tolist() == []
    assert pareto.front(np.empty((0, 2))).tolist() == []
    assert pareto.nondominated_ranks(np.empty((0, 2))).tolist() == []
