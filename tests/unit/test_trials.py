"""``Trials``: documents in, documents out."""

import copy
import json
import pickle

import numpy as np
import pytest

from sparktune import STATUS_OK, Ctrl, Domain, Trials, fmin, hp, rand, tpe, trials_from_docs
from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, InvalidTrial

X = hp.uniform("x", -5, 5)
DOMAIN = Domain(lambda x: x, X)


def minimise(fn=lambda x: x, space=X, **options):
    return fmin(fn, space, **{"algo": rand.suggest, "max_evals": 5, "verbose": False, "rstate": 0, **options})


def document(tid, trials, state=0, loss=None):
    """A document of one trial over X, not inserted."""
    doc = rand.suggest([tid], DOMAIN, trials, seed=0)[0]
    doc["state"] = state
    if loss is not None:
        doc["result"] = {"status": STATUS_OK, "loss": loss}
    return doc


@pytest.fixture
def trials():
    """Five finished trials over X with losses 4, 3, 2, 3, 4."""
    trials, losses = Trials(), iter([4, 3, 2, 3, 4])
    minimise(lambda x: next(losses), trials=trials)
    return trials


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_document_has_hyperopts_keys(trials):
    """Documents have hyperopt's keys in hyperopt's order, then ours, with times in naive UTC to the millisecond."""
    doc = trials.trials[0]
    assert list(doc) == "state tid spec result misc exp_key owner version book_time refresh_time".split()
    assert list(doc["misc"]) == ["tid", "cmd", "workdir", "idxs", "vals", "search"]
    assert doc["misc"]["cmd"] == ("domain_attachment", "FMinIter_Domain")
    assert doc["misc"]["idxs"] == {"x": [0]}
    assert doc["result"] == {"loss": 4.0, "status": "ok"}
    assert doc["book_time"].tzinfo is None
    assert doc["refresh_time"].microsecond % 1000 == 0
    assert doc["book_time"] <= doc["refresh_time"]


def test_inactive_labels_have_empty_lists():
    """A label that was not active in a trial has empty idxs and vals there."""
    trials = Trials()
    space = hp.choice("c", [hp.uniform("a", 0, 1), hp.uniform("b", 0, 1)])
    minimise(space=space, trials=trials, max_evals=8)
    for misc in trials.miscs:
        chosen, other = ("a", "b") if misc["vals"]["c"] == [0] else ("b", "a")
        assert misc["idxs"][chosen] == [misc["tid"]]
        assert misc["idxs"][other] == misc["vals"][other] == []


def test_columns_over_the_documents(trials):
    """tids, losses, statuses, vals and the like have one entry per trial."""
    assert trials.tids == trials.idxs["x"] == [0, 1, 2, 3, 4]
    assert trials.losses() == [4.0, 3.0, 2.0, 3.0, 4.0]
    assert trials.statuses() == ["ok"] * 5
    assert trials.specs == [None] * 5
    assert trials.vals["x"] == [misc["vals"]["x"][0] for misc in trials.miscs]
    assert [result["loss"] for result in trials.results] == trials.losses()
    assert list(trials) == trials.trials
    assert len(trials) == 5


def test_values_are_python_numbers_with_numpys_item():
    """Values in documents are Python numbers, fit for JSON and plain in a pickle; item() is there as for numpy's."""
    trials = Trials()
    space = [hp.choice("c", ["a", "b"]), hp.randint("r", 9), hp.uniform("u", 0, 1), hp.quniform("q", 0, 9, 1)]
    minimise(lambda p: 0.0, space, trials=trials)
    kinds = {"c": int, "q": float, "r": int, "u": float}
    for label, (value, *_) in trials.vals.items():
        assert isinstance(value, kinds[label])
        assert type(value.item()) is type(pickle.loads(pickle.dumps(value))) is kinds[label]
        assert json.loads(json.dumps(value)) == value == value.item()


def test_losses_read_by_a_domain(trials):
    """losses() and statuses() take an object that reads results its own way."""

    class Twice(Domain):
        def loss(self, result, config=None):
            return 2 * result["loss"]

    assert trials.losses(Twice(lambda x: x, X)) == [8.0, 6.0, 4.0, 6.0, 8.0]
    assert trials.statuses(DOMAIN) == ["ok"] * 5


