"""Objectives as they travel to Spark: what is refused, and how the error names it."""

import functools
import threading

import pytest

pytest.importorskip("pyspark")

from pyspark.accumulators import Accumulator, AddingAccumulatorParam

from sparktune.exceptions import SerializationError
from sparktune.spark.objective import pickle_objective

LOCK = threading.Lock()


def with_a_global(x):
    return x + LOCK.locked()


class Objective:
    def __init__(self):
        self.guard = threading.Lock()

    def method(self, x):
        return x + self.guard.locked()


def with_a_captured_one():
    mutex = threading.Lock()
    return lambda x: x + mutex.locked()


def with_one_in_a_helper():
    helper = with_a_captured_one()
    return lambda x: helper(x)


def with_one_below_a_recursion():
    mutex = threading.Lock()

    def descend(n):
        return descend(n - 1) if n else mutex.locked()

    return lambda x: x + descend(3)


class Odd:
    """Has no attribute that can be asked for."""

    def __getattribute__(self, name):
        if name == "__dict__":
            raise RuntimeError("no __dict__")
        return super().__getattribute__(name)

    def __call__(self, x):
        return x

    def __reduce__(self):
        raise TypeError("cannot pickle '_thread.lock' object")


def in_the_main_program(function):
    """The function as one of the main program, which travels with what it uses."""
    function.__module__ = "__main__"
    return function


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        (in_the_main_program(with_a_global), "LOCK"),
        (Objective().method, "guard"),
        (with_a_captured_one(), "mutex"),
        (with_one_in_a_helper(), "mutex"),
        (with_one_below_a_recursion(), "mutex"),
    ],
    ids=["global", "attribute", "captured", "helper", "recursion"],
)
def test_what_cannot_be_pickled_is_named(objective, name):
    """Of all that an objective uses, the error names the variable that cannot travel."""
    with pytest.raises(
        SerializationError, match=rf"_thread.lock' object in the variable '{name}'.*inside the objective"
    ):
        pickle_objective(objective)


def test_what_has_no_name_is_refused_all_the_same():
    """An argument that a function was given beforehand has no name to tell."""
    with pytest.raises(SerializationError, match=r"\(cannot pickle '_thread.lock' object\): open files, locks"):
        pickle_objective(functools.partial(max, threading.Lock()))


def test_what_cannot_be_looked_into_is_refused_all_the_same():
    """The error is the one of pickling."""
    with pytest.raises(SerializationError, match=r"\(cannot pickle '_thread.lock' object\): open files, locks"):
        pickle_objective(Odd())


def test_accumulator_is_refused_with_the_fix():
    """What an evaluation adds to an accumulator would be lost without a word."""
    counter = Accumulator(-1, 0, AddingAccumulatorParam(0))
    with pytest.raises(SerializationError, match=r"an accumulator in the variable 'counter', .* lost, .*return"):
        pickle_objective(lambda x: counter.add(1))
