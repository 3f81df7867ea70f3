"""Studies from sparktune to Optuna and back."""

# ruff: noqa: E402  (imports come after the skip where Optuna is missing)

import math

import pytest

optuna = pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from studies import told

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, rand
from sparktune.bridges.optuna import load, to_study
from sparktune.bridges.optuna.units import TAKES_CONSTRAINTS
from sparktune.exceptions import InvalidArgumentError
from sparktune.space.compile import Space
from sparktune.space.scope import scope

SPACE = {
    "uniform": hp.uniform("uniform", -5, 5),
    "loguniform": hp.loguniform("loguniform", -8, 0),
    "quniform": hp.quniform("quniform", 0, 1, 0.1),
    "uniformint": hp.uniformint("uniformint", 1, 9),
    "randint": hp.randint("randint", 7),
    "normal": hp.normal("normal", 0, 1),
    "lognormal": hp.lognormal("lognormal", 0, 1),
    "qloguniform": hp.qloguniform("qloguniform", 0, 5, 2),
    "qlognormal": hp.qlognormal("qlognormal", 1, 1, 1),
    "any": hp.choice("any", ["a", None, 3, 0.5, "", (1, 2)]),
    "flags": hp.choice("flags", [True, False, 1]),
    "nested": hp.choice(
        "nested",
        [{"kind": "linear"}, {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}, hp.uniform("bare", 0, 1)],
    ),
}


def objective(point):
    if point["uniform"] > 3:
        return {"status": STATUS_FAIL}
    if point["uniform"] < -4:
        raise ValueError("too low")
    return {"status": STATUS_OK, "loss": point["uniform"] ** 2}


@pytest.fixture(scope="module")
def trials():
    trials = Trials()
    options = {"show_progressbar": False, "catch_eval_exceptions": True, "rstate": 0}
    fmin(objective, SPACE, rand.suggest, 40, trials=trials, **options)
    return trials


