"""Searches that begin with earlier results of another space."""

import itertools
import logging
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from searches import NEW, OLD, X, minimum, square

from sparktune import STATUS_FAIL, STATUS_OK, Domain, Study, Trials, anneal, auto, compat, fmin, gp, hp, rand, tpe
from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, InvalidStorage, InvalidTypeError
from sparktune.exchange import from_csv, from_dataframe, from_documents, from_storage, from_trials
from sparktune.exchange.warm_start import borrow
from sparktune.storage.journal import Journal


def own(trials):
    return [trial for trial in trials.trials if "warm_start" not in trial["misc"]]


@pytest.fixture(scope="module")
def old():
    """A study over the old space, not to be changed."""
    return minimum(OLD, 30)


@pytest.mark.parametrize("algo", [auto.suggest, tpe.suggest, gp.suggest, anneal.suggest, rand.suggest])
def test_every_algorithm_copes_with_incomplete_trials(old, algo):
    """A search over another space runs with earlier trials that lack a value, and so do importances and explain."""
    trials = minimum(NEW, 15, algo, warm_start=old)
    assert len(own(trials)) == 15
    assert {len(trial["misc"]["vals"]["new"]) for trial in own(trials)} == {1}
    assert set(trials.importances()) == {"x", "model", "new"}
    assert str(trials.explain(own(trials)[-1]["tid"]))


@pytest.mark.parametrize("algo", [auto.suggest, tpe.suggest, gp.suggest, anneal.suggest])
def test_the_search_begins_where_the_earlier_one_ended(algo):
    """With 40 earlier trials over narrower bounds the first five are better, on the median of some seeds."""

    def search(low, high, n, seed, warm_start=None):
        space = {label: hp.uniform(label, low, high) for label in "xyz"}
        trials, options = Trials(), {"rstate": seed, "show_progressbar": False, "warm_start": warm_start}
        fmin(lambda p: sum((value - 1) ** 2 for value in p.values()), space, algo, n, trials=trials, **options)
        return trials

    earlier = search(-4, 4, 40, 0)
    cold = [search(-5, 5, 5, seed).best_loss for seed in range(5)]
    warm = [search(-5, 5, 5, seed, earlier).best_loss for seed in range(5)]
    assert np.median(warm) < 0.5 * np.median(cold)


def test_marked_and_explained_in_one_line(old, caplog):
    """Earlier trials say where from, under which id, and what was left out; one line says it for all."""
    with caplog.at_level(logging.INFO, "sparktune"):
        trials = minimum(NEW, 1, warm_start=from_trials(old, name="last week"))
    n_used = sum(trial["misc"]["vals"]["x"][0] >= -3 for trial in old.trials)
    (line,) = [record.getMessage() for record in caplog.records if "warm start" in record.getMessage()]
    assert line == (
        f"warm start from last week: {n_used} of 30 trials; labels matched: model, x; without a value: new; left out: "
        f"gone (not in this space); trials left out: {30 - n_used} with x out of bounds"
    )
    first = next(trial for trial in old.trials if trial["misc"]["vals"]["x"][0] >= -3)
    mark = trials.trials[0]["misc"]["warm_start"]
    assert (mark["from"], mark["id"]) == ("last week", first["tid"])
    assert mark["left_out"] == {"gone": first["misc"]["vals"]["gone"][0]}
    assert trials.trials[0]["result"] == {"status": STATUS_OK, "loss": first["result"]["loss"]}
    names = {0: 2, 1: 1}  # a and b
    assert trials.trials[0]["misc"]["vals"]["model"] == [names[first["misc"]["vals"]["model"][0]]]


