"""Optuna's samplers behind fmin."""

# ruff: noqa: E402  (imports come after the skip where Optuna is missing)

import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

optuna = pytest.importorskip("optuna")

from optuna.samplers import (
    BruteForceSampler,
    CmaEsSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from sparktune import STATUS_FAIL, STATUS_OK, Domain, Trials, fmin, hp, rand
from sparktune.bridges.optuna import suggest
from sparktune.bridges.optuna.units import axis_of
from sparktune.exceptions import InvalidSpaceError, InvalidTypeError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_RUNNING
from sparktune.pyll import scope
from sparktune.space.compile import Space

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SQUARE = {f"x{i}": hp.uniform(f"x{i}", -1, 1) for i in range(4)}
EVERY_KIND = {
    "uniform": hp.uniform("uniform", -1, 2),
    "quniform": hp.quniform("quniform", 0.05, 0.55, 0.1),
    "halves": hp.quniform("halves", -1, 3, 0.5),
    "loguniform": hp.loguniform("loguniform", -8, 0),
    "qloguniform": hp.qloguniform("qloguniform", 0, 5, 2),
    "randint": hp.randint("randint", 3, 9),
    "huge": hp.randint("huge", 2**31 - 1),
    "uniformint": hp.uniformint("uniformint", 1, 7),
    "choice": hp.choice("choice", ["a", "b", "c"]),
    "only": hp.choice("only", ["this"]),
    "pchoice": hp.pchoice("pchoice", [(0.4, "a"), (0.0, "never"), (0.6, "b")]),
    "normal": hp.normal("normal", 3, 2),
    "qnormal": hp.qnormal("qnormal", 0, 4, 0.5),
    "lognormal": hp.lognormal("lognormal", 0, 1),
    "qlognormal": hp.qlognormal("qlognormal", 1, 1, 1),
}


def distance(x):
    return sum((value - 0.3) ** 2 for value in x.values())


def minimum(algo, n=100, seed=0):
    trials = Trials()
    fmin(distance, SQUARE, algo=algo, max_evals=n, trials=trials, rstate=seed, show_progressbar=False)
    return trials.best_loss


class Spy(RandomSampler):
    """Random search that keeps what it has seen: (number, state, values, params, constraints) of each trial."""

    seen: ClassVar[list] = []

    def infer_relative_search_space(self, study, trial):
        Spy.seen.append(
            [
                (t.number, t.state, t.values, dict(t.params), dict(getattr(t, "constraints", {})))
                for t in study.get_trials(deepcopy=False)
                if t.number != trial.number
            ]
        )
        return {}


@pytest.fixture
def spy():
    Spy.seen = []
    return Spy(seed=0)


@pytest.fixture
def propose():
    """Asks an algorithm for points, and inserts them."""

    def ask(algo, space, trials, n=1, seed=0):
        trials.refresh()
        new = algo(trials.new_trial_ids(n), Domain(distance, space), trials, seed)
        trials.insert_trial_docs(new)
        trials.refresh()
        return new

    return ask


def finish(document, **result):
    document["state"] = JOB_STATE_DONE
    document["result"] = {"status": STATUS_OK, **result}


@pytest.mark.parametrize("make", [TPESampler, CmaEsSampler], ids=lambda make: make.__name__)
def test_a_sampler_reaches_what_random_search_does_not(make):
    """With 100 trials TPE and CMA-ES get within 0.05 of a minimum in four dimensions, random search does not."""
    pytest.importorskip("cmaes")
    assert minimum(suggest(lambda seed: make(seed=seed))) < 0.05
    assert minimum(rand.suggest) > 0.05


def test_the_seed_of_fmin_seeds_samplers_that_are_made_from_it():
    """With a function from a seed to a sampler, equal rstate gives equal runs, another rstate another."""
    algo = suggest(lambda seed: RandomSampler(seed=seed))
    assert minimum(algo, 5, seed=1) == minimum(algo, 5, seed=1) != minimum(algo, 5, seed=2)


def test_a_sampler_keeps_its_own_seed():
    """The seed of a sampler that was made by the user rules, whatever fmin's is, in each study anew."""
    algo = suggest(TPESampler(seed=0))
    assert minimum(algo, 15, seed=1) == minimum(algo, 15, seed=2)


def test_values_are_ours():
    """Every hp distribution gives values on its grid and with a positive density, so within its bounds."""
    trials = Trials()
    fmin(
        lambda x: x["uniform"] ** 2, EVERY_KIND, suggest(TPESampler(seed=0)), 60, trials=trials, show_progressbar=False
    )
    space = Space(EVERY_KIND)
    values = np.array([space.row({k: v[0] for k, v in t["misc"]["vals"].items()}) for t in trials.trials])
    for column, parameter in enumerate(space.parameters):
        x = values[:, column]
        assert np.isfinite(parameter.distribution.log_pdf(x)).all(), parameter.label
        assert parameter.label == "only" or len(set(x)) > 1
    assert set(values[:, space.index["quniform"]]) <= {k * 0.1 for k in range(1, 6)}
    assert set(values[:, space.index["pchoice"]]) == {0, 2}


@pytest.mark.parametrize("parameter", Space(EVERY_KIND).parameters, ids=lambda parameter: parameter.label)
def test_values_go_to_optuna_and_back(parameter):
    """A value of ours comes back from Optuna's units as it was."""
    axis = axis_of(parameter)
    values = parameter.distribution.sample(np.random.default_rng(0), 50)
    back = [axis.decode(axis.encode(float(value))) for value in values]
    # The quantile function of the normal family is good to about nine digits.
    np.testing.assert_allclose(back, values, rtol=1e-8, atol=1e-8)


def test_normal_parameters_are_proposed_as_their_prior_has_them(propose):
    """Random search through the bridge draws normal parameters from their distribution."""
    new = propose(suggest(RandomSampler(seed=0)), {"x": hp.normal("x", 3, 2)}, Trials(), n=500)
    assert stats.kstest([t["misc"]["vals"]["x"][0] for t in new], stats.norm(3, 2).cdf).pvalue > 1e-3


def test_values_too_small_for_optuna_are_told_as_the_least_it_takes(spy, propose):
    """Optuna's logarithmic floats begin above 0: what underflows to it is told as their lower bound."""
    trials, space = Trials(), {"x": hp.loguniform("x", -800, 0)}
    for raw in (0.0, 1e-318):
        document = propose(rand.suggest, space, trials)[0]
        document["misc"]["vals"]["x"] = [raw]
        finish(document, loss=1.0)
    propose(suggest(spy), space, pickle.loads(pickle.dumps(trials)))
    assert [params["x"] for *_, params, _ in Spy.seen[-1]] == [sys.float_info.min] * 2


@pytest.mark.parametrize("high", [-720, -750])
def test_bounds_too_small_for_optuna_are_refused(propose, high):
    """With all values below Optuna's least, the error names the parameter, its bounds and another way to search it."""
    message = rf"above 2\.23e-308, and of 'x' all are below.*low=-800, high={high}\).*hp\.uniform\('x', -800, {high}\)"
    with pytest.raises(InvalidSpaceError, match=message):
        propose(suggest(RandomSampler(seed=0)), {"x": hp.loguniform("x", -800, high)}, Trials())


def test_parameters_are_asked_for_when_they_are_active(spy, propose):
    """The study gets the parameters of the chosen branch only, those behind a later choice or arithmetic included."""
    shared, c, d = hp.uniform("shared", 0, 1), hp.choice("d", [0, 1]), hp.randint("n", 3)
    space = {
        "a": hp.choice("c", [shared, hp.choice("inner", [hp.normal("y", 0, 1), "z"])]),
        "b": hp.pchoice("p", [(0.5, shared), (0.5, "none")]),
        "e": c,
        "f": d,
    }
    space["g"] = scope.switch(d + 1, "never", hp.uniform("one", 0, 1), hp.uniform("two", 0, 1), "three")
    trials, algo, compiled = Trials(), suggest(spy), Space(space)
    propose(algo, space, trials, n=60)
    propose(algo, space, trials)
    for document, (_, _, _, params, _) in zip(trials.trials, Spy.seen[-1], strict=False):
        raw = {label: values[0] for label, values in document["misc"]["vals"].items() if values}
        assert set(raw) == set(params)
        compiled.evaluate(raw)  # raises where an active parameter has no value
        filled = np.nan_to_num(compiled.row(raw), nan=-1)[None]
        np.testing.assert_array_equal(compiled.activity(filled)[0], ~np.isnan(compiled.row(raw)))
    assert {len(t["misc"]["vals"]["shared"]) for t in trials.trials} == {0, 1}


def test_each_document_is_told_once_and_with_its_end(spy, propose):
    """Running trials are running in the study; done ones have their loss; failed and cancelled ones count as failed."""
    trials, algo = Trials(), suggest(spy)
    done, failed, cancelled, _ = propose(algo, SQUARE, trials, n=4)
    assert [state for _, state, *_ in Spy.seen[3]] == [TrialState.RUNNING] * 3
    finish(done, loss=2.5)
    finish(failed, status=STATUS_FAIL)
    cancelled["state"] = JOB_STATE_CANCEL
    for _ in range(2):
        propose(algo, SQUARE, trials)
    states = [state for _, state, *_ in Spy.seen[4]]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]
    assert Spy.seen[4][0][2] == [2.5]
    assert [trial[:2] for trial in Spy.seen[5][:4]] == [trial[:2] for trial in Spy.seen[4]]
    assert len(Spy.seen[5]) == 5


