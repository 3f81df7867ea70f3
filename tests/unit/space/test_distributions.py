"""Distributions: densities that integrate to one, draws that follow them, arguments that are checked."""

import math
import re

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune.exceptions import InvalidSpaceError
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates
from sparktune.space.distributions import (
    Categorical,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
    Uniform,
    distribution_of,
)
from sparktune.space.scope import sample, scope

CONTINUOUS = [
    Uniform(-3, 5),
    Uniform(1e6, 1e6 + 1e-3),
    LogUniform(-7, 2),
    LogUniform(math.log(1e-5), math.log(0.1)),
    Normal(-4, 0.1),
    Normal(0, 30),
    LogNormal(0, 1),
    LogNormal(-3, 0.2),
]
#: Each with points that hold all of its mass but for less than 1e-9.
DISCRETE = [
    (QUniform(0, 1, 0.1), np.arange(11) * 0.1),
    (QUniform(-0.95, 0.7, 0.1), np.arange(-9, 8) * 0.1),
    (QUniform(0.3, 0.7, 0.1), np.arange(3, 8) * 0.1),
    (QUniform(3, 20, 7), [7, 14]),
    (QUniform(-5, 5, 2.5), [-5, -2.5, 0, 2.5, 5]),
    (QUniform(2, 3.5, 2), [2]),
    (QLogUniform(0, 3, 1), np.arange(1, 21)),
    (QLogUniform(math.log(0.1), math.log(0.7), 0.1), np.arange(1, 8) * 0.1),
    (QLogUniform(math.log(1e-12), math.log(5), 1), np.arange(1, 6)),
    (QLogUniform(math.log(16), math.log(256), 16), np.arange(1, 17) * 16),
    (QNormal(0.3, 1, 0.5), np.arange(-30, 31) * 0.5),
    (QNormal(0, 1, 10), [-10, 0, 10]),
    (QLogNormal(0, 1, 0.5), np.arange(1000) * 0.5),
    (QLogNormal(1, 0.3, 0.1), np.arange(250) * 0.1),
    (RandInt(0, 7), np.arange(7)),
    (RandInt(-3, 3), np.arange(-3, 3)),
    (RandInt(5, 6), [5]),
    (Categorical((0.2, 0.0, 0.8)), [0, 1, 2]),
    (Categorical((0.33, 0.33, 0.33)), [0, 1, 2]),
    (Categorical((1,)), [0]),
]
EVERY = CONTINUOUS + [distribution for distribution, _ in DISCRETE]


def density(distribution):
    """exp(log_pdf) of a number, over a variable without poles: the logarithm, for the log family."""
    if isinstance(distribution, (LogUniform, LogNormal)):
        return lambda u: math.exp(float(distribution.log_pdf(math.exp(u))) + u)
    return lambda x: math.exp(float(distribution.log_pdf(x)))


def edges(distribution, n=8):
    """Quantiles of a sample, and the ends beyond which there is nothing that counts."""
    drawn = distribution.sample(np.random.default_rng(99), 4000)
    drawn = np.log(drawn) if isinstance(distribution, (LogUniform, LogNormal)) else drawn
    if isinstance(distribution, (Uniform, LogUniform)):
        low, high = distribution.low, distribution.high
    else:
        low, high = distribution.mu - 10 * distribution.sigma, distribution.mu + 10 * distribution.sigma
    return np.concatenate([[low], np.quantile(drawn, np.arange(1, n) / n), [high]])


