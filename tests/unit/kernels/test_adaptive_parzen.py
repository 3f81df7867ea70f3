"""The adaptive Parzen estimator, against its formulas written out, quadrature, its own draws, and at the extremes."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune.kernels.adaptive_parzen import (
    NormalMixture,
    adaptive_bandwidths,
    adaptive_parzen,
    forgetting_weights,
    pseudo_counts,
)

INF = math.inf
RANGES = [(0.0, 1.0), (-7.0, 3.0), (-INF, INF), (0.0, INF)]


def example(low, high, n=12):
    """An estimator of n points spread over the range, or over some sigmas of an unbounded prior."""
    left = low if np.isfinite(low) else -5.0
    right = high if np.isfinite(high) else 5.0
    points = np.random.default_rng(n).uniform(left, right, n)
    return adaptive_parzen(points, 0.5 * (left + right), right - left, 0.7, low, high)


def reference_pdf(mixture, x):
    """The density by scipy.stats: the sum of the normals over its mass within the bounds."""
    parts = [stats.norm(m, s) for m, s in zip(mixture.means, mixture.sigmas, strict=True)]
    mass = sum(
        w * (part.cdf(mixture.high) - part.cdf(mixture.low)) for w, part in zip(mixture.weights, parts, strict=True)
    )
    return sum(w * part.pdf(x) for w, part in zip(mixture.weights, parts, strict=True)) / mass


def density_of(mixture, x):
    """The mixture's own density at one point."""
    return math.exp(mixture.log_pdf(np.array([x]))[0])


def reference_bandwidths(points, prior_mean, prior_sigma):
    """The rule of the distinct points of a list, one at a time."""
    every = sorted([*points, prior_mean])
    narrowest = prior_sigma / min(100, len(points) + 2)
    bandwidths = []
    for point in points:
        i = every.index(point)
        widest = max(abs(point - other) for other in every[max(0, i - 1) : i + 2])
        bandwidths.append(min(max(widest, narrowest), prior_sigma))
    return bandwidths


# -- weights and bandwidths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 25])
def test_the_newest_observations_are_not_forgotten(n):
    """Up to 25 observations all have full weight."""
    np.testing.assert_array_equal(forgetting_weights(n), np.ones(n))


@pytest.mark.parametrize("n", [26, 27, 30, 1000])
def test_older_observations_fade(n):
    """Before the newest 25 the weights climb evenly from 1 / n to 1."""
    weights = forgetting_weights(n)
    np.testing.assert_array_equal(weights[-25:], np.ones(25))
    ramp = weights[:-25]
    assert (len(weights), ramp[0]) == (n, pytest.approx(1 / n))
    np.testing.assert_allclose(np.diff(ramp), (1 - 1 / n) / max(1, n - 26))


def test_bandwidths_of_a_hand_made_example():
    """The larger distance to the neighbours, the prior's mean among them, from prior_sigma / (n + 2) on."""
    bandwidths = adaptive_bandwidths(np.array([8.0, 2.0, 3.0]), prior_mean=4.5, prior_sigma=10.0)
    np.testing.assert_allclose(bandwidths, [3.5, 2.0, 2.0])  # 2.0 has its neighbour at 1: the floor, 10 / 5


@pytest.mark.parametrize("n", [2, 3, 10, 97, 98, 200])
def test_bandwidths_are_those_of_the_rule(
    n,
):
    """On distinct points in any order, to either side of the prior's mean, the rule point by point."""
    points = np.random.default_rng(n).normal(0.3, 0.5, n)
    np.testing.assert_allclose(adaptive_bandwidths(points, 0.5, 1.0), reference_bandwidths(points.tolist(), 0.5, 1.0))


def test_bandwidths_at_the_limits():
    """No point has none, a single one half the prior's sigma, many on one spot the least, far ones the most."""
    assert adaptive_bandwidths(np.empty(0), 0.0, 3.0).shape == (0,)
    assert adaptive_bandwidths(np.array([0.1]), 0.0, 3.0).tolist() == [1.5]
    # The prior's mean comes before the points equal to it, so the last of them alone sees the point beyond.
    np.testing.assert_allclose(adaptive_bandwidths(np.zeros(500), 0.0, 3.0), 3.0 / 100)
    np.testing.assert_allclose(adaptive_bandwidths(np.array([0.0, 0.0, 1.0]), 0.0, 3.0), [0.6, 1.0, 1.0])
    np.testing.assert_allclose(adaptive_bandwidths(np.array([-50.0, 50.0]), 0.0, 3.0), 3.0)


def test_equal_points_are_told_apart_by_their_age():
    """Of points on one spot the oldest looks to the left, the newest to the right, those between have the least."""
    bandwidths = adaptive_bandwidths(np.array([4.0, 0.0, 4.0, 4.0, 7.0]), prior_mean=9.0, prior_sigma=7.0)
    np.testing.assert_allclose(bandwidths, [4.0, 4.0, 1.0, 3.0, 3.0])


