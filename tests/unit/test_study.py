"""``Study``: asked for points and told results, in any order, from any thread."""

import copy
import pickle
import threading
from functools import partial

import numpy as np
import pytest

from sparktune import (
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
    STATUS_RUNNING,
    STATUS_SUSPENDED,
    Study,
    Trials,
    auto,
    fmin,
    hp,
    rand,
    space_eval,
    tpe,
)
from sparktune.exceptions import (
    AllTrialsFailed,
    BadSearchSpace,
    InvalidArgumentError,
    InvalidLoss,
    InvalidResultStatus,
    InvalidStorage,
    InvalidTrial,
    InvalidTypeError,
    SearchExhausted,
)
from sparktune.trials import SeveralLossesError

X = hp.uniform("x", -5, 5)
NESTED = {
    "model": hp.choice("model", [{"kind": "linear"}, {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}]),
    "cache": hp.choice("cache", [True, False]),
}

# Results that are none, with the error they must raise.
NO_RESULTS = [
    ("text", InvalidLoss),
    ([1.0], InvalidLoss),
    (np.array([1.0]), InvalidLoss),
    (ValueError, InvalidLoss),
    ({"status": STATUS_OK}, InvalidLoss),
    ({"status": STATUS_OK, "loss": None}, InvalidLoss),
    ({"status": STATUS_OK, "losses": [1.0, "a"]}, InvalidLoss),
    ({"loss": 1.0}, InvalidResultStatus),
    ({"status": "perhaps", "loss": 1.0}, InvalidResultStatus),
    ({"status": STATUS_NEW}, InvalidResultStatus),
    ({"status": STATUS_RUNNING, "loss": 1.0}, InvalidResultStatus),
    ({"status": STATUS_SUSPENDED}, InvalidResultStatus),
]


def study_of(space=X, **options):
    """A study by random search, unless told otherwise."""
    return Study(space, **{"algo": rand.suggest, "rstate": 0, **options})


def states(study):
    return [document["state"] for document in study.trials._dynamic_trials]


# -- asking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", [None, rand.suggest, tpe.suggest, auto.suggest])
def test_a_loop_of_ones_own_finds_the_minimum(algo):
    """Asking and telling in a plain loop minimises, with every algorithm."""
    study = Study(X, algo=algo, rstate=0)
    for _ in range(30):
        trial = study.ask()
        study.tell(trial, (trial.params - 1) ** 2)
    assert len(study) == 30
    assert study.best_trial["result"]["loss"] == min(study.trials.losses())
    # Random search alone comes nearer than 1 in 30 draws with a chance of 1 - 0.8**30 > 0.998.
    assert study.best_params == pytest.approx(1, abs=1)


def test_a_trial_says_what_to_evaluate():
    """A trial has the value of the space, options by name, and its document, in Python's own types."""
    study = study_of(NESTED)
    for trial in study.ask(20):
        raw = {label: values[0] for label, values in trial.document["misc"]["vals"].items() if values}
        assert trial.tid == trial.document["tid"]
        assert trial.params == space_eval(NESTED, raw)
        assert trial.named["cache"] is trial.params["cache"]
        assert trial.named["model"] == trial.params["model"]
        assert ("depth" in trial.named) == (trial.params["model"]["kind"] == "tree")
        assert type(trial.named.get("depth", 1)) is int


@pytest.mark.parametrize("n", [1, 5, np.int64(5)])
def test_several_points_at_once(n):
    """ask(n) gives a list of n different points, which are all open."""
    study = study_of()
    trials = study.ask(n)
    assert len({trial.params for trial in trials}) == len(trials) == n
    assert [trial.tid for trial in study.open_trials] == [trial.tid for trial in trials]


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", True, [2]])
def test_a_number_of_points_out_of_its_rule(n):
    """ask refuses what is no number of points, names it, and asks nothing."""
    study = study_of()
    with pytest.raises(InvalidArgumentError, match="at least 1") as caught:
        study.ask(n)
    assert repr(n) in str(caught.value)
    assert len(study) == 0