def test_trials_from_elsewhere_are_known(spy, propose):
    """Loaded trials are in the study with their loss, running or failed; not the cancelled and those out of bounds."""
    trials = Trials()
    old = propose(rand.suggest, SQUARE, trials, n=5)
    finish(old[0], loss=1.0)
    finish(old[1], status=STATUS_FAIL)
    old[2]["state"] = JOB_STATE_CANCEL
    finish(old[3], loss=0.5)
    old[3]["misc"]["vals"]["x0"] = [7.0]
    old[4]["state"] = JOB_STATE_RUNNING
    trials, algo = pickle.loads(pickle.dumps(trials)), suggest(spy)
    propose(algo, SQUARE, trials)
    states = [state for _, state, *_ in Spy.seen[-1]]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert Spy.seen[-1][0][3] == {label: values[0] for label, values in old[0]["misc"]["vals"].items()}
    finish(trials._dynamic_trials[4], loss=3.0)
    propose(algo, SQUARE, trials)
    assert [values for _, state, values, *_ in Spy.seen[-1] if state == TrialState.COMPLETE] == [[1.0], [3.0]]


def test_a_run_goes_on_where_it_stopped(spy):
    """A second fmin over the same trials, and one over pickled trials with the pickled algorithm, know all before."""
    trials, algo = Trials(), suggest(spy)
    fmin(distance, SQUARE, algo=algo, max_evals=5, trials=trials, rstate=0, show_progressbar=False)
    fmin(distance, SQUARE, algo=algo, max_evals=8, trials=trials, rstate=0, show_progressbar=False)
    trials, algo = pickle.loads(pickle.dumps((trials, algo)))
    fmin(distance, SQUARE, algo=algo, max_evals=10, trials=trials, rstate=0, show_progressbar=False)
    assert [len(seen) for seen in Spy.seen] == list(range(10))
    assert [values for _, _, values, *_ in Spy.seen[-1]] == [[loss] for loss in trials.losses()[:9]]