def test_the_best_trial_is_the_first_of_equals(trials):
    """best_trial has the lowest loss; argmin are its values."""
    trials.trials[4]["result"]["loss"] = 2.0
    assert trials.best_trial["tid"] == 2
    assert trials.argmin == {"x": trials.vals["x"][2]}


def test_the_best_trial_has_a_usable_loss(trials):
    """Trials that failed, have NaN as their loss, or did not end, are never the best."""
    trials.trials[2]["result"] = {"status": "fail", "loss": -100.0}
    trials.trials[1]["result"]["loss"] = float("nan")
    trials.trials[3]["state"] = 1
    assert trials.best_trial["tid"] == 0


@pytest.mark.parametrize("read", [lambda t: t.best_trial, lambda t: t.argmin, lambda t: t.average_best_error()])
def test_there_is_no_best_of_none(read):
    """Without trials there is no best one, and the error says what to do."""
    with pytest.raises(AllTrialsFailed, match="No trial was run"):
        read(Trials())


@pytest.mark.parametrize("losses", [[], ["fail"], [float("nan")], [float("inf")]])
def test_no_average_of_no_losses_is_a_value_error(losses):
    """Programs written for hyperopt catch a ValueError there; it is an AllTrialsFailed, too."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, trials, state=2, loss=0.0) for tid in range(len(losses))])
    trials.refresh()
    for trial, loss in zip(trials.trials, losses, strict=True):
        trial["result"] = {"status": "fail"} if loss == "fail" else {"status": "ok", "loss": loss}
    with pytest.raises(ValueError, match=r"No trial was run|ended without a loss|finite") as caught:
        trials.average_best_error()
    assert isinstance(caught.value, AllTrialsFailed)


def test_a_trials_object_has_no_items(trials):
    """Indexing says to index .trials."""
    with pytest.raises(NotImplementedError, match=r"index \.trials"):
        trials[0]


def test_average_best_error():
    """The true loss of the best trial; with variances, weighted by the chance to be best."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, trials, state=2, loss=loss) for tid, loss in enumerate([1.0, 1.0, 50.0])])
    trials.refresh()
    for result, true_loss in zip(trials.results, [3.0, 5.0, 7.0], strict=True):
        result["true_loss"] = true_loss
    assert trials.average_best_error() == 3.0
    for result in trials.results:
        result["loss_variance"] = 0.1
    # The first two are best with chance 1/2 each: 4, with a standard error of 0.03 over 1000 draws.
    assert trials.average_best_error() == pytest.approx(4.0, abs=0.15)


def test_average_best_error_of_infinite_losses():
    """The error says that losses are not finite, and not that no trial has finished."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, trials, state=2, loss=float("inf")) for tid in range(3)])
    trials.refresh()
    with pytest.raises(AllTrialsFailed, match="finite, and none of the 3 trials with status ok"):
        trials.average_best_error()
    for result in trials.results:
        result["loss"] = float("nan")
    with pytest.raises(AllTrialsFailed, match="3 trials ended without a loss"):
        trials.average_best_error()


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exp_key", [None, "study"])
def test_documents_are_seen_after_refresh(exp_key):
    """Inserted documents appear with the next refresh, not before."""
    trials = Trials(exp_key=exp_key)
    assert trials.insert_trial_doc(document(0, trials)) == 0
    assert trials.insert_trial_docs([document(1, trials), document(2, trials)]) == [1, 2]
    assert len(trials) == 0
    assert trials.count_by_state_synced(0) == 0
    assert trials.count_by_state_unsynced(0) == 3
    trials.refresh()
    assert trials.tids == [0, 1, 2]


@pytest.mark.parametrize("state", [3, 4])
def test_failed_and_cancelled_trials_are_hidden(state):
    """Trials in state error or cancel are in _dynamic_trials only."""
    trials = Trials()
    trials.insert_trial_doc(document(0, trials, state=state))
    trials.refresh()
    assert len(trials) == 0
    assert trials.count_by_state_unsynced(state) == trials.count_by_state_unsynced([state, 2]) == 1


@pytest.mark.parametrize(
    "key", ["tid", "spec", "result", "misc", "state", "owner", "book_time", "refresh_time", "exp_key"]
)
def test_documents_need_their_keys(key):
    """A document without one of its keys is refused, by the key's name, and comes with the error."""
    trials = Trials()
    doc = document(0, trials)
    del doc[key]
    with pytest.raises(InvalidTrial, match=f"without '{key}'") as caught:
        trials.insert_trial_doc(doc)
    assert caught.value.obj is doc


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": 9}, "state is one of .*got 9"),
        ({"tid": 5}, "both must agree: got 5 and, in misc, 0"),
        ({"exp_key": "other"}, "exp_key must be that of its Trials, None, got 'other'"),
        ({"misc": None}, "misc is a dict, got None"),
        ({"misc": {"tid": 0}}, "without 'cmd'"),
        ({"result": None}, "result is a dict, got None"),
    ],
)
def test_documents_that_are_wrong(change, message):
    """A document that contradicts itself or its study is refused, and nothing of the same call goes in."""
    trials = Trials()
    with pytest.raises(InvalidTrial, match=message):
        trials.insert_trial_docs([document(1, trials), {**document(0, trials), **change}])
    assert not trials._dynamic_trials


