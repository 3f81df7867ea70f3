"""Special functions at the extremes, against quadrature and SciPy."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from sparktune.kernels.special import (
    LOG_SQRT_2PI,
    log_gauss_mass,
    log_mass_between,
    log_sum_exp,
    normal_cdf,
    normal_ppf,
    truncnorm_ppf,
)


def reference_log_mass(a, b):
    """The log mass by quadrature of the density relative to its highest value on [a, b]: nothing underflows."""
    top = min(max(a, 0.0), b)
    low, high, scale = max(a, top - 40), min(b, top + 40), 1 / (1 + abs(top))
    knots = [low, *(x for k in (-10, -1, 0, 1, 10) if low < (x := top + k * scale) < high), high]
    pieces = [
        integrate.quad(lambda x: math.exp(-(x - top) * (x + top) / 2), *ends, epsabs=0, epsrel=1e-13)[0]
        for ends in zip(knots[:-1], knots[1:], strict=True)
    ]
    return math.log(sum(pieces)) - top**2 / 2 - LOG_SQRT_2PI


INTERVALS = [
    (-1, 1),
    (0, 1),
    (-8, 9),
    (-1e-3, 40),
    (-40, 40),
    (5, 6),
    (8, 8 + 1e-4),
    (40, 41),
    (-41, -40),
    (40, math.inf),
    (-math.inf, -40),
    (-math.inf, 3),
    (-math.inf, math.inf),
    (0, 1e-12),
    (-1e-12, 0),
    (-1e-20, 1e-20),
    (-1e-6, 1e-6),
    (-5e-13, 5e-13),
    (1, 1 + 1e-6),
    (1, 1 + 1e-12),
    (40, 40 + 1e-6),
    (40, 40 + 1e-10),
    (-40, -40 + 1e-8),
    (300, 300.001),
]


@pytest.mark.parametrize(("a", "b"), INTERVALS)
def test_log_gauss_mass_keeps_its_digits(a, b):
    """Tails of 40 sigma, intervals narrower than a rounding error, infinities: as quadrature has it.

    1e-9, absolute or relative: where an interval is just too wide for the midpoint rule, the difference of two logs
    of size 1,000 has an error of 1e-13 over its width of 1e-5 / 40.
    """
    assert float(log_gauss_mass(a, b)) == pytest.approx(reference_log_mass(a, b), rel=1e-9, abs=1e-9)


def test_log_gauss_mass_is_continuous_where_its_formulas_meet():
    """Around the switch to the midpoint rule, and around 0, nothing jumps."""
    for middle in (0.0, 1.0, -5.0, 40.0):
        widths = 1e-5 / (1 + abs(middle)) * np.array([1 - 1e-9, 1 + 1e-9])
        below, above = log_gauss_mass(middle - widths / 2, middle + widths / 2)
        assert above - below == pytest.approx(2e-9, abs=1e-8)
    np.testing.assert_allclose(np.diff(log_gauss_mass([-1e-15, 0, 1e-15], 1.0)), 0, atol=1e-14)


def test_log_gauss_mass_of_nothing_is_minus_infinity():
    """An empty interval, and one beyond what a float can tell from nothing, have no mass; no warning, no NaN."""
    np.testing.assert_array_equal(log_gauss_mass([0, 3, -3, 1e160, math.inf], [0, 3, -3, math.inf, math.inf]), -np.inf)


def test_log_gauss_mass_broadcasts():
    """Bounds of different shapes are broadcast."""
    assert log_gauss_mass(np.zeros((3, 1)), np.ones(2)).shape == (3, 2)


@pytest.mark.parametrize(
    ("mean", "sigma"), [(0.5, 0.1), (0.0, 0.01), (1.0, 0.01), (0.3, 1.0), (0.99, 1e-3), (0.5, 1e-6)]
)
def test_truncnorm_ppf_is_scipys(mean, sigma):
    """Quantiles within [0, 1], as scipy.stats.truncnorm has them; 1e-12 is what rounding of 1 leaves."""
    u = np.array([0.0, 1e-9, 0.01, 0.25, 0.5, 0.9, 1 - 1e-9, 1.0])
    drawn = truncnorm_ppf(u, np.array(mean), np.array(sigma))
    expected = stats.truncnorm.ppf(u, -mean / sigma, (1 - mean) / sigma, loc=mean, scale=sigma)
    inside = (u > 0) & (u < 1)
    # Next to the upper bound Phi is flat: a rounding error in it becomes one of sqrt(eps) * sigma at the very end.
    np.testing.assert_allclose(drawn[inside], expected[inside], rtol=0, atol=max(1e-12, 1e-6 * sigma))
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_truncnorm_ppf_without_bounds_is_normal(rng):
    """Infinite bounds truncate nothing."""
    drawn = truncnorm_ppf(rng.random(2000), np.array(3.0), np.array(0.5), -np.inf, np.inf)
    assert stats.kstest(drawn, stats.norm(3, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mean", [0.0, 0.2, 1.0])
def test_truncnorm_ppf_follows_its_density(mean, rng):
    """Draws match the truncated normal (KS), means on a bound included."""
    drawn = truncnorm_ppf(rng.random(2000), np.array(mean), np.array(0.3))
    expected = stats.truncnorm(-mean / 0.3, (1 - mean) / 0.3, loc=mean, scale=0.3)
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3


def test_normal_cdf_keeps_nan():
    """Inactive stays inactive."""
    np.testing.assert_allclose(normal_cdf(np.array([-np.inf, 0, np.inf, np.nan])), [0, 0.5, 1, np.nan])


def test_log_mass_between_has_the_digits_that_tables_need():
    """Within 8 sigma of the mean as the exact one; beyond double precision it is about -690, not -inf."""
    a, b = np.array([(a, b) for a, b in INTERVALS if b - a > 1e-3 and min(abs(a), abs(b)) < 9]).T
    np.testing.assert_allclose(log_mass_between(a, b), log_gauss_mass(a, b), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_mass_between(np.array([40.0, -60]), np.array([41.0, -40])), math.log(1e-300))
    assert log_mass_between(np.array([2.0]), np.array([2.0])) == math.log(1e-300)
    np.testing.assert_array_equal(log_mass_between(a, b), log_mass_between(-b, -a))


def test_normal_ppf_inverts_the_distribution_function():
    """From -37 sigma to 8; 0 and 1 are infinities."""
    z = np.array([-37.0, -8, -1, 0, 1, 8])
    # Next to 1 the distribution function is flat: 1e-16 in it is 0.02 of a standard deviation at 8.
    assert (np.abs(normal_ppf(special.ndtr(z)) - z) < np.where(z == 8, 0.05, 1e-9)).all()
    np.testing.assert_array_equal(normal_ppf(np.array([0.0, 1.0])), [-np.inf, np.inf])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_sum_exp(dtype, rng):
    """As numpy's, without overflow; a row of -inf is -inf, not NaN, and no warning."""
    a = (1000 * rng.standard_normal((20, 7))).astype(dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(log_sum_exp(a), np.logaddexp.reduce(a.astype(float), axis=1), rtol=tolerance)
    a[0, :3], a[1] = -np.inf, -np.inf
    assert np.isfinite(log_sum_exp(a)[0])
    assert log_sum_exp(a)[1] == -np.inf


def test_log_gauss_mass_takes_a_width_that_the_bounds_have_lost():
    """Bounds that are rounded to one number, or to neighbours, have the mass of the width that is given."""
    for middle in (3.0, -30.0, 0.0, 1e6):
        got = log_gauss_mass(middle, middle, 1e-20)
        assert got == pytest.approx(math.log(1e-20) - 0.5 * middle**2 - LOG_SQRT_2PI, rel=1e-14)
    assert log_gauss_mass(1.0, 1.0, 0.0) == -math.inf
    np.testing.assert_array_equal(log_gauss_mass([-1, 0], [1, 2], [2.0, 2.0]), log_gauss_mass([-1, 0], [1, 2]))
    assert log_gauss_mass(-math.inf, 0.0, math.inf) == pytest.approx(math.log(0.5))
