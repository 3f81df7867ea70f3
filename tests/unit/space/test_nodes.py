"""Expression nodes: the shape that programs walk, and operators."""

import collections
import math
import types

import numpy as np
import pytest

from sparktune import hp
from sparktune.exceptions import InvalidSpaceError, InvalidTypeError
from sparktune.space.nodes import Apply, Literal, MissingArgument, as_apply, literal_value
from sparktune.space.scope import rec_eval, scope


class Unfitted:
    """Has a length only once it is fitted, as scikit-learn's ensembles."""

    def __len__(self):
        raise AttributeError("estimators_")


def shape(node):
    """A node as nested tuples of names, literals as they are."""
    if isinstance(node, Literal):
        return node.obj
    return (node.name, *(shape(child) for child in node.inputs()))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (hp.uniform("x", 0, 1), ("float", ("hyperopt_param", "x", ("uniform", 0, 1)))),
        (hp.quniform("x", 0, 9, 3), ("float", ("hyperopt_param", "x", ("quniform", 0, 9, 3)))),
        (hp.loguniform("x", -1, 1), ("float", ("hyperopt_param", "x", ("loguniform", -1, 1)))),
        (hp.qloguniform("x", 0, 2, 1), ("float", ("hyperopt_param", "x", ("qloguniform", 0, 2, 1)))),
        (hp.normal("x", 0, 1), ("float", ("hyperopt_param", "x", ("normal", 0, 1)))),
        (hp.qnormal("x", 0, 1, 2), ("float", ("hyperopt_param", "x", ("qnormal", 0, 1, 2)))),
        (hp.lognormal("x", 0, 1), ("float", ("hyperopt_param", "x", ("lognormal", 0, 1)))),
        (hp.qlognormal("x", 0, 1, 2), ("float", ("hyperopt_param", "x", ("qlognormal", 0, 1, 2)))),
        (hp.randint("x", 5), ("int", ("hyperopt_param", "x", ("randint", 5)))),
        (hp.randint("x", 2, 5), ("int", ("hyperopt_param", "x", ("randint", 2, 5)))),
        (hp.uniformint("x", 1, 5), ("int", ("float", ("hyperopt_param", "x", ("quniform", 1, 5, 1.0))))),
        (hp.choice("x", ["a", "b"]), ("switch", ("hyperopt_param", "x", ("randint", 2)), "a", "b")),
        (
            hp.pchoice("x", [(0.3, "a"), (0.7, "b")]),
            ("switch", ("hyperopt_param", "x", ("categorical", ("pos_args", 0.3, 0.7))), "a", "b"),
        ),
    ],
)
def test_every_hp_function_builds_the_graph_that_programs_walk(node, expected):
    """The nodes of a parameter have hyperopt's names and arguments, in its order."""
    assert shape(node) == expected


def test_a_node_has_hyperopts_attributes():
    """name, pos_args, named_args, arg and obj are there to be read."""
    node = hp.uniform("x", 0, high=1)
    param = node.pos_args[0]
    assert (param.name, param.named_args) == ("hyperopt_param", [])
    assert param.arg["label"].obj == "x"
    assert param.arg["obj"].name == "uniform"
    assert [param.arg["obj"].arg[name].obj for name in ("low", "high")] == [0, 1]


def test_named_arguments_are_sorted_pairs_and_missing_ones_are_marked():
    """named_args is a list of [keyword, node] by keyword; arg tells which arguments nobody gave."""
    node = scope.uniform(high=1, rng=None)
    assert [(key, child.obj) for key, child in node.named_args] == [("high", 1), ("rng", None)]
    assert node.arg["low"] is MissingArgument


def test_arg_of_an_unknown_function_names_the_fix():
    """A node of a function that is not registered here says how to register it."""
    with pytest.raises(NameError, match=r"no_such_function.*scope\.define"):
        _ = Apply("no_such_function", [], []).arg


def test_arguments_must_be_nodes():
    """A node built by hand from plain values is refused, with the way to wrap them."""
    with pytest.raises(TypeError, match="as_apply"):
        Apply("add", [1, 2], [])


def test_str_numbers_the_lines_and_refers_back_to_nodes_met_before():
    """str(node) is one line per node; a node used twice is written out once."""
    x = hp.randint("x", 3)
    assert str(x + x).splitlines() == [
        "0 add",
        "1   int",
        "2     hyperopt_param",
        "3       Literal{x}",
        "4       randint",
        "5         Literal{3}",
        "6   int  [line:1]",
    ]