def test_documents_that_are_none():
    """Something else than a dict is refused."""
    with pytest.raises(InvalidTrial, match="a trial document is a dict, got int"):
        Trials().insert_trial_doc(5)


def test_trials_from_docs(trials):
    """Trials can be made from documents, which are shared, and seen at once."""
    again = trials_from_docs(trials.trials)
    assert again.tids == trials.tids
    assert again.trials[0] is trials.trials[0]
    with pytest.raises(InvalidTrial):
        trials_from_docs([{}])
    assert len(trials_from_docs([document(0, Trials())], validate=False)) == 1


def test_new_ids_are_new():
    """new_trial_ids never gives an id twice, nor one that a document has, seen or not."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, trials) for tid in (1, 3)])
    ids = trials.new_trial_ids(3) + trials.new_trial_ids(2)
    assert len({*ids, 1, 3}) == 7


def test_ids_may_be_anything_hashable():
    """Documents with text and float ids live beside those that fmin adds."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, trials, state=2, loss=1.0) for tid in ("a", 0.5, 3, (1, 2))])
    trials.refresh()
    minimise(trials=trials, algo=tpe.suggest, max_evals=20)
    assert len(trials) == len(set(trials.tids)) == 20
    assert trials.tids[:4] == ["a", 0.5, 3, (1, 2)]


def test_source_trial_docs(trials):
    """Documents made from a trial say so and take over its owner and times."""
    source = trials.trials[0]
    misc = {"tid": 9, "cmd": None, "idxs": {}, "vals": {}}
    (doc,) = trials.source_trial_docs([9], [None], [{"status": STATUS_OK}], [misc], [source])
    assert doc["misc"]["from_tid"] == 0
    assert doc["book_time"] == source["book_time"]


def test_delete_all(trials):
    """delete_all forgets everything, and the object can be used again."""
    trials.trial_attachments(trials.trials[0])["a"] = 1
    trials.delete_all()
    assert (len(trials), trials.attachments) == (0, {})
    minimise(trials=trials)
    assert trials.tids == [0, 1, 2, 3, 4]


def test_edits_are_read_by_the_next_run(trials):
    """A run takes losses the user edited for what they are now."""
    trials.trials[0]["result"]["loss"] = -10.0
    minimise(trials=trials, max_evals=50, loss_threshold=-9)
    assert len(trials) == 5


@pytest.mark.parametrize("labels", [{"y": hp.uniform("y", 0, 1)}, {}])
def test_the_space_may_change_between_runs(trials, labels):
    """Trials of an earlier space, with labels more or fewer, do not disturb TPE."""
    minimise(
        lambda p: p["z"],
        {"z": hp.uniform("z", 0, 1), **labels},
        trials=trials,
        algo=tpe.suggest,
        max_evals=30,
    )
    assert len(trials) == 30


# -- views -------------------------------------------------------------------------------------------------------------


def test_views_by_exp_key():
    """A view sees the documents with its exp_key; documents, ids and attachments are shared."""
    first = Trials(exp_key="a")
    minimise(trials=first)
    second = first.view("b")
    assert len(second) == 0
    minimise(trials=second, max_evals=3)
    assert (len(first), len(second), len(first.view(None))) == (5, 3, 8)
    assert len(set(first.view(None).tids)) == 8
    first.trial_attachments(first.trials[0])["a"] = 1
    assert second.attachments is first.attachments


def test_a_run_leaves_new_trials_of_other_studies_alone():
    """New documents with another exp_key are not evaluated."""
    trials = Trials(exp_key="a")
    other = trials.view("b")
    other.insert_trial_doc(document("waiting", other))
    minimise(trials=trials)
    other.refresh()
    assert [doc["state"] for doc in other] == [0]
    assert len(trials) == 5


