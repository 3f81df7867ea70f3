"""What the algorithms keep between proposals: a function of the rows, and of nothing that happened in between."""

import numpy as np
import pytest

from sparktune import hp, tpe
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_RUNNING
from sparktune.kernels.histogram import Smoothing
from sparktune.search.state import EXACT, SearchState
from sparktune.space.compile import Space

SPACE = Space(
    [
        hp.loguniform("x", -9, 0),
        hp.normal("z", 5, 2),
        hp.quniform("q", 0, 1, 0.1),
        hp.choice("c", [{"inner": hp.uniform("inner", 0, 1)}, "b", "c"]),
    ]
)


def grown(space, values, document, sizes):
    """Histories of the same rows: one filled at once, one in parts with the state asked for in between."""
    documents = [document(i, space.raw(row), float(i % 17)) for i, row in enumerate(values)]
    at_once, in_parts = History(space.labels), History(space.labels)
    at_once.sync(documents)
    for size in sizes:
        in_parts.sync(documents[:size])
        SearchState.of(space, in_parts)
    in_parts.sync(documents)
    return at_once, in_parts


def everything(state, history, space, rng):
    """What a state has to say: kernels, weights, histogram, and which points were tried."""
    left_out = np.arange(0, len(history), 3)
    some = space.sample(rng, 20)
    return (
        state.coefficients,
        state.weights(left_out, 0.7),
        state.density(left_out, 0.7),
        state.kernels_among(some),
        np.array([state.tried.is_tried(row, some[:0]) for row in [*some, *history.values[:20]]]),
    )


