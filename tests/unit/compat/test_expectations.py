"""The gate of make conformance: what is not as expectations.toml says fails the run."""

import importlib.util
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PATH = Path(__file__).parents[2] / "conformance/hyperopt_suite.py"

TESTS = """
import pytest

def test_passes(): pass
def test_fails(): assert False
def test_skips(): pytest.skip("why")
"""

ALL_NAMED = [
    {"outcome": "fail", "reason": "r", "items": ["test_it.py::test_fails"]},
    {"outcome": "skip", "reason": "r", "items": ["test_it.py::test_skips"]},
]


@pytest.fixture
def exit_code(pytester):
    """Runs the three tests with a table of expectations; gives pytest's exit code."""
    spec = importlib.util.spec_from_file_location("hyperopt_suite", PATH)
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    pytester.makepyfile(test_it=TESTS)

    def run(groups, n_tests=3, files=("test_it.py",)):
        table = {"files": {"test_it.py": n_tests}, "group": groups}
        plugin = suite.Expectations(table, list(files))
        return pytester.inline_run("-p", "no:cacheprovider", "test_it.py", plugins=[plugin]).ret

    return run


def test_a_run_as_expected_passes(exit_code):
    """Failures and skips that are named are no failure of the run."""
    assert exit_code(ALL_NAMED) == 0


@pytest.mark.parametrize("missing", [0, 1], ids=["failure", "skip"])
def test_what_is_not_named_fails_the_run(exit_code, missing):
    """A failure, and a skip, that nobody has named."""
    assert exit_code([group for i, group in enumerate(ALL_NAMED) if i != missing]) == 1


@pytest.mark.parametrize("outcome", ["fail", "skip"])
def test_a_named_test_that_passes_fails_the_run(exit_code, outcome):
    """The list must not go stale, except for what is called flaky."""
    stale = {"outcome": outcome, "reason": "r", "items": ["test_it.py::test_passes"]}
    assert exit_code([*ALL_NAMED, stale]) == 1
    assert exit_code([*ALL_NAMED, {**stale, "flaky": True}]) == 0


def test_tests_that_have_gone_fail_the_run(exit_code):
    """Fewer tests than there were, and names of tests that there are not."""
    assert exit_code(ALL_NAMED, n_tests=4) == 1
    gone = {"outcome": "fail", "reason": "r", "items": ["test_it.py::test_gone"]}
    assert exit_code([*ALL_NAMED, gone]) == 1
    assert exit_code([*ALL_NAMED, gone], n_tests=4, files=()) == 0  # when single tests were asked for
