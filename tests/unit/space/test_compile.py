"""The compiled space: parameters, conditions, and what the objective is called with."""

import json
import math

import numpy as np
import pytest

from sparktune import hp, space_eval
from sparktune.exceptions import BadSearchSpace, DuplicateLabel, InvalidTypeError
from sparktune.space.compile import Space
from sparktune.space.distributions import Uniform
from sparktune.space.scope import scope


@pytest.fixture
def nested():
    """Two levels of choices below a parameter that is always there."""
    return Space(
        {
            "always": hp.uniform("always", 0, 1),
            "model": hp.choice(
                "model",
                [
                    {
                        "kind": "svm",
                        "kernel": hp.choice("kernel", ["linear", {"rbf": hp.lognormal("gamma", 0, 1)}]),
                    },
                    {"kind": "forest", "depth": hp.randint("depth", 1, 5)},
                ],
            ),
        }
    )


def active_by_evaluation(space, values):
    """The labels that evaluating each point asks for, found by taking values away one by one."""
    active = []
    for row in values:
        raw, needed = dict(zip(space.labels, row.tolist(), strict=True)), set()
        raw = {p.label: int(raw[p.label]) if p.is_integer else raw[p.label] for p in space.parameters}
        for label in space.labels:
            try:
                space.evaluate({key: value for key, value in raw.items() if key != label})
            except BadSearchSpace:
                needed.add(label)
        active.append(needed)
    return active


def filled(space, rng, n):
    """Prior draws with every column filled."""
    return np.column_stack([parameter.distribution.sample(rng, n) for parameter in space.parameters]).astype(float)


def test_parameters_in_order(nested):
    """A space knows its labels, distributions and which of them are conditional."""
    assert set(nested.labels) == {"always", "model", "kernel", "gamma", "depth"}
    by_label = {parameter.label: parameter for parameter in nested.parameters}
    assert by_label["always"].distribution == Uniform(0, 1)
    assert {label for label, p in by_label.items() if p.is_conditional} == {"kernel", "gamma", "depth"}
    assert {label for label, p in by_label.items() if p.is_choice} == {"model", "kernel"}
    assert [nested.index[label] for label in nested.labels] == list(range(len(nested)))


def test_only_parameters_of_the_chosen_branch_are_active(nested, rng):
    """A nested parameter is active where every choice above it is for it."""
    values = nested.sample(rng, 200)
    column = {label: values[:, nested.index[label]] for label in nested.labels}
    is_svm = column["model"] == 0
    assert not np.isnan(column["always"]).any()
    assert (np.isnan(column["kernel"]) == ~is_svm).all()
    assert (np.isnan(column["gamma"]) == ~(is_svm & (column["kernel"] == 1))).all()
    assert (np.isnan(column["depth"]) == is_svm).all()


X, Y = hp.uniform("x", 0, 1), hp.uniform("y", 0, 1)
C, D = hp.choice("c", [X, Y]), hp.randint("d", 3)
INDEX = C.pos_args[0]


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param([X, X + 1], id="used twice"),
        pytest.param(hp.choice("k", [{"a": X}, {"b": X, "y": Y}]), id="shared by all branches"),
        pytest.param(hp.choice("k", [{"a": X}, {"b": X}, Y]), id="shared by two of three branches"),
        pytest.param(hp.choice("k", [[X, Y], hp.choice("l", [X, 0])]), id="shared across levels"),
        pytest.param([hp.choice("k", [X, 0]), hp.choice("l", [X, 0])], id="shared by two choices"),
        pytest.param([C, scope.switch(INDEX, 0, hp.normal("z", 0, 1))], id="one choice selects two switches"),
        pytest.param([C, scope.switch(INDEX, hp.choice("l", [X, Y]), 0)], id="nested under the same choice"),
        pytest.param(hp.choice("k", [scope.switch(INDEX, X, Y), C]), id="a choice below a choice, shared"),
        pytest.param(scope.switch(INDEX, scope.switch(INDEX, X, Y), 0), id="an option that is never reached"),
        pytest.param(scope.switch((D + 1) % 3, X, Y, 0), id="switch on arithmetic"),
        pytest.param(scope.switch(scope.int(X > 0.5), Y, X), id="switch on a comparison"),
        pytest.param([scope.switch(D, X, Y, 0), scope.switch(D, 1, 2, 3)], id="switch on randint"),
        pytest.param(scope.switch(D * INDEX, X, Y, 0), id="switch on two parameters"),
        pytest.param(hp.pchoice("p", [(0.2, X), (0.3, {"y": Y}), (0.5, 0)]), id="pchoice"),
        pytest.param(hp.choice("k", [hp.choice("l", [X, Y]), hp.choice("m", [X, 0])]), id="three ways"),
    ],
)
def test_activity_is_what_evaluation_needs(expr, rng):
    """A parameter is active exactly where evaluating the space asks for its value."""
    space = Space(expr)
    values = filled(space, rng, 30)
    active = [
        {label for label, is_on in zip(space.labels, row, strict=True) if is_on} for row in space.activity(values)
    ]
    assert active == active_by_evaluation(space, values)


