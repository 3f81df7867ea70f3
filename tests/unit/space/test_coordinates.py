"""Coordinates: values to the scale of the densities, and back."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from sparktune import auto, gp, hp, tpe
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
    hp.randint("x", 2**40),
    hp.randint("x", 1),
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


def test_zero_has_no_sign():
    """The cell of 0 of a grid decodes to 0.0, not to -0.0, which a document would show."""
    for node in (hp.quniform("x", 0, 1, 0.1), hp.quniform("x", -1, 1, 0.5), hp.qnormal("x", 0, 1, 1)):
        coordinates = Coordinates(Space(node))
        z = coordinates.encode(np.array([[-1e-3], [-1e-9], [0.0], [1e-3]]))
        decoded = coordinates.decode(z)
        assert not np.signbit(decoded[decoded == 0]).any()
        assert (decoded == 0).all()


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


# -- prior and layout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", PARAMETERS, ids=describe)
def test_the_prior_quantile_turns_uniforms_into_the_prior(node):
    """Evenly spaced ``u`` give the distribution's own quantiles; 0 and the last float below 1 stay finite."""
    coordinates = Coordinates(Space(node))
    distribution = coordinates.space.parameters[0].distribution
    u = (np.arange(4000) + 0.5) / 4000
    decoded = coordinates.decode(coordinates.prior_quantile(u[:, None]))[:, 0]
    drawn = distribution.sample(np.random.default_rng(5), 4000)
    assert stats.ks_2samp(decoded, drawn).statistic < 0.04  # 1.95 / sqrt(4000) = 0.031 is the 0.1 % point of one sample
    extreme = coordinates.prior_quantile(np.array([[0.0], [np.nextafter(1.0, 0.0)]]))
    assert np.isfinite(extreme).all()
    assert np.isfinite(distribution.log_pdf(coordinates.decode(extreme))[:, 0]).all()


def test_the_prior_quantile_never_picks_an_option_of_probability_zero():
    """Not at 0, not at the end, not between."""
    space = Space(hp.pchoice("x", [(0.0, "a"), (0.5, "b"), (0.0, "c"), (0.5, "d"), (0.0, "e")]))
    u = np.append(np.linspace(0, 1, 2001)[:-1], np.nextafter(1.0, 0.0))
    assert set(Coordinates(space).prior_quantile(u[:, None])[:, 0]) == {1.0, 3.0}


@pytest.mark.parametrize("node", PARAMETERS, ids=describe)
def test_every_value_that_can_be_drawn_is_in_its_own_cell(node, rng):
    """Values of a short grid have steps, in order and of the prior's mass; long grids have none."""
    coordinates = Coordinates(Space(node))
    layout = coordinates.layout
    assert len(layout.columns) == 1
    if not len(layout.ordinal):
        return
    distribution = coordinates.space.parameters[0].distribution
    values = np.unique(distribution.sample(rng, 3000))
    cells = layout.points(coordinates.encode(values[:, None])).cells[:, 0]
    assert (np.diff(cells) > 0).all()
    assert (np.diff(np.append(layout.lower, 1.0)) > 0).all()
    np.testing.assert_allclose(np.log(layout.prior_mass[cells]), distribution.log_pdf(values), atol=1e-6)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (hp.uniform("x", 0, 1), "numeric"),
        (hp.normal("x", 0, 1), "numeric"),
        (hp.qnormal("x", 0, 1, 1), "numeric"),
        (hp.quniform("x", 0, 31, 1), "ordinal"),
        (hp.quniform("x", 0, 32, 1), "numeric"),
        (hp.quniform("x", 0, 0.3, 0.1), "ordinal"),
        (hp.qloguniform("x", 0, 3, 1), "ordinal"),
        (hp.qloguniform("x", 0, 9, 1), "numeric"),
        (hp.uniformint("x", 1, 9), "ordinal"),
        (hp.randint("x", 11), "ordinal"),
        (hp.randint("x", 10), "categorical"),
        (hp.randint("x", 2**40), "numeric"),
        (hp.choice("x", list(range(12))), "categorical"),
    ],
)
def test_how_a_parameter_enters_kernels(node, kind):
    """As a density, by steps, or as categories."""
    layout = Coordinates(Space(node)).layout
    assert getattr(layout, kind).tolist() == [0]
    assert sum(map(len, (layout.numeric, layout.ordinal, layout.categorical))) == 1