@pytest.mark.parametrize("algo", [tpe.suggest, auto.suggest])
def test_open_points_are_not_proposed_again(algo):
    """On a finite space, points that are open are not asked a second time."""
    study = study_of(hp.choice("c", list("abcdef")), algo=algo)
    assert sorted(study.ask().params for _ in range(6)) == list("abcdef")


def test_an_algorithm_that_gives_one_point_at_a_time():
    """ask(n) calls an algorithm again that proposes fewer points than it is asked for."""
    study = study_of(algo=lambda ids, domain, trials, seed: rand.suggest(ids[:1], domain, trials, seed))
    assert len({trial.params for trial in study.ask(4)}) == 4


@pytest.mark.parametrize("nothing", [[], None])
def test_an_algorithm_that_comes_to_its_end(nothing):
    """When the algorithm has no more, one point is an error and several are a shorter list."""

    def algo(ids, domain, trials, seed):
        return rand.suggest(ids[: max(0, 3 - len(trials))], domain, trials, seed) or nothing

    study = study_of(algo=algo)
    assert study.ask().tid == 0
    assert len(study.ask(5)) == 2
    assert study.ask(5) == []
    with pytest.raises(SearchExhausted, match="no point left"):
        study.ask()
    with pytest.raises(LookupError):
        study.ask()


@pytest.mark.parametrize(
    ("algo", "error"), [(lambda *_: 1 / 0, ZeroDivisionError), (lambda *_: [{"tid": 0}], InvalidTrial)]
)
def test_an_algorithm_that_fails(algo, error):
    """An algorithm's error comes out of ask, and leaves no trial behind."""
    study = study_of(algo=algo)
    with pytest.raises(error):
        study.ask()
    assert states(study) == []


# -- telling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [2, 2.0, np.float32(2), np.int64(2), {"status": STATUS_OK, "loss": 2}])
def test_results_as_an_objective_gives_them(result):
    """tell takes what an objective may return; the loss is a float."""
    study = study_of()
    study.tell(study.ask(), result)
    assert states(study) == [2]
    assert study.trials.results == [{"status": STATUS_OK, "loss": 2.0}]
    assert type(study.trials.losses()[0]) is float


def test_results_in_any_order():
    """Results belong to the trials they were told of, in whatever order they come."""
    study = study_of()
    trials = study.ask(6)
    for trial in reversed(trials):
        study.tell(trial, trial.params)
    assert study.trials.losses() == study.trials.vals["x"]
    assert study.open_trials == []


@pytest.mark.parametrize("name", [lambda trial: trial, lambda trial: trial.tid, lambda trial: np.int64(trial.tid)])
def test_a_trial_by_its_id(name):
    """tell takes the trial or its tid."""
    study = study_of()
    first, second = study.ask(2)
    study.tell(name(second), 7.0)
    assert states(study) == [1, 2]
    assert [trial.tid for trial in study.open_trials] == [first.tid]


@pytest.mark.parametrize("result", [1.0, None, ValueError("x"), {"status": STATUS_FAIL}, float("nan")])
def test_no_trial_is_told_twice(result):
    """A trial that has ended, in whatever way, is refused, and keeps what it was told first."""
    study = study_of()
    trial = study.ask()
    study.tell(trial, result)
    before = copy.deepcopy(trial.document)
    with pytest.raises(InvalidArgumentError, match=r"is open, got 0, which is (done|error|cancelled) already"):
        study.tell(trial, 2.0)
    assert str(trial.document) == str(before)  # NaN is not equal to itself


@pytest.mark.parametrize("unknown", [99, None, "0", {"tid": 0}, [0]])
def test_trials_that_nobody_asked(unknown):
    """tell refuses what is no trial of the study, and names it."""
    study = study_of()
    study.ask()
    with pytest.raises(InvalidArgumentError, match="that ask gave, or its tid") as caught:
        study.tell(unknown, 1.0)
    assert repr(unknown) in str(caught.value)
    assert states(study) == [1]


def test_a_trial_of_another_study():
    """A trial that another study gave is refused, although its id is open here as well."""
    study, other = study_of(), study_of(rstate=1)
    study.ask()
    with pytest.raises(InvalidArgumentError, match="another study"):
        study.tell(other.ask(), 1.0)
    assert states(study) == [1]


