"""The points of a space as a tree."""

import math

import numpy as np
import pytest

from sparktune import hp
from sparktune.pyll.base import scope
from sparktune.search.tree import PointTree, Values, next_active, values_of
from sparktune.space.compile import Space
from sparktune.space.distributions import Categorical, QLogNormal, QLogUniform, QNormal, QUniform, RandInt, Uniform

shared = hp.randint("shared", 2)
number = hp.randint("number", 4)
p, s = hp.randint("p", 2), hp.randint("s", 2)
SPACES = {
    "one": Space(hp.randint("a", 3)),
    "none": Space({"constant": 1}),
    "product": Space(
        [hp.randint("a", 2), hp.quniform("b", 0, 1, 0.5), hp.pchoice("c", [(0.5, 0), (0.5, 1), (0.0, 2)])]
    ),
    "branches": Space(hp.choice("c", [{"x": hp.randint("x", 2), "y": hp.choice("y", [0, hp.randint("z", 3)])}, 1, 2])),
    "shared": Space([hp.choice("c", [shared, 1]), hp.choice("d", [shared, hp.uniformint("e", 1, 2)])]),
    "expression": Space(scope.switch(number % 2, hp.randint("even", 3), {"odd": hp.randint("odd", 2), "n": number})),
    "each under the other": Space(
        hp.choice("c", [scope.switch(p, scope.switch(s, 0, 1), 5), scope.switch(s, scope.switch(p, 0, 1), 5)])
    ),
}
SIZES = {"one": 3, "none": 1, "product": 12, "branches": 10, "shared": 10, "expression": 10, "each under the other": 6}


def distinct(rows):
    """The distinct points among some, sorted; inactive as -1, for NaN does not equal itself."""
    return np.unique(np.nan_to_num(np.array(rows), nan=-1.0), axis=0)


@pytest.mark.parametrize("name", SPACES)
def test_in_order_come_all_points_once(name, rng):
    """Conditions by choices, by shared parameters and by expressions: the points that draws find, each once."""
    space, rows = SPACES[name], []
    tree = PointTree(space)
    while (row := tree.first_missing()) is not None:
        rows.append(row)
        assert tree.add(row)
    assert len(rows) == SIZES[name]
    assert tree.is_full
    np.testing.assert_array_equal(distinct(rows), distinct(space.sample(rng, 4000)))


@pytest.mark.parametrize("name", SPACES)
def test_draws_find_all_points_once(name, rng):
    """By chance as well, until nothing is missing."""
    space, rows = SPACES[name], []
    tree = PointTree(space)
    while (row := tree.draw_missing(rng)) is not None:
        rows.append(row)
        tree.add(row)
    assert len(rows) == SIZES[name]
    np.testing.assert_array_equal(distinct(rows), distinct(space.sample(rng, 4000)))


def test_adding_twice_changes_nothing():
    """A point counts once, and what is taken back is missing again."""
    space = SPACES["product"]
    tree = PointTree(space)
    row = tree.first_missing()
    assert tree.add(row)
    assert tree.add(row) == []
    marks = [mark for _ in range(11) for mark in tree.add(tree.first_missing())]
    assert tree.is_full
    tree.take_back(marks)
    assert not tree.is_full
    assert len([tree.add(tree.first_missing()) for _ in range(11)]) == 11
    assert tree.is_full


@pytest.mark.parametrize(
    "row", [[2.0, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 2.0], [0.0, math.nan, 0.0], [0.0, -0.5, 0.0]]
)
def test_what_is_no_point_of_the_space_is_not_added(row):
    """Another option, a value between two steps, one that is impossible, one that is missing, one out of bounds."""
    assert PointTree(SPACES["product"]).add(np.array(row)) == []


