"""Our search as a sampler of Optuna."""

# ruff: noqa: E402  (imports come after the skip where Optuna is missing)

import copy
import gc
import math
import pickle
import threading

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from sparktune import atpe, auto, gp, qmc, rand, tpe
from sparktune.bridges.optuna import Sampler
from sparktune.bridges.optuna.sampler import MAX_MIRRORS, _TrialsMirror
from sparktune.bridges.optuna.units import TAKES_CONSTRAINTS, from_optuna, is_within, node_of, to_optuna, widest
from sparktune.exceptions import InvalidArgumentError, InvalidSpaceError, InvalidTypeError
from sparktune.history import documents, proposals
from sparktune.history.reading import FAILED, OK, PENDING
from sparktune.space.compile import Space

DISTRIBUTIONS = [
    FloatDistribution(-1, 2),
    FloatDistribution(1e-5, 1, log=True),
    FloatDistribution(0.1, 0.7, step=0.2),
    IntDistribution(-2, 2),
    IntDistribution(1, 300, log=True),
    IntDistribution(3, 13, step=5),
    IntDistribution(0, 2**40),
    IntDistribution(0, 2**63 - 1),
    IntDistribution(-(2**62), 2**62, step=2),
    FloatDistribution(-1e20, 1e20, step=0.5),
    CategoricalDistribution(["a", None, 3]),
]


@pytest.fixture(autouse=True)
def quiet():
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


def distance(trial):
    return sum((trial.suggest_float(f"x{i}", -1, 1) - 0.3) ** 2 for i in range(4))


def conditional(trial):
    """Best in branch b, near rate 0.01 and 20 units; a and c have parameters of their own."""
    branch = trial.suggest_categorical("branch", ["a", "b", "c"])
    if branch == "a":
        return 1 + trial.suggest_float("xa", 0, 1) + trial.suggest_float("ya", 0, 1)
    if branch == "b":
        rate, units = trial.suggest_float("rate", 1e-4, 1, log=True), trial.suggest_int("units", 1, 64)
        return (np.log10(rate) + 2) ** 2 + (units - 20) ** 2 / 400
    return 0.5 + trial.suggest_float("xc", 0, 1) + (trial.suggest_int("nc", 1, 100, log=True) - 9) ** 2


def best(objective, sampler, n=80, direction="minimize"):
    study = optuna.create_study(sampler=sampler, direction=direction)
    study.optimize(objective, n_trials=n)
    return study.best_value


@pytest.fixture
def seen():
    """A sampler that keeps the history it proposed from: (kinds, losses, values)."""
    found = []

    def algo(new_ids, domain, trials, seed):
        history = trials.history(domain.space.labels)
        found.append((history.kinds.tolist(), history.losses.tolist(), history.values.copy()))
        return rand.suggest(new_ids, domain, trials, seed)

    return Sampler(algo, seed=0), found


@pytest.mark.parametrize(("objective", "bound"), [(distance, 0.05), (conditional, 0.02)])
def test_it_reaches_what_random_search_does_not(objective, bound):
    """Within 80 trials, means over three seeds, on a flat and on a conditional define-by-run objective."""
    assert np.mean([best(objective, Sampler(seed=seed)) for seed in range(3)]) < bound
    assert np.mean([best(objective, RandomSampler(seed=seed)) for seed in range(3)]) > bound


def test_it_maximises():
    """A study that maximises gets large values."""
    assert best(lambda trial: -distance(trial), Sampler(seed=0), direction="maximize") > -0.05


def test_two_threads_see_each_other(seen):
    """With n_jobs=2 the trial that runs in the other thread is pending, and all results come in."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    turn, both = threading.Lock(), threading.Barrier(2, timeout=60)

    def objective(trial):
        with turn:  # so that the second of a pair proposes when the first has its parameters
            x = trial.suggest_float("x", 0, 1)
        both.wait()
        return x

    study.optimize(objective, n_trials=10, n_jobs=2)
    # Of five pairs, the first knows no parameter yet.
    assert sum(PENDING in kinds for kinds, *_ in histories) >= 4
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert sorted(histories[-1][1]) == sorted(trial.value for trial in study.trials[:10])


def test_equal_seeds_give_equal_studies():
    """The seed decides the trials."""
    values = [best(conditional, Sampler(seed=seed), n=25) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_options_go_to_the_algorithm():
    """Keyword arguments are the algorithm's: with start-up over the whole run, TPE draws as random search does."""
    assert best(distance, Sampler(tpe.suggest, seed=0, n_startup_jobs=40), n=40) == best(
        distance, Sampler(rand.suggest, seed=0), n=40
    )


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_values_go_to_ours_and_back(distribution):
    """Draws from our parameter are values of Optuna's, and convert back and forth."""
    space = Space(node_of("x", distribution))
    draws = space.sample(np.random.default_rng(0), 200)[:, 0]
    values = [to_optuna(distribution, draw) for draw in draws]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
    assert [to_optuna(distribution, from_optuna(distribution, value)) for value in values] == values
    assert len(set(values)) > 1


