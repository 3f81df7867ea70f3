"""Arguments brought into one form."""

import math
from types import SimpleNamespace

import pytest

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.run.arguments import as_lag, as_memory, as_seconds


@pytest.mark.parametrize(
    ("given", "n_bytes"),
    [("512m", 512 * 2**20), ("1.5g", 3 * 2**29), ("2GiB", 2**31), (" 64 k ", 2**16), (1e9, 10**9), (7, 7), ("9", 9)],
)
def test_memory_is_read_in_spark_s_units(given, n_bytes):
    """A limit of memory is a number of bytes, or a text as in Spark's settings."""
    assert as_memory(given, "limit") == n_bytes


@pytest.mark.parametrize("given", ["much", "1..5g", "", "g", "1x", True, [1], math.inf, math.nan, "-5", "."])
def test_memory_that_cannot_be_read_is_refused(given):
    """The error shows two ways to write it, and what was received."""
    with pytest.raises(InvalidTypeError, match='limit is a number of bytes, or a text such as "512m"'):
        as_memory(given, "limit")


@pytest.mark.parametrize("given", [0, -5, "0", "0.0m"])
def test_memory_must_be_some(given):
    """A limit below a byte is no limit."""
    with pytest.raises(InvalidArgumentError, match="limit is above 0 bytes"):
        as_memory(given, "limit")


def test_none_is_no_limit():
    """None stays None."""
    assert as_memory(None, "limit") is as_seconds(None, "limit") is None


def test_seconds_are_a_positive_number():
    """Numbers above 0 are taken, and nothing else."""
    assert as_seconds(3, "limit") == 3.0
    for given in (0, -1, math.inf, math.nan):
        with pytest.raises(InvalidArgumentError, match="limit is a number of seconds above 0"):
            as_seconds(given, "limit")
    for given in ("1h", True, [1]):
        with pytest.raises(InvalidTypeError, match="limit is a number of seconds"):
            as_seconds(given, "limit")


def test_how_many_trials_a_run_that_can_be_repeated_has_open():
    """As many as run at a time, or the number that was given; that is needed where it changes during the run."""
    fixed, changing = SimpleNamespace(slots=3), SimpleNamespace(slots=3, slots_interval=1.0)
    assert as_lag(None, fixed) is as_lag(False, None) is None
    assert as_lag(True, fixed) == 3
    assert [as_lag(n, executor) for n in (1, 8) for executor in (fixed, changing)] == [1, 1, 8, 8]
    with pytest.raises(InvalidArgumentError, match="say which one counts, reproducible=8"):
        as_lag(True, changing)