@pytest.mark.parametrize("as_", ["table", "another search's trials", "a study that goes on"])
def test_trials_without_a_label_of_the_space_say_nothing(as_, tmp_path, caplog):
    """A table whose columns are misspelled, the trials of another search: the search begins as if there were none."""
    foreign = minimum({"depth": hp.randint("depth", 9), "x": X}, n=20)
    foreign.to_csv(tmp_path / "t.csv")
    space = {"lr": hp.uniform("lr", 0, 1)}
    given = {
        "table": {"warm_start": str(tmp_path / "t.csv")},
        "another search's trials": {"warm_start": foreign},
        "a study that goes on": {"trials": foreign},
    }[as_]
    trials = given.get("trials", Trials())
    n = 3 + 20 * (as_ == "a study that goes on")
    fmin(lambda p: p["lr"], space, tpe.suggest, n, rstate=0, **{"trials": trials, **given}, show_progressbar=False)
    assert trials.history(["lr"]).n_finished == 3
    assert "20 with no label of this space" in caplog.text


def test_they_do_not_count_and_none_is_the_best(old):
    """max_evals, the best trial, the Pareto front, thresholds and a second fmin see the study's own trials only."""
    easy = from_documents([{**trial, "result": {"status": STATUS_OK, "loss": -100.0}} for trial in old.trials])
    trials = minimum(OLD, 5, warm_start=easy, loss_threshold=-50)
    assert (len(trials), len(own(trials))) == (35, 5)
    assert trials.best_loss == min(trial["result"]["loss"] for trial in own(trials)) > -1
    assert trials.best_trial in own(trials)
    assert trials.pareto_front == [trials.best_trial]
    assert trials.front_losses.tolist() == [[trials.best_loss]]
    assert len(own(minimum(OLD, 8, trials=trials))) == 8


def test_without_a_trial_of_its_own_there_is_no_best_one(old):
    """Earlier trials alone are no result."""
    study = Study(OLD, warm_start=old)
    with pytest.raises(AllTrialsFailed, match="No trial was run"):
        _ = study.best_trial


def test_without_a_loss_of_its_own_there_is_no_answer(old):
    """Where all own trials fail, ``return_argmin=False`` gives None as without a warm start, and argmin says why."""
    options = {"max_evals": 2, "warm_start": old, "show_progressbar": False}

    def failing(_):
        return {"status": STATUS_FAIL}

    assert fmin(failing, OLD, rand.suggest, trials=Trials(), return_argmin=False, **options) is None
    with pytest.raises(AllTrialsFailed):
        fmin(failing, OLD, rand.suggest, trials=Trials(), **options)


def test_no_volume_is_theirs():
    """The reference point of the hypervolume, and the true loss of the best, are of the study's own trials."""

    def two(offset):
        return lambda x: {"status": STATUS_OK, "losses": [offset + x * x, offset + (x - 1) ** 2]}

    def run(objective, **options):
        trials = Trials()
        fmin(objective, X, rand.suggest, 12, rstate=0, trials=trials, show_progressbar=False, **options)
        return trials

    far = run(two(1000.0))
    near = run(two(0.0), warm_start=far)
    copied = Trials()
    copied.insert_trial_docs(own(near))
    copied.refresh()
    assert near.hypervolume() == copied.hypervolume()
    low = from_documents([{**trial, "result": {"status": STATUS_OK, "loss": -100.0}} for trial in minimum(n=5).trials])
    alone = minimum(n=5, warm_start=low)
    assert alone.average_best_error() == alone.best_loss > -1


def test_progress_counts_own_trials(old):
    """It begins at 0 with a warm start, also where bounds have been narrowed since and trials are set aside."""
    shown = []

    class Bar:
        postfix = ""

        def __init__(self, initial, total):
            shown.append((initial, total))

        __exit__ = update = lambda *_: None

        def __enter__(self):
            return self

    trials = minimum(X, 1, rand.suggest, warm_start=minimum(X, 30))
    n_outside = sum(not 3 <= trial["misc"]["vals"]["x"][0] <= 5 for trial in own(trials))
    minimum(hp.uniform("x", 3, 5), 4, trials=trials, show_progressbar=Bar)
    assert shown == [(1 - n_outside, 4 - n_outside)]


def test_several_sources_and_none_twice(old):
    """Several sources add up, and a trial that is there already is not added, from whichever source."""
    more = minimum(OLD, 5, rstate=1)
    study = Study(OLD, warm_start=[old, more, old])
    assert len(study) == 35
    chained = Study(OLD, warm_start=[study.trials, old])
    assert len(chained) == 35
    assert len(Study(OLD, warm_start=old.trials)) == 30
    assert len(Study(OLD, warm_start=[])) == 0


