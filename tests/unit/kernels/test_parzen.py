"""Parzen mixtures, against a slow explicit reference, quadrature, sums over cells, and their own draws."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import logsumexp, ndtr

from sparktune.kernels.parzen import (
    Kernels,
    Layout,
    Mixture,
    Neighbours,
    category_smoothing,
    neighbour_bandwidths,
    neighbour_gaps,
)

NAN, INF = np.nan, np.inf
STEPS = np.array([0.0, 0.1, 0.4, 0.5, 1.0])
PRIOR = np.array([0.2, 0.3, 0.5])

# Scores are in single precision where all coordinates are bounded. With the narrowest bandwidth, 0.01, the terms of an
# exponent reach 0.5 / 0.01**2 = 5,000 per coordinate, and single precision keeps 6e-8 of that. What gets far below the
# prior's weight is cut off by it, so the errors of a few such terms are all there is.
SINGLE = 5e-3


def layout_of(numeric=0, unbounded=0, ordinal=(), categorical=(), widths=0.0):
    """Numeric columns first, then unbounded, ordinal (by edges) and categorical ones (by probabilities)."""
    n_ordered = numeric + unbounded + len(ordinal)
    d = n_ordered + len(categorical)
    low, high = np.zeros(d), np.ones(d)
    low[numeric : numeric + unbounded], high[numeric : numeric + unbounded] = -INF, INF
    edges = {numeric + unbounded + i: np.asarray(e) for i, e in enumerate(ordinal)}
    with np.errstate(divide="ignore"):
        log_priors = {n_ordered + i: np.log(p) for i, p in enumerate(categorical)}
    steps = np.zeros(d)
    steps[:numeric] = widths
    return Layout(low, high, steps, edges, log_priors)


def mixture(layout, z, weights=None, prior_weight=1.0, floor=None):
    """A mixture of kernels given as lists."""
    z = np.array(z, dtype=float).reshape(len(z), len(layout.low))
    weights = np.ones(len(z)) if weights is None else np.array(weights, dtype=float)
    return Mixture(layout, z, sigmas_of(z, layout, floor), weights, prior_weight)


MIXED = layout_of(2, 0, [STEPS], [[0.5, 0.5], PRIOR])
MIXED_UNBOUNDED = layout_of(2, 1, [STEPS], [[0.5, 0.5], PRIOR])
CENTRES = np.array(
    [
        [0.1, 0.7, -1.0, 0.05, 0, 2],
        [0.15, NAN, 2.0, 0.45, 1, NAN],
        [0.9, 0.2, NAN, NAN, NAN, 0],
        [NAN, 0.99, 0.0, 0.75, 0, 1],
        [0.5, 0.0, 0.3, 0.75, 1, 1],
    ]
)
WEIGHTS = [2.0, 1.5, 1.0, 0.4, 0.1]


@pytest.fixture(params=["single", "double"])
def mixed(request):
    """Numeric, ordinal and categorical coordinates with inactive entries in all; in double with an unbounded one."""
    if request.param == "double":
        return mixture(MIXED_UNBOUNDED, CENTRES, WEIGHTS, 0.7)
    return mixture(MIXED, np.delete(CENTRES, 2, axis=1), WEIGHTS, 0.7)


def precision(layout):
    return 1e-9 if layout.dtype == np.float64 else SINGLE


# -- the reference -----------------------------------------------------------------------------------------------------


def sigmas_of(z, layout, floor=None):
    sigmas = np.ones(z.shape)
    columns = layout.ordered
    low, high = layout.low[columns], layout.high[columns]
    if floor is None:
        sigmas[:, columns] = neighbour_bandwidths(z[:, columns], low, high)
    else:
        sigmas[:, columns] = np.clip(neighbour_gaps(z[:, columns], low, high), floor, 1)
    return sigmas


def alone(layout, column, x):
    """Points in which one coordinate is active."""
    z = np.full((len(x), len(layout.low)), NAN)
    z[:, column] = x
    return z


def prior_factor(layout, column, x):
    """The prior's density (of a step relative to its width) or mass at x, shape (n,)."""
    if column in layout.categorical:
        return np.exp(layout.log_prior_cells[layout.points(alone(layout, column, x)).cells.max(axis=1)])
    return stats.norm.pdf(x) if layout.is_unbounded[column] else np.ones(len(x))