@pytest.mark.parametrize("distribution", CONTINUOUS, ids=repr)
def test_a_density_integrates_to_one_and_draws_follow_it(distribution):
    """Bins of a sample have the mass that quadrature of the density gives them (chi-square), and all bins have 1."""
    bounds = edges(distribution)
    # The edges of a support with a jump are nudged inside, for the density beyond them is 0.
    mass = [
        integrate.quad(density(distribution), a, b, epsabs=1e-12)[0]
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    assert sum(mass) == pytest.approx(1, abs=1e-8)
    drawn = distribution.sample(np.random.default_rng(1), 20_000)
    drawn = np.log(drawn) if isinstance(distribution, (LogUniform, LogNormal)) else drawn
    counts = np.histogram(drawn, np.concatenate([[-np.inf], bounds[1:-1], [np.inf]]))[0]
    assert stats.chisquare(counts, np.asarray(mass) / sum(mass) * len(drawn)).pvalue > 1e-3


@pytest.mark.parametrize(("distribution", "points"), DISCRETE, ids=lambda v: repr(v) if hasattr(v, "sample") else "")
def test_masses_sum_to_one_and_frequencies_match_them(distribution, points):
    """The masses of the grid sum to one, draws are on it, and their frequencies match (chi-square)."""
    points = np.asarray(points, dtype=float)
    mass = np.exp(distribution.log_pdf(points))
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    drawn = distribution.sample(np.random.default_rng(1), 20_000)
    nearest = np.searchsorted(points[:-1] + np.diff(points) / 2, drawn)
    np.testing.assert_allclose(drawn, points[nearest], rtol=1e-12, atol=1e-12)
    expected, counts = mass * len(drawn), np.bincount(nearest, minlength=len(points))
    is_common = expected >= 5
    assert (counts[mass == 0] == 0).all()
    if is_common.sum() > 1:
        rest = ~is_common
        observed = np.append(counts[is_common], counts[rest].sum())
        wanted = np.append(expected[is_common], expected[rest].sum())
        keep = wanted > 1
        assert stats.chisquare(observed[keep], wanted[keep] / wanted[keep].sum() * observed[keep].sum()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("low", "high", "q"), [(0, 1, 0.1), (0.1, 0.7, 0.1), (-0.7, 0.3, 0.1), (0, 5, 1), (0, 0.9, 0.3)]
)
def test_end_points_of_a_quantised_uniform_have_full_mass_and_do_not_leave_the_bounds(low, high, q):
    """The first and the last multiple are as likely as any, and 3 * 0.1 is not above 0.3."""
    distribution = QUniform(low, high, q)
    drawn = distribution.sample(np.random.default_rng(0), 5000)
    assert low <= drawn.min() == distribution.bounds[0] == pytest.approx(low)
    assert high >= drawn.max() == distribution.bounds[1] == pytest.approx(high)
    masses = distribution.log_pdf(np.unique(np.round(drawn, 9)))
    assert len(masses) == round((high - low) / q) + 1
    assert np.ptp(masses) == 0


@pytest.mark.parametrize("n", [1, 2, 10, 40])
def test_a_quantised_uniform_is_exactly_uniform(n):
    """All n + 1 values come equally often, the ends as well (chi-square)."""
    drawn = QUniform(0, n, 1).sample(np.random.default_rng(2), 100_000)
    assert stats.chisquare(np.bincount(drawn.astype(int), minlength=n + 1)).pvalue > 1e-3


@pytest.mark.parametrize(("high", "q"), [(20, 2), (0.7, 0.1), (1000, 8), (49, 7)])
def test_a_quantised_loguniform_stays_on_its_grid(high, q):
    """The largest value is a multiple of q, though exp(log(20)) is less than 20."""
    distribution = QLogUniform(math.log(0.01), math.log(high), q)
    drawn = distribution.sample(np.random.default_rng(0), 5000)
    np.testing.assert_array_equal(drawn, np.round(drawn / q) * q)
    assert drawn.max() == distribution.bounds[1] == round(high / q) * q


@pytest.mark.parametrize(
    "distribution",
    [QUniform(0, 10, 3), QUniform(-0.9, 3.9, 1), QUniform(0.51, 4, 1), QLogUniform(0, 3, 1), QLogUniform(-5, 3, 2)],
    ids=repr,
)
def test_as_few_draws_as_can_be_are_moved_from_where_hyperopt_rounds_them_to(distribution):
    """The share that differs is half the distance between the two laws, each counted in one large sample."""
    n = 50_000
    rounded = np.random.default_rng(3).uniform(distribution.low, distribution.high, n)
    rounded = np.exp(rounded) if isinstance(distribution, QLogUniform) else rounded
    rounded = np.clip(np.round(rounded / distribution.q) * distribution.q, *distribution.bounds)
    drawn = distribution.sample(np.random.default_rng(3), n)
    points, counts = np.unique(rounded, return_counts=True)
    distance = 0.5 * np.abs(counts / n - np.exp(distribution.log_pdf(points))).sum()
    assert abs((drawn != rounded).mean() - distance) < 0.02  # five standard deviations of the counts, all together


@pytest.mark.parametrize("n", [2**13, 2**21, 2**40])
def test_a_draw_from_any_grid_takes_one_number_from_the_generator(n):
    """What is drawn after it is what is drawn after any other number."""
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    QUniform(0, n, 1).sample(rng, 1)
    other.random()
    assert rng.random() == other.random()


@pytest.mark.parametrize("p", [(0.1, 0.9), (0.2, 0.3, 0.5), (0.33, 0.33, 0.33), (1.0,)])
def test_a_seed_draws_the_option_that_hyperopt_draws(p):
    """One multinomial trial per draw, of the probabilities as they were given."""
    for seed in range(20):
        drawn = Categorical(p).sample(np.random.default_rng(seed), 1)
        assert drawn[0] == np.argmax(np.random.default_rng(seed).multinomial(1, p))


@pytest.mark.parametrize(("low", "high", "q"), [(0, 10, 1), (-4, 8, 2), (0, 100, 5)])
def test_a_seed_draws_what_it_draws_in_hyperopt(low, high, q):
    """A quantised uniform draw is the rounded uniform one, but for the share that gives the ends their full mass."""
    drawn = QUniform(low, high, q).sample(np.random.default_rng(3), 20_000)
    rounded = np.round(np.random.default_rng(3).uniform(low, high, 20_000) / q) * q
    is_moved, n = drawn != rounded, (high - low) / q
    share = (n - 1) / (n * (n + 1))  # two ends of 1 / (n + 1), where rounding gives each 1 / (2 n)
    # 5 standard deviations of a frequency
    assert abs(is_moved.mean() - share) < 5 * math.sqrt(share * (1 - share) / 20_000)
    assert set(drawn[is_moved]) == {low, high}


def test_a_grid_with_more_steps_than_a_double_can_be_rounded_to():
    """Huge grids are drawn in whole, both halves of them."""
    drawn = QUniform(0, 2**40, 1).sample(np.random.default_rng(0), 1000)
    assert len(set(drawn.tolist())) > 990
    assert 0.4 < (drawn < 2**39).mean() < 0.6
    assert {0.0, 1.0} == set(drawn % 2)


def test_end_points_of_a_quantised_loguniform_have_the_mass_of_a_whole_cell():
    """Each multiple weighs as the logarithm of its cell of width q, the outermost ones too."""
    masses = np.exp(QLogUniform(math.log(1), math.log(4), 1).log_pdf([1, 2, 3, 4]))
    np.testing.assert_allclose(masses, np.log([3, 5 / 3, 7 / 5, 9 / 7]) / math.log(9))


@pytest.mark.parametrize("distribution", EVERY, ids=repr)
def test_draws_have_the_shape_asked_for_and_lie_within_the_bounds(distribution, rng):
    """size is an int, a tuple, or nothing for a scalar."""
    low, high = distribution.bounds
    for size, shape in [((), ()), (3, (3,)), ((2, 4), (2, 4)), (0, (0,))]:
        drawn = distribution.sample(rng, size)
        assert drawn.shape == shape
        assert ((drawn >= low) & (drawn <= high)).all()


@pytest.mark.parametrize("distribution", EVERY, ids=repr)
def test_draws_are_possible_and_equal_for_equal_seeds(distribution):
    """No draw has density 0; the stream hangs on the seed alone."""
    first, second = (distribution.sample(np.random.default_rng(5), 200) for _ in range(2))
    assert np.isfinite(distribution.log_pdf(first)).all()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (Uniform(0, 1), [-0.01, 1.01, math.inf]),
        (LogUniform(0, 1), [-1, 0, 0.99, 2.8]),
        (LogNormal(0, 1), [-1, 0, math.inf]),
        (QUniform(0, 1, 0.1), [-0.1, 0.05, 1.1]),
        (QLogUniform(0, 1, 1), [0, 1.5, 3]),
        (QNormal(0, 1, 1), [0.5]),
        (QLogNormal(0, 1, 1), [-1, 0.5]),
        (RandInt(0, 3), [-1, 0.5, 3]),
        (Categorical((0.5, 0.5)), [-1, 0.5, 2]),
    ],
    ids=repr,
)
def test_what_cannot_be_drawn_has_no_mass(distribution, outside):
    """log_pdf is -inf off the grid and outside the bounds, without a warning."""
    np.testing.assert_array_equal(distribution.log_pdf(outside), -np.inf)


