"""``AskTell`` with trials of a warm start: what they are told of, and that the study's own results decide."""

import logging
import pickle

import pytest

from sparktune import STATUS_OK, Trials, hp, rand
from sparktune.history import documents
from sparktune.history.trial import JOB_STATE_DONE, Outcome
from sparktune.run.asktell import AskTell
from sparktune.run.domain import Domain

X = hp.uniform("x", -5, 5)
PAIRS = [
    ({"losses": [1.0, 2.0]}, {"loss": 1.0}),
    ({"loss": 1.0}, {"losses": [1.0, 2.0]}),
    ({"loss": 1.0, "constraints": [0.0, 0.0]}, {"loss": 1.0, "constraints": [0.0]}),
    ({"loss": 1.0, "constraints": [0.0]}, {"loss": 1.0, "constraints": [0.0, 0.0]}),
]


def search_with(there, n=3):
    """A search over X with n borrowed trials of this result."""
    domain, trials = Domain(lambda x: x, X), Trials()
    borrowed = rand.suggest(trials.new_trial_ids(n), domain, trials, 0)
    for document in borrowed:
        document["misc"]["warm_start"] = {"from": "there", "key": document["tid"]}
        document.update(state=JOB_STATE_DONE, result={"status": STATUS_OK, **there})
    trials.insert_trial_docs(borrowed)
    trials.refresh()
    return AskTell(rand.suggest, domain, trials, 0)


def told(search, **result):
    """What becomes of the result of the next trial."""
    [document] = search.ask(1)
    documents.start(document)
    return search.tell(document, Outcome({"status": STATUS_OK, **result}))


@pytest.mark.parametrize(("there", "here"), PAIRS)
def test_borrowed_trials_fail_no_result(there, here, caplog):
    """A first result with other numbers than the borrowed ones is taken, and said to be so once, by the log."""
    search = search_with(there)
    for _ in range(3):
        assert told(search, **here).failure is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("warm_start: all trials of a study have the same numbers of losses")
    assert "got 3 earlier trials with others" in record.getMessage()
    assert "the same number of" in told(search, **there).failure.message


@pytest.mark.parametrize(("there", "here"), PAIRS)
def test_a_study_that_was_loaded_goes_on_in_the_same_way(there, here, caplog):
    """Read from a pickle its columns are the same, the own results decide, and nothing is said again."""
    search = search_with(there)
    told(search, **here)
    again = AskTell(rand.suggest, search.domain, pickle.loads(pickle.dumps(search.trials)), 0)
    caplog.clear()
    assert again.trials.history(("x",)).kinds.tolist() == search.trials.history(("x",)).kinds.tolist()
    assert told(again, **here).failure is None
    assert "the same number of" in told(again, **there).failure.message
    assert not caplog.records


def test_constraints_that_are_dropped_are_told_of(caplog):
    """Where the first own result has no constraints, the log says that those of borrowed trials are dropped."""
    search = search_with({"loss": 1.0, "constraints": [-1.0]})
    told(search, loss=2.0)
    (record,) = caplog.records
    assert "got 3 earlier trials with constraints: these are dropped" in record.getMessage()


@pytest.mark.parametrize("here", [{"loss": 1.0}, {"loss": 1.0, "constraints": [0.0]}])
def test_what_fits_is_not_told_of(here, caplog):
    """Borrowed trials of the same kind, and plain ones in a study with constraints, are no news."""
    search = search_with({"loss": 1.0})
    told(search, **here)
    assert not caplog.records
