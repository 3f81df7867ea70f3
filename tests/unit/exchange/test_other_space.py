"""Studies that go on in another space: what their trials are there, and what storages, tables and pickles say."""

import dataclasses
import functools
import logging
import pickle
import shutil
import subprocess
import sys

import pytest
from searches import NEW, OLD, X, minimum, square

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, auto, fmin, gp, hp, rand, space_eval, tpe
from sparktune.exceptions import AllTrialsFailed
from sparktune.history import documents
from sparktune.history.marks import is_outside
from sparktune.space.scope import scope

Y = hp.uniform("y", -5, 5)


def test_a_study_goes_on_in_another_space(caplog):
    """Trials of the study itself are brought into its new space, count, and keep what there is no place for."""
    trials = minimum(OLD, 20)
    before = {trial["tid"]: trial["misc"]["vals"]["model"][0] for trial in trials.trials}
    with caplog.at_level(logging.INFO, "sparktune"):
        minimum(NEW, 25, auto.suggest, trials=trials)
    assert len(trials) == 25
    assert caplog.text.count("the study goes on in another space, with 20 trials") == 1
    for trial in trials.trials[:20]:
        mark = trial["misc"]["other_space"]
        if not mark["is_outside"]:
            assert trial["misc"]["vals"]["model"] == [{0: 2, 1: 1}[before[trial["tid"]]]]
            assert set(mark["left_out"]) == {"gone"}
    assert set(trials.argmin) == {"x", "model", "new"}  # a whole point of the new space


@pytest.mark.parametrize(
    ("space", "level"), [({"x": X}, "WARNING"), ({"x": X, "y": Y, "z": hp.normal("z", 0, 1)}, "INFO")]
)
def test_a_loss_is_warned_of(space, level, caplog):
    """Values that have no place in the new space are; that there is a new parameter is not."""
    trials = minimum({"x": X, "y": Y}, 5)
    with caplog.at_level(logging.INFO, "sparktune"):
        minimum(space, 6, trials=trials)
    (record,) = [record for record in caplog.records if "goes on in another space" in record.getMessage()]
    assert record.levelname == level


def test_the_best_trial_of_a_study_that_was_widened_may_be_an_old_one():
    """Where old trials are points of the new space, they are as good as any, and nothing is changed in them."""
    trials = minimum(hp.uniform("x", 0.5, 1.5), 10)
    vals = [dict(trial["misc"]["vals"]) for trial in trials.trials]
    minimum(hp.uniform("x", -100, 100), 12, trials=trials)
    assert trials.best_trial["tid"] < 10
    assert [trial["misc"]["vals"] for trial in trials.trials[:10]] == vals
    assert "other_space" not in trials.trials[0]["misc"]


def test_trials_that_lack_a_value_are_no_result_of_the_new_space():
    """Once there is a whole point the best one is among those; until then nothing has reached a threshold."""
    trials = minimum({"x": X}, 20)
    wide = {"x": X, "y": hp.uniform("y", 0, 1)}
    found = minimum(wide, 23, trials=trials, loss_threshold=max(trials.losses()))
    assert len(found) == 21  # the first one over the new space reached it
    assert found.best_trial == found.trials[20]
    assert found.best_loss == found.losses()[20] > min(found.losses())
    assert found.pareto_front == [found.best_trial]
    assert set(found.argmin) == {"x", "y"}


def test_what_is_outside_of_a_narrowed_space_is_set_aside():
    """Trials outside of new bounds stay as they are, count, are not the best, and say nothing to the search."""
    trials = minimum(X, 20)
    minimum(hp.uniform("x", 3, 5), 25, tpe.suggest, trials=trials)
    x = [trial["misc"]["vals"]["x"][0] for trial in trials.trials]
    assert len(x) == 25
    assert min(x) < 3
    assert trials.argmin["x"] >= 3
    history = trials.history(("x",))
    assert history.n_finished == sum(value >= 3 for value in x)
    minimum(X, 26, trials=trials)  # wide again: they are back
    assert trials.history(("x",)).n_finished == 26
    assert trials.argmin["x"] < 3


