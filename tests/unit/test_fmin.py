"""``fmin``: its arguments, what it returns, and when it ends."""

import functools
import inspect
import os
import pickle
import threading
from collections import Counter

import numpy as np
import pytest
from studies import states

import sparktune
from sparktune import STATUS_FAIL, STATUS_OK, Trials, auto, fmin, hp, partial, pyll, rand, space_eval, tpe
from sparktune.exceptions import (
    AllTrialsFailed,
    BadSearchSpace,
    InvalidArgumentError,
    InvalidLoss,
    InvalidResultStatus,
    InvalidTrial,
    InvalidTypeError,
    SerializationError,
    SparktuneError,
)
from sparktune.fmin import fmin_pass_expr_memo_ctrl, generate_trials_to_calculate
from sparktune.run import saving

X = hp.uniform("x", -5, 5)
CONDITIONAL = hp.choice("kind", [{"n": hp.normal("n", 0, 1)}, {"r": hp.randint("r", 5)}])


def square(x):
    return x**2


def zero(params):
    return 0.0


def minimise(fn=square, space=X, **options):
    """fmin by random search, 5 trials, quiet, unless told otherwise."""
    return fmin(fn, space, **{"algo": rand.suggest, "max_evals": 5, "verbose": False, "rstate": 0, **options})


class Recorder:
    """An objective that keeps what it was called with."""

    def __init__(self, *losses):
        self.seen = []
        self._losses = iter(losses)

    def __call__(self, x):
        self.seen.append(x)
        return next(self._losses, 0.0)


# -- the signature -----------------------------------------------------------------------------------------------------


def test_signature_is_that_of_hyperopt():
    """Arguments have hyperopt's names, order and defaults, for programs pass them by position and inspect them."""
    spec = inspect.getfullargspec(fmin)
    assert (
        spec.args
        == (
            "fn space algo max_evals timeout loss_threshold trials rstate allow_trials_fmin pass_expr_memo_ctrl "
            "catch_eval_exceptions verbose return_argmin points_to_evaluate max_queue_len show_progressbar "
            "early_stop_fn trials_save_file"
        ).split()
    )
    # But for show_progressbar: None follows verbose, so that True shows it with verbose=False too.
    assert spec.defaults == (None,) * 6 + (True, None, False, True, True, None, 1, None, None, "")
    assert not (spec.varargs or spec.varkw)
    assert "storage callbacks direction metric reproducible".split() == spec.kwonlyargs[:5]


def test_arguments_by_position():
    """The first eight arguments can be given by position."""
    trials = Trials()
    fmin(square, X, rand.suggest, 3, 60, -1.0, trials, np.random.default_rng(0), verbose=False)
    assert len(trials) == 3


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_returns_the_raw_values_of_the_best_trial():
    """The result is the best trial's values by label, a choice by index, inactive labels left out."""
    trials = Trials()
    best = minimise(lambda p: p.get("r", 9), CONDITIONAL, trials=trials, max_evals=20)
    assert best == trials.argmin == {"kind": 1, "r": min(v for v in trials.vals["r"])}
    assert isinstance(best["kind"], int)


def test_return_argmin_false_gives_the_value_of_the_space():
    """With return_argmin=False the result is what the objective was called with at the best point."""
    best = minimise(lambda p: p.get("r", 9), CONDITIONAL, max_evals=20, return_argmin=False)
    assert set(best) == {"r"}


@pytest.mark.parametrize("options", [{"max_evals": 0}, {"fn": lambda x: {"status": STATUS_FAIL}}])
def test_return_argmin_false_gives_none_if_there_is_no_best(options):
    """Without any loss, return_argmin=False gives None."""
    assert minimise(return_argmin=False, **options) is None


def test_auto_is_the_default_algorithm():
    """Without algo the run is the one auto.suggest gives."""
    runs = []
    for algo in (None, auto.suggest):
        trials = Trials()
        minimise(algo=algo, trials=trials, max_evals=15)
        runs.append(trials.vals)
    assert runs[0] == runs[1]


def test_objectives_may_tune_themselves():
    """A fmin inside an objective does not disturb the outer one."""
    trials = Trials()
    minimise(lambda x: minimise()["x"], trials=trials)
    assert states(trials) == [2] * 5


# -- how many trials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_evals", [3, 3.0, np.int64(3)])
def test_max_evals_is_the_total(max_evals):
    """A second run with the same trials only runs what is missing to max_evals."""
    trials, objective = Trials(), Recorder()
    minimise(objective, trials=trials, max_evals=2)
    minimise(objective, trials=trials, max_evals=max_evals)
    minimise(objective, trials=trials, max_evals=max_evals)
    assert len(trials) == len(objective.seen) == 3
    assert trials.tids == [0, 1, 2]


@pytest.mark.parametrize("max_evals", ["10", 2.5, float("nan"), -float("inf"), True, [], np.array([3])])
def test_max_evals_of_a_wrong_type(max_evals):
    """max_evals that is not a whole number is a TypeError that names the rule and the value."""
    with pytest.raises(TypeError, match=r"max_evals is a whole number of trials.*got"):
        minimise(max_evals=max_evals)