def test_studies_do_not_mix(spy, propose):
    """One algorithm serves two Trials objects in turns, each with a study of its own, which goes with it."""
    first, second, algo = Trials(), Trials(), suggest(spy)
    for trials in (first, second, first):
        propose(algo, SQUARE, trials)
    assert [len(seen) for seen in Spy.seen] == [0, 0, 1]
    assert len(algo._mirrors) == 2
    del first, trials
    assert len(algo._mirrors) == 1


def test_edited_bounds_make_a_new_study(spy, propose):
    """With other bounds the trials that lie within them are told anew, and proposals are within."""
    trials, algo = Trials(), suggest(spy)
    for document in propose(algo, {"x": hp.uniform("x", 0, 10)}, trials, n=20):
        finish(document, loss=1.0)
    kept = sum(t["misc"]["vals"]["x"][0] <= 5 for t in trials.trials)
    new = propose(algo, {"x": hp.uniform("x", 0, 5)}, trials)
    assert 0 < kept == len(Spy.seen[-1]) < 20
    assert new[0]["misc"]["vals"]["x"][0] <= 5


def test_edited_results_make_a_new_study(spy, propose):
    """A loss that the user corrects is corrected in the study, and the sampler does not start its stream again."""
    trials, algo = Trials(), suggest(spy)
    first = propose(algo, SQUARE, trials)[0]
    finish(first, loss=1.0)
    propose(algo, SQUARE, trials)
    first["result"]["loss"] = 9.0
    third = propose(algo, SQUARE, trials)[0]
    assert [values for _, _, values, *_ in Spy.seen[-1]] == [[9.0], None]
    assert third["misc"]["vals"] != first["misc"]["vals"]