def factor(layout, column, mean, sigma, n, x):
    """One kernel's factor in one coordinate at x, shape (n,), by scipy.stats."""
    if np.isnan(mean):
        return prior_factor(layout, column, x)
    if column in layout.categorical:
        size = layout.n_categories[list(layout.categorical).index(column)]
        share = category_smoothing(n, np.array([size]))[0]
        return (1 - share) * (x == mean) + share * prior_factor(layout, column, x)
    sd = math.hypot(sigma, layout.widths[column] / math.sqrt(12))
    if layout.is_unbounded[column]:
        return stats.norm.pdf(x, mean, sd)
    if column in layout.ordinal:
        cell = np.searchsorted(STEPS, x, side="right") - 1
        cdf = stats.truncnorm(-mean / sigma, (1 - mean) / sigma, loc=mean, scale=sigma).cdf(STEPS)
        return (np.diff(cdf) / np.diff(STEPS))[cell]
    return stats.truncnorm.pdf(x, -mean / sd, (1 - mean) / sd, loc=mean, scale=sd)


def reference(layout, centres, weights, prior_weight, z, floor=None):
    """The joint log density written out: a sum over components of products over active coordinates."""
    sigmas = sigmas_of(centres, layout, floor)
    columns = range(len(layout.low))
    is_active = ~np.isnan(z)

    def product(factors):
        return np.prod([np.where(a, f, 1.0) for a, f in zip(is_active.T, factors, strict=True)], axis=0)

    x = np.where(is_active, z, 0.0).T
    density = prior_weight * product([prior_factor(layout, c, x[c]) for c in columns])
    for weight, mean, sigma in zip(weights, centres, sigmas, strict=True):
        density += weight * product([factor(layout, c, mean[c], sigma[c], len(centres), x[c]) for c in columns])
    return np.log(density / (np.sum(weights) + prior_weight))


def draws(layout, n, rng, inactive=0.3):
    """Points all over the space, some coordinates inactive."""
    z = rng.random((n, len(layout.low)))
    z[:, layout.is_unbounded] = rng.normal(0, 2, (n, layout.is_unbounded.sum()))
    for column, size in zip(layout.categorical, layout.n_categories, strict=True):
        z[:, column] = rng.integers(size, size=n)
    z[rng.random(z.shape) < inactive] = NAN
    return z


def grid(layout, n=129):
    """A grid over all coordinates and the volume of each point's cell (Simpson's weights where there is a density)."""
    axes, volumes = [], []
    for column in range(len(layout.low)):
        if column in layout.ordinal:
            x, w = 0.5 * (STEPS[1:] + STEPS[:-1]), np.diff(STEPS)
        elif column in layout.categorical:
            x = np.arange(float(layout.n_categories[list(layout.categorical).index(column)]))
            w = np.ones(len(x))
        else:
            x = np.linspace(-12, 12, 4 * n - 3) if layout.is_unbounded[column] else np.linspace(0, 1, n)
            w = np.where(np.arange(len(x)) % 2, 4.0, 2.0) * (x[1] - x[0]) / 3
            w[[0, -1]] /= 2
        axes.append(x)
        volumes.append(w)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return points, np.stack(np.meshgrid(*volumes, indexing="ij"), axis=-1).reshape(-1, len(axes)).prod(axis=1)


# -- bandwidths --------------------------------------------------------------------------------------------------------


