"""hyperopt's import path pyll_utils: conditions of parameters, and checks of their arguments."""

import pytest

from sparktune import hp, pyll, pyll_utils
from sparktune.exceptions import BadSearchSpace, DuplicateLabel, InvalidSpaceError, InvalidTypeError
from sparktune.pyll_utils import EQ, Cond, expr_to_config, validate_distribution_range, validate_label
from sparktune.space.nodes import Literal, apply
from sparktune.space.scope import scope


def conditions(expr, start=(True,)):
    """The sets of conditions by label."""
    hps = {}
    expr_to_config(expr, start, hps)
    assert all(entry["label"] == label for label, entry in hps.items())
    return {label: entry["conditions"] for label, entry in hps.items()}


def test_the_hp_functions_have_long_names():
    """hp_uniform is hp.uniform, and so on."""
    for name in hp.__all__:
        assert getattr(pyll_utils, f"hp_{name}") is getattr(hp, name)


def test_conditions_of_a_tree():
    """Each parameter has the choices on the way to it, one sequence for each way."""
    z = hp.randint("z", 10)
    deep = hp.pchoice("deep", [(0.5, hp.normal("c", 0, 1)), (0.5, z)])
    expr = {"a": hp.choice("a", [hp.uniform("b", -1, 1) + z, {"d": deep}, None]), "z": z}
    assert conditions(expr) == {
        "a": {(True,)},
        "b": {(True, EQ("a", 0))},
        "z": {(True,), (True, EQ("a", 0)), (True, EQ("a", 1), EQ("deep", 1))},
        "deep": {(True, EQ("a", 1))},
        "c": {(True, EQ("a", 1), EQ("deep", 0))},
    }


def test_the_node_is_the_distribution():
    """A parameter's node is what its values are drawn from."""
    hps = {}
    expr_to_config(hp.loguniform("x", -1, 0), (), hps)
    assert hps["x"]["node"].name == "loguniform"


@pytest.mark.parametrize("start", [(), None, (True,)])
def test_a_parameter_in_every_option_hangs_on_nothing(start):
    """Options that share a parameter put no condition on it; one that has it not, does."""
    z = hp.uniform("z", 0, 10)
    always = tuple(start or ())
    assert conditions(hp.choice("a", [z + 1, z - 1]), start) == {"a": {always}, "z": {always}}
    assert len(conditions(hp.choice("a", [z + 1, z - 1, 0]), start)["z"]) == 2


def test_a_switch_on_arithmetic_adds_no_condition():
    """What it chooses by is no parameter's own value, so its options are listed as if always there."""
    expr = scope.switch(hp.randint("k", 2) + 0, hp.uniform("x", 0, 1), 0)
    assert conditions(expr) == {"k": {(True,)}, "x": {(True,)}}


def test_labels_are_one_per_node_and_text():
    """A label on two nodes, or one that is no text, is refused."""
    with pytest.raises(DuplicateLabel, match="x: "):
        conditions([hp.uniform("x", 0, 1), hp.uniform("x", 0, 1)])
    with pytest.raises(BadSearchSpace, match="must be a string, got 5"):
        conditions(apply("hyperopt_param", 5, scope.uniform(0, 1)))


def test_one_label_in_options_that_exclude_each_other():
    """Equal distributions there are one parameter, as in a search; others are refused."""
    rate = [{"rate": hp.uniform("rate", 0, 1), "n": n} for n in range(2)]
    assert conditions(hp.choice("kind", [*rate, {"x": hp.randint("x", 3)}])) == {
        "kind": {(True,)},
        "rate": {(True, EQ("kind", 0)), (True, EQ("kind", 1))},
        "x": {(True, EQ("kind", 2))},
    }
    assert conditions(hp.choice("kind", rate))["rate"] == {(True,)}
    with pytest.raises(DuplicateLabel, match="rate: "):
        conditions(hp.choice("kind", [rate[0], hp.uniform("rate", 0, 2)]))
    with pytest.raises(DuplicateLabel, match="rate: "):
        conditions({"rate": hp.uniform("rate", 0, 1), "kind": hp.choice("kind", rate)})


def test_conditions_can_be_compared_and_shown():
    """Equal parts make equal conditions; the text is hyperopt's."""
    assert {EQ("a", 0), EQ("a", 0), Cond("a", 0, "=")} == {EQ("a", 0)}
    assert EQ("a", 0) not in {EQ("a", 1), EQ("b", 0), Cond("a", 0, "<"), True}
    assert str(EQ("a", 0)) == repr(EQ("a", 0)) == "Cond{a = 0}"


@validate_distribution_range
def ranged(label, low, high, q=1):
    """What is given, if it is a range."""
    return label, low, high, q


@validate_label
def labelled(label, *args):
    """The label, if it is one."""
    return label


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("x", 1, 1), {}),
        (("x", 0, -1), {}),
        (("x", 1), {"high": 0}),
        (("x",), {"low": 1, "high": 0}),
        (("x", Literal(1), Literal(0)), {}),
    ],
)
def test_ranges_are_checked(args, kwargs):
    """low must be less than high however they are given, 0 included."""
    with pytest.raises(InvalidSpaceError, match=r"low should be less than high, got low=[01]"):
        ranged(*args, **kwargs)


def test_ranges_in_order_pass():
    """Arguments go through as they are; expressions are left to others."""
    assert ranged("x", 0, high=1, q=2) == ("x", 0, 1, 2)
    node = hp.uniform("y", 0, 1)
    assert ranged("x", node, 1) == ("x", node, 1, 1)
    assert ranged.__name__ == "ranged"


@pytest.mark.parametrize("label", [5, None])
def test_labels_are_checked(label):
    """By position or by keyword a label is text or bytes."""
    for call in (lambda: labelled(label), lambda: labelled(label=label)):
        with pytest.raises(InvalidTypeError, match="require string label"):
            call()
    assert (labelled("x", 1), labelled(label=b"x")) == ("x", b"x")


def test_names_that_programs_take_from_here():
    """``scope``, ``hyperopt_param`` and ``MissingArgument`` are those of ``pyll``."""
    assert pyll_utils.scope is pyll.scope
    assert pyll_utils.MissingArgument is pyll.base.MissingArgument
    assert pyll_utils.hyperopt_param("x", 3) == 3


def test_a_circle_is_refused():
    """Conditions would grow for ever around it."""
    choice = hp.choice("c", [1, [2]])
    choice.pos_args[2].pos_args[0] = choice
    with pytest.raises(BadSearchSpace, match="circle"):
        expr_to_config(choice, (), {})