def test_proposals_that_were_dropped_do_not_stay_running(spy, propose):
    """A proposal that nobody inserts is no pending trial later."""
    trials, algo = Trials(), suggest(spy)
    algo(trials.new_trial_ids(1), Domain(distance, SQUARE), trials, 0)
    propose(algo, SQUARE, trials)
    assert [state for _, state, *_ in Spy.seen[-1]] == [TrialState.FAIL]


def test_a_grid_ends_the_run():
    """GridSampler and BruteForceSampler try every point once, and fmin ends when none is left."""
    space = {"c": hp.choice("c", ["a", "b"]), "n": hp.quniform("n", 0, 1, 0.5)}
    for sampler in (GridSampler({"c": [0, 1], "n": [0.0, 0.5, 1.0]}), BruteForceSampler(seed=0)):
        trials = Trials()
        fmin(lambda x: x["n"], space, suggest(sampler), max_evals=50, trials=trials, show_progressbar=False)
        points = sorted((t["misc"]["vals"]["c"][0], t["misc"]["vals"]["n"][0]) for t in trials.trials)
        assert points == [(c, n) for c in (0, 1) for n in (0.0, 0.5, 1.0)]


def test_several_losses_make_a_multi_objective_study(spy):
    """Each of the losses is told, and a genetic sampler gets nearer to the front than random search."""
    space = {"x": hp.uniform("x", 0, 1), "y": hp.uniform("y", 0, 1), "z": hp.uniform("z", 0, 1)}

    def objective(p):
        excess = p["y"] + p["z"]
        return {"status": STATUS_OK, "losses": [p["x"] + excess, 1 - p["x"] + excess]}

    def mean_excess(algo, n=150):
        trials = Trials()
        fmin(objective, space, algo, n, trials=trials, rstate=0, return_argmin=False, show_progressbar=False)
        return np.mean([sum(t["result"]["losses"]) - 1 for t in trials.trials[-50:]])

    assert mean_excess(suggest(lambda seed: NSGAIISampler(seed=seed, population_size=20))) < 0.7 * mean_excess(
        rand.suggest
    )
    mean_excess(suggest(spy), 5)
    assert [len(values) for _, _, values, *_ in Spy.seen[-1]] == [2] * 4


@pytest.mark.usefixtures("takes_constraints")
def test_constraints_are_told(spy, propose):
    """result["constraints"] are constraints of the study's trials, proposed or from elsewhere."""
    trials, algo = Trials(), suggest(spy)
    for document in propose(algo, SQUARE, trials) + propose(rand.suggest, SQUARE, trials):
        finish(document, loss=1.0, constraints=[0.5, -1.0])
    propose(algo, SQUARE, trials)
    assert [list(constraints.values()) for *_, constraints in Spy.seen[-1]] == [[0.5, -1.0]] * 2
    assert len(Spy.seen) == 2  # and the study was not made anew on their account