def test_every_distribution_is_searched():
    """suggest_float, _int and _categorical with log, step and a single value work in one study."""
    study = optuna.create_study(sampler=Sampler(seed=0, n_startup_jobs=5))

    def objective(trial):
        for k, d in enumerate(DISTRIBUTIONS):
            if isinstance(d, CategoricalDistribution):
                trial.suggest_categorical(f"p{k}", d.choices)
            elif isinstance(d, IntDistribution):
                trial.suggest_int(f"p{k}", d.low, d.high, step=d.step, log=d.log)
            else:
                trial.suggest_float(f"p{k}", d.low, d.high, step=d.step, log=d.log)
        return trial.suggest_int("constant", 3, 3) + trial.params["p0"]

    study.optimize(objective, n_trials=25)
    assert study.best_value < 2.2  # a draw of p0 is below -0.8 in one of 15
    assert {t.params["constant"] for t in study.trials} == {3}


def test_a_parameter_that_was_not_asked_for_is_inactive(seen):
    """The columns have every parameter seen so far, and NaN where a trial had none of that name."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    for branch, value in [("a", 0.5), ("b", 0.25)]:
        study.enqueue_trial({"branch": branch, f"x{branch}": value})

    def objective(trial):
        branch = trial.suggest_categorical("branch", ["a", "b"])
        return trial.suggest_float(f"x{branch}", 0, 1)

    study.optimize(objective, n_trials=3)
    kinds, losses, values = histories[-1]
    assert (kinds, losses) == ([OK, OK], [0.5, 0.25])
    np.testing.assert_array_equal(values, [[0, 0.5, np.nan], [1, np.nan, 0.25]])


def test_running_failed_and_pruned_trials_are_known(seen):
    """A running trial is pending with the parameters it has so far; failed and pruned ones count as failed."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(4)]
    for trial in trials:
        trial.suggest_float("x", 0, 1)
    study.tell(trials[1], state=optuna.trial.TrialState.FAIL)
    study.tell(trials[2], state=optuna.trial.TrialState.PRUNED)
    study.tell(trials[3], 1.0)
    study.ask()  # it has not asked for anything, so there is nothing to take into account
    last = study.ask()
    last.suggest_float("x", 0, 1)
    assert histories[-1][0] == [PENDING, FAILED, FAILED, OK]
    study.tell(trials[0], 2.0)
    study.ask().suggest_float("x", 0, 1)
    assert histories[-1][0] == [OK, FAILED, FAILED, OK, PENDING]
    assert histories[-1][1][0] == 2.0