def test_there_and_back(trials, tmp_path):
    """A warm start from an exported study has the same values, losses and failures, from the study or its storage."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = to_study(trials, SPACE, storage=url, study_name="s")
    for source in (study, load(url, "s"), load(url)):
        assert told(Study(SPACE, warm_start=source).trials) == told(trials)


def test_what_optuna_sees(trials):
    """Bounds, scales and options are those of the space; parameters of options that were not chosen are not there."""
    study = to_study(trials, SPACE)
    known = {name: d for trial in study.trials for name, d in trial.distributions.items()}
    assert known["uniform"] == FloatDistribution(-5, 5)
    assert known["loguniform"].log
    assert known["quniform"] == FloatDistribution(0, 1, step=0.1)
    assert known["uniformint"] == IntDistribution(1, 9)
    assert known["randint"] == IntDistribution(0, 6)
    assert known["any"] == CategoricalDistribution(["a", None, 3, 0.5, "", "[1, 2]"])
    assert known["flags"] == CategoricalDistribution(["true", "false", "1"])  # Optuna takes True and 1 for one
    assert {("depth" in t.params) for t in study.trials} == {True, False}
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.FAIL}
    assert [t.user_attrs["tid"] for t in study.trials] == trials_ids(trials)
    assert study.best_value == trials.best_loss


def trials_ids(trials):
    return [document["tid"] for document in trials._dynamic_trials]


def test_several_losses_and_constraints():
    """Several losses make a study with as many directions, and come back with the constraints."""
    space = hp.uniform("x", 0, 1)
    study = Study(space, rand.suggest, rstate=0, metric=["a", "b"])
    for trial in study.ask(3):
        study.tell(trial, {"a": trial.params, "b": 1.0, "constraints": [trial.params - 0.5, -1.0]})
    exported = to_study(study.trials, space)
    assert len(exported.directions) == 2
    found = Study(space, warm_start=exported).trials
    assert [t["result"]["losses"] for t in found.trials] == [t["result"]["losses"] for t in study.trials.trials]
    if TAKES_CONSTRAINTS:
        expected = [t["result"]["constraints"] for t in study.trials.trials]
        assert [t["result"]["constraints"] for t in found.trials] == expected


@pytest.mark.usefixtures("takes_constraints")
def test_constraints_that_are_not_known_are_infinite(tmp_path):
    """NaN and missing ones: such a trial is not the best of the exported study, nor of one that starts from it."""
    space, trials = hp.uniform("x", 0, 1), Trials()
    constraints = iter([None, [math.nan, -1.0], [-1.0, -1.0], [-1.0, math.inf]])

    def objective(x):
        found = next(constraints)
        return {"status": STATUS_OK, "loss": x, **({} if found is None else {"constraints": found})}

    points = [{"x": x} for x in (0.1, 0.2, 0.3, 0.4)]
    fmin(objective, space, rand.suggest, 0, trials=trials, points_to_evaluate=points, show_progressbar=False)
    exported = to_study(trials, space, storage=f"sqlite:///{tmp_path}/optuna.db")
    told = [list(trial.constraints.values()) for trial in exported.trials]
    assert told == [[math.inf] * 2, [math.inf, -1.0], [-1.0, -1.0], [-1.0, math.inf]]
    assert exported.best_value == 0.3
    back = Study(space, warm_start=exported).trials
    assert [t["result"]["constraints"] for t in back.trials] == told


@pytest.mark.parametrize(
    ("node", "distribution"),
    [
        (hp.quniform("x", 1, 5, 1), IntDistribution(1, 5)),
        (hp.quniform("x", 0, 6.0, 2), IntDistribution(0, 6, step=2)),
        (hp.quniform("x", 0, 4, 0.5), FloatDistribution(0, 4, step=0.5)),
    ],
)
def test_grids_of_whole_numbers_are_whole_to_optuna(node, distribution):
    """Where they are cast to int, and the bounds are whole numbers of any type."""
    space = scope.int(node)
    study = Study(space, rand.suggest, rstate=0)
    study.tell(study.ask(), 1.0)
    assert to_study(study.trials, space).trials[0].distributions == {"x": distribution}


def test_a_log_grid_of_more_steps_than_decimals_have_digits():
    """Optuna has no step on a logarithmic range, so none is looked for."""
    space = hp.qloguniform("x", 0, 65, 1)
    study = Study(space, rand.suggest, rstate=0)
    study.tell(study.ask(), 1.0)
    exported = to_study(study.trials, space).trials[0]
    low, high = Space(space).parameters[0].distribution.bounds
    assert exported.distributions["x"] == FloatDistribution(low, high, log=True)


@pytest.mark.usefixtures("takes_constraints")
def test_many_constraints_come_back_in_order():
    """The eleventh after the second."""
    space = hp.uniform("x", 0, 1)
    study = Study(space, rand.suggest, rstate=0)
    study.tell(study.ask(), {"status": STATUS_OK, "loss": 1.0, "constraints": list(range(12))})
    back = Study(space, warm_start=to_study(study.trials, space)).trials
    assert back.trials[0]["result"]["constraints"] == list(range(12))


@pytest.fixture
def named():
    """An Optuna study whose trials set constraints of different names; call it with names and values by trial."""

    def make(*each, study=None):
        study = study or optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        for constraints in each:
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            for name, value in constraints.items():
                trial.set_constraint(name, value)
            study.tell(trial, x)
        return study

    return make


@pytest.mark.usefixtures("takes_constraints")
def test_constraints_of_an_optuna_study_keep_their_names_apart(named):
    """A column per name, and one that a trial does not set is met, as it is in Optuna."""
    study = named({"memory": 1.0, "time": 2.0}, {"memory": 3.0}, {}, {"time": -1.0})
    failed = study.ask()
    failed.suggest_float("x", 0, 1)
    failed.set_constraint("other", 1.0)
    study.tell(failed, state=TrialState.FAIL)
    trials = Study(hp.uniform("x", 0, 1), warm_start=study).trials
    expected = [[2.0, 1.0], [-math.inf, 3.0], [-math.inf] * 2, [-1.0, -math.inf], None]
    assert [trial["result"].get("constraints") for trial in trials.trials] == expected
    history = trials.history(("x",))
    assert [history.is_feasible(row) for row in range(4)] == [False, False, True, True]


@pytest.mark.usefixtures("takes_constraints")
def test_an_optuna_study_without_constraints_brings_none(named):
    """Trials say nothing of constraints of which no trial of their study does."""
    trials = Study(hp.uniform("x", 0, 1), warm_start=named({}, {})).trials
    assert ["constraints" in trial["result"] for trial in trials.trials] == [False, False]


@pytest.mark.usefixtures("takes_constraints")
def test_an_optuna_trial_is_the_same_one_when_a_later_one_names_a_constraint(named, tmp_path):
    """A study that is started again with the source, which has gone on, gets the new trial alone."""
    space, where = hp.uniform("x", 0, 1), f"{tmp_path}/study.jsonl"
    source = named({}, {"memory": 1.0})
    assert len(Study(space, storage=where, warm_start=source).trials) == 2
    again = Study(space, storage=where, warm_start=named({"time": 2.0}, study=source)).trials
    assert [trial["misc"]["warm_start"]["id"] for trial in again.trials] == [0, 1, 2]


def test_a_study_that_optuna_made():
    """Values are used as they are, maximised losses negated; pruned trials have failed, running ones are left out."""
    study = optuna.create_study(direction="maximize")

    def objective(trial):
        x = trial.suggest_float("x", 0, 10)
        trial.suggest_categorical("c", ["b", None])
        if trial.number == 1:
            raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=4)
    study.ask()
    found = Study({"x": hp.uniform("x", 0, 10), "c": hp.choice("c", [None, "b"])}, warm_start=study).trials
    assert [t["result"].get("loss") for t in found.trials] == [
        None if t.number == 1 else -t.value for t in study.trials[:4]
    ]
    options = [[None, "b"][t["misc"]["vals"]["c"][0]] for t in found.trials]
    assert options == [t.params["c"] for t in study.trials[:4]]


def test_studies_that_are_not_there_or_there_already(trials, tmp_path):
    """A name that is taken, or that no study has, is an error that says so."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    to_study(trials, SPACE, storage=url, study_name="s")
    with pytest.raises(InvalidArgumentError, match="of the name 's' already"):
        to_study(trials, SPACE, storage=url, study_name="s")
    with pytest.raises(InvalidArgumentError, match=r"which has \['s'\], got study_name='t'"):
        load(url, "t")