# -- attachments -------------------------------------------------------------------------------------------------------


def test_attachments_of_a_result():
    """result["attachments"] moves to trial_attachments, a mapping."""
    trials = Trials()
    minimise(lambda x: {"loss": x, "status": STATUS_OK, "attachments": {"model": b"bytes", "n": x}}, trials=trials)
    doc = trials.trials[1]
    attachments = trials.trial_attachments(doc)
    assert "attachments" not in doc["result"]
    assert dict(attachments.items()) == {"model": b"bytes", "n": trials.vals["x"][1]}
    assert trials.attachments[trials.aname(doc, "model")] == b"bytes"
    del attachments["model"]
    assert "model" not in attachments
    assert list(attachments) == attachments.keys() == ["n"]
    with pytest.raises(KeyError, match=r"trial 1 has no attachment 'model'.*\['n'\]"):
        attachments["model"]


def test_no_attachments():
    """attachments=None is none."""
    minimise(lambda x: {"loss": x, "status": STATUS_OK, "attachments": None})


def test_attachments_of_ids_that_begin_alike():
    """Trial 1 does not list the attachments of trial 10."""
    trials = Trials()
    one, ten = document(1, trials), document(10, trials)
    trials.trial_attachments(ten)["a"] = 0
    assert trials.trial_attachments(one).keys() == []


# -- Ctrl --------------------------------------------------------------------------------------------------------------


def test_checkpoint_shows_while_the_trial_runs():
    """A checkpoint is in the document of the running trial at once, and gives way to the result."""
    trials, seen = Trials(), []

    def fn(args):
        x, ctrl = args
        ctrl.checkpoint({"status": "running", "loss": 99.0})
        ctrl.attachments["log"] = "text"
        seen.append((ctrl.current_trial["result"], ctrl.current_trial["state"], trials.best_loss))
        return x

    minimise(fn, (X, Ctrl), trials=trials, max_evals=1)
    assert seen == [({"status": "running", "loss": 99.0}, 1, None)]
    assert trials.results == [{"status": "ok", "loss": trials.vals["x"][0]}]
    assert trials.trial_attachments(trials.trials[0])["log"] == "text"


def test_a_ctrl_without_a_trial():
    """Outside a trial there is nothing to check point."""
    with pytest.raises(InvalidArgumentError, match="needs a trial that is running"):
        Ctrl(Trials()).checkpoint()


def test_inject_results():
    """An objective may add finished trials that came from the running one."""
    trials = Trials()

    def fn(args):
        x, ctrl = args
        misc = {"tid": "extra", "cmd": None, "idxs": {"x": ["extra"]}, "vals": {"x": [x / 2]}}
        ctrl.inject_results([None], [{"loss": x / 2, "status": STATUS_OK}], [misc], new_tids=["extra"])
        return x

    minimise(fn, (hp.uniform("x", 1, 2), Ctrl), trials=trials, max_evals=1)
    assert trials.best_trial["tid"] == "extra"
    assert trials.best_trial["misc"]["from_tid"] == 0


# -- copies, subclasses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_go_on(trials, make):
    """A copy has all documents and attachments, and can be run further without touching the original."""
    trials.trial_attachments(trials.trials[0])["a"] = 1
    again = make(trials)
    assert again.trials == trials.trials
    assert again.attachments == trials.attachments
    minimise(trials=again, max_evals=8)
    assert (len(again), len(trials)) == (8, 5)


class Refreshing(Trials):
    """Counts refreshes."""

    n_refreshes = 0

    def refresh(self):
        """Count, then refresh."""
        self.n_refreshes += 1
        super().refresh()


class Copying(Trials):
    """Stores copies, as trials in a database do."""

    def _insert_trial_docs(self, docs):
        return super()._insert_trial_docs([copy.deepcopy(doc) for doc in docs])


@pytest.mark.parametrize("subclass", [Refreshing, Copying])
@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest], ids=["rand", "tpe"])
def test_subclasses_run(subclass, algo):
    """Subclasses that override refresh, or what is stored, run as Trials does."""
    trials, plain = subclass(), Trials()
    assert minimise(trials=trials, algo=algo, max_evals=15, max_queue_len=2) == trials.argmin
    minimise(trials=plain, algo=algo, max_evals=15, max_queue_len=2)
    assert trials.vals == plain.vals
    assert getattr(trials, "n_refreshes", 16) > 15