def test_a_lognormal_does_not_overflow():
    """The exponential of a very wide normal is cut before it is infinite."""
    for distribution in (LogNormal(0, 1000), QLogNormal(600, 500, 1)):
        assert np.isfinite(distribution.sample(np.random.default_rng(0), 1000)).all()


def test_a_quantised_loguniform_of_logarithms_given_by_mistake():
    """exp(50) / q multiples are more than a 64-bit integer counts, and still drawn."""
    drawn = QLogUniform(1, 50, 1).sample(np.random.default_rng(0), 100)
    assert ((drawn >= 3) & (drawn <= math.exp(50))).all()


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: QUniform(0, 1, 1e-300), "q=1e-300"),
        (lambda: QUniform(0, 1e300, 1e-300), "q=1e-300"),
        (lambda: QUniform(0.1, 0.4, 0.5), "q=0.5"),
        (lambda: QLogUniform(0, 700, 1e-300), "q=1e-300"),
        (lambda: QLogUniform(math.log(1e-12), math.log(0.5), 1), "q=1"),
        (lambda: Uniform(-1.7e308, 1.7e308), "high=1.7e"),
        (lambda: RandInt(0, 2**53 + 1), "high=9007199254740993"),
        (lambda: Categorical(()), "none"),
        (lambda: Normal(0, 1e308), "sigma=1e"),
        (lambda: Normal(-(10**305), 1), "mu=-1000"),
        (lambda: LogNormal(0, 1e308), "sigma=1e"),
        (lambda: LogNormal(-1e308, 1), "mu=-1e"),
        (lambda: QNormal(0, 1e308, 1), "sigma=1e"),
        (lambda: QNormal(0, 1, 1e308), "q=1e"),
        (lambda: QNormal(0, 1, 1e200), "q=1e"),
        (lambda: QNormal(0, 1e300, 1e-20), "q=1e-20"),
        (lambda: QNormal(0, 1, 1e-320), "q=1e-320"),
        (lambda: QLogNormal(0, 1e308, 1), "sigma=1e"),
        (lambda: QLogNormal(0, 1000, 1e-5), "q=1e-05"),
        (lambda: QUniform(0, 1.7e308, 1.5e308), "q=1.5e"),
    ],
)
def test_ranges_that_floats_cannot_hold_are_refused(make, received):
    """Too many multiples, none at all, or an infinite width: refused when made, with the value received."""
    with pytest.raises(InvalidSpaceError, match=received):
        make()