def test_options_of_a_trial_that_is_outside_stay_what_they_were():
    """By the numbers they had where it was made, however many spaces come in between."""
    wide = {"x": hp.uniform("x", 0, 10), "c": hp.choice("c", ["a", "b", "c"])}
    narrow = {"x": hp.uniform("x", 0, 5), "c": hp.choice("c", ["c", "a"])}
    trials = Trials()
    options = {"algo": rand.suggest, "trials": trials, "show_progressbar": False, "rstate": 0}
    fmin(lambda point: 1.0, wide, max_evals=8, **options)
    before = [documents.raw_values(trial) for trial in trials.trials]
    assert {point["c"] for point in before if point["x"] > 5} == {0, 1, 2}
    fmin(lambda point: 1.0, narrow, max_evals=9, **options)
    fmin(lambda point: 1.0, narrow, max_evals=10, **options)
    fmin(lambda point: 1.0, wide, max_evals=11, **options)
    assert [documents.raw_values(trial) for trial in trials.trials[:8]] == before
    assert trials.history(["c", "x"]).n_ok == 11
    assert not any(is_outside(trial) for trial in trials.trials)


WIDE = {"x": hp.uniform("x", 0, 10), "c": hp.choice("c", ["a", "b", "c"])}
NARROWED = {"x": hp.uniform("x", 0, 5), "c": hp.choice("c", ["c", "a"])}


def narrowed(path=None):
    """Trials over a space, and then over a narrower one; each says the option that it was evaluated with."""
    trials = Trials(storage=path)
    for space, n in ((WIDE, 8), (NARROWED, 10)):
        fmin(evaluated, space, rand.suggest, n, trials=trials, show_progressbar=False, rstate=0)
    return trials


def evaluated(point):
    return {"status": STATUS_OK, "loss": point["x"], "option": point["c"]}


def test_a_warm_start_from_trials_with_some_that_are_outside():
    """Options of these are read as they were evaluated."""
    trials = narrowed()
    study = Study(WIDE, warm_start=trials)
    options = {d["misc"]["warm_start"]["id"]: documents.raw_values(d)["c"] for d in study.trials.trials}
    assert options == {d["tid"]: "abc".index(d["result"]["option"]) for d in trials.trials}


@pytest.mark.parametrize("space", [WIDE, NARROWED], ids=["wide", "narrowed"])
def test_loaded_trials_of_two_spaces_go_on(space, tmp_path):
    """A storage says over which space each was made."""
    narrowed(tmp_path / "study.jsonl")
    trials = Trials.load(tmp_path / "study.jsonl")
    fmin(evaluated, space, rand.suggest, 11, trials=trials, show_progressbar=False, rstate=1)
    options = {WIDE["c"]: "abc", NARROWED["c"]: "ca"}[space["c"]]
    inside = [trial for trial in trials.trials if not is_outside(trial)]
    assert len(inside) >= 5
    assert all(options[documents.raw_values(d)["c"]] == d["result"]["option"] for d in inside)


def test_nothing_is_known_of_trials_that_were_deleted():
    """Others with their ids are read by their own space."""
    trials, others = narrowed(), Trials()
    fmin(evaluated, NARROWED, rand.suggest, 8, trials=others, show_progressbar=False, rstate=0)
    before = [documents.raw_values(trial) for trial in others.trials]
    trials.delete_all()
    trials.insert_trial_docs(others.trials)
    fmin(evaluated, NARROWED, rand.suggest, 9, trials=trials, show_progressbar=False, rstate=1)
    assert [documents.raw_values(trial) for trial in trials.trials[:8]] == before


