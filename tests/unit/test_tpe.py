"""TPE: whom it learns from, what it proposes, and that it finds the optimum."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from studies import split

from sparktune import Domain, Trials, hp, rand, tpe
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.columns import History
from sparktune.history.reading import FAILED
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
)
from sparktune.kernels.parzen import neighbour_gaps
from sparktune.search import classic_tpe
from sparktune.search.ranks import Ranks
from sparktune.search.state import SearchState
from sparktune.space.compile import Space

INF, NAN = math.inf, math.nan
LINE = Space(hp.uniform("x", 0, 1))


# -- whom it learns from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "gamma", "expected"),
    [
        ([3, 1, 2], 0.1, [1]),
        ([3, 1, 2], 0.5, [1, 2]),
        ([3, 1, 2], 0.99, [1, 2, 0]),
        ([1, 1, 1, 1], 0.5, [0, 1]),
        ([2, 1, 1, 1], 0.5, [1, 2]),
        ([INF, 1, -INF, 2], 0.5, [2, 1]),
        ([INF, INF, 5, INF], 0.5, [2, 0]),
        ([NAN, 1, NAN, 2], 0.5, [1, 3]),
        ([NAN, 1, NAN, NAN], 0.9, [1]),
        ([NAN, NAN], 0.5, []),
        ([], 0.5, []),
    ],
)
def test_the_good_group_is_the_best_share_best_first(losses, gamma, expected, history_of, rng):
    """gamma of the finished trials, those that failed included in the count; ties go to the earlier trial."""
    history = history_of(LINE, LINE.sample(rng, len(losses)), losses)
    good, is_bad = split(history, gamma)
    assert good.tolist() == expected
    assert sorted([*good, *np.flatnonzero(is_bad)]) == list(range(len(losses)))


def test_the_good_group_is_bounded(history_of, rng):
    """However long the history, at most 25 trials are good."""
    history = history_of(LINE, LINE.sample(rng, 1000), losses=range(1000))
    good, is_bad = split(history, 0.5)
    assert (good.tolist(), is_bad.sum()) == (list(range(25)), 975)


@pytest.mark.parametrize(
    ("state", "status", "is_bad"),
    [
        (JOB_STATE_DONE, STATUS_FAIL, True),
        (JOB_STATE_ERROR, STATUS_OK, True),
        (JOB_STATE_NEW, STATUS_NEW, True),
        (JOB_STATE_RUNNING, STATUS_OK, True),
        (JOB_STATE_CANCEL, STATUS_OK, False),
    ],
)
def test_trials_without_a_loss_are_never_good(state, status, is_bad, document):
    """A failed or unfinished trial with a very low 'loss' is not learned from; a cancelled one says nothing at all."""
    history = History(["x"])
    documents = [document(tid, {"x": 0.1 * tid}, float(tid)) for tid in range(5)]
    history.sync([*documents, document(5, {"x": 0.9}, -1e9, state, status)])
    good, bad = split(history, 0.9)
    assert 5 not in good
    assert bad[5] == is_bad


@pytest.mark.parametrize(
    ("result", "has_ranks"),
    [({"loss": 1.0}, True), ({"losses": [1.0, 2.0]}, False), ({"loss": 1.0, "constraints": [-1.0]}, False)],
    ids=["one loss", "two losses", "a constraint"],
)
def test_ranks_count_where_there_is_one_loss_and_no_constraint(result, has_ranks, document, rng, monkeypatch):
    """Elsewhere the densities decide alone. Points of a batch run for those after them."""
    added = []

    class Watched(Ranks):
        def add_running(self, values):
            added.extend(values.tolist())
            super().add_running(values)

    monkeypatch.setattr(tpe, "Ranks", Watched)
    history, documents = History(["x"]), [document(i, {"x": x}) for i, x in enumerate(rng.random(12))]
    for each in documents:
        each["result"] |= result
    history.sync(documents)
    proposed = tpe.propose(LINE, history, rng, 3)
    assert added == (proposed[:2].tolist() if has_ranks else [])


@pytest.mark.parametrize("n", [0, 1, 2, 25])
def test_rank_weights(n):
    """Weights fall with the rank and sum to the number of trials."""
    weights = tpe.rank_weights(n)
    assert (len(weights), weights.sum()) == (n, pytest.approx(n))
    assert (np.diff(weights) < 0).all()
    assert (weights > 0).all()


class Watched(History):
    """Columns that say when someone looks at all losses, or at what became of all trials."""

    n_looks = 0

    @property
    def losses(self):
        """Counted."""
        self.n_looks += 1
        return super().losses

    @property
    def kinds(self):
        """Counted."""
        self.n_looks += 1
        return super().kinds


def test_a_proposal_does_not_look_at_all_trials(document, rng):
    """Only for several losses or constraints, or after an edit: so that its cost does not grow with the history."""
    history, documents = Watched(["x"]), [document(i, {"x": x}, x) for i, x in enumerate(rng.random(50))]
    history.sync(documents)
    for i in range(50, 80):
        tpe.propose(LINE, history, rng, 2)
        documents.append(document(i, {"x": rng.random()}, rng.random(), rng.choice([JOB_STATE_DONE, JOB_STATE_CANCEL])))
        history.sync(documents)
    assert history.n_looks == 0
    documents[5]["result"]["loss"] = -1.0
    history.check_all()
    assert tpe.good_rows(history, 0.1)[0] == 5
    assert history.n_looks > 0


def test_no_trial_is_good_that_is_as_far_from_the_constraints_as_any(document):
    """As long as none meets them; the others are good by how far they are."""
    history, documents = History(["x"]), [document(i, {"x": i / 10}, 10.0 - i) for i in range(6)]
    for each, violation in zip(documents, [3.0, 3.0, 1.0, 2.0, 3.0, NAN], strict=True):
        each["result"]["constraints"] = [violation]
    history.sync(documents[:2])
    assert tpe.good_rows(history, 0.1).tolist() == []
    history.sync(documents[:5])
    assert tpe.good_rows(history, 0.1).tolist() == [2, 3]
    history.sync(documents)
    assert tpe.good_rows(history, 0.1).tolist() == [2, 3, 4, 1]  # NaN is farther


def test_a_region_that_fails_is_avoided(study):
    """Proposals stay away from where the objective fails."""
    _, points = study(tpe.propose, LINE, lambda x: NAN if x < 0.5 else abs(x - 0.8), 60)
    assert np.mean(np.array(points[20:]) < 0.5) < 0.2


# -- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "n", "is_random"),
    [
        (JOB_STATE_DONE, 9, True),
        (JOB_STATE_DONE, 10, False),
        (JOB_STATE_ERROR, 10, False),
        (JOB_STATE_RUNNING, 64, True),
        (JOB_STATE_CANCEL, 64, True),
    ],
)
def test_start_up_counts_trials_that_have_finished(state, n, is_random, history_of, rng):
    """Random search goes on until ten trials have ended, well or badly; running and cancelled ones do not count."""
    history = history_of(LINE, LINE.sample(rng, n), np.linspace(0, 1, n), state)
    proposed = tpe.propose(LINE, history, np.random.default_rng(7), 3)
    drawn = rand.propose(LINE, history, np.random.default_rng(7), 3)
    assert np.array_equal(proposed, drawn) == is_random


def test_many_running_trials_and_no_result_leave_the_prior(history_of, rng):
    """64 trials pending at one spot and none finished: proposals are still prior draws (KS)."""
    history = history_of(LINE, np.full((64, 1), 0.5), state=JOB_STATE_RUNNING)
    proposed = tpe.propose(LINE, history, rng, 500)
    assert stats.kstest(proposed[:, 0], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("state", [JOB_STATE_RUNNING, JOB_STATE_ERROR])
def test_without_a_good_trial_proposals_do_not_collapse(state, history_of, rng):
    """Knowing only running or failed trials, past start-up, proposals cover the range."""
    history = history_of(LINE, LINE.sample(rng, 64), state=state)
    proposed = tpe.propose(LINE, history, rng, 40, tpe.Settings(n_startup_jobs=0))
    assert (np.histogram(proposed, bins=4, range=(0, 1))[0] >= 3).all()


def test_the_first_point_without_start_up_is_a_prior_draw(history_of, rng):
    """With no history and no start-up there is nothing to learn from, and still a point."""
    proposed = tpe.propose(LINE, history_of(LINE, []), rng, 20, tpe.Settings(n_startup_jobs=0))
    assert ((proposed >= 0) & (proposed <= 1)).all()


# -- the densities -----------------------------------------------------------------------------------------------------


def densities_of(space, history, **options):
    return tpe.Densities(SearchState.of(space, history), history, tpe.Settings(**options))


def test_the_score_is_high_where_good_trials_are_and_low_where_bad_ones_are(history_of, rng):
    """Near the best, beside it, and among the worst: the score falls."""
    values = np.concatenate([0.2 + 0.02 * rng.standard_normal(10), rng.uniform(0.5, 1, 60)])[:, None]
    history = history_of(LINE, values, np.abs(values[:, 0] - 0.2))
    state = SearchState.of(LINE, history)
    scores = densities_of(LINE, history).score(state.points(np.array([[0.2], [0.4], [0.75]])))
    assert scores[0] > scores[1] > scores[2]


def test_a_running_trial_lowers_the_score_around_it(history_of, rng):
    """Counted as running, a point is less wanted, and one far away is not."""
    history = history_of(LINE, LINE.sample(rng, 30), losses=rng.random(30))
    state, densities = SearchState.of(LINE, history), densities_of(LINE, history)
    at = state.points(np.array([[0.3], [0.95]]))
    before = densities.score(at)
    densities.add_running(np.array([[0.3]]))
    change = densities.score(at) - before
    assert change[0] < -0.05
    assert change[1] > -0.05


def test_the_score_is_that_of_double_precision(history_of, rng):
    """Scored in single precision, as the same densities written out in double precision, to a hundredth."""
    space = Space({f"x{i}": hp.uniform(f"x{i}", 0, 1) for i in range(8)})
    values = np.clip(np.where(np.arange(300)[:, None] % 3, rng.random((300, 8)), 0.5), 0, 1)
    history = history_of(space, values + 0.0, np.abs(values - 0.5).sum(axis=1))
    state, densities = SearchState.of(space, history), densities_of(space, history)
    points = state.points(np.vstack([rng.random((40, 8)), np.full((1, 8), 0.5)]))
    good, is_bad = split(history, tpe.Settings().gamma)
    z = points.z

    def log_sum(centres, sigmas, weights):
        pdf = stats.truncnorm.logpdf(z[:, None], -centres / sigmas, (1 - centres) / sigmas, centres, sigmas)
        pdf = np.column_stack([pdf.sum(axis=2), np.zeros(len(z))])
        return logsumexp(pdf, axis=1, b=np.append(weights, prior) / (weights.sum() + prior))

    prior = tpe.Settings().prior_weight
    kernels = state.kernels_among(np.empty((0, 8))).shape[1]
    assert kernels == 24  # three features for each number
    coefficients = state.coefficients[1:]
    sigmas = (-2.0 * coefficients[:, :8].astype(float)) ** -0.5
    means = coefficients[:, 8:16] * sigmas**2
    weights = state.weights(np.flatnonzero(~is_bad), prior)[1:]
    least = tpe.least_bandwidth(history.n_finished)
    good_sigmas = np.clip(neighbour_gaps(history.values[good], np.zeros(8), np.ones(8)), least, 1)
    expected = log_sum(history.values[good], good_sigmas, tpe.rank_weights(len(good)))
    expected -= log_sum(np.clip(means, 0, 1), sigmas, weights)
    mixture = densities._good
    marginals = mixture.log_marginals(points) - state.histogram.log_marginals(points, state.density(good, prior))
    np.testing.assert_allclose(densities.score(points), expected + marginals.sum(axis=1), rtol=0, atol=1e-2)


def test_the_least_bandwidth_falls_with_the_finished_trials():
    """Three over their number, in steps of a tenth, from the whole range to a hundredth of it."""
    least = np.array([tpe.least_bandwidth(n) for n in range(2000)])
    exact = np.clip(3 / (np.arange(2000) + 2.0), 0.01, 1)
    assert (np.diff(least) <= 0).all()
    assert (least >= exact - 1e-12).all()
    assert (least <= 1.1 * exact + 1e-12).all()
    assert len(set(least[50:200])) < 20
    assert least[0] == 1
    assert least[-1] == 0.01


def test_candidates_lie_in_the_space_and_mostly_where_good_trials_are(mixed_space, history_of, rng):
    """As many as asked for, on their grids, with the conditions of the space."""
    history = history_of(mixed_space, mixed_space.sample(rng, 40), losses=rng.random(40))
    values, points = densities_of(mixed_space, history).candidates(rng, 50)
    assert values.shape == (50, len(mixed_space))
    assert len(points) == 50
    np.testing.assert_array_equal(mixed_space.mask(np.nan_to_num(values)), values)
    for column, parameter in enumerate(mixed_space.parameters):
        active = values[~np.isnan(values[:, column]), column]
        assert np.isfinite(parameter.distribution.log_pdf(active)).all(), parameter.label


# -- proposals --------------------------------------------------------------------------------------------------------


def test_equal_seeds_and_histories_give_equal_proposals(mixed_space, history_of, rng):
    """A proposal is a function of space, history and generator."""
    values, losses = mixed_space.sample(rng, 30), rng.random(30)
    first, second = (
        tpe.propose(mixed_space, history_of(mixed_space, values, losses), np.random.default_rng(3), 2) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_labels_do_not_matter(history_of, rng):
    """Other labels on the same parameters give the same points."""
    spaces = [
        Space({"a": hp.uniform(first, 0, 1), "b": hp.choice(second, [0, hp.normal(third, 0, 1)])})
        for first, second, third in (["x", "c", "n"], ["zz", "a", "bb"])
    ]
    values, losses = spaces[0].sample(rng, 30), rng.random(30)
    proposed = [tpe.propose(s, history_of(s, values, losses), np.random.default_rng(3), 3) for s in spaces]
    np.testing.assert_array_equal(*proposed)


def test_units_do_not_matter(history_of, rng):
    """The same study in metres and in millimetres proposes the same points."""
    metres, millimetres = Space(hp.uniform("x", 1, 2)), Space(hp.uniform("x", 1000, 2000))
    values, losses = metres.sample(rng, 30), rng.random(30)
    first = tpe.propose(metres, history_of(metres, values, losses), np.random.default_rng(3), 3)
    second = tpe.propose(millimetres, history_of(millimetres, values * 1000, losses), np.random.default_rng(3), 3)
    np.testing.assert_allclose(second, first * 1000, rtol=1e-6)


def test_the_order_of_options_and_of_parameters_does_not_matter(history_of, rng):
    """With options and labels permuted, proposals have the same statistics."""
    spaces = [
        Space({"c": hp.choice(c, [0, 1, 2, 3]), "x": hp.uniform(x, 0, 1), "y": hp.uniform(y, 0, 1)})
        for c, x, y in ("cxy", "zba")
    ]
    columns = [[space.index[label] for label in labels] for space, labels in zip(spaces, ("cxy", "zba"), strict=True)]
    options = [np.arange(4), np.array([2, 0, 3, 1])]
    values = rng.random((60, 3))
    values[:, 0] = rng.integers(0, 4, 60)
    losses = (values[:, 0] - 1) ** 2 + (values[:, 1] - 0.3) ** 2 + 0.1 * rng.random(60)
    found = []
    for space, column, numbers in zip(spaces, columns, options, strict=True):
        given = np.empty_like(values)
        given[:, column] = np.column_stack([numbers[values[:, 0].astype(int)], values[:, 1:]])
        history = history_of(space, given, losses)
        proposed = np.vstack([tpe.propose(space, history, np.random.default_rng(s), 1) for s in range(300)])
        back = proposed[:, column]
        back[:, 0] = np.argsort(numbers)[back[:, 0].astype(int)]
        found.append(back)
    for column in range(3):
        assert stats.ks_2samp(found[0][:, column], found[1][:, column]).pvalue > 1e-3


def test_points_of_a_batch_are_different(history_of, rng):
    """Each point of a batch takes those before it for running trials: all differ, and they spread."""
    space = Space([hp.randint("a", 5), hp.randint("b", 5)])
    history = history_of(space, space.sample(rng, 12), losses=range(12))
    batch = tpe.propose(space, history, rng, 10)
    assert len({tuple(row) for row in batch.tolist()}) == 10
    tried = {tuple(row) for row in history.values.tolist()}
    assert not tried & {tuple(row) for row in batch.tolist()}


def test_running_points_are_not_proposed_again(history_of, document, rng):
    """On a finite space what runs is not proposed; what was cancelled may be."""
    space = Space(hp.randint("x", 3))
    for state, expected in ((JOB_STATE_RUNNING, {2}), (JOB_STATE_CANCEL, {1, 2})):
        history = History(space.labels)
        history.sync([document(0, {"x": 0}, 0.0), document(1, {"x": 1}, None, state)])
        seeds = (np.random.default_rng(seed) for seed in range(12))
        proposed = {tpe.propose(space, history, rng, 1, tpe.Settings(n_startup_jobs=0))[0, 0] for rng in seeds}
        assert proposed == expected


def test_a_finite_space_is_gone_through(study):
    """25 trials on 25 points try nearly all of them; when all are tried, proposals go on."""
    space = Space({"a": hp.quniform("a", 0, 0.4, 0.1), "b": hp.choice("b", list(range(5)))})
    settings = tpe.Settings(n_startup_jobs=5)
    history, _ = study(tpe.propose, space, lambda p: p["a"] + p["b"], 30, settings=settings)
    distinct = [len({tuple(row) for row in history.values[:n].tolist()}) for n in (25, 30)]
    # Of the last few points 64 draws of the prior may miss one.
    assert distinct[0] >= 22
    assert distinct[1] >= 24


def test_every_distribution_keeps_its_bounds_and_types(mixed_space, study):
    """60 trials over all of hp.*: values within bounds and on their grids, of the types that are promised."""
    history, points = study(tpe.propose, mixed_space, lambda p: p["uniform"] ** 2 + p["lognormal"], 60)
    for column, parameter in enumerate(mixed_space.parameters):
        values = history.values[:, column]
        active = values[~np.isnan(values)]
        low, high = parameter.distribution.bounds
        assert ((active >= low) & (active <= high)).all(), parameter.label
        assert np.isfinite(parameter.distribution.log_pdf(active)).all(), parameter.label
        assert parameter.is_conditional or len(active) == 60
    for point in points:
        assert {type(point[key]) for key in ("randint", "range", "uniformint")} == {int}
        assert {type(point[key]) for key in ("uniform", "quniform", "loguniform", "normal", "qnormal")} == {float}
        assert point["zero"] == "always"


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_space_without_parameters(n, history_of, rng):
    """Constants alone: as many empty points as asked for."""
    space = Space({"constant": 1})
    history = history_of(space, np.empty((15, 0)), losses=range(15))
    assert tpe.propose(space, history, rng, n).shape == (n, 0)


def test_no_points_are_points(history_of, rng):
    """Asked for none it gives none."""
    assert tpe.propose(LINE, history_of(LINE, LINE.sample(rng, 15), losses=range(15)), rng, 0).shape == (0, 1)


def test_the_bounds_may_change_between_runs(history_of, rng):
    """One history, then a space with the same label and other bounds: points are read on the new scale."""
    wide, narrow = Space(hp.uniform("x", 0, 100)), Space(hp.uniform("x", 0, 1))
    values = np.linspace(0.1, 0.9, 20)[:, None]
    losses = np.abs(values[:, 0] - 0.3)
    history = history_of(wide, values, losses)
    tpe.propose(wide, history, rng, 1)
    again = tpe.propose(narrow, history, np.random.default_rng(0), 3)
    np.testing.assert_array_equal(
        again, tpe.propose(narrow, history_of(narrow, values, losses), np.random.default_rng(0), 3)
    )


def test_an_option_may_go_away_between_runs(history_of, rng):
    """Trials of an option that no longer exists do not bring it back."""
    many, few = Space(hp.choice("c", list(range(5)))), Space(hp.choice("c", [0, 1]))
    history = history_of(many, rng.integers(0, 5, (30, 1)).astype(float), losses=range(30))
    assert set(tpe.propose(few, history, rng, 10)[:, 0]) <= {0, 1}


def test_an_option_of_probability_zero_may_have_been_tried(history_of, rng):
    """A point that the prior never draws, inserted by the user, does not break the densities."""
    space = Space([hp.pchoice("c", [(1.0, "a"), (0.0, "b")]), hp.uniform("x", 0, 1)])
    values = np.column_stack([np.zeros(20), rng.random(20)])
    values[3, 0] = 1
    values = values[:, np.argsort([space.index["c"], space.index["x"]])]
    for losses in (np.arange(20), np.arange(20)[::-1]):
        assert np.isfinite(tpe.propose(space, history_of(space, values, losses), rng, 5)).all()


@pytest.mark.parametrize("n_finished", [10, 700, 3000])
def test_far_more_running_trials_than_kernels(n_finished, document, rng):
    """2,000 trials running beside a few or many finished ones: the mixture takes a part of them."""
    history = History(["x"])
    states = [JOB_STATE_DONE] * n_finished + [JOB_STATE_RUNNING] * 2000
    history.sync([document(tid, {"x": rng.random()}, rng.random(), state) for tid, state in enumerate(states)])
    assert ((proposed := tpe.propose(LINE, history, rng, 2)) >= 0).all()
    assert (proposed <= 1).all()


@pytest.mark.parametrize("n_candidates", [1, 2, 3, 4, 7])
def test_few_candidates(n_candidates, mixed_space, history_of, rng):
    """Any number of candidates from 1 gives a proposal."""
    history = history_of(mixed_space, mixed_space.sample(rng, 12), losses=range(12))
    settings = tpe.Settings(n_EI_candidates=n_candidates)
    assert tpe.propose(mixed_space, history, rng, 2, settings).shape == (2, len(mixed_space))


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("gamma", 0, "between 0 and 1"),
        ("gamma", 1, "between 0 and 1"),
        ("gamma", NAN, "between 0 and 1"),
        ("gamma", "0.1", "a number"),
        ("n_EI_candidates", 0, ">= 1"),
        ("n_EI_candidates", 24.5, "an integer"),
        ("n_EI_candidates", 24.0, "an integer"),
        ("n_EI_candidates", True, "an integer"),
        ("n_startup_jobs", -1, ">= 0"),
        ("n_startup_jobs", "10", "a number"),
        ("prior_weight", 0, "> 0"),
        ("prior_weight", -1, "> 0"),
        ("prior_weight", INF, "finite"),
        ("prior_weight", NAN, "> 0"),
    ],
)
def test_options_are_checked(option, value, rule):
    """An option out of its rule is refused by name, with rule and value."""
    with pytest.raises(InvalidArgumentError, match=rule) as caught:
        tpe.suggest([0], Domain(lambda _: 0.0, LINE.expr), Trials(), 0, **{option: value})
    assert f"{option}={value!r}" in str(caught.value)


def test_none_is_the_default_of_an_option(history_of, rng):
    """Options that are None are as if not given, whether by our rules or by hyperopt's."""
    domain, trials = Domain(lambda _: 0.0, LINE.expr), Trials()
    for rules in (False, True):
        plain = tpe.suggest([0], domain, trials, 3, hyperopt_rules=rules)
        none = tpe.suggest([0], domain, trials, 3, None, None, None, None, hyperopt_rules=rules)
        assert [d["misc"] for d in plain] == [d["misc"] for d in none]