def test_a_running_trial_may_ask_for_more(seen):
    """Parameters that a trial asks for after it was seen running are in its row when it has ended."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    first = study.ask()
    first.suggest_float("x", 0, 1), first.suggest_float("y", 0, 1)
    study.tell(first, 1.0)
    second = study.ask()
    x = second.suggest_float("x", 0, 1)
    study.ask().suggest_float("x", 0, 1)
    np.testing.assert_array_equal(histories[-1][2][1], [x, np.nan])
    y = second.suggest_float("y", 0, 1)
    study.tell(second, 3.0)
    study.ask().suggest_float("x", 0, 1)
    kinds, losses, values = histories[-1]
    ended = [(loss, row) for kind, loss, row in zip(kinds, losses, values.tolist(), strict=True) if kind == OK]
    assert ended[1:] == [(3.0, [x, y])]


@pytest.fixture
def taken(monkeypatch):
    """The numbers of trials that mirrors have looked at, in order."""
    numbers, take = [], _TrialsMirror._take

    def counted(mirror, trial, signs):
        numbers.append(trial.number)
        return take(mirror, trial, signs)

    monkeypatch.setattr(_TrialsMirror, "_take", counted)
    return numbers


def test_a_trial_that_never_ends_does_not_hold_up_the_others(taken):
    """Of trials after one that is running or waiting, each proposal looks only at those that are open or new."""
    study = optuna.create_study(sampler=Sampler(rand.suggest, seed=0))
    zombie = study.ask()
    zombie.suggest_float("x", 0, 1)
    study.enqueue_trial({"x": 0.5})
    study.add_trial(optuna.trial.create_trial(params={}, distributions={}, value=1.0))  # after the one that waits
    distributions = {"x": FloatDistribution(0, 1)}
    study.add_trials(
        [optuna.trial.create_trial(params={"x": 0.5}, distributions=distributions, value=1.0) for _ in range(20)]
    )
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)  # the one enqueued, and one more
    taken.clear()
    study.ask().suggest_float("x", 0, 1)
    # Twice: for the search space, and for the proposal; 23 is the last before it.
    assert taken == [0, 23, 0]


def test_what_open_trials_bring_is_taken_in(seen):
    """New parameters, wider bounds and results of trials that have long been running reach the later proposals."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    first, second = study.ask(), study.ask()
    first.suggest_float("x", 0, 1), second.suggest_float("x", 0, 1)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    first.suggest_float("y", 0, 1)
    study.tell(study.ask(), 1.0)
    second.suggest_float("y", 0, 2)
    study.tell(second, 7.0)
    study.ask().suggest_float("x", 0, 1)
    [mirror] = sampler._mirrors[study]
    assert mirror.distributions == {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 2)}
    kinds, losses, values = histories[-1]
    assert (kinds[:2], losses[1]) == ([PENDING, OK], 7.0)
    assert not np.isnan(values[:2]).any()


def test_bounds_of_a_running_trial_count_once(monkeypatch):
    """A running trial and a later one without a common grid do not have all told anew at each proposal."""
    study = optuna.create_study(sampler=Sampler(rand.suggest, seed=0))
    study.ask().suggest_int("n", 0, 6)
    starts, start = [], _TrialsMirror._start
    monkeypatch.setattr(_TrialsMirror, "_start", lambda mirror: (starts.append(mirror), start(mirror)))
    study.optimize(lambda trial: trial.suggest_int("n", 0, 8, step=2), n_trials=5)
    assert len(starts) == 2  # by each of both grids
    assert starts[0].distributions == {"n": IntDistribution(0, 8, step=2)}


def test_bounds_that_move_from_trial_to_trial(seen):
    """The search is over the widest bounds so far; a proposal outside the present ones is drawn anew."""
    sampler, _ = seen
    study = optuna.create_study(sampler=sampler)
    for high in (10, 2, 20, 5):
        trial = study.ask()
        assert 0 <= trial.suggest_int("n", 0, high) <= high
        study.tell(trial, 1.0)
    assert [mirror.distributions for mirror in sampler._mirrors[study]] == [{"n": IntDistribution(0, 20)}]


def test_what_is_within_bounds():
    """A value is within bounds, or one of the options, NaN among them."""
    options = CategoricalDistribution(["a", math.nan])
    assert is_within(options, "a") and is_within(options, float("nan")) and not is_within(options, "b")
    assert is_within(FloatDistribution(0, 1), 1.0) and not is_within(FloatDistribution(0, 1), 1.5)


