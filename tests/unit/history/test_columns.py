"""The index over the documents: read once, up to date, and honest about edits."""

import math

import numpy as np
import pytest

from sparktune.exceptions import InvalidTrial
from sparktune.history.columns import CHECKED_PER_SYNC, History
from sparktune.history.documents import new_document, new_misc
from sparktune.history.leaders import N_LOWEST
from sparktune.history.reading import FAILED, IGNORED, OK, PENDING
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_OK,
    STATUS_SUSPENDED,
)


@pytest.fixture
def history():
    """Columns of two labels."""
    return History(["x", "y"])


class CountingList(list):
    """A list that counts how often its items are taken."""

    n_taken = 0

    def __getitem__(self, item):
        self.n_taken += 1
        return super().__getitem__(item)


@pytest.mark.parametrize(
    ("state", "status", "loss", "kind"),
    [
        (JOB_STATE_NEW, "new", None, PENDING),
        (JOB_STATE_NEW, "new", 1.0, PENDING),
        (JOB_STATE_NEW, STATUS_OK, None, PENDING),
        (JOB_STATE_NEW, STATUS_OK, 1.0, OK),
        (JOB_STATE_RUNNING, "new", None, PENDING),
        (JOB_STATE_RUNNING, STATUS_OK, 1.0, PENDING),
        (JOB_STATE_DONE, STATUS_OK, 1.0, OK),
        (JOB_STATE_DONE, STATUS_OK, math.inf, OK),
        (JOB_STATE_DONE, STATUS_OK, -math.inf, OK),
        (JOB_STATE_DONE, STATUS_OK, "1.5", OK),
        (JOB_STATE_DONE, STATUS_OK, math.nan, FAILED),
        (JOB_STATE_DONE, STATUS_OK, None, FAILED),
        (JOB_STATE_DONE, STATUS_OK, "text", FAILED),
        (JOB_STATE_DONE, STATUS_FAIL, -1e9, FAILED),
        (JOB_STATE_DONE, STATUS_SUSPENDED, -1e9, FAILED),
        (JOB_STATE_ERROR, STATUS_OK, -1e9, FAILED),
        (JOB_STATE_CANCEL, STATUS_OK, -1e9, IGNORED),
    ],
)
def test_what_becomes_of_a_trial(history, document, state, status, loss, kind):
    """Only a trial with status ok and a number has a loss, finished or never begun; failed and cancelled ones are told
    apart.
    """
    history.sync([document(0, {"x": 1}, loss, state, status)])
    assert history.kinds.tolist() == [kind]
    assert history.n_finished == (kind in (OK, FAILED))
    assert np.isnan(history.losses[0]) == (kind != OK)


def test_columns_of_documents(history, document):
    """Ids, losses and values in the order of insertion; NaN where inactive, unknown labels left out."""
    history.sync([document("a", {"x": 1, "z": 5}, 0.5), document("b", {"y": 2.5}, -1), document(7, {"x": None}, 0)])
    assert history.tids == ["a", "b", 7]
    np.testing.assert_array_equal(history.losses, [0.5, -1, 0])
    np.testing.assert_array_equal(history.values, [[1, np.nan], [np.nan, 2.5], [np.nan, np.nan]])


def test_columns_cannot_be_written(history, document):
    """What the algorithms get are read-only views."""
    history.sync([document(0, {"x": 1}, 0.5)])
    for column in (history.losses, history.kinds, history.values):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


def test_trials_that_end_are_noticed(history, document):
    """A trial that was running is read again when it has ended."""
    running = document(0, {"x": 1}, state=JOB_STATE_RUNNING)
    history.sync([running])
    running.update(state=JOB_STATE_DONE, result={"status": STATUS_OK, "loss": 2.0})
    history.sync([running])
    assert (history.kinds.tolist(), history.losses.tolist()) == ([OK], [2.0])


def test_a_result_that_is_told_to_a_new_trial_is_noticed(history, document):
    """Programs for hyperopt write results into documents, and leave the state as it is."""
    new = document(0, {"x": 1}, state=JOB_STATE_NEW)
    history.sync([new])
    assert history.kinds.tolist() == [PENDING]
    new["result"] = {"status": STATUS_OK, "loss": 2.0}
    history.sync([new])
    assert (history.kinds.tolist(), history.losses.tolist()) == ([OK], [2.0])


