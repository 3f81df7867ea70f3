"""Objectives as they travel to Spark: what is refused, and how the error names it."""

import functools
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyspark")

import pyspark
from pyspark.accumulators import Accumulator, AddingAccumulatorParam

from sparktune.exceptions import SerializationError
from sparktune.spark.objective import SharedValue, pickle_argument, pickle_objective

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


class Holder:
    """Holds what it is given."""

    def __init__(self, *parts):
        self.parts = parts


def test_handles_in_constants_of_the_space_are_sent_along():
    """They are found beside large arrays, in functions, and although another constant cannot be pickled."""
    handles = [SharedValue(n) for n in range(3)]
    constants = [
        threading.Lock(),
        "text",
        Holder(np.zeros(10**6), {"deep": [handles[0]]}),
        lambda: handles[1],
        Holder(threading.Lock()),
    ]
    pickled = pickle_objective(max, constants)
    assert set(pickled.shared) == {handle.pickled()[0] for handle in handles}
    assert pickled.data == pickle_objective(max).data
    assert pickled.digest != pickle_objective(max).digest == pickle_objective(max, [1.0, Holder(2)]).digest


def test_handles_in_a_handle_are_sent_before_it():
    """What a shared value holds of others goes with it, however deep, and is there when it is loaded."""
    inner, other = SharedValue([1]), SharedValue([2])
    middle = SharedValue(Holder(other, inner))
    outer = SharedValue({"deep": [middle]})
    sent = [outer.pickled()[0], middle.pickled()[0], inner.pickled()[0], other.pickled()[0]]

    def objective(x):
        return outer.value, inner.value

    for pickled in (pickle_objective(objective), pickle_objective(max, [outer]), pickle_objective(objective, [inner])):
        places = [list(pickled.shared).index(digest) for digest in sent]
        assert len(pickled.shared) == 4
        assert places[0] > places[1] > max(places[2:])
    assert pickle_argument(outer, pickled.shared, []) == pickle_argument(SharedValue(outer.value), pickled.shared, [])


def test_handle_that_holds_itself_is_refused():
    """No worker could load it."""
    held = {}
    held["me"] = handle = SharedValue(held)
    with pytest.raises(SerializationError, match="the value to broadcast holds its own handle"):
        pickle_objective(lambda x: handle.value)


class Broadcast(pyspark.Broadcast):
    """One of Spark's own variables, of a session that is not there."""

    def __init__(self, number):
        self._jbroadcast = SimpleNamespace(id=lambda: number)


def test_broadcast_variables_in_a_handle_are_sent_along():
    """Those that shared values hold go with them, each once."""
    first, second = Broadcast(1), Broadcast(2)
    outer = SharedValue([SharedValue(first), second])
    pickled = pickle_objective(lambda x: outer.value[1].value + first.value, [outer])
    assert sorted(variable._jbroadcast.id() for variable in pickled.broadcasts) == [1, 2]
    assert sorted(v._jbroadcast.id() for v in pickle_objective(max, [outer]).broadcasts) == [1, 2]
    assert len(pickle_argument(outer, pickled.shared, pickled.broadcasts)) < 500


@in_the_main_program
@functools.cache
def with_a_cache(x):
    return x + LOCK.locked()


in_the_main_program(with_a_cache.__wrapped__)


def test_function_with_a_cache_travels_with_what_it_uses():
    """The main program's is not known by its name where it arrives; what keeps it from being pickled is named."""
    factor = 3

    @functools.cache
    def triple(x):
        return factor * x

    assert pickle.loads(pickle_objective(lambda x: triple(x)).data)(5) == 15
    assert pickle.loads(pickle_objective(in_the_main_program(triple)).data)(5) == 15
    for objective in (with_a_cache, in_the_main_program(lambda x: with_a_cache(x))):
        with pytest.raises(SerializationError, match="in the variable 'LOCK'"):
            pickle_objective(objective)


def test_argument_names_the_handles_that_were_sent():
    """A handle that was sent is small in an argument; another one travels whole, and needs none of our modules."""
    sent, new = SharedValue(bytes(10**6)), SharedValue(bytes(2 * 10**6))
    digest, _ = sent.pickled()
    assert len(pickle_argument({"data": sent}, {digest}, [])) < 500
    whole = pickle_argument({"data": new}, {digest}, [])
    assert b"sparktune" not in whole
    assert pickle.loads(whole)["data"].value == new.value
