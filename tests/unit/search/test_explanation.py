"""``trials.explain``: what a proposal saw, and what that said of its point."""

import math
import pickle

import numpy as np
import pytest
import threadpoolctl

from sparktune import (
    STATUS_FAIL,
    STATUS_OK,
    Trials,
    atpe,
    auto,
    fmin,
    gp,
    hp,
    partial,
    qmc,
    rand,
    tpe,
    trials_from_docs,
)
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.proposals import as_it_was

SPACE = {
    "x": hp.uniform("x", -5, 5),
    "branch": hp.choice("branch", [{"a": hp.loguniform("a", -5, 0)}, {"b": hp.randint("b", 1000)}]),
}
ALGORITHMS = {
    "rand": rand.suggest,
    "tpe": tpe.suggest,
    "tpe with hyperopt_rules": partial(tpe.suggest, hyperopt_rules=True),
    "gp": gp.suggest,
    "auto": auto.suggest,
}


def parabola(point):
    return (point["x"] - 1) ** 2 + point["branch"].get("a", 0.5)


def run(algo, n=30, objective=parabola, **options):
    trials = Trials()
    fmin(objective, SPACE, algo=algo, max_evals=n, trials=trials, rstate=0, verbose=False, **options)
    return trials


@pytest.fixture(scope="module")
def searched():
    return run(tpe.suggest, 40)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_explained(name):
    """The explanation names the algorithm and what it had seen: the trials before it and their best loss."""
    trials = run(ALGORITHMS[name], 15)
    explanation = trials.explain(12)
    assert (explanation.algo, explanation.n_finished, explanation.n_running) == (name, 12, 0)
    assert explanation.best_loss == min(trials.losses()[:12])
    assert explanation.params == {label: v[0] for label, v in trials.trials[12]["misc"]["vals"].items() if v}


def test_a_point_of_the_start_is_a_draw(searched):
    """Before there is enough to learn from nothing speaks for a point."""
    explanation = searched.explain(4)
    assert explanation.is_startup
    assert (explanation.log_good, explanation.log_ratios, explanation.expected_loss) == (None, {}, None)
    assert explanation.log_rank_improvement is None
    assert "too little to learn from" in str(explanation)


@pytest.mark.parametrize("algo", [auto.suggest, gp.suggest, qmc.suggest, tpe.suggest])
def test_a_point_of_the_start_is_not_said_to_be_drawn(algo):
    """Some algorithms take points of a sequence before there is something to learn from."""
    explanation = run(algo, 1).explain(0)
    assert explanation.is_startup
    assert "draw" not in str(explanation)


@pytest.mark.parametrize(("algo", "is_startup"), [(auto.suggest, True), (gp.suggest, True), (tpe.suggest, False)])
def test_on_a_plateau_the_start_goes_on(algo, is_startup):
    """Where all losses are the same, for those who then take points of the start."""
    trials = Trials()
    fmin(lambda point: 1.0, SPACE, algo, 15, trials=trials, rstate=0, verbose=False)
    assert trials.explain(14).is_startup == is_startup


def test_on_a_plateau_atpe_takes_points_of_the_start_by_one_of_its_ways():
    """By that which auto goes, and by no other."""
    trials = Trials()
    fmin(lambda point: 1.0, SPACE, atpe.suggest, 40, trials=trials, rstate=0, verbose=False)
    explained = [trials.explain(tid) for tid in range(10, 40)]
    assert {e.algo for e in explained} == set(atpe.WAYS)
    assert all(e.is_startup == (e.algo == atpe.BY_PROCESS) for e in explained)


def test_infinite_losses_are_not_expected_to_be_numbers():
    """Where there is no finite loss, no number is expected."""
    trials = Trials()
    fmin(lambda point: math.inf, SPACE, tpe.suggest, 15, trials=trials, rstate=0, verbose=False)
    assert trials.explain(14).expected_loss is None