def test_a_node_used_twice_is_one_parameter():
    """Sharing a node shares the value."""
    space = Space({"a": X, "b": [X, X * 2]})
    assert space.labels == ("x",)
    assert space.evaluate({"x": 0.5}) == {"a": 0.5, "b": (0.5, 1.0)}


def test_a_parameter_in_every_branch_is_not_conditional():
    """What all options of a choice share is always there, whatever the levels between."""
    inner = hp.choice("inner", [{"a": X}, {"b": [X]}])
    space = Space(hp.choice("outer", [inner, {"x": X}, [inner]]))
    assert not space.parameters[space.index["x"]].is_conditional
    assert space.parameters[space.index["inner"]].is_conditional


def test_sharing_through_many_choices_stays_cheap():
    """A parameter under 40 choices that all share it has one condition, not 2**40."""
    node = hp.uniform("x", 0, 1)
    for level in range(40):
        node = hp.choice(f"c{level}", [{"a": node}, {"b": node}])
    assert all(parameter.conditions == ((),) for parameter in Space(node).parameters)


def test_a_wide_choice_that_shares_a_parameter():
    """300 options may share one parameter."""
    x = hp.uniform("x", 0, 1)
    space = Space(hp.choice("c", [{"k": k, "x": x} for k in range(300)] + [None]))
    assert len(space.parameters[space.index["x"]].conditions) == 300


@pytest.mark.parametrize(
    "expr",
    [
        [hp.uniform("x", 0, 1), hp.uniform("x", 0, 1)],
        {"x": hp.uniform("x", 0, 1), "y": hp.normal("x", 0, 1)},
        hp.choice("x", [1, hp.uniform("x", 0, 1)]),
        hp.choice("k", [hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)]),
    ],
)
def test_one_label_on_two_parameters_is_refused(expr):
    """DuplicateLabel names the label, both parameters, and how to share one."""
    with pytest.raises(DuplicateLabel, match=r"^x: .*uniform\(0, 1\).*use one node twice"):
        Space(expr)


def test_one_label_in_options_that_exclude_each_other():
    """Equal distributions under one label are one parameter where only one of them can be active."""
    options = [{"c": hp.uniform("c", 0, 1)}, hp.uniform("c", 0.0, 1), hp.choice("deep", [0, hp.uniform("c", 0, 1)])]
    space = Space({"model": hp.choice("model", options)})
    assert space.labels == ("model", "c", "deep")
    points = [{"model": 0}, {"model": 1}, {"model": 2, "deep": 1}]
    assert [space.evaluate(point | {"c": 0.5})["model"] for point in points] == [{"c": 0.5}, 0.5, 0.5]
    with pytest.raises(BadSearchSpace, match="a value for 'c'"):
        space.evaluate({"model": 1})
    values = space.sample(np.random.default_rng(0), 50)
    inactive = (values[:, 0] == 2) & (values[:, 2] == 0)
    np.testing.assert_array_equal(np.isnan(values[:, 1]), inactive)
    assert inactive.any()


def test_a_parameter_in_an_option_that_is_never_reached():
    """Where one selector has to have two values, no point has the parameter, and it has no way to become active."""
    k = hp.randint("k", 2)
    space = Space(scope.switch(k, "a", scope.switch(k, hp.uniform("x", 0, 1), "b")))
    x = space.parameters[space.index["x"]]
    assert x.conditions == ()
    assert x.is_conditional
    assert np.isnan(space.sample(np.random.default_rng(0), 20)[:, space.index["x"]]).all()
    assert [space.evaluate({"k": n}) for n in (0, 1)] == ["a", "b"]