@pytest.mark.parametrize("fixed", [5.0, -1.0, 0.75])
def test_a_value_fixed_outside_of_the_bounds_searched(seen, fixed):
    """Its trial is not told, and the bounds stay as they are; one that was fixed within them is told."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)

    def objective(trial):
        low, high = (0, 1) if trial.number in (2, 4, 6) else (fixed, fixed)
        return trial.suggest_float("y", 0, 1) + trial.suggest_float("x", low, high)

    study.optimize(objective, n_trials=5)
    running = study.ask()
    running.suggest_float("y", 0, 1)
    study.ask().suggest_float("y", 0, 1)
    assert histories[-1][0][-1] == PENDING
    running.suggest_float("x", fixed, fixed)  # it was told before
    study.ask().suggest_float("y", 0, 1)
    is_within = fixed == 0.75
    ended = [trial for trial in study.trials[:5] if is_within or trial.number in (2, 4)]
    kinds, losses, values = histories[-1]
    assert losses[: len(ended)] == [trial.value for trial in ended]
    np.testing.assert_array_equal(values[: len(ended)], [[t.params["x"], t.params["y"]] for t in ended])
    assert kinds.count(PENDING) == 1 + is_within
    [mirror] = sampler._mirrors[study]
    assert mirror.distributions == {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def test_bounds_on_another_grid(seen):
    """Of trials before the grid that is searched, those count that are within its bounds."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler)
    for low, high, step, n in [(100, 109, 3, 103), (1, 7, 3, 4), (0, 8, 2, 6)]:
        study.enqueue_trial({"n": n})
        study.optimize(lambda trial, at=(low, high, step): trial.suggest_int("n", *at[:2], step=at[2]), n_trials=1)
    study.ask().suggest_int("n", 0, 8, step=2)
    assert histories[-1][1] == [4.0, 6.0]
    assert histories[-1][2].tolist() == [[2.0], [3.0]]


def test_widest_bounds():
    """Bounds around both where the grids agree, else the later ones."""
    assert widest(FloatDistribution(0, 1), FloatDistribution(-1, 0.5)) == FloatDistribution(-1, 1)
    assert widest(IntDistribution(0, 6, step=3), IntDistribution(3, 9, step=3)) == IntDistribution(0, 9, step=3)
    assert widest(IntDistribution(0, 6, step=3), IntDistribution(1, 7, step=3)) == IntDistribution(1, 7, step=3)
    assert widest(IntDistribution(0, 6), IntDistribution(0, 8, step=2)) == IntDistribution(0, 8, step=2)


def test_several_objectives_and_constraints_are_told():
    """Each value is a loss, negated where it is maximised; constraints are constraints."""
    results = []

    def algo(new_ids, domain, trials, seed):
        results.append([trial["result"] for trial in trials.trials])
        return rand.suggest(new_ids, domain, trials, seed)

    study = optuna.create_study(sampler=Sampler(algo, seed=0), directions=["minimize", "maximize"])

    def objective(trial):
        if TAKES_CONSTRAINTS:
            trial.set_constraint("memory", -2.0)
        x = trial.suggest_float("x", 0, 1)
        return x, 3.0

    study.optimize(objective, n_trials=2)
    x = study.trials[0].params["x"]
    assert results[-1][0]["losses"] == [x, -3.0]
    assert results[-1][0].get("constraints", [-2.0]) == [-2.0]


@pytest.fixture
def told():
    """A sampler that keeps what its trials were at each proposal: (the trials object, constraints by row)."""
    found = []

    def algo(new_ids, domain, trials, seed):
        found.append((trials, trials.history(domain.space.labels).constraints.tolist()))
        return rand.suggest(new_ids, domain, trials, seed)

    return Sampler(algo, seed=0), found


def constrained(trial, constraints):
    """A loss, beside constraints by name."""
    for name, value in constraints.items():
        trial.set_constraint(name, value)
    return trial.suggest_float("x", 0, 1)


@pytest.mark.usefixtures("takes_constraints")
def test_each_constraint_has_its_column(told):
    """Names rule, not how many a trial sets; silence counts as met, and a failed trial has no constraints."""
    sampler, found = told
    study = optuna.create_study(sampler=sampler)
    each = [{"memory": 1.0, "time": 2.0}, {"time": 3.0}, {}, {"other": 1.0}, {"time": -1.0, "memory": 4.0}, {}]

    def objective(trial):
        loss = constrained(trial, each[trial.number])
        return math.nan if trial.number == 3 else loss

    study.optimize(objective, n_trials=6)
    nothing = [math.nan] * 2
    expected = [[2.0, 1.0], [3.0, -math.inf], [-math.inf] * 2, nothing, [-1.0, 4.0]]
    np.testing.assert_array_equal(found[-1][1], expected)
    history = found[-1][0].history(("x",))
    assert [history.is_feasible(row) for row in (0, 1, 2, 4)] == [False, False, True, False]


