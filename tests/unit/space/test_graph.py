"""Graphs of expressions: their order, copies, any depth, and circles."""

import pytest

from sparktune import hp
from sparktune.exceptions import InvalidSpaceError
from sparktune.space.graph import clone, clone_merge, dfs, toposort
from sparktune.space.nodes import Apply, Literal, apply, as_apply
from sparktune.space.scope import rec_eval


def test_dfs_has_arguments_before_users_and_each_node_once():
    """The order is one in which the nodes can be computed; the root comes last."""
    x = hp.uniform("x", 0, 1)
    root = as_apply({"a": x, "b": [x, x + 1]})
    order = dfs(root)
    position = {node: i for i, node in enumerate(order)}
    assert len(position) == len(order)
    assert order[-1] is root
    assert all(position[child] < position[node] for node in order for child in node.inputs())
    assert toposort(root) == order


def test_a_clone_shares_inside_what_the_original_shares():
    """A copied graph has nodes of its own, and one node where the original has one."""
    x = hp.uniform("x", 0, 1)
    copied = clone(as_apply([x, x]))
    assert copied.pos_args[0] is copied.pos_args[1]
    assert copied.pos_args[0] is not x
    assert str(copied) == str(as_apply([x, x]))


def test_graphs_may_be_deeper_than_python_recurses():
    """A chain of 2,000 operations is walked, copied, printed and evaluated."""
    node = Literal(0)
    for _ in range(2000):
        node = apply("add", node, 1)
    assert len(dfs(node)) == 4001
    assert rec_eval(clone(node)) == 2000
    assert str(node).count("\n") == 4000


def circular():
    """A sum that is its own second argument, two nodes down."""
    total = apply("add", Literal(1), apply("neg", Literal(2)))
    total.pos_args[1].pos_args[0] = total
    return total


@pytest.mark.parametrize("walk", [dfs, clone, clone_merge, Apply.eval], ids=lambda walk: walk.__name__)
def test_a_circle_is_refused(walk):
    """A node that is below itself, by replaced arguments, is an error that says so: there is no end to walk to."""
    with pytest.raises(InvalidSpaceError, match=r"circle.*'(add|neg)' node"):
        walk(circular())
