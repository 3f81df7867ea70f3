"""Functions with a cache, pickled for a process that has another main program."""

import copyreg
import functools
import pickle
import subprocess
import sys

import cloudpickle
import pytest

from sparktune.worker import caches


class Pickler(cloudpickle.CloudPickler):
    """Asks for the reduction first."""

    def reducer_override(self, obj):
        reduced = caches.reduced(obj, cloudpickle.list_registry_pickle_by_value())
        return super().reducer_override(obj) if reduced is None else reduced


def arrived(function, tmp_path):
    """What a function is after pickling."""
    path = tmp_path / "pickle"
    with open(path, "wb") as file:
        Pickler(file).dump(function)
    return pickle.loads(path.read_bytes())


def in_the_main_program(function):
    """The function as one of the main program, whose name stands for nothing elsewhere."""
    function.__module__ = function.__wrapped__.__module__ = "__main__"
    return function


@functools.cache
def of_this_module(x):
    return x


@functools.lru_cache(maxsize=7, typed=True)
def fibonacci(n):
    """Calls itself."""
    return n if n < 2 else of_the_main_program(n - 1) + of_the_main_program(n - 2)


fibonacci.note = "kept"
of_the_main_program = in_the_main_program(fibonacci)


def test_function_of_a_main_program_travels_with_an_empty_cache(tmp_path):
    """It computes what it did, with the same limits and attributes, and remembers nothing from here."""
    assert of_the_main_program(3) == 2
    function = arrived(of_the_main_program, tmp_path)
    assert function is not of_the_main_program
    assert function.cache_info() == (0, 0, 7, 0)
    assert function(30) == 832040
    assert function.cache_info().hits > 0
    assert function.cache_parameters() == {"maxsize": 7, "typed": True}
    names = (function.__name__, function.__qualname__, function.__module__, function.__doc__, function.note)
    assert names == ("fibonacci", "fibonacci", "__main__", "Calls itself.", "kept")
    assert function.__wrapped__(1) == 1


def test_method_and_local_function_travel_as_well(tmp_path):
    """Names within functions and classes of the main program stand for nothing elsewhere either."""

    class Model:
        @functools.cache  # noqa: B019
        def double(self, x):
            return 2 * x

    assert arrived(Model(), tmp_path).double(4) == 8
    assert arrived(Model().double, tmp_path)(4) == 8


def test_callable_without_a_name_travels_as_well(tmp_path):
    """What wraps a functools.partial has no name to be found by."""
    assert arrived(functools.cache(functools.partial(divmod, 7)), tmp_path)(2) == (3, 1)


def test_function_of_a_module_travels_by_its_name(tmp_path):
    """As it does without, unless its module is to travel by value."""
    assert arrived(of_this_module, tmp_path) is of_this_module
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        assert arrived(of_this_module, tmp_path) is not of_this_module
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize(
    "obj",
    [len, functools.partial(len), of_this_module.__wrapped__, copyreg, 5],
    ids=["builtin", "partial", "function", "module", "number"],
)
def test_other_objects_are_none_of_its_business(obj):
    """What has no cache is pickled as ever."""
    assert caches.reduced(obj) is None


def test_nothing_of_ours_is_needed_where_it_arrives(tmp_path):
    """A worker without sparktune loads it."""
    arrived(of_the_main_program, tmp_path)
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))(20), 'sparktune' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "pickle")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == "6765 False\n", result.stderr
