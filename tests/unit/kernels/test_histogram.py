"""Smoothed histograms are densities."""

import numpy as np
import pytest
from scipy import stats

from sparktune.kernels.histogram import N_BINS, Histogram, Smoothing
from sparktune.kernels.parzen import Layout

NAN, INF = np.nan, np.inf
CENTRES = (np.arange(N_BINS) + 0.5) / N_BINS
STEPS = np.array([0.0, 0.1, 0.4, 0.5, 1.0])
PRIOR = np.array([0.2, 0.3, 0.5])


def layout_of(ordinal=False, categorical=False, numeric=2, unbounded=0):
    """Numeric columns, unbounded ones, then one ordinal and one categorical at will."""
    d = numeric + unbounded + ordinal + categorical
    low, high = np.zeros(d), np.ones(d)
    low[numeric : numeric + unbounded], high[numeric : numeric + unbounded] = -INF, INF
    edges = {numeric + unbounded: STEPS} if ordinal else {}
    log_priors = {d - 1: np.log(PRIOR)} if categorical else {}
    return Layout(low, high, np.zeros(d), edges, log_priors)


ALL = layout_of(True, True, 2, 1)


def points_of(n, rng):
    """Points of ``ALL``, heaped, a third of the coordinates inactive, the second numeric one always."""
    z = np.column_stack(
        [rng.beta(0.3, 2, n), np.full(n, NAN), rng.normal(2, 3, n), rng.beta(2, 0.5, n), rng.integers(0, 3, n)]
    )
    z[rng.random(z.shape) < 0.35] = NAN
    return ALL.points(z)


def none_of(layout):
    """No points."""
    return layout.points(np.empty((0, len(layout.low))))


def marginals(layout, points, z, prior_weight=1.0, left_out=None):
    """Log densities at ``z`` of a histogram of ``points``."""
    histogram = Histogram(layout)
    histogram.add(points)
    counts = histogram.count(none_of(layout) if left_out is None else left_out)
    density = histogram.density(counts, Smoothing(layout, len(points)), prior_weight)
    return histogram.log_marginals(layout.points(z), density)


def integrals(layout, log_marginals_at):
    """The integral or sum of each marginal, by the rule that fits its kind."""
    n = 4000
    u = (np.arange(n) + 0.5) / n
    z = np.full((n, 5), 0.0)
    z[:, 0] = z[:, 1] = u
    z[:, 2] = 40 * u - 20
    z[:4, 3] = 0.5 * (STEPS[1:] + STEPS[:-1])
    z[:3, 4] = [0, 1, 2]
    density = np.exp(log_marginals_at(z))
    return [
        density[:, 0].mean(),
        density[:, 1].mean(),
        density[:, 2].mean() * 40,
        density[:4, 3] @ np.diff(STEPS),
        density[:3, 4].sum(),
    ]


@pytest.mark.parametrize("n", [0, 1, 10, 3000])
@pytest.mark.parametrize("prior_weight", [0.1, 1.0, 100.0])
def test_marginals_integrate_to_one(n, prior_weight, rng):
    """Numeric, unbounded, ordinal and categorical, with any number of points, inactive ones among them."""
    points = points_of(n, rng)
    found = integrals(ALL, lambda z: marginals(ALL, points, z, prior_weight))
    # The unbounded one is a step function times the normal density, summed in steps of 0.01.
    np.testing.assert_allclose(found, 1, atol=5e-3)


def test_without_points_the_marginals_are_the_prior(rng):
    """An empty histogram has the uniform density, the standard normal, and near enough the categories' own."""
    z = ALL.points(np.array([[0.3, 0.9, -1.5, 0.2, 1]]))
    log_density = marginals(ALL, points_of(0, rng), z.z)[0]
    np.testing.assert_allclose(log_density[:4], [0, 0, stats.norm.logpdf(-1.5), 0], atol=1e-9)
    heavy = np.exp(marginals(ALL, points_of(0, rng), np.array([[NAN] * 4 + [c] for c in range(3)]), 1e6)[:, 4])
    np.testing.assert_allclose(heavy, PRIOR, atol=1e-5)


def test_marginals_are_high_where_points_are():
    """The density peaks at the points, and is about the prior's share away from them."""
    layout = layout_of(numeric=1)
    density = np.exp(marginals(layout, layout.points(np.full((200, 1), 0.3)), CENTRES[:, None]))[:, 0]
    assert abs(CENTRES[density.argmax()] - 0.3) <= 1 / N_BINS
    assert density[CENTRES > 0.7] == pytest.approx(1 / 201, rel=1e-3)