def test_a_stored_study_goes_on_in_another_space(tmp_path):
    """The storage keeps trials as they were made, and a driver that starts again knows in which space that was."""
    first = hp.choice("c", ["a", "b", "c"]), hp.choice("c", ["c", "a"])

    def run(space, n):
        seen = []
        fmin(lambda c: seen.append(c) or 1.0, space, rand.suggest, n, rstate=0, show_progressbar=False, trials=(
            trials := Trials(storage=tmp_path / "study")))  # fmt: skip
        return seen, trials

    options, _ = run(first[0], 6)
    for n in (7, 8):
        _, trials = run(first[1], n)
        now = [trial["misc"]["vals"]["c"] for trial in trials.trials[:6]]
        assert now == [[["c", "a"].index(c)] if c != "b" else [1] for c in options]
    assert {options[i] for i in range(6) if trials.trials[i]["misc"].get("other_space", {}).get("is_outside")} <= {"b"}


# -- options that change places, and are removed ----------------------------------------------------------------------

COST = {"a": 0.0, "b": 100.0, "new": 200.0}
A = {"c": hp.choice("c", ["a", "b"]), "x": hp.uniform("x", 0, 10)}
B = {"c": hp.choice("c", ["new", "b", "a"]), "x": hp.uniform("x", 0, 5)}
POINTS = [{"c": "a", "x": 1.0}, {"c": "b", "x": 2.0}, {"c": "a", "x": 9.0}]
OPTIONS = {"algo": rand.suggest, "rstate": 0, "show_progressbar": False}
PLACES = ["study.jsonl", "sqlite:///{}/study.db", "folder/"]


def cost(point):
    return COST[point["c"]] + point["x"]


def place_in(path, name):
    return name.format(path) if "{}" in name else f"{path}/{name}"


def gone_on(place=None, objective=cost):
    """The trials of a study whose options have changed places, and whose third trial is outside."""
    trials = Trials() if place is None else None
    first, second = (trials, trials) if place is None else (Trials(storage=place), Trials(storage=place))
    fmin(objective, A, max_evals=0, points_to_evaluate=POINTS, trials=first, **OPTIONS)
    fmin(objective, B, max_evals=5, trials=second, **OPTIONS)
    return second


def read(trials):
    """The first three points as a table has them, and the best."""
    records = [(record["params_c"], record["params_x"]) for record in trials.to_records()[:3]]
    return records, trials.best_params, trials.best_loss


EXPECTED = [("a", 1.0), ("b", 2.0), ("a", 9.0)], {"c": "a", "x": 1.0}, 1.0


@pytest.mark.parametrize("name", PLACES)
def test_loaded_trials_are_those_of_the_run(name, tmp_path):
    """What is loaded has the options that were evaluated, as the object that fmin ran with."""
    place = place_in(tmp_path, name)
    trials = gone_on(place)
    loaded = Trials.load(place)
    assert read(trials) == read(loaded) == EXPECTED
    assert loaded.argmin == trials.argmin == {"c": 2, "x": 1.0}
    assert str(loaded.explain(4)) == str(trials.explain(4))


def saved(trials, path):
    trials.save(path)
    return path


def loaded_and_saved(trials, path):
    Trials.load(trials._keeper.storage.path).save(path)
    return path


def gone_on_after_loading(trials, path):
    loaded = Trials.load(trials._keeper.storage.path)
    fmin(cost, B, max_evals=6, trials=loaded, **OPTIONS)
    loaded.save(path)
    return path


@pytest.mark.parametrize("write", [saved, loaded_and_saved, gone_on_after_loading])
def test_a_copy_is_read_as_the_study_is(write, tmp_path):
    """A copy of a study of two spaces means what the study does, in a third space too."""
    trials = gone_on(str(tmp_path / "study.jsonl"))
    copy = write(trials, str(tmp_path / "copy.jsonl"))
    assert read(Trials.load(copy)) == EXPECTED
    with Study.load(copy) as study:
        assert read(study.trials) == EXPECTED
    third = {"c": hp.choice("c", ["b", "new", "other", "a"]), "x": hp.uniform("x", 0, 10)}
    whole = Trials(storage=copy)
    fmin(cost, third, max_evals=len(whole), trials=whole, **OPTIONS)
    assert read(whole) == EXPECTED
    assert not any(map(is_outside, whole._dynamic_trials))  # the third has a place again


