"""Random generators: what stands for one, and who takes it."""

import numpy as np
import pytest

from sparktune import hp, rdists, tpe
from sparktune.exceptions import InvalidTypeError
from sparktune.pyll.stochastic import sample
from sparktune.space.generators import generator_of

TAKERS = {
    "generator_of": lambda rng: generator_of(rng).random(),
    "sample": lambda rng: sample(hp.uniform("x", 0, 1), rng),
    "rvs": lambda rng: rdists.quniform_gen(0, 1e9, 1).rvs(random_state=rng),
    "GMM1": lambda rng: float(tpe.GMM1([1.0], [0.0], [1.0], rng=rng)),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, np.random.SeedSequence, int])
def test_each_kind_of_random_state_is_taken_and_repeats(taker, make):
    """A RandomState as well, which numpy 1 does not take for a seed; equal ones give equal draws."""
    assert TAKERS[taker](make(3)) == TAKERS[taker](make(3)) != TAKERS[taker](make(4))


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("wrong", ["x", -1, 0.5])
def test_anything_else_is_refused(taker, wrong):
    """With the rule, the value and the fix."""
    with pytest.raises(InvalidTypeError, match=r"is a numpy Generator, an int >= 0, .*, got .*: write .*default_rng"):
        TAKERS[taker](wrong)
