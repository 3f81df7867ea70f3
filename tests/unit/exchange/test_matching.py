"""Earlier trials in the terms of another space."""

import pytest

from sparktune import hp
from sparktune.exchange.matching import Matcher
from sparktune.exchange.source import Row, Source
from sparktune.pyll import scope
from sparktune.space.compile import Space

TREE = {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}
MODELS = {"m": hp.choice("m", [{"kind": "linear"}, TREE])}


def fitted(space, values, old=None, **options):
    """What one trial is in a space."""
    source = Source("here", [Row(0, values, (1.0,), space=None if old is None else Space(old))], **options)
    return Matcher(Space(space), source).fitted(source.rows)[0]


def test_added_and_removed_parameters():
    """A new parameter has no value, so that the trial is no whole point; one that is gone is left out by name."""
    found = fitted({"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", 0, 1)}, {"x": 0.5, "z": 3})
    assert found.raw == {"x": 0.5}
    assert found.left_out == {"z": 3}
    assert not found.is_point
    assert not found.is_outside


@pytest.mark.parametrize(
    ("node", "value", "raw"),
    [
        (hp.uniform("x", 0, 1), 0.25, 0.25),
        (hp.uniform("x", 0, 1), "0.25", 0.25),
        (hp.uniform("x", 0, 1), 1 + 1e-12, 1.0),
        (hp.quniform("x", 0, 1, 0.1), 0.30000000000000004, 0.30000000000000004),
        (hp.quniform("x", 0, 1, 0.1), 0.33, 3 * 0.1),
        (hp.quniform("x", 1, 5, 3), 4.4, 3.0),
        (hp.quniform("x", 1, 5, 3), 4.5, 3.0),
        (hp.quniform("x", 1, 5, 3), 1.5, 3.0),
        (hp.randint("x", 5), 3.7, 4),
        (hp.randint("x", 5), "3.0", 3),
        (scope.int(hp.quniform("x", 1, 9, 1)), 3.4, 3.0),
        (hp.loguniform("x", -3, 0), 0.5, 0.5),
        (hp.normal("x", 0, 1), 40, 40.0),
        (hp.lognormal("x", 0, 1000), 0.0, 0.0),
        (hp.loguniform("x", -800, 0), "0.0", 0.0),
    ],
)
def test_numbers_that_are_possible(node, value, raw):
    """A number within bounds is used as it is, or as the nearest on the grid; text is read as a number."""
    assert fitted(node, {"x": value}).raw == {"x": pytest.approx(raw, abs=1e-9)}


@pytest.mark.parametrize(
    ("node", "value", "why"),
    [
        (hp.uniform("x", 0, 1), 1.5, "out of bounds"),
        (hp.randint("x", 5), 5, "out of bounds"),
        (hp.lognormal("x", 0, 1), 0.0, "out of bounds"),
        (hp.loguniform("x", -40, 0), 0.0, "out of bounds"),
        (hp.loguniform("x", -800, 0), -1e-12, "out of bounds"),
        (hp.normal("x", 0, 1), float("inf"), "out of bounds"),
        (hp.uniform("x", 0, 1), "auto", "not a number"),
        (hp.choice("x", ["a", "b"]), 2, "an option that is not here"),
        (hp.choice("x", ["a", "b"]), 0.5, "an option that is not here"),
        (hp.pchoice("x", [(0.0, "a"), (1.0, "b")]), 0, "an option that is not here"),
    ],
)
def test_a_value_that_is_not_possible_puts_the_trial_outside(node, value, why):
    """Nothing is learned from a trial with such a value, and the summary says how many there are and why."""
    source = Source("here", [Row(0, {"x": value}, (1.0,))])
    matcher = Matcher(Space(node), source)
    assert matcher.fitted(source.rows)[0].is_outside
    assert matcher.summary() == f"labels matched: none; without a value: x; trials left out: 1 with x {why}"


def test_a_space_of_constants_has_one_point():
    """Every trial is that point, for there is no value that it could lack."""
    found = fitted({"a": 1}, {"z": 3})
    assert (found.raw, found.left_out, found.is_point, found.is_outside) == ({}, {"z": 3}, True, False)