@pytest.mark.usefixtures("takes_constraints")
def test_a_constraint_of_a_new_name_reaches_the_earlier_trials(told):
    """They get its column when it first appears, by its name before others, and only then are they told anew."""
    sampler, found = told
    study = optuna.create_study(sampler=sampler)
    each = [{}] * 40 + [{"m": 1.0}, {"m": 2.0}, {"a": 3.0}, {"m": 4.0}, {}]
    study.optimize(lambda trial: constrained(trial, each[trial.number]), n_trials=len(each))
    met = -math.inf
    assert found[39][1] == [[]] * 40  # the first proposal is for the second trial: no parameter is known before
    assert found[40][1] == [[met]] * 40 + [[1.0]]
    assert found[42][1] == [[met, met]] * 40 + [[met, 1.0], [met, 2.0], [3.0, met]]
    assert found[43][1] == [*found[42][1], [met, 4.0]]
    objects = [trials for trials, _ in found]
    assert [n for n in range(1, len(found)) if objects[n] is not objects[n - 1]] == [40, 42]


@pytest.mark.usefixtures("takes_constraints")
def test_constraints_in_a_list_are_in_order(told):
    """As samplers with a constraints_func leave them: the eleventh after the second, met in a trial without."""
    sampler, found = told
    study = optuna.create_study(sampler=sampler)
    for constraints in ([float(n) for n in range(12)], None):
        attributes = {"params": {"x": 0.5}, "distributions": {"x": FloatDistribution(0, 1)}, "value": 1.0}
        study.add_trial(optuna.trial.create_trial(system_attrs={"constraints": constraints}, **attributes))
    study.ask().suggest_float("x", 0, 1)
    assert found[-1][1] == [[float(n) for n in range(12)], [-math.inf] * 12]


@pytest.mark.usefixtures("takes_constraints")
def test_a_branch_that_sets_no_constraint_is_searched():
    """Its trials meet the constraints of the other branch, so most later trials are there, where the optimum is."""
    study = optuna.create_study(sampler=Sampler(seed=2))

    def objective(trial):
        x = trial.suggest_float("x", -5, 5)
        if trial.suggest_categorical("model", ["linear", "tree"]) == "tree":
            trial.set_constraint("memory", x)
            return (x + 3) ** 2 + 5
        return (x - 1) ** 2

    study.optimize(objective, n_trials=40)
    assert sum(trial.params["model"] == "linear" for trial in study.trials[-20:]) > 10


@pytest.mark.usefixtures("takes_constraints")
def test_a_constraint_set_only_where_it_is_violated():
    """The Gaussian process is sure of the points that say nothing: it gets nearer to the edge than a random search."""
    study = optuna.create_study(sampler=Sampler(gp.suggest, seed=2))

    def objective(trial):
        x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5)
        if x < 0.3 - 0.2 * y:
            trial.set_constraint("edge", 0.3 - 0.2 * y - x)
        return (x + 1) ** 2 + (y - 1) ** 2

    study.optimize(objective, n_trials=35)
    assert study.best_value < 1.5  # 1.163 is the least, and one draw in 870 is below 1.5


def test_one_sampler_serves_two_studies(seen):
    """Each study has trials of its own."""
    sampler, histories = seen
    first, second = (optuna.create_study(sampler=sampler) for _ in range(2))
    first.optimize(distance, n_trials=4)
    second.optimize(distance, n_trials=2)
    first.optimize(distance, n_trials=1)
    assert [len(kinds) for kinds, *_ in histories] == [1, 2, 3, 1, 4]


def test_a_pickled_sampler_goes_on():
    """A copy knows the study's trials, and draws on from where the sampler was."""
    study = optuna.create_study(sampler=Sampler(seed=0))
    study.optimize(distance, n_trials=5)
    copied = pickle.loads(pickle.dumps(study))
    for each in (study, copied):
        each.optimize(distance, n_trials=10)
    assert [t.params for t in study.trials] == [t.params for t in copied.trials]


def test_an_algorithm_without_proposals_leaves_it_to_the_prior():
    """Where the algorithm has nothing to propose, values are drawn from the prior."""
    assert best(distance, Sampler(lambda *_: [], seed=0), n=5) > 0


