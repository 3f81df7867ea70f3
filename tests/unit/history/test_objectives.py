"""The columns of studies with several losses or constraints, and what plain studies do not pay for them."""

import math
import sys

import numpy as np
import pytest

from sparktune.history.columns import CHECKED_PER_SYNC, History
from sparktune.history.marks import BORROWED, NO_POINT, POINT
from sparktune.history.reading import FAILED, IGNORED, OK, PENDING
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK


@pytest.fixture
def history():
    """Columns of one label."""
    return History(["x"])


@pytest.fixture
def finished(document):
    """Makes the document of a finished trial with any keys in its result."""

    def make(tid, state=JOB_STATE_DONE, status=STATUS_OK, **result):
        return document(tid, {"x": tid}, state=state) | {"result": {"status": status, **result}}

    return make


def test_plain_losses_are_one_column(history, document):
    """With one loss per trial, objectives are the losses, there are no constraints, and nothing is violated."""
    history.sync([document(0, {"x": 1}, 2.0), document(1, {"x": 1}, state=JOB_STATE_RUNNING)])
    np.testing.assert_array_equal(history.objectives, [[2.0], [np.nan]])
    assert (history.n_objectives, history.n_constraints) == (1, 0)
    assert history.constraints.shape == (2, 0)
    assert history.violations.tolist() == [0, 0]
    assert np.shares_memory(history.objectives, history._losses)


def test_several_losses_are_columns(history, finished):
    """One column per loss, NaN where a trial has none; the scalar loss is kept beside them where it is given."""
    history.sync(
        [
            finished(0, losses=[1.0, 2.0]),
            finished(1, losses=np.array([3, 4]), loss=0.5),
            finished(2, status=STATUS_FAIL),
            finished(3, losses=[9.0, 9.0], state=JOB_STATE_RUNNING),
        ]
    )
    np.testing.assert_array_equal(history.objectives, [[1, 2], [3, 4], [np.nan] * 2, [np.nan] * 2])
    np.testing.assert_array_equal(history.losses, [np.nan, 0.5, np.nan, np.nan])
    assert history.kinds.tolist() == [OK, OK, FAILED, PENDING]
    assert history.n_objectives == 2


@pytest.mark.parametrize(
    "result",
    [
        {"losses": [1.0, math.nan]},
        {"losses": [1.0]},
        {"losses": [1.0, 2.0, 3.0]},
        {"loss": 1.0},
        {"losses": "12"},
        {"losses": ["a", "b"]},
        pytest.param({"losses": [1.0, 10**400]}, id="beyond a float"),
        {"losses": 3.0},
        {"losses": [1.0, 2.0], "loss": math.nan},
    ],
    ids=str,
)
def test_losses_that_do_not_fit_fail_the_trial(history, finished, result):
    """A NaN, no numbers, or another number of losses than the first trial has: no usable result."""
    history.sync([finished(0, losses=[0.0, 0.0]), finished(1, **result)])
    assert history.kinds.tolist() == [OK, FAILED]
    assert np.isnan(history.objectives[1]).all()
    assert np.isnan(history.losses[1])


def test_a_list_of_one_loss_is_the_loss(history, finished):
    """Losses of one element make a plain study."""
    history.sync([finished(0, losses=[1.5]), finished(1, loss=2.5)])
    assert history.losses.tolist() == [1.5, 2.5]
    assert history.objectives.tolist() == [[1.5], [2.5]]