@pytest.mark.parametrize(("result", "error"), NO_RESULTS)
def test_a_trial_with_a_wrong_result_stays_open(result, error):
    """What is no result is refused; the trial stays open and can be told again."""
    study = study_of()
    trial = study.ask()
    with pytest.raises(error):
        study.tell(trial, result)
    assert states(study) == [1]
    study.tell(trial, 1.0)
    assert states(study) == [2]


@pytest.mark.parametrize(
    ("first", "wrong"),
    [
        (1.0, {"status": STATUS_OK, "losses": [1.0, 2.0]}),
        ({"status": STATUS_OK, "losses": [1.0, 2.0]}, 1.0),
        ({"status": STATUS_OK, "losses": [1, 2]}, {"status": STATUS_OK, "losses": [1, 2, 3]}),
        ({"status": STATUS_OK, "loss": 1, "constraints": [0]}, {"status": STATUS_OK, "loss": 1, "constraints": [0, 0]}),
    ],
)
def test_a_trial_with_another_number_of_losses_stays_open(first, wrong):
    """A result with another number of losses or constraints than the others is refused; the trial stays open."""
    study = study_of()
    study.tell(study.ask(), first)
    trial = study.ask()
    with pytest.raises(InvalidLoss, match="the same number of"):
        study.tell(trial, {**wrong, "attachments": {"a": 1}} if isinstance(wrong, dict) else wrong)
    assert states(study) == [2, 1]
    assert study.trials.attachments == {}
    study.tell(trial, first)
    assert states(study) == [2, 2]


def test_a_status_that_is_no_end():
    """The error says which status ends a trial, and what to do until then."""
    study = study_of()
    with pytest.raises(InvalidResultStatus, match="'ok' or 'fail', got 'running': tell it when it has ended"):
        study.tell(study.ask(), {"status": STATUS_RUNNING})
    assert len(study.open_trials) == 1


def test_an_exception_is_a_failed_trial():
    """An exception told is the trial's error, and the study goes on."""
    study = study_of()
    trial = study.ask()
    try:
        raise ZeroDivisionError("of the objective")
    except ZeroDivisionError as error:
        study.tell(trial, error)
    assert states(study) == [3]
    assert trial.document["misc"]["error"] == ("<class 'ZeroDivisionError'>", "of the objective")
    assert "test_an_exception_is_a_failed_trial" in trial.document["misc"]["traceback"]
    with pytest.raises(AllTrialsFailed, match="of the objective"):
        study.best_params  # noqa: B018
    study.tell(study.ask(), 1.0)
    assert study.best_trial["tid"] == 1


def test_none_is_a_trial_that_was_given_up():
    """None cancels a trial: it is no longer open, and nothing is learned from it."""
    study = study_of()
    study.tell(study.ask(), None)
    assert states(study) == [4]
    assert len(study) == 0
    assert study.open_trials == []


def test_a_result_is_a_copy():
    """What becomes of a result dict after tell does not change the trial."""
    study = study_of()
    result = {"status": STATUS_OK, "loss": 1.0, "attachments": {"model": b"m"}}
    trial = study.ask()
    study.tell(trial, result)
    assert result["attachments"] == {"model": b"m"}
    result["loss"] = -5.0
    assert study.trials.losses() == [1.0]
    assert study.trials.trial_attachments(trial.document)["model"] == b"m"
    assert "attachments" not in trial.document["result"]


def test_constraints_and_several_losses():
    """best_trial meets the constraints; with several losses alone there is none."""
    study = study_of()
    for loss, constraint in [(1, 1), (2, -1), (3, 0)]:
        study.tell(study.ask(), {"status": STATUS_OK, "loss": loss, "constraints": [constraint]})
    assert study.best_trial["tid"] == 1
    study = study_of()
    study.tell(study.ask(), {"status": STATUS_OK, "losses": [1, 2]})
    with pytest.raises(SeveralLossesError, match="pareto_front"):
        study.best_params  # noqa: B018