def test_numeric_columns_of_a_layout_know_their_grid():
    """The step of a fine grid is its share of the range; continuous and logarithmic ones have none."""
    space = Space([hp.quniform("a", 0, 99, 1), hp.uniform("b", 0, 1), hp.qloguniform("c", 0, 9, 1)])
    layout = Coordinates(space).layout
    assert [layout.widths[space.index[label]] for label in "abc"] == pytest.approx([0.01, 0, 0])


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


@pytest.mark.parametrize("algo", [tpe, gp, auto], ids=["tpe", "gp", "auto"])
def test_a_huge_randint_costs_no_memory(algo, history_of, rng):
    """Proposals over 2**40 integers allocate nothing of that length, and stay inside."""
    space = Space(hp.randint("seed", 2**40))
    history = history_of(space, space.sample(rng, 30), losses=range(30))
    algo.propose(space, history, rng, 1)  # imports SciPy
    tracemalloc.start()
    proposed = algo.propose(space, history, rng, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    assert ((proposed >= 0) & (proposed < 2**40) & (proposed == np.round(proposed))).all()


# -- grids far from 0 --------------------------------------------------------------------------------------------------

#: Floats have no half steps there, or their logarithms cannot be told apart.
FAR_GRIDS = [
    hp.uniformint("x", 2**52, 2**52 + 20),
    hp.randint("x", 2**53 - 20, 2**53),
    hp.quniform("x", 5e15, 5e15 + 12, 1),
    hp.quniform("x", 3 * 2**50, 3 * 2**50 + 30, 3),
    hp.quniform("x", 2**48 * 0.1, 2**48 * 0.1 + 1.5, 0.1),
    hp.uniformint("x", -(2**53), -(2**53) + 20),
    hp.quniform("x", -5e15 - 12, -5e15, 1),
    hp.qloguniform("x", math.log(2**45), math.log(2**45 + 20), 1),
    hp.qloguniform("x", math.log(2**50), math.log(2**50) + 2e-14, 1),
    hp.qloguniform("x", 0, 4e-16, 2.0**-52),
]


def values_of_grid(distribution):
    low, high = distribution.bounds
    first, last = getattr(distribution, "grid", (low, high))
    return np.clip([step * getattr(distribution, "q", 1) for step in range(first, last + 1)], low, high)


@pytest.mark.parametrize("node", FAR_GRIDS, ids=describe)
def test_every_value_of_a_far_grid_is_in_its_own_cell(node):
    """Cells have a width, each value is in its own, and comes back from its coordinate."""
    coordinates = Coordinates(Space(node))
    values = values_of_grid(coordinates.space.parameters[0].distribution)[:, None]
    z = coordinates.encode(values)
    np.testing.assert_array_equal(coordinates.layout.points(z).cells[:, 0], np.arange(len(values)))
    np.testing.assert_array_equal(coordinates.decode(z), values)
    assert np.isfinite(coordinates.layout.log_widths).all()


@pytest.mark.parametrize("node", [*FAR_GRIDS, hp.uniformint("x", 2**53 - 1000, 2**53)], ids=describe)
def test_the_prior_of_a_far_grid_gives_every_value_its_share(node):
    """Evenly spaced ``u`` give each value equally often: over so short a stretch logarithms are even as well."""
    coordinates = Coordinates(Space(node))
    n = len(values := values_of_grid(coordinates.space.parameters[0].distribution))
    u = (np.arange(10 * n) + 0.5) / (10 * n)
    decoded = coordinates.decode(coordinates.prior_quantile(u[:, None]))[:, 0]
    np.testing.assert_array_equal(decoded, np.repeat(values, 10))


@pytest.mark.parametrize("algo", [tpe, auto], ids=["tpe", "auto"])
@pytest.mark.parametrize("node", FAR_GRIDS, ids=describe)
def test_far_grids_are_searched(node, algo, history_of, rng):
    """Proposals are values of the grid, without a warning, which would be an error here."""
    space = Space(node)
    values = values_of_grid(space.parameters[0].distribution)
    known = rng.choice(values, 14)[:, None]
    proposed = algo.propose(space, history_of(space, known, known[:, 0] - values[0]), rng, 2)
    assert np.isin(proposed, values).all()


def test_a_distribution_without_order_has_no_axis():
    """Only numeric distributions have one."""
    with pytest.raises(TypeError, match="no axis"):
        axis_of(Categorical((1.0,)))