def test_hyperopt_rules_are_the_classic_search(document):
    """With hyperopt_rules the proposals are those of the classic module, with the options passed on."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, {"x": tid / 30}, abs(tid - 5)) for tid in range(30)])
    trials.refresh()
    domain = Domain(lambda _: 0.0, LINE.expr)
    docs = tpe.suggest([30, 31], domain, trials, 3, gamma=0.4, n_startup_jobs=5, hyperopt_rules=True)
    options = classic_tpe.Settings(gamma=0.4, n_startup_jobs=5)
    history = trials.history(domain.space.labels)
    expected = classic_tpe.propose(domain.space, history, np.random.default_rng(3), 2, options)
    assert [document["misc"]["vals"]["x"][0] for document in docs] == expected[:, 0].tolist()


def test_options_take_numpy_numbers_and_infinity():
    """numpy numbers are numbers; infinitely many start-up jobs mean random search."""
    tpe.Settings(np.float64(1), INF, np.int64(5), np.float32(0.2))


def test_suggest_makes_documents(document):
    """A document per id, proposed from the trials' history; the space's value is that of the document."""
    trials = Trials()
    trials.insert_trial_docs([document(tid, {"x": tid / 20}, abs(tid - 5)) for tid in range(20)])
    trials.refresh()
    domain = Domain(lambda _: 0.0, LINE.expr)
    docs = tpe.suggest([20, 21], domain, trials, 3, n_startup_jobs=5, verbose=False)
    assert [document["tid"] for document in docs] == [20, 21]
    values = [document["misc"]["vals"]["x"][0] for document in docs]
    history = trials.history(domain.space.labels)
    expected = tpe.propose(domain.space, history, np.random.default_rng(3), 2, tpe.Settings(n_startup_jobs=5))
    assert values == expected[:, 0].tolist()
    assert tpe.suggest([], domain, trials, 3) == []


# -- that it works ----------------------------------------------------------------------------------------------------


def quadratic(p):
    return (p["x"] - 0.3) ** 2 + (p["y"] - 2) ** 2


def branches(p):
    return 5 + abs(p["far"]) if "far" in p else (p["near"] - 1) ** 2


def learning_rate(p):
    return abs(math.log10(p["rate"]) + 3) + 0.05 * abs(p["depth"] - 6)


@pytest.mark.parametrize(
    ("objective", "space"),
    [
        (quadratic, {"x": hp.uniform("x", -5, 5), "y": hp.normal("y", 0, 3)}),
        (branches, hp.choice("c", [{"far": hp.normal("far", 0, 9)}, {"near": hp.uniform("near", -9, 9)}])),
        (learning_rate, {"rate": hp.loguniform("rate", -14, 0), "depth": hp.quniform("depth", 1, 30, 1)}),
    ],
)
def test_it_finds_the_optimum_better_than_random_search(objective, space, study):
    """Over five seeds of 40 trials the median of the best losses is below half of random search's."""
    compiled = Space(space)
    best = {
        propose: np.median([study(propose, compiled, objective, 40, seed)[0].losses.min() for seed in range(5)])
        for propose in (tpe.propose, rand.propose)
    }
    assert best[tpe.propose] < 0.5 * best[rand.propose]