def test_a_trial_is_known_by_where_it_was_first(old):
    """Through another study, with another id there, it is the same trial still, and says where it is from."""
    study = Study(OLD, warm_start=[minimum(OLD, 5, rstate=1), from_trials(old, name="first")])
    chained = Study(OLD, warm_start=[from_trials(study.trials, name="second"), old])
    marks = [trial["misc"]["warm_start"] for trial in chained.trials.trials]
    assert len(marks) == 35
    assert [(mark["from"], mark["id"]) for mark in marks[5:]] == [("first", tid) for tid in old.tids]


def test_earlier_trials_that_are_alike_are_no_reason_to_warn(caplog):
    """Where results here have as many constraints, nobody has to look."""

    def constrained():
        study = Study(X, rand.suggest)
        study.tell(study.ask(), {"loss": 1.0, "status": STATUS_OK, "constraints": [-1.0]})
        return study.trials

    trials = constrained()
    with caplog.at_level(logging.INFO, "sparktune"):
        borrow(trials, constrained(), Domain(None, X))
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("kind", ["storage", "trials_save_file", "trials"])
def test_a_restart_does_not_add_them_twice(old, tmp_path, kind):
    """A study that goes on with the same warm start has its trials once, and max_evals counts its own."""
    trials = Trials() if kind == "trials" else None
    kept = {} if kind == "trials" else {kind: tmp_path / "study"}
    for n in (3, 6):
        fmin(square, OLD, rand.suggest, n, trials=trials, rstate=0, show_progressbar=False, warm_start=old, **kept)
    found = {
        "storage": lambda: Trials.load(tmp_path / "study"),
        "trials_save_file": lambda: compat.load(tmp_path / "study"),
        "trials": lambda: trials,
    }[kind]()
    assert len(found) - len(own(found)) == 30
    assert kind == "trials_save_file" or len(own(found)) == 6


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "in a storage"])
def test_a_borrowed_point_can_be_evaluated_anew(old, tmp_path, kept):
    """The best point of the earlier study, given as the first to try, is tried; after a restart not again."""
    best = old.argmin
    options = {"storage": tmp_path / "study"} if kept else {}
    for _ in range(2):
        found = minimum(OLD, 0, warm_start=old, points_to_evaluate=[best], **options)
        assert [trial["misc"]["vals"] for trial in own(found)] == [{label: [x] for label, x in best.items()}]


def test_a_stored_study_as_a_source(old, tmp_path):
    """A path reads a stored study with its space, so that options are recognised; another one is an error."""
    old.save(tmp_path / "old.journal")
    read = Study(NEW, warm_start=str(tmp_path / "old.journal")).trials
    direct = Study(NEW, warm_start=old).trials
    assert [t["misc"]["vals"] for t in read.trials] == [t["misc"]["vals"] for t in direct.trials]
    opened = Study(NEW, warm_start=from_storage(Journal(tmp_path / "old.journal"))).trials
    assert [t["misc"]["vals"] for t in opened.trials] == [t["misc"]["vals"] for t in direct.trials]
    with pytest.raises(InvalidStorage, match="has no study"):
        Study(NEW, warm_start=str(tmp_path / "nothing"))


def test_a_stored_study_of_several_spaces(tmp_path):
    """Of a stored study whose space was edited, each trial is read in the space that it was made in."""
    for n, options in ((3, ["a", "b"]), (6, ["b", "c", "a"])):
        minimum({"x": X, "c": hp.choice("c", options)}, n, trials=Trials(storage=tmp_path / "study"))
    spaces = [row.space for row in from_storage(tmp_path / "study").rows]
    assert [len(space.parameters[0].node.arg["obj"].inputs()) for space in spaces] == [1] * 6
    assert len({id(space) for space in spaces[:3]}) == len({id(space) for space in spaces[3:]}) == 1
    assert spaces[0] is not spaces[3]


