"""The table of functions: user functions, partial calls, lambdas, and how they reach another process."""

import copy
import pickle
import subprocess
import sys

import cloudpickle
import pytest

from sparktune import hp
from sparktune.exceptions import BadSearchSpace, SparktuneError
from sparktune.space.graph import clone_merge, dfs
from sparktune.space.nodes import Apply, Literal, apply, as_apply
from sparktune.space.scope import rec_eval, sample
from sparktune.space.symbols import Lambda, MissingArgumentError, PyllImportError, SymbolTableEntry, p0, p1, scope


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


def defined_by(cell):
    """The function ``halving`` that a cell of a notebook makes."""
    names = {"__name__": "__main__"}
    exec(cell, names)
    return names["halving"]


class Scale:
    """Its objects' methods do different things under one name."""

    def __init__(self, factor):
        self.factor = factor

    def scaled(self, x):
        return x * self.factor


def test_a_method_of_another_object_does_not_take_the_place_of_the_first(registered):
    """It is no second definition of the same function."""
    registered.define(Scale(2).scaled)
    with pytest.raises(ValueError, match="has a function 'scaled' already"):
        registered.define(Scale(100).scaled)


def test_a_cell_that_is_run_again_defines_its_function_again(registered):
    """A function of the same module and name takes the place of the one before, in nodes that are there as well."""
    registered.define(defined_by("def halving(n): return n / 2"))
    node = registered.halving(8)
    registered.define_pure(defined_by("def halving(n): return n // 2 + 1"))
    assert (rec_eval(node), rec_eval(registered.halving(8)), registered.halving(8).pure) == (5, 5, True)
    copy = pickle.loads(pickle.dumps(node))
    assert rec_eval(copy) == 5


def test_functions_of_other_places_do_not_take_a_name(registered):
    """A function of another module, a built-in one's name, lambdas, and what a function makes, are refused."""

    def make(k):
        def scaled(x):
            return k * x

        return scaled

    registered.define(defined_by("def halving(n): return n / 2"))
    other = defined_by("def halving(n): return 0")
    other.__module__ = "other"
    for name, first, second in [
        ("halving", None, other),
        ("scaled", make(1), make(2)),
        ("<lambda>", lambda n: n, lambda n: n),
        ("max", None, max),
    ]:
        if first is not None:
            registered.define(first)
        with pytest.raises(ValueError, match=f"'{name}' already"):
            registered.define(second)


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
    """inject takes functions and keywords."""
    registered.inject(double, twice=double)
    assert rec_eval(registered.double(2) + registered.twice(2)) == 8


def test_builders_can_be_put_into_a_module():
    """import_ fills a dictionary, such as globals(), with the builders of the names asked for."""
    names = {}
    scope.import_(names, "add", root="sqrt")
    assert sorted(names) == ["add", "root"]
    assert rec_eval(names["root"](names["add"](7, 2))) == 3
    with pytest.raises(PyllImportError, match=r"'no_such'.*scope\.define"):
        scope.import_(names, "no_such")


def test_a_switch_by_keyword():
    """kwswitch evaluates the option that its first argument names, and no other."""
    key = Literal()
    node = scope.kwswitch(key, first="a", second="b", third=scope.Raise(ZeroDivisionError, "chosen"))
    assert [rec_eval(node, memo={key: name}) for name in ("first", "second")] == ["a", "b"]
    with pytest.raises(ZeroDivisionError, match="chosen"):
        rec_eval(node, memo={key: "third"})


def test_one_of_and_choice_draw_an_option():
    """Both draw among options, without a label."""
    for node in (scope.one_of("a", "b"), scope.choice(["a", "b"])):
        assert {sample(node, seed) for seed in range(20)} == {"a", "b"}


def test_a_partial_call_by_name():
    """scope.partial(name, ...) evaluates to a builder that wants the rest of the arguments."""
    add2 = scope.partial("add", 2)
    value = rec_eval(add2)
    assert isinstance(value, SymbolTableEntry)
    assert repr(value) == "SymbolTableEntry(add, 2)"
    assert rec_eval(add2(3)) == 5
    assert rec_eval(scope.partial("asarray", dtype="float32")([1])).dtype == "float32"


@pytest.mark.parametrize("kind", [SparktuneError, TypeError, NotImplementedError])
def test_a_partial_call_without_the_rest(kind):
    """The error names what is missing."""
    with pytest.raises(kind, match="'add' still needs b"):
        rec_eval(scope.partial("add", 2)())


