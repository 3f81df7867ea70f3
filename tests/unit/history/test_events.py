"""Documents as a row of events."""

import copy

import pytest

from sparktune.history import documents, events
from sparktune.history.events import Replica, n_renewed
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    Failure,
    Outcome,
)


@pytest.fixture
def new():
    """Makes the document of a trial that has not run."""

    def make(tid):
        misc = documents.new_misc(tid, {"x": 0.5}, ["x", "y"]) | {"search": {"algo": "tpe", "seed": 3}}
        return documents.new_document(tid, None, documents.new_result(), misc, None)

    return make


def frozen(event):
    """An event as it was when it was written."""
    return copy.deepcopy(event)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"status": "ok", "loss": 1.0}, attachments={"a": 1}, record={"host": "h", "start": 1.0, "end": 2.0}),
        Outcome(failure=Failure("E", "message", "trace")),
        Outcome(failure=Failure("E", "message", is_lost=True)),
        Outcome(),
    ],
)
def test_a_trial_is_its_events(new, outcome):
    """After each event the replica has the document as it was then."""
    replica, document = Replica(), new(1)
    assert replica.apply(frozen(events.new_event(document))) == document
    documents.start(document, owner="me")
    assert replica.apply(frozen(events.start_event(document))) == document
    documents.finish(document, outcome)
    assert replica.apply(frozen(events.end_event(document, outcome.attachments))) == document
    assert replica.documents == {1: document}
    assert replica.attachments == ({1: {"a": 1}} if outcome.attachments else {})


def test_an_end_has_only_what_it_changes(new):
    """What a proposal was given is not written a second time with the result."""
    document = new(1)
    documents.start(document)
    documents.finish(document, Outcome({"status": "ok", "loss": 1.0}))
    assert events.end_event(document, {})["misc"] == {}


def test_a_renewed_trial_is_new_again_and_marked(new):
    """What is renewed here and what is read from its events are the same, each time."""
    replica, document = Replica(), new(1)
    replica.apply(frozen(events.new_event(document)))
    for times in (1, 2):
        documents.start(document)
        replica.apply(frozen(events.start_event(document)))
        replica.apply(frozen(events.again_event(document)))
        events.renew(document)
        assert replica.documents[1] == document
        assert document["state"] == JOB_STATE_NEW
        assert n_renewed(document) == times
        assert len(document["misc"]["run"]["attempts"]) == times


def test_all_trials_may_be_deleted(new):
    """After that their ids are free."""
    replica = Replica([events.new_event(new(1)), {"event": "clear"}, events.new_event(new(2))])
    assert list(replica.documents) == [2]


def test_events_of_unknown_trials_and_kinds_change_nothing(new):
    """A line that was lost costs its trial and not the rest; a newer version may know more kinds."""
    document = new(1)
    documents.start(document)
    replica = Replica([events.start_event(document), events.end_event(document, {}), {"event": "tomorrow", "tid": 1}])
    assert replica.documents == {}
    assert replica.apply(events.new_event(new(2))) is not None


def test_a_trial_that_is_there_is_not_begun_anew(new):
    """A line that is there twice, as after an edit by hand, does not undo what became of its trial."""
    document = new(1)
    begun = frozen(events.new_event(document))
    documents.start(document)
    started = frozen(events.start_event(document))
    documents.finish(document, Outcome({"status": "ok", "loss": 1.0}))
    replica = Replica([frozen(begun), started, frozen(events.end_event(document, {}))])
    assert replica.apply(frozen(begun)) == document
    assert replica.documents == {1: document}
    replica.apply({"event": "clear"})
    assert replica.apply(frozen(begun)) == begun["trial"]


def test_runs_are_kept_in_their_order():
    """The last one is the newest."""
    assert [run["n"] for run in Replica([{"event": "run", "n": 1}, {"event": "run", "n": 2}]).runs] == [1, 2]


def test_which_states_have_ended(new):
    """Done, failed and cancelled."""
    states = [JOB_STATE_NEW, JOB_STATE_RUNNING, JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_CANCEL]
    assert [events.has_ended(new(1) | {"state": state}) for state in states] == [False, False, True, True, True]
