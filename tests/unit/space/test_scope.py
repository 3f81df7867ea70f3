"""scope: user functions, lazy evaluation and sampling."""

import pickle

import numpy as np
import pytest

from sparktune import hp, pyll
from sparktune.exceptions import BadSearchSpace
from sparktune.space.nodes import Literal, as_apply
from sparktune.space.scope import UndrawnParameterError, rec_eval, recursive_set_rng_kwarg, sample, scope


@pytest.fixture
def registered():
    """Registers functions for one test."""
    before = dict(scope._impls)
    yield scope
    for name in set(scope._impls) - set(before):
        scope.undefine(name)


def double(x):
    """Twice x."""
    return 2 * x


def pair(x):
    """Two values."""
    return x, -x


def test_a_defined_function_can_be_used_in_a_space(registered):
    """scope.define registers a function, returns it, and makes scope.name(...) build its node."""
    assert registered.define(double) is double
    node = registered.double(Literal(4))
    assert (node.name, rec_eval(node)) == ("double", 8)
    assert "double" in dir(registered)


def test_a_function_with_a_known_length_can_be_unpacked(registered):
    """define_info(o_len=2) makes nodes that unpack into two."""
    registered.define_info(o_len=2)(pair)
    first, second = registered.pair(3)
    assert rec_eval(as_apply([first, second])) == (3, -3)


def test_pure_functions_make_pure_nodes(registered):
    """define_pure marks the nodes."""
    registered.define_pure(double)
    assert registered.double(1).pure


def test_names_are_taken_once(registered):
    """A second definition under one name is refused; define_if_new returns the first."""
    registered.define(double)
    with pytest.raises(ValueError, match=r"'double' already.*undefine"):
        registered.define(double)
    with pytest.raises(ValueError, match="'double' already"):
        registered.inject(double)
    assert registered.define_if_new(double) is double
    assert registered.define_if_new(pair) is pair


@pytest.mark.parametrize("given", [double, "double"], ids=["function", "name"])
def test_undefine_frees_the_name(registered, given):
    """A function is removed given itself or its name; unknown names are refused."""
    registered.define(double)
    registered.undefine(given)
    with pytest.raises(AttributeError, match=r"no function 'double'.*scope\.define"):
        _ = registered.double
    with pytest.raises(ValueError, match="to remove"):
        registered.undefine(given)


def test_functions_come_in_bulk(registered):
    """inject takes functions and keywords, import_ the names of a dictionary."""
    registered.inject(double, twice=double)
    registered.import_({"pair": pair, "not_wanted": double}, "pair")
    assert rec_eval(registered.twice(2)) == 4
    assert rec_eval(registered.pair(2)) == (2, -2)
    assert "not_wanted" not in dir(registered)


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


@pytest.mark.parametrize(("index", "rule"), [(2, "2 options"), (-1, "2 options"), (0.0, "integer"), ("a", "integer")])
def test_a_switch_refuses_an_index_that_is_none(index, rule):
    """An index is an integer from 0 to the number of options less one; the message has the one received."""
    with pytest.raises(BadSearchSpace, match=rule) as caught:
        rec_eval(scope.switch(index, "a", "b"))
    assert repr(index) in str(caught.value)


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


@pytest.mark.parametrize(
    ("node", "expected"),
    [
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
        (scope.array_union([1, 2], [2, 3]), [1, 2, 3]),
        (scope.array_union1([[1, 2], [2, 3]]), [1, 2, 3]),
    ],
)
def test_built_in_array_functions(node, expected):
    """Those of arrays give arrays."""
    value = rec_eval(node)
    assert isinstance(value, np.ndarray)
    assert value.tolist() == expected
