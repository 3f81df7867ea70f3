"""Documents that are made, counted and held in ways that programs for hyperopt have."""

import copy
import pickle

import numpy as np
import pytest

from sparktune import JOB_STATE_DONE, JOB_STATE_NEW, STATUS_OK, Domain, FMinIter, Trials, fmin, hp, rand, tpe
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError

X = hp.uniform("x", -1, 1)


def minimise(trials, **options):
    options = {"algo": rand.suggest, "max_evals": 3, "rstate": 0, "show_progressbar": False, **options}
    return fmin(lambda x: x**2, X, trials=trials, **options)


# -- counting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [2, np.int64(2), np.uint8(2), 2.0, [2], (2,), {2}, np.array([2, 3]), range(3)])
def test_states_are_numbers_of_any_kind(state):
    """One number or several, Python's or numpy's, as in hyperopt."""
    trials = Trials()
    minimise(trials)
    assert trials.count_by_state_synced(state) == trials.count_by_state_unsynced(state) == 3


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (7, InvalidTypeError),  # of numbers, and of what is no list, hyperopt says that the type is wrong
        (2.5, InvalidTypeError),
        (None, InvalidTypeError),
        ([7], InvalidArgumentError),
        ([2, 7], InvalidArgumentError),
        ("x", InvalidArgumentError),
        ("2", InvalidArgumentError),
    ],
)
def test_what_is_no_state_is_not_counted_as_nothing(state, error):
    """The message has the states, what was given, and how to write it."""
    for count in (Trials().count_by_state_synced, Trials().count_by_state_unsynced):
        with pytest.raises(error, match=r"one of \[0, 1, 2, 3, 4\], got .*: write JOB_STATE_DONE, or \[") as caught:
            count(state)
        assert repr(state) in str(caught.value)


# -- making ------------------------------------------------------------------------------------------------------------


def test_one_result_for_all_new_documents():
    """results=domain.new_result(), which is one dictionary, gives each document one of its own, to be filled in."""
    domain, trials = Domain(lambda x: x, X), Trials()
    tids = trials.new_trial_ids(2)
    miscs = [{"tid": tid, "cmd": domain.cmd, "idxs": {"x": [tid]}, "vals": {"x": [0.5]}} for tid in tids]
    new = trials.new_trial_docs(tids, [None, None], domain.new_result(), miscs)
    assert [document["result"] for document in new] == [{"status": "new"}, {"status": "new"}]
    trials.insert_trial_docs(new)
    trials.refresh()
    for loss, document in enumerate(trials._dynamic_trials):
        document["result"].update(loss=float(loss), status=STATUS_OK)
        document["state"] = JOB_STATE_DONE
    trials.refresh()
    assert trials.losses() == [0.0, 1.0]
    assert trials.best_loss == 0.0


# -- a Trials object around another one --------------------------------------------------------------------------------


def delegated(names):
    """Properties that are the inner object's."""
    return {name: property(lambda self, name=name: getattr(self._trials, name)) for name in names.split()}


class Around(Trials):
    """As programs for hyperopt write it, to have what happens to another Trials object pass through their hands."""

    def __init__(self):
        self._trials = Trials()

    vars().update(delegated("_dynamic_trials trials tids specs results miscs idxs_vals idxs vals insert_trial_docs"))
    vars().update(delegated("trial_attachments new_trial_ids new_trial_docs losses statuses refresh argmin"))

    def __len__(self):
        return len(self._trials)

    def __iter__(self):
        return iter(self._trials)


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest])
@pytest.mark.parametrize("own_fmin", [True, False])
def test_a_trials_object_around_another_one(algo, own_fmin):
    """It runs as the inner one would: no constructor of ours is called, and _trials is what it was set to."""
    outer, plain = Around(), Trials()
    best = minimise(outer, algo=algo, max_evals=30, allow_trials_fmin=own_fmin)
    assert best == minimise(plain, algo=algo, max_evals=30)
    assert (type(outer._trials), outer.vals, outer.losses()) == (Trials, plain.vals, plain.losses())
    assert (outer.best_loss, outer.n_finished) == (plain.best_loss, 30)


def test_what_an_inner_object_is_told_is_seen():
    """The outer one's results follow what goes on within, though it is not told; another inner one may be set."""
    outer, other = Around(), Trials()
    minimise(outer)
    minimise(outer._trials, max_evals=5)
    assert (outer.n_finished, outer.best_loss) == (5, outer._trials.best_loss)
    minimise(other, max_evals=2)
    outer._trials = other
    assert (outer.n_finished, outer.best_loss) == (2, other.best_loss)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trials: pickle.loads(pickle.dumps(trials))])
def test_copies_of_a_trials_object_around_another_one(copied):
    """They hold a copy of the inner one, and go on."""
    outer = Around()
    minimise(outer)
    other = copied(outer)
    minimise(other, max_evals=5)
    assert (len(outer), len(other), type(other._trials)) == (3, 5, Trials)


def test_a_pickle_that_hyperopt_made_of_a_trials_object_around_another_one():
    """It has the inner one where ours have a list."""
    inner, outer = Trials(), Around.__new__(Around)
    minimise(inner)
    outer.__setstate__({"_trials": inner})
    assert (len(outer), outer.best_loss) == (3, inner.best_loss)


def test_a_loop_around_a_trials_object_around_another_one():
    """FMinIter takes it as well, and stop rules see its results."""
    outer = Around()
    FMinIter(rand.suggest, Domain(lambda x: x, X), outer, 0, max_evals=9, loss_threshold=5.0).exhaust()
    assert len(outer) == 1


def test_attachments_without_a_constructor():
    """A subclass whose constructor does not call ours has attachments of its own all the same."""
    first, second = Around(), Around()
    first.attachments["a"] = 1
    assert (first.attachments, second.attachments, first._ids) == ({"a": 1}, {}, set())


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_that_is_set_in_a_refresh_is_no_other_object(kind):
    """It is what is visible until the next refresh, as before."""
    trials = Trials()
    minimise(trials)
    trials._trials = kind(trials._dynamic_trials[:2])
    assert len(trials) == 2
    trials.refresh()
    assert (len(trials), trials.count_by_state_synced(JOB_STATE_NEW)) == (3, 0)
