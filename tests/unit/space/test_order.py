"""The order of draws is hyperopt's: what it is was found by running hyperopt 0.3.0."""

import pytest

from sparktune import hp
from sparktune.space.compile import Space
from sparktune.space.order import draw_order


def order_of(expr):
    space = Space(expr)
    return " ".join(draw_order(space.expr, {parameter.label: parameter.node for parameter in space.parameters}))


def uniform(label):
    return hp.uniform(label, 0, 1)


def test_labels_from_the_last_to_the_first():
    """The alphabet counts, whatever the keys and the places are."""
    assert order_of({"a": uniform("m"), "b": [uniform("z"), {"c": uniform("a")}], "d": uniform("Z")}) == "z m a Z"


def test_a_choice_comes_before_the_first_parameter_that_hangs_on_it():
    """Choices are drawn when they are needed, the outer one first."""
    inner = hp.choice("b", [uniform("y"), 0])
    assert order_of([uniform("z"), hp.choice("a", [inner, uniform("x")]), uniform("c")]) == "z a b y x c"


def test_of_several_places_the_last_one_counts_first():
    """A parameter used under two choices needs both, the later one first."""
    x = uniform("x")
    assert order_of([hp.choice("a", [x, 1]), hp.choice("b", [x, 1])]) == "b a x"
    assert order_of([hp.choice("b", [x, 1]), hp.choice("a", [x, 1])]) == "a b x"


def test_a_node_that_is_in_a_list_twice_counts_where_it_is_first():
    """``[one, other, one]`` is ``[one, other]`` to the order."""
    x = uniform("x")
    one, other = hp.choice("b", [x, 1]), hp.choice("a", [x, 1])
    assert order_of([one, other, one]) == order_of([one, other]) == "a b x"


def test_a_parameter_that_every_option_has_still_waits_for_the_choice():
    """It is always active, and drawn after the choice all the same."""
    x = uniform("x")
    assert order_of(hp.choice("a", [x, [x]])) == "a x"


def test_the_parameters_of_a_computed_selector_come_first():
    """Where a switch hangs on arithmetic, all that it is made of is drawn before its options."""
    from sparktune.pyll import scope

    n = hp.randint("n", 2)
    assert order_of(scope.switch(1 - n, uniform("x"), uniform("y"))) == "n y x"


def test_an_option_may_use_what_its_selector_is_made_of():
    """The parameter that decides is not asked for again while it is drawn; others still wait for it."""
    from sparktune.pyll import scope

    n = hp.quniform("n", 1, 4, 1)
    assert order_of({"n": n, "second": scope.switch(scope.int(n > 2), uniform("x"), {"units": 4 * n})}) == "n x"


def test_selectors_that_hang_on_each_other():
    """Of two parameters that each decide about the other, the one that is needed first is drawn last."""
    from sparktune.pyll import scope

    a, b = hp.randint("a", 2), hp.randint("b", 2)
    assert order_of([scope.switch(a, 0, [a, b]), scope.switch(b, 0, [a, b])]) == "a b"


@pytest.mark.parametrize("depth", [400])
def test_deep_spaces(depth):
    """A choice within a choice, many times over, has its order without recursion."""
    space = uniform("x")
    for level in range(depth):
        space = hp.choice(f"c{level:04d}", [space, 0])
    assert order_of(space).split()[:2] == [f"c{depth - 1:04d}", f"c{depth - 2:04d}"]