def test_by_hyperopts_rules_running_trials_end_the_start():
    """They count as trials there: with 12 finished and 11 running the point is of the model, not of the start."""
    trials = Trials()
    algo = partial(tpe.suggest, hyperopt_rules=True)
    for n, max_queue_len in ((12, 1), (24, 12)):
        fmin(parabola, SPACE, algo, n, trials=trials, rstate=0, verbose=False, max_queue_len=max_queue_len)
    explanation = trials.explain(23)
    assert (explanation.n_finished, explanation.n_running) == (12, 11)
    assert not explanation.is_startup
    assert explanation.log_good is not None
    assert trials.explain(19).is_startup


def test_the_point_was_likelier_among_the_good_trials():
    """Where the densities alone choose, the proposals have a high ratio of them, and random points a lower one."""

    def ratios(algo):
        trials = run(algo, 40, lambda point: {"status": STATUS_OK, "losses": [parabola(point)] * 2})
        return [e.log_good - e.log_bad for e in map(trials.explain, range(20, 40))]

    assert np.median(proposed := ratios(tpe.suggest)) > 0
    assert np.median(proposed) > np.median(ratios(rand.suggest))


def test_the_ranks_spoke_for_the_point(searched):
    """The ranks expect more of what TPE proposed than of random points of the same study, and say so in words."""
    proposed = [searched.explain(tid).log_rank_improvement for tid in range(20, 40)]
    drawn = run(rand.suggest, 40)
    assert np.median(proposed) > np.median([drawn.explain(tid).log_rank_improvement for tid in range(20, 40)])
    assert f"ranks: {proposed[-1]:+.2f}" in str(searched.explain(39))


def test_only_active_parameters_are_spoken_of(searched):
    """Parameters of the branch that was not chosen are left out."""
    explanation = searched.explain(39)
    assert set(explanation.log_ratios) == set(explanation.params)
    for label in explanation.params:
        assert label in str(explanation)


def test_parameters_are_spoken_of_each_by_itself(searched):
    """Their ratios do not add up to that of all together, and the words do not say so."""
    explanation = searched.explain(39)
    assert sum(explanation.log_ratios.values()) != pytest.approx(explanation.log_good - explanation.log_bad)
    line = next(line for line in str(explanation).splitlines() if "(log): " in line)
    assert line.startswith("  each parameter by itself (log): ")


def test_the_expected_loss_is_in_units_of_the_loss(searched):
    """What the Gaussian process expects of late points of a smooth objective is close to what came."""
    errors = []
    for tid in range(30, 40):
        median, low, high = searched.explain(tid).expected_loss
        assert low <= median <= high
        errors.append(abs(median - searched.losses()[tid]))
    assert np.median(errors) < 0.5


def test_running_trials_are_as_they_were():
    """Points of a batch take those before them for running, whatever became of them."""
    trials = run(partial(tpe.suggest, n_startup_jobs=2), 12, max_queue_len=4)
    explanation = trials.explain(11)
    assert list(explanation.running) == [8, 9, 10]
    assert explanation.n_finished == 8
    seen = as_it_was(trials.trials, trials.trials[11]["misc"]["search"])
    assert [document["result"] for document in seen[8:]] == [{"status": "new"}] * 3


def test_a_loaded_study_is_explained_with_its_space(searched):
    """A pickle has no space: it is asked for by name, and with it the explanation is the same."""
    loaded = pickle.loads(pickle.dumps(searched))
    with pytest.raises(InvalidArgumentError, match=r"trials\.explain\(30, space\)"):
        loaded.explain(30)
    assert loaded.explain(30, SPACE) == searched.explain(30)


