"""Acquisition criteria against quadrature, draws and exact values."""

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune import criteria


def by_quadrature(mean, var, thresh):
    normal = stats.norm(mean, np.sqrt(var))
    return integrate.quad(lambda x: (x - thresh) * normal.pdf(x), thresh, mean + 40 * np.sqrt(var), epsabs=0)[0]


@pytest.mark.parametrize(("mean", "var"), [(0, 1), (-4, 9), (2, 0.25)])
@pytest.mark.parametrize("z", [-4, -1, -0.5, 0, 0.5, 1, 3])
def test_expected_improvement(mean, var, z):
    """EI and its logarithm are the integral over the normal distribution; draws come close."""
    thresh = mean + z * np.sqrt(var)
    expected = by_quadrature(mean, var, thresh)
    np.testing.assert_allclose(criteria.EI_gaussian(mean, var, thresh), expected, rtol=1e-6)
    np.testing.assert_allclose(criteria.logEI_gaussian(mean, var, thresh), np.log(expected), atol=1e-6)
    drawn = criteria.EI_gaussian_empirical(mean, var, thresh, np.random.default_rng(0), 20_000)
    # The standard deviation of an improvement is below that of the prediction: 5 standard errors.
    assert abs(drawn - expected) < 5 * np.sqrt(var / 20_000)


def test_the_logarithm_stays_finite_and_smooth():
    """Far beyond where EI is 0, log EI follows -z^2 / 2, without a jump where the formula changes."""
    z = np.concatenate([np.linspace(-3, 3, 601), np.geomspace(3.01, 5000, 2000)])
    log_ei = criteria.logEI_gaussian(0, 1, z)
    assert np.isfinite(log_ei).all()
    assert (np.diff(log_ei) < 0).all()
    # phi(z) / z^2 is what is left of it far out, up to a factor 1 - 3 / z^2.
    far = z > 50
    np.testing.assert_allclose(log_ei[far], -0.5 * z[far] ** 2 - np.log(np.sqrt(2 * np.pi) * z[far] ** 2), atol=2e-3)
    for edge in (1.0, 100.0):
        below, above = criteria.logEI_gaussian(0, 1, np.array([edge * (1 - 1e-9), edge * (1 + 1e-9)]))
        # Between them the function itself changes by about edge^2 * 2e-9.
        assert abs(above - below) < 3e-9 * edge**2 + 1e-8


def test_no_spread_and_no_draws_above():
    """Without variance the improvement is known; draws that all fall short improve nothing."""
    assert criteria.EI_gaussian(3, 0, 1) == 2
    assert criteria.EI_gaussian(0, 0, 1) == 0
    assert criteria.logEI_gaussian(0, 0, 1) == -np.inf
    assert criteria.EI_empirical([0.0, 1.0, 2.0, 3.0], 1.5) == 0.5
    assert criteria.EI_empirical([0.0, 1.0], 1.5) == 0


def test_arrays_go_elementwise():
    """Arguments broadcast; numbers give numbers."""
    means, variances = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    for criterion in (criteria.EI_gaussian, criteria.logEI_gaussian, criteria.UCB):
        expected = [criterion(m, v, 0.5) for m, v in zip(means, variances, strict=True)]
        np.testing.assert_array_equal(criterion(means, variances, 0.5), expected)
        assert np.ndim(criterion(0, 1, 2)) == 0
    assert criteria.UCB(1, 4, 2) == 5


def test_a_threshold_at_infinity():
    """Nothing is above it, and everything above minus infinity, by infinitely much."""
    assert criteria.EI_gaussian(0.0, 1.0, np.inf) == 0.0
    assert criteria.logEI_gaussian(0.0, 1.0, np.inf) == -np.inf
    assert criteria.EI_gaussian(0.0, 1.0, -np.inf) == np.inf