def test_nothing_is_best_before_a_result():
    """Without a result there is no best trial, open ones or not."""
    study = study_of()
    study.ask(2)
    with pytest.raises(AllTrialsFailed):
        study.best_trial  # noqa: B018


# -- points of one's own -----------------------------------------------------------------------------------------------


def test_points_are_asked_first():
    """enqueue puts points before the algorithm's, in their order, by option or index."""
    study = study_of(NESTED)
    study.enqueue({"model": {"kind": "linear"}, "cache": False}, {"model": 1, "depth": 4, "cache": 0})
    study.enqueue({"model": 0, "cache": True})
    first, *others = study.ask(4)
    assert first.params == {"model": {"kind": "linear"}, "cache": False}
    assert others[0].params == {"model": {"kind": "tree", "depth": 4}, "cache": True}
    assert others[1].params == {"model": {"kind": "linear"}, "cache": True}
    assert "seed" not in others[1].document["misc"]
    assert others[2].document["misc"]["search"]["algo"] == "rand"


@pytest.mark.parametrize(
    ("point", "error", "message"),
    [
        ({"y": 1}, InvalidArgumentError, "labels the space has not"),
        ({"x": 9}, InvalidArgumentError, "from -5 to 5, got 9"),
        ({}, InvalidArgumentError, "needs a value for"),
        ([("x", 1)], InvalidTypeError, "got .*: write enqueue"),
    ],
)
def test_points_out_of_the_space(point, error, message):
    """A point that is none is refused, with those beside it."""
    study = study_of()
    with pytest.raises(error, match=message):
        study.enqueue({"x": 1}, point)
    assert states(study) == []


# -- trials from elsewhere ---------------------------------------------------------------------------------------------


def test_a_study_goes_on_with_what_fmin_did():
    """A study over the trials of an fmin run knows its results, and with the same seed asks new points."""
    trials = Trials()
    fmin(lambda x: x**2, X, rand.suggest, 5, trials=trials, rstate=0, verbose=False)
    study = study_of(trials=trials)
    assert len(study) == 5
    assert study.best_params == trials.best_params
    trial = study.ask()
    assert trial.tid == 5
    assert trial.params not in trials.vals["x"][:5]


def test_fmin_goes_on_with_what_a_study_did():
    """fmin over a study's trials counts them, leaves open ones open, and these can still be told."""
    study = study_of()
    for trial in study.ask(3):
        study.tell(trial, trial.params**2)
    trial = study.ask()
    best = fmin(lambda x: x**2, X, rand.suggest, 10, trials=study.trials, rstate=0, verbose=False)
    assert states(study) == [2, 2, 2, 1] + [2] * 6
    assert best == study.trials.argmin
    study.tell(trial, -1.0)
    assert study.best_trial["tid"] == trial.tid


def test_a_study_goes_on_in_another_process():
    """Trials keep all there is to a study: pickled, and given to another one, open trials can be told there."""
    study = study_of()
    study.tell(study.ask(), 1.0)
    trial = study.ask()
    other = study_of(trials=pickle.loads(pickle.dumps(study.trials)))
    assert [(opened.tid, opened.params) for opened in other.open_trials] == [(trial.tid, trial.params)]
    other.tell(trial.tid, 0.5)
    assert other.best_params == trial.params
    assert other.ask().params not in [t.params for t in (trial, study.ask())][:1]


def test_a_study_can_be_pickled():
    """The copy goes on alike, by itself."""
    study = study_of(algo=tpe.suggest)
    study.tell(study.ask(), 1.0)
    trial = study.ask()
    copied = pickle.loads(pickle.dumps(study))
    copied.tell(trial, 0.5)
    assert (states(copied), states(study)) == ([2, 2], [2, 1])
    assert copied.ask().params == study.ask().params


def test_only_documents_of_the_same_key_are_asked():
    """Over Trials with an exp_key, a study sees and asks its own documents only."""
    trials = Trials(exp_key="mine")
    study = study_of(trials=trials)
    other = study_of(trials=trials.view("yours"))
    other.enqueue({"x": 1.0})
    assert study.ask().params != 1.0
    assert other.ask().params == 1.0
    assert len(study) == len(other) == 1


