"""Points that were tried, and points that were not."""

import numpy as np
import pytest

from sparktune import hp
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_RUNNING
from sparktune.search.tried import Tried
from sparktune.space.compile import Space

GRID = Space([hp.randint("a", 4), hp.choice("b", [hp.randint("c", 3), 0])])
NO_BATCH = np.empty((0, 3))


def n_distinct(rows):
    """How many points differ; inactive as -1, for NaN does not equal itself."""
    return len(np.unique(np.nan_to_num(rows, nan=-1.0), axis=0))


@pytest.fixture
def tried(document):
    """A state in which the combinations 0-0-0 and 1-1 of ``GRID`` were tried and 2-1 was cancelled."""
    history = History(GRID.labels)
    points = [{"a": 0, "b": 0, "c": 0}, {"a": 1, "b": 1}]
    history.sync(
        [*(document(i, p, 1.0) for i, p in enumerate(points)), document(2, {"a": 2, "b": 1}, None, JOB_STATE_CANCEL)]
    )
    return Tried.of(GRID, history)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"a": 0, "b": 0, "c": 0}, True),
        ({"a": 1, "b": 1}, True),
        ({"a": 0, "b": 0, "c": 1}, False),
        ({"a": 0, "b": 1}, False),
        ({"a": 2, "b": 1}, False),
    ],
)
def test_what_was_tried_is_known(tried, raw, expected):
    """In all coordinates, inactive ones too; a cancelled trial does not count."""
    assert tried.is_tried(GRID.row(raw), NO_BATCH) == expected
    assert tried.is_tried(GRID.row(raw), GRID.row(raw)[None])


def test_a_cancelled_point_counts_when_it_was_tried_again(document):
    """A point cancelled first and evaluated later was tried."""
    history = History(GRID.labels)
    point = {"a": 2, "b": 1}
    history.sync([document(0, point, None, JOB_STATE_CANCEL), document(1, point, 1.0)])
    assert Tried.of(GRID, history).is_tried(GRID.row(point), NO_BATCH)


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (-0.0, 0.0), (0.3, 3 * 0.1), (3 * 0.1, 0.3)])
def test_one_step_of_a_grid_is_one_point(one, other, document):
    """Whatever the rounding: users write 0.3, and the grid has 3 * 0.1; rounding a small negative number gives -0.0."""
    space = Space(hp.quniform("q", 0, 1, 0.1))
    history = History(space.labels)
    history.sync([document(0, {"q": one}, 1.0)])
    tried = Tried.of(space, history)
    assert tried.is_tried(np.array([other]), NO_BATCH[:, :1])
    assert tried.is_tried(np.array([0.5]), np.array([[0.1], [0.5]]))
    assert not tried.is_tried(np.array([0.4]), np.array([[0.1], [0.5]]))
    assert len(tried.in_order(99)) == 10  # of eleven


def test_a_point_with_an_active_number_never_counts_as_tried(document):
    """A continuous parameter does not repeat by chance; where it is inactive, points do."""
    space = Space(hp.choice("c", [hp.uniform("x", 0, 1), None]))
    history = History(space.labels)
    history.sync([document(0, {"c": 0, "x": 0.5}, 1.0), document(1, {"c": 1}, 1.0)])
    tried = Tried.of(space, history)
    assert not tried.is_tried(space.row({"c": 0, "x": 0.5}), NO_BATCH[:, :2])
    assert tried.is_tried(space.row({"c": 1}), NO_BATCH[:, :2])


