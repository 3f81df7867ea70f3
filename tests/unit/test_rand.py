"""Random search is the prior."""

import numpy as np
import pytest
from scipy import stats

from sparktune import Domain, Trials, fmin, hp, rand
from sparktune.space.compile import Space

#: By seed what hyperopt 0.3.0 draws for two ids from the space of the test below.
HYPEROPT_DRAWS = [
    (
        0,
        [
            {"k": 26, "kind": 2, "l": 1.1105996749581577, "u": -0.9180529521276106, "w": 2.5},
            {"k": 33, "kind": 0, "s": -1.4074704716139852, "u": 0.4589931219679968, "w": 10.0, "x": 4.776833533912728},
        ],
    ),
    (
        1,
        [
            {"k": 21, "kind": 1, "n": 4.0, "p": 0, "u": -0.7116807745607325, "w": 6.0},
            {"k": 18, "kind": 2, "l": 1.4398981705419596, "u": -0.18160172726167745, "w": 1.5},
        ],
    ),
    (
        2,
        [
            {"k": 12, "kind": 2, "l": 0.08703304693367653, "u": 0.6284514811885606, "w": 1.5},
            {"k": 25, "kind": 1, "p": 1, "s": 0.5624213395952985, "u": -0.6241978532667931, "w": 8.5},
        ],
    ),
]


@pytest.fixture
def space():
    """A conditional space."""
    return Space(hp.choice("c", [hp.uniform("x", 0, 1), {"y": hp.normal("y", 0, 1)}]))


@pytest.fixture
def space_of_six():
    return {"a": hp.choice("a", ["x", "y"]), "b": hp.quniform("b", 1, 3, 1)}


def test_draws_follow_the_prior(space, history_of, rng):
    """Proposals are prior draws, and inactive where they must be."""
    values = rand.propose(space, history_of(space, []), rng, 2000)
    x, c = values[:, space.index["x"]], values[:, space.index["c"]]
    np.testing.assert_array_equal(np.isnan(x), c == 1)
    assert stats.kstest(x[c == 0], "uniform").pvalue > 1e-3
    assert stats.binomtest(int(c.sum()), len(c)).pvalue > 1e-3


def test_a_batch_is_what_one_at_a_time_would_be(space, history_of):
    """The stream of points hangs on the generator, not on how many are asked for at once."""
    history, one_by_one = history_of(space, []), np.random.default_rng(3)
    batch = rand.propose(space, history, np.random.default_rng(3), 5)
    np.testing.assert_array_equal(batch, np.vstack([rand.propose(space, history, one_by_one, 1) for _ in range(5)]))


def test_a_finite_space_is_gone_through_before_a_point_comes_again(space_of_six):
    """Six points are six trials, proposed in batches or one by one; then they come again, as drawn."""
    trials = Trials()
    fmin(lambda _: 0.0, space_of_six, rand.suggest, 4, trials=trials, max_queue_len=3, rstate=0, verbose=False)
    fmin(lambda _: 0.0, space_of_six, rand.suggest, 6, trials=trials, rstate=0, verbose=False)
    assert len({(vals["a"][0], vals["b"][0]) for vals in (misc["vals"] for misc in trials.miscs)}) == 6
    fmin(lambda _: 0.0, space_of_six, rand.suggest, 8, trials=trials, rstate=0, verbose=False)
    assert len(trials) == 8


def test_no_points_are_points(space, history_of, rng):
    """Asked for none it gives none, with a column per parameter."""
    assert rand.propose(space, history_of(space, []), rng, 0).shape == (0, 3)


def test_suggest_makes_documents(space):
    """A document per id, with index and value of the active labels; equal seeds give equal values."""
    domain, trials = Domain(lambda _: 0.0, space.expr), Trials()
    first, second = (rand.suggest([7, 8, 9], domain, trials, seed=5) for _ in range(2))
    assert [document["tid"] for document in first] == [7, 8, 9]
    assert [document["misc"]["vals"] for document in first] == [document["misc"]["vals"] for document in second]
    for document in first:
        active = {label for label, values in document["misc"]["vals"].items() if values}
        assert active == {"c", "x" if document["misc"]["vals"]["c"] == [0] else "y"}
        assert document["misc"]["idxs"]["c"] == [document["tid"]]


def test_a_batch_by_label(space):
    """Ids and values by label; of one id the draws of ``suggest`` with the same seed."""
    domain, trials = Domain(lambda _: 0.0, space.expr), Trials()
    idxs, vals = rand.suggest_batch([7, 8, 9, 10], domain, trials, seed=5)
    assert idxs["c"].tolist() == [7, 8, 9, 10]
    assert idxs["x"].tolist() == idxs["c"][vals["c"] == 0].tolist()
    assert idxs["y"].tolist() == idxs["c"][vals["c"] == 1].tolist()
    idxs, vals = rand.suggest_batch([7], domain, trials, seed=5)
    misc = rand.suggest([7], domain, trials, seed=5)[0]["misc"]
    assert {label: array.tolist() for label, array in idxs.items()} == misc["idxs"]
    assert {label: array.tolist() for label, array in vals.items()} == misc["vals"]