@pytest.mark.parametrize("max_evals", [None, float("inf"), np.inf])
def test_no_limit_of_trials(max_evals):
    """An algorithm that proposes nothing more ends the run; infinity says what None says."""

    def three(new_ids, domain, trials, seed):
        return [] if len(trials) == 3 else rand.suggest(new_ids, domain, trials, seed)

    trials = Trials()
    minimise(algo=three, trials=trials, max_evals=max_evals)
    assert len(trials) == 3


def test_max_evals_below_zero():
    """A negative max_evals is a ValueError."""
    with pytest.raises(ValueError, match="at least 0, got -1"):
        minimise(max_evals=-1)


@pytest.mark.parametrize("algo", [rand.suggest, partial(tpe.suggest, n_startup_jobs=2)], ids=["rand", "tpe"])
def test_max_queue_len_gives_one_document_per_id(algo):
    """However many proposals are asked for at once, each id gets one document and each runs once."""
    trials = Trials()
    minimise(algo=algo, trials=trials, max_evals=10, max_queue_len=4)
    assert trials.tids == list(range(10))
    assert len(set(trials.vals["x"])) == 10


@pytest.mark.parametrize("max_queue_len", [0, -1, 2.5, "4", None])
def test_max_queue_len_out_of_its_rule(max_queue_len):
    """max_queue_len must be a positive whole number."""
    with pytest.raises(InvalidArgumentError, match="max_queue_len is a whole number"):
        minimise(max_queue_len=max_queue_len)


@pytest.mark.parametrize("nothing", [[], None])
def test_an_algorithm_with_nothing_to_propose_ends_the_run(nothing):
    """A run ends when the algorithm proposes nothing more, and what was found is returned."""
    trials = Trials()

    def three(new_ids, domain, trials, seed):
        return nothing if new_ids[0] >= 3 else rand.suggest(new_ids, domain, trials, seed)

    assert minimise(algo=three, trials=trials, max_evals=50) == trials.argmin
    assert len(trials) == 3


# -- points to evaluate first ------------------------------------------------------------------------------------------

POINTS = [{"x": 2.0}, {"x": -1}, {"x": np.float64(0.5)}]


@pytest.mark.parametrize("make_trials", [lambda: None, Trials], ids=["no trials", "with trials"])
def test_points_come_first_and_on_top_of_max_evals(make_trials):
    """Points are evaluated in their order before any proposal, and do not count for max_evals."""
    objective = Recorder()
    minimise(objective, trials=make_trials(), points_to_evaluate=POINTS, max_evals=2)
    assert objective.seen[:3] == [2.0, -1, 0.5]
    assert len(objective.seen) == 5


@pytest.mark.parametrize(
    ("point", "called_with"),
    [
        ({"kind": 0, "n": 3.5}, {"n": 3.5}),
        ({"kind": 1, "r": 4}, {"r": 4}),
        ({"kind": 1.0, "r": np.int64(4)}, {"r": 4}),
        ({"kind": 1, "r": 4, "n": 0.0}, {"r": 4}),
    ],
)
def test_points_of_a_conditional_space(point, called_with):
    """A point gives choices by index and needs no values for branches that are not chosen."""
    trials, objective = Trials(), Recorder()
    minimise(objective, CONDITIONAL, points_to_evaluate=[point], max_evals=0, trials=trials)
    assert objective.seen == [called_with]
    assert set(trials.argmin) == {"kind", *called_with}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"kind": 0}, r"points_to_evaluate\[1\] needs a value for \['n'\]"),
        ({}, r"needs a value for \['kind'\]"),
        ({"kind": 2}, "'kind' must be a whole number from 0 to 1.*got 2"),
        ({"kind": "a"}, "got 'a'"),
        ({"kind": None}, "got None"),
        ({"kind": 0.5, "n": 1}, "'kind' must be a whole number"),
        ({"kind": 1, "r": 2.5}, "'r' must be a whole number from 0 to 4"),
        ({"kind": 0, "n": float("nan")}, "'n' must be a number.*got nan"),
        ({"kind": 0, "n": float("inf")}, "'n' must be a number.*got inf"),
        ({"kind": 0, "n": [1.0]}, r"got \[1.0\]"),
        ({"kind": 0, "n": 1, "zz": 1}, r"labels the space has not: \['zz'\]"),
    ],
)
def test_points_out_of_the_space(point, message):
    """A point that the space cannot give is refused before any trial, by number, label and value."""
    trials, objective = Trials(), Recorder()
    with pytest.raises(InvalidArgumentError, match=message):
        minimise(objective, CONDITIONAL, points_to_evaluate=[{"kind": 0, "n": 0.0}, point], trials=trials)
    assert not objective.seen
    assert not trials._dynamic_trials


@pytest.mark.parametrize("points", [{"x": 1}, [1.0], ["x"], 5, (point for point in POINTS)])
def test_points_that_are_no_list_of_dicts(points):
    """points_to_evaluate in another shape is refused, with the shape it should have."""
    with pytest.raises(InvalidTypeError, match="a list of dicts"):
        minimise(points_to_evaluate=points)