def test_trials_that_keep_copies():
    """A subclass that stores copies of documents is told through the stored ones."""

    class Copies(Trials):
        def _insert_trial_docs(self, docs):
            return super()._insert_trial_docs(copy.deepcopy(docs))

    study = study_of(trials=Copies())
    study.enqueue({"x": 2.0})
    for trial in study.ask(3):
        study.tell(trial, trial.params)
    assert study.trials.losses() == study.trials.vals["x"]
    assert study.trials.losses()[0] == 2.0


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rstate": "x"}, InvalidTypeError, "rstate is a numpy Generator"),
        ({"algo": rand}, InvalidTypeError, r"pass sparktune\.rand\.suggest"),
        ({"algo": "tpe"}, InvalidTypeError, "algo must be callable"),
        ({"trials": Trials}, InvalidTypeError, r"pass Trials\(\)"),
        ({"trials": []}, InvalidTypeError, r"pass Trials\(\)"),
        ({"direction": "up"}, InvalidArgumentError, '"minimize" or "maximize"'),
        ({"metric": 5}, InvalidTypeError, "metric is a key"),
        ({"space": "annotated"}, InvalidArgumentError, "no objective.*pass the space"),
        ({"space": [hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)]}, BadSearchSpace, "x: this label"),
    ],
)
def test_arguments_out_of_their_rule(arguments, error, message):
    """Arguments are checked when the study is made; the error says the rule."""
    with pytest.raises(error, match=message):
        study_of(**arguments)


def test_a_metric_to_be_maximised():
    """With a metric and a direction, tell takes dicts without a status, and the best is the highest."""
    study = study_of(metric="auc", direction="maximize")
    for auc in (0.5, 0.9, 0.7):
        study.tell(study.ask(), {"auc": auc})
    assert study.best_trial["result"] == {"status": STATUS_OK, "auc": 0.9, "loss": -0.9}
    trial = study.ask()
    with pytest.raises(InvalidLoss, match=r"metric=\['auc'\].*got \['acc'\]"):
        study.tell(trial, {"acc": 1.0})
    study.tell(trial, {"auc": 1.0})
    assert study.best_params == trial.params


# -- threads -----------------------------------------------------------------------------------------------------------


def run_in_threads(function, n):
    """Call in n threads at once; raises what any of them raised."""
    barrier, errors = threading.Barrier(n), []

    def run():
        try:
            barrier.wait(60)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest, auto.suggest])
def test_threads_ask_and_tell_at_once(algo):
    """Threads that ask and tell at once get different trials, and every result arrives at its own."""
    study = study_of(algo=algo)

    def work():
        for _ in range(6):
            trial = study.ask()
            study.open_trials  # noqa: B018
            study.tell(trial, trial.params)

    run_in_threads(work, 6)
    assert sorted(study.trials.tids) == list(range(36))
    assert states(study) == [2] * 36
    assert study.trials.losses() == study.trials.vals["x"]


def test_one_of_many_threads_tells():
    """When threads tell the same trial, one of them succeeds and the others hear that it is done."""
    study = study_of()
    trial, told, refused = study.ask(), [], []

    def tell():
        try:
            study.tell(trial, 1.0)
            told.append(1)
        except InvalidArgumentError:
            refused.append(1)

    run_in_threads(tell, 8)
    assert (len(told), len(refused)) == (1, 7)


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_stored_study_is_loaded_and_goes_on(tmp_path):
    """Space and algorithm come from the storage, and what is told goes there; with the same seed it is one search."""
    space = {"x": hp.uniform("x", -5, 5), "k": hp.choice("k", ["a", "b"])}
    path = tmp_path / "study"

    def go_on(study, n):
        for _ in range(n):
            trial = study.ask()
            study.tell(trial, trial.params["x"] ** 2)

    with Study(space, partial(tpe.suggest, n_startup_jobs=5), rstate=4, storage=path) as study:
        go_on(study, 12)
    with Study.load(path, rstate=4) as study:
        assert len(study) == 12
        go_on(study, 6)
    whole = Study(space, partial(tpe.suggest, n_startup_jobs=5), rstate=4)
    go_on(whole, 18)
    stored = Trials.load(path)
    assert stored.vals == whole.trials.vals
    assert stored.best_params == whole.best_params