def _model(first, second, beside=0):
    return {"model": hp.choice("model", [{"c": first}, [1, second]]), "beside": beside}


@pytest.mark.parametrize(
    ("expr", "places"),
    [
        (_model(hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)), "space['model'], option 0 of 'model', ['c']"),
        (
            _model(hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)),
            "uniform(0, 2) at space['model'], option 1 of 'model', [1]",
        ),
        (
            _model(hp.choice("x", [1, 2]), hp.choice("x", [3, 4])),
            "randint(2) at space['model'], option 1 of 'model', [1]",
        ),
        (_model(hp.uniform("x", 0, 1), 0, hp.uniform("x", 0, 1)), "uniform(0, 1) at space['beside']"),
        (_model([hp.uniform("x", 0, 1), hp.uniform("x", 0, 1)], 0), "['c'][1]"),
        (
            _model(hp.uniform("x", 0, 1), 0, hp.choice("other", [0, hp.uniform("x", 0, 1)])),
            "uniform(0, 1) at space['beside'], option 1 of 'other'",
        ),
        ({1: hp.uniform("x", 0, 1), 2: 1 + hp.uniform("x", 0, 1)}, "argument 1 of add"),
        (scope.switch(hp.randint("k", 2) + 0, hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)), "at space, option 1"),
    ],
)
def test_other_parameters_with_one_label_are_refused(expr, places):
    """Other distributions, choices, and what can be active together; the message says where both are."""
    with pytest.raises(DuplicateLabel) as caught:
        Space(expr)
    assert places in str(caught.value)


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (scope.hyperopt_param(5, scope.uniform(0, 1)), "label must be a string"),
        (scope.hyperopt_param(X, scope.uniform(0, 1)), "label must be a string"),
        (scope.hyperopt_param("x", 5), "not one of the distributions"),
        (scope.hyperopt_param("x", scope.uniform(1, 0)), "low should be less than high"),
    ],
)
def test_parameters_built_by_hand_are_checked(expr, message):
    """A hyperopt_param node that makes no sense is refused when the space is compiled."""
    with pytest.raises(BadSearchSpace, match=message):
        Space(expr)


def test_a_missing_value_is_named(nested):
    """Evaluating a point without an active value says which label it lacks and what was given."""
    with pytest.raises(BadSearchSpace, match=r"a value for 'depth', which is active.*\['always', 'model'\]"):
        nested.evaluate({"always": 0.5, "model": 1})
    with pytest.raises(BadSearchSpace, match="nothing"):
        nested.evaluate({})


def test_inactive_values_may_be_missing_or_present(nested):
    """Values of branches that are not chosen do not matter."""
    raw = {"always": 0.5, "model": 0, "kernel": 0}
    expected = {"always": 0.5, "model": {"kernel": "linear", "kind": "svm"}}
    assert nested.evaluate(raw) == expected
    assert nested.evaluate({**raw, "depth": 3, "gamma": 1.0, "unknown": 1}) == expected


def test_raw_and_row_are_inverse(nested, rng):
    """A row becomes values by label, ints and floats that JSON takes, and back."""
    for row in nested.sample(rng, 20):
        raw = nested.raw(row)
        np.testing.assert_array_equal(nested.row(raw), row)
        assert json.loads(json.dumps(raw)) == raw
        assert isinstance(raw["model"], int)


def test_row_ignores_what_it_does_not_know(nested):
    """Labels of other spaces and None count as missing."""
    assert np.isnan(nested.row({"unknown": 1, "always": None})).all()


def test_space_eval_gives_what_the_objective_saw(nested, rng):
    """space_eval takes values, or the one-element lists of a document."""
    for row in nested.sample(rng, 20):
        raw = nested.raw(row)
        expected = nested.evaluate(raw)
        assert space_eval(nested.expr, raw) == expected
        assert (
            space_eval(nested.expr, {label: [raw[label]] if label in raw else [] for label in nested.labels})
            == expected
        )


def test_space_eval_refuses_two_values():
    """One value per label."""
    with pytest.raises(InvalidTypeError, match="2 for 'x'"):
        space_eval(X, {"x": [1, 2]})


