"""The benchmark of engines: competitors take fair turns, and the figures are right."""

import argparse
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def bench(modules_of_benchmarks):
    """The programs' modules."""
    with modules_of_benchmarks("_rounds _peers _spark dispatch") as modules:
        yield modules


def test_competitors_take_turns_in_both_orders(bench):
    """Each round has everybody once, every other one in reverse, and who takes part in fewer rounds in the first."""
    played = []

    def competitor(name):
        return lambda: played.append(name) or float(len(played))

    found = bench._rounds.take_turns({name: competitor(name) for name in "abc"}, 3, {"c": 1})
    assert "".join(played) == "abc" + "ba" + "ab"
    assert found == {"a": [1.0, 5.0, 6.0], "b": [2.0, 4.0, 7.0], "c": [3.0]}


def test_ratios_are_those_of_rounds(bench):
    """A ratio compares what was measured in the same round; rounds that one side was not in are left out."""
    assert bench._rounds.ratios([2.0, 30.0, 5.0], [1.0, 10.0]) == [2.0, 3.0]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "–"),
        ([0.98765], "0.988"),
        ([3.0, 1.0, 2.0], "2.00 (1.00 to 3.00)"),
        ([12.34, 1234.5], "623 (12.3 to 1,234)"),  # the median of two is their mean
    ],
)
def test_spread_is_the_median_and_the_extremes(bench, values, text):
    """A cell has the median with three digits, and the lowest and the highest where there are several."""
    assert bench._rounds.spread(values) == text


def test_table_has_a_row_per_competitor_and_per_ratio(bench):
    """The columns are the numbers at a time, and each ratio is named by its two sides."""
    measured = {2: {"bare": [10.0], "ours": [9.0]}, 8: {"bare": [20.0], "ours": [10.0]}}
    assert bench.dispatch.columns(measured, [("ours", "bare")]).splitlines() == [
        "|  | 2 at a time | 8 at a time |",
        "| --- | --- | --- |",
        "| bare | 10.0 | 20.0 |",
        "| ours | 9.00 | 10.0 |",
        "| ours / bare | 0.900 | 0.500 |",
    ]


def test_objective_says_whether_it_is_the_first_of_its_run_in_its_process(bench):
    """Only the first call under a name is the first, whether the data are captured or behind a handle."""
    data = bytes(3)
    captured = bench.dispatch.make_objective(data, "one run")
    behind_handle = bench.dispatch.make_objective(SimpleNamespace(value=data), "another run")
    results = [captured(1.0), captured(1.0), behind_handle(1.0)]
    assert [result["is_first"] for result in results] == [True, False, True]
    assert {result["loss"] for result in results} == {0.0}


def test_table_without_connect_says_so(bench, monkeypatch):
    """Where a Connect client's packages are missing, the table is a sentence, not an error."""
    monkeypatch.setattr(bench._spark, "CONNECT_PACKAGES", ("surely_not_installed",))
    assert bench.dispatch.NO_CONNECT in bench.dispatch.connect_table(bench.dispatch.QUICK, None)


def test_rounds_of_the_command_line_bound_those_of_the_peer(bench, monkeypatch):
    """With --rounds 1 nobody has a second turn, and --quick has fewer trials than a whole run."""
    monkeypatch.setitem(bench.dispatch.TABLES, "jobs", lambda size, hyperopt: (size, hyperopt))
    options = argparse.Namespace(quick=True, rounds=1, no_hyperopt=True)
    size, hyperopt = bench.dispatch.measure_here("jobs", options)
    assert (size.rounds, size.peer_rounds, hyperopt) == (1, 1, None)
    assert size.trials < bench.dispatch.FULL.trials