def test_str_shows_keywords_on_lines_of_their_own():
    """A named argument stands below its keyword."""
    assert str(as_apply({"a": 1})).splitlines() == ["0 dict", "1  a =", "2   Literal{1}"]


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda x: x + 2, 9),
        (lambda x: 2 + x, 9),
        (lambda x: x - 2, 5),
        (lambda x: 2 - x, -5),
        (lambda x: x * 2, 14),
        (lambda x: 2 * x, 14),
        (lambda x: x / 2, 3.5),
        (lambda x: 14 / x, 2.0),
        (lambda x: x // 2, 3),
        (lambda x: 15 // x, 2),
        (lambda x: x % 4, 3),
        (lambda x: 9 % x, 2),
        (lambda x: x**2, 49),
        (lambda x: 2**x, 128),
        (lambda x: -x, -7),
        (lambda x: abs(-x), 7),
        (lambda x: x < 8, True),
        (lambda x: x <= 7, True),
        (lambda x: x > 7, False),
        (lambda x: x >= 8, False),
        (lambda x: as_apply([1, x])[1], 7),
        (lambda x: as_apply({"a": x})["a"], 7),
        (lambda x: as_apply([1, 2, 3])[1:], (2, 3)),
        (lambda x: as_apply(divmod)(x, 4), (1, 3)),
    ],
)
def test_operators_compute_what_they_do_on_values(compute, expected):
    """An expression evaluates to what Python computes on the values."""
    assert rec_eval(compute(Literal(7))) == expected


def test_a_node_is_a_sequence_where_its_length_is_known():
    """Nodes of lists have a length, are iterated and unpacked; others say why they cannot be."""
    pair = as_apply([1, 2])
    first, second = pair
    assert (len(pair), rec_eval(first), rec_eval(second)) == (2, 1, 2)
    with pytest.raises(IndexError, match="2 elements"):
        pair[2]
    for use in (len, iter, bool):
        with pytest.raises(TypeError):
            use(hp.uniform("x", 0, 1))


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ([1, [2, 3]], (1, (2, 3))),
        ({"b": 1, "a": [2]}, {"a": (2,), "b": 1}),
        ({2: "x", 1: "y"}, {1: "y", 2: "x"}),
        ({1: "x", "a": "y"}, {1: "x", "a": "y"}),
        ({}, {}),
        ((), ()),
        (None, None),
        ("text", "text"),
    ],
)
def test_plain_values_come_back_with_lists_as_tuples(plain, value):
    """as_apply then evaluate is the identity, but for lists, which become tuples as in hyperopt."""
    assert rec_eval(as_apply(plain)) == value


@pytest.mark.parametrize("option", [Unfitted(), np.float64(1), np.array(1), list, object()])
def test_any_object_can_be_an_option(option):
    """A literal may hold anything, an estimator whose length fails before it is fitted included."""
    node = Literal(option)
    assert node.obj is option
    assert node.o_len is None


def test_inputs_can_be_replaced():
    """replace_input reports where the node was; set_kwarg replaces an argument of that name."""
    old, new = Literal(1), Literal(2)
    node = Apply("dict", [old], {"a": old, "b": Literal(3)})
    assert node.replace_input(old, new) == [0, "a"]
    node.set_kwarg("b", 4)
    assert [child.obj for child in node.inputs()] == [2, 2, 4]
    with pytest.raises(TypeError, match="3 inputs"):
        node.clone_from_inputs([])


def test_literal_value_reads_constants_and_refuses_expressions():
    """Bounds are read out of literals and lists of them; an expression is refused with a way around it."""
    assert literal_value(as_apply([1, [2]]), "p") == [1, [2]]
    with pytest.raises(InvalidSpaceError, match=r"expression \(float \.\.\.\).*hp\.uniform\(label, 0, 1\)"):
        literal_value(hp.uniform("x", 0, 1), "high")


def test_a_container_that_holds_itself_is_refused():
    """As is what nests deeper than Python recurses."""
    looped, deep = [1], []
    looped.append({"again": looped})
    for _ in range(5000):
        deep = [deep]
    for space in (looped, deep):
        with pytest.raises(InvalidSpaceError, match="holds itself, or they nest deeper"):
            as_apply(space)


def test_numpy_arrays_calculate_with_nodes():
    """On either side: the node takes the array in, and no array of nodes comes out, which nobody would search."""
    x, array = Literal(3.0), np.array([1.0, 2.0])
    for node, expected in [(array * x, [3, 6]), (x * array, [3, 6]), (array - x, [-2, -1]), (2 ** (array / x), None)]:
        assert isinstance(node, Apply)
        np.testing.assert_allclose(node.eval(), 2 ** (array / 3) if expected is None else expected)
    assert type((np.float64(2) * x).eval()) is float
    assert type((np.int64(2) + Literal(1)).eval()) is int


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: np.power(10, x), 1000.0),
        (lambda x: np.multiply(2, x), 6.0),
        (lambda x: np.square(x), 9.0),
        (lambda x: np.abs(np.negative(x)), 3.0),
        (lambda x: np.exp(x), np.exp(3.0)),
        (lambda x: np.maximum(x, 5.0), 5.0),
        (lambda x: np.float64(2) < x, True),
    ],
)
def test_functions_of_numpy_give_nodes(make, expected):
    """Those that the space can calculate; others say that they do not take nodes."""
    node = make(Literal(3.0))
    assert isinstance(node, Apply)
    assert node.eval() == pytest.approx(expected)
    for cannot in (np.arctan, np.add.accumulate, lambda x: np.add(x, 1, dtype=float)):
        with pytest.raises(TypeError):
            cannot(Literal(3.0))