def test_constraints_add_up_to_violations(history, finished):
    """Only what exceeds 0 counts; finished trials that do not say are infinitely bad, others are not judged."""
    history.sync(
        [
            finished(0, loss=1.0),
            finished(1, loss=1.0, constraints=[-1.0, 0.0]),
            finished(2, loss=1.0, constraints=(2, 0.5)),
            finished(3, loss=1.0, constraints=[-1.0, math.nan]),
            finished(4, loss=1.0, constraints=[-1.0]),
            finished(5, status=STATUS_FAIL),
            finished(6, loss=1.0, constraints=[1.0, 1.0], state=JOB_STATE_RUNNING),
            finished(7, loss=1.0, constraints=[1.0, 1.0], state=JOB_STATE_CANCEL),
            finished(8, loss=1.0, constraints=[math.inf, -math.inf]),
            finished(9, loss=1.0, constraints=[0, -(10**400)]),
        ]
    )
    nan = math.nan
    expected = [
        [nan] * 2,
        [-1, 0],
        [2, 0.5],
        [-1, nan],
        [nan] * 2,
        [nan] * 2,
        [nan] * 2,
        [nan] * 2,
        [math.inf, -math.inf],
        [nan] * 2,
    ]
    np.testing.assert_array_equal(history.constraints, expected)
    assert history.violations.tolist() == [math.inf, 0, 2.5, *[math.inf] * 3, 0, 0, *[math.inf] * 2]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_huge_constraints_add_up_to_infinity(history, finished):
    """Without a warning of an overflow, which would reach the user."""
    history.sync([finished(0, loss=1.0, constraints=[sys.float_info.max] * 2)])
    assert history.violations.tolist() == [math.inf]


def test_new_columns_cannot_be_written(history, finished):
    """They are read-only views too."""
    history.sync([finished(0, losses=[1.0, 2.0], constraints=[1.0])])
    for column in (history.objectives, history.constraints, history.violations):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


def test_columns_grow_with_the_study(history, finished):
    """Rows keep their numbers as the columns are made longer."""
    documents = []
    for tid in range(300):
        documents.append(finished(tid, losses=[float(tid), -float(tid)], constraints=[tid - 100.0]))
        history.sync(documents)
    np.testing.assert_array_equal(history.objectives[:, 1], -np.arange(300))
    np.testing.assert_array_equal(history.violations, np.maximum(0, np.arange(300) - 100))


@pytest.mark.parametrize(
    ("edit", "kind", "objectives", "violation"),
    [
        ({"losses": [7.0, 8.0]}, OK, [7, 8], 0),
        ({"constraints": [3.0]}, OK, [1, 2], 3),
        ({"losses": [math.nan, 8.0]}, FAILED, [math.nan] * 2, math.inf),
        ({"status": STATUS_FAIL}, FAILED, [math.nan] * 2, math.inf),
    ],
    ids=str,
)
def test_edits_of_losses_and_constraints_are_found(history, finished, edit, kind, objectives, violation):
    """An edited finished document is taken over at the next sync."""
    documents = [finished(tid, losses=[1.0, 2.0], constraints=[-1.0]) for tid in range(3)]
    history.sync(documents)
    documents[1]["result"].update(edit)
    history.sync(documents)
    assert history.kinds.tolist() == [OK, kind, OK]
    np.testing.assert_array_equal(history.objectives, [[1, 2], objectives, [1, 2]])
    assert history.violations.tolist() == [0, violation, 0]


def test_an_edit_inside_a_list_is_found(history, finished):
    """Numbers changed in place count as an edit."""
    documents = [finished(0, losses=[1.0, 2.0]), finished(1, losses=[1.0, 3.0])]
    history.sync(documents)
    documents[0]["result"]["losses"][1] = 5.0
    history.sync(documents)
    assert history.objectives.tolist() == [[1, 5], [1, 3]]


def test_a_study_edited_to_have_several_losses_is_read_anew(history, finished):
    """Losses added to every document of a plain study make it one of several."""
    documents = [finished(tid, loss=float(tid)) for tid in range(4)]
    history.sync(documents)
    for document in documents:
        document["result"]["losses"] = [1.0, 2.0]
    history.sync(documents)
    assert history.n_objectives == 2
    assert history.kinds.tolist() == [OK] * 4


