"""What objectives return, read as results: what is refused is told what to write."""

import itertools
import pickle

import numpy as np
import pytest

from sparktune import STATUS_OK
from sparktune.exceptions import InvalidLoss, InvalidResultStatus
from sparktune.history.returned import as_result


@pytest.mark.parametrize(
    "value",
    [
        (0.5, 2.0),
        [1, 2, 3],
        np.array([0.5, 2.0]),
        np.ones((2, 2)),
        {"status": STATUS_OK, "loss": [0.5, 2.0]},
        {"status": STATUS_OK, "loss": np.array([0.5, 2.0])},
    ],
)
def test_several_numbers_have_a_form_of_their_own(value):
    """Numbers in a list, a tuple or an array, where one loss must be, bring the key for several to mind."""
    with pytest.raises(InvalidLoss, match=r"\{'status': STATUS_OK, 'losses': \[...\]\}") as caught:
        as_result(value)
    assert "float(...)" not in str(caught.value)


@pytest.mark.parametrize("value", [np.array([0.5]), np.array([[0.5]])])
def test_an_array_of_one_number_is_told_what_makes_a_number_of_it(value):
    """What the message says works, which float() does not with an array that has a dimension."""
    with pytest.raises(InvalidLoss, match=r"write \.item\(\) behind it"):
        as_result(value)
    assert as_result(value.item())["loss"] == 0.5


@pytest.mark.parametrize("value", ["ab", ["a", "b"], [0.5], {1.0, 2.0}, itertools.count()])
def test_what_is_no_list_of_numbers_is_not_taken_for_one(value):
    """Text, sets, and numbers without an end, are no several losses."""
    with pytest.raises(InvalidLoss) as caught:
        as_result(value)
    assert "losses" not in str(caught.value)


class OddShape:
    """Something with a shape that is none."""

    def __init__(self, shape):
        self._shape = shape

    @property
    def shape(self):
        if self._shape is None:
            raise RuntimeError("no shape")
        return self._shape


@pytest.mark.parametrize("value", [OddShape(("a", "b")), OddShape(None), {"status": "ok", "loss": OddShape(None)}])
def test_objects_of_any_class_are_refused_by_the_same_error(value):
    """Whatever their attributes are or do."""
    with pytest.raises(InvalidLoss):
        as_result(value)


@pytest.mark.parametrize(
    ("value", "ours", "builtin"),
    [
        (None, InvalidLoss, TypeError),
        (np.array([1.0]), InvalidLoss, TypeError),
        ((1, 2), InvalidLoss, TypeError),
        ("1", InvalidLoss, ValueError),
        ({"loss": 1.0}, InvalidResultStatus, KeyError),
        ({"status": "good"}, InvalidResultStatus, ValueError),
        ({"status": STATUS_OK}, InvalidLoss, ValueError),
        ({"status": STATUS_OK, "loss": "a"}, InvalidLoss, ValueError),
    ],
)
def test_errors_are_of_the_builtin_types_that_hyperopt_raises(value, ours, builtin):
    """Programs that catch those go on to; the message can be read, and comes out of a pickle with the value."""
    with pytest.raises(builtin, match=r"^[a-z]") as caught:
        as_result(value)
    assert isinstance(caught.value, ours)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    assert type(again.result) is type(value)