# -- the mixture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("n", [0, 1, 12, 60])
def test_the_density_is_the_formula(low, high, n):
    """The log density is that of the normals, cut to the bounds as a whole."""
    mixture = example(low, high, n)
    x = np.linspace(max(low, -12), min(high, 12), 41)
    np.testing.assert_allclose(mixture.log_pdf(x), np.log(reference_pdf(mixture, x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("n", [0, 1, 12, 60])
def test_the_density_integrates_to_one(low, high, n):
    """Over the bounds the density has mass 1, and none beyond."""
    mixture = example(low, high, n)
    ends = max(low, -60.0), min(high, 60.0)
    knots = sorted({*mixture.means.tolist(), *ends})
    mass = sum(
        integrate.quad(lambda x: density_of(mixture, x), *piece)[0] for piece in zip(knots[:-1], knots[1:], strict=True)
    )
    assert mass == pytest.approx(1, abs=1e-7)
    outside = np.array([x for x in (low - 1e-9, high + 1e-9) if np.isfinite(x)])
    assert np.isneginf(mixture.log_pdf(outside)).all()


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_mass_of_a_cell_is_the_integral_of_the_density(low, high):
    """A cell, and the part of it within the bounds, by quadrature."""
    mixture = example(low, high)
    lower = np.array([max(low, -3.0) - 0.25, 0.1, 0.5, 0.1])
    upper = lower + np.array([0.5, 0.2, 1e-7, 1.7])
    masses = np.exp(mixture.log_mass(lower, upper))
    for a, b, mass in zip(np.clip(lower, low, high), np.clip(upper, low, high), masses, strict=True):
        knots = sorted({a, b, *(m for m in mixture.means.tolist() if a < m < b)})
        pieces = zip(knots[:-1], knots[1:], strict=True)
        expected = sum(integrate.quad(lambda x: density_of(mixture, x), *piece, epsabs=0)[0] for piece in pieces)
        assert mass == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_cells_of_a_grid_have_mass_one(low, high):
    """Cells that cover the range, each counted once, sum to 1."""
    edges = np.array([low, *np.arange(-60, 61, 0.5)[1:-1], high])
    edges = np.unique(np.clip(edges, low, high))
    masses = np.exp(example(low, high).log_mass(edges[:-1], edges[1:]))
    assert masses.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_cells_by_their_reach_are_those_by_their_edges(low, high):
    """Where floats tell the edges apart, both ways to name a cell give one mass; a bound cuts either."""
    mixture = example(low, high)
    x = np.array([max(low, -3.0), 0.1, 0.5, min(high, 2.5)])
    below, above = np.array([INF, 0.2, 1e-3, 0.25]), np.array([0.25, 1e-3, 0.1, INF])
    by_edges = mixture.log_mass(x - below, x + above)
    # The edges of the narrowest cell, of 0.1, lose an ulp, 1e-16, each.
    np.testing.assert_allclose(mixture.log_cell_mass(x, below, above), by_edges, atol=1e-12)


@pytest.mark.parametrize("width", [1e-18, 1e-30, 1e-300])
def test_a_cell_narrower_than_floats_has_the_mass_of_its_density(width):
    """Also where its edges are one float: the density times the width."""
    mixture = example(-7.0, 3.0)
    x = np.array([-6.5, 0.1, 2.5])
    expected = mixture.log_pdf(x) + math.log(width)
    half = np.full(3, 0.5 * width)
    np.testing.assert_allclose(mixture.log_cell_mass(x, half, half), expected, rtol=1e-12)


def test_a_component_on_the_bound_has_half_its_weight():
    """The cut is of the whole mixture: what a component loses beyond the bounds goes to all of them."""
    mixture = NormalMixture(np.array([0.5, 0.5]), np.array([0.0, 0.5]), np.array([0.01, 0.01]), 0.0, 1.0)
    masses = np.exp(mixture.log_mass(np.array([0.0, 0.2]), np.array([0.2, 1.0])))
    np.testing.assert_allclose(masses, [1 / 3, 2 / 3])
    drawn = mixture.sample(np.random.default_rng(0), 3000)
    assert stats.binomtest(int((drawn < 0.2).sum()), len(drawn), 1 / 3).pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_draws_follow_the_density(low, high):
    """Draws stay within the bounds and have the mixture's distribution function (KS)."""
    mixture = example(low, high)
    drawn = mixture.sample(np.random.default_rng(1), 3000)
    assert ((drawn >= low) & (drawn <= high)).all()
    start = low if np.isfinite(low) else -1e3
    cdf = np.exp(mixture.log_mass(np.full(len(drawn), start), drawn))
    assert stats.kstest(cdf, "uniform").pvalue > 1e-3


def test_far_from_everything_the_logarithms_are_finite():
    """Thousands of sigmas away densities underflow; their logarithms, and those of cells, do not."""
    mixture = adaptive_parzen(np.zeros(50), 0.0, 1.0, 1.0, -INF, INF)
    x = np.array([-5000.0, 300.0, 5000.0])
    widest = stats.norm.logpdf(x) + math.log(mixture.weights[-1])
    np.testing.assert_allclose(mixture.log_pdf(x), widest, rtol=1e-9)
    np.testing.assert_allclose(mixture.log_mass(x, x + 1e-9), widest + math.log(1e-9), rtol=1e-9)


def test_without_observations_there_is_the_prior():
    """An empty group's estimator is the prior's component, cut to the bounds."""
    mixture = adaptive_parzen(np.empty(0), 2.0, 4.0, 1.0, 0.0, 4.0)
    x = np.linspace(0, 4, 9)
    np.testing.assert_allclose(mixture.log_pdf(x), stats.truncnorm.logpdf(x, -0.5, 0.5, loc=2, scale=4))


def test_the_prior_weighs_as_many_observations_as_told():
    """The weights are the forgetting ones and the prior's, normalised; the prior keeps its mean and sigma."""
    mixture = adaptive_parzen(np.linspace(0, 1, 40), 0.5, 1.0, 2.5, 0.0, 1.0)
    expected = np.append(forgetting_weights(40), 2.5)
    np.testing.assert_allclose(mixture.weights, expected / expected.sum())
    assert (mixture.means[-1], mixture.sigmas[-1]) == (0.5, 1.0)


def test_observations_outside_count_as_on_the_bound():
    """A history may have points beyond the bounds of the space of today."""
    outside, on_bound = (adaptive_parzen(np.array([0.2, x]), 0.5, 1.0, 1.0, 0.0, 1.0) for x in (70.0, 1.0))
    np.testing.assert_array_equal(outside.means, on_bound.means)
    np.testing.assert_array_equal(outside.sigmas, on_bound.sigmas)


# -- categories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 30])
@pytest.mark.parametrize("prior", [None, [0.1, 0.2, 0.3, 0.4]])
def test_the_mass_of_a_category_is_the_formula(n, prior):
    """Forgetting counts plus prior_weight times the number of categories, shared out by the prior, over their sum."""
    observed = np.random.default_rng(2).choice([0, 2, 3], n)
    model = pseudo_counts(observed, 4, 0.7, None if prior is None else np.array(prior))
    counts = np.bincount(observed, weights=forgetting_weights(n), minlength=4)
    expected = counts + 0.7 * 4 * np.array(prior or [0.25] * 4)
    masses = np.exp(model.log_mass(np.arange(4)))
    np.testing.assert_allclose(masses, expected / expected.sum())
    assert masses.sum() == pytest.approx(1)


@pytest.mark.parametrize("prior", [None, [0.1, 0.2, 0.3, 0.4]])
def test_drawn_categories_follow_their_mass(prior):
    """Frequencies of draws are the masses (chi-squared)."""
    model = pseudo_counts(np.array([3, 3, 0, 3, 1]), 4, 0.5, None if prior is None else np.array(prior))
    drawn = model.sample(np.random.default_rng(3), 4000)
    expected = 4000 * np.exp(model.log_mass(np.arange(4)))
    assert stats.chisquare(np.bincount(drawn, minlength=4), expected).pvalue > 1e-3


def test_a_huge_range_costs_no_more_than_its_observations():
    """With 2**53 integers the arrays have the length of the distinct observations, and the masses are exact."""
    k = 2**53
    model = pseudo_counts(np.array([5, k - 1, 5]), k, 1.0)
    assert (model.values.tolist(), model.counts.tolist(), model.prior) == ([5, k - 1], [2.0, 1.0], None)
    masses = np.exp(model.log_mass(np.array([4, 5, 6, k - 1])))
    np.testing.assert_allclose(masses * (k + 3), [1, 3, 1, 2])
    drawn = model.sample(np.random.default_rng(4), 1000)
    assert stats.kstest(drawn / k, "uniform").pvalue > 1e-3


def test_an_impossible_category_has_no_mass_until_observed():
    """A prior probability of 0 is a mass of 0, not an error, and an observation makes it possible."""
    prior = np.array([0.0, 1.0])
    assert np.isneginf(pseudo_counts(np.array([1]), 2, 1.0, prior).log_mass(np.array([0, 1]))).tolist() == [True, False]
    assert np.exp(pseudo_counts(np.array([0]), 2, 1.0, prior).log_mass(np.array([0]))) == pytest.approx([1 / 3])


def test_observations_that_are_no_category_are_left_out():
    """A history may know options that the space no longer has."""
    model = pseudo_counts(np.array([7, 1, -1, 4]), 4, 1.0)
    assert (model.values.tolist(), model.counts.tolist()) == ([1], [1.0])