class _Model:
    """Looks like any other."""

    def __init__(self, depth):
        self.depth = depth

    def __repr__(self):
        return "Model()"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["null", None, "x"], ["null", None, "x"]),
        ([float("nan"), None], None),
        ([2, 2, 2, 1, 0], [0, 1, 2, 3, 4]),
        ([(1, 2), [1, 2], 0, 1], [0, 1, 2, 3]),
        ([(1, 2), "[1, 2]"], [0, 1]),
        ([1, True, "1"], [0, 1, 2]),
        ([_Model(1), _Model(2)], [0, 1]),
        ([1, 0, {"a": hp.uniform("weak", 0, 1)}, {"a": hp.uniform("strong", 1, 2)}], [0, 1, 2, 3]),
        ([hp.uniform("u", 0, 1), hp.uniform("v", 0, 1), 1, 0], [0, 1, 2, 3]),
        (["...", hp.uniform("u", 0, 1)], [0, 1]),
        ([2, 2.0, 0, 1], ["2", "2.0", "0", "1"]),
    ],
)
def test_options_that_are_hard_to_tell_apart_come_back(tmp_path, options, names):
    """As they were, none for another and none lost; by their numbers where no names tell them apart."""
    space, trials = {"c": hp.choice("c", options)}, Trials()
    fmin(lambda point: 1.0, space, rand.suggest, 24, trials=trials, rstate=0, verbose=False)
    assert {document["misc"]["vals"]["c"][0] for document in trials.trials} == set(range(len(options)))
    url = f"sqlite:///{tmp_path}/optuna.db"
    exported = to_study(trials, space, storage=url)
    if names is not None:
        found = exported.trials[0].distributions["c"].choices
        assert [(type(name), name) for name in found] == [(type(name), name) for name in names]
    for source in (exported, load(url)):
        assert told(Study(space, warm_start=source).trials) == told(trials)


def test_a_study_that_was_exported_before_labels_were_noted():
    """Its attribute says no more than that it is one of ours, and it is read by the values."""
    study = optuna.create_study()
    study.set_user_attr("sparktune", True)
    study.add_trial(
        optuna.create_trial(value=1.0, params={"c": 1}, distributions={"c": CategoricalDistribution([0, 1])})
    )
    assert told(Study(hp.choice("c", [1, 0]), warm_start=study).trials) == [({"c": 0}, 1.0, None)]


@pytest.mark.parametrize("here", [["z", "y", (1, 2)], [(1, 2), "z", [1, 2], "y"], ["z"]])
def test_numbers_of_options_that_are_others_here_say_nothing(here):
    """The options have another order, or some are new: a trial is left out unless its option is still in its place."""
    there = [(1, 2), [1, 2], "z"]
    space, trials = {"c": hp.choice("c", there)}, Trials()
    fmin(lambda point: 1.0, space, rand.suggest, 12, trials=trials, rstate=0, verbose=False)
    source = to_study(trials, space)
    assert source.trials[0].distributions["c"].choices == (0, 1, 2)
    found = {document["misc"]["vals"]["c"][0] for document in Study(hp.choice("c", here), warm_start=source).trials}
    assert found == {n for n, (option, other) in enumerate(zip(here, there, strict=False)) if option == other}


def test_numbers_of_options_are_no_values_of_a_parameter_that_is_no_choice_any_more():
    """What was an option by its number is unknown there, and the trial is left out."""
    space, trials = {"c": hp.choice("c", [2, 2, 1])}, Trials()
    fmin(lambda point: 1.0, space, rand.suggest, 3, trials=trials, rstate=0, verbose=False)
    study = Study({"c": hp.uniformint("c", 0, 5)}, warm_start=to_study(trials, space))
    assert len(study.trials) == 0


@pytest.mark.parametrize("options", [["null", None], [None, "None"], [float("nan"), None], [None, 0]])
def test_none_of_optuna_is_the_option_none(options):
    """Not a text that looks like it, nor NaN."""
    study = optuna.create_study()
    distribution = CategoricalDistribution(options)
    for option in options:
        study.add_trial(optuna.create_trial(value=1.0, params={"c": option}, distributions={"c": distribution}))
    found = told(Study(hp.choice("c", options), warm_start=study).trials)
    assert found == [({"c": 0}, 1.0, None), ({"c": 1}, 1.0, None)]


def test_none_that_is_no_option_here_leaves_its_trial_out():
    """As any option that is gone does: there was a value, and it is not possible."""
    study = optuna.create_study()
    distribution = CategoricalDistribution([None, 1])
    for option in (None, 1):
        study.add_trial(optuna.create_trial(value=1.0, params={"c": option}, distributions={"c": distribution}))
    space = {"c": hp.choice("c", [1, 2]), "x": hp.uniform("x", 0, 1)}
    assert told(Study(space, warm_start=study).trials) == [({"c": 0}, 1.0, None)]