def test_bandwidths_of_a_hand_made_example():
    """Each point has the larger distance to its neighbours, from 1 / (m + 2) to 1; alone it reaches the bounds."""
    points = np.array([[0.5, 0.2, NAN], [0.0, NAN, NAN], [0.8, NAN, 3.0], [0.9, NAN, 3.1]])
    sigmas = neighbour_bandwidths(points, np.array([0, 0, -INF]), np.array([1, 1, INF]))
    np.testing.assert_allclose(sigmas, [[0.5, 0.8, 1], [0.5, 1, 1], [0.3, 1, 0.25], [1 / 6, 1, 0.25]])


def test_bandwidths_at_the_limits():
    """Points on one spot have the narrowest bandwidth, far apart the widest, a single unbounded one 1."""
    low, high = np.array([-INF]), np.array([INF])
    np.testing.assert_allclose(neighbour_bandwidths(np.full((500, 1), 0.3), low, high), 1 / 100)
    np.testing.assert_allclose(neighbour_bandwidths(np.full((5, 1), 0.3), low, high), 1 / 7)
    np.testing.assert_allclose(neighbour_bandwidths(np.array([[-50.0], [50.0]]), low, high), 1)
    np.testing.assert_allclose(neighbour_bandwidths(np.array([[2.0]]), low, high), 1)
    assert neighbour_bandwidths(np.empty((0, 1)), low, high).shape == (0, 1)


def test_gaps_are_bandwidths_without_limits(rng):
    """Kept within the limits, gaps are the bandwidths; inactive ones are 1 as they stand."""
    points = np.where(rng.random((40, 3)) < 0.2, NAN, rng.normal(0, 3, (40, 3)))
    low, high = np.full(3, -INF), np.full(3, INF)
    gaps = neighbour_gaps(points, low, high)
    assert gaps.min() < 0.05
    assert gaps.max() > 1
    assert (gaps[np.isnan(points)] == 1).all()
    least = 1 / (np.count_nonzero(~np.isnan(points), axis=0) + 2)
    np.testing.assert_array_equal(neighbour_bandwidths(points, low, high), np.clip(gaps, least, 1))


def test_bandwidths_do_not_hang_on_the_order_of_the_points(rng):
    """Shuffled points keep their bandwidths."""
    points, order = rng.random((30, 2)), rng.permutation(30)
    low, high = np.zeros(2), np.ones(2)
    shuffled = neighbour_bandwidths(points[order], low, high)
    np.testing.assert_array_equal(shuffled, neighbour_bandwidths(points, low, high)[order])


def test_a_further_point_has_the_bandwidth_of_its_place(rng):
    """Among known points a further one looks at the neighbours it would have, with the limits of the known ones."""
    known = rng.random((9, 2))
    known[:4, 1] = NAN
    further = np.array([[0.5, 0.5], [0.0, 1.0], [NAN, 0.2]])
    sigmas = Neighbours(known).bandwidths(further)
    for row, column in itertools.product(range(3), range(2)):
        x, others = further[row, column], known[~np.isnan(known[:, column]), column]
        below, above = others[others < x], others[others >= x]
        gaps = [x - below.max() if len(below) else 0, above.min() - x if len(above) else 0]
        expected = 1.0 if np.isnan(x) else np.clip(max(gaps), 1 / (len(others) + 2), 1)
        assert sigmas[row, column] == pytest.approx(expected), (row, column)
    np.testing.assert_array_equal(Neighbours(np.empty((0, 2))).bandwidths(further), 1)


def test_categories_are_smoothed_less_the_more_is_known():
    """The prior's share falls with the number of observations and grows with the number of categories."""
    shares = [category_smoothing(n, np.array([2, 50])) for n in (0, 1, 10, 10_000)]
    assert (np.diff(shares, axis=0) < 0).all()
    assert all(0 < few < many < 1 for few, many in shares)


# -- points ------------------------------------------------------------------------------------------------------------


