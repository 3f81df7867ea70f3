"""Self-tuning TPE: what improves on the best trial is done more often."""

import pickle

import numpy as np
import pytest

from sparktune import Domain, Trials, atpe, auto, fmin, hp, tpe
from sparktune.history.columns import History
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING, STATUS_OK
from sparktune.space.compile import Space

LINE = Space(hp.uniform("x", 0, 1))
WAYS = list(atpe.WAYS)


@pytest.fixture
def study_of(document, rng):
    """Makes the history of trials with these losses, proposed in these ways."""

    def make(losses, ways, state=JOB_STATE_DONE):
        documents = [document(i, {"x": rng.random()}, loss, state) for i, loss in enumerate(losses)]
        for written, way in zip(documents, ways, strict=True):
            written["misc"]["search"] = {"algo": way, "seed": 0, "n_startup": 10, "n_trials": 0, "running": []}
        history = History(LINE.labels)
        history.sync(documents)
        return history

    return make


def shares(history, n=300):
    """How often each way is chosen."""
    rng = np.random.default_rng(1)
    chosen = [atpe.choose(history, rng) for _ in range(n)]
    return [chosen.count(way) / n for way in WAYS]


def assert_all_are_tried(found):
    """The shares that the priors give, and those after as many failures each, within four deviations."""
    close, wide, both = found
    assert close == pytest.approx(wide, abs=0.11)
    assert 0.4 < both < 0.8


def test_it_starts_as_tpe_does(study_of):
    """Until ten trials have finished it is TPE with its defaults, which draws from the prior."""
    assert atpe.choose(study_of(range(9), WAYS * 3), np.random.default_rng(0)) == atpe.START
    history = study_of([], [])
    first, second = (algo.propose(LINE, history, np.random.default_rng(3), 5) for algo in (atpe, tpe))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("better", range(3))
def test_the_way_that_improves_is_chosen_more_often(better, study_of):
    """One that was better than all before it every time, among others that never were."""
    ways = [WAYS[i % 3] for i in range(30)]
    losses = [-i if i % 3 == better else 99 for i in range(30)]
    assert shares(study_of(losses, ways))[better] > 0.9


@pytest.mark.parametrize("state", [JOB_STATE_DONE, JOB_STATE_ERROR])
def test_without_improvement_all_ways_are_tried(state, study_of):
    """Whether trials were worse or failed; the Gaussian process, which has some credit, most often."""
    found = shares(study_of([0.0] + [1.0] * 30, [atpe.START, *[WAYS[i % 3] for i in range(30)]], state))
    assert_all_are_tried(found)


def test_long_ago_does_not_count(study_of):
    """What improved before the last 40 trials is forgotten."""
    n = atpe.WINDOW
    ways = [WAYS[1]] * 30 + [WAYS[i % 3] for i in range(n)]
    assert_all_are_tried(shares(study_of([-i for i in range(30)] + [99.0] * n, ways)))


def test_running_trials_and_others_proposals_do_not_count(study_of, document):
    """A way is not blamed for what is not known yet, nor praised for what it did not propose."""
    written = [document(i, {"x": 0.5}, -float(i)) for i in range(30)]
    written += [document(i, {"x": 0.5}, None, JOB_STATE_RUNNING) for i in range(30, 60)]
    for i, doc in enumerate(written):
        record = {"algo": "rand" if i < 30 else WAYS[0], "seed": 0, "n_startup": 0, "n_trials": 0, "running": []}
        doc["misc"]["search"] = record
    history = History(LINE.labels)
    history.sync(written)
    assert_all_are_tried(shares(history))


@pytest.mark.parametrize(
    "extra", [{"losses": [1.0, 2.0]}, {"constraints": [-1.0]}], ids=["several losses", "constraints"]
)
def test_where_none_is_simply_better_only_the_credit_counts(extra, document):
    """With several losses or constraints there is nothing to go by."""
    documents = [document(i, {"x": 0.01 * i}, -float(i)) for i in range(30)]
    for written in documents:
        written["result"] |= extra
        written["misc"]["search"] = {"algo": WAYS[2], "seed": 0, "n_startup": 10, "n_trials": 0, "running": []}
    history = History(LINE.labels)
    history.sync(documents)
    assert_all_are_tried(shares(history))


@pytest.mark.parametrize(
    ("way", "propose"),
    [
        (WAYS[0], tpe.propose),
        (WAYS[1], lambda *args: tpe.propose(*args, tpe.Settings(prior_weight=4.0))),
        (WAYS[2], auto.propose),
    ],
)
def test_the_ways(way, propose, history_of, rng):
    """TPE with its defaults, TPE with a heavier prior, and TPE with the Gaussian process."""
    history = history_of(LINE, LINE.sample(rng, 20), range(20))
    first = atpe.WAYS[way](LINE, history, np.random.default_rng(3), 2, None)
    np.testing.assert_array_equal(first, propose(LINE, history, np.random.default_rng(3), 2))


def test_documents_say_which_way():
    """In a run, in batches, several ways occur, each under its name."""
    trials = Trials()
    fmin(lambda x: (x - 0.3) ** 2, LINE.expr, atpe.suggest, 60, trials=trials, rstate=0, max_queue_len=2, verbose=False)
    names = [doc["misc"]["search"]["algo"] for doc in trials.trials]
    assert set(names[:10]) == {atpe.START}
    assert set(names[10:]) == set(WAYS)
    assert "atpe" in str(trials.explain(50))


def test_a_study_that_is_loaded_goes_on_as_it_would_have():
    """Loading before each proposal changes no point."""
    domain, studies = Domain(lambda _: 0.0, LINE.expr), []
    for loads in (False, True):
        trials = Trials()
        for tid in range(30):
            if loads:
                trials = pickle.loads(pickle.dumps(trials))
            trials.insert_trial_docs(atpe.suggest([tid], domain, trials, tid))
            trials.refresh()
            document = trials.trials[tid]
            document["result"] = {"status": STATUS_OK, "loss": abs(document["misc"]["vals"]["x"][0] - 0.7)}
            document["state"] = JOB_STATE_DONE
            trials.refresh()
        studies.append(trials.vals)
    assert studies[0] == studies[1]
