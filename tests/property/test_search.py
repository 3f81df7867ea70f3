"""Invariants that every algorithm keeps, over random spaces and histories."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from sparktune import anneal, atpe, auto, gp, grid, hp, qmc, rand, tpe
from sparktune.history import documents
from sparktune.history.columns import History
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_OK,
)
from sparktune.search import classic_tpe
from sparktune.space.compile import Space

QUICK = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32 - 1)
SPACES = [
    Space(hp.uniform("x", -3, 5)),
    Space(hp.choice("c", [hp.normal("n", 0, 1), {"q": hp.quniform("q", 0, 1, 0.1), "r": hp.randint("r", 4)}, None])),
    Space([hp.lognormal("l", 0, 2), hp.qlognormal("m", 0, 2, 1), hp.randint("i", 2**40), hp.choice("c", ["a", "b"])]),
    Space([hp.randint("a", 3), hp.pchoice("b", [(0.9, 0), (0.1, 1), (0.0, 2)])]),
    Space([hp.loguniform("l", -20, 3), hp.qloguniform("q", 0, 3, 1), hp.qnormal("n", 0, 10, 3), hp.randint("one", 1)]),
]
ALGORITHMS = {
    "rand": rand.propose,
    "tpe": lambda space, history, rng, n: tpe.propose(space, history, rng, n, tpe.Settings(n_startup_jobs=3)),
    "classic": lambda space, history, rng, n: classic_tpe.propose(
        space, history, rng, n, classic_tpe.Settings(n_startup_jobs=3)
    ),
    "gp": lambda space, history, rng, n: gp.propose(space, history, rng, n, gp.Settings(3)),
    "auto": lambda space, history, rng, n: auto.propose(space, history, rng, n, auto.Settings(3, 0.3)),
    "anneal": anneal.propose,
    "atpe": atpe.propose,
    "qmc": qmc.propose,
}
#: Those that propose no point twice while another is left.
WITHOUT_REPEATS = ["tpe", "gp", "auto", "anneal", "atpe", "qmc"]
#: A loss of any float, ties among them, or an end or a beginning without one; then constraints.
ENDS = st.tuples(
    st.one_of(
        st.tuples(st.just(JOB_STATE_DONE), st.floats() | st.integers(0, 3)),
        st.tuples(
            st.sampled_from([JOB_STATE_ERROR, JOB_STATE_RUNNING, JOB_STATE_NEW, JOB_STATE_CANCEL]), st.just(-1.0)
        ),
    ),
    st.floats(),
)


@pytest.fixture(params=ALGORITHMS)
def propose(request):
    """The algorithms, with a start-up of three trials."""
    return ALGORITHMS[request.param]


def documents_of(space, ends, values, kind="loss"):
    """Documents of points with these ends; of kind ``loss``, ``losses`` or ``constraints``."""
    written = []
    for tid, (row, ((state, loss), other)) in enumerate(zip(values, ends, strict=True)):
        raw = space.raw(row)
        extra = {"losses": [loss, other]} if kind == "losses" else {"loss": loss}
        extra |= {"constraints": [other]} if kind == "constraints" else {}
        misc = documents.new_misc(tid, raw, space.labels)
        written.append(documents.new_document(tid, None, {"status": STATUS_OK} | extra, misc, None) | {"state": state})
    return written


def history_of(space, ends, seed, kind="loss"):
    history = History(space.labels)
    history.sync(documents_of(space, ends, space.sample(np.random.default_rng(seed), len(ends)), kind))
    return history


def done(losses):
    return [((JOB_STATE_DONE, loss), 0.0) for loss in losses]


@QUICK
@given(
    space=st.sampled_from(SPACES),
    ends=st.lists(ENDS, max_size=25),
    seed=SEEDS,
    n=st.integers(1, 3),
    kind=st.sampled_from(["loss", "losses", "constraints"]),
)
def test_any_history_gives_points_of_the_space(propose, space, ends, seed, n, kind):
    """Infinite, equal, huge and missing losses, constraints of any float, failures, running and cancelled trials."""
    points = propose(space, history_of(space, ends, seed, kind), np.random.default_rng(seed), n)
    assert points.shape == (n, len(space))
    np.testing.assert_array_equal(space.mask(np.nan_to_num(points)), points)
    for column, parameter in enumerate(space.parameters):
        active = points[~np.isnan(points[:, column]), column]
        assert np.isfinite(parameter.distribution.log_pdf(active)).all(), parameter.label
        low, high = parameter.distribution.bounds
        assert ((active >= low) & (active <= high)).all(), parameter.label


@QUICK
@given(space=st.sampled_from(SPACES), ends=st.lists(ENDS, max_size=20), seed=SEEDS)
def test_a_proposal_is_a_function_of_history_and_generator(propose, space, ends, seed):
    """Two histories of the same documents, and one asked twice, give the same points."""
    first, second = history_of(space, ends, seed), history_of(space, ends, seed)
    points = [propose(space, h, np.random.default_rng(seed), 2) for h in (first, second, first)]
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])


@st.composite
def finite_expressions(draw, depth=0):
    """Spaces of few points: grids, choices with parameters in their options, and options that are unlikely."""
    label = draw(st.uuids()).hex
    kind = draw(st.sampled_from(["randint", "quniform", "qloguniform", "pchoice", *["choice", "pair"] * (depth < 2)]))
    if kind == "randint":
        return hp.randint(label, draw(st.integers(1, 4)))
    if kind == "quniform":
        return hp.quniform(label, 0, draw(st.integers(1, 3)) * 0.1, 0.1)
    if kind == "qloguniform":
        return hp.qloguniform(label, 0, 1.5, 1)
    if kind == "pchoice":
        return hp.pchoice(label, [(0.999, 0), (0.001, draw(finite_expressions(depth=2)) if depth < 2 else 1), (0.0, 2)])
    parts = [draw(finite_expressions(depth=depth + 1)) for _ in range(draw(st.integers(1, 3 - depth)))]
    return hp.choice(label, [*parts, None]) if kind == "choice" else parts


def keys(points):
    """Points as what can be compared: by label, without what is inactive."""
    return [tuple(np.nan_to_num(row, nan=-1.0).round(9).tolist()) for row in points]


@settings(QUICK, max_examples=15)
@given(expr=finite_expressions(), seed=SEEDS, batch=st.integers(1, 3))
@pytest.mark.parametrize("name", WITHOUT_REPEATS)
def test_a_finite_space_is_gone_through_without_repeats(name, expr, seed, batch):
    """In batches, whatever became of the trials, all points of a grid come once, however unlikely; then more come."""
    space, rng = Space(expr), np.random.default_rng(seed)
    every = keys(grid.propose(space, History(space.labels), rng, 10_000))
    n = min(len(every), 12)
    ends = [
        ((state, float(rng.normal())), 0.0)
        for state in rng.choice([JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING], 400)
    ]
    values = np.empty((0, len(space)))
    while len(values) < n:
        history = History(space.labels)
        history.sync(documents_of(space, ends[: len(values)], values))
        values = np.vstack([values, ALGORITHMS[name](space, history, rng, batch)])
    found = keys(values[: min(len(values), len(every))])
    assert len(set(found)) == len(found)
    assert set(found) <= set(every)
    if n == len(every):
        history = History(space.labels)
        history.sync(documents_of(space, ends[: len(values)], values))
        np.testing.assert_array_equal(*[(p := ALGORITHMS[name](space, history, rng, 1)), space.mask(np.nan_to_num(p))])


@settings(QUICK, max_examples=40)
@given(expr=finite_expressions(), seed=SEEDS)
def test_a_grid_has_all_that_draws_find(expr, seed):
    """Each point once, and every draw of the prior is among them; one by one in the order of one call."""
    space, rng = Space(expr), np.random.default_rng(seed)
    every = keys(grid.propose(space, History(space.labels), rng, 10_000))
    assert len(set(every)) == len(every)
    assert set(keys(space.sample(rng, 200))) <= set(every)
    history, values = History(space.labels), np.empty((0, len(space)))
    for _ in range(min(len(every), 8)):
        history.sync(documents_of(space, done(range(len(values))), values))
        values = np.vstack([values, grid.propose(space, history, rng, 1)])
        history = History(space.labels)
    assert keys(values) == every[:8]


@pytest.mark.parametrize("name", ["tpe", "anneal", "qmc", "gp", "auto"])
def test_the_last_point_of_many_is_found(name):
    """Of 3,000 points all but two were tried: the next two are those, and nothing was drawn for long."""
    space, rng = Space([hp.randint("a", 60), hp.quniform("b", 1, 50, 1)]), np.random.default_rng(0)
    every = rng.permutation(np.array([[a, b] for a in range(60) for b in range(1, 51)], dtype=float))
    history = History(space.labels)
    history.sync(documents_of(space, done(rng.random(2998).tolist()), every[:2998]))
    points = ALGORITHMS[name](space, history, rng, 2)
    assert sorted(keys(points)) == sorted(keys(every[2998:]))


@QUICK
@given(
    space=st.sampled_from(SPACES),
    losses=st.lists(st.integers(-50, 50), min_size=5, max_size=25),
    factor=st.sampled_from([0.25, 1, 4, 1024]),
    power=st.sampled_from([1, 3]),
    shift=st.integers(-1000, 1000),
    seed=SEEDS,
)
def test_maps_that_keep_the_order_of_the_losses_change_nothing_in_tpe(space, losses, factor, power, shift, seed):
    """By our rules and by hyperopt's, only the order counts: affine maps change nothing, and cubes do not."""
    for name in ("tpe", "classic"):
        first, second = (
            ALGORITHMS[name](space, history_of(space, done(ys), seed), np.random.default_rng(seed), 2)
            for ys in (losses, [factor * y**power + shift for y in losses])
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("number", "n"), [*((number, 40) for number in range(len(SPACES))), (1, 140), (1, 700), (1, 3000)]
)
def test_a_tpe_proposal_does_not_hang_on_how_the_history_came_in(number, n):
    """Rows read one by one as they ran and as they ended, with proposals in between: as those read at once."""
    space, rng = SPACES[number], np.random.default_rng(n)
    values = space.sample(rng, n)
    states = rng.choice([JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_CANCEL], n, p=[0.8, 0.1, 0.1])
    losses = rng.choice([np.nan, np.inf, -np.inf, *rng.random(17)], n)
    whole = documents_of(space, [(end, 0.0) for end in zip(states.tolist(), losses.tolist(), strict=True)], values)
    at_once, in_parts = History(space.labels), History(space.labels)
    at_once.sync(whole)
    growing = [document | {"state": JOB_STATE_RUNNING} for document in whole]
    proposals = {int(i) for i in rng.choice(n, 40, replace=False)}
    for i in range(n):
        in_parts.sync(growing[: i + 1])
        if i >= 5:
            growing[i - 5]["state"] = whole[i - 5]["state"]
        if i in proposals:
            tpe.propose(space, in_parts, rng, 2)
    for document, ended in zip(growing, whole, strict=True):
        document["state"] = ended["state"]
    in_parts.sync(growing)
    first, second = (tpe.propose(space, h, np.random.default_rng(1), 4) for h in (at_once, in_parts))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["rand", "tpe", "gp", "auto", "anneal", "atpe", "qmc"])
def test_running_trials_alone_leave_the_prior(name):
    """64 trials pending at one spot and no result: proposals, alone and in a batch, spread like the prior (KS)."""
    space, pending = SPACES[0], [((JOB_STATE_RUNNING, 0.0), 0.0)] * 64

    def drawn(seed, n):
        history = History(space.labels)
        history.sync(documents_of(space, pending, np.full((64, 1), 1.0)))
        return ALGORITHMS[name](space, history, np.random.default_rng(seed), n)[:, 0]

    for points in (drawn(7, 200), np.concatenate([drawn(seed, 1) for seed in range(100)])):
        assert stats.kstest(points, stats.uniform(-3, 8).cdf).pvalue > 1e-3
