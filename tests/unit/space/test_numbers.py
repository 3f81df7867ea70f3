"""What counts as a number, and the numbers in trial documents."""

import copy
import json
import pickle

import numpy as np
import pytest

from sparktune.space.numbers import Integer, Real, is_finite, is_number, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (np.float32(1), True), (True, False), ("1", False), (float("inf"), False), (10**400, False)],
)
def test_is_finite(value, expected):
    """Finite numbers that a float can hold; no booleans, no text."""
    assert is_finite(value) is expected


def test_is_number():
    """Real numbers, infinite ones too; no booleans, no text, nothing complex."""
    assert all(map(is_number, (1, 1.5, np.int8(1), np.float64("nan"), float("inf"), 10**400)))
    assert not any(map(is_number, (True, np.bool_(False), "1", None, 1j, [1])))


def test_plain_numbers_calculate_without_the_bounds_of_8_bits():
    """Of numpy's numbers Python's own; anything else as it is."""
    assert plain(np.int8(100)) + 100 == 200
    assert plain("text") == "text"


@pytest.mark.parametrize(("number", "builtin"), [(Integer(3), int), (Real(0.5), float)])
def test_numbers_of_documents(number, builtin):
    """They have numpy's ``item``, and are Python's own in all else: equal, written as JSON, plain in copies."""
    assert type(number.item()) is builtin
    assert number == number.item()
    assert json.loads(json.dumps(number)) == number
    assert type(pickle.loads(pickle.dumps(number))) is builtin
    assert copy.deepcopy([number])[0].item() == number


def test_they_have_the_attributes_of_numpy_numbers():
    """Programs for hyperopt end with ``best["n"].astype(int)``; what numpy's have not, these have not either."""
    assert Real(7.6).astype(int) == 7
    assert Real(7.64).round(1) == 7.6
    assert Integer(7).dtype == np.int64
    assert Integer(7).tolist() == 7
    assert Integer(2**70).bit_length() == 71
    assert np.asarray([Real(0.5), Real(1.5)]).dtype == float
    for number, name in [(Real(0.5), "nosuch"), (Integer(2**70), "dtype"), (Real(0.5), "__array__")]:
        assert not hasattr(number, name)


@pytest.mark.parametrize(("number", "builtin", "other"), [(Integer(3), int, float), (Real(0.5), float, int)])
def test_their_classes_are_equal_to_the_builtin_ones(number, builtin, other):
    """Libraries compare types, and look them up."""
    kind = type(number)
    assert kind in (int, float)
    assert kind == builtin
    assert kind == kind
    assert kind not in (other, np.float64, None)
    assert {builtin: "found"}[kind] == "found"
    assert not isinstance(builtin(number), kind)