@pytest.mark.parametrize(
    ("n", "every"), [(1, 1), (60, 1), (129, 1), (200, 7), (700, 33), (1100, 1), (1500, 400), (3100, 97), (3100, 3000)]
)
def test_a_state_is_that_of_the_same_rows_read_at_once(n, every, document, rng):
    """However often it was asked for in between, below and above the sizes at which kernels are made anew."""
    at_once, in_parts = grown(SPACE, SPACE.sample(rng, n), document, range(0, n, every))
    for history in (at_once, in_parts):
        SearchState.of(SPACE, history)
    first, second = (
        everything(SearchState.of(SPACE, h), h, SPACE, np.random.default_rng(1)) for h in (at_once, in_parts)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_does_not_hang_on_when_results_came_in(document, rng):
    """Rows read while they ran and again when they ended give the state of rows read at the end."""
    values = SPACE.sample(rng, 300)
    documents = [document(i, SPACE.raw(row), 1.0, JOB_STATE_RUNNING) for i, row in enumerate(values)]
    early, late = History(SPACE.labels), History(SPACE.labels)
    early.sync(documents)
    SearchState.of(SPACE, early)
    for row in rng.permutation(300):
        documents[row]["state"] = JOB_STATE_DONE
        if row % 50 == 0:
            early.sync(documents)
            SearchState.of(SPACE, early)
    early.sync(documents)
    late.sync(documents)
    first, second = (everything(SearchState.of(SPACE, h), h, SPACE, np.random.default_rng(1)) for h in (early, late))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_history_that_begins_anew_begins_a_new_state(document, rng):
    """When the rows change, nothing of the former ones is left."""
    history, other = History(SPACE.labels), History(SPACE.labels)
    for values in (SPACE.sample(rng, 40), SPACE.sample(rng, 30)):
        documents = [document(i, SPACE.raw(row), 1.0) for i, row in enumerate(values)]
        history.sync(documents)
        SearchState.of(SPACE, history)
    other.sync(documents)
    first, second = (everything(SearchState.of(SPACE, h), h, SPACE, np.random.default_rng(1)) for h in (history, other))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_state_is_kept_for_its_space(document, rng):
    """The same history and an equal space give the same object; other bounds give another."""
    history = History(["x"])
    history.sync([document(i, {"x": 0.1 * i}, 1.0) for i in range(5)])
    first = SearchState.of(Space(hp.uniform("x", 0, 1)), history)
    assert SearchState.of(Space(hp.uniform("x", 0, 1)), history) is first
    assert SearchState.of(Space(hp.uniform("x", 0, 2)), history) is not first


@pytest.mark.parametrize("n", [0, 5, 128, 129, 500, 1025, 3000])
def test_weights_sum_to_the_rows_that_count_and_the_prior(n, document, rng):
    """Also where a part of the rows stands for all: the rows that count have their number as weight."""
    history, _ = grown(SPACE, SPACE.sample(rng, n), document, ())
    state = SearchState.of(SPACE, history)
    left_out = rng.permutation(n)[: n // 3]
    weights = state.weights(left_out, 0.25)
    assert weights.shape == (len(state.coefficients),)
    assert weights[0] == 0.25
    assert weights.sum() == pytest.approx(n - n // 3 + 0.25)
    assert state.weights(np.arange(n), 0.25).sum() == 0.25


def test_rows_left_out_weigh_nothing(document, rng):
    """Weight 0 for the kernels at the points left out, of those made together and of those made since."""
    space = Space(hp.normal("x", 0, 1))
    history, _ = grown(space, rng.normal(size=(3100, 1)), document, ())
    state = SearchState.of(space, history)
    coefficients = state.coefficients[1:]
    means = -0.5 * coefficients[:, 1] / coefficients[:, 0]
    left_out = np.concatenate([rng.permutation(3000)[:500], [3050, 3099]])
    is_left_out = np.isclose(means[:, None], history.values[left_out, 0], rtol=0, atol=1e-9).any(axis=1)
    assert is_left_out.sum() > 100
    assert is_left_out[-1]
    np.testing.assert_array_equal(state.weights(left_out, 1.0)[1:] == 0, is_left_out)


def test_kernels_handed_out_stay_as_they_were(document, rng):
    """What a proposal took from the state does not change when rows are added, or all kernels are made anew."""
    space = Space(hp.uniform("x", 0, 1))
    documents = [document(i, {"x": x}, 1.0) for i, x in enumerate(rng.random(400))]
    history = History(space.labels)
    history.sync(documents[:300])
    taken = SearchState.of(space, history).coefficients
    copy = taken.copy()
    for n in range(301, 400):
        history.sync(documents[:n])
        SearchState.of(space, history)
    np.testing.assert_array_equal(taken, copy)


def test_a_mixture_is_that_of_its_arguments(document, rng):
    """Kept or made anew, it has the rows, weights and bandwidths asked for."""
    history, _ = grown(SPACE, SPACE.sample(rng, 60), document, ())
    state, fresh = (SearchState(SPACE, history) for _ in range(2))
    points = state.points(SPACE.sample(rng, 30))
    rows, weights = np.array([3, 1, 4, 15, 9]), np.arange(5.0, 0, -1)
    asked = [(rows, weights, 1.0, 0.01), (rows, weights, 1.0, 0.01), (rows, weights, 1.0, 0.5)]
    asked += [(rows, weights, 2.0, 0.5), (rows, weights[::-1], 2.0, 0.5), (rows + 1, weights, 2.0, 0.5)]
    asked += [(rows[::-1], weights, 2.0, 0.5), (rows, weights, 1.0, 0.01), (rows, weights, 1.0, 0.01, 1.5)]
    found = []
    for arguments in asked:
        fresh = SearchState(SPACE, history)
        found.append(state.mixture(*arguments).log_pdf(points))
        np.testing.assert_array_equal(found[-1], fresh.mixture(*arguments).log_pdf(points))
    np.testing.assert_array_equal(found[0], found[1])
    assert all((one != other).any() for one, other in zip(found[1:], found[2:], strict=False))


@pytest.mark.parametrize(
    ("parameter", "inside"),
    [
        (hp.quniform("x", 0, 9, 1), {4: 0.682, 3: 0.157, 9: 0.0}),
        (hp.uniformint("x", 0, 9), {4: 0.682, 3: 0.157, 9: 0.0}),
        # On a log scale each step has a width of its own: half of the first is wide, of the last narrow.
        (hp.qloguniform("x", 0, np.log(16), 1), {4: 0.64, 16: 0.0}),
    ],
    ids=["grid", "integers", "log-grid"],
)
def test_a_kernel_is_as_wide_as_its_share_of_a_step(parameter, inside, document, rng):
    """All points on one step of a grid, widths of half a step: a third of the mass is on the neighbours."""
    space = Space(parameter)
    history, _ = grown(space, np.full((30, 1), 4.0), document, ())
    state = SearchState.of(space, history)
    mixture = state.mixture(np.arange(10), np.ones(10), 1e-9, 0.001, step_share=0.5)
    for value, mass in inside.items():
        point = state.points(np.array([[float(value)]]))
        share = np.exp(mixture.log_pdf(point)[0]) * state.layout.prior_mass[point.cells[0, 0]]
        assert share == pytest.approx(mass, abs=0.05)
    at = state.points(np.array([[4.0]]))
    narrow = state.mixture(np.arange(10), np.ones(10), 1e-9, 0.001)
    assert np.exp(narrow.log_pdf(at)[0]) * state.layout.prior_mass[at.cells[0, 0]] == pytest.approx(1, abs=1e-6)


def test_a_density_is_that_of_the_rows_that_count(document, rng):
    """Leaving rows out, one selection after another, gives the marginals of the others."""
    values = SPACE.sample(rng, 60)
    history, _ = grown(SPACE, values, document, ())
    state = SearchState.of(SPACE, history)
    for left_out in (np.arange(5), np.arange(5), np.arange(3, 50), np.arange(0)):
        others, _ = grown(SPACE, np.delete(values, left_out, axis=0), document, ())
        histogram = SearchState.of(SPACE, others).histogram
        expected = histogram.density(histogram.count(state.points(values[:0])), state.smoothing, 0.7)
        np.testing.assert_allclose(state.density(left_out, 0.7), expected, rtol=1e-12)


def test_kernels_are_bounded(document, rng):
    """With ten times the rows there are not ten times the kernels."""
    space = Space(hp.uniform("x", 0, 1))
    history = History(space.labels)
    documents = [document(i, {"x": x}, 1.0) for i, x in enumerate(rng.random(12_000))]
    history.sync(documents[:1200])
    few = len(SearchState.of(space, history).coefficients)
    history.sync(documents)
    assert len(SearchState.of(space, history).coefficients) < few + 400


def test_the_first_kernels_do_not_hang_on_the_order_of_the_rows(document, rng):
    """The same points in another order have the same kernels; among equal values it is the order that parts them."""
    space = Space([hp.normal("z", 5, 2), hp.uniform("x", 0, 1), hp.choice("c", [0, 1])])
    history, _ = grown(space, space.sample(rng, EXACT), document, ())
    again, _ = grown(space, history.values[::-1], document, ())
    first, second = (SearchState.of(space, h).coefficients[1:] for h in (history, again))
    np.testing.assert_allclose(second, first[::-1], rtol=1e-9)


def test_the_histogram_counts_all_rows(document, rng):
    """Far beyond the number of kernels, marginals are those of all rows."""
    space = Space(hp.uniform("x", 0, 1))
    history, _ = grown(space, np.append(np.full(2000, 0.2), np.full(1000, 0.8))[:, None], document, range(0, 3000, 100))
    state = SearchState.of(space, history)
    nothing = state.histogram.count(state.points(history.values[:0]))
    density = state.histogram.density(nothing, Smoothing(state.layout, 3000), 1.0)
    at = state.histogram.log_marginals(state.points(np.array([[0.2], [0.8], [0.5]])), density)[:, 0]
    assert at[0] - at[1] == pytest.approx(np.log(2), abs=0.02)
    assert at[2] < -7


# -- what a Gaussian process sees --------------------------------------------------------------------------------------


def test_inputs_are_in_the_unit_cube_one_column_for_each_option(document, rng):
    """Numbers in [0, 1], normal ones by their distribution function, options as columns of which one is set."""
    history, _ = grown(SPACE, SPACE.sample(rng, 40), document, ())
    state = SearchState.of(SPACE, history)
    z = state.coordinates.encode(history.values)
    inputs, groups = state.inputs(state.layout.points(z)), state.input_groups
    assert inputs.shape == (40, len(groups))
    assert ((inputs >= 0) & (inputs <= 1)).all()
    assert np.bincount(groups).tolist() == [3 if label == "c" else 1 for label in SPACE.labels]
    c = SPACE.index["c"]
    np.testing.assert_array_equal(inputs[:, groups == c].argmax(axis=1), z[:, c])
    assert (np.count_nonzero(inputs[:, groups == c], axis=1) == 1).all()
    one, other = inputs[:, groups == c][z[:, c] == 0][0], inputs[:, groups == c][z[:, c] == 1][0]
    assert np.linalg.norm(one - other) == pytest.approx(1)


def test_inactive_inputs_are_alike(document):
    """Two points of a branch differ in nothing that belongs to the other."""
    space = Space(hp.choice("c", [{"d": hp.choice("d", [0, 1]), "x": hp.uniform("x", 0, 1)}, "off"]))
    history = History(space.labels)
    history.sync([document(0, {"c": 1}, 1.0)])
    state = SearchState.of(space, history)
    inputs = state.inputs(state.points(np.array([space.row({"c": 1}), space.row({"c": 1})])))
    np.testing.assert_array_equal(*inputs)
    assert np.isfinite(inputs).all()


@pytest.mark.parametrize("n", [150, 1300])
def test_proposals_do_not_hang_on_the_state_kept(n, history_of, rng):
    """A proposal from a history that made many before is that from a fresh history."""
    values, losses = SPACE.sample(rng, n), rng.random(n)
    used, fresh = history_of(SPACE, values, losses), history_of(SPACE, values, losses)
    for seed in range(3):
        tpe.propose(SPACE, used, np.random.default_rng(seed), 4)
    np.testing.assert_array_equal(*(tpe.propose(SPACE, h, np.random.default_rng(9), 4) for h in (used, fresh)))
