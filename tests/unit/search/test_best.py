"""The best trials, by losses and constraints."""

import pytest

from sparktune import STATUS_FAIL, STATUS_OK
from sparktune.history.columns import History
from sparktune.search.best import best_rows, is_ordered_by_loss

FAILED = {"status": STATUS_FAIL}


def ok(**result):
    return {"status": STATUS_OK, **result}


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([ok(loss=3), FAILED, ok(loss=1), ok(loss=2), ok(loss=1)], [2, 4, 3, 0]),
        ([ok(losses=[3, 3]), FAILED, ok(losses=[1, 2]), ok(losses=[4, 4])], [2, 0, 3]),
        ([ok(loss=1, constraints=[2]), FAILED, ok(loss=3, constraints=[0]), ok(loss=0, constraints=[1])], [2, 3, 0]),
        ([FAILED], []),
    ],
    ids=["one loss", "several losses", "constraints", "no loss"],
)
def test_the_best_trials_come_first(results, best, document):
    """By the loss, by domination, or by violation; trials without a loss are not among them."""
    history = History(("x",))
    history.sync([document(tid, {"x": 0.1}) | {"result": result} for tid, result in enumerate(results)])
    for n in range(6):
        assert best_rows(history, n).tolist() == best[:n]
    assert is_ordered_by_loss(history) == all({"losses", "constraints"}.isdisjoint(result) for result in results)