def test_blas_has_one_thread_meanwhile(searched, monkeypatch):
    """The matrices are small: on a busy machine several threads took ten times as long."""
    seen = set()
    expected_loss = gp.Surrogate.expected_loss

    def watched(self, point):
        pools = threadpoolctl.threadpool_info()
        seen.update(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")
        return expected_loss(self, point)

    monkeypatch.setattr(gp.Surrogate, "expected_loss", watched)
    searched.explain(39)
    assert seen == {1}


def test_what_cannot_be_explained(searched):
    """No such trial, and a point of the user's, are errors that say so."""
    with pytest.raises(InvalidArgumentError, match="got 99"):
        searched.explain(99)
    trials = run(tpe.suggest, 3, points_to_evaluate=[{"x": 0.0, "branch": 0, "a": 0.1}])
    with pytest.raises(InvalidArgumentError, match="a point of the user's"):
        trials.explain(0)


@pytest.mark.parametrize("removed", [range(15, 20), [0], [21]], ids=str)
def test_trials_that_were_seen_must_be_there(searched, removed):
    """Once some were removed nobody can tell what the later proposals saw; the earlier ones are as they were."""
    left = trials_from_docs([document for document in searched.trials if document["tid"] not in removed])
    with pytest.raises(InvalidArgumentError, match=r"trial 22 saw, which were 22 .* some of them are missing here"):
        left.explain(22, SPACE)
    if removed[0]:
        assert left.explain(removed[0] - 1, SPACE) == searched.explain(removed[0] - 1)


@pytest.mark.parametrize("removed", [3, 8, 9])
def test_trials_that_ran_must_be_there(removed):
    """Those that were proposed in one round with the trial too, which came after all that it saw as finished."""
    trials = run(partial(tpe.suggest, n_startup_jobs=2), 12, max_queue_len=4)
    left = trials_from_docs([document for document in trials.trials if document["tid"] != removed])
    with pytest.raises(InvalidArgumentError, match=r"which were 8 with \[8, 9, 10\] running"):
        left.explain(11, SPACE)


def test_a_study_that_goes_on_without_some_trials_is_explained(searched):
    """Later proposals saw what there was then."""
    left = trials_from_docs(searched.trials[:15] + searched.trials[20:30])
    fmin(parabola, SPACE, algo=tpe.suggest, max_evals=27, trials=left, rstate=1, verbose=False)
    assert left.explain(left.tids[-1]).n_finished == 26


def test_another_space_is_an_error(searched):
    """A space of none of whose parameters the trial has a value is refused."""
    with pytest.raises(InvalidArgumentError, match="trial 15 has no value for y, z: give the space that was searched"):
        searched.explain(15, [hp.uniform("y", 0, 1), hp.uniform("z", 0, 1)])


def test_failed_trials_and_several_losses():
    """Where there is no loss to expect, the rest is still said."""
    failing = run(tpe.suggest, 15, lambda point: {"status": STATUS_FAIL} if point["x"] < 0 else parabola(point))
    assert failing.explain(14).expected_loss is not None
    fronts = run(auto.suggest, 15, lambda p: {"status": "ok", "losses": [parabola(p), p["x"]]})
    explanation = fronts.explain(14)
    assert explanation.expected_loss is None
    assert explanation.best_loss is None
    assert explanation.log_rank_improvement is None
    assert explanation.log_expected_improvement is not None


def test_trials_of_several_keys_are_explained_each_by_its_own():
    """A proposal saw those of its key: the others, before it and between, are left out."""
    study = Trials()
    for key in ("one", "two", "one"):
        part = study.view(exp_key=key)
        fmin(parabola, SPACE, tpe.suggest, len(part) + 12, trials=part, rstate=len(part), show_progressbar=False)
    study.refresh()
    by_key, tid = study.view(exp_key="one"), study.tids[-1]
    assert len(study) == 36
    assert by_key.explain(tid, SPACE).n_finished == 23
    assert study.explain(tid, SPACE) == by_key.explain(tid, SPACE)


def test_a_trial_without_a_key_is_explained_by_all():
    """Its proposal saw those with a key, too, as one that goes on with a study of an object with a key does."""
    study = Trials()
    fmin(parabola, SPACE, rand.suggest, 12, trials=study.view(exp_key="one"), rstate=0, show_progressbar=False)
    study.refresh()
    fmin(parabola, SPACE, tpe.suggest, 24, trials=study, rstate=1, show_progressbar=False)
    assert study.explain(study.tids[-1], SPACE).n_finished == 23
    assert study.explain(study.tids[0], SPACE).n_finished == 0