@pytest.mark.parametrize("wrong", [{"algo": "tpe"}, {"timeout": -1}, {"rstate": "x"}, {"early_stop_fn": 5}])
def test_points_are_not_left_behind_by_a_call_that_is_refused(wrong):
    """A refused argument leaves the trials untouched, so that the corrected call runs each point once."""
    trials, objective = Trials(), Recorder()
    with pytest.raises(SparktuneError):
        minimise(objective, trials=trials, points_to_evaluate=POINTS, **wrong)
    minimise(objective, trials=trials, points_to_evaluate=POINTS, max_evals=0)
    assert objective.seen == [2.0, -1, 0.5]


def test_generate_trials_to_calculate():
    """Trials made of points evaluate these first, on top of max_evals; after a refresh they are among them."""
    objective, trials = Recorder(), generate_trials_to_calculate(POINTS)
    minimise(objective, trials=trials, max_evals=4)
    assert objective.seen[:3] == [2.0, -1, 0.5]
    assert len(objective.seen) == len(trials) == 7
    trials = generate_trials_to_calculate(POINTS)
    trials.refresh()
    minimise(trials=trials, max_evals=4)
    assert len(trials) == 4


@pytest.mark.parametrize("points", [None, 3, "abc", {"x": 1}, [1], [{"x": 1}, ["x"]]])
def test_generate_trials_to_calculate_of_no_list_of_dicts(points):
    """Points in another shape are refused, with the shape they should have."""
    with pytest.raises(InvalidTypeError, match=r"generate_trials_to_calculate takes a list of dicts .*, got"):
        generate_trials_to_calculate(points)


# -- when it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "n"), [(1.0, 4), (2.0, 3), (np.float32(3), 2), (-1, 5)])
def test_loss_threshold_is_strict(threshold, n):
    """The run ends when the best loss is below the threshold; equal goes on."""
    trials = Trials()
    minimise(Recorder(3.0, 2.0, 1.0, 0.0), trials=trials, loss_threshold=threshold)
    assert len(trials) == n


def test_a_threshold_that_was_reached_before_ends_the_run_at_once():
    """A resumed run whose trials are below the threshold already runs none."""
    trials = Trials()
    minimise(trials=trials)
    minimise(trials=trials, max_evals=50, loss_threshold=1e9)
    assert len(trials) == 5


@pytest.mark.parametrize("value", ["a", True, [1]])
def test_loss_threshold_of_a_wrong_type(value):
    """A threshold that is not a number is refused in hyperopt's words."""
    with pytest.raises(InvalidArgumentError, match="The loss_threshold argument should be None or a numeric value"):
        minimise(loss_threshold=value)


def test_timeout_lets_the_running_trial_end_and_starts_no_other():
    """Once the timeout is over no trial is started; the one that ran then is kept."""
    trials = Trials()
    minimise(lambda x: threading.Event().wait(0.02) or x, trials=trials, timeout=0.01)
    assert states(trials) == [2]


@pytest.mark.parametrize("timeout", [1e12, float("inf"), np.float64(60), 60])
def test_timeouts_that_are_far_away(timeout):
    """Any positive number is a timeout, one that no clock can wait for included."""
    trials = Trials()
    minimise(trials=trials, timeout=timeout)
    assert len(trials) == 5


@pytest.mark.parametrize("timeout", [0, -1, "5", True, [1], float("nan")])
def test_timeout_out_of_its_rule(timeout):
    """A timeout that is not positive, or no number, is refused in hyperopt's words."""
    with pytest.raises(InvalidArgumentError, match="The timeout argument should be None or a positive value"):
        minimise(timeout=timeout)


def test_early_stop_keeps_its_state():
    """The rule is called after each result, with the state it returned last."""
    calls = []

    def rule(trials, *state):
        calls.append((len(trials), state))
        return len(calls) == 3, [len(calls), "kept"]

    minimise(early_stop_fn=rule)
    assert calls == [(1, ()), (2, (1, "kept")), (3, (2, "kept"))]


def test_early_stop_cancels_what_is_queued():
    """Proposals that wait when the run is stopped are cancelled, and do not count when it goes on."""
    trials = Trials()
    minimise(trials=trials, max_queue_len=5, early_stop_fn=lambda t: (len(t.losses()) >= 1, []))
    assert states(trials) == [2, 4, 4, 4, 4]
    minimise(trials=trials)
    assert Counter(states(trials)) == {2: 5, 4: 4}


@pytest.mark.parametrize("answer", [False, None, (True,), (False, None), (1, 2, 3)])
def test_early_stop_that_returns_something_else(answer):
    """A rule that does not return (stop, state) is told so, with what it returned."""
    with pytest.raises(InvalidTypeError, match=r"early_stop_fn returns \(stop, state\).*got"):
        minimise(early_stop_fn=lambda trials: answer)


def test_early_stop_that_cannot_be_called():
    """early_stop_fn must be a function."""
    with pytest.raises(InvalidTypeError, match="early_stop_fn must be callable, got 5"):
        minimise(early_stop_fn=5)


# -- objectives that fail ----------------------------------------------------------------------------------------------


def fails_at_two():
    """An objective whose second call raises."""
    calls = []

    def fn(x):
        calls.append(x)
        if len(calls) == 2:
            raise ValueError("the second one")
        return x

    return fn


def test_an_error_ends_the_run_and_is_recorded():
    """Without catch_eval_exceptions the objective's own exception comes out, and its trial is recorded as failed."""
    trials = Trials()
    with pytest.raises(ValueError, match="the second one"):
        minimise(fails_at_two(), trials=trials, max_queue_len=5)
    assert states(trials) == [2, 3, 4, 4, 4]