def test_a_study_that_is_removed_while_it_runs_is_written_as_it_is(tmp_path):
    """Written anew as a whole, it means what it did."""
    place, seen = tmp_path / "study.jsonl", []

    def objective(point):
        seen.append(point)
        if len(seen) == 4:
            place.unlink()
        return cost(point)

    gone_on(str(place), objective)
    assert read(Trials.load(place)) == EXPECTED


@pytest.mark.parametrize("keep", [Trials.save, Trials.keep_in])
def test_what_was_kept_nowhere_is_kept_as_it_is(keep, tmp_path):
    """Of a trial that is outside of the space nobody knows the options then, so its numbers stay."""
    trials, place = gone_on(), str(tmp_path / "study.jsonl")
    keep(trials, place)
    third = {"c": hp.choice("c", ["b", "a"]), "x": hp.uniform("x", 0, 10)}
    trials = trials if keep is Trials.keep_in else Trials(storage=place)
    fmin(cost, third, max_evals=6, trials=trials, **OPTIONS)
    for found in (trials, Trials.load(place)):
        assert found.best_params == {"c": "a", "x": 1.0}
        assert found.to_records()[1]["params_c"] == "b"
    assert is_outside(found._dynamic_trials[2])


def test_a_pickle_does_not_make_another_option_of_what_is_outside():
    """In a pickle nobody knows what the numbers of options meant there."""
    trials = Trials()
    first, second = ({"c": hp.choice("c", options)} for options in (["a", "b"], ["b", "new"]))
    points = [{"c": 0}, {"c": 1}]
    fmin(lambda p: COST[p["c"]], first, max_evals=0, points_to_evaluate=points, trials=trials, **OPTIONS)
    for n in (3, 4):
        fmin(lambda p: COST[p["c"]], second, max_evals=n, trials=trials, **OPTIONS)
        assert trials.best_loss == 100.0
        assert list(map(is_outside, trials._dynamic_trials[:2])) == [True, False]
        trials = pickle.loads(pickle.dumps(trials))


def test_tables_have_the_options_that_were_evaluated(tmp_path):
    """Of trials that are outside too, whose numbers the present choice may not even have."""
    trials, seen = Trials(), []
    first = {"c": hp.choice("c", ["a", "b", "d"])}
    for space, n in ((first, 6), ({"c": hp.choice("c", ["b"])}, 7)):
        fmin(lambda p: seen.append(p["c"]) or 1.0, space, max_evals=n, trials=trials, **OPTIONS)
    assert set(seen) == {"a", "b", "d"}
    assert [record["params_c"] for record in trials.to_records()] == seen
    trials.to_csv(tmp_path / "t.csv")
    assert [line.rsplit(",", 1)[1] for line in (tmp_path / "t.csv").read_text().split()[1:]] == seen


def opts(*options):
    return {"c": hp.choice("c", list(options))}


def option_of(point):
    return {"status": STATUS_OK, "loss": 0.0, "option": point["c"]}


def go(space, n, trials, **more):
    fmin(option_of, space, max_evals=n, trials=trials, **{**OPTIONS, "rstate": n, **more})
    return trials


def are_true(trials):
    """Whether tables say of each trial what was evaluated."""
    records = trials.to_records()
    return [record["params_c"] for record in records] == [record["option"] for record in records] != []


def kept_in(place, **options):
    trials = Trials()
    trials.keep_in(place, **options)
    return trials


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """Of two spaces: 4 trials over the first, 2 over the second."""
    where = place_in(tmp_path, request.param)
    go(opts("a", "b", "c"), 4, kept_in(where))
    go(opts("c", "a", "b"), 6, kept_in(where))
    return where


THIRD = opts("b", "c", "a")


def test_copies_of_what_was_loaded(place):
    """A pickle of it goes on meaning what it did, and so does what it is kept in."""
    for trials in (pickle.loads(pickle.dumps(Trials.load(place))), kept_in(place)):
        assert are_true(go(THIRD, 7, trials))
    trials = Trials.load(place)
    trials.keep_in(place)
    assert are_true(go(opts("c", "b", "a"), 8, trials))
    assert are_true(Trials.load(place))