def test_points_know_their_cells():
    """A step is closed below and open above, the last one closed; categories follow; inactive is -1."""
    layout = layout_of(1, 0, [STEPS, [0.0, 0.5, 1.0]], [[0.5, 0.5]])
    z = np.array([[0.3, 0.0, 0.0, 0], [0.3, 0.1, 0.5, 1], [NAN, 0.39, 1.0, NAN], [0.3, 1.0, NAN, 0], [0.3, NAN, 0, 1]])
    expected = [[0, 4, 6], [1, 5, 7], [1, 5, -1], [3, -1, 6], [-1, 4, 7]]
    points = layout.points(z)
    assert len(points) == 5
    np.testing.assert_array_equal(points.cells, expected)
    np.testing.assert_array_equal(points.is_active, ~np.isnan(z))


def test_layouts_without_a_kind_of_coordinate(rng):
    """Numeric alone, ordinal alone, categories alone, one step, one category, nothing at all."""
    for layout in (
        layout_of(2),
        layout_of(0, 0, [STEPS]),
        layout_of(0, 0, (), [PRIOR]),
        layout_of(0, 0, [[0.0, 1.0]]),
        layout_of(0, 0, (), [[1.0]]),
        layout_of(),
    ):
        mix = mixture(layout, draws(layout, 4, rng))
        points = layout.points(draws(layout, 6, rng))
        assert mix.log_pdf(points).shape == (6,)
        assert np.isfinite(mix.log_pdf(points)).all()
        assert mix.log_marginals(points).shape == (6, len(layout.low))


def test_one_step_and_one_category_say_nothing(rng):
    """A coordinate that can be only one thing has log density 0, jointly and on its own."""
    layout = layout_of(0, 0, [[0.0, 1.0]], [[1.0]])
    mix = mixture(layout, [[0.5, 0], [0.5, NAN], [NAN, 0]])
    points = layout.points(np.array([[0.5, 0.0]]))
    np.testing.assert_allclose(mix.log_pdf(points), 0, atol=1e-6)
    np.testing.assert_allclose(mix.log_marginals(points), 0, atol=1e-6)


# -- the joint density -------------------------------------------------------------------------------------------------


def test_log_pdf_is_that_of_the_explicit_reference(mixed, rng):
    """All kinds of coordinates, inactive ones too: as a loop over scipy.stats has it."""
    layout, z = mixed.layout, draws(mixed.layout, 60, rng)
    expected = reference(layout, mixed.kernels.z, WEIGHTS, 0.7, z)
    np.testing.assert_allclose(mixed.log_pdf(layout.points(z)), expected, rtol=0, atol=precision(layout))


@pytest.mark.parametrize("n_kernels", [0, 1, 2, 3, 4, 50])
def test_log_pdf_is_that_of_the_reference_for_any_number_of_kernels(n_kernels, rng):
    """No kernel leaves the prior; few and many agree with the reference."""
    centres, z = draws(MIXED, n_kernels, rng), draws(MIXED, 8, rng)
    mix = mixture(MIXED, centres)
    expected = reference(MIXED, centres, np.ones(n_kernels), 1.0, z)
    np.testing.assert_allclose(mix.log_pdf(MIXED.points(z)), expected, rtol=0, atol=SINGLE)


@pytest.mark.parametrize("d", [1, 5, 30])
def test_single_precision_is_enough_for_the_narrowest_kernels(d, rng):
    """Many points close together in many dimensions, bandwidths at 0.01: scores as in double precision."""
    layout = layout_of(d)
    corner = rng.random(d) > 0.5
    centres = np.clip(corner + 0.01 * rng.standard_normal((60, d)), 0, 1)
    z = np.clip(np.vstack([corner + 0.02 * rng.standard_normal((20, d)), rng.random((5, d))]), 0, 1)
    sigmas = sigmas_of(centres, layout, 0.01)[:, None]
    means = centres[:, None]
    log_kernels = stats.norm.logpdf(z, means, sigmas) - np.log(ndtr((1 - means) / sigmas) - ndtr(-means / sigmas))
    expected = logsumexp(np.vstack([log_kernels.sum(axis=2), np.zeros(len(z))]), axis=0) - math.log(61)
    assert expected.max() > 2 * d  # they are close indeed
    mix = mixture(layout, centres, floor=0.01)
    # The terms that cancel grow with d, to 5,000 d: 6e-8 of that is 3e-4 d, and rounding adds up ten times at worst.
    np.testing.assert_allclose(mix.log_pdf(layout.points(z)), expected, rtol=0, atol=3e-3 * d)


