"""Parzen mixtures, against a slow explicit reference, quadrature and their own draws."""

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune.kernels.parzen import Mixture, category_smoothing, neighbour_bandwidths

NAN = np.nan


def mixture(numeric, categories, low, high, log_priors, weights=None, prior_weight=1.0, n=None):
    """A mixture of kernels given as lists."""
    numeric = np.array(numeric, dtype=float)
    weights = np.ones(len(numeric)) if weights is None else np.array(weights, dtype=float)
    categories = np.array(categories, dtype=np.intp).reshape(len(numeric), len(log_priors))
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    return Mixture(numeric, categories, weights, prior_weight, low, high, log_priors, len(numeric) if n is None else n)


@pytest.fixture
def mixed():
    """Two bounded coordinates, an unbounded one, two categorical ones; inactive entries in all of them."""
    return mixture(
        [[0.1, 0.7, -1.0], [0.15, NAN, 2.0], [0.9, 0.2, NAN], [NAN, 0.99, 0.0], [0.5, 0.0, 0.3]],
        [[0, 2], [1, -1], [-1, 0], [0, 1], [1, 1]],
        [0, 0, -np.inf],
        [1, 1, np.inf],
        [np.log([0.5, 0.5]), np.log([0.2, 0.3, 0.5])],
        weights=[2.0, 1.5, 1.0, 0.4, 0.1],
        prior_weight=0.7,
    )


def prior_density(mix, column, x):
    return stats.norm.pdf(x) if np.isinf(mix.low[column]) else stats.uniform.pdf(x)


def kernel_density(mix, kernel, column, x):
    """The density of one kernel in one numeric coordinate, by scipy.stats."""
    mean, sigma = mix.numeric[kernel, column], mix.sigmas[kernel, column]
    if np.isnan(mean):
        return prior_density(mix, column, x)
    if np.isinf(mix.low[column]):
        return stats.norm.pdf(x, mean, sigma)
    return stats.truncnorm.pdf(x, -mean / sigma, (1 - mean) / sigma, loc=mean, scale=sigma)


def kernel_mass(mix, kernel, column, category):
    """The probability of a category in one kernel."""
    own, p = mix.categories[kernel, column], np.exp(mix.log_priors[column])
    if own == -1:
        return p[category]
    share = mix.smoothing[column]
    return (1 - share) * (category == own) + share * p[category]


def reference_log_pdf(mix, numeric, categories):
    """The joint log density written out: a sum over components of products over active coordinates."""
    weights = np.append(mix.weights, mix.prior_weight)
    density = np.zeros(len(numeric))
    for i, (xs, chosen) in enumerate(zip(numeric, categories, strict=True)):
        for kernel, weight in enumerate(weights / weights.sum()):
            is_prior = kernel == len(mix.weights)
            factors = [
                prior_density(mix, c, x) if is_prior else kernel_density(mix, kernel, c, x)
                for c, x in enumerate(xs)
                if not np.isnan(x)
            ] + [
                np.exp(mix.log_priors[c][k]) if is_prior else kernel_mass(mix, kernel, c, k)
                for c, k in enumerate(chosen)
                if k >= 0
            ]
            density[i] += weight * np.prod(factors)
    return np.log(density)


def test_bandwidths_of_a_hand_made_example():
    """Each point has the larger distance to its neighbours, from 1 / (m + 2) to 1; alone it reaches the bounds."""
    points = np.array([[0.5, 0.2, NAN], [0.0, NAN, NAN], [0.8, NAN, 3.0], [0.9, NAN, 3.1]])
    sigmas = neighbour_bandwidths(points, np.array([0, 0, -np.inf]), np.array([1, 1, np.inf]))
    np.testing.assert_allclose(sigmas, [[0.5, 0.8, 1], [0.5, 1, 1], [0.3, 1, 0.25], [1 / 6, 1, 0.25]])


def test_bandwidths_at_the_limits():
    """Points on one spot have the narrowest bandwidth, far apart the widest, a single unbounded one 1."""
    low, high = np.array([-np.inf]), np.array([np.inf])
    np.testing.assert_allclose(neighbour_bandwidths(np.full((500, 1), 0.3), low, high), 1 / 100)
    np.testing.assert_allclose(neighbour_bandwidths(np.array([[-50.0], [50.0]]), low, high), 1)
    np.testing.assert_allclose(neighbour_bandwidths(np.array([[2.0]]), low, high), 1)
    assert neighbour_bandwidths(np.empty((0, 1)), low, high).shape == (0, 1)