REFUSED = "goes on with what it optimises"


def test_a_study_goes_on_with_what_it_optimises(tmp_path):
    """Direction and metric are stored; to have them another way would take the worst trials for the best."""
    path = tmp_path / "study.jsonl"
    with Study(X, rstate=0, storage=path, direction="maximize", metric="auc") as study:
        study.tell(study.ask(), {"auc": 1.0})
    with Study.load(path) as study:
        study.tell(study.ask(), {"auc": 5.0})
        assert study.trials.losses() == [-1.0, -5.0]
    with pytest.raises(
        InvalidArgumentError, match=r"got direction='minimize'.* with direction='maximize', metric='auc'"
    ):
        Study.load(path, direction="minimize")
    for direction in ("", []):
        with pytest.raises(InvalidArgumentError, match="direction"):
            Study.load(path, direction=direction)
    with pytest.raises(InvalidArgumentError, match=REFUSED):
        fmin(abs, X, max_evals=3, storage=path)
    with Study.load(path, direction="maximize", metric="accuracy") as study:  # a new name for it
        study.tell(study.ask(), {"accuracy": 2.0})


def test_a_trials_object_goes_on_with_what_it_optimises(tmp_path):
    """Also one that was pickled, or read from a storage; and a call that failed changes nothing."""
    options = {"algo": rand.suggest, "show_progressbar": False}
    trials = Trials()
    fmin(abs, X, max_evals=2, trials=trials, direction="maximize", **options)
    trials.save(tmp_path / "saved.jsonl")
    for again in (trials, pickle.loads(pickle.dumps(trials)), Trials.load(tmp_path / "saved.jsonl")):
        with pytest.raises(InvalidArgumentError, match=REFUSED):
            fmin(abs, X, max_evals=4, trials=again, **options)
        fmin(abs, X, max_evals=3, trials=again, direction="maximize", **options)
    with Study.load(tmp_path / "saved.jsonl") as study:
        study.tell(study.ask(), 4)
        assert study.trials.losses()[2] == -4


def test_a_pickle_of_an_earlier_version_goes_on_with_what_it_optimises(tmp_path):
    """There goal and runs are attributes of the object."""
    options = {"algo": rand.suggest, "show_progressbar": False}
    fmin(abs, X, max_evals=2, storage=tmp_path / "study.jsonl", direction="maximize", **options)
    stored = Trials.load(tmp_path / "study.jsonl")
    state = stored.__getstate__()
    past = state.pop("_past")
    again = Trials.__new__(Trials)
    again.__setstate__({**state, "_goal": past.goal, "_read_runs": past.read, "_trusts": past.trusts})
    assert again._past.runs == stored._past.runs != []
    assert again.__dict__.keys() == pickle.loads(pickle.dumps(stored)).__dict__.keys()
    with pytest.raises(InvalidArgumentError, match=REFUSED):
        fmin(abs, X, max_evals=3, trials=again, **options)
    fmin(abs, X, max_evals=3, trials=again, direction="maximize", **options)


def test_another_object_may_have_begun_anew(tmp_path):
    """The storage says what is optimised there, not the object that was there before."""
    options = {"algo": rand.suggest, "show_progressbar": False}
    first = Trials(storage=tmp_path / "study.jsonl")
    fmin(abs, X, max_evals=2, trials=first, **options)
    second = Trials(storage=tmp_path / "study.jsonl")
    second.delete_all()
    fmin(abs, X, max_evals=2, trials=second, direction="maximize", **options)
    with pytest.raises(InvalidArgumentError, match=REFUSED):
        fmin(abs, X, max_evals=3, trials=first, **options)
    fmin(abs, X, max_evals=3, trials=first, direction="maximize", **options)


def test_without_a_loss_there_is_nothing_to_go_on_with(tmp_path):
    """Who has forgotten the metric, so that all has failed, may name it."""
    path = tmp_path / "study.jsonl"
    with Study(X, storage=path) as study:
        study.tell(study.ask(), ValueError("which?"))
    with Study.load(path, direction="maximize", metric="auc") as study:
        study.tell(study.ask(), {"auc": 1.0})