def test_an_error_that_is_caught_is_recorded():
    """With catch_eval_exceptions the run goes on; the failed trial is hidden but kept, in hyperopt's form."""
    trials = Trials()
    minimise(fails_at_two(), trials=trials, catch_eval_exceptions=True)
    assert states(trials) == [2, 3, 2, 2, 2]
    assert trials.tids == [0, 2, 3, 4]
    failed = trials._dynamic_trials[1]
    assert failed["misc"]["error"] == ("<class 'ValueError'>", "the second one")
    assert 'raise ValueError("the second one")' in failed["misc"]["traceback"]
    assert failed["result"] == {"status": "new"}


def test_the_traceback_points_into_the_objective():
    """The exception that comes out was raised in the objective, and its traceback says where."""
    with pytest.raises(ValueError) as caught:
        minimise(fails_at_two())
    assert caught.traceback[-1].name == "fn"


def test_an_error_whose_text_fails():
    """An exception class with a broken __str__ is recorded like any other."""

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    def fn(x):
        raise Broken

    trials = Trials()
    minimise(fn, trials=trials, catch_eval_exceptions=True, return_argmin=False)
    assert states(trials) == [3] * 5
    assert "Broken" in trials._dynamic_trials[0]["misc"]["error"][1]


def test_all_failed_says_why():
    """If no trial has a loss, the error begins as hyperopt's and shows the first failure with its traceback."""

    def divide(x):
        return x / 0

    with pytest.raises(AllTrialsFailed) as caught:
        minimise(divide, catch_eval_exceptions=True)
    text = str(caught.value)
    assert text.startswith("There are no evaluation tasks, cannot return argmin of task losses.")
    assert "5 trials ended without a loss" in text
    assert "in divide" in text
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("result", "shown"),
    [({"status": STATUS_FAIL, "why": "no data"}, "no data"), (float("nan"), "nan")],
)
def test_all_without_a_loss_says_what_came_back(result, shown):
    """If every trial returned without a loss, the error shows what the first one returned."""
    with pytest.raises(AllTrialsFailed, match=shown):
        minimise(lambda x: result)


def test_no_trial_at_all():
    """max_evals=0 leaves nothing to return, and the error says what to do."""
    with pytest.raises(AllTrialsFailed, match=r"cannot return argmin of task losses\. .*max_evals >= 1"):
        minimise(max_evals=0)


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest], ids=["rand", "tpe"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e308, {"status": STATUS_FAIL, "loss": -100.0}], ids=str)
def test_odd_losses_do_not_stop_the_search(algo, bad):
    """NaN, infinite, huge and failed losses are kept, and the search goes on."""
    trials = Trials()
    minimise(lambda x: bad if x > 0 else x**2, algo=algo, trials=trials, max_evals=30)
    assert states(trials) == [2] * 30
    if bad != -1e308:
        assert trials.argmin["x"] <= 0


# -- what objectives return --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [1, 1.0, True, np.float32(1), np.int64(1), {"status": STATUS_OK, "loss": np.float64(1)}]
)
def test_what_counts_as_a_loss(value):
    """Python and numpy numbers, and booleans, become a float loss with status ok."""
    trials = Trials()
    minimise(lambda x: value, trials=trials)
    assert trials.results[0] == {"loss": 1.0, "status": "ok"}
    assert type(trials.losses()[0]) is float


def test_other_keys_of_a_result_are_kept():
    """What the objective adds to its result stays there; the loss is made a float, in a copy."""
    returned = {"loss": 1, "status": STATUS_OK, "true_loss": 0.5, "model": {"depth": 3}}
    trials = Trials()
    minimise(lambda x: returned, trials=trials)
    assert trials.results[0] == {"loss": 1.0, "status": "ok", "true_loss": 0.5, "model": {"depth": 3}}
    assert type(returned["loss"]) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "did the objective forget to return"),
        (np.array([0.5]), r"got array\(\[0.5\]\).*write .item\(\)"),
        (np.array([1.0, 2.0]), "ndarray"),
        ("0.5", r"got '0.5' \(str\)"),
        ([0.5], "list"),
        ((0.5, STATUS_OK), "tuple"),
        (1j, "complex"),
        ({"status": STATUS_OK}, "needs 'loss'"),
        ({"status": STATUS_OK, "loss": None}, r"got None \(NoneType\).*STATUS_FAIL"),
        ({"status": STATUS_OK, "loss": "bad"}, "got 'bad'"),
    ],
)
def test_what_is_no_loss(value, message):
    """A result without a number where one must be is refused, with what came and what to write."""
    with pytest.raises(InvalidLoss, match=message) as caught:
        minimise(lambda x: value)
    assert caught.value.result is value


@pytest.mark.parametrize(
    ("value", "message"),
    [({"loss": 1}, "needs 'status'"), ({}, "needs 'status'"), ({"status": "okay", "loss": 1}, "got 'okay'")],
)
def test_what_is_no_status(value, message):
    """A result dict without a known status is refused."""
    with pytest.raises(InvalidResultStatus, match=message):
        minimise(lambda x: value)