def test_pickles_are_not_opened_unasked(old, tmp_path):
    """A pickle's path is an error that says what to write, for it could run code."""
    (tmp_path / "trials.pkl").write_bytes(pickle.dumps(old))
    with pytest.raises(InvalidArgumentError, match=r"compat\.load\(path\)"):
        Study(OLD, warm_start=tmp_path / "trials.pkl")
    assert len(Study(OLD, warm_start=compat.load(tmp_path / "trials.pkl"))) == 30


def test_failed_and_unfinished_trials(caplog):
    """Failed trials are failed, and those that run or were given up are left out and counted."""
    study = Study(X, rand.suggest, rstate=0)
    done, failed, raised, given_up, _ = study.ask(5)
    study.tell(done, 1.0)
    study.tell(failed, {"status": STATUS_FAIL})
    study.tell(raised, ValueError("no"))
    study.tell(given_up, None)
    with caplog.at_level(logging.INFO, "sparktune"):
        found = Study(X, warm_start=study.trials).trials
    assert [trial["result"]["status"] for trial in found.trials] == [STATUS_OK, STATUS_FAIL, STATUS_FAIL]
    assert "3 of 3 trials (2 failed, 2 more unfinished)" in caplog.text


def test_values_that_a_new_parameter_had(old):
    """with_values says what a parameter was before it was one, so that earlier trials are whole points."""
    study = Study(NEW, warm_start=from_trials(old).with_values(new=0.25))
    assert {tuple(trial["misc"]["vals"]["new"]) for trial in study.trials.trials} == {(0.25,)}


def test_several_losses_and_constraints():
    """Losses and constraints come along, and trials with another number of losses are refused."""
    study = Study(X, rand.suggest, rstate=0, metric=["a", "b"], direction=["minimize", "maximize"])
    for trial in study.ask(3):
        study.tell(trial, {"a": trial.params, "b": 2.0, "constraints": [-1.0]})
    options = {"metric": ["a", "b"], "direction": ["minimize", "maximize"]}
    found = Study(X, warm_start=study.trials, **options).trials
    assert [trial["result"]["losses"][1] for trial in found.trials] == [-2.0] * 3
    assert [trial["result"]["constraints"] for trial in found.trials] == [[-1.0]] * 3
    with pytest.raises(InvalidArgumentError, match=r"the same number of losses, here 1, got \[2\]"):
        Study(X, metric="a", warm_start=study.trials)
    assert found.front_losses.shape == (0, 2)


def table(path, **options):
    """A source of one row whose metric is 1.0."""
    path.mkdir()
    (path / "t.csv").write_text("x,auc\n0.5,1.0\n")
    return from_csv(path / "t.csv", loss="auc", **options)


def told(path, storage=None, **options):
    """A study of one trial whose metric is 1.0."""
    with Study(X, rand.suggest, storage=storage, **options) as study:
        study.tell(study.ask(), {"auc": 1.0})
    return study.trials


def stored(path, **options):
    """The path of such a study."""
    told(path, f"{path}.jsonl", **options)
    return f"{path}.jsonl"


def of_optuna(path, metric=None, direction="minimize"):
    """A study of Optuna's of one trial whose value is 1.0."""
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(direction=direction)
    if metric is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is experimental in some versions
            study.set_metric_names([metric])
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) * 0 + 1.0, n_trials=1)
    return study


DIRECTIONS = ["minimize", "maximize"]


@pytest.mark.parametrize("make", [told, stored, of_optuna])
@pytest.mark.parametrize("there", DIRECTIONS)
@pytest.mark.parametrize("here", DIRECTIONS)
def test_a_metric_keeps_its_direction(make, there, here, tmp_path):
    """What was to be low there and is to be high here would make the worst the best, so it is refused."""
    source = make(tmp_path / "there", metric="auc", direction=there)
    options = {"metric": "auc", "direction": here, "warm_start": source}
    if there == here:
        assert Study(X, **options).trials.losses() == [1.0 if here == "minimize" else -1.0]
        return
    with pytest.raises(InvalidArgumentError, match=f"got direction='{here}'.* after direction='{there}'.*leave that"):
        Study(X, **options)