def test_values_by_numpy_are_taken():
    """Documents with numpy values and ids, such as hyperopt writes, can be inserted and learned from."""
    trials = Trials()
    for tid in range(15):
        doc = document(tid, trials, state=2, loss=np.float64(tid))
        doc["misc"]["vals"]["x"], doc["misc"]["idxs"]["x"] = [np.float64(tid / 4)], [np.int64(tid)]
        trials.insert_trial_doc(doc)
    trials.refresh()
    minimise(trials=trials, algo=tpe.suggest, max_evals=20)
    assert len(trials) == 20


def test_subclass_that_sets_its_list_in_refresh_still_feeds_the_algorithm():
    """A hyperopt-style subclass that assigns ``_trials`` in its own refresh keeps the columns up to date."""

    class Ours(Trials):
        def refresh(self):
            self._trials = [d for d in self._dynamic_trials if d["state"] != 3]

    trials = Ours()
    fmin(lambda x: x**2, hp.uniform("x", -1, 1), rand.suggest, 5, trials=trials, verbose=False)
    assert len(trials.trials) == 5
    assert trials.best_loss == min(trials.losses())


def test_subclass_with_a_constructor_of_its_own():
    """A subclass that sets what hyperopt's constructor sets, and does not call ours, runs and pickles."""
    trials = OwnConstructor()
    minimise(trials=trials, algo=tpe.suggest)
    assert trials.tids == [0, 1, 2, 3, 4]
    assert pickle.loads(pickle.dumps(trials)).losses() == trials.losses()
    assert trials.view("other").tids == []


class OwnConstructor(Trials):
    """As programs for hyperopt write it."""

    def __init__(self):
        self._ids = set()
        self._dynamic_trials = []
        self._exp_key = None
        self.attachments = {}
        self._trials = []
        self.refresh()


def test_a_second_fmin_with_trials_that_run_is_refused():
    """Each would start the other's trials. A copy has a life of its own, and afterwards another fmin may begin."""
    trials, refusals, copies = Trials(), [], []

    def objective(x):
        with pytest.raises(InvalidArgumentError, match=r"one fmin at a time.* give each fmin an object of its own"):
            minimise(trials=trials)
        refusals.append(len(trials._dynamic_trials))
        copies.append(pickle.loads(pickle.dumps(trials)))
        return x

    minimise(objective, max_evals=2, trials=trials)
    assert refusals == [1, 2]
    minimise(trials=copies[0])
    assert len(trials) == 2
    minimise(max_evals=3, trials=trials)
    assert len(trials) == 3


def test_a_refused_fmin_leaves_no_points_behind():
    """The points of a second fmin do not get into the first one's trials."""
    trials = Trials()

    def objective(x):
        with pytest.raises(InvalidArgumentError, match="one fmin at a time"):
            trials.fmin(objective, X, max_evals=1, points_to_evaluate=[{"x": 0.5}])
        return x

    minimise(objective, trials=trials, max_evals=2)
    assert len(trials) == 2
    assert 0.5 not in trials.losses()


def test_trials_say_what_they_are():
    """A Trials object at a prompt tells how many trials there are, in which states, and the best loss."""
    assert repr(Trials()) == "<Trials of 0 trials>"
    trials = Trials()
    fmin(lambda x: {"status": "fail"}, hp.uniform("x", 0, 1), rand.suggest, 1, trials=trials, return_argmin=False)
    assert repr(trials) == "<Trials of 1 trial: 1 done>"
    fmin(lambda x: 0.25, hp.uniform("x", 0, 1), rand.suggest, 3, trials=trials)
    assert repr(trials) == "<Trials of 3 trials: 3 done; best loss 0.25>"
    trials = Trials()
    with pytest.raises(AllTrialsFailed):
        fmin(lambda x: 1 / 0, X, rand.suggest, 2, trials=trials, catch_eval_exceptions=True)
    assert repr(trials) == "<Trials of 2 trials: 2 error>"


def test_fmin_returns_the_argmin_of_a_subclass():
    """Programs override it, to round values or to choose by other rules."""

    class Rounded(Trials):
        @property
        def argmin(self):
            return {label: round(value) for label, value in super().argmin.items()}

    assert minimise(trials=Rounded()) in [{"x": value} for value in range(-5, 6)]