@pytest.mark.parametrize("fn", [5, None, "objective"])
def test_an_objective_that_cannot_be_called(fn):
    """The objective must be a function."""
    with pytest.raises(InvalidTypeError, match="the objective must be callable, got"):
        minimise(fn)


async def waits(x):
    return x


def yields(x):
    yield x


async def waits_and_yields(x):
    yield x


@pytest.mark.parametrize(
    ("fn", "fix"), [(waits, r"asyncio\.run"), (yields, "use return"), (waits_and_yields, "use return")]
)
def test_an_objective_that_returns_no_result_when_called(fn, fix):
    """An async function and a generator, also as a partial, are refused before the first trial, with the way out."""
    trials = Trials()
    for objective in (fn, functools.partial(fn)):
        with pytest.raises(InvalidTypeError, match=f"the objective must return its result, got .*{fn.__name__}.*{fix}"):
            minimise(objective, trials=trials, catch_eval_exceptions=True)
    assert not trials._dynamic_trials


# -- algorithms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algo", "hint"),
    [("tpe", "tpe.suggest"), (tpe, "tpe.suggest"), (rand, "rand.suggest"), (5, "tpe.suggest")],
)
def test_an_algorithm_that_cannot_be_called(algo, hint):
    """A name or a module in place of its suggest is refused, and the error says what to pass."""
    with pytest.raises(InvalidTypeError, match=f"algo must be callable.*{hint}"):
        minimise(algo=algo)


@pytest.mark.parametrize("proposed", [[1], {"a": 1}, "x"])
def test_an_algorithm_that_proposes_no_documents(proposed):
    """What an algorithm returns must be trial documents."""
    with pytest.raises(InvalidTrial, match="a trial document is a dict, got"):
        minimise(algo=lambda *args: proposed)


def test_partial_keeps_options_and_the_mark():
    """partial() sets options of an algorithm, and keeps an objective's mark."""

    @fmin_pass_expr_memo_ctrl
    def fn(expr, memo, ctrl, shift):
        return pyll.rec_eval(expr, memo=memo) + shift

    trials = Trials()
    best = minimise(partial(fn, shift=100), trials=trials)
    assert trials.best_trial["result"]["loss"] == best["x"] + 100


# -- randomness --------------------------------------------------------------------------------------------------------

RANDOM_STATES = {
    "int": lambda: 3,
    "numpy int": lambda: np.int64(3),
    "SeedSequence": lambda: np.random.SeedSequence(3),
    "RandomState": lambda: np.random.RandomState(3),
    "Generator": lambda: np.random.default_rng(3),
    "BitGenerator": lambda: np.random.PCG64(3),
}


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest], ids=["rand", "tpe"])
@pytest.mark.parametrize("make", RANDOM_STATES.values(), ids=RANDOM_STATES)
def test_the_same_seed_gives_the_same_trials(make, algo):
    """Every kind of random state makes a run repeatable."""
    runs = []
    for _ in range(2):
        trials = Trials()
        minimise(algo=algo, trials=trials, max_evals=15, rstate=make())
        runs.append(trials.vals)
    assert runs[0] == runs[1]


def test_without_a_seed_runs_differ(monkeypatch):
    """rstate=None draws fresh entropy."""
    monkeypatch.delenv("HYPEROPT_FMIN_SEED", raising=False)
    assert minimise(rstate=None) != minimise(rstate=None)


def test_a_generator_goes_on_where_it_is():
    """A Generator is drawn from, not copied: a second run with it differs."""
    rng = np.random.default_rng(0)
    assert minimise(rstate=rng) != minimise(rstate=rng)


def test_seed_from_the_environment(monkeypatch):
    """HYPEROPT_FMIN_SEED is the seed where rstate is None, and not otherwise."""
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "7")
    assert minimise(rstate=None) == minimise(rstate=None) == minimise(rstate=7)
    assert minimise(rstate=8) != minimise(rstate=None)


def test_a_seed_in_the_environment_that_is_no_number(monkeypatch):
    """An error names the variable and its value."""
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "abc")
    with pytest.raises(InvalidArgumentError, match="HYPEROPT_FMIN_SEED is a whole number, got 'abc'"):
        minimise(rstate=None)


@pytest.mark.parametrize("rstate", ["abc", -1, 0.5, object(), np.random])
def test_random_states_that_are_none(rstate):
    """Anything else is refused, with what to write."""
    with pytest.raises(InvalidTypeError, match=r"rstate is a numpy Generator.*default_rng\(0\)"):
        minimise(rstate=rstate)


def test_the_global_random_state_is_left_alone():
    """A run does not draw from numpy's global random state."""
    before = np.random.get_state()[1].tolist()
    minimise(algo=tpe.suggest, max_evals=15)
    assert np.random.get_state()[1].tolist() == before


# -- saving ------------------------------------------------------------------------------------------------------------


def test_save_file_resumes(tmp_path):
    """A run that was cut goes on from its file: finished trials are not run again."""
    path = tmp_path / "trials.pkl"
    with pytest.raises(ValueError):
        minimise(fails_at_two(), trials_save_file=path)
    objective = Recorder()
    minimise(objective, trials_save_file=path)
    trials = pickle.loads(path.read_bytes())
    assert len(objective.seen) == 4
    assert states(trials) == [2, 3, 2, 2, 2, 2]


