"""A mixture of algorithms."""

from functools import partial

import numpy as np
import pytest

from sparktune import Domain, Trials, anneal, fmin, hp, mix, rand, tpe
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError

SPACE = hp.uniform("x", 0, 1)


def named(calls, name):
    """An algorithm that says it was called, and then draws from the prior."""

    def suggest(new_ids, domain, trials, seed):
        calls.append((name, len(new_ids), seed))
        return rand.suggest(new_ids, domain, trials, seed)

    return suggest


def test_each_algorithm_has_its_share_of_the_calls():
    """Drawn anew for each call by its probability, with a seed of its own; the seed decides."""
    domain, trials, runs = Domain(lambda _: 0.0, SPACE), Trials(), []
    for _ in range(2):
        calls = []
        p_suggest = [(0.2, named(calls, "a")), (0.8, named(calls, "b")), (0.0, named(calls, "c"))]
        for seed in range(400):
            assert [d["tid"] for d in mix.suggest([1, 2], domain, trials, seed, p_suggest)] == [1, 2]
        runs.append(calls)
    names = [name for name, *_ in runs[0]]
    assert names.count("a") / 400 == pytest.approx(0.2, abs=0.06)  # three deviations
    assert names.count("c") == 0
    assert len({seed for *_, seed in runs[0]}) > 390
    assert runs[0] == runs[1]


def test_a_run():
    """fmin over three algorithms, in batches."""
    trials = Trials()
    algo = partial(mix.suggest, p_suggest=[(0.1, rand.suggest), (0.2, anneal.suggest), (0.7, tpe.suggest)])
    best = fmin(lambda x: (x - 0.3) ** 2, SPACE, algo, 60, trials=trials, rstate=0, max_queue_len=3, verbose=False)
    assert best["x"] == pytest.approx(0.3, abs=0.01)
    assert {doc["misc"]["search"]["algo"] for doc in trials.trials} == {"rand", "anneal", "tpe"}


@pytest.mark.parametrize("probabilities", [[0.5, 0.4], [0.5, 0.6], [], [1.5, -0.5], [float("nan"), 1.0], ["a", 1.0]])
def test_probabilities_must_sum_to_one(probabilities):
    """Else they are refused, with what was given."""
    p_suggest = [(p, rand.suggest) for p in probabilities]
    with pytest.raises(InvalidArgumentError, match="sum to 1"):
        mix.suggest([0], Domain(lambda _: 0.0, SPACE), Trials(), 0, p_suggest)


@pytest.mark.parametrize("p_suggest", [[(1.0, "tpe")], [1.0], 3, [(0.5, rand.suggest, 1)]])
def test_what_is_no_algorithm_is_refused(p_suggest):
    """With how to write it."""
    with pytest.raises(InvalidTypeError, match=r"tpe\.suggest"):
        mix.suggest([0], Domain(lambda _: 0.0, SPACE), Trials(), 0, p_suggest)


def test_probabilities_may_be_numpy_numbers():
    """And miss 1 by a rounding error."""
    p = np.full(10, 0.1)
    docs = mix.suggest([0], Domain(lambda _: 0.0, SPACE), Trials(), 0, [(share, rand.suggest) for share in p])
    assert len(docs) == 1


def test_probabilities_with_few_digits_are_scaled_to_one():
    """A sum of 1 but for what was rounded off is one, although numpy wants more digits."""
    calls = []
    p_suggest = [(0.3333333, named(calls, "a")), (0.6666666, named(calls, "b"))]
    for seed in range(40):
        mix.suggest([0], Domain(lambda _: 0.0, SPACE), Trials(), seed, p_suggest)
    assert {name for name, *_ in calls} == {"a", "b"}