def test_first_new_takes_the_first_that_was_not_tried(tried, rng):
    """The batch is passed over as well."""
    rows = np.array([GRID.row(p) for p in ({"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 0, "b": 1})])
    np.testing.assert_array_equal(tried.first_new(rows, NO_BATCH, rng), rows[1])
    np.testing.assert_array_equal(tried.first_new(rows, rows[1:2], rng), rows[2])


def test_first_new_draws_where_all_were_tried(tried, rng):
    """A new point of the prior comes back, and the first one asked for where there is none left."""
    rows = np.array([GRID.row({"a": 1, "b": 1})])
    assert not tried.is_tried(tried.first_new(rows, NO_BATCH, rng), NO_BATCH)
    every = np.unique(GRID.sample(rng, 2000), axis=0)
    np.testing.assert_array_equal(tried.first_new(rows, every, rng), rows[0])


def test_new_draws_are_new_while_they_can_be(tried, rng):
    """Of the 16 points, 14 were not tried: each comes once, and then draws go on."""
    batch = NO_BATCH
    for _ in range(20):
        batch = np.vstack([batch, tried.new_draw(batch, rng)])
    assert n_distinct(batch[:14]) == 14
    assert not any(tried.is_tried(row, NO_BATCH) for row in batch[:14])
    np.testing.assert_array_equal(GRID.mask(np.nan_to_num(batch)), batch)


def test_an_unlikely_point_is_found(document, rng):
    """A point that draws of the prior would hardly find comes when it is the last one."""
    space = Space([hp.pchoice("a", [(0.999999, 0), (0.000001, 1)]), hp.randint("b", 2)])
    history = History(space.labels)
    history.sync([document(i, {"a": i // 2, "b": i % 2}, 1.0) for i in range(3)])
    assert space.raw(Tried.of(space, history).new_draw(NO_BATCH[:, :2], rng)) == {"a": 1, "b": 1}


def test_draws_leave_nothing_behind(tried, rng):
    """What was proposed in one batch is not tried for the next one."""
    for _ in range(2):
        batch = NO_BATCH
        for _ in range(14):
            batch = np.vstack([batch, tried.new_draw(batch, rng)])
        assert n_distinct(batch) == 14
        assert len(tried.in_order(99)) == 14


def test_points_in_order(tried):
    """All that were not tried, from the lowest values up, then no more."""
    points = [GRID.raw(row) for row in tried.in_order(20)]
    assert len(points) == 14
    a, b = "a", "b"
    assert points[:4] == [{a: 0, b: 0, "c": 1}, {a: 0, b: 0, "c": 2}, {a: 0, b: 1}, {a: 1, b: 0, "c": 0}]
    assert points == [GRID.raw(row) for row in [*tried.in_order(3), *tried.in_order(20)[3:]]]


def test_a_trial_that_is_cancelled_frees_its_point(document):
    """Running it counts, and no longer when it was cancelled."""
    space, history = Space(hp.randint("x", 3)), History(["x"])
    documents = [document(i, {"x": i}, None, JOB_STATE_RUNNING) for i in range(3)]
    history.sync(documents)
    assert len(Tried.of(space, history).in_order(9)) == 0
    documents[1]["state"] = JOB_STATE_CANCEL
    history.sync(documents)
    assert Tried.of(space, history).in_order(9).tolist() == [[1.0]]
    documents.append(document(3, {"x": 1}, 1.0))
    history.sync(documents)
    assert len(Tried.of(space, history).in_order(9)) == 0


def test_other_conditions_are_another_space(document):
    """The same labels and distributions under another choice: what was tried is looked at anew."""
    history = History(("c", "x"))
    history.sync([document(0, {"c": 0, "x": 0}, 1.0), document(1, {"c": 1}, 1.0)])
    x = [hp.randint("x", 2) for _ in range(2)]
    assert len(Tried.of(Space(hp.choice("c", [x[0], None])), history).in_order(9)) == 1
    assert len(Tried.of(Space([hp.choice("c", [0, None]), x[1]]), history).in_order(9)) == 3


def test_copies_of_continuous_points(document, rng):
    """The same numbers in all that is active, in the history or the batch; those of cancelled trials do not count."""
    space = Space({"x": hp.uniform("x", 0, 1), "c": hp.choice("c", [0, hp.uniform("y", 0, 1)])})
    raws = [{"x": 0.5, "c": 0}, {"x": 0.5, "c": 1, "y": 0.25}, {"x": 0.75, "c": 0}]
    documents = [document(i, raw, 1.0) for i, raw in enumerate(raws)]
    documents[2]["state"] = JOB_STATE_CANCEL
    history = History(space.labels)
    history.sync(documents)
    tried, none = Tried.of(space, history), np.empty((0, 3))
    rows = [space.row(raw) for raw in [*raws, {"x": 0.5, "c": 1, "y": 0.5}]]
    assert [tried.is_copy(row, none) for row in rows] == [True, True, False, False]
    assert tried.is_copy(rows[3], np.array(rows[3:]))
    assert tried.first_new(np.array(rows), none, rng, copies=True).tolist() == pytest.approx(
        rows[2].tolist(), nan_ok=True
    )
    np.testing.assert_array_equal(tried.first_new(np.array(rows), none, rng), rows[0])
