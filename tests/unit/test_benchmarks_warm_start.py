"""The benchmark of warm starts: the searches that it compares differ in the warm start alone."""

import pytest

from sparktune import rand
from sparktune.exchange import from_trials


@pytest.fixture(scope="module")
def bench(modules_of_benchmarks):
    """The programs' modules."""
    with modules_of_benchmarks("_rounds warm_start") as modules:
        yield modules


def test_random_searches_are_the_same_cold_and_warm(bench):
    """An algorithm that learns nothing has the same best losses both ways: earlier trials are not counted."""
    for case in bench.warm_start.CASES.values():
        found = bench.warm_start.both(case, rand.suggest, 0)
        assert found["cold"] == found["warm"]
        assert found["cold"][0] >= found["cold"][1] > 0


def test_the_earlier_loss_is_that_of_the_case(bench):
    """Of the constant that the parameter had, or of the minimum that was elsewhere."""
    minimum = bench.warm_start.MINIMUM
    assert bench.warm_start.distance(minimum) == 0
    assert bench.warm_start.distance({**minimum, "d": 0.0}, constants={"d": 1.0}) == pytest.approx(0.7**2)
    assert bench.warm_start.distance({label: minimum[label] for label in "abc"}, {"d": 1.0}) == pytest.approx(0.3**2)
    assert bench.warm_start.distance(minimum, shift=0.3) == pytest.approx(4 * 0.3**2)


def test_only_impossible_values_are_left_out(bench):
    """All trials stay, and all else that they have."""
    space = {**bench.warm_start.bounds(2.0), "a": 10.0}
    source = from_trials(bench.warm_start.search(rand.suggest, space, 20, 0))
    found = bench.warm_start.without_values_out_of(2.0, source)
    assert len(found) == 20
    for row, left in zip(source.rows, found.rows, strict=True):
        assert left.values == {label: x for label, x in row.values.items() if label != "a" or -2 <= x <= 2}
    assert 0 < sum("a" in row.values for row in found.rows) < 20


def test_numbers_are_written_out(bench):
    """Two digits without an exponent, a median for each budget."""
    assert bench.warm_start.medians([[5.04, 0.00001234], [7.0, 0.5], [3.0, 0.0]]) == "5 / 0.000012"