def test_a_loss_that_comes_later_is_noticed(history, document):
    """A trial that had ended without a loss is read again when it has one."""
    ended = document(0, {"x": 1}) | {"result": {"status": STATUS_OK}}
    history.sync([ended])
    assert history.kinds.tolist() == [FAILED]
    ended["result"]["loss"] = -5.0
    history.sync([ended])
    assert (history.kinds.tolist(), history.best_row) == ([OK], 0)


def test_a_sync_costs_the_new_documents_and_a_bounded_check(history, document):
    """With 5,000 documents, one more costs about as many looks as are checked per sync, not 5,000."""
    documents = CountingList(document(tid, {"x": tid}, float(tid)) for tid in range(5000))
    history.sync(documents)
    documents.append(document(5000, {"x": 5000}, 1.0))
    documents.n_taken = 0
    history.sync(documents)
    assert len(history) == 5001
    assert documents.n_taken <= CHECKED_PER_SYNC + 5
    np.testing.assert_array_equal(history.values[:, 0], np.arange(5001))
    np.testing.assert_array_equal(history.losses, [*range(5000), 1])


@pytest.mark.parametrize("n", [3, 3 * CHECKED_PER_SYNC])
@pytest.mark.parametrize(
    ("edit", "kind", "loss"),
    [
        ({"result": {"status": STATUS_OK, "loss": -5.0}}, OK, -5.0),
        ({"result": {"status": STATUS_OK, "loss": math.nan}}, FAILED, math.nan),
        ({"result": {"status": STATUS_FAIL, "loss": -5.0}}, FAILED, math.nan),
        ({"state": JOB_STATE_CANCEL}, IGNORED, math.nan),
    ],
)
def test_edits_of_finished_documents_are_found(history, document, n, edit, kind, loss):
    """An edited loss, status or state is taken over: at once in short histories, within a few syncs in long ones."""
    documents = [document(tid, {"x": tid}, float(tid)) for tid in range(n)]
    history.sync(documents)
    documents[1].update(edit)
    for _ in range(math.ceil(n / CHECKED_PER_SYNC) + 1):
        history.sync(documents)
    assert history.kinds[1] == kind
    np.testing.assert_equal(history.losses[1], loss)
    assert history.losses[2] == 2.0


def test_a_finished_trial_may_be_reopened(history, document):
    """A document that is running again is pending, and read again when it ends."""
    documents = [document(0, {"x": 0}, 1.0)]
    history.sync(documents)
    documents[0]["state"] = JOB_STATE_RUNNING
    history.sync(documents)
    assert history.kinds.tolist() == [PENDING]
    documents[0].update(state=JOB_STATE_DONE, result={"status": STATUS_OK, "loss": 3.0})
    history.sync(documents)
    assert history.losses.tolist() == [3.0]


def test_replaced_documents_are_read_anew(history, document):
    """Another document in an old place brings its id, values and result, and what was kept of the old values goes."""
    documents = [document(tid, {"x": tid}, float(tid)) for tid in range(3)]
    history.sync(documents)
    history.memo["kept"] = history.values.sum()
    documents[1] = document("new", {"x": 10}, -1.0)
    history.sync(documents)
    assert history.tids == [0, "new", 2]
    np.testing.assert_array_equal(history.losses, [0, -1, 2])
    np.testing.assert_array_equal(history.values[:, 0], [0, 10, 2])
    assert history.memo == {}


@pytest.mark.parametrize("first_state", [JOB_STATE_DONE, JOB_STATE_RUNNING])
def test_a_document_replaced_by_a_running_one_is_read_when_that_ends(history, document, first_state):
    """A replacement that has not ended counts as pending until it has."""
    documents = [document(tid, {"x": tid}, float(tid), first_state) for tid in range(3)]
    history.sync(documents)
    documents[1] = document(1, {"x": 5}, state=JOB_STATE_RUNNING)
    history.sync(documents)
    assert history.kinds[1] == PENDING
    documents[1].update(state=JOB_STATE_DONE, result={"status": STATUS_OK, "loss": 9.0})
    history.sync(documents)
    assert (history.kinds[1], history.losses[1]) == (OK, 9.0)