def test_a_noisy_failure_rate_does_not_stop_it(study):
    """With a third of all trials failing it still closes in on the optimum."""
    fails = iter(np.random.default_rng(0).random(60) < 1 / 3)
    history, points = study(tpe.propose, LINE, lambda x: NAN if next(fails) else abs(x - 0.7), 60)
    assert np.count_nonzero(history.kinds == FAILED) > 10
    assert np.median(np.abs(np.array(points[30:]) - 0.7)) < 0.15


# -- defaults that programs change -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hyperopt_rules", [False, True])
@pytest.mark.parametrize("option", ["prior_weight", "n_startup_jobs", "n_EI_candidates", "gamma"])
def test_changed_defaults_are_those_of_all_calls(option, hyperopt_rules, document, monkeypatch):
    """A program that sets ``tpe._default_...`` gets what it would by passing the option; options passed come first."""
    trials = Trials()
    trials.insert_trial_docs([document(i, {"x": i / 15, "y": (7 * i % 15) / 15}, abs(i - 7)) for i in range(15)])
    trials.refresh()
    domain = Domain(lambda _: 0.0, [hp.uniform("x", 0, 1), hp.uniform("y", 0, 1)])
    other = {"prior_weight": 9.0, "n_startup_jobs": 15 if hyperopt_rules else 99, "n_EI_candidates": 3, "gamma": 0.9}

    def points(**options):
        docs = tpe.suggest(range(20, 26), domain, trials, 1, hyperopt_rules=hyperopt_rules, **options)
        return [doc["misc"]["vals"] for doc in docs]

    base = {"n_startup_jobs": 5} if option != "n_startup_jobs" else {}
    unchanged, passed = points(**base), points(**{**base, option: other[option]})
    monkeypatch.setattr(tpe, f"_default_{option}", other[option])
    assert points(**base) == passed != unchanged
    default = getattr(classic_tpe.DEFAULTS if hyperopt_rules else tpe.DEFAULTS, option)
    assert points(**{**base, option: default}) == unchanged