def test_a_branch_with_a_number_is_never_full(rng):
    """Where a continuous parameter is active there is always another point."""
    space = Space(hp.choice("c", [hp.uniform("x", 0, 1), hp.randint("r", 2), None]))
    tree = PointTree(space)
    for raw in ({"c": 1, "r": 0}, {"c": 1, "r": 1}, {"c": 2}, {"c": 0, "x": 0.5}):
        tree.add(space.row(raw))
    for _ in range(20):
        raw = space.raw(tree.draw_missing(rng))
        assert (set(raw), raw["c"]) == ({"c", "x"}, 0)


def test_an_infinite_grid_gives_up_where_no_likely_value_is_left(rng):
    """Of a normal with steps of ten standard deviations one value is likely, and others are not looked for."""
    tree = PointTree(Space(hp.qnormal("x", 0, 1, 10)))
    assert tree.draw_missing(rng).tolist() == [0.0]
    tree.add(np.array([0.0]))
    assert tree.draw_missing(rng) is None


def test_draws_go_by_the_prior(rng):
    """While nothing is full the first draw has the prior's probabilities."""
    tree = PointTree(Space(hp.pchoice("c", [(0.8, 0), (0.2, 1)])))
    assert np.mean([tree.draw_missing(rng)[0] for _ in range(1000)]) == pytest.approx(0.2, abs=0.05)  # four deviations


def test_a_huge_space_costs_one_walk(rng, monkeypatch):
    """Of 2^40 times 30^20 points some are added and others found: each asks once for what follows after a value."""
    asked = []
    monkeypatch.setattr("sparktune.search.tree.next_active", lambda *args: asked.append(args) or next_active(*args))
    space = Space([hp.randint("big", 2**40), *(hp.quniform(f"q{i}", 1, 30, 1) for i in range(20))])
    tree = PointTree(space)
    for find in [tree.first_missing, lambda: tree.draw_missing(rng)] * 200:
        asked.clear()
        row = find()
        assert len(asked) <= len(space)
        asked.clear()
        assert tree.add(row)
        assert len(asked) <= len(space)
    assert not tree.is_full


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (RandInt(-1, 2), [-1, 0, 1]),
        (Categorical((0.5, 0.0, 0.5)), [0, 2]),
        (QUniform(0.05, 0.35, 0.1), [0.1, 0.2, 0.3]),
        (QUniform(0, 0.3, 0.1), [0, 0.1, 0.2, 0.3]),
        (QUniform(-1, 1, 1), [-1, 0, 1]),
        (QLogUniform(0, math.log(7), 2), [2, 4, 6]),
    ],
)
def test_values_by_number(distribution, values, rng):
    """All values, in order, as draws have them; their numbers; and none for what is between."""
    found = Values(distribution)
    assert found.count == len(values)
    listed = [found.value(number) for number in range(len(values))]
    assert listed == pytest.approx(values)
    assert set(distribution.sample(rng, 500).tolist()) == set(listed)
    assert [found.number(value) for value in values] == list(range(len(values)))
    assert [found.number(value) for value in (values[0] - 1, values[-1] + 1, values[0] + 0.05, math.nan)] == [None] * 4


@pytest.mark.parametrize("distribution", [QNormal(1.0, 2.0, 0.5), QLogNormal(0.0, 1.0, 1.0)])
def test_infinite_grids(distribution, rng):
    """Any step has its number, and there is no last one."""
    found = values_of(distribution)
    assert math.isinf(found.count)
    for value in distribution.sample(rng, 100).tolist():
        assert found.value(found.number(value)) == value


def test_a_continuous_parameter_has_no_values():
    """Only what has steps has numbers."""
    assert values_of(Uniform(0, 1)) is None


def test_what_is_asked_for_next():
    """The first column that is known to be active and has no value."""
    space = SPACES["branches"]
    row = np.full(len(space), np.nan)
    asked = []
    for value in (0.0, 1.0, 1.0, 2.0):
        column = next_active(space, row)
        asked.append(space.labels[column])
        row[column] = value
    assert asked == ["c", "x", "y", "z"]
    assert next_active(space, row) is None
    assert next_active(space, space.row({"c": 1})) is None