def test_a_pruner_that_splits_the_study():
    """Hyperband's brackets, of which each sees its own trials only, can be searched."""
    study = optuna.create_study(
        sampler=Sampler(seed=0, n_startup_jobs=2), pruner=optuna.pruners.HyperbandPruner(1, max_resource=9)
    )

    def objective(trial):
        loss = distance(trial)
        for step in range(9):
            trial.report(loss + 1 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    study.optimize(objective, n_trials=30)
    assert len(study.trials) == 30


class Halves(optuna.pruners.HyperbandPruner):
    """Brackets of the even and of the odd numbers."""

    def __init__(self):
        super().__init__(min_resource=1, max_resource=9)

    def _get_bracket_id(self, study, trial):
        return trial.number % 2


def test_a_pruner_that_splits_the_study_has_a_mirror_for_each_part(taken):
    """None is made twice, each knows the trials of its bracket alone, and looks at a trial when it is new."""
    sampler = Sampler(rand.suggest, seed=0)
    study = optuna.create_study(sampler=sampler, pruner=Halves())
    made = []
    for _ in range(10):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        made += [mirror for mirror in sampler._mirrors[study] if mirror not in made]
    assert len(made) == len(sampler._mirrors[study]) == 2
    assert [sorted(mirror._documents) for mirror in made] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert list(sampler._mirrors) == [study]
    taken.clear()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert taken == [8]


def test_few_parts_of_a_study_are_kept():
    """Parts that are not seen again make room, and the mirror of a study that is gone goes with it."""
    sampler = Sampler(rand.suggest, seed=0)

    class Lone(Halves):
        def _get_bracket_id(self, study, trial):
            return trial.number

    study = optuna.create_study(sampler=sampler, pruner=Lone())
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=MAX_MIRRORS + 3)
    assert [mirror._numbers for mirror in sampler._mirrors[study]] == [[3 + n] for n in range(MAX_MIRRORS)]
    del study
    gc.collect()
    assert not sampler._mirrors


def test_a_pruner_that_begins_to_split_the_study(seen):
    """Where the whole study was seen before, each bracket has its own trials from then on."""
    sampler, histories = seen
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    study.pruner = Halves()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    values = [trial.value for trial in study.trials]
    assert [losses for _, losses, _ in histories[-4:]] == [
        values[1:n:2] if n % 2 else values[:n:2] for n in range(5, 9)
    ]


def test_studies_of_one_name_have_their_own_trials(seen):
    """In two storages, and where one was deleted and made anew, with a pruner that splits them."""
    sampler, histories = seen
    storages = [optuna.storages.InMemoryStorage() for _ in range(2)]

    def searched(storage):
        study = optuna.create_study(study_name="one", storage=storage, sampler=sampler, pruner=Halves())
        study.optimize(distance, n_trials=6)
        return study

    values = [[trial.value for trial in searched(storage).trials] for storage in storages]
    optuna.delete_study(study_name="one", storage=storages[1])
    values.append([trial.value for trial in searched(storages[1]).trials])
    for n, found in enumerate(values):  # the first of each half had no proposal
        losses = [losses for _, losses, _ in histories[4 * n : 4 * n + 4]]
        assert losses == [found[:1], found[1:2], found[:3:2], found[1:4:2]]


def square(trial):
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1 if trial.number < 30 else 2)
    return (x - 0.4) ** 2 + y


@pytest.mark.parametrize(
    ("algo", "options"), [(qmc.suggest, {}), (auto.suggest, {"n_startup_jobs": 64})], ids=["qmc", "the start of auto"]
)
def test_points_of_a_sequence_go_on_from_trial_to_trial(algo, options):
    """Of 64 cells of a parameter each trial has another, but for the first, whose values are drawn from the prior.

    In between the documents are made anew, for wider bounds of the other parameter.
    """
    study = optuna.create_study(sampler=Sampler(algo, seed=0, **options))
    study.optimize(square, n_trials=64)
    assert len({int(64 * trial.params["x"]) for trial in study.trials[1:]}) == 63


