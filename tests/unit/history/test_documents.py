"""hyperopt's documents: made, moved from state to state, read."""

import json
import math

import numpy as np
import pytest

from sparktune.exceptions import InvalidLoss, InvalidTrial
from sparktune.history import documents, returned
from sparktune.history.trial import Failure, Outcome

NEW, RUNNING, DONE, ERROR, CANCEL = range(5)
OUTCOMES = {
    DONE: Outcome(result={"status": "ok", "loss": 1.0}, record={"host": "here"}),
    ERROR: Outcome(failure=Failure("<class 'ValueError'>", "text", "Traceback ...")),
    CANCEL: Outcome(),
}


def new(tid=0, raw=None, labels=("a", "b")):
    misc = documents.new_misc(tid, {"a": 1.5} if raw is None else raw, labels)
    return documents.new_document(tid, None, documents.new_result(), misc, None)


def in_state(state):
    document = new()
    if state != NEW:
        documents.start(document)
    if state in OUTCOMES:
        documents.finish(document, OUTCOMES[state])
    return document


@pytest.mark.parametrize("vals", [{"a": 1.5}, {"a": None}])
def test_vals_that_are_no_lists_are_named(vals):
    """A document of the user's own making says what is wrong with it."""
    document = new()
    document["misc"]["vals"] = vals
    with pytest.raises(InvalidTrial, match=r"vals are lists.*got \{'a': .*\} in trial 0"):
        documents.raw_values(document)


@pytest.mark.parametrize("values", [[1.5, 2.5], (1.5, 2.5), "ab", np.array([1.5, 2.5])])
def test_several_values_of_a_label_are_named(values):
    """It is a NotImplementedError as in hyperopt, too. A study that has such a document can be read all the same."""
    document = new()
    document["misc"]["vals"]["a"] = values
    with pytest.raises(InvalidTrial, match=r"has one value, \[value\], got 'a': .* in trial 0: make a doc") as caught:
        documents.spec_from_misc(document["misc"])
    assert isinstance(caught.value, NotImplementedError)
    assert caught.value.obj is document["misc"]
    assert documents.raw_values(document)["a"] == values[0]


@pytest.mark.parametrize("values", [[1.5], (1.5,), np.array([1.5])])
def test_one_value_of_a_label_in_any_sequence(values):
    """hyperopt takes them all."""
    assert documents.spec_from_misc({"vals": {"a": values, "b": []}}) == {"a": 1.5}


@pytest.mark.parametrize("time", ["2024-01-01T00:00:00", 1704067200.0])
def test_times_that_are_none_are_left_out_of_a_summary(time):
    """As in documents that were read from JSON."""
    document = in_state(DONE)
    document["book_time"] = time
    row = documents.summary(document)
    assert row["start"] is row["duration"] is None
    assert row["end"] == document["refresh_time"]


def test_a_new_document_is_valid_and_new():
    """A new document has every key, no times, and status new."""
    document = documents.validate(new())
    assert document["state"] == NEW
    assert document["result"] == {"status": "new"}
    assert document["misc"]["vals"] == {"a": [1.5], "b": []}
    assert documents.raw_values(document) == documents.spec_from_misc(document["misc"]) == {"a": 1.5}
    assert document["book_time"] is document["refresh_time"] is None


@pytest.mark.parametrize("state", [NEW, RUNNING, DONE, ERROR, CANCEL])
@pytest.mark.parametrize("target", [RUNNING, DONE, ERROR, CANCEL])
def test_states_change_along_the_table(state, target):
    """A document moves along the transition table only, and keeps its state otherwise."""
    document = in_state(state)
    move = documents.start if target == RUNNING else lambda d: documents.finish(d, OUTCOMES[target])
    if state in documents.TRANSITIONS[target]:
        move(document)
        assert document["state"] == target
    else:
        with pytest.raises(InvalidTrial, match=f"cannot go from state {state} to {target}"):
            move(document)
        assert document["state"] == state


def test_a_finished_document_tells_what_happened():
    """Results, errors and the record of the run are written down."""
    done, failed = in_state(DONE), in_state(ERROR)
    assert done["result"] == {"status": "ok", "loss": 1.0}
    assert done["misc"]["run"] == {"attempts": [{"host": "here"}], "host": "here"}
    assert failed["misc"]["error"] == ("<class 'ValueError'>", "text")
    assert documents.failure_text(failed) == "trial 0 with {'a': 1.5} raised:\nTraceback ..."
    assert documents.failure_text(done) is documents.failure_text(in_state(CANCEL)) is None