@pytest.mark.parametrize("sigma", [1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_kernels_of_any_width(mean, sigma):
    """From far narrower than is used to far wider than the range, on a bound or not: as the truncated normal."""
    layout = layout_of(1, 1)  # the unbounded column asks for double precision
    kernels = Kernels(layout, np.array([[mean, NAN]]), np.array([[sigma, 1.0]]), 1)
    x = np.clip(mean + sigma * np.array([-9, -1, -0.1, 0, 0.1, 1, 9]), 0, 1)
    points = layout.points(np.column_stack([x, np.full(len(x), NAN)]))
    expected = stats.truncnorm.logpdf(x, -mean / sigma, (1 - mean) / sigma, loc=mean, scale=sigma)
    log_density = points.features @ kernels.coefficients[0]
    # The expanded square cancels: 0.5 / 1e-4**2 times 1e-16, twice.
    np.testing.assert_allclose(log_density, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("far", [30.0, -30.0, 50.0])
def test_kernels_far_from_an_unbounded_prior(far):
    """Observations 30 and more standard deviations out: the expanded square keeps 7 digits; the prior underflows."""
    layout = layout_of(0, 1)
    centres = np.array([[far], [far + 0.01], [0.0]])
    mix = mixture(layout, centres)
    z = np.array([[far], [far - 0.1], [0.0], [far / 2]])
    expected = reference(layout, centres, np.ones(3), 1.0, z)
    np.testing.assert_allclose(mix.log_pdf(layout.points(z)), expected, rtol=1e-7)
    assert np.isfinite(mix.log_marginals(layout.points(z))).all()


@pytest.mark.parametrize(("mean", "sigma"), [(0.05, 1e-3), (0.05, 0.01), (0.95, 1e-2), (0.5, 1e3)])
def test_steps_in_the_far_tail_of_a_kernel(mean, sigma):
    """The masses of the steps sum to one, and one beyond double precision is tiny, neither zero nor NaN."""
    layout = layout_of(0, 0, [STEPS])
    kernels = Kernels(layout, np.array([[mean]]), np.array([[sigma]]), 1)
    assert np.isfinite(kernels.tables).all()
    assert (np.exp(kernels.tables[0]) * np.diff(STEPS)).sum() == pytest.approx(1, abs=1e-9)
    if sigma == 1e3:
        np.testing.assert_allclose(kernels.tables, 0, atol=1e-6)  # flat


def test_without_kernels_the_density_is_the_prior(rng):
    """0 on the log scale on bounded coordinates, the standard normal's on others, and that of the categories."""
    z = draws(MIXED_UNBOUNDED, 20, rng, inactive=0)
    expected = stats.norm.logpdf(z[:, 2]) + math.log(0.5) + np.log(PRIOR[z[:, 5].astype(int)])
    np.testing.assert_allclose(mixture(MIXED_UNBOUNDED, []).log_pdf(MIXED_UNBOUNDED.points(z)), expected, rtol=1e-12)


def test_a_grid_widens_kernels_by_the_variance_of_its_cells():
    """Of a coordinate with a fine grid, each kernel's variance is the bandwidth's and that of a uniform cell."""
    layout = layout_of(1, 1, widths=0.05)
    kernels = Kernels(layout, np.array([[0.5, NAN]]), np.array([[0.01, 1.0]]), 1)
    log_density = layout.points(np.array([[0.53, NAN]])).features @ kernels.coefficients[0]
    assert log_density == pytest.approx(stats.norm.logpdf(0.53, 0.5, math.sqrt(0.01**2 + 0.05**2 / 12)), abs=1e-9)


@pytest.mark.parametrize(
    "layout",
    [
        layout_of(1),
        layout_of(0, 1),
        layout_of(0, 0, [STEPS]),
        layout_of(0, 0, (), [PRIOR]),
        layout_of(1, 1),
        layout_of(2),
        layout_of(1, 0, [STEPS], [PRIOR]),
        layout_of(0, 1, [STEPS], [PRIOR, [0.5, 0.5]]),
        layout_of(0, 0, [STEPS, STEPS], [[0.0, 1.0], PRIOR]),
    ],
    ids="numeric unbounded ordinal categorical two-numeric square numeric-mixed unbounded-mixed discrete".split(),
)
def test_a_joint_density_integrates_to_one(layout, rng):
    """Quadrature over numbers and sums over steps and categories, with kernels inactive in some coordinates."""
    mix = mixture(layout, draws(layout, 5, rng), rng.random(5), 0.3)
    z, volumes = grid(layout)
    # Single precision errors of 1e-3 in a logarithm, of either sign, over a thousand points and more.
    assert np.exp(mix.log_pdf(layout.points(z))) @ volumes == pytest.approx(1, abs=2e-3)


def test_the_density_of_a_conditional_space_sums_to_one(rng):
    """Over each combination of active coordinates weighted by its choice: the points that exist have mass one.

    A choice of two options, the first with a number, the second with an ordinal: kernels lie in either branch.
    """
    layout = layout_of(1, 0, [STEPS], [[0.3, 0.7]])
    centres = [[0.2, NAN, 0], [0.7, NAN, 0], [NAN, 0.75, 1], [NAN, 0.2, 1], [NAN, 0.05, 1]]
    mix = mixture(layout, centres, rng.random(5), 0.4)
    x = np.linspace(0, 1, 2001)
    first = np.column_stack([x, np.full(len(x), NAN), np.zeros(len(x))])
    steps = 0.5 * (STEPS[1:] + STEPS[:-1])
    second = np.column_stack([np.full(4, NAN), steps, np.ones(4)])
    total = integrate.simpson(np.exp(mix.log_pdf(layout.points(first))), x=x)
    total += np.exp(mix.log_pdf(layout.points(second))) @ np.diff(STEPS)
    assert total == pytest.approx(1, abs=1e-4)


def test_a_category_without_prior_mass_has_none_away_from_its_kernels(rng):
    """An option of probability 0 that someone tried counts in its own kernel alone; all stays finite."""
    layout = layout_of(1, 0, (), [[1.0, 0.0]])
    some = layout.points(np.array([[0.5, 0], [0.5, 1]]))
    with_it = mixture(layout, [[0.5, 1]] + [[0.5, 0]] * 4).log_pdf(some)
    without = mixture(layout, [[0.5, 0]] * 5).log_pdf(some)
    assert with_it[1] > -3
    assert without[1] < -600  # log(1e-300)
    assert np.isfinite(with_it).all()
    assert np.isfinite(without).all()


def test_weights_may_be_zero(rng):
    """A kernel of weight 0 is not there; with all weights 0 the prior remains."""
    z = MIXED.points(draws(MIXED, 10, rng))
    centres = draws(MIXED, 3, rng)
    with np.errstate(divide="ignore"):
        nothing = mixture(MIXED, centres, [0, 0, 0])
        none = mixture(MIXED, [])
    np.testing.assert_allclose(nothing.log_pdf(z), none.log_pdf(z), atol=1e-5)


# -- marginals ---------------------------------------------------------------------------------------------------------


def test_marginals_of_always_active_coordinates_are_the_joint_density_marginalised(rng):
    """Integrating and summing the joint over all other coordinates gives each coordinate's own density."""
    layout = layout_of(1, 0, [STEPS], [PRIOR])
    mix = mixture(layout, draws(layout, 6, rng, inactive=0), rng.random(6), 0.5)
    z, volumes = grid(layout, 401)
    points = layout.points(z)
    joint, shape = np.exp(mix.log_pdf(points)).reshape(401, 4, 3), (401, 4, 3)
    marginals = np.exp(mix.log_marginals(points)).reshape(*shape, 3)
    x_widths = volumes.reshape(shape)[:, 0, 0] / STEPS[1]  # a category's volume is 1
    widths = [x_widths, np.diff(STEPS), np.ones(3)]
    for column, spec in enumerate(("abc,b,c->a", "abc,a,c->b", "abc,a,b->c")):
        others = [w for i, w in enumerate(widths) if i != column]
        first = tuple(slice(None) if i == column else 0 for i in range(3))
        np.testing.assert_allclose(np.einsum(spec, joint, *others), marginals[(*first, column)], rtol=2e-3)


def test_marginals_are_those_of_the_kernels_in_which_the_coordinate_is_active(mixed, rng):
    """A coordinate's own density mixes the kernels that have it, and the prior; inactive points have 0."""
    layout, kernels = mixed.layout, mixed.kernels
    z = draws(layout, 20, rng)
    log_marginals = mixed.log_marginals(layout.points(z))
    for i, column in enumerate(layout.columns):
        active = [k for k in range(5) if not np.isnan(kernels.z[k, column])]
        w = np.append(np.array(WEIGHTS)[active], 0.7)
        has_it = ~np.isnan(z[:, column])
        x = z[has_it, column]
        parts = [factor(layout, column, kernels.z[k, column], kernels.sigmas[k, column], 5, x) for k in active]
        expected = np.log(w @ [*parts, prior_factor(layout, column, x)] / w.sum())
        np.testing.assert_allclose(log_marginals[has_it, i], expected, rtol=0, atol=precision(layout))
        assert (log_marginals[~has_it, i] == 0).all()


def test_each_marginal_integrates_to_one(mixed):
    """By quadrature or summed over the cells, for coordinates in which some kernels are inactive too."""
    layout = mixed.layout
    for i, column in enumerate(layout.columns):
        if column in layout.ordinal:
            x, widths = 0.5 * (STEPS[1:] + STEPS[:-1]), np.diff(STEPS)
        elif column in layout.categorical:
            x = np.arange(layout.n_categories[list(layout.categorical).index(column)])
            widths = np.ones(len(x))
        else:
            x = np.linspace(-12, 12, 4001) if layout.is_unbounded[column] else np.linspace(0, 1, 4001)
            widths = np.full(len(x), x[1] - x[0])
            widths[[0, -1]] /= 2
        z = alone(layout, column, x)
        assert np.exp(mixed.log_marginals(layout.points(z))[:, i]) @ widths == pytest.approx(1, abs=1e-3)


# -- draws -------------------------------------------------------------------------------------------------------------


def prior_draws(layout, n, rng):
    """Draws of the prior, every column filled."""
    z = rng.random((n, len(layout.low)))
    z[:, layout.is_unbounded] = rng.standard_normal((n, layout.is_unbounded.sum()))
    for column, first, size in zip(
        layout.categorical, layout.first_cells[len(layout.ordinal) :], layout.n_categories, strict=True
    ):
        p = layout.prior_mass[first : first + size]
        z[:, column] = rng.choice(size, n, p=p / p.sum())
    return z


def test_joint_draws_follow_the_density(mixed):
    """Each coordinate of joint draws has its marginal of the joint mixture (KS, chi-square)."""
    rng, n, layout, kernels = np.random.default_rng(3), 5000, mixed.layout, mixed.kernels
    prior = prior_draws(layout, n, rng)
    drawn = mixed.sample(rng, np.repeat(mixed.choose(rng, n)[:, None], prior.shape[1], axis=1), prior)
    weights = np.append(WEIGHTS, 0.7) / (sum(WEIGHTS) + 0.7)

    def density(column, x):
        parts = [factor(layout, column, kernels.z[k, column], kernels.sigmas[k, column], 5, x) for k in range(5)]
        return weights @ [*parts, prior_factor(layout, column, x)]

    for column in layout.numeric:
        x = np.linspace(-9, 9, 2001) if layout.is_unbounded[column] else np.linspace(0, 1, 1001)
        cdf = integrate.cumulative_trapezoid(density(column, x), x, initial=0)
        assert cdf[-1] == pytest.approx(1, abs=1e-3)
        assert stats.kstest(drawn[:, column], lambda at, x=x, c=cdf: np.interp(at, x, c / c[-1])).pvalue > 1e-3
    for column in layout.stepped:
        is_ordinal = column in layout.ordinal
        centres = 0.5 * (STEPS[1:] + STEPS[:-1]) if is_ordinal else np.unique(drawn[:, column])
        mass = density(column, centres) * (np.diff(STEPS) if is_ordinal else 1)
        assert mass.sum() == pytest.approx(1)
        counts = np.histogram(drawn[:, column], STEPS)[0] if is_ordinal else np.bincount(drawn[:, column].astype(int))
        assert stats.chisquare(counts, mass * n).pvalue > 1e-3


def test_draws_of_one_kernel_keep_coordinates_together_and_those_of_several_do_not(rng):
    """Two kernels on a diagonal: joint draws stay on it, draws with a kernel for each coordinate leave it."""
    mix = mixture(layout_of(2), [[0.1, 0.1], [0.9, 0.9]] * 20, prior_weight=1e-9)
    prior = rng.random((2000, 2))
    joint, own = np.repeat(mix.choose(rng, 2000)[:, None], 2, axis=1), mix.choose(rng, (2000, 2))
    together = [np.mean((z[:, 0] < 0.5) == (z[:, 1] < 0.5)) for z in (mix.sample(rng, c, prior) for c in (joint, own))]
    assert together[0] > 0.95
    assert 0.4 < together[1] < 0.6


def test_draws_without_kernels_are_the_prior_draws(rng):
    """An empty mixture gives back what it is given; so does the number of the prior."""
    prior = prior_draws(MIXED, 5, rng)
    empty = mixture(MIXED, [])
    np.testing.assert_array_equal(empty.sample(rng, empty.choose(rng, prior.shape), prior), prior)
    one = mixture(MIXED, CENTRES[:1, [0, 1, 3, 4, 5]])
    np.testing.assert_array_equal(one.sample(rng, np.full(prior.shape, 1), prior), prior)


@pytest.mark.parametrize("far", [30.0, -30.0])
def test_draws_stay_finite_and_within_bounds_at_the_extremes(far, rng):
    """Kernels on the bounds, as narrow as they get, and 30 standard deviations out."""
    layout = layout_of(2, 1)
    mix = mixture(layout, [[0, 1, far]] * 200, prior_weight=1e-9, floor=0.01)
    drawn = mix.sample(rng, np.zeros((3000, 3), dtype=int), prior_draws(layout, 3000, rng))
    assert np.isfinite(drawn).all()
    assert ((drawn[:, :2] >= 0) & (drawn[:, :2] <= 1)).all()
    assert abs(drawn[:, 2] - far).max() < 1


def test_marginals_far_out_underflow_to_nothing():
    """Forty deviations from the mean the prior has no density left, which is no error."""
    layout = layout_of(0, 1)
    estimate = mixture(layout, [[0.0], [1.0]])
    with np.errstate(all="raise"):
        log_density = estimate.log_marginals(layout.points(np.array([[0.5], [40.0], [-60.0]])))
    assert log_density[0, 0] > -2
    assert (log_density[1:] < -80).all()  # what exponents are cut at


@pytest.mark.parametrize("width", [0.0, 1.0, 10.0, 1000.0])
def test_a_marginal_of_an_unbounded_grid_is_its_joint_density(width):
    """Both widen the prior by the grid's cells, as they do kernels: else points far out would differ by hundreds."""
    layout = Layout(np.array([-INF]), np.array([INF]), np.array([width]), {}, {})
    estimate = mixture(layout, [[0.0], [max(width, 0.5)]])
    points = layout.points(np.array([[0.0], [-width], [3.0 * width + 1.0]]))
    np.testing.assert_allclose(estimate.log_marginals(points)[:, 0], estimate.log_pdf(points), rtol=1e-9, atol=1e-9)