def test_save_file_is_up_to_date_after_each_trial(tmp_path):
    """While a trial runs, the file holds all that finished before it."""
    path = tmp_path / "trials.pkl"
    counts = []

    def fn(x):
        counts.append(len(pickle.loads(path.read_bytes()).losses()) if path.exists() else 0)
        return x

    minimise(fn, trials_save_file=str(path))
    assert counts == [0, 1, 2, 3, 4]


def test_save_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    """A save that fails half-way leaves the last good file, and nothing beside it."""
    path = tmp_path / "trials.pkl"
    minimise(trials_save_file=path, max_evals=2)
    good = path.read_bytes()
    lock = {"status": STATUS_OK, "loss": 0.0, "lock": threading.Lock()}
    with pytest.raises(SerializationError, match="can be pickled"):
        minimise(lambda x: lock, trials_save_file=path)
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == ["trials.pkl"]


def test_save_file_says_what_was_cancelled(tmp_path):
    """After an interrupt the file has the trials that were cancelled as cancelled, waiting ones too."""
    path, calls = tmp_path / "trials.pkl", []

    def fn(x):
        calls.append(x)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        minimise(fn, trials_save_file=path, points_to_evaluate=[{"x": 0.1 * n} for n in range(4)])
    assert states(pickle.loads(path.read_bytes())) == [2, 4, 4, 4]


def test_large_studies_are_saved_with_what_came_since_beside_the_file(tmp_path, monkeypatch):
    """Beyond some size the pickle is not written after each result, and still nothing is lost when the driver dies."""
    monkeypatch.setattr(saving, "SMALL", 5)
    monkeypatch.setattr(saving, "GROWTH", 10)
    path, found = tmp_path / "trials.pkl", []

    def fn(x):
        if path.exists():
            trials = pickle.loads(path.read_bytes())
            n_in_pickle = len(trials.losses())
            saving.take_up(trials, str(path))
            trials.refresh()
            found.append((n_in_pickle, len(trials.losses())))
        return x

    minimise(fn, trials_save_file=path, max_evals=12)
    assert found == [(min(n, 5), n) for n in range(1, 12)]
    assert len(pickle.loads(path.read_bytes()).losses()) == 12
    assert os.listdir(tmp_path) == ["trials.pkl"]


def test_save_file_takes_objects_of_a_script(tmp_path):
    """Results may hold functions and objects of classes that no module exports."""
    path = tmp_path / "trials.pkl"
    minimise(lambda x: {"status": STATUS_OK, "loss": x, "predict": lambda: x}, trials_save_file=path)
    trials = pickle.loads(path.read_bytes())
    assert trials.results[0]["predict"]() == trials.losses()[0]


def test_save_file_and_points(tmp_path):
    """Each point is evaluated once: in the first run, or after it those that it cancelled when it was cut."""
    path, calls = tmp_path / "trials.pkl", []

    def fn(x):
        calls.append(x)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return x

    options = {"points_to_evaluate": POINTS, "trials_save_file": path, "max_evals": 2}
    with pytest.raises(KeyboardInterrupt):
        minimise(fn, **options)
    minimise(fn, **options)
    assert calls[:4] == [2.0, -1, -1, 0.5]
    assert calls.count(2.0) == 1
    assert len(pickle.loads(path.read_bytes())) == 5
    n_calls = len(calls)
    minimise(fn, **options)
    assert len(calls) == n_calls


def test_save_file_and_points_without_a_limit(tmp_path):
    """Points that are in the file are not evaluated again where max_evals is None, and new ones are."""
    path, objective = tmp_path / "trials.pkl", Recorder()
    options = {"trials_save_file": path, "max_evals": None, "early_stop_fn": lambda trials: (len(trials) >= 4, [])}
    minimise(objective, points_to_evaluate=POINTS, **options)
    minimise(objective, points_to_evaluate=[*POINTS, {"x": 3.0}], **options)
    assert len(objective.seen) == 5
    assert [objective.seen[0], objective.seen[4]] == [2.0, 3.0]
    with pytest.raises(InvalidTypeError, match="a list of dicts"):
        minimise(objective, points_to_evaluate=iter(POINTS), trials_save_file=path)


def test_save_file_and_points_of_annotations(tmp_path):
    """The points that are left are found in a space of annotations as well."""
    calls = []

    def objective(x: X):
        calls.append(x)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return x

    options = {"points_to_evaluate": POINTS, "trials_save_file": tmp_path / "trials.pkl", "max_evals": 0}
    with pytest.raises(KeyboardInterrupt):
        minimise(objective, "annotated", **options)
    minimise(objective, "annotated", **options)
    assert calls == [2.0, 2.0, -1, 0.5]


def test_trials_that_ran_when_the_process_died(tmp_path):
    """Trials that a saved file holds as running are taken for cancelled: their process is gone."""
    path, trials = tmp_path / "trials.pkl", Trials()
    minimise(trials=trials, max_evals=3)
    trials._dynamic_trials[1]["state"] = sparktune.JOB_STATE_RUNNING
    path.write_bytes(pickle.dumps(trials))
    minimise(trials_save_file=path)
    assert states(pickle.loads(path.read_bytes())) == [2, 4, 2, 2, 2, 2]


