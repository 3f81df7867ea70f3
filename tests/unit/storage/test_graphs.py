"""Spaces as JSON and back."""

import json
import math

import numpy as np
import pytest

from sparktune import hp
from sparktune.exceptions import InvalidStorage
from sparktune.pyll.base import scope
from sparktune.space.compile import Space
from sparktune.space.nodes import Literal, apply
from sparktune.storage.encoding import Pickled
from sparktune.storage.graphs import decode_space, encode_space

SPACE = {
    "lr": hp.loguniform("lr", math.log(1e-5), 0),
    "n": scope.int(hp.quniform("n", 1, 100, 1)),
    "kind": hp.choice("kind", ["a", {"deep": hp.normal("m", 0, 1), "list": [1, (2,)]}, np.arange(3)]),
    "size": 2 ** hp.randint("size", 5) + 1,
    "p": hp.pchoice("p", [(0.3, None), (0.7, hp.uniform("u", 0, 1))]),
    "bytes": b"x",
}


def through(space, trust=False):
    """The space after a way through a file."""
    return decode_space(json.loads(json.dumps(encode_space(space))), trust)


def test_a_space_comes_back():
    """Labels, distributions and conditions are the same, and so is its value at any point."""
    space = Space(SPACE)
    back = through(space)
    assert back.labels == space.labels
    for mine, other in zip(space.parameters, back.parameters, strict=True):
        assert (mine.distribution, mine.conditions) == (other.distribution, other.conditions)
    for row in space.sample(np.random.default_rng(0), 50):
        np.testing.assert_equal(back.evaluate(space.raw(row)), space.evaluate(space.raw(row)))


def test_a_node_that_is_used_twice_stays_one():
    """The same parameter in two places has the same value."""
    x = hp.uniform("x", 0, 1)
    back = through(Space([x, x * 2]))
    assert back.labels == ("x",)
    assert back.evaluate({"x": 0.25}) == (0.25, 0.5)


def test_objects_of_a_space_are_pickles_unless_trusted():
    """An option that is an object is not opened."""
    space = Space(hp.choice("c", [print, 5]))
    assert isinstance(through(space).evaluate({"c": 0}), Pickled)
    assert through(space, trust=True).evaluate({"c": 0}) is print


@pytest.mark.parametrize("name", ["getattr", "call", "call_method", "call_method_pure", "callpipe1", "map", "partial"])
def test_a_space_that_can_run_code_is_refused_unless_trusted(name):
    """Without any pickle, a space of somebody else's could reach every function from a text; it is not read."""
    nodes = encode_space(Space(apply(name, Literal("text"), Literal("__class__"))))
    with pytest.raises(InvalidStorage, match=rf"calls '{name}', by which a space can run any code.*trust=True"):
        decode_space(nodes)
    assert decode_space(nodes, trust=True).expr.name == name


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        5,
        [{}],
        [{"name": "float", "args": [3], "kwargs": {}}],
        [{"literal": {"$array": "x"}}],
        [{"literal": 1}, {"literal": "x"}, {"name": "hyperopt_param", "args": [1, 0], "kwargs": {}}],
    ],
)
def test_what_is_no_space_is_refused(nodes):
    """Whatever is wrong with it, the error is ours."""
    with pytest.raises(InvalidStorage):
        decode_space(nodes)