def test_a_document_lists_its_attempts():
    """Each attempt is there with what is known of it, what it printed too; the last one is the run, with the log."""
    document = in_state(RUNNING)
    failure = Failure("<class 'WorkerLostError'>", "killed", is_lost=True)
    documents.note_attempt(document, Outcome(failure=failure, record={"host": "a", "log": "first\n"}))
    assert documents.n_attempts(document) == 1
    documents.finish(document, Outcome({"status": "ok", "loss": 1.0}, record={"host": "b", "log": "second\n"}))
    assert document["misc"]["run"] == {
        "attempts": [{"host": "a", "log": "first\n", "error": "<class 'WorkerLostError'>: killed"}, {"host": "b"}],
        "host": "b",
        "log": "second\n",
    }


def test_an_attempt_that_nothing_came_back_from_is_listed():
    """A lost trial has its attempt on record, though no more is known of it than the error."""
    document = in_state(RUNNING)
    documents.finish(document, Outcome(failure=Failure("<class 'WorkerLostError'>", "gone", is_lost=True)))
    assert document["misc"]["run"] == {"attempts": [{"error": "<class 'WorkerLostError'>: gone"}]}


def test_an_attempt_after_others_is_listed():
    """Where there is more than one, the last is among them, though nothing else is known of it."""
    document = in_state(RUNNING)
    documents.note_attempt(document, Outcome(failure=Failure("<class 'WorkerLostError'>", "gone", is_lost=True)))
    documents.finish(document, OUTCOMES[ERROR])
    errors = ["<class 'WorkerLostError'>: gone", "<class 'ValueError'>: text"]
    assert [attempt["error"] for attempt in document["misc"]["run"]["attempts"]] == errors


def test_a_cancelled_attempt_is_not_listed():
    """What is known of a cancelled trial is kept, but it is no attempt that ended."""
    document = in_state(RUNNING)
    documents.finish(document, Outcome(record={"host": "a", "log": "half way\n"}))
    assert document["misc"]["run"] == {"host": "a", "log": "half way\n"}


def test_log_text_ends_with_the_traceback():
    """What was printed comes first, then the traceback, on a line of its own."""
    document = in_state(RUNNING)
    failure = Failure("<class 'ValueError'>", "text", "Traceback ...\n")
    documents.finish(document, Outcome(failure=failure, record={"log": "half a line"}))
    assert documents.log_text(document) == "half a line\nTraceback ...\n"
    assert documents.log_text(in_state(DONE)) == ""


def test_log_text_begins_with_what_lost_attempts_printed():
    """Each is below a line that says how it was lost; those that printed nothing are left out."""
    document = in_state(RUNNING)
    killed = Failure("<class 'WorkerLostError'>", "killed: by whom?", is_lost=True)
    for record in ({"log": "epoch 1"}, {}, {"log": "epoch 1\nepoch 2\n"}):
        documents.note_attempt(document, Outcome(failure=killed, record=record))
    lost = "attempt 1, lost: killed: by whom?\nepoch 1\nattempt 3, lost: killed: by whom?\nepoch 1\nepoch 2\n"
    assert documents.log_text(document) == lost
    failure = Failure("<class 'ValueError'>", "text", "Traceback ...\n")
    documents.finish(document, Outcome(failure=failure, record={"log": "epoch 3"}))
    assert documents.log_text(document) == lost + "last attempt:\nepoch 3\nTraceback ...\n"


def test_log_of_a_trial_that_stays_lost_is_there_once():
    """The last attempt's is that of the run, though it was lost as well."""
    document = in_state(RUNNING)
    killed = Failure("<class 'WorkerLostError'>", "killed", is_lost=True)
    documents.note_attempt(document, Outcome(failure=killed, record={"log": "first\n"}))
    documents.finish(document, Outcome(failure=killed, record={"log": "second\n"}))
    assert documents.log_text(document) == "attempt 1, lost: killed\nfirst\nlast attempt:\nsecond\n"


@pytest.mark.parametrize(
    ("state", "result", "loss"),
    [
        (DONE, {"status": "ok", "loss": 2}, 2.0),
        (DONE, {"status": "ok", "loss": np.float32(2)}, 2.0),
        (DONE, {"status": "ok", "loss": math.inf}, math.inf),
        (RUNNING, {"status": "ok", "loss": 2}, math.nan),
        (ERROR, {"status": "ok", "loss": 2}, math.nan),
        (DONE, {"status": "fail", "loss": 2}, math.nan),
        (DONE, {"status": "ok"}, math.nan),
        (DONE, {"status": "ok", "loss": None}, math.nan),
        (DONE, {"status": "ok", "loss": "bad"}, math.nan),
        (DONE, {"status": "ok", "loss": 10**400}, math.nan),
        (DONE, {}, math.nan),
    ],
)
def test_the_loss_of_a_document(state, result, loss):
    """A loss counts if the trial is done with status ok; NaN otherwise."""
    document = {**new(), "state": state, "result": result}
    assert documents.loss_of(document) == pytest.approx(loss, nan_ok=True)