@pytest.mark.parametrize(("expr", "value"), [({}, {}), ([], ()), (5, 5), ({"a": [1, "b"]}, {"a": (1, "b")})], ids=repr)
def test_a_space_without_parameters(expr, value, rng):
    """Constants alone are a space: no columns, and always the same value."""
    space = Space(expr)
    assert (len(space), space.sample(rng, 3).shape, space.evaluate({})) == (0, (3, 0), value)


def test_a_distribution_without_a_label_is_no_parameter():
    """A stochastic node outside hp.* has no value when the space is evaluated, and the error says so."""
    with pytest.raises(BadSearchSpace, match="'uniform'"):
        Space(scope.uniform(0, 1)).evaluate({})


def test_spaces_may_be_deeper_than_python_recurses(rng):
    """1,000 operations in a chain, and 300 choices in one another, compile, sample and evaluate."""
    chain = X
    for _ in range(1000):
        chain = chain + 1
    assert Space(chain).evaluate({"x": 0.5}) == 1000.5
    nest = X
    for level in range(300):
        nest = hp.choice(f"c{level}", [level, nest])
    space = Space(nest)
    assert space.evaluate({"x": 0.5} | {f"c{level}": 1 for level in range(300)}) == 0.5
    assert all(space.evaluate(space.raw(row)) in range(300) for row in space.sample(rng, 5))


def test_a_space_from_a_loop_1000_levels_deep():
    """1,000 levels of lists with arithmetic between them evaluate."""
    node = X
    for _ in range(1000):
        node = scope.getitem([node], 0)
    assert math.isclose(Space(node).evaluate({"x": 0.25}), 0.25)


def test_option_number_may_be_a_whole_float():
    """An option number that went through pandas or JSON as 1.0 still chooses its option."""
    assert Space(hp.choice("c", ["a", "b"])).evaluate({"c": 1.0}) == "b"


def test_a_point_is_drawn_from_the_prior_where_it_is_active():
    """draw gives NaN in branches that are not chosen, and leaves the generator alone for them."""
    space = Space(hp.choice("c", [0, hp.uniform("x", 0, 1)]))
    rng = np.random.default_rng(0)
    rows = np.array([space.draw(rng) for _ in range(400)])
    np.testing.assert_array_equal(np.isnan(rows[:, space.index["x"]]), rows[:, space.index["c"]] == 0)
    again = np.random.default_rng(0)
    for row in rows:
        assert row[space.index["c"]] == again.integers(0, 2, size=1)[0]
        if row[space.index["c"]] == 1:
            assert row[space.index["x"]] == again.uniform(0, 1, size=1)[0]


def test_a_point_of_a_space_that_switches_on_arithmetic():
    """A switch that hangs on an expression is followed, also inside a branch that is not always there."""
    n = hp.randint("n", 2)
    inner = scope.switch(1 - n, hp.uniform("x", 0, 1), hp.uniform("y", 0, 1))
    space = Space(hp.choice("c", [0, inner]))
    rng = np.random.default_rng(0)
    for _ in range(50):
        raw = space.raw(space.draw(rng))
        assert set(raw) == ({"c"} if raw["c"] == 0 else {"c", "n", "x" if raw["n"] == 1 else "y"})


@pytest.mark.parametrize(
    ("known", "reached"), [({}, "a"), ({"a": 0}, "a"), ({"c": 1}, "a"), ({"a": 1}, "ac"), ({"a": 1, "c": 1}, "acx")]
)
def test_a_parameter_is_reached_by_what_is_known_so_far(known, reached):
    """Choices and arithmetic that hang on what is not known have chosen nothing."""
    space = Space(scope.switch(hp.randint("a", 2) + 0, "no", hp.choice("c", ["no", hp.uniform("x", 0, 1)])))
    row = space.row(known)
    assert {label for label, column in space.index.items() if space.is_reached(column, row)} == set(reached)


def test_a_draw_without_a_label_is_named():
    """Its function, and what to write: no label can be given."""
    space = Space({"a": scope.uniform(0, 1) + hp.uniform("x", 0, 1)})
    with pytest.raises(BadSearchSpace, match=r"draws from 'uniform', which has no label.*hp\.uniform\(label"):
        space.evaluate({"x": 0.5})
