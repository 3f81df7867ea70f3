"""What several unit tests share: a space, documents, histories, and a study in a few lines."""

import contextlib
import importlib
import os
import pickle
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparktune import hp
from sparktune.history import documents
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_DONE, STATUS_OK
from sparktune.space.compile import Space
from sparktune.space.scope import scope


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def synced(monkeypatch):
    """The inodes of the files and folders that were brought to the disk, in their order."""
    fsync, inodes = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (inodes.append(os.fstat(descriptor).st_ino), fsync(descriptor)))
    return inodes


@pytest.fixture
def bomb(tmp_path):
    """A pickle that makes a folder when it is loaded, and whether it was."""

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    return pickle.dumps(Bomb()), (tmp_path / "exploded").exists


@pytest.fixture
def registered():
    """Registers functions for one test."""
    before = dict(scope._impls)
    yield scope
    for name in set(scope._impls) - set(before):
        scope.undefine(name)


@pytest.fixture
def mixed_space():
    """Every distribution, some of them conditional."""
    return Space(
        {
            "uniform": hp.uniform("uniform", -3, 5),
            "quniform": hp.quniform("quniform", 0, 1, 0.1),
            "uneven": hp.quniform("uneven", -1, 4.9, 2),
            "uniformint": hp.uniformint("uniformint", 1, 9),
            "loguniform": hp.loguniform("loguniform", -7, 0),
            "qloguniform": hp.qloguniform("qloguniform", 0, 5, 2),
            "normal": hp.normal("normal", 10, 2),
            "qnormal": hp.qnormal("qnormal", 0, 5, 0.5),
            "lognormal": hp.lognormal("lognormal", 0, 1),
            "qlognormal": hp.qlognormal("qlognormal", 1, 1, 1),
            "randint": hp.randint("randint", 3, 8),
            "range": hp.randint("range", -100, 100),
            "huge": hp.randint("huge", 2**50),
            "choice": hp.choice("choice", ["a", {"inner": hp.normal("inner", 0, 1)}]),
            "pchoice": hp.pchoice("pchoice", [(0.1, "a"), (0.9, hp.qloguniform("qinner", 0, 3, 1))]),
            "zero": hp.pchoice("zero", [(0.0, "never"), (1.0, "always")]),
            "shifted": scope.switch(hp.randint("arithmetic", 2) + 0, "a", hp.uniform("below", 0, 1)),
        }
    )


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


@pytest.fixture
def executor_threads():
    """Says which threads of executors there are."""

    def names():
        found = [thread.name for thread in threading.enumerate() if thread.name.startswith("sparktune")]
        return [name for name in found if name != "sparktune-presence"]  # of a study that another test holds

    return names


@pytest.fixture(scope="session")
def modules_of_benchmarks():
    """Loads modules of benchmarks for a while; they are scripts, so their folder is on the path only then."""

    @contextlib.contextmanager
    def loaded(names):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
            yield SimpleNamespace(**{name: importlib.import_module(name) for name in names.split()})
        for name in names.split():
            del sys.modules[name]

    return loaded