def test_points_left_out_count_as_never_added(rng):
    """Counting all and leaving some out is counting the others."""
    layout, z = layout_of(numeric=2), rng.random((40, 2))
    z[::7, 0] = NAN
    smoothing = Smoothing(layout, 40)
    both, others = Histogram(layout), Histogram(layout)
    both.add(layout.points(z))
    others.add(layout.points(z[9:]))
    left_out = both.count(layout.points(z[:9]))
    expected = others.density(others.count(none_of(layout)), smoothing, 0.7)
    np.testing.assert_allclose(both.density(left_out, smoothing, 0.7), expected, rtol=1e-12)


def test_counts_are_of_active_coordinates():
    """Each active coordinate counts once, in its bin or cell; an inactive one nowhere."""
    points = ALL.points(np.array([[0.5, 0.0, NAN, 0.05, 2], [0.5, NAN, 0.0, NAN, NAN]]))
    counts = Histogram(ALL).count(points)
    assert len(counts) == 3 * N_BINS + len(STEPS) - 1 + len(PRIOR)
    expected = {N_BINS // 2: 2, N_BINS: 1, 2 * N_BINS + N_BINS // 2: 1, 3 * N_BINS: 1, len(counts) - 1: 1}
    assert {int(place): int(counts[place]) for place in np.flatnonzero(counts)} == expected


def test_points_may_come_in_parts(rng):
    """Added in parts or at once, counts are the same."""
    points, smoothing = points_of(30, rng), Smoothing(ALL, 30)
    at_once, in_parts = Histogram(ALL), Histogram(ALL)
    at_once.add(points)
    for start in range(0, 30, 7):
        in_parts.add(ALL.points(points.z[start : start + 7]))
    nothing = at_once.count(none_of(ALL))
    np.testing.assert_array_equal(*(h.density(nothing, smoothing, 1.0) for h in (at_once, in_parts)))


def test_where_to_look_may_be_inactive(rng):
    """An inactive coordinate has log density 0, of whatever kind."""
    np.testing.assert_array_equal(marginals(ALL, points_of(20, rng), np.full((1, 5), NAN)), 0)


def test_columns_may_be_none():
    """A space without parameters has no columns."""
    layout = layout_of(numeric=0)
    assert marginals(layout, layout.points(np.empty((5, 0))), np.empty((3, 0))).shape == (3, 0)


def test_ends_belong_to_the_outermost_bins():
    """0 and 1, and on an unbounded coordinate 40 standard deviations, have a bin and a finite log density."""
    layout = layout_of(numeric=1, unbounded=1)
    points = layout.points(np.array([[0.0, -40.0], [1.0, 40.0]]))
    np.testing.assert_array_equal(Histogram(layout).bins(points), [[0, N_BINS], [N_BINS - 1, 2 * N_BINS - 1]])
    assert np.isfinite(marginals(layout, points, points.z)).all()


def test_a_category_that_was_never_seen_keeps_half_a_count():
    """It is not known to be bad: its density is that of half a trial and its share of the prior."""
    layout = layout_of(numeric=0, categorical=True)
    log_density = marginals(layout, layout.points(np.zeros((98, 1))), np.array([[0.0], [1], [2]]))
    np.testing.assert_allclose(np.exp(log_density[:, 0]), (np.array([98.5, 0.5, 0.5]) + PRIOR) / 100.5)


@pytest.mark.parametrize("n", [1, 30, 1000, 100_000])
def test_smoothing_narrows_with_the_number_of_points_and_keeps_counts(n):
    """Each bin's and each step's count is moved, not lost; more points are moved less far."""
    smoothing = Smoothing(ALL, n)
    np.testing.assert_allclose(smoothing.bins.mean(axis=1), 1)
    counts = np.array([3.0, 0, 1, 7])
    assert smoothing.smooth_steps(counts).sum() == pytest.approx(11)
    kept = smoothing.bins.diagonal().min()
    assert kept > Smoothing(ALL, max(1, n // 10)).bins.diagonal().min() or n == 1


def test_smoothed_steps_stay_in_their_column():
    """Of two ordinal coordinates, counts of one never move to the other."""
    layout = Layout(np.zeros(2), np.ones(2), np.zeros(2), {0: STEPS, 1: np.array([0.0, 0.5, 1.0])}, {})
    smoothed = Smoothing(layout, 5).smooth_steps(np.array([0.0, 4, 0, 0, 2, 0]))
    assert (smoothed[:4].sum(), smoothed[4:].sum()) == (pytest.approx(4), pytest.approx(2))


@pytest.mark.parametrize("width", [0.0, 10.0])
def test_without_points_an_unbounded_grid_has_the_density_of_the_kernels_prior(width):
    """Widened by the grid's cells, also where the standard normal is nothing."""
    layout = Layout(np.array([-INF]), np.array([INF]), np.array([width]), {}, {})
    z = np.array([[0.0], [width], [-2.0 * width - 1.0]])
    expected = layout.points(z).features @ layout.prior.coefficients[0]
    np.testing.assert_allclose(marginals(layout, none_of(layout), z)[:, 0], expected, rtol=1e-9)