def test_a_column_keeps_its_direction(tmp_path):
    """A metric of a table that is to be high here has to be read as one."""
    options = {"metric": "auc", "direction": "maximize"}
    with pytest.raises(InvalidArgumentError, match="after direction='minimize', metric='auc' in CSV file"):
        Study(X, warm_start=table(tmp_path / "a"), **options)
    found = Study(X, warm_start=table(tmp_path / "b", direction="maximize"), **options)
    assert found.trials.losses() == [-1.0]


def test_metrics_keep_their_order():
    """Losses of the same metrics in another order would be taken for one another."""
    study = Study(X, rand.suggest, metric=["a", "b"])
    study.tell(study.ask(), {"a": 1.0, "b": 2.0})
    with pytest.raises(InvalidArgumentError, match=r"the order.*got .*\['b', 'a'\] after .*\['a', 'b'\]"):
        Study(X, metric=["b", "a"], warm_start=study.trials)


def test_another_metric_may_have_another_direction(caplog):
    """Its best are learned from as the best, and a warning says so."""
    with caplog.at_level(logging.WARNING, "sparktune"):
        found = Study(X, metric="auc", direction="maximize", warm_start=of_optuna(None, metric="error")).trials
    assert found.losses() == [1.0]
    assert "the best of both count as alike" in caplog.text


@pytest.mark.parametrize("there", DIRECTIONS)
@pytest.mark.parametrize("here", DIRECTIONS)
def test_the_best_of_a_number_without_a_name_stay_the_best(there, here, caplog):
    """It may be the negative of the one here: what was good there is good here, and a warning says so."""
    with caplog.at_level(logging.WARNING, "sparktune"):
        found = Study(X, direction=here, warm_start=of_optuna(None, direction=there)).trials
    assert found.losses() == [1.0 if there == "minimize" else -1.0]
    text = f"with direction='{there}' there and direction='{here}' here, the best of both count as alike"
    assert (text in caplog.text) is (there != here)


def test_what_we_wrote_is_to_be_low_whatever_it_was_made_of(tmp_path, caplog):
    """Our own export of a study that maximises comes back without a warning, as does its table by its column's name."""
    optuna = pytest.importorskip("sparktune.bridges.optuna")
    trials = told(None, metric="auc", direction="maximize")
    trials.to_csv(tmp_path / "t.csv")
    for source in (optuna.to_study(trials, X), from_csv(tmp_path / "t.csv", loss="loss")):
        assert Study(X, metric="auc", direction="maximize", warm_start=source).trials.losses() == [-1.0]
    assert "count as alike" not in caplog.text


def test_a_direction_is_warned_of_once(caplog, tmp_path):
    """A program that is started again is not told again."""
    source = of_optuna(None, direction="maximize")
    for _ in range(2):
        Study(X, storage=tmp_path / "study.jsonl", warm_start=source).close()
    assert [record.levelname for record in caplog.records if "count as alike" in record.getMessage()] == ["WARNING"]


def test_losses_that_were_written_are_to_be_low_whatever_they_were_made_of(tmp_path):
    """Trials of a study that maximises come back from its own table with their losses, and nothing is warned of."""
    trials = told(None, metric="auc", direction="maximize")
    trials.to_csv(tmp_path / "t.csv")
    found = Study(X, metric="auc", direction="maximize", warm_start=tmp_path / "t.csv").trials
    assert found.losses() == trials.losses() == [-1.0]


def ok(**result):
    return {"status": STATUS_OK, **result}


KINDS = {
    "one loss": lambda x: ok(loss=square(x)),
    "two losses": lambda x: ok(losses=[square(x), square(x + 2)]),
    "a constraint": lambda x: ok(loss=square(x), constraints=[-1.0]),
    "two constraints": lambda x: ok(loss=square(x), constraints=[-1.0, x]),
}


def search(kind, n, **options):
    """The trials of a search with results of this kind."""
    trials = options.setdefault("trials", Trials())
    fmin(KINDS[kind], X, max_evals=n, **{"algo": rand.suggest, "rstate": 0, "show_progressbar": False, **options})
    return trials


