"""scope: user functions, lazy evaluation and sampling."""

import pickle

import numpy as np
import pytest

from sparktune import hp, pyll
from sparktune.exceptions import BadSearchSpace
from sparktune.space.nodes import Literal, as_apply
from sparktune.space.scope import UndrawnParameterError, rec_eval, recursive_set_rng_kwarg, sample, scope


def double(x):
    """Twice x."""
    return 2 * x


def test_a_function_that_was_removed_is_named_when_evaluated(registered):
    """A space whose function is not registered where it runs says which one it is."""
    registered.define(double)
    node = registered.double(1)
    registered.undefine(double)
    with pytest.raises(BadSearchSpace, match=r"'double'.*scope\.define"):
        rec_eval(node)


def test_only_the_chosen_option_is_evaluated():
    """Options that a switch does not choose may fail, for nobody computes them."""
    fails = scope.Raise(ZeroDivisionError, "not chosen")
    assert rec_eval(scope.switch(1, fails, "chosen")) == "chosen"
    with pytest.raises(ZeroDivisionError, match="not chosen"):
        rec_eval(scope.switch(0, fails, "chosen"))


@pytest.mark.parametrize(
    ("index", "rule", "builtin"),
    [
        (2, "2 options", IndexError),
        (-1, "2 options", IndexError),
        (0.0, "integer", TypeError),
        ("a", "integer", TypeError),
    ],
)
def test_a_switch_refuses_an_index_that_is_none(index, rule, builtin):
    """An index is an integer from 0 to the number of options less one; the message has the one received."""
    with pytest.raises(BadSearchSpace, match=rule) as caught:
        rec_eval(scope.switch(index, "a", "b"))
    assert repr(index) in str(caught.value)
    assert isinstance(caught.value, builtin)


def test_a_shared_node_is_computed_once(registered):
    """A node used in two places is one value: the same object in both."""
    calls = []
    registered.inject(record=lambda: calls.append(1) or [])
    first, second = rec_eval([node := registered.record(), node])
    assert first is second
    assert len(calls) == 1


def test_deepcopy_inputs_protects_shared_values(registered):
    """With deepcopy_inputs a function that changes its argument changes a copy."""
    registered.inject(grow=lambda values: values.append(1) or values)
    shared = Literal([])
    assert rec_eval([registered.grow(shared), registered.grow(shared)], deepcopy_inputs=True) == ([1], [1])
    assert shared.obj == []


def test_the_memo_gives_values_to_nodes():
    """A node in the memo is not computed; the mapping passed stays as it was."""
    x = hp.uniform("x", 0, 1)
    memo = {x: 7}
    assert rec_eval(x + 1, memo=memo) == 8
    assert memo == {x: 7}


def test_a_parameter_without_a_value_cannot_be_evaluated():
    """The error names the distribution, and survives pickling on its way from a worker."""
    with pytest.raises(UndrawnParameterError, match=r"uniform has no value.*stochastic\.sample") as caught:
        rec_eval(hp.uniform("x", 0, 1))
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.node.name) == (str(caught.value), "uniform")


def test_sample_draws_a_value_of_the_whole_space():
    """stochastic.sample evaluates the space at a draw; equal seeds give equal draws."""
    space = {"x": hp.uniform("x", 2, 3), "kind": hp.choice("kind", ["a", {"n": hp.randint("n", 5)}])}
    drawn = [pyll.stochastic.sample(space, np.random.default_rng(seed)) for seed in range(20)]
    assert drawn == [sample(space, seed) for seed in range(20)]
    assert all(2 <= point["x"] <= 3 for point in drawn)
    assert {"a"} < {point["kind"] if point["kind"] == "a" else "n" for point in drawn}


def test_sample_leaves_the_space_as_it_was():
    """The generator goes into a copy."""
    space = hp.uniform("x", 0, 1)
    before = str(space)
    sample(space, 0)
    assert str(space) == before


def test_a_distribution_can_be_drawn_with_a_size():
    """scope.normal(mu, sigma, size=n) without a label draws an array."""
    assert sample(scope.normal(0, 1, size=(2, 3)), 0).shape == (2, 3)


def test_recursive_set_rng_kwarg_gives_one_generator_to_all():
    """Every stochastic node of the graph gets the generator."""
    rng = np.random.default_rng(0)
    expr = recursive_set_rng_kwarg(as_apply([scope.uniform(0, 1), scope.uniform(0, 1)]), rng)
    first, second = rec_eval(expr)
    assert first != second


def test_a_function_may_return_an_expression(registered):
    """Its value takes the place of the call, as often as there is another expression."""
    registered.inject(later=lambda x: as_apply([x, scope.add(x, 1)]), twice_later=lambda x: registered.later(x * 2))
    assert rec_eval(scope.len(registered.twice_later(3))) == 2
    assert rec_eval(registered.twice_later(3)) == (6, 7)


def test_a_switch_may_hang_on_a_comparison():
    """Python's and numpy's truth values are the indices 0 and 1."""
    for value in (2, np.float64(2)):
        assert rec_eval(scope.switch(Literal(value) > 1, "no", "yes")) == "yes"


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (scope.map(scope.neg, [1, 2]), [-1, -2]),
        (scope.map(max, [1, 5], [4, 2]), [4, 5]),
        (scope.sum([1, 2]), 3),
        (scope.callpipe1([scope.partial("add", 2), str], 5), "7"),
        (scope.max([3, 1]), 3),
        (scope.sqrt(9), 3.0),
        (scope.log(1), 0.0),
        (scope.int(2.7), 2),
        (scope.str_join("-", ["a", "b"]), "a-b"),
        (scope.call(divmod, (7, 4)), (1, 3)),
        (scope.call_method("a,b", "split", ","), ["a", "b"]),
        (scope.callpipe1([abs, str], -3), "3"),
        (scope.identity("same"), "same"),
        (scope.repeat(2, "a"), ["a", "a"]),
        (scope.getattr(1j, "imag"), 1.0),
        (scope.partial(pow, 2)(5), 32),
    ],
)
def test_built_in_functions(node, expected):
    """The functions that spaces use come registered."""
    assert rec_eval(node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (scope.asarray([1, 2], dtype="float32"), [1.0, 2.0]),
        (scope.bincount([1, 1, 3], minlength=5), [0, 2, 0, 1, 0]),
        (scope.bincount([5, 6], offset=5), [1, 1]),
        (scope.bincount([1], p=[0.5, 0.3, 0.2]), [0, 1, 0]),
        (scope.sum([[1, 2], [3, 4]], axis=0), [4, 6]),
        (scope.array_union([1, 2], [2, 3]), [1, 2, 3]),
        (scope.array_union1([[1, 2], [2, 3]]), [1, 2, 3]),
    ],
)
def test_built_in_array_functions(node, expected):
    """Those of arrays give arrays."""
    value = rec_eval(node)
    assert isinstance(value, np.ndarray)
    assert value.tolist() == expected


def test_a_value_that_is_needed_for_itself_is_refused():
    """A switch that takes itself for an option; another option is no matter."""
    for chosen in (0, 1):
        switch = scope.switch(chosen, 5, scope.add(1, 2))
        switch.pos_args[2].pos_args[0] = switch
        if chosen:
            with pytest.raises(BadSearchSpace, match="circle"):
                rec_eval(switch)
        else:
            assert rec_eval(switch) == 5