def test_a_lambda_puts_arguments_for_placeholders():
    """By position or by keyword; its expression stays as it was."""
    line = Lambda("line", [("slope", p0), ("start", p1)], p0 * 2 + p1)
    assert [rec_eval(line(3, 1)), rec_eval(line(3, start=1))] == [7, 7]
    assert p0 in dfs(line.expr)
    with pytest.raises(MissingArgumentError, match="line needs start"):
        line(3)


def test_a_lambda_may_call_itself(registered):
    """A recursion that a switch ends is evaluated, deeper than Python recurses."""
    registered.define(Lambda("total", [("n", p0)], scope.switch(p0 > 0, 0, p0 + apply("total", p0 - 1))))
    assert rec_eval(registered.total(2000)) == 2000 * 2001 // 2


def test_a_recursion_without_an_end_is_refused(registered):
    """It ends in an error that names the function."""
    registered.define(Lambda("forever", [("n", p0)], apply("forever", p0 + 1)))
    with pytest.raises(BadSearchSpace, match=r"forever .*scope\.switch"):
        rec_eval(registered.forever(0))


def test_equal_calls_of_pure_functions_become_one_node(registered):
    """clone_merge joins them, leaves on request, and never parameters or what is not known to be pure."""
    registered.define(double)
    two, three, again = Literal(2), Literal(3), Literal(2)
    expr = (two + three) * (again + three)
    assert [len(dfs(clone_merge(expr))), len(dfs(clone_merge(expr, merge_literals=True)))] == [6, 4]
    assert clone_merge(expr, merge_literals=True).eval() == expr.eval() == 25
    same = [registered.double(two), registered.double(two), hp.uniform("x", 0, 1), hp.uniform("x", 0, 1)]
    merged = clone_merge(as_apply(same), merge_literals=True)
    assert len(set(merged.pos_args)) == 4
    assert len(set(clone_merge(as_apply([Literal(1), Literal(True), Literal([1])]), merge_literals=True).pos_args)) == 3


def test_scope_and_its_builders_can_be_copied():
    """There is one scope; copies and pickles of it are itself, and those of a builder build the same."""
    assert copy.deepcopy(scope) is scope
    assert pickle.loads(pickle.dumps(scope)) is scope
    assert rec_eval(pickle.loads(pickle.dumps(scope.add))(2, 3)) == 5


EVALUATE = """
import pickle, sys
from sparktune.space.scope import rec_eval, scope
node = pickle.loads(sys.stdin.buffer.read())
print(rec_eval(node), "named_in_the_test" in dir(scope))
"""


def evaluated_elsewhere(data):
    """What a fresh process, which cannot import this module, says of a pickled node."""
    run = subprocess.run([sys.executable, "-c", EVALUATE], input=data, capture_output=True, check=True)
    return run.stdout.decode().split()


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
def test_functions_of_the_user_travel_with_the_nodes(registered, dumps):
    """A space that calls a function registered here is evaluated in a process that has never heard of it."""
    offset = 100
    scope.inject(named_in_the_test=lambda x: x + offset)
    assert evaluated_elsewhere(dumps(scope.named_in_the_test(5) * 2)) == ["210", "True"]


def test_a_recursive_lambda_travels(registered):
    """A Lambda, which holds nodes that call it, reaches another process as well."""
    registered.define(
        Lambda("named_in_the_test", [("n", p0)], scope.switch(p0 > 1, 1, p0 * apply("named_in_the_test", p0 - 1)))
    )
    assert evaluated_elsewhere(pickle.dumps(registered.named_in_the_test(5))) == ["120", "True"]


def test_a_function_that_cannot_travel_does_not_stop_its_node(registered):
    """The node is pickled all the same; where the function is missing, evaluating it says so."""
    lock = __import__("threading").Lock()
    registered.inject(named_in_the_test=lambda x: lock)
    data = pickle.dumps(registered.named_in_the_test(1))
    scope.undefine("named_in_the_test")
    with pytest.raises(BadSearchSpace, match="'named_in_the_test', which is not registered here"):
        rec_eval(pickle.loads(data))


def test_built_in_functions_do_not_travel():
    """A node of one that every process has is pickled without it."""
    assert b"cloudpickle" not in pickle.dumps(Apply("add", [Literal(1), Literal(2)], []))