@pytest.mark.parametrize("node", [hp.lognormal("x", 0, 1000), hp.loguniform("x", -800, 0)])
def test_draws_that_underflow_are_possible(node, rng):
    """Whatever the distribution draws is within its bounds, 0.0 as well."""
    drawn = Space(node).sample(rng, 200)[:, 0]
    assert (drawn == 0).any()
    assert [fitted(node, {"x": x}).raw for x in drawn] == [{"x": x} for x in drawn]


def test_options_are_recognised_in_the_old_space():
    """Where the old space is known, an option is found again wherever it is now; else it is its number."""
    old, new = hp.choice("c", ["a", "b", "c"]), hp.choice("c", ["c", "new", "a"])
    assert fitted(new, {"c": 0}, old).raw == {"c": 2}
    assert fitted(new, {"c": 2}, old).raw == {"c": 0}
    assert fitted(new, {"c": 1}, old).is_outside
    assert fitted(new, {"c": 1}).raw == {"c": 1}


@pytest.mark.parametrize("options", [[1.0, 1], [1, 1.0]])
@pytest.mark.parametrize("index", [0, 1])
def test_options_that_equal_each_other_are_told_apart_by_their_types(options, index):
    """As in scikit-learn, where one of anything is not the same as all of it."""
    space = hp.choice("c", options)
    assert fitted(space, {"c": index}, space, choices="index").raw == {"c": index}


@pytest.mark.parametrize("option", [float("nan"), {"missing": float("nan")}, (1, float("nan"))])
def test_nan_is_an_option_as_others_are(option):
    """NaN equals nothing, itself neither, but as an option it is the same one in both spaces."""
    old, new = hp.choice("c", [option, 0]), hp.choice("c", ["new", 0, option])
    assert fitted(new, {"c": 0}, old).raw == {"c": 2}
    assert fitted(new, {"c": 1}, old).raw == {"c": 1}


def test_an_empty_cell_is_the_option_nan_where_there_is_no_none():
    """Data frames have nothing else for NaN."""
    assert fitted(hp.choice("c", [0, float("nan")]), {"c": float("nan")}, choices="either").raw == {"c": 1}
    assert fitted(hp.choice("c", [float("nan"), None]), {"c": None}, choices="either").raw == {"c": 1}


def test_a_choice_whose_branches_changed():
    """A branch with a parameter more or less is the same branch, if its constants are."""
    leafy = {"kind": "tree", "depth": hp.uniformint("depth", 1, 20), "leaf": hp.uniform("leaf", 0, 1)}
    new = hp.choice("m", [leafy, {"kind": "linear"}, {"kind": "forest", "n": hp.randint("n", 9)}])
    found = fitted(new, {"m": 1, "depth": 4}, MODELS)
    assert found.raw == {"m": 0, "depth": 4}
    assert not found.is_point  # leaf has no value
    assert fitted(new, {"m": 0}, MODELS) == fitted(new, {"m": {"kind": "linear"}}, choices="value")
    assert fitted(MODELS, {"m": {"kind": "forest"}}, choices="value").is_outside


def test_options_that_are_bare_parameters_are_told_apart_by_their_labels():
    """An option that is nothing but a parameter is the one whose parameter the trial has."""
    old = hp.choice("c", [hp.uniform("u", 0, 1), hp.normal("n", 0, 1), "a"])
    new = hp.choice("c", ["a", hp.normal("n", 0, 1), hp.uniform("u", 0, 1)])
    assert fitted(new, {"c": 0, "u": 0.5}, old).raw == {"c": 2, "u": 0.5}
    assert fitted(new, {"c": 0.5, "u": 0.5}, choices="value").raw == {"c": 2, "u": 0.5}
    assert fitted(new, {"c": "a"}, choices="value").raw == {"c": 0}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (hp.uniform("u", 0, 1), hp.uniform("v", 0, 1)),
        ({"depth": hp.randint("depth", 9)}, {"depth": 3, "kind": "tree"}),
    ],
    ids=["of another name", "a constant now"],
)
def test_an_option_of_which_nothing_stays_but_a_parameter_is_another_one(before, now):
    """What its value was, the present option does not say."""
    old, new = ({"m": hp.choice("m", [option, "a"])} for option in (before, now))
    given = {"m": 0, "u": 0.5} if "u" in Space(old).labels else {"m": 0, "depth": 2}
    assert fitted(new, given, old).is_outside
    assert fitted(new, {"m": 1}, old).raw == {"m": 1}