def test_one_object_after_the_other_space(place):
    """One object that runs over three spaces, and two objects in turn."""
    one, other = kept_in(place), kept_in(place)
    for n, (trials, space) in enumerate(
        [(one, THIRD), (other, opts("a", "b", "c")), (one, THIRD), (other, opts("c", "b", "a"))]
    ):
        assert are_true(go(space, 7 + n, trials))
    assert are_true(Trials.load(place))


def test_what_was_loaded_is_kept_elsewhere(place, tmp_path):
    """A new storage knows of the spaces that the old one knew of."""
    for name in ("new.jsonl", "sqlite:///{}/new.db"):
        where, trials = place_in(tmp_path, name), Trials.load(place)
        trials.keep_in(where)
        go(THIRD, 7, trials)
        assert are_true(Trials.load(where))
        assert are_true(go(opts("a", "c", "b"), 8, kept_in(where)))


@pytest.mark.parametrize("name", PLACES)
def test_runs_before_the_storage_are_in_it(name, tmp_path):
    """A study that was kept nowhere at first has its first space in the storage."""
    where, trials = place_in(tmp_path, name), go(opts("a", "b", "c"), 4, Trials())
    trials.keep_in(where)
    go(opts("c", "a", "b"), 6, trials)
    assert are_true(Trials.load(where))
    assert are_true(go(THIRD, 7, kept_in(where)))


def test_positions_begin_anew_when_all_trials_are_deleted(place):
    """The runs of before say nothing of later trials."""
    trials = kept_in(place)
    go(opts("c", "a", "b"), 6, trials)
    trials.delete_all()
    assert are_true(go(opts("c", "a", "b"), 5, trials))
    assert are_true(Trials.load(place))
    assert are_true(go(opts("c", "a", "b"), 6, kept_in(place)))


@dataclasses.dataclass(frozen=True)
class Kind:
    """An option that a storage has as a pickle."""

    name: str


def test_spaces_with_pickles(tmp_path):
    """Trusted they are read; else the trials stay as they are, in copies too."""
    first, second = str(tmp_path / "study.jsonl"), str(tmp_path / "copy.jsonl")
    kinds = [Kind(name) for name in "abc"]
    made = go(opts(*kinds), 5, kept_in(first)).to_records()
    trials = go(opts(*reversed(kinds)), 7, kept_in(first, trust=True))
    assert [record["params_c"] for record in trials.to_records()[:5]] == [record["params_c"] for record in made]
    Trials.load(first).save(second)
    again = go(opts(*reversed(kinds)), 8, kept_in(second, trust=True))
    assert [record["params_c"] for record in again.to_records()[:5]] == [record["params_c"] for record in made]


def test_a_pickled_study_has_its_space():
    """Its trials mean what they did, as a warm start and in another study."""
    with Study(opts("a", "b", "c"), rand.suggest, rstate=0) as study:
        for trial in study.ask(6):
            study.tell(trial, option_of(trial.params))
    trials = pickle.loads(pickle.dumps(study)).trials
    assert are_true(Study(THIRD, trials=trials).trials)


def test_a_pickled_study_that_is_kept_says_what_its_trials_mean(tmp_path):
    """The storage has the space of before, too."""
    study, place = Study(opts("a", "b", "c"), rand.suggest, rstate=0), str(tmp_path / "study.jsonl")
    for trial in study.ask(6):
        study.tell(trial, option_of(trial.params))
    trials = pickle.loads(pickle.dumps(study)).trials
    trials.keep_in(place)
    go(THIRD, 7, trials)
    assert are_true(Trials.load(place))


def test_one_space_leaves_no_marks(tmp_path):
    """Trials of one space have nothing in a storage that says so, however many runs there were."""
    trials = go(opts("a", "b"), 4, go(opts("a", "b"), 2, Trials()))
    trials.save(tmp_path / "study.jsonl")
    assert "space_of_run" not in (tmp_path / "study.jsonl").read_text()