@pytest.mark.parametrize("algo", [auto.suggest, tpe.suggest, anneal.suggest])
@pytest.mark.parametrize(("there", "here"), list(itertools.permutations(KINDS, 2)))
def test_results_of_another_kind_do_not_fail_here(there, here, algo):
    """A search whose results have other numbers of losses or constraints than the earlier ones loses none of them."""
    found = search(here, 12, algo=algo, warm_start=search(there, 15))
    assert [trial["result"]["status"] for trial in own(found)] == [STATUS_OK] * 12
    assert found.history(("x",)).n_own_finished == 12
    assert all(trial in own(found) for trial in found.pareto_front)
    assert len(found.pareto_front) > 0


def test_constraints_of_earlier_trials_alone_are_dropped(caplog):
    """A study without constraints gets none by a warm start: its trials are feasible, and a line of the log says so."""
    earlier = search("a constraint", 12)
    with caplog.at_level(logging.INFO, "sparktune"):
        found = search("one loss", 12, algo=tpe.suggest, warm_start=earlier)
    assert "12 of 12 trials (12 with constraints, which count if results here have as many)" in caplog.text
    assert found.best_feasible is found.best_trial
    assert found.best_loss == found.best_trial["result"]["loss"]
    assert found.history(("x",)).n_constraints == 0
    caplog.clear()
    search("one loss", 14, trials=found, warm_start=search("a constraint", 3, rstate=1))
    (line,) = [record for record in caplog.records if "warm" in record.getMessage()]
    assert line.levelname == "WARNING"
    assert "3 of 3 trials (3 with constraints, which are dropped)" in line.getMessage()
    search("a constraint", 15, trials=found)
    search("a constraint", 15, trials=found, warm_start=search("two constraints", 3))
    assert "(3 with another number of constraints, of which nothing is learned)" in caplog.text


def test_a_restart_with_results_of_another_kind(tmp_path):
    """A program that went on although nothing could be learned goes on when it is started again."""
    two = Trials()
    fmin(KINDS["two losses"], hp.uniform("x", -50, 50), rand.suggest, 20, trials=two, rstate=0, show_progressbar=False)
    for n in (3, 5):
        search("one loss", n, trials=None, storage=tmp_path / "study", warm_start=two)
    found = Trials.load(tmp_path / "study")
    assert 5 < len(found) < 25  # what is outside is not there
    assert found.best_trial in own(found)
    assert len(own(found)) == 5


@pytest.mark.parametrize("wrong", [3, {"x": 1}, [object()], lambda: None])
def test_what_is_no_source(wrong):
    """Anything else is an error that lists what can be given."""
    with pytest.raises(InvalidTypeError, match="warm_start takes Trials"):
        Study(X, warm_start=wrong)
    for read in (from_trials, from_dataframe):
        with pytest.raises(InvalidTypeError, match="takes a"):
            read(3)


# -- the same study over another space ---------------------------------------------------------------------------------


def test_a_study_without_earlier_trials_is_not_matched(monkeypatch):
    """Nor is one that goes on in its own space: matching looks at every option of the space, as deep as it goes."""
    monkeypatch.setattr("sparktune.exchange.warm_start.Matcher", None)
    trials = minimum(OLD, 3)
    assert len(minimum(OLD, 6, trials=trials)) == 6


def test_csv_needs_a_loss(tmp_path):
    """A table without a loss is an error that says how to name one."""
    (tmp_path / "t.csv").write_text("x,rmse\n1,2\n")
    with pytest.raises(InvalidArgumentError, match=r"from_csv\(path, loss='rmse'\)"):
        Study(X, warm_start=tmp_path / "t.csv")
    study = Study(X, warm_start=from_csv(tmp_path / "t.csv", loss="rmse", direction="maximize"))
    assert study.trials.losses() == [-2.0]


def test_the_code_in_the_docs_runs():
    """The blocks of docs/warm_start.md run, one after another, and find what they look for."""
    page = (Path(__file__).parents[3] / "docs/warm_start.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert len(names["study"]) == 50
    assert len(names["third"]) == 50
