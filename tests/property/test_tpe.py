"""Invariants of TPE over random histories."""

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import split

from sparktune import hp, tpe
from sparktune.history import documents
from sparktune.history.columns import History
from sparktune.history.reading import FAILED, OK, PENDING
from sparktune.history.trial import (
    JOB_STATE_CANCEL,
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_RUNNING,
    STATUS_OK,
)
from sparktune.space.compile import Space

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32 - 1)
SPACES = [
    Space(hp.uniform("x", 0, 1)),
    Space(hp.choice("c", [hp.normal("n", 0, 1), {"q": hp.quniform("q", 0, 1, 0.1), "r": hp.randint("r", 4)}, None])),
    Space(
        [
            hp.lognormal("l", 0, 2),
            hp.qlognormal("m", 0, 2, 1),
            hp.randint("i", 10**6),
            hp.choice("c", ["a", "b"]),
        ]
    ),
    Space([hp.randint("a", 3), hp.pchoice("b", [(0.9, 0), (0.1, 1)])]),
]
#: What may become of a trial: a loss, of any float, or an end or a beginning without one.
ENDS = st.one_of(
    st.tuples(st.just(JOB_STATE_DONE), st.floats() | st.integers(0, 3)),
    st.tuples(st.sampled_from([JOB_STATE_ERROR, JOB_STATE_RUNNING, JOB_STATE_CANCEL]), st.just(-1e9)),
)


def history_of(space, ends, seed):
    """The history of prior draws with these ends."""
    history, written = History(space.labels), []
    for tid, (row, (state, loss)) in enumerate(
        zip(space.sample(np.random.default_rng(seed), len(ends)), ends, strict=True)
    ):
        misc = documents.new_misc(tid, space.raw(row), space.labels)
        result = {"status": STATUS_OK, "loss": loss}
        written.append(documents.new_document(tid, None, result, misc, None) | {"state": state})
    history.sync(written)
    return history


@QUICK
@given(st.sampled_from(SPACES), st.lists(ENDS, max_size=40), SEEDS, st.integers(1, 4), st.integers(1, 30))
def test_any_history_gives_points_of_the_space(space, ends, seed, n, n_candidates):
    """Infinite, equal, missing losses, failures, running and cancelled trials: n possible points come back."""
    options = tpe.Settings(n_startup_jobs=5, n_EI_candidates=n_candidates)
    points = tpe.propose(space, history_of(space, ends, seed), np.random.default_rng(seed), n, options)
    assert points.shape == (n, len(space))
    np.testing.assert_array_equal(space.mask(np.nan_to_num(points)), points)
    for column, parameter in enumerate(space.parameters):
        active = points[~np.isnan(points[:, column]), column]
        assert np.isfinite(parameter.distribution.log_pdf(active)).all()


@QUICK
@given(st.lists(ENDS, max_size=60), st.floats(0.01, 0.99), SEEDS)
def test_the_groups_part_the_trials(ends, gamma, seed):
    """Good trials have losses, no bad one with a loss is better; cancelled trials are in neither group."""
    history = history_of(SPACES[0], ends, seed)
    good, is_bad = split(history, gamma)
    bad = np.flatnonzero(is_bad)
    losses, kinds = history.losses, history.kinds
    assert len(good) == min(math.ceil(gamma * history.n_finished), tpe.MAX_GOOD, np.count_nonzero(kinds == OK))
    assert (kinds[good] == OK).all()
    assert sorted([*good, *bad]) == np.flatnonzero(np.isin(kinds, [OK, FAILED, PENDING])).tolist()
    if len(good):
        assert all(losses[good[i]] <= losses[good[i + 1]] for i in range(len(good) - 1))
        assert not (losses[bad[kinds[bad] == OK]] < losses[good].max()).any()