def test_what_a_closed_study_left_open_is_evaluated_by_a_run(tmp_path):
    """With the same object as with one that reads the file."""
    study = Study(opts("a", "b"), rand.suggest, storage=str(tmp_path / "study.jsonl"))
    study.tell(study.ask(2)[1], option_of({"c": "a"}))
    study.close()
    assert [document["state"] for document in go(opts("a", "b"), 4, study.trials)._dynamic_trials] == [2] * 4


def test_a_trial_is_there_once_whatever_its_values_are_now(tmp_path):
    """Loaded, and read from its storage, where its values are those of before."""
    place = str(tmp_path / "study.jsonl")
    go({**opts("a", "b"), "gone": X}, 4, kept_in(place))
    go(opts("b", "a"), 6, kept_in(place))
    trials = go(opts("b", "a"), 1, Trials(), warm_start=[Trials.load(place), place])
    assert len(trials) == 7
    assert len(go(opts("b", "a"), 7, kept_in(place), warm_start=[place, Trials.load(place)])) == 7


# -- open trials ------------------------------------------------------------------------------------------------------

DIES = """
import os, sys
from sparktune import fmin, hp, rand
seen = []
def objective(point):
    seen.append(point)
    return os._exit(9) if len(seen) == 2 else 1.0
points = [{"x": 6, "c": 0}, {"x": 8, "c": 0}]
space = {"x": hp.uniform("x", 5, 10), "c": hp.choice("c", ["a", "b"])}
options = {"points_to_evaluate": points, "storage": sys.argv[1], "rstate": 0, "show_progressbar": False}
fmin(objective, space, rand.suggest, 0, **options)
"""


@pytest.fixture(scope="module")
def died(tmp_path_factory):
    """Folders with a study whose program has died, by the name of the place; tests copy them."""
    folders = {}

    def folder_of(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("died")
            command = [sys.executable, "-c", DIES, place_in(folders[name], name)]
            assert subprocess.run(command, check=False).returncode == 9
        return folders[name]

    return folder_of


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"x": hp.uniform("x", 5, 10), "c": hp.choice("c", ["b", "a"])}, {"x": 8.0, "c": "a"}),
        ({"c": hp.choice("c", ["b", "a"])}, {"c": "a"}),
        ({"x": hp.uniform("x", 5, 7), "c": hp.choice("c", ["a", "b"])}, None),
        ({"x": hp.uniform("x", 5, 10), "c": hp.choice("c", ["a", "b"]), "y": hp.uniform("y", 0, 1)}, None),
    ],
    ids=["reordered", "without a parameter", "narrowed", "with a new parameter"],
)
@pytest.mark.parametrize("name", PLACES)
def test_a_trial_that_was_open_is_evaluated_as_it_was_meant(name, space, expected, died, tmp_path, caplog):
    """Where it is no whole point of the new space it is cancelled, and a warning says so."""
    shutil.copytree(died(name), tmp_path, dirs_exist_ok=True)
    place, seen = place_in(tmp_path, name), []
    trials = Trials(storage=place)
    best = fmin(lambda point: seen.append(point) or 0.0, space, max_evals=4, trials=trials, **OPTIONS)
    assert len(seen) in (2, 3)
    assert (seen[0] == expected) is (expected is not None)
    assert ("trials [1] were open, and are no points" in caplog.text) is (expected is None)
    assert Trials.load(place)._dynamic_trials[1]["state"] == (2 if expected else 4)
    assert best.keys() == space.keys()
    assert space_eval(space, best) == seen[0]


def test_an_open_trial_of_a_study_is_asked_for_as_it_was_meant(tmp_path):
    """Enqueued points go on meaning what they did."""
    place = str(tmp_path / "study.jsonl")
    with Study(A, rand.suggest, storage=place) as study:
        study.enqueue({"c": "a", "x": 3.0}, {"c": "b", "x": 4.0})
        study.ask()
    with Study(B, rand.suggest, storage=place) as study:
        assert [trial.params for trial in study.open_trials] == [{"c": "a", "x": 3.0}]
        assert study.ask().params == {"c": "b", "x": 4.0}