def test_bandwidths_do_not_hang_on_the_order_of_the_points(rng):
    """Shuffled points keep their bandwidths."""
    points, order = rng.random((30, 2)), rng.permutation(30)
    low, high = np.zeros(2), np.ones(2)
    shuffled = neighbour_bandwidths(points[order], low, high)
    np.testing.assert_array_equal(shuffled, neighbour_bandwidths(points, low, high)[order])


def test_categories_are_smoothed_less_the_more_is_known():
    """The prior's share falls with the number of observations and grows with the number of categories."""
    shares = [category_smoothing(n, np.array([2, 50])) for n in (0, 1, 10, 10_000)]
    assert (np.diff(shares, axis=0) < 0).all()
    assert all(0 < few < many < 1 for few, many in shares)


def test_log_pdf_is_that_of_the_explicit_reference(mixed, rng):
    """Numeric, categorical, unbounded and inactive coordinates: as a loop over scipy.stats has it."""
    numeric = np.column_stack([rng.random(40), rng.random(40), rng.normal(0, 2, 40)])
    numeric[rng.random(numeric.shape) < 0.3] = NAN
    categories = np.column_stack([rng.integers(-1, 2, 40), rng.integers(-1, 3, 40)])
    expected = reference_log_pdf(mixed, numeric, categories)
    np.testing.assert_allclose(mixed.log_pdf(numeric, categories), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_kernels", [0, 1, 2, 3, 4, 50])
def test_log_pdf_is_that_of_the_reference_for_any_number_of_kernels(n_kernels, rng):
    """No kernel leaves the prior; few and many agree with the reference."""
    mix = mixture(rng.random((n_kernels, 1)), rng.integers(0, 2, (n_kernels, 1)), [0], [1], [np.log([0.1, 0.9])])
    numeric, categories = rng.random((5, 1)), rng.integers(0, 2, (5, 1))
    np.testing.assert_allclose(mix.log_pdf(numeric, categories), reference_log_pdf(mix, numeric, categories), rtol=1e-9)


def test_log_pdf_of_a_kernel_far_from_the_prior(rng):
    """An observation 50 standard deviations out: the expanded square keeps 8 digits."""
    mix = mixture([[50.0], [50.01], [0.0]], [[], [], []], [-np.inf], [np.inf], [])
    x = np.array([[50.0], [49.9], [0.0], [25.0]])
    no_categories = np.empty((4, 0), dtype=np.intp)
    np.testing.assert_allclose(mix.log_pdf(x, no_categories), reference_log_pdf(mix, x, no_categories), rtol=1e-7)


def test_a_density_in_one_dimension_integrates_to_one():
    """Bounded and unbounded."""
    for low, high, ends in ((0, 1, (0, 1)), (-np.inf, np.inf, (-12, 12))):
        mix = mixture([[0.1], [0.12], [0.9]], [[], [], []], [low], [high], [])
        x = np.linspace(*ends, 20_001)[:, None]
        density = np.exp(mix.log_pdf(x, np.empty((len(x), 0), dtype=np.intp)))
        assert integrate.simpson(density, x=x[:, 0]) == pytest.approx(1, abs=1e-8)


def test_a_joint_density_integrates_to_one():
    """Over a bounded and an unbounded coordinate and a category, one kernel inactive in each."""
    mix = mixture(
        [[0.2, 1.0], [NAN, 0.5], [0.6, NAN]],
        [[0], [1], [-1]],
        [0, -np.inf],
        [1, np.inf],
        [np.log([0.3, 0.7])],
    )
    u, v = np.linspace(0, 1, 201), np.linspace(-9, 9, 601)
    grid = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    total = 0.0
    for category in (0, 1):
        density = np.exp(mix.log_pdf(grid, np.full((len(grid), 1), category))).reshape(len(u), len(v))
        total += integrate.simpson(integrate.simpson(density, x=v), x=u)
    assert total == pytest.approx(1, abs=1e-6)


def test_joint_draws_follow_the_density(mixed):
    """Each coordinate of joint draws has its marginal of the joint mixture (KS, chi-square)."""
    rng, n = np.random.default_rng(3), 5000
    prior = [rng.random(n), rng.random(n), rng.standard_normal(n)]
    numeric = np.column_stack(prior)
    categories = np.column_stack([rng.choice(2, n), rng.choice(3, n, p=[0.2, 0.3, 0.5])])
    mixed.sample_joint(rng, numeric, categories)
    weights = np.append(mixed.weights, mixed.prior_weight) / (mixed.weights.sum() + mixed.prior_weight)
    for column, grid in enumerate((np.linspace(0, 1, 4001), np.linspace(0, 1, 4001), np.linspace(-9, 9, 8001))):
        parts = [kernel_density(mixed, k, column, grid) for k in range(5)] + [prior_density(mixed, column, grid)]
        cdf = integrate.cumulative_trapezoid(weights @ np.array(parts), grid, initial=0)
        assert cdf[-1] == pytest.approx(1, abs=1e-3)
        assert stats.kstest(numeric[:, column], lambda x, g=grid, c=cdf: np.interp(x, g, c / c[-1])).pvalue > 1e-3
    for column, log_p in enumerate(mixed.log_priors):
        mass = [
            weights[:-1] @ [kernel_mass(mixed, k, column, c) for k in range(5)] + weights[-1] * np.exp(log_p[c])
            for c in range(len(log_p))
        ]
        counts = np.bincount(categories[:, column], minlength=len(log_p))
        assert stats.chisquare(counts, np.array(mass) * n).pvalue > 1e-3


def test_joint_draws_keep_coordinates_together_and_marginal_ones_do_not(rng):
    """Two kernels on a diagonal: joint draws stay on it, marginal draws leave it."""
    mix = mixture([[0.1, 0.1], [0.9, 0.9]] * 20, [[]] * 40, [0, 0], [1, 1], [], prior_weight=1e-9)
    drawn = {}
    for name in ("sample_joint", "sample_marginals"):
        numeric = rng.random((2000, 2))
        getattr(mix, name)(rng, numeric, np.empty((2000, 0), dtype=np.intp))
        drawn[name] = np.mean((numeric[:, 0] < 0.5) == (numeric[:, 1] < 0.5))
    assert drawn["sample_joint"] > 0.95
    assert 0.4 < drawn["sample_marginals"] < 0.6


def test_draws_without_kernels_are_the_prior_draws(rng):
    """An empty mixture leaves what it is given."""
    mix = mixture(np.empty((0, 1)), [], [0], [1], [np.log([1.0])])
    numeric, categories = rng.random((5, 1)), np.zeros((5, 1), dtype=np.intp)
    before = numeric.copy()
    mix.sample_joint(rng, numeric, categories)
    mix.sample_marginals(rng, numeric, categories)
    np.testing.assert_array_equal(numeric, before)


def test_marginals_are_those_of_the_kernels_in_which_the_coordinate_is_active(mixed, rng):
    """A coordinate's own density mixes the kernels that have it, and the prior; inactive points have 0."""
    numeric = np.column_stack([rng.random(10), rng.random(10), rng.normal(0, 2, 10)])
    numeric[0] = NAN
    categories = np.column_stack([rng.integers(0, 2, 10), rng.integers(0, 3, 10)])
    categories[0] = -1
    log_numeric, log_categories = mixed.log_marginals(numeric, categories)
    assert (log_numeric[0] == 0).all()
    assert (log_categories[0] == 0).all()
    for c in range(3):
        active = [k for k in range(5) if not np.isnan(mixed.numeric[k, c])]
        w = np.append(mixed.weights[active], mixed.prior_weight)
        parts = [kernel_density(mixed, k, c, numeric[1:, c]) for k in active] + [
            prior_density(mixed, c, numeric[1:, c])
        ]
        np.testing.assert_allclose(log_numeric[1:, c], np.log(w @ np.array(parts) / w.sum()), rtol=1e-9, atol=1e-12)
    for c in range(2):
        active = [k for k in range(5) if mixed.categories[k, c] >= 0]
        w = np.append(mixed.weights[active], mixed.prior_weight)
        p = np.exp(mixed.log_priors[c])
        table = (
            w @ np.array([[kernel_mass(mixed, k, c, j) for j in range(len(p))] for k in active] + [list(p)]) / w.sum()
        )
        assert table.sum() == pytest.approx(1)
        np.testing.assert_allclose(log_categories[1:, c], np.log(table[categories[1:, c]]), rtol=1e-9)


def test_a_category_without_prior_mass_has_none_away_from_its_kernels():
    """An option of probability 0 that someone tried counts in its own kernel alone; no NaN, no warning."""
    log_priors = [np.array([0.0, -np.inf])]
    some = np.array([[0.5], [0.5]])
    with_it = mixture([[0.5]] * 5, [[1]] + [[0]] * 4, [0], [1], log_priors)
    without = mixture([[0.5]] * 5, [[0]] * 5, [0], [1], log_priors)
    assert np.isfinite(with_it.log_pdf(some, np.array([[0], [1]]))).all()
    np.testing.assert_array_equal(np.isfinite(without.log_pdf(some, np.array([[0], [1]]))), [True, False])
    np.testing.assert_array_equal(without.log_pdf(some, np.array([[1], [1]])), -np.inf)