def test_all_documents_can_be_checked_at_once(history, finished):
    """``check_all`` finds an edit however long the history is."""
    documents = [finished(tid, loss=float(tid)) for tid in range(3 * CHECKED_PER_SYNC)]
    history.sync(documents)
    documents[-1]["result"]["loss"] = -5.0
    history.check_all()
    assert history.losses[-1] == -5.0


def test_every_document_is_checked_in_turn(history, finished):
    """Checks go round and round while the history grows."""
    documents = [finished(tid, loss=float(tid)) for tid in range(2 * CHECKED_PER_SYNC)]
    history.sync(documents)
    for _ in range(2):
        for row in (3, CHECKED_PER_SYNC + 3):
            documents[row]["result"]["loss"] -= 1000.0
        for tid in range(4):
            documents.append(finished(len(documents), loss=float(tid)))
            history.sync(documents)
        assert [history.losses[row] for row in (3, CHECKED_PER_SYNC + 3)] == [
            documents[row]["result"]["loss"] for row in (3, CHECKED_PER_SYNC + 3)
        ]


def test_memo_lasts_until_known_values_change(history, finished):
    """What algorithms keep survives new rows and results, and goes when a document is replaced or all are forgotten."""
    documents = [finished(0, loss=1.0), finished(1, loss=1.0, state=JOB_STATE_RUNNING)]
    history.sync(documents)
    history.memo["kept"] = 1
    documents[1]["state"] = JOB_STATE_DONE
    documents.append(finished(2, loss=1.0))
    history.sync(documents)
    documents[0]["result"]["loss"] = 5.0
    history.sync(documents)
    assert history.memo == {"kept": 1}
    documents[0] = finished(0, loss=1.0)
    history.sync(documents)
    assert history.memo == {}
    history.memo["kept"] = 1
    history.sync(documents[:1])
    assert history.memo == {}


# -- the best rows -----------------------------------------------------------------------------------------------------


def test_best_row_and_front_as_results_come_in(rng, finished):
    """Asked after each result or only at the end, before or after edits: the same as from all rows at once."""
    watched, documents = History(["x"]), []
    for tid in range(120):
        losses, violation = rng.integers(0, 6, 3).tolist(), float(rng.integers(-2, 2))
        documents.append(finished(tid, losses=losses[:2], loss=float(losses[2]), constraints=[violation]))
        if tid % 10 == 9:  # the best one turns bad
            documents[watched.best_row]["result"].update(status=STATUS_FAIL)
        watched.sync(documents)
        watched.check_all()
        fresh = History(["x"])
        fresh.sync(documents)
        assert watched.best_row == fresh.best_row
        assert watched.front_rows == fresh.front_rows
        rows = [row for row in range(tid + 1) if fresh.kinds[row] == OK]
        assert fresh.best_row == min(
            rows, key=lambda row: (fresh.violations[row], fresh.losses[row], row), default=None
        )


def test_the_best_is_an_own_point_of_the_space(rng, finished):
    """Trials of other studies never lead, and those that are no points only while no point has losses."""
    watched, documents = History(["x"]), []
    marks = [
        {},
        {"warm_start": {"from": "there"}},
        {"other_space": {"is_point": False}},
        {"other_space": {"is_point": True}},
    ]
    for tid in range(90):
        # No points among the first 30.
        documents.append(finished(tid, loss=float(rng.integers(9)), losses=rng.integers(0, 6, 2).tolist()))
        documents[-1]["misc"].update(marks[rng.integers(1, 3) if tid < 30 else rng.integers(4)])
        watched.sync(documents)
        standings = watched.standings.tolist()
        standing = POINT if POINT in standings else NO_POINT
        rows = [row for row in range(tid + 1) if standings[row] == standing]
        assert watched.best_row == min(rows, key=lambda row: (watched.losses[row], row), default=None)
        assert {standings[row] for row in watched.front_rows} <= {standing}
        fresh = History(["x"])
        fresh.sync(documents)
        assert (fresh.best_row, fresh.front_rows) == (watched.best_row, watched.front_rows)
    assert {POINT, NO_POINT, BORROWED} == set(standings)
    assert watched.n_own_finished == 90 - standings.count(BORROWED)
    assert len(watched.lowest_rows(9)) == 9  # the search learns from all of them