def _damaged():
    trials = Trials()
    minimise(trials=trials)
    good = pickle.dumps(trials)
    rng = np.random.default_rng(0)
    flipped = bytearray(good)
    for at in rng.integers(len(good), size=8):
        flipped[at] ^= 0xFF
    return [
        b"",
        b"garbage",
        b"hello world\n",
        b"cnope\nnope\n.",
        pickle.dumps(5),
        good[: len(good) // 2],
        bytes(flipped),
    ]


@pytest.mark.parametrize("content", _damaged(), ids=range(7))
def test_save_file_that_cannot_be_read(tmp_path, content):
    """A file that holds no trials is an error that names it, and is left as it is."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(content)
    with pytest.raises(InvalidTrial, match=r"trials_save_file .*trials\.pkl' holds"):
        minimise(trials_save_file=path)
    assert path.read_bytes() == content


def test_save_file_of_hyperopt(tmp_path):
    """A file that hyperopt has pickled is no damaged one: the error says how it can be read."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(b"chyperopt.is_not_here\nTrials\n.")
    with pytest.raises(InvalidTrial, match=r"begin the program with import sparktune\.compat\.hyperopt, or"):
        minimise(trials_save_file=path)


def test_save_file_in_a_directory_that_is_missing(tmp_path):
    """A file that cannot be written is refused before a trial is spent."""
    objective = Recorder()
    with pytest.raises(InvalidArgumentError, match="a directory that exists, got"):
        minimise(objective, trials_save_file=tmp_path / "missing" / "trials.pkl")
    assert not objective.seen


@pytest.mark.parametrize("path", [None, True, 7, b"trials.pickle"])
def test_a_save_file_that_is_no_path(path):
    """A number or None in place of the path is refused before anything is opened: 1 is standard output to open()."""
    with pytest.raises(InvalidTypeError, match=r"trials_save_file is a path, or '' for no file, got "):
        minimise(trials_save_file=path)


# -- trials objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [Trials, [], {}, "trials", 5])
def test_trials_that_are_none(trials):
    """Something else in place of trials, the class itself included, is refused with what to pass."""
    with pytest.raises(InvalidTypeError, match=r"pass Trials\(\)"):
        minimise(trials=trials)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("trials", "trials must be sparktune's, got hyperopt's Own"),
        ("space", "a space is made with sparktune's hp, got nodes of hyperopt's own"),
        ("algo", "algo must be an algorithm of sparktune, got hyperopt.tpe's"),
    ],
)
def test_objects_of_an_installed_hyperopt(argument, text):
    """What another module still imports from hyperopt is refused with what to do, not searched as a constant."""
    module = {"trials": "hyperopt.base", "space": "hyperopt.pyll.base", "algo": "hyperopt.tpe"}[argument]
    own = type("Own", (), {"__module__": module, "fmin": zero, "__call__": zero})()
    wrong = {"trials": own, "space": {"x": own}, "algo": functools.partial(own, gamma=0.2)}[argument]
    objective = Recorder()
    with pytest.raises(SparktuneError, match=f"{text}: change the import in all modules"):
        minimise(objective, **{argument: wrong})
    assert not objective.seen
    if argument == "space":
        with pytest.raises(BadSearchSpace, match="got nodes of hyperopt's own"):
            space_eval(wrong, {})


def test_a_subclass_may_run_fmin_its_own_way():
    """A trials object with its own fmin is asked, and may call back with allow_trials_fmin=False."""

    class Counting(Trials):
        n_runs = 0

        def fmin(self, fn, space, **options):
            self.n_runs += 1
            return fmin(fn, space, allow_trials_fmin=False, trials=self, **options)

    trials = Counting()
    assert minimise(trials=trials) == trials.argmin
    assert (trials.n_runs, len(trials)) == (1, 5)


def test_a_subclass_with_hyperopts_arguments():
    """A subclass whose fmin has exactly hyperopt's arguments runs, points first; what hyperopt has not is refused."""

    class Wrapped(Trials):
        def fmin(
            self,
            fn,
            space,
            algo,
            max_evals,
            timeout,
            loss_threshold,
            max_queue_len,
            rstate,
            verbose,
            pass_expr_memo_ctrl,
            catch_eval_exceptions,
            return_argmin,
            show_progressbar,
            early_stop_fn,
            trials_save_file,
        ):
            from sparktune import fmin

            return fmin(
                lambda x: fn(x) + 1,
                space,
                algo,
                max_evals,
                timeout,
                loss_threshold,
                self,
                rstate,
                allow_trials_fmin=False,
                verbose=verbose,
                return_argmin=return_argmin,
            )

    trials = Wrapped()
    assert minimise(trials=trials) == trials.argmin
    assert trials.losses() == [x**2 + 1 for x in trials.vals["x"]]
    with pytest.raises(InvalidTypeError, match=r"Wrapped\.fmin does not take direction: .*allow_trials_fmin=False"):
        minimise(trials=Wrapped(), direction="maximize")
    # Points are put into the trials before the method is called, which knows nothing of them.
    trials = Wrapped()
    minimise(trials=trials, points_to_evaluate=POINTS, max_evals=2)
    assert trials.vals["x"][:3] == [2.0, -1, 0.5]
    assert len(trials) == 5


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_space_of_annotations(backend):
    """With space="annotated" the annotations are the space, in every backend; values go by the argument."""

    def objective(x: X, kind: hp.choice("kind", ["a", "b"]), scale=2.0):
        return scale * x if kind == "a" else 9.0

    trials = Trials(backend=backend)
    points = [{"x": 1.0, "kind": "a"}, {"x": -4.0, "kind": "b"}]
    best = minimise(objective, "annotated", trials=trials, max_evals=0, points_to_evaluate=points)
    assert best == {"x": 1.0, "kind": 0}
    assert trials.losses() == [2.0, 9.0]
    assert trials.best_params == {"x": 1.0, "kind": "a"}
    assert [record["params_kind"] for record in trials.to_records()] == ["a", "b"]