def test_failure_text_without_a_traceback():
    """Documents of hyperopt have no traceback: the type and the text must do."""
    document = in_state(ERROR)
    del document["misc"]["traceback"]
    assert "ValueError" in documents.failure_text(document)


def test_results_in_messages_are_cut():
    """A large result does not fill the screen."""
    with pytest.raises(InvalidLoss) as caught:
        returned.as_result("x" * 100_000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda n: n, r"a number that a float can hold, up to 1\.8e308, got .* \(int\): return a float"),
        (lambda n: {"status": "ok", "loss": n}, r"a number that a float can hold, .* \(int\): return a float"),
        (lambda n: {"status": "ok", "losses": [1.0, n]}, "losses is a list of at least one number.*return floats"),
        (lambda n: {"status": "ok", "loss": 1.0, "constraints": [-n]}, "constraints is a list of.*return floats"),
    ],
    ids=["number", "loss", "losses", "constraints"],
)
def test_integers_beyond_the_largest_float_are_no_results(result, message, digits):
    """They are refused as other losses that are no numbers are, those too that Python does not write."""
    with pytest.raises(InvalidLoss, match=message) as caught:
        returned.as_result(result(10**digits))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("status", ["ok", "fail"])
def test_attachments_are_by_name(status):
    """What is no dict of them is refused; None stands for no attachments."""
    result = {"status": status, "loss": 1.0}
    with pytest.raises(InvalidLoss, match="attachments are a dict of contents by name, got 5: write"):
        returned.as_result({**result, "attachments": 5})
    assert returned.as_result({**result, "attachments": None})["loss"] == 1.0


@pytest.mark.parametrize("make", [list, np.array, "DataFrame"])
@pytest.mark.parametrize("content", [[], [1.0, 2.0]])
def test_attachments_without_names(make, content):
    """Lists, arrays and data frames are refused by the rule, empty ones as well."""
    given = pytest.importorskip("pandas").DataFrame(content) if make == "DataFrame" else make(content)
    with pytest.raises(InvalidLoss, match="attachments are a dict of contents by name"):
        returned.as_result({"status": "ok", "loss": 1.0, "attachments": given})


def test_idxs_and_vals_there_and_back():
    """miscs_update_idxs_vals puts back what miscs_to_idxs_vals took out."""
    miscs = [new(tid, raw)["misc"] for tid, raw in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0, "b": 4.0}])]
    idxs, vals = documents.miscs_to_idxs_vals(miscs)
    assert (idxs, vals) == ({"a": [0, 2], "b": [1, 2]}, {"a": [1.0, 3.0], "b": [2.0, 4.0]})
    again = [{"tid": tid} for tid in range(3)]
    documents.miscs_update_idxs_vals(again, idxs, vals)
    assert [(m["idxs"], m["vals"]) for m in again] == [(m["idxs"], m["vals"]) for m in miscs]


def test_arrays_of_values_become_numbers_of_documents():
    """Ids and values that come in arrays are Python's numbers in the miscs, which JSON takes, with ``item()``."""
    miscs = [{"tid": tid} for tid in range(2)]
    vals = {"a": np.array([1.5]), "b": np.array([2, 3])}
    documents.miscs_update_idxs_vals(miscs, {"a": np.array([1]), "b": np.arange(2)}, vals)
    assert json.loads(json.dumps(miscs)) == miscs
    assert [misc["vals"] for misc in miscs] == [{"a": [], "b": [2]}, {"a": [1.5], "b": [3]}]
    assert miscs[1]["vals"]["a"][0].item() == 1.5


def test_values_of_trials_that_are_not_there():
    """A value for an unknown trial is refused, unless told otherwise; ids can be renamed."""
    with pytest.raises(InvalidTrial, match="'a' has a value for trial 7"):
        documents.miscs_update_idxs_vals([{"tid": 0}], {"a": [7]}, {"a": [1]})
    miscs = [{"tid": 0}]
    documents.miscs_update_idxs_vals(miscs, {"a": [7, 8]}, {"a": [1, 2]}, assert_all_vals_used=False, idxs_map={7: 0})
    assert miscs[0]["vals"] == {"a": [1]}


def test_labels_of_no_documents():
    """Without documents the labels must be given."""
    with pytest.raises(ValueError, match="pass keys"):
        documents.miscs_to_idxs_vals([])
    assert documents.miscs_to_idxs_vals([], keys=["a"]) == ({"a": []}, {"a": []})