def test_an_open_trial_can_be_told_in_the_new_space(tmp_path):
    """The very trial that was asked for, though its values are other ones now."""
    place = str(tmp_path / "study.jsonl")
    with Study(A, rand.suggest, storage=place) as study:
        trial = study.ask()
    with Study({"c": hp.choice("c", ["b", "a"])}, rand.suggest, storage=place) as study:
        study.tell(trial, 0.5)
        assert study.best_params == {"c": trial.params["c"]}


def test_a_trial_that_was_asked_for_runs_on_when_the_study_is_kept(tmp_path):
    """Its driver is this one, and did not die."""
    study = Study(A, rand.suggest)
    trial = study.ask()
    study.trials.keep_in(tmp_path / "study.jsonl")
    other = Study(A, rand.suggest, trials=study.trials)
    (document,) = other.trials._dynamic_trials
    assert (document["state"], document["misc"].get("run")) == (1, None)
    assert other.ask().tid != trial.tid


# -- options that equal nothing but themselves ------------------------------------------------------------------------


class Net:
    """Without equality."""

    def __init__(self, size):
        self.size = size


class Shy(Net):
    """Cannot be shown before it is fitted."""

    def __repr__(self):
        raise AttributeError("fitted_")


class Slotted:
    """Without equality, and without a dictionary."""

    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size


class Private:
    """Without equality, with one slot that is private."""

    __slots__ = "__size"

    def __init__(self, size):
        self.__size = size


def functions():
    return [lambda v: v, lambda v: v * v]


def closures(*numbers):
    return [lambda v, default=1, number=number: v + number + default for number in numbers]


def enclosing(*numbers):
    def made(number):
        return lambda v: v + number

    return [made(number) for number in numbers]


def partials(*numbers):
    return [functools.partial(max, number) for number in numbers]


@pytest.mark.parametrize(
    ("make", "other", "expected"),
    [
        (functions, functions, [0, 1]),
        (lambda: [Net(1), Net(2)], lambda: [Net(3), Net(2), Net(1)], [2, 1]),
        (lambda: [{"net": Net(1)}, {"net": Net(2)}], lambda: [{"net": Net(2)}, {"net": Net(1)}], [1, 0]),
        (
            lambda: [functools.partial(max, n) for n in (1, 2)],
            lambda: [functools.partial(max, n) for n in (2, 1)],
            [1, 0],
        ),
        (lambda: closures(1, 2), lambda: closures(2, 1), [1, 0]),
        (lambda: enclosing(1, 2), lambda: enclosing(3, 2, 1), [2, 1]),
        (lambda: [*enclosing(1), "a"], lambda: [*enclosing(5), "a"], [None, 1]),
        (lambda: [Slotted(1), "a"], lambda: [Slotted(2), "a"], [None, 1]),
        (lambda: [Private(1), Private(2)], lambda: [Private(2), Private(1)], [1, 0]),
        (lambda: enclosing(Net(1), Net(2)), lambda: enclosing(Net(2), Net(1)), [1, 0]),
        (lambda: partials(Net(1), Net(2)), lambda: partials(Net(2), Net(1)), [1, 0]),
        (lambda: functions(), lambda: [*functions(), hp.uniform("u", 0, 1)], [0, 1]),
        (lambda: [Shy(1), "a"], lambda: [Shy(1), "a"], [None, 1]),
        (lambda: [object(), object()], lambda: [object(), object()], [0, 1]),
        (lambda: [object(), object()], lambda: [object(), object(), object()], [None, None]),
        (lambda: [Net(1), "a"], lambda: [Net(2), "a"], [None, 1]),
    ],
    ids=[
        "functions",
        "objects",
        "in dicts",
        "partials",
        "defaults",
        "closures",
        "another closure",
        "other slots",
        "private slots",
        "closures over objects",
        "partials of objects",
        "beside a parameter",
        "not to be shown",
        "the same",
        "more of the same",
        "another",
    ],
)
def test_options_without_equality_are_known_by_their_looks(make, other, expected):
    """A program that makes its space anew, as a cell that is run again, keeps its trials."""
    trials = Trials()
    points = [{"c": 0}, {"c": 1}]
    fmin(lambda p: 1.0, {"c": hp.choice("c", make())}, max_evals=0, points_to_evaluate=points, trials=trials, **OPTIONS)
    fmin(lambda p: 2.0, {"c": hp.choice("c", other())}, max_evals=3, trials=trials, **OPTIONS)
    found = [None if is_outside(d) else d["misc"]["vals"]["c"][0] for d in trials._dynamic_trials[:2]]
    assert found == expected