def test_what_proposals_saw_is_in_the_documents_of_their_trials():
    """The algorithm's record with the seed, of those proposed; ids of running trials are the present ones."""
    study = optuna.create_study(sampler=Sampler(rand.suggest, seed=0))
    study.optimize(square, n_trials=2)
    running = study.ask()
    running.suggest_float("x", 0, 1)
    study.optimize(square, n_trials=2)
    before = copy.deepcopy(study.sampler._mirrors[study][0]._documents)
    study.enqueue_trial({"x": 0.5, "y": 0.5, "z": 0.5})
    study.optimize(lambda trial: square(trial) + trial.suggest_float("z", 0, 1), n_trials=2)  # all are told anew
    after = study.sampler._mirrors[study][0]._documents
    for known, first_seen in ((before, [0, 1, 2, 3]), (after, [0, 1, 2, 3, 4])):
        records = [proposals.proposal_record(known[number]) for number in first_seen]
        assert [record and record["n_trials"] for record in records] == [None, 1, 2, 3, 4][: len(records)]
        tid = known[2]["tid"]
        assert [record["running"] for record in records[1:]] == [[], [], [tid], [tid]][: len(records) - 1]
        every = list(known.values())
        assert all(proposals.is_as_seen(every, known[number]) for number in first_seen[1:])
    assert before[2]["tid"] != after[2]["tid"]
    assert proposals.proposal_record(after[5]) is None  # its values were given
    seeds = [proposals.seed_of(after[number]) for number in range(5)]
    assert seeds[:4] == [proposals.seed_of(before[number]) for number in range(4)]
    assert seeds[0] is None and len(set(seeds)) == 5


def test_the_seed_of_an_algorithm_without_records_is_noted():
    """As fmin notes it, in the document of the trial."""
    seeds = []

    def algo(new_ids, domain, trials, seed):
        seeds.append(seed)
        proposed = rand.suggest(new_ids, domain, trials, seed)
        for document in proposed:
            del document["misc"]["search"]
        return proposed

    study = optuna.create_study(sampler=Sampler(algo, seed=0))
    study.optimize(distance, n_trials=4)
    [mirror] = study.sampler._mirrors[study]
    assert [proposals.seed_of(document) for document in mirror._documents.values()] == [None, *seeds[:2]]


def test_atpe_learns_which_of_its_ways_does_well():
    """The way of each trial is in the history it chooses by."""
    ways = []

    def algo(new_ids, domain, trials, seed):
        records = map(proposals.proposal_record, trials.history(domain.space.labels).documents)
        ways.append([record and record["algo"] for record in records])
        return atpe.suggest(new_ids, domain, trials, seed)

    study = optuna.create_study(sampler=Sampler(algo, seed=0))
    study.optimize(distance, n_trials=20)
    assert ways[-1][:2] == [None, atpe.START]
    assert set(ways[-1][atpe.N_STARTUP :]) <= set(atpe.WAYS)


def test_reseeding_changes_the_stream():
    """reseed_rng, which Optuna calls in each of its workers, takes fresh entropy."""
    first, second = Sampler(seed=0), Sampler(seed=0)
    second.reseed_rng()
    assert best(distance, first, n=1) != best(distance, second, n=1)


def test_what_is_no_algorithm_is_refused():
    """A module or a sampler in place of an algorithm is an error."""
    with pytest.raises(InvalidTypeError, match=r"takes an algorithm such as tpe\.suggest, got <module"):
        Sampler(tpe)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, InvalidArgumentError), ("a", InvalidTypeError), (0.5, InvalidTypeError)]
)
def test_what_is_no_seed_is_refused(seed, error):
    """The message has the rule and what was given."""
    with pytest.raises(error, match=rf"an int >= 0,.*got seed={seed!r}: write Sampler\(seed=0\)"):
        Sampler(seed=seed)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (
            FloatDistribution(-1e308, 1e308),
            r"finite float, got suggest_float\('x', -1e\+308, 1e\+308,.*narrow the bounds",
        ),
        (IntDistribution(0, 10**400), r"finite float, got suggest_int\('x', 0, 10+, step=1.*narrow the bounds"),
        (FloatDistribution(1, 1.7e308, log=True), r"exp\(700\).*suggest_float\('x', 1\.0, 1\.7e\+308,.*lower high"),
    ],
)
def test_bounds_that_floats_cannot_hold_are_refused(distribution, message):
    """The message has the call as Optuna's users write it, and what can be done."""
    with pytest.raises(InvalidSpaceError, match=message):
        node_of("x", distribution)


def test_documents_are_as_fmin_writes_them(seen):
    """Values of a choice are indices, and every document is valid."""
    sampler, _ = seen
    study = optuna.create_study(sampler=sampler)
    study.optimize(conditional, n_trials=5)
    [mirror] = sampler._mirrors[study]
    for document in mirror._trials.trials:
        documents.validate(document)
        assert document["misc"]["vals"]["branch"][0] in (0, 1, 2)
