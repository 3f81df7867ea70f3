"""Marks of trials: which of a warm start do not fit the study that borrows them."""

import pytest

from sparktune.history.marks import count_unlike
from sparktune.history.trial import STATUS_FAIL, STATUS_OK


@pytest.fixture
def found(document):
    """Two trials of a warm start with a loss, with three constraints in the second, one that failed, and an own one."""
    results = [
        {"status": STATUS_OK, "loss": 1.0},
        {"status": STATUS_OK, "loss": 1.0, "constraints": [0.0] * 3},
        {"status": STATUS_FAIL},
        {"status": STATUS_OK, "losses": [1.0, 2.0, 3.0], "constraints": [0.0]},
    ]
    documents = [document(tid, {"x": 1.0}) | {"result": result} for tid, result in enumerate(results)]
    for borrowed in documents[:3]:
        borrowed["misc"]["warm_start"] = {"from": "there"}
    return documents


@pytest.mark.parametrize(
    ("n_losses", "n_constraints", "expected"), [(1, 0, (0, 1)), (1, 1, (1, 0)), (1, 3, (0, 0)), (2, 0, (2, 0))]
)
def test_unlike_trials_are_counted(found, n_losses, n_constraints, expected):
    """Borrowed trials with losses that say nothing here, and those whose constraints are dropped, no others."""
    assert count_unlike(found, n_losses, n_constraints) == expected