# -- no whole point with a loss ---------------------------------------------------------------------------------------


def test_without_a_loss_in_the_present_space_there_are_no_best_parameters():
    """fmin gives None, and best_params an error that says why; what there is to see of earlier trials is argmin."""
    trials, wider = Trials(), {"x": X, "y": hp.uniform("y", 0, 1)}
    fmin(square, {"x": X}, max_evals=3, trials=trials, **OPTIONS)
    failing = {"trials": trials, "return_argmin": False, **OPTIONS}
    assert fmin(lambda p: {"status": STATUS_FAIL}, wider, max_evals=5, **failing) is None
    assert trials.argmin.keys() == {"x"}
    with pytest.raises(AllTrialsFailed, match=r"present space, got only trials of an earlier one.*\{'x'"):
        _ = trials.best_params


@pytest.mark.parametrize("space", [{"x": X, "y": hp.uniform("y", 0, 1)}, {"z": hp.uniform("z", 0, 1)}])
def test_nothing_evaluated_in_another_space_is_no_answer(space):
    """The same trials and ``max_evals`` with another space: fmin says so, and does not return half a point or none."""
    trials = Trials()
    fmin(square, {"x": X}, max_evals=3, trials=trials, **OPTIONS)
    with pytest.raises(AllTrialsFailed, match=r"run more \(max_evals counts the 3 that are there\)"):
        fmin(square, space, max_evals=3, trials=trials, **OPTIONS)
    assert set(fmin(lambda p: 1.0, space, max_evals=4, trials=trials, **OPTIONS)) == set(space)


def test_with_several_losses_half_points_are_no_answer_either():
    """As with one loss."""
    trials, two = Trials(), {"x": X, "y": hp.uniform("y", 0, 1)}
    fmin(lambda p: {"status": STATUS_OK, "losses": [p["x"], 1.0]}, {"x": X}, max_evals=3, trials=trials, **OPTIONS)
    with pytest.raises(AllTrialsFailed, match="got only trials of an earlier one"):
        fmin(lambda p: 1.0, two, max_evals=3, trials=trials, **OPTIONS)


def test_a_space_that_grows_by_a_switch_on_an_expression():
    """Without a value for what the switch hangs on, it is not evaluated."""
    k = hp.uniform("k", 0.5, 3.5)
    branch = scope.switch(scope.int(scope.sqrt(k)), hp.uniform("a", 0, 1), hp.uniform("b", 0, 1))
    for algo in (tpe.suggest, gp.suggest, auto.suggest):
        trials = Trials()
        fmin(lambda p: 1.0, {"x": X}, algo, 12, trials=trials, verbose=False, rstate=0)
        fmin(lambda p: p["k"], {"x": X, "k": k, "s": branch}, algo, 22, trials=trials, verbose=False, rstate=0)
        assert trials.best_params["s"] is not None


def test_a_warm_start_from_the_study_itself_brings_nothing(tmp_path):
    """Nor does one from a copy: a trial is in a study once."""
    trials = minimum(n=5)
    trials.save(tmp_path / "copy.jsonl")
    minimum(n=6, trials=trials, warm_start=[trials, str(tmp_path / "copy.jsonl")])
    assert len(trials) == 6
