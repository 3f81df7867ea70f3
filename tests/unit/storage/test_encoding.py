"""Values as JSON and back."""

import collections
import datetime
import decimal
import enum
import json
import math
import pickle

import numpy as np
import pytest

from sparktune.exceptions import InvalidStorage, SerializationError
from sparktune.storage.encoding import Pickled, decode, encode


class Colour(enum.IntEnum):
    RED = 3


class Bomb:
    """Unpickling it calls a function, as an attacker's object would."""

    n_exploded = 0

    def __reduce__(self):
        return explode, ()


def explode():
    Bomb.n_exploded += 1


def stored(value, trust=False):
    """The value after a way through a file."""
    return decode(json.loads(json.dumps(encode(value))), trust)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**70),
        0.1,
        math.inf,
        -math.inf,
        "",
        "\ud800 \u2028 \x00 ünï",
        [],
        {},
        (),
        (1, [2, (3,)], {"a": (4,)}),
        b"\x00\xff",
        {"$tuple": [1]},
        {"$pickle": "x"},
        {"": 1},
        {1: "a", (2, "b"): None, "c": {3.5: b"d"}},
        datetime.datetime(2026, 1, 2, 3, 4, 5, 678000),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    ],
)
def test_what_json_has_and_a_little_more_comes_back_without_pickles(value):
    """A value of JSON's types, tuples, bytes, dictionaries of any keys and times are the same afterwards."""
    assert stored(value) == value
    assert type(stored(value)) is type(value)


def test_not_a_number_comes_back():
    """NaN is written, and read as NaN."""
    assert math.isnan(stored({"loss": math.nan})["loss"])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(5),
        np.array([], dtype=np.int8),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.arange(10)[::3],
        np.array([1, 2], dtype=">i4"),
    ],
)
def test_arrays_come_back_without_pickles(array):
    """An array keeps values, shape and type."""
    back = stored(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Colour.RED, 3),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.namedtuple("Point", "x y")(1, 2), (1, 2)),
    ],
)
def test_types_derived_from_those_of_json_become_them(value, expected):
    """What is a number, a text, a list or a dictionary is readable without trust."""
    back = stored(value)
    assert back == expected
    assert type(back) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        1j,
        decimal.Decimal("0.1"),
        np.timedelta64(1, "D"),
        np.longdouble(1) / 3,
        np.array([None, "a"], dtype=object),
        datetime.date(2026, 1, 1),
        pytest.param(10**5000, id="a long integer"),
        collections.Counter,
    ],
)
def test_other_objects_become_pickles_that_are_opened_only_when_trusted(value):
    """An object that is not JSON is a pickle, marked as one, and the same object with trust=True."""
    closed = stored({"odd": value})["odd"]
    assert isinstance(closed, Pickled)
    opened = stored({"odd": value}, trust=True)["odd"]
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(opened, value)
    else:
        assert opened == value


def test_what_a_notebook_defines_is_stored():
    """A function that pickle cannot name is pickled by value."""
    assert stored(lambda x: x + 1, trust=True)(1) == 2


def test_a_hostile_pickle_runs_no_code_unless_trusted():
    """Reading, showing and writing again an object of somebody else's does not unpickle it."""
    Bomb.n_exploded = 0
    closed = stored(Bomb())
    assert "pickle of" in repr(closed)
    assert stored(closed) == closed
    assert Bomb.n_exploded == 0
    stored(Bomb(), trust=True)
    assert Bomb.n_exploded == 1


def test_a_pickle_that_does_not_open_stays_one(caplog):
    """With trust, an object whose module is missing costs itself and not the study."""
    gone = pickle.dumps(Colour.RED).replace(b"Colour", b"Culour")
    back = stored([1, Pickled(gone)], trust=True)
    assert back == [1, Pickled(gone)]
    assert "stays a pickle" in caplog.text


def test_a_value_that_contains_itself_is_stored():
    """A circle becomes a pickle at the point where it closes, and is a value again."""
    value = {"list": []}
    value["list"] += [value, value]
    inner = stored(value, trust=True)["list"][0]
    assert inner["list"][1]["list"] is not None


def test_a_value_of_any_depth_is_stored():
    """Nesting far beyond what JSON's reader bears is a pickle from some depth on."""
    value = []
    for _ in range(400):
        value = [value]
    back = stored(value, trust=True)
    depth = 0
    while back:
        back, depth = back[0], depth + 1
    assert depth == 400


def test_what_cannot_be_pickled_is_refused_with_its_type():
    """The error names the type, and says what may be returned."""
    generator = (x for x in "a")
    with pytest.raises(SerializationError, match=r"a generator cannot be stored.*return numbers"):
        encode({"a": [generator]})


@pytest.mark.parametrize(
    "value",
    [
        {"$time": "yesterday"},
        {"$time": 5},
        {"$bytes": "***"},
        {"$array": "AAAA"},
        {"$tuple": 5},
        {"$dict": [1]},
        {"$dict": [[[1], 2]]},
        {"$new": 1},
    ],
)
def test_what_was_tampered_with_is_refused(value):
    """A value that is not what its mark says raises our error, and no other."""
    with pytest.raises(InvalidStorage):
        decode({"result": [value]})
