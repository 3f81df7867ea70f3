"""Between the index of a choice and its option, and between numpy's types and Python's."""

import numpy as np
import pytest

from sparktune import hp
from sparktune.pyll.base import as_apply, scope
from sparktune.space.choices import index_of, named_values, native, options_of, value_nodes
from sparktune.space.compile import Space


class Broken:
    """Cannot be compared."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


def named(space, **raw):
    """The values by label at a point."""
    compiled = Space(space)
    return named_values(compiled, raw, value_nodes(compiled))


def switch(*options):
    """The node of a choice."""
    space = Space(hp.choice("c", list(options)))
    return value_nodes(space)["c"]


# -- values by label ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "raw", "value"),
    [
        (hp.choice("p", ["a", None, 3]), 0, "a"),
        (hp.choice("p", ["a", None, 3]), 1, None),
        (hp.pchoice("p", [(0.2, "a"), (0.8, "b")]), 1, "b"),
        (hp.choice("p", [[1, 2], {"k": [3]}]), 1, {"k": (3,)}),
        (hp.randint("p", 5), 3, 3),
        (hp.randint("p", 5, 9), 6, 6),
        (hp.uniformint("p", 0, 9), 4.0, 4),
        (hp.quniform("p", 0, 9, 3), 6.0, 6.0),
        (scope.int(hp.quniform("p", 0, 9, 3)), 6.0, 6),
        (scope.int(scope.float(hp.quniform("p", 0, 9, 3))), 6.0, 6),
        (hp.uniform("p", 0, 1), 0.5, 0.5),
        (2 ** hp.randint("p", 5), 3, 3),
        (scope.int(2 * hp.uniform("p", 0, 1)), 0.75, 0.75),
    ],
)
def test_the_value_that_people_mean(space, raw, value):
    """Of a choice the option, of a cast parameter the cast value, of an expression the parameter in it."""
    [found] = named(space, p=raw).values()
    assert found == value
    assert type(found) is type(value)


def test_only_active_labels():
    """Labels of an option that is not chosen are left out; those of nested options are values of their own."""
    space = hp.choice("c", [{"a": hp.choice("a", ["x", "y"])}, {"b": hp.randint("b", 3)}])
    assert named(space, c=0, a=1) == {"c": {"a": "y"}, "a": "y"}
    assert named(space, c=1, b=2) == {"c": {"b": 2}, "b": 2}


def test_one_parameter_in_two_places():
    """A parameter used twice, cast once, has one value."""
    n = hp.quniform("n", 0, 9, 1)
    values = named({"a": n, "b": scope.int(n)}, n=4.0)
    assert values == {"n": 4}
    c = hp.choice("c", ["x", "y"])
    assert named([c, {"again": c}], c=1) == {"c": "y"}


def test_a_document_of_an_older_space():
    """Where an option needs a parameter that the document has not, the index stays."""
    assert named(hp.choice("c", [{"new": hp.uniform("new", 0, 1)}]), c=0) == {"c": 0}


def test_an_option_that_is_a_parameter():
    """An option that is a parameter itself gives its value for both."""
    assert named(hp.choice("c", [hp.uniform("u", 0, 1), 5]), c=0, u=0.5) == {"c": 0.5, "u": 0.5}


class Counted(dict):
    """Counts how often it is looked into."""

    n_looks = 0

    def __contains__(self, key):
        self.n_looks += 1
        return super().__contains__(key)

    def __getitem__(self, key):
        self.n_looks += 1
        return super().__getitem__(key)


def test_each_value_is_looked_at_a_few_times():
    """The work for all values grows as their number, not as its square."""
    space = Space([hp.uniform(f"u{number}", 0, 1) for number in range(100)])
    raw = Counted({label: 0.5 for label in space.labels})
    assert named_values(space, raw, value_nodes(space)) == raw
    assert raw.n_looks <= 10 * len(raw)


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_without_parameters_are_values():
    """Options that hold parameters stay nodes; the others are evaluated."""
    first, second, third = options_of(switch({"k": [1]}, {"u": hp.uniform("u", 0, 1)}, as_apply(2) + 3))
    assert first == {"k": (1,)}
    assert second.name == "dict"
    assert third == 5


@pytest.mark.parametrize(
    ("options", "given", "index"),
    [
        ("abc", "b", 1),
        ("abc", 2, 2),
        ("abc", 2.0, 2),
        ("abc", np.int64(2), 2),
        ("abc", np.float64(1), 1),
        ("abc", "d", None),
        ("abc", 3, None),
        ("abc", -1, None),
        ([0.5, float("nan")], float("nan"), 1),
        ([0.5, float("nan")], np.float32("nan"), 1),
        ("abc", 1.5, None),
        ("abc", None, None),
        ([10, 20], 20, 1),
        ([10, 20], 1, 1),
        ([1, 0], 0, 0),  # could be both: the index, as in hyperopt
        ([1.5, 2.5], 2.5, 1),
        ([True, False], False, 1),
        ([True, False], True, 0),
        ([True, False], np.bool_(False), 1),
        ([True, False], 1, 1),
        ([1, 0], True, 1),
        ([None, "a"], None, 0),
        (["a", None], None, 1),
        ([[1, 2], [3, 4]], [3, 4], 1),
        ([[1, 2], [3, 4]], (3, 4), 1),
        ([{"k": 1}, {"k": 2}], {"k": 2}, 1),
        ([{"k": 1}, {"k": 2}], {"k": 3}, None),
        ([np.array([1, 2]), np.array([1, 3])], np.array([1, 3]), 1),
        ([np.array([1, 2]), np.array([1, 3])], np.array([1, 2, 3]), None),
        ([np.array([1, 1])], 1, None),
        (["1", "0"], 1, 1),
        (["1", "0"], "1", 0),
        ([10.0, float("inf")], float("inf"), 1),
        (["a", len], len, 1),
        ([Broken(), "a"], "a", 1),
        (["a", "b"], Broken(), None),
    ],
)
def test_the_index_that_is_meant(options, given, index):
    """An option or an index gives the index; what is neither gives None."""
    assert index_of(given, switch(*options)) == index


def test_an_option_with_parameters_goes_by_its_index():
    """An option that holds parameters has no value to be given."""
    node = switch({"u": hp.uniform("u", 0, 1)}, "b")
    assert index_of(0, node) == 0
    assert index_of({"u": 0.5}, node) is None
    assert index_of("b", node) == 1


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (None, None),
        ({"a": np.int64(1), np.int64(2): [np.float32(0.5), (np.int8(1),)]}, {"a": 1, 2: [0.5, (1,)]}),
    ],
)
def test_native_types(value, expected):
    """numpy's numbers become Python's, also within dicts, lists and tuples."""
    found = native(value)
    assert found == expected
    assert repr(found) == repr(expected)


def test_arrays_and_objects_stay():
    """Arrays, functions and objects of any class are left as they are."""
    for value in (np.array([1, 2]), len, Broken(), {1, 2}):
        assert native(value) is value