def test_an_equal_option_goes_before_one_that_fits():
    """Though the point has a value for the parameter of the other."""
    space = {"m": hp.choice("m", [{"k": hp.randint("n", 5)}, {"k": 1}])}
    for value, is_text in (({"k": 1}, False), ('{"k":1}', True)):
        found = fitted(space, {"m": value, "n": 2}, choices="value", is_text=is_text)
        assert (found.raw, found.left_out) == ({"m": 1}, {"n": 2})


def test_a_parameter_that_moved_into_an_option():
    """A value is left out where the option that has its parameter now was not chosen."""
    assert fitted(MODELS, {"m": 0, "depth": 3}).raw == {"m": 0}
    assert fitted(MODELS, {"m": 1, "depth": 3}).raw == {"m": 1, "depth": 3}
    assert fitted(MODELS, {"depth": 3}).raw == {"depth": 3}  # nobody knows which was chosen


def test_a_choice_that_was_a_number_and_the_other_way_round():
    """A number becomes the option that equals it, and an option the number that it is."""
    number, choice = hp.uniform("x", 0, 10), hp.choice("x", [4, 2, "many"])
    assert fitted(choice, {"x": 2.0}, number).raw == {"x": 1}
    assert fitted(choice, {"x": 3.0}, number).is_outside
    assert fitted(number, {"x": 0}, choice).raw == {"x": 4.0}
    assert fitted(number, {"x": 2}, choice).is_outside


@pytest.mark.parametrize("text", ['{"kind": "tree", "depth": 4}', "{'kind': 'tree', 'depth': 4}"])
def test_options_as_text(text):
    """The text of an option is read as JSON, and as Python writes it."""
    found = fitted(MODELS, {"m": text, "depth": "4"}, choices="either", is_text=True)
    assert found.raw == {"m": 1, "depth": 4.0}


@pytest.mark.parametrize(
    ("cell", "index"),
    [("true", 0), ("True", 0), ("null", 1), ("None", 1), ("1", 2), ("1.0", 2), ('"1"', 3), ("a", 4), ("(1, 2)", 5)],
)
def test_options_that_look_alike_as_text(cell, index):
    """Options of any type are told apart by their text, in the ways that people and programs write it."""
    space = hp.choice("c", [True, None, 1, "1", "a", (1, 2)])
    assert fitted(space, {"c": cell}, choices="value", is_text=True).raw == {"c": index}


@pytest.mark.parametrize(("cell", "index"), [("nan", 0), (" NaN ", 1), ("NAN", 2)])
def test_text_that_looks_like_nan(cell, index):
    """Where an option is spelled so it is that; else the cell is empty, as that of a number is."""
    space = {"c": hp.choice("c", ["nan", float("nan"), None]), "x": hp.uniform("x", 0, 1)}
    found = fitted(space, {"c": cell, "x": cell}, choices="either", is_text=True)
    assert found.raw == {"c": index}
    assert not found.is_outside


def test_a_column_of_numbers_that_are_options_in_part():
    """It is read as the options' numbers, which may be a mistake, and the line about the source says so."""
    space = Space(hp.choice("c", [2, 4, 8, 16]))
    source = Source("here", [Row(n, {"c": cell}) for n, cell in enumerate([1, 2, 3])], "either")
    matcher = Matcher(space, source)
    assert [found.raw["c"] for found in matcher.fitted(source.rows)] == [1, 2, 3]
    assert matcher.has_loss
    assert matcher.summary() == (
        "labels matched: c; read as numbers of options (choices='value' if they are options): c"
    )


def test_a_column_of_numbers_is_options_where_it_can_be():
    """Numbers are options if all of a column are, else the options' numbers if all are; the argument rules."""
    space = Space(hp.choice("c", [1, 2, 4]))

    def read(cells, choices="either"):
        source = Source("here", [Row(n, {"c": cell}) for n, cell in enumerate(cells)], choices)
        return [found.raw.get("c") for found in Matcher(space, source).fitted(source.rows)]

    assert read([1, 2, 1]) == [0, 1, 0]
    assert read([0, 1, 2]) == [0, 1, 2]
    assert read([0, 4]) == [None, 2]
    assert read([1, 2, 1], "index") == [1, 2, 1]
