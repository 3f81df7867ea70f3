"""scipy-style distributions: densities, masses and draws agree with one another."""

import math
import pickle

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune import rdists

CONTINUOUS = [
    rdists.loguniform_gen(0, 1),
    rdists.loguniform_gen(-4, 3),
    rdists.lognorm_gen(0, 1),
    rdists.lognorm_gen(-2, 0.5),
]
QUANTISED = [
    rdists.quniform_gen(0, 10, 1),
    rdists.quniform_gen(-20, -1, 3),
    rdists.quniform_gen(0, 1, 0.1),
    rdists.qloguniform_gen(-1, 2, 1),
    rdists.qloguniform_gen(np.log(0.05), np.log(0.15), 0.5),
    rdists.qnormal_gen(-3, 2, 0.5),
    rdists.qlognormal_gen(0, 1, 1),
]


@pytest.mark.parametrize("distribution", CONTINUOUS, ids=lambda d: type(d).__name__)
def test_continuous_functions_agree(distribution):
    """cdf is the integral of pdf, ppf its inverse, the logarithms are those of the values, and draws follow it."""
    q = np.array([0.01, 0.3, 0.5, 0.9])
    x = distribution.ppf(q)
    np.testing.assert_allclose(distribution.cdf(x), q, rtol=1e-9)
    np.testing.assert_allclose(distribution.sf(x), 1 - q, rtol=1e-9)
    np.testing.assert_allclose(distribution.logpdf(x), np.log(distribution.pdf(x)), rtol=1e-9)
    area = integrate.quad(distribution.pdf, x[0], x[-1], points=x[1:3])[0]
    np.testing.assert_allclose(area, q[-1] - q[0], rtol=1e-6)
    drawn = distribution.rvs(size=2000, random_state=0)
    assert stats.kstest(drawn, distribution.cdf).pvalue > 0.01  # of one seeded sample


def test_continuous_distributions_are_scipys():
    """They end where they should, take loc and scale, and can be frozen and pickled."""
    distribution = rdists.loguniform_gen(-1, 1)
    assert distribution.pdf([0.3, 1.0, 3.0]).tolist() == [0.0, 0.5, 0.0]
    assert rdists.lognorm_gen(0, 1).cdf([-1.0, 0.0, 1.0]).tolist() == [0.0, 0.0, 0.5]
    assert distribution(1, 2).cdf(1 + 2 * 1.0) == pytest.approx(0.5)
    assert pickle.loads(pickle.dumps(distribution)).cdf(1.0) == pytest.approx(0.5)
    assert distribution.mean() == pytest.approx(np.sinh(1))
    assert rdists.lognorm_gen(1, 0.5).mean() == pytest.approx(np.exp(1.125))


@pytest.mark.parametrize("distribution", QUANTISED, ids=lambda d: f"{type(d).__name__}-{d.q}")
def test_masses_are_those_of_the_draws(distribution):
    """Frequencies of seeded draws are the masses, which sum to 1 over the values that were drawn."""
    values, counts = np.unique(distribution.rvs(size=20_000, random_state=0), return_counts=True)
    p = distribution.pmf(values)
    # 5 standard deviations of a frequency, and one count for what is rare.
    np.testing.assert_array_less(np.abs(counts / 20_000 - p), 5 * np.sqrt(p * (1 - p) / 20_000) + 1 / 20_000)
    assert 0.99 < p.sum() < 1 + 1e-9
    np.testing.assert_allclose(distribution.logpmf(values), np.log(p), atol=1e-12)


@pytest.mark.parametrize("distribution", QUANTISED[:5], ids=lambda d: f"{type(d).__name__}-{d.q}")
def test_bounded_ones_have_a_table(distribution):
    """xs are all values from qlow to qhigh, ps their masses."""
    assert (distribution.xs[0], distribution.xs[-1]) == pytest.approx((distribution.qlow, distribution.qhigh))
    assert distribution.ps.sum() == pytest.approx(1)
    assert (distribution.ps > 0).all()


def test_quantised_draws_are_hyperopts():
    """A rounded draw: the ends have half a cell, and may lie beyond the bounds."""
    np.testing.assert_allclose(rdists.quniform_gen(0, 2, 1).ps, [0.25, 0.5, 0.25])
    np.testing.assert_allclose(rdists.quniform_gen(1, 5, 3).ps, [0.125, 0.75, 0.125])
    assert rdists.quniform_gen(1, 5, 3).xs.tolist() == [0, 3, 6]


@pytest.mark.parametrize("distribution", QUANTISED, ids=lambda d: f"{type(d).__name__}-{d.q}")
def test_what_is_no_multiple_has_no_mass(distribution):
    """0, or its logarithm; numbers give numbers."""
    x = distribution.rvs(random_state=0) + 0.3 * distribution.q
    assert (distribution.pmf(x), distribution.logpmf(x)) == (0.0, -np.inf)


@pytest.mark.parametrize(
    "make", [rdists.quniform_gen, rdists.qloguniform_gen, rdists.qnormal_gen, rdists.qlognormal_gen]
)
def test_draws_have_the_type_of_q(make):
    """An int for a step that is an int, else a float; size shapes them."""
    assert type(make(0, 3, 1).rvs()) is int
    assert type(make(0, 3, 1.0).rvs()) is float
    drawn = make(0, 3, 1).rvs(size=(2, 3))
    assert (drawn.shape, drawn.dtype.kind) == ((2, 3), "i")


def test_in_domain():
    """Multiples of q, for the lognormal from 0 on."""
    assert rdists.qnormal_gen(0, 1, 2).in_domain([-2, 0, 1]).tolist() == [True, True, False]
    assert rdists.qlognormal_gen(0, 1, 2).in_domain([-2, 0, 1]).tolist() == [False, True, False]


def test_draws_that_64_bits_cannot_hold_are_floats():
    """Not integers that have come round to the other side of 0."""
    drawn = rdists.qlognormal_gen(50, 10, 1).rvs(size=1000, random_state=0)
    assert drawn.dtype == float
    assert (drawn >= 0).all()
    assert rdists.qlognormal_gen(100, 1, 1).rvs(random_state=0) > 1e30
    assert rdists.quniform_gen(0, 1e20, 10**6).qhigh == 1e20


@pytest.mark.parametrize(("mu", "sigma"), [(0, 1), (-3, 10)])
def test_the_upper_tail_of_a_lognormal_has_its_digits(mu, sigma):
    """As SciPy's has, where the distribution function is 1 but for rounding."""
    ours, reference = rdists.lognorm_gen(mu, sigma), stats.lognorm(sigma, scale=math.exp(mu))
    tail = np.array([1e-300, 1e-30, 1e-12, 0.3])
    np.testing.assert_allclose(ours.isf(tail), reference.isf(tail), rtol=1e-10)
    far = np.exp(mu + sigma * np.array([1.0, 9.0, 40.0]))
    np.testing.assert_allclose(ours.logsf(far), reference.logsf(far), rtol=1e-10)
    np.testing.assert_allclose(rdists.lognorm_gen(0, 1).logsf(1e100), stats.lognorm(1).logsf(1e100), rtol=1e-10)


def test_masses_between_large_multiples():
    """Half a step beside a large multiple is no multiple."""
    np.testing.assert_array_equal(rdists.quniform_gen(0, 1e12, 1).pmf([1e9 + 0.5, 1e7 + 0.5]), 0)
    assert rdists.quniform_gen(0, 1e12, 1).pmf(1e9) == pytest.approx(1e-12)