def test_another_list_starts_over(history, document):
    """A shorter list, or one that ends differently, is another study."""
    documents = [document(tid, {"x": tid}, float(tid)) for tid in range(3)]
    history.sync(documents)
    history.sync(documents[:2])
    assert history.tids == [0, 1]
    history.sync([document(9, {"x": 9}, 9.0), document(8, {"x": 8}, 8.0)])
    assert (history.tids, history.losses.tolist()) == ([9, 8], [9.0, 8.0])
    history.sync([])
    assert (len(history), history.values.shape) == (0, (0, 2))


def test_what_was_kept_of_values_outlives_results(history, document):
    """A pending trial has its values, and what was computed of them stays when it ends."""
    running = document(0, {"x": 1, "y": 1}, state=JOB_STATE_RUNNING)
    history.sync([running])
    history.memo["plus"] = (history.values + 1).tolist()
    running.update(state=JOB_STATE_DONE, result={"status": STATUS_OK, "loss": 0.0})
    history.sync([running])
    assert history.memo["plus"] == [[2, 2]]


def test_value_that_is_no_number_is_named():
    """A text among the values of a document is refused with the trial, the label and the value."""
    document = new_document(7, None, {"status": "new"}, new_misc(7, {"c": "red"}, ["c"]), None)
    with pytest.raises(InvalidTrial, match=r"'red' for 'c' in trial 7"):
        History(["c"]).sync([document])


# -- the lowest losses, and cancelled trials ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 25, N_LOWEST, N_LOWEST + 1, 1000])
def test_the_lowest_rows_are_those_of_a_sort(n, history, document, rng):
    """Best first, of equals the first, whatever order results came in, through edits, reopening and failures."""
    documents = [
        document(i, {"x": i}, loss, JOB_STATE_RUNNING)
        for i, loss in enumerate(rng.choice([-math.inf, -1.0, -0.0, 0.0, 0.5, math.inf, math.nan, 2.0, 3.0], 90))
    ]
    for step, row in enumerate(rng.permutation(90).tolist()):
        documents[row]["state"] = JOB_STATE_DONE
        if step % 7 == 3:
            documents[row]["result"]["loss"] = -5.0 + step
        if step % 10 == 9:
            documents[rng.integers(90)]["state"] = rng.choice([JOB_STATE_RUNNING, JOB_STATE_CANCEL, JOB_STATE_DONE])
        history.sync(documents)
        done = np.flatnonzero(history.kinds == OK)
        expected = sorted(done.tolist(), key=lambda i: (history.losses[i], i))[:n]
        assert history.lowest_rows(n).tolist() == expected, step


def test_cancelled_rows_are_listed(history, document):
    """Ascending, while they are cancelled."""
    states = [JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_RUNNING, JOB_STATE_CANCEL]
    documents = [document(i, {"x": i}, 1.0, state) for i, state in enumerate(states)]
    history.sync(documents)
    assert history.ignored_rows.tolist() == [0, 3]
    documents[0]["state"], documents[2]["state"] = JOB_STATE_DONE, JOB_STATE_CANCEL
    history.sync(documents)
    assert history.ignored_rows.tolist() == [2, 3]
    history.clear()
    assert history.ignored_rows.tolist() == []
    assert history.lowest_rows(3).tolist() == []


@pytest.mark.parametrize("n", [0, 1, 3, 40, 1000])
def test_the_newest_and_the_running_rows(n, history, document, rng):
    """The last that finished or failed, and those without a result, ascending, whatever is between them."""
    states = rng.choice([JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_CANCEL], 200, p=[0.4, 0.1, 0.3, 0.2])
    history.sync([document(tid, {"x": 0.0}, 1.0, state) for tid, state in enumerate(states.tolist())])
    finished = np.flatnonzero((history.kinds == OK) | (history.kinds == FAILED))
    assert history.newest_rows(n).tolist() == finished[max(0, len(finished) - n) :].tolist()
    assert history.running_rows.tolist() == np.flatnonzero(history.kinds == PENDING).tolist()
