"""Coordinates: values to the scale of the densities, and back."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from sparktune import hp, tpe
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates, axis_of, n_categories
from sparktune.space.distributions import Categorical

PARAMETERS = [
    hp.uniform("x", -3, 5),
    hp.uniform("x", 1e6, 1e6 + 1e-3),
    hp.quniform("x", 0, 1, 0.1),
    hp.quniform("x", 0.1, 0.7, 0.1),
    hp.quniform("x", -7, 20, 3),
    hp.loguniform("x", -20, 3),
    hp.qloguniform("x", 0, 6, 1),
    hp.qloguniform("x", math.log(1e-12), 2, 0.5),
    hp.normal("x", 100, 0.1),
    hp.qnormal("x", 0, 10, 3),
    hp.lognormal("x", 3, 2),
    hp.qlognormal("x", 0, 2, 1),
    hp.randint("x", 4),
    hp.randint("x", -5, 4),
    hp.randint("x", 1000),
    hp.randint("x", -5, 10**9),
    hp.randint("x", 2**31 - 1),
    hp.uniformint("x", 3, 300),
    hp.choice("x", list(range(12))),
    hp.choice("x", ["only"]),
    hp.pchoice("x", [(0.2, "a"), (0.5, "b"), (0.3, "c")]),
]


def describe(node):
    return str(Space(node).parameters[0].distribution)


@pytest.mark.parametrize("node", PARAMETERS, ids=describe)
def test_encode_then_decode_is_the_identity(node, rng):
    """Every value that can be drawn survives the way to its coordinate and back."""
    coordinates = Coordinates(Space(node))
    values = coordinates.space.sample(rng, 500)
    decoded = coordinates.decode(coordinates.encode(values))
    if coordinates.is_discrete.all():
        np.testing.assert_array_equal(decoded, values)
    else:  # exp(log(x)), and a shift and back, lose the last digits
        np.testing.assert_allclose(decoded, values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("node", PARAMETERS, ids=describe)
def test_prior_coordinates_decode_to_the_distribution(node, rng):
    """Coordinates drawn from their prior decode to draws of the distribution (two-sample KS)."""
    coordinates = Coordinates(Space(node))
    distribution = coordinates.space.parameters[0].distribution
    decoded = coordinates.decode(coordinates.sample_prior(rng, 2000))[:, 0]
    assert np.isfinite(distribution.log_pdf(decoded)).all()
    # KS is conservative where there are ties, so one threshold serves for discrete distributions too.
    assert stats.ks_2samp(decoded, distribution.sample(rng, 2000)).pvalue > 1e-3


@pytest.mark.parametrize("node", PARAMETERS, ids=describe)
def test_coordinates_outside_the_scale_decode_within_the_bounds(node):
    """Whatever the coordinate, the value is one that can be drawn."""
    coordinates = Coordinates(Space(node))
    if coordinates.categorical.size:
        return
    low, high = coordinates.space.parameters[0].distribution.bounds
    decoded = coordinates.decode(np.array([[-1e3], [-0.1], [0.0], [1.0], [1.1], [1e3]]))
    assert ((decoded >= low) & (decoded <= high) & np.isfinite(decoded)).all()


def test_bounded_coordinates_fill_the_unit_interval_and_normal_ones_are_standardised(rng):
    """Prior draws encode to uniforms on [0, 1], or to standard normals."""
    space = Space([hp.uniform("u", 5, 9), hp.loguniform("l", -9, 2), hp.normal("n", 50, 7), hp.lognormal("m", 5, 2)])
    z = Coordinates(space).encode(space.sample(rng, 2000))
    cdf = {"u": stats.uniform.cdf, "l": stats.uniform.cdf, "n": stats.norm.cdf, "m": stats.norm.cdf}
    for label, column in space.index.items():
        assert stats.kstest(z[:, column], cdf[label]).pvalue > 1e-3


def test_inactive_stays_inactive(rng):
    """NaN encodes to NaN, in numeric and in categorical columns."""
    space = Space(hp.choice("c", [hp.uniform("x", 0, 1), hp.choice("d", ["a", hp.lognormal("y", 0, 1)])]))
    values = space.sample(rng, 100)
    np.testing.assert_array_equal(np.isnan(Coordinates(space).encode(values)), np.isnan(values))


def test_values_that_the_space_no_longer_has(rng):
    """A value outside the bounds encodes to the nearest one inside, an option that is gone to none."""
    space = Space([hp.uniform("x", 0, 1), hp.choice("c", ["a", "b"]), hp.randint("r", 2, 5)])
    columns = [space.index[label] for label in ("x", "c", "r")]
    encoded = Coordinates(space).encode(np.array([[9.0, 5, 9], [-9, -1, 1], [0.5, 1, 2]])[:, np.argsort(columns)])
    np.testing.assert_array_equal(encoded[:, columns], [[1, np.nan, np.nan], [0, np.nan, np.nan], [0.5, 1, 0]])


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (hp.choice("x", list(range(50))), 50),
        (hp.pchoice("x", [(0.5, "a"), (0.5, "b")]), 2),
        (hp.randint("x", 10), 10),
        (hp.randint("x", 5, 15), 10),
        (hp.randint("x", 11), 0),
        (hp.quniform("x", 0, 3, 1), 0),
    ],
)
def test_what_is_categorical(node, expected):
    """Options of a choice and up to ten integers have no order; longer ranges do."""
    assert n_categories(Space(node).parameters[0]) == expected


def test_a_huge_randint_costs_no_memory(history_of, rng):
    """Proposals over 2**31 integers allocate nothing of that length, and stay inside."""
    space = Space(hp.randint("seed", 2**31 - 1))
    history = history_of(space, space.sample(rng, 30), losses=range(30))
    tracemalloc.start()
    proposed = tpe.propose(space, history, rng, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6
    assert ((proposed >= 0) & (proposed < 2**31 - 1) & (proposed == np.round(proposed))).all()


def test_a_distribution_without_order_has_no_axis():
    """Only numeric distributions have one."""
    with pytest.raises(TypeError, match="no axis"):
        axis_of(Categorical((1.0,)))