def test_late_constraints_unseat_the_best(history, finished):
    """Once a trial has constraints, those before it that have none are behind it."""
    documents = [finished(0, loss=1.0)]
    history.sync(documents)
    assert history.best_row == 0
    documents.append(finished(1, loss=5.0, constraints=[-1.0]))
    history.sync(documents)
    assert (history.best_row, history.front_rows) == (1, [1])


def test_front_without_feasible_rows_is_empty(history, finished):
    """Rows that violate constraints are never in the front, and the least violating is the best."""
    history.sync([finished(0, loss=1.0, constraints=[2.0]), finished(1, loss=9.0, constraints=[1.0])])
    assert (history.best_row, history.front_rows) == (1, [])


def test_no_row_is_the_best_of_several_losses(history, finished):
    """Without a scalar loss there is a front and no best row; without results there is neither."""
    assert (history.best_row, history.front_rows) == (None, [])
    history.sync([finished(0, losses=[1.0, 2.0]), finished(1, losses=[2.0, 1.0]), finished(2, losses=[2.0, 2.0])])
    assert (history.best_row, history.front_rows) == (None, [0, 1])


@pytest.mark.parametrize("mark", [{"constraints": [-1.0]}, {}], ids=["constraints", "warm start"])
def test_the_leaders_are_found_among_the_new_ones(history, finished, monkeypatch, mark):
    """After one result among thousands, only the former best and the new one are compared."""
    documents = [finished(tid, loss=float(tid), **mark) for tid in range(3001)]
    if not mark:
        documents[0]["misc"]["warm_start"] = {"from": "there"}
    history.sync(documents)
    assert history.best_row == (0 if mark else 1)
    looked_at = []
    best_of = history._leaders._best_of
    monkeypatch.setattr(history._leaders, "_best_of", lambda rows: looked_at.append(len(rows)) or best_of(rows))
    documents.append(finished(3001, loss=-1.0, **mark))
    history.sync(documents)
    assert history.best_row == 3001
    assert looked_at == [2]


def test_counts_follow_every_change(history, finished):
    """Numbers of finished trials and of those with a loss are right after ends, edits and replacements."""
    documents = [finished(tid, loss=1.0, state=JOB_STATE_RUNNING) for tid in range(4)]
    history.sync(documents)
    assert (history.n_finished, history.n_ok) == (0, 0)
    documents[0]["state"] = documents[1]["state"] = JOB_STATE_DONE
    documents[2]["state"] = JOB_STATE_CANCEL
    history.sync(documents)
    assert (history.n_finished, history.n_ok) == (2, 2)
    documents[0]["result"]["status"] = STATUS_FAIL
    documents[1] = finished(1, loss=1.0, state=JOB_STATE_RUNNING)
    history.sync(documents)
    assert (history.n_finished, history.n_ok) == (1, 0)


# -- trials of a warm start --------------------------------------------------------------------------------------------


@pytest.fixture
def borrowed(finished):
    """Makes the document of a finished trial of another study."""

    def make(tid, **result):
        document = finished(tid, **result)
        document["misc"]["warm_start"] = {"from": "there"}
        return document

    return make


def columns(history):
    """All that algorithms read of results."""
    arrays = (history.losses, history.objectives, history.constraints, history.violations)
    counts = (history.numbers, history.n_finished, history.n_ok, history.n_own_finished)
    rows = (history.ignored_rows, history.running_rows, history.lowest_rows(5))
    leading = (history.best_row, history.front_rows)
    return repr([history.kinds.tolist(), *(array.tolist() for array in arrays + rows), counts, leading])