def test_trials_fmin_has_the_same_default():
    """Trials.fmin without algo runs tpe as well."""
    trials = Trials()
    assert trials.fmin(square, X, max_evals=3) == trials.argmin


# -- expr, memo, ctrl --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_argument", [False, True])
def test_pass_expr_memo_ctrl(by_argument):
    """An objective may evaluate the space itself, if it is decorated or the argument says so."""

    def fn(expr, memo, ctrl):
        return {
            "status": STATUS_OK,
            "loss": 0.0,
            "value": pyll.rec_eval(expr, memo=memo),
            "tid": ctrl.current_trial["tid"],
        }

    trials = Trials()
    options = {"pass_expr_memo_ctrl": True} if by_argument else {}
    minimise(fn if by_argument else fmin_pass_expr_memo_ctrl(fn), CONDITIONAL, trials=trials, **options)
    for document in trials:
        raw = {label: values[0] for label, values in document["misc"]["vals"].items() if values}
        assert document["result"]["value"] == space_eval(CONDITIONAL, raw)
        assert document["result"]["tid"] == document["tid"]


# -- space_eval --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point", [{"kind": 1, "r": 3}, {"kind": [1], "r": (3,), "n": []}, {"kind": np.int64(1), "r": 3}]
)
def test_space_eval_takes_what_fmin_and_documents_give(point):
    """Values may be plain or in one-element lists, with empty lists for inactive labels."""
    assert space_eval(CONDITIONAL, point) == {"r": 3}


@pytest.mark.parametrize(
    ("point", "error", "message"),
    [
        ({"kind": 0}, BadSearchSpace, "needs a value for 'n'"),
        ({"kind": 0, "r": None}, BadSearchSpace, "needs a value for 'n'"),
        ({"kind": [0, 1]}, InvalidTypeError, "one value per label, got 2 for 'kind'"),
        ({"kind": 7}, BadSearchSpace, "got index 7"),
        ({"kind": {"n": 0.5}}, InvalidTypeError, "of hp.choice the option's index, .* got {'n': 0.5} for 'kind'"),
        ({"kind": 0, "n": "much"}, InvalidTypeError, "takes numbers, .* got 'much' for 'n'"),
        (None, InvalidTypeError, "space_eval takes a dict"),
    ],
)
def test_space_eval_out_of_the_space(point, error, message):
    """A point that the space cannot take is refused, by label and value."""
    with pytest.raises(error, match=message):
        space_eval(CONDITIONAL, point)


def test_space_eval_passes_errors_of_the_space_on():
    """An error that no value is to blame for comes out as it is."""
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        space_eval(X + hp.choice("text", ["a", "b"]), {"x": 0.5, "text": 0})
    assert not isinstance(caught.value, SparktuneError)


# -- points by option --------------------------------------------------------------------------------------------------

OPTIONS = {
    "kernel": hp.choice("kernel", ["linear", "rbf", None, (1, 2), {"name": "poly", "degree": hp.randint("degree", 5)}]),
    "flag": hp.choice("flag", [True, False]),
    "size": hp.choice("size", [10, 50, 2]),
}


@pytest.mark.parametrize(
    ("point", "received"),
    [
        ({"kernel": "rbf", "flag": True, "size": 50}, ("rbf", True, 50)),
        ({"kernel": None, "flag": False, "size": 0}, (None, False, 10)),
        ({"kernel": (1, 2), "flag": 0, "size": 2}, ((1, 2), True, 2)),
        ({"kernel": [1, 2], "flag": 1, "size": 1}, ((1, 2), False, 50)),
        ({"kernel": 4, "degree": 3, "flag": np.int64(0), "size": 10}, ({"name": "poly", "degree": 3}, True, 10)),
    ],
)
def test_points_name_options_or_their_indices(point, received):
    """A choice may be given by an option; a number that could be an index is one, True and False are options."""
    seen = []
    fmin(
        lambda value: seen.append((value["kernel"], value["flag"], value["size"])) or 0.0,
        OPTIONS,
        max_evals=0,
        points_to_evaluate=[point],
        verbose=False,
        algo=rand.suggest,
    )
    assert seen == [received]
    assert [type(value) for value in seen[0]] == [type(value) for value in received]


def test_a_point_with_an_option_that_there_is_not():
    """An option that the choice has not is refused, with those it has."""
    with pytest.raises(InvalidArgumentError, match=r"from 0 to 4, .*'linear', 'rbf', None.*got 'sigmoid'"):
        fmin(
            lambda _: 0.0,
            OPTIONS,
            max_evals=1,
            points_to_evaluate=[{"kernel": "sigmoid", "flag": True, "size": 0}],
            verbose=False,
        )