@pytest.mark.parametrize(
    "node",
    [
        scope.uniform(-8e307, 8e307),
        scope.quniform(-8e307, 8e307, 1e300),
        scope.quniform(-8e307, 8e307, 1e308),
        scope.loguniform(-1e308, 700),
        scope.qloguniform(0, 700, 1),
        scope.normal(-1e300, 1e300),
        scope.normal(0, 5e-324),
        scope.qnormal(1e300, 1e300, 1e300),
        scope.qnormal(0, 1, 1e-300),
        scope.lognormal(700, 1e300),
        scope.lognormal(-1e300, 1e300),
        scope.qlognormal(700, 1e300, 1),
        scope.qlognormal(700, 1, 1e308),
        scope.qlognormal(0, 10, 1e-5),
        scope.qlognormal(0, 17, 1e-5),
        scope.qnormal(np.float32(1), np.float32(2), np.float32(0.5)),
        scope.qlognormal(np.float32(1), np.float32(2), np.float32(0.5)),
        scope.quniform(np.float32(0), np.float32(3), np.float32(0.5)),
        scope.randint(-(2**53), 2**53),
    ],
    ids=lambda node: re.sub(r"\s+", " ", str(node)),
)
@pytest.mark.filterwarnings("error")
def test_the_widest_distributions_give_finite_values(node):
    """Values are finite where the arguments are as extreme as they may be: draws, and what lies far from them."""
    space = Space(scope.hyperopt_param("x", node))
    coordinates, [parameter] = Coordinates(space), space.parameters
    drawn = parameter.distribution.sample(np.random.default_rng(0), (1000, 1))
    assert np.isfinite(drawn).all()
    far = np.clip(100.0 * coordinates.encode(drawn), coordinates.low, coordinates.high)
    assert np.isfinite(coordinates.decode(far)).all()


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (scope.uniform(0, 1), Uniform(0, 1)),
        (scope.uniform(high=1, low=0), Uniform(0, 1)),
        (scope.randint(5), RandInt(0, 5)),
        (scope.randint(2, 5), RandInt(2, 5)),
        (scope.randint(2, high=5), RandInt(2, 5)),
        (scope.categorical([0.5, 0.5]), Categorical((0.5, 0.5))),
        (scope.categorical(p=np.array([0.5, 0.5])), Categorical((0.5, 0.5))),
        (scope.uniform(0, 1, rng=None, size=(3,)), Uniform(0, 1)),
    ],
)
def test_distribution_of_a_node(node, expected):
    """A stochastic node gives its distribution, however its arguments were passed."""
    assert distribution_of(node) == expected


