"""Spaces in annotations."""

import subprocess
import sys

import cloudpickle
import pytest

from sparktune import hp
from sparktune.exceptions import InvalidAnnotatedParameter
from sparktune.space.annotated import annotated_space
from sparktune.space.compile import Space


class Model:
    """Callable, with a method."""

    def __call__(self, x: hp.uniform("x", 0, 1)):
        return x

    def method(self, x: hp.uniform("x", 0, 1)):
        return x


def called(fn, **raw):
    """What ``fn`` gives at a point of its annotated space."""
    objective, space = annotated_space(fn)
    return objective(Space(space).evaluate(raw))


def test_parameters_come_from_annotations():
    """Expressions, containers of them and choices; keyword-only parameters; defaults of the others are kept."""

    def objective(
        x: hp.uniform("x", 0, 1),
        y: {"kind": hp.choice("kind", ["a", "b"])},  # noqa: F821 - no forward reference
        z: int = 3,
        w=4,
        *,
        n: [hp.randint("n", 5)],
    ) -> float:
        return x, y, z, w, n

    assert called(objective, x=0.5, kind=1, n=2) == (0.5, {"kind": "b"}, 3, 4, (2,))
    assert Space(annotated_space(objective)[1]).labels == ("n", "x", "kind")


def test_a_space_wins_over_a_default():
    """A parameter with both is searched."""

    def objective(x: hp.choice("x", [1, 2]) = 7, *args, **kwargs):
        return x

    assert called(objective, x=1) == 2


@pytest.mark.parametrize("fn", [Model(), Model().method], ids=["object", "method"])
def test_anything_that_can_be_called(fn):
    """Callable objects and bound methods have annotations as well."""
    assert called(fn, x=0.25) == 0.25


def test_annotations_may_be_text():
    """What `from __future__ import annotations` makes of them is evaluated in the module's names."""
    names = {"hp": hp}
    exec("from __future__ import annotations\ndef objective(x: hp.uniform('x', 0, 1)):\n    return -x", names)
    assert called(names["objective"], x=0.5) == -0.5


def no_annotation(x: hp.uniform("x", 0, 1), y):
    """y has neither space nor default."""


def a_type(x: hp.uniform("x", 0, 1), y: float):
    """y has a type."""


def nothing():
    """No parameters."""


def by_position(x: hp.uniform("x", 0, 1), /):
    """Cannot be called by keyword."""


def unknown_name(x: "no_such_name"):  # noqa: F821 - what is tested
    """Text that means nothing."""


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (no_annotation, r"no_annotation.*'y' has no annotation: write y: hp\.uniform"),
        (a_type, r"a_type.*'y' has the annotation <class 'float'>"),
        (nothing, r"nothing has none: write def objective\(x: hp"),
        (by_position, r"by_position.*'x' by position only"),
        (unknown_name, r"unknown_name is text.*no_such_name"),
    ],
)
def test_annotations_that_are_no_space(fn, words):
    """The error names the function, the parameter, and what to write."""
    with pytest.raises(InvalidAnnotatedParameter, match=words):
        annotated_space(fn)


def test_the_objective_travels_without_us():
    """What is sent to an executor does not import this package, which need not be installed there."""
    names = {"hp": hp, "__name__": "__main__"}
    exec("def objective(x: hp.uniform('x', 0, 1), *, k=2):\n    return k * x", names)
    objective, _ = annotated_space(names["objective"])
    code = "import sys, pickle; sys.modules['sparktune'] = None; print(pickle.load(sys.stdin.buffer)({'x': 4}))"
    run = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(objective), capture_output=True, check=True
    )
    assert run.stdout.split() == [b"8"]
    assert objective.__name__ == "objective"
