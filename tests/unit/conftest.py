"""What several unit tests share: documents, histories, and a study in a few lines."""

import numpy as np
import pytest

from sparktune.history import documents
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_DONE, STATUS_OK


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def document():
    """Makes the document of a trial from its values by label."""

    def make(tid, raw, loss=None, state=JOB_STATE_DONE, status=STATUS_OK):
        result = {"status": status} | ({} if loss is None else {"loss": loss})
        return documents.new_document(tid, None, result, documents.new_misc(tid, raw, raw), None) | {"state": state}

    return make


@pytest.fixture
def history_of(document):
    """Makes the history of points (n, d) of a space; ``losses`` and ``state`` as in the documents."""

    def make(space, values, losses=(), state=JOB_STATE_DONE, status=STATUS_OK):
        history = History(space.labels)
        losses = list(losses) or [None] * len(values)
        rows = zip(values, losses, strict=True)
        history.sync([document(i, space.raw(row), loss, state, status) for i, (row, loss) in enumerate(rows)])
        return history

    return make


@pytest.fixture
def study(document):
    """Runs n trials one after another; returns their history and what the objective was called with."""

    def run(propose, space, objective, n, seed=0, settings=None):
        history, written, points = History(space.labels), [], []
        rng = np.random.default_rng(seed)
        for tid in range(n):
            raw = space.raw(propose(space, history, rng, 1, settings)[0])
            points.append(space.evaluate(raw))
            written.append(document(tid, raw, objective(points[-1])))
            history.sync(written)
        return history, points

    return run