def test_borrowed_trials_are_used_as_they_are_at_first(history, borrowed, finished):
    """Until a trial of this study has a loss, those of a warm start say how many losses and constraints there are."""
    history.sync([borrowed(0, losses=[1.0, 2.0], constraints=[3.0]), finished(1, status=STATUS_FAIL)])
    assert (history.n_objectives, history.n_constraints, history.numbers) == (2, 1, None)
    assert history.kinds.tolist() == [OK, FAILED]
    assert history.violations.tolist() == [3.0, math.inf]


@pytest.mark.parametrize("end", ["after", "before"])
def test_own_trials_say_whether_there_are_constraints(history, borrowed, finished, end):
    """Constraints of borrowed trials are dropped where this study's have none, whichever trials are read first."""
    documents = [borrowed(0, loss=1.0, constraints=[-1.0]), borrowed(1, loss=2.0, constraints=[1.0])]
    own = finished(2, loss=3.0)
    documents = [*documents, own] if end == "after" else [own, *documents]
    for n in (1, 2, 3):
        history.sync(documents[:n] if n < 3 else documents)
    assert history.n_constraints == 0
    assert history.numbers == (1, 0)
    assert history.violations.tolist() == [0] * 3
    assert sorted(history.losses.tolist()) == [1, 2, 3]
    assert history.is_feasible(documents.index(own))
    assert history.best_row == documents.index(own)


def test_constraints_that_come_late_are_those_of_the_borrowed_trials_too(history, borrowed, finished):
    """Once a trial of this study has constraints, those of borrowed ones count that have as many, and were not read."""
    documents = [borrowed(0, loss=1.0, constraints=[-1.0]), borrowed(1, loss=2.0), finished(2, loss=3.0)]
    history.sync(documents)
    documents.append(finished(3, loss=4.0, constraints=[2.0]))
    history.sync(documents)
    assert history.numbers == (1, 1)
    assert history.violations.tolist() == [0, math.inf, math.inf, 2]


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"losses": [1.0, 2.0]}, {"loss": 3.0}),
        ({"loss": 3.0}, {"losses": [1.0, 2.0]}),
        ({"losses": [1.0, 2.0, 3.0]}, {"losses": [1.0, 2.0], "loss": 0.0}),
        ({"loss": 1.0, "constraints": [0.0, 0.0]}, {"loss": 3.0, "constraints": [0.0]}),
        ({"loss": 1.0, "constraints": [0.0]}, {"loss": 3.0, "constraints": [0.0, 0.0]}),
    ],
    ids=str,
)
def test_borrowed_trials_of_another_kind_say_nothing(history, borrowed, finished, there, here):
    """The first result of this study says how many losses and constraints there are; borrowed ones follow or go."""
    documents = [borrowed(0, **there), borrowed(1, **here), borrowed(2, status=STATUS_FAIL)]
    documents += [finished(tid, **here, state=JOB_STATE_RUNNING) for tid in (3, 4)]
    history.sync(documents)
    history.memo["kept"] = "of values"
    for row in (3, 4):
        documents[row]["state"] = JOB_STATE_DONE
        history.sync(documents)
        assert history.kinds.tolist() == [IGNORED, OK, FAILED, OK, OK if row == 4 else PENDING]
    losses = here.get("losses", [here.get("loss")])
    np.testing.assert_array_equal(history.objectives[[0, 1, 3]], [[math.nan] * len(losses), losses, losses])
    assert history.numbers == (len(losses), len(here.get("constraints", [])))
    assert history.ignored_rows.tolist() == [0]
    assert (history.n_ok, history.n_finished, history.n_own_finished) == (3, 4, 2)
    assert history.memo == {"kept": "of values"}


def test_without_a_loss_of_its_own_the_borrowed_ones_say_again(history, borrowed, finished):
    """When the only result of this study is taken back, the borrowed ones are read as before it came."""
    documents = [borrowed(0, losses=[1.0, 2.0]), finished(1, loss=1.0)]
    history.sync(documents)
    assert history.kinds.tolist() == [IGNORED, OK]
    documents[1]["result"]["status"] = STATUS_FAIL
    history.sync(documents)
    assert history.kinds.tolist() == [OK, FAILED]
    assert (history.n_objectives, history.numbers) == (2, None)