@pytest.mark.usefixtures("takes_constraints")
def test_constraints_that_are_not_known_are_told_as_infinite(spy, propose):
    """NaN, and each constraint that a finished trial does not give: Optuna would take the trial for feasible."""
    trials, algo = Trials(), suggest(spy)
    known, unknown, silent = propose(algo, SQUARE, trials, n=3)
    finish(known, loss=1.0, constraints=[0.5, -1.0])
    finish(unknown, loss=1.0, constraints=[-1.0, math.nan])
    finish(silent, loss=1.0)
    finish(propose(rand.suggest, SQUARE, trials)[0], loss=1.0)
    propose(algo, SQUARE, trials)
    told = [list(constraints.values()) for *_, constraints in Spy.seen[-1]]
    assert told == [[0.5, -1.0], [-1.0, math.inf], [math.inf] * 2, [math.inf] * 2]


@pytest.mark.usefixtures("takes_constraints")
def test_trials_before_the_first_constraints_are_told_anew(spy, propose):
    """They ended when nobody knew of constraints; once some trial has them, they count as violating them."""
    trials, algo = Trials(), suggest(spy)
    finish(propose(algo, SQUARE, trials)[0], loss=1.0)
    finish(propose(algo, SQUARE, trials)[0], loss=1.0, constraints=[-1.0])
    propose(algo, SQUARE, trials)
    assert [list(constraints.values()) for *_, constraints in Spy.seen[-1]] == [[math.inf], [-1.0]]


@pytest.mark.usefixtures("takes_constraints")
@pytest.mark.parametrize("make", [TPESampler, NSGAIISampler, NSGAIIISampler], ids=lambda make: make.__name__)
def test_nan_constraints_are_searched_as_infinite_ones(make):
    """A sampler proposes the same points whether a constraint that is not known is NaN or infinite."""
    options = {} if make is TPESampler else {"population_size": 5}
    points = []
    for unknown in (math.nan, math.inf):

        def objective(x, unknown=unknown):
            return {"status": STATUS_OK, "loss": distance(x), "constraints": [-1.0 if x["x0"] < 0 else unknown]}

        algo, trials = suggest(lambda seed: make(seed=seed, **options)), Trials()
        fmin(objective, SQUARE, algo, 30, trials=trials, rstate=0, show_progressbar=False)
        points.append(trials.vals)
    assert points[0] == points[1]


@pytest.mark.parametrize("wrong", [TPESampler, None, "tpe", 3])
def test_what_is_no_sampler_is_refused(wrong):
    """A class or anything else that is no sampler is an error that shows how to write it."""
    with pytest.raises(InvalidTypeError, match=r"write suggest\(\w+\(\)\)"):
        suggest(wrong)


def test_a_function_that_makes_no_sampler_is_refused(propose):
    """A function must return a sampler."""
    with pytest.raises(InvalidTypeError, match="must return an Optuna sampler, got 0"):
        propose(suggest(lambda seed: 0), SQUARE, Trials())


def test_without_optuna_the_error_says_what_to_install():
    """Importing the bridge without Optuna is an ImportError of ours, with the command to run."""
    code = "import sys; sys.modules['optuna'] = None; import sparktune.bridges.optuna"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError" in run.stderr
    assert "pip install 'sparktune[optuna]'" in run.stderr


def test_the_code_in_the_docs_runs():
    """The blocks of docs/bridges.md run and find what they look for."""
    page = (Path(__file__).parents[3] / "docs/bridges.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["trials"].best_loss < 0.5
    assert names["study"].best_value < 0.1


def test_optuna_is_not_told_to_be_quiet_for_good(propose):
    """Making a study prints nothing, and leaves Optuna's verbosity as it was."""
    before = optuna.logging.get_verbosity()
    propose(suggest(RandomSampler(seed=0)), SQUARE, Trials())
    assert optuna.logging.get_verbosity() == before