def test_nodes_are_equal_to_themselves_alone():
    """Also for numpy, whose comparison goes into sets and lists of nodes."""
    x = Literal(3.0)
    assert not (np.float64(3.0) == x or x == np.float64(3.0))
    assert np.float64(3.0) != x
    assert x in [np.float64(3.0), x]


@pytest.mark.parametrize("make", [lambda x: np.array([x, 1], dtype=object), lambda x: {x}, lambda x: frozenset([x, 2])])
def test_parameters_where_nobody_looks_for_them_are_refused(make):
    """Sets and arrays are taken as they are: nodes in them would reach the objective as nodes."""
    with pytest.raises(InvalidSpaceError, match="would not be searched"):
        as_apply({"a": make(Literal(3))})
    assert as_apply({1, 2}).eval() == {1, 2}
    assert as_apply(np.array(["a", None], dtype=object)).eval()[1] is None


class OwnDict(collections.UserDict):
    """One whose methods must not be called: they may load what it stands for."""

    def __iter__(self):
        raise RuntimeError("called")

    __getitem__ = values = items = __iter__


#: What takes a value into a container that a space takes as it is, with what to write instead.
CONTAINERS = [
    (lambda x: types.MappingProxyType({"k": x}), "a dict, and make the mappingproxy of it in the objective"),
    (lambda x: collections.ChainMap({}, {"k": x}), "a dict, and make the ChainMap of it in the objective"),
    (lambda x: collections.UserDict(k=x), "a dict, and make the UserDict of it in the objective"),
    (lambda x: OwnDict(k=x), "a dict, and make the OwnDict of it in the objective"),
    (lambda x: types.SimpleNamespace(k=x), "a dict, and make the SimpleNamespace of it in the objective"),
    (lambda x: collections.deque([x]), "use a list$"),
    (lambda x: collections.UserList([x]), "use a list$"),
    (lambda x: {(1, x)}, "use a list$"),
    (lambda x: np.array([{"k": x}, 1], dtype=object), r"use a list, or scope\.asarray"),
]


@pytest.mark.parametrize(("make", "instead"), CONTAINERS)
def test_parameters_in_other_containers_are_refused(make, instead):
    """So are those in containers inside; the message says what to write instead."""
    x = hp.uniform("x", 0, 1)
    with pytest.raises(InvalidSpaceError, match=instead):
        as_apply([make(x)])
    with pytest.raises(InvalidSpaceError, match=r"parameters in a deque .* use a list$"):
        as_apply({"a": collections.deque([1, ({"deep": make(x)},)])})


@pytest.mark.parametrize(("make", "instead"), CONTAINERS)
def test_containers_without_parameters_are_values(make, instead):
    """They reach the objective as they are: the same object."""
    container = make("a")
    assert as_apply([container]).eval()[0] is container


def test_only_containers_are_opened_and_each_once():
    """One that holds itself comes to an end, as does one with its parts many times; other objects are not asked."""
    inner = collections.deque([1])
    for _ in range(100):
        inner = collections.deque([inner, inner])
    ring = types.SimpleNamespace(inner=inner, other=Unfitted())
    ring.ring = ring
    assert as_apply(ring).eval() is ring
    ring.other.node = hp.uniform("x", 0, 1)
    assert as_apply(ring).eval() is ring


@pytest.mark.parametrize(
    ("ask", "fix"),
    [
        (int, r"scope\.int\(node\)"),
        (float, r"scope\.float\(node\)"),
        (round, r"scope\.round\(node\)"),
        (lambda node: round(node, 1), r"scope\.round\(node\)"),
        (math.exp, r"np\.exp\(node\)"),
        (math.floor, r"scope\.float\(node\)"),
        (lambda node: ["a", "b"][node], r"scope\.switch\(node, \*options\)"),
        (range, r"scope\.switch"),
    ],
)
def test_a_node_is_no_number_yet(ask, fix):
    """Where Python wants a number at once, the error says what makes a node of it, and that the objective may."""
    with pytest.raises(InvalidTypeError, match=rf"before it is evaluated: write .*{fix}.*inside the objective"):
        ask(hp.randint("i", 2))


def test_numpy_takes_nodes_as_objects():
    """That a node refuses to be a number changes nothing for arrays and lists of nodes."""
    i = hp.randint("i", 2)
    assert np.asarray([i, 1.0]).dtype == object
    assert np.full(2, i)[1] is i
    assert shape([1, 2] * i) == ("mul", ("pos_args", 1, 2), shape(i))