@pytest.mark.parametrize(
    ("low", "high"),
    [(-740, -739.9), (-740, -600), (-600, 600), (-7, 0.1), (-0.1, 0.3), (-0.1, 0), (0.01, 3), (0.2, 0.3), (690, 700)],
)
def test_a_loguniform_has_a_density_wherever_it_draws_and_at_its_bounds(low, high):
    """exp and log of a bound may end up beside it by rounding: that is no value outside."""
    distribution = LogUniform(low, high)
    drawn = np.append(distribution.sample(np.random.default_rng(0), 2000), distribution.bounds)
    np.testing.assert_allclose(distribution.log_pdf(drawn), -np.log(drawn) - math.log(high - low), rtol=1e-9)
    beside = np.array(distribution.bounds) * [1 - 1e-9, 1 + 1e-9]
    if low > -700:  # below, floats are not that close to each other
        np.testing.assert_array_equal(distribution.log_pdf(beside), -np.inf)


@pytest.mark.parametrize(("x", "q"), [(1e6, 1), (1e10, 1), (1e14, 1), (1e17, 1), (3e30, 1), (2.0**40, 2.0**-20)])
def test_cells_far_out_in_a_wide_quantised_lognormal_keep_their_mass(x, q):
    """A cell that is narrow beside its distance from 0 has the density in its middle times its width."""
    mass = QLogNormal(1, 10, q).log_pdf(x)
    # The midpoint rule's relative error is below the square of q / x, 1e-12 at most.
    np.testing.assert_allclose(mass, LogNormal(1, 10).log_pdf(x) + math.log(q), rtol=1e-11)


@pytest.mark.parametrize(
    ("mu", "sigma", "q"), [(0, 1, 2.0**-40), (2.0**40, 1, 2.0**-12), (0, 1e80, 1), (1e6, 3, 2**-30)]
)
def test_cells_of_a_fine_quantised_normal_keep_their_mass(mu, sigma, q):
    """Where the step is next to nothing beside the value or the mean."""
    x = QNormal(mu, sigma, q).sample(np.random.default_rng(0), 100)
    expected = stats.norm(mu, sigma).logpdf(x) + math.log(q)
    np.testing.assert_allclose(QNormal(mu, sigma, q).log_pdf(x), expected, rtol=1e-9)


def test_what_lies_between_large_multiples_has_no_mass():
    """Of a large number a small share is more than a step."""
    halves = np.array([1e6, 1e7, 1e9, 1e12]) + 0.5
    for distribution in (RandInt(0, 2**53), QUniform(0, 2**50, 1), QNormal(0, 1e9, 1), QLogNormal(20, 3, 1)):
        np.testing.assert_array_equal(distribution.log_pdf(halves), -np.inf)
        assert np.isfinite(distribution.log_pdf(halves - 0.5)).all()
    tenths = np.arange(1, 10**6, 997) * 0.1
    assert np.isfinite(QUniform(0, 10**6, 0.1).log_pdf(tenths)).all()


@pytest.mark.parametrize("distribution", [*EVERY, Normal(0, 1e-200), QNormal(0, 1e-200, 1e-201)], ids=repr)
def test_values_that_are_no_values_have_no_mass_and_give_no_warning(distribution):
    """Infinities, and the largest floats, with every floating-point error an exception."""
    x = np.array([math.inf, -math.inf, 1.7e308, -1.7e308])
    with np.errstate(all="raise"):
        log_pdf = distribution.log_pdf(x)
    assert (log_pdf < -700).all()  # or less than a float holds


@pytest.mark.parametrize(
    ("node", "low", "high"),
    [
        (scope.uniform(np.int16(-(2**15)), np.int16(2**15 - 1)), -(2**15), 2**15 - 1),
        (scope.uniform(np.float16(-60000), np.float16(60000)), -60000, 60000),
        (scope.quniform(np.int8(-100), np.int8(100), np.int8(1)), -100, 100),
        (scope.qloguniform(np.int8(0), np.int8(45), np.uint8(1)), 1, math.floor(math.exp(45))),
        (scope.loguniform(np.int8(-100), np.int8(100)), math.exp(-100), math.exp(100)),
        (scope.randint(np.int8(-100), np.int8(100)), -100, 99),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
@pytest.mark.filterwarnings("error")
def test_bounds_of_few_bits_do_not_overflow(node, low, high):
    """As those of an array of samples or pixels have: they mean what Python's numbers mean."""
    space = Space(scope.hyperopt_param("x", node))
    [parameter], coordinates = space.parameters, Coordinates(space)
    assert parameter.distribution.bounds == (low, high)
    ends = np.array([[low], [high]], dtype=float)
    np.testing.assert_allclose(coordinates.decode(coordinates.encode(ends)), ends)
    drawn = coordinates.decode(coordinates.sample_prior(np.random.default_rng(0), 200))
    assert low <= drawn.min() < drawn.max() <= high
    assert np.isfinite(parameter.distribution.log_pdf(drawn)).all()
    assert low <= sample(node, np.random.default_rng(0)) <= high