def test_a_batch_is_of_arrays():
    """What calculates with hyperopt's batches calculates with ours: integers where a value is one, else floats."""
    kinds = {"u": hp.uniform("u", 0, 1), "l": hp.qlognormal("l", 0, 1, 1), "i": hp.uniformint("i", 0, 9)}
    whole = {"r": hp.randint("r", 9), "c": hp.choice("c", [1, 2]), "p": hp.pchoice("p", [(0.5, 1), (0.5, 2)])}
    idxs, vals = rand.suggest_batch(range(4), Domain(lambda _: 0.0, kinds | whole), Trials(), seed=5)
    for label in [*kinds, *whole]:
        assert idxs[label].dtype == np.int64
        assert vals[label].dtype == (np.float64 if label in kinds else np.int64)
        assert vals[label].shape == (4,)


def test_a_batch_of_a_label_that_is_never_active():
    """Its arrays are empty and of the same kinds, so that its ids are an index, as others are."""
    space = hp.pchoice("p", [(1.0, 0), (0.0, [hp.uniform("u", 0, 1), hp.randint("r", 5)])])
    idxs, vals = rand.suggest_batch(range(4), Domain(lambda _: 0.0, space), Trials(), seed=5)
    assert vals["p"][idxs["u"]].tolist() == vals["p"][idxs["r"]].tolist() == []
    assert (vals["u"].dtype, vals["r"].dtype) == (np.float64, np.int64)


def test_a_batch_of_no_ids():
    """No ids give empty arrays, of the same kinds."""
    idxs, vals = rand.suggest_batch([], Domain(lambda _: 0.0, {"u": hp.uniform("u", 0, 1)}), Trials(), seed=5)
    assert (idxs["u"].dtype, idxs["u"].shape, vals["u"].dtype, vals["u"].shape) == (np.int64, (0,), np.float64, (0,))


def branches():
    """Choices within a choice, and a node in two places."""
    shared = hp.normal("s", 0, 2)
    second = ("b", hp.pchoice("p", [(0.2, hp.qnormal("n", 0, 5, 2)), (0.8, shared)]))
    return {
        "kind": hp.choice("kind", [{"x": hp.loguniform("x", -3, 2), "s": shared}, second, [hp.lognormal("l", 0, 1)]]),
        "k": hp.randint("k", 3, 40),
        "u": hp.uniform("u", -1, 1),
    }


@pytest.mark.parametrize(("seed", "expected"), HYPEROPT_DRAWS)
def test_a_seed_gives_what_it_gives_in_hyperopt(seed, expected):
    """Draw for draw: choices, a node in two places, and all kinds that hyperopt keeps within their bounds."""
    space = {**branches(), "w": hp.qlognormal("w", 1, 1, 0.5)}
    documents = rand.suggest([0, 1], Domain(lambda _: 0.0, space), Trials(), seed)
    values = [document["misc"]["vals"] for document in documents]
    for drawn, wanted in zip(values, expected, strict=True):
        # Within rounding: exp differs in its last digit from one build of numpy to another.
        assert {label: value[0] for label, value in drawn.items() if value} == pytest.approx(wanted, rel=1e-14)


#: By label the ids and values that hyperopt 0.3.0 draws for five ids with seed 1 from the space of the test below.
HYPEROPT_BATCH = {
    "k": ([7, 8, 9, 10, 11], [8, 39, 7, 17, 17]),
    "kind": ([7, 8, 9, 10, 11], [1, 1, 2, 2, 0]),
    "l": ([9, 10], [0.6174733849651037, 1.820017675099407]),
    "n": ([], []),
    "p": ([7, 8], [1, 1]),
    "s": ([7, 8, 11], [1.0934259732248939, -1.4729081740033338, -0.32581989598610556]),
    "u": (
        [7, 8, 9, 10, 11],
        [-0.3763370959790291, -0.1533471020548487, 0.6554051876408835, -0.18160172726167745, 0.09918737534611899],
    ),
    "x": ([11], [5.715874110022237]),
}


def test_a_batch_is_what_it_is_in_hyperopt():
    """Draw for draw: all values of a label before those of the next."""
    idxs, vals = rand.suggest_batch([7, 8, 9, 10, 11], Domain(lambda _: 0.0, branches()), Trials(), 1)
    assert {label: ids.tolist() for label, ids in idxs.items()} == {k: ids for k, (ids, _) in HYPEROPT_BATCH.items()}
    for label, (_, values) in HYPEROPT_BATCH.items():
        assert vals[label].tolist() == pytest.approx(values, rel=1e-14)  # within rounding, as above