def test_a_document_may_turn_into_a_borrowed_one(history, borrowed, finished):
    """Another document in the place of the only result of this study leaves the borrowed ones to say."""
    documents = [borrowed(0, losses=[1.0, 2.0]), finished(1, loss=1.0), finished(2, state=JOB_STATE_RUNNING)]
    history.sync(documents)
    documents[1] = borrowed(1, losses=[3.0, 4.0])
    history.sync(documents)
    assert history.objectives[:2].tolist() == [[1, 2], [3, 4]]


def test_columns_of_mixed_trials_are_the_same_when_read_at_once(rng, borrowed, finished):
    """Results that come in in any order, with borrowed trials among them, give the columns that one look gives."""
    for _ in range(80):
        watched, documents = History(["x"]), []
        n_losses, n_constraints = rng.integers(1, 3), rng.integers(0, 3)

        def result(n, m):
            status = STATUS_FAIL if rng.random() < 0.1 else STATUS_OK
            numbers = rng.integers(-3, 3, n + m).astype(float).tolist()
            return {"status": status, "losses": numbers[:n], "constraints": numbers[n:]}

        for tid in range(20):
            if rng.random() < 0.5:
                documents.append(borrowed(tid, **result(rng.integers(1, 3), rng.integers(0, 3))))
            else:
                documents.append(finished(tid, state=JOB_STATE_RUNNING))
            for document in documents:
                if document["state"] == JOB_STATE_RUNNING and rng.random() < 0.2:
                    document["state"] = int(rng.choice([JOB_STATE_DONE, JOB_STATE_DONE, JOB_STATE_CANCEL]))
                    document["result"] = result(n_losses, n_constraints if rng.random() < 0.8 else 0)
            watched.sync(documents)
            fresh = History(["x"])
            fresh.sync(documents)
            assert columns(watched) == columns(fresh)


def rows_read(history, monkeypatch):
    """The rows whose results are read from now on."""
    rows, read = [], history._read_result
    monkeypatch.setattr(history, "_read_result", lambda row: rows.append(row) or read(row))
    return rows


def test_borrowed_trials_are_read_again_once(history, borrowed, finished, monkeypatch):
    """The first own result of another kind has thousands of borrowed ones read again; those after it none."""
    documents = [borrowed(tid, losses=[1.0, 2.0], constraints=[0.0]) for tid in range(3000)]
    history.sync(documents)
    rows = rows_read(history, monkeypatch)
    for tid in range(3000, 3010):
        documents.append(finished(tid, loss=1.0))
        history.sync(documents)
    assert rows == [3000, 3000, *range(3000), *range(3001, 3010)]


def test_borrowed_trials_that_fit_are_not_read_again(history, borrowed, finished, monkeypatch):
    """Where the first own result is like the borrowed ones, it is all that is read."""
    documents = [borrowed(tid, losses=[1.0, 2.0], constraints=[0.0]) for tid in range(9)]
    history.sync(documents)
    rows = rows_read(history, monkeypatch)
    documents.append(finished(9, losses=[0.0, 0.0], constraints=[1.0]))
    history.sync(documents)
    assert rows == [9]
    assert history.numbers == (2, 1)


def test_memory_of_the_columns_is_bounded(document):
    """With 50 labels the arrays of a plain study take at most 460 bytes a trial, spare room included."""
    labels = [f"p{i}" for i in range(50)]
    history, documents = History(labels), []
    shares = []
    for tid in range(6000):
        documents.append(document(tid, {"p0": 0.0}, 1.0))
        history.sync(documents)
        if tid >= 5000:
            shares.append(sum(a.nbytes for a in vars(history).values() if isinstance(a, np.ndarray)) / len(history))
    assert max(shares) <= 460