def test_metrics_keep_their_order():
    """The same names in another order would put the numbers of one beside those of another."""
    study = Study(X, metric=["a", "b"])
    study.tell(study.ask(), {"a": 1, "b": 100})
    with pytest.raises(InvalidArgumentError, match=r"metric=\['b', 'a'\].* with .*metric=\['a', 'b'\]"):
        Study(X, trials=study.trials, metric=["b", "a"])


def test_a_storage_that_does_not_say(tmp_path):
    """Of a study whose run has no goal nobody knows the direction: what the caller says holds."""
    path = tmp_path / "study.jsonl"
    with Study(X, storage=path, direction="maximize") as study:
        study.tell(study.ask(), 1.0)
    trials = Trials.load(path)
    for run in trials._past.read:
        del run["goal"]
    trials.save(path)
    fmin(abs, X, max_evals=2, storage=path, algo=rand.suggest, direction="maximize", show_progressbar=False)
    assert max(Trials.load(path).losses()) <= 0


def test_what_a_stored_study_has_not_must_be_given(tmp_path):
    """Without a study, or with an algorithm that is not sparktune's, an error says what to give."""
    with pytest.raises(InvalidStorage, match="has no study"):
        Study.load(tmp_path / "none")
    with Study(hp.uniform("x", 0, 1), lambda *args: rand.suggest(*args), storage=tmp_path / "study") as study:
        study.tell(study.ask(), 1.0)
    with pytest.raises(InvalidArgumentError, match="has to be given"):
        Study.load(tmp_path / "study")
    with Study.load(tmp_path / "study", algo=rand.suggest) as study:
        assert len(study) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"rstate": "bad"}, InvalidTypeError), ({"warm_start": 3}, InvalidTypeError)],
    ids=["rstate", "warm start"],
)
def test_a_study_that_could_not_be_made_holds_no_storage(tmp_path, wrong, error):
    """After a wrong argument others can write the study's storage."""
    trials = Trials(storage=tmp_path / "study.jsonl")
    with pytest.raises(error):
        study_of(trials=trials, **wrong)
    assert not trials._keeper.is_open
    with study_of(storage=tmp_path / "study.jsonl") as study:
        study.tell(study.ask(), 1.0)
    with study_of(trials=Trials(storage=tmp_path / "study.jsonl")) as study:
        with pytest.raises(error):
            study_of(trials=study.trials, **wrong)
        study.tell(study.ask(), 2.0)  # the first one still holds it
    assert Trials.load(tmp_path / "study.jsonl").losses() == [1.0, 2.0]


def test_a_copy_knows_its_space_and_what_is_set_aside():
    """A pickled study answers as the study does, and learns from the same trials."""
    trials = Trials()
    fmin(lambda x: x * x, X, rand.suggest, 20, trials=trials, rstate=0, show_progressbar=False)
    study = study_of(hp.uniform("x", 3, 5), trials=trials)
    copied = pickle.loads(pickle.dumps(study))
    assert copied.best_params == study.best_params
    assert copied.trials.n_finished == study.trials.n_finished < 20


def test_enqueue_speaks_of_what_it_was_given():
    """A list of points, what is no point, and a point outside of the space, are errors that name enqueue."""
    study = Study(X)
    with pytest.raises(InvalidTypeError, match=r"enqueue takes points.*\* before the list"):
        study.enqueue([{"x": 0.5}])
    with pytest.raises(InvalidTypeError, match=r"enqueue takes points.*got 5"):
        study.enqueue(5)
    with pytest.raises(InvalidArgumentError, match=r"point 1 given to enqueue has labels.*\['y'\]"):
        study.enqueue({"x": 0.5}, {"y": 0.5})
    assert len(study) == 0


def test_a_function_in_place_of_the_space_is_noticed(caplog):
    """A space without parameters gives one point again and again, and the log says so, once."""
    study = Study(lambda x: x)
    study.ask(3)
    (record,) = caplog.records
    assert "the space has no parameter" in record.getMessage()
    assert "got the function" in record.getMessage()
