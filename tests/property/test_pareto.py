"""Invariants of the comparison by several losses, against definitions taken word by word."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparktune.kernels import pareto

QUICK = settings(max_examples=150, deadline=None)
#: Few different numbers make equal points and ties; some are infinite.
LOSSES = st.tuples(st.integers(1, 14), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(float, shape, elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, np.inf]))
)
GRID = st.tuples(st.integers(1, 8), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(float, shape, elements=st.integers(0, 4).map(float))
)


def dominates(a, b):
    return all(a <= b) and any(a < b)


def slow_ranks(losses):
    """Peel off the points that no other one left dominates."""
    ranks, left, rank = np.full(len(losses), -1), set(range(len(losses))), 0
    while left:
        best = {i for i in left if not any(dominates(losses[j], losses[i]) for j in left)}
        ranks[list(best)] = rank
        left, rank = left - best, rank + 1
    return ranks


def slow_front(losses):
    """The first of every undominated loss vector, in lexicographic order."""
    first = {}
    for i in np.flatnonzero(slow_ranks(losses) == 0).tolist():
        first.setdefault(tuple(losses[i].tolist()), i)
    return [i for _, i in sorted(first.items())]


def count_cells(losses, reference):
    """The volume of points on whole numbers: how many unit cells lie between one of them and the reference."""
    cells = itertools.product(*(range(int(r)) for r in reference))
    return sum(any(all(p <= cell) for p in losses) for cell in cells)


@QUICK
@given(LOSSES)
def test_ranks_are_those_of_the_definition(losses):
    """Peeling front after front by comparing all pairs gives the same ranks, infinite losses and ties included."""
    np.testing.assert_array_equal(pareto.nondominated_ranks(losses), slow_ranks(losses))


@QUICK
@given(LOSSES, st.integers(0, 20))
def test_ranks_that_are_needed_are_right(losses, n_needed):
    """With ``n_needed``, at least so many points have their rank, and the others a higher one than all of these."""
    ranks, truth = pareto.nondominated_ranks(losses, n_needed), slow_ranks(losses)
    last = ranks.max()
    np.testing.assert_array_equal(ranks[truth < last], truth[truth < last])
    assert all(ranks[truth >= last] == last)
    assert np.count_nonzero(truth < last) >= min(n_needed, len(losses)) or all(ranks == truth)


@QUICK
@given(LOSSES)
def test_front_is_each_best_loss_vector_once(losses):
    """The front has the first point of every undominated loss vector, by the first loss."""
    front = pareto.front(losses)
    best = np.flatnonzero(slow_ranks(losses) == 0)
    assert {tuple(losses[i]) for i in front} == {tuple(losses[i]) for i in best}
    assert len({tuple(losses[i]) for i in front}) == len(front)
    assert all(i == min(j for j in best if tuple(losses[j]) == tuple(losses[i])) for i in front)
    assert sorted(losses[front, 0]) == list(losses[front, 0])


@QUICK
@given(LOSSES, st.data())
def test_front_that_grows_is_that_of_all_points(losses, data):
    """Points brought in one by one, in any order and some twice, leave the front that all of them have at once."""
    n_first = data.draw(st.integers(0, len(losses)))
    front = pareto.Front(losses[:n_first], np.arange(n_first))
    seen = set(range(n_first))
    late = st.lists(st.integers(0, len(losses) - 1), max_size=20)
    for i in [*data.draw(late), *data.draw(st.permutations(range(n_first, len(losses))))]:
        front.add(losses[i], i)
        seen.add(i)
        rows = np.array(sorted(seen))
        assert front.ids == rows[slow_front(losses[rows])].tolist()
    assert front.ids == slow_front(losses) == pareto.front(losses).tolist()


@QUICK
@given(GRID)
def test_hypervolume_is_the_number_of_cells(losses):
    """On whole numbers the volume is that of the dominated unit cells, counted one by one."""
    reference = np.full(losses.shape[1], 4.0)
    assert pareto.hypervolume(losses, reference) == count_cells(losses, reference)


@QUICK
@given(GRID, st.integers(0, 9))
def test_each_pick_adds_as_much_as_any_could(losses, k):
    """The subset is greedy: no other point would have added more volume at any step."""
    reference = np.full(losses.shape[1], 4.0)
    picked = pareto.hypervolume_subset(losses, reference, k).tolist()
    assert len(set(picked)) == len(picked) == min(k, len(losses))
    for n in range(len(picked)):
        volumes = [
            pareto.hypervolume(losses[[*picked[:n], i]], reference) for i in range(len(losses)) if i not in picked[:n]
        ]
        assert pareto.hypervolume(losses[picked[: n + 1]], reference) == max(volumes)


@QUICK
@given(LOSSES, st.data())
def test_order_is_feasible_first_then_by_rank(losses, data):
    """A permutation: feasible points by rank, then the others by violation; the best k are its first k, as a set."""
    elements = st.sampled_from([0.0, 0.0, 0.5, 2.0, np.inf])
    violations = data.draw(hnp.arrays(float, len(losses), elements=elements))
    order = pareto.order(losses, violations)
    assert sorted(order) == list(range(len(losses)))
    assert list(violations[order]) == sorted(violations)
    feasible = order[violations[order] == 0]
    ranks = dict(zip(np.flatnonzero(violations == 0), slow_ranks(losses[violations == 0]), strict=True))
    assert [ranks[i] for i in feasible] == sorted(ranks.values())
    k = data.draw(st.integers(0, len(losses)))
    np.testing.assert_array_equal(pareto.order(losses, violations, k), order[:k])


@QUICK
@given(GRID, st.integers(-2, 2), st.integers(-2, 2))
def test_order_knows_no_units(losses, shift, exponent):
    """Shifting all losses, or measuring them in other units, leaves the order as it is."""
    # Powers of two: the arithmetic is exact, so that equal gains stay equal.
    none = np.zeros(len(losses))
    changed = (losses + shift) * 2.0**exponent
    np.testing.assert_array_equal(pareto.order(changed, none), pareto.order(losses, none))
