"""The Gaussian process against direct formulas, and log expected improvement against quadrature."""

import math

import numpy as np
import pytest
from scipy import integrate, linalg, optimize, special, stats

from sparktune.kernels.gaussian_process import GaussianProcess, log_expected_improvement, log_normal_cdf

GROUPS = np.array([0, 1, 2, 2, 2])


def matern(a, b, scales, signal):
    """Rasmussen and Williams 2006, equation 4.17, with a loop over pairs."""
    r = np.array([[math.sqrt(sum(((p - q) / scales) ** 2)) for q in b] for p in a])
    return signal * (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r)


@pytest.fixture
def data(rng):
    """Two numbers and a choice of three options; values with noise."""
    x = np.column_stack([rng.random((30, 2)), math.sqrt(0.5) * np.eye(3)[rng.integers(0, 3, 30)]])
    return x, np.sin(5 * x[:, 0]) + x[:, 3] + 0.1 * rng.standard_normal(30)


THETA = np.log([0.3, 2.0, 0.8, 1.7, 0.05])
SCALES = np.array([0.3, 2.0, 0.8, 0.8, 0.8])


def log_evidence(theta, x, y):
    k = matern(x, x, np.exp(theta[:3])[GROUPS], np.exp(theta[3])) + (np.exp(theta[4]) + 1e-8) * np.eye(len(x))
    return stats.multivariate_normal.logpdf(y, np.zeros(len(y)), k)


def test_the_posterior_is_that_of_the_direct_formulas(data, rng):
    """Mean and variance as with an explicit inverse of the kernel's matrix."""
    x, y = data
    at = rng.random((7, 5))
    process = GaussianProcess(GROUPS, THETA)
    process.condition(x, y)
    means, sds = process.predict(at)
    k = matern(x, x, SCALES, 1.7) + (0.05 + 1e-8) * np.eye(len(x))
    cross = matern(at, x, SCALES, 1.7)
    np.testing.assert_allclose(means, cross @ linalg.inv(k) @ y, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(sds**2, 1.7 - np.diag(cross @ linalg.inv(k) @ cross.T), rtol=1e-7)


def test_without_noise_the_posterior_goes_through_the_points(rng):
    """With next to no noise the mean at the points is their value, and its spread next to nothing."""
    x = rng.random((12, 1))
    y = np.sin(6 * x[:, 0])
    process = GaussianProcess(np.array([0]), np.log([0.3, 1.0, 1e-6]))
    process.condition(x, y)
    means, sds = process.predict(x)
    np.testing.assert_allclose(means, y, atol=1e-3)
    assert sds.max() < 2e-3


def test_far_from_all_points_the_posterior_is_the_prior(data):
    """A hundred length-scales away the mean is 0 and the standard deviation the signal's."""
    process = GaussianProcess(GROUPS, THETA)
    process.condition(*data)
    means, sds = process.predict(np.full((1, 5), 300.0))
    assert means[0] == pytest.approx(0, abs=1e-12)
    assert sds[0] == pytest.approx(math.sqrt(1.7))


def test_equal_points_are_no_trouble():
    """The same point many times, with other values: the mean is theirs, all stays finite."""
    x, y = np.full((60, 2), 0.5), np.tile([0.0, 1.0], 30)
    process = GaussianProcess(np.array([0, 1]), np.log([0.5, 0.5, 1.0, 1e-6]))
    process.condition(x, y)
    means, sds = process.predict(np.array([[0.5, 0.5], [0.1, 0.9]]))
    assert means[0] == pytest.approx(0.5, abs=1e-3)
    assert np.isfinite([means, sds]).all()
    process.fit(x, y, 10)
    assert np.isfinite(process.theta).all()


def objective_and_gradient(process, x, y, theta):
    """What the fit minimises, caught on its way to SciPy's optimiser: no name of ours is relied upon."""
    caught = {}

    def catch(function, start, args=(), **options):
        caught.update(function=function, args=args, bounds=options.get("bounds"))
        return optimize.OptimizeResult(x=start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimize, "minimize", catch)
        process.fit(x, y, 1)
    return caught["function"](np.asarray(theta, dtype=float), *caught["args"])


@pytest.mark.parametrize("theta", [THETA, np.zeros(5), np.log([0.05, 5.0, 0.2, 0.3, 1e-4])])
def test_the_gradient_is_that_of_finite_differences(theta, data):
    """Of the negative log posterior, in each hyperparameter, by central differences."""
    x, y = data
    process = GaussianProcess(GROUPS)
    _, gradient = objective_and_gradient(process, x, y, theta)
    for i in range(5):
        step = 1e-5 * (np.arange(5) == i)
        upper, lower = (objective_and_gradient(process, x, y, theta + s)[0] for s in (step, -step))
        assert gradient[i] == pytest.approx((upper - lower) / 2e-5, rel=1e-4, abs=1e-4)


def test_what_the_fit_minimises_is_the_evidence_and_normal_priors(data):
    """Differences between hyperparameters are those of the log evidence and of a quadratic around the mode."""
    x, y = data
    process = GaussianProcess(GROUPS)
    mode = process.theta
    others = [THETA, mode + 1.0, mode - 0.5]
    values = [objective_and_gradient(process, x, y, theta)[0] + log_evidence(theta, x, y) for theta in others]
    start = objective_and_gradient(process, x, y, mode)[0] + log_evidence(mode, x, y)
    penalties = np.array(values) - start
    assert (penalties > 0).all()
    # Equal steps in all hyperparameters cost as their square.
    assert penalties[1] == pytest.approx(4 * penalties[2], rel=1e-6)


def test_the_fit_improves_the_posterior_and_finds_what_matters(rng):
    """The length-scale of the parameter that does nothing grows beyond that of the one that does."""
    x = rng.random((60, 2))
    y = np.sin(9 * x[:, 0])
    process = GaussianProcess(np.array([0, 1]))
    start = process.theta
    before = objective_and_gradient(process, x, y, start)[0]
    process.fit(x, y, 30)
    assert objective_and_gradient(process, x, y, process.theta)[0] < before - 10
    assert process.theta[1] > process.theta[0] + 1
    assert process.theta[-1] < math.log(0.01)


def test_noise_is_recognised(rng):
    """With values that hang on nothing nearly all variance is noise."""
    x, y = rng.random((100, 2)), rng.standard_normal(100)
    process = GaussianProcess(np.array([0, 1]))
    process.fit(x, y, 50)
    process.condition(x, y)
    means, _ = process.predict(x)
    assert process.noise > 0.4
    assert means.std() < 0.6


def quadrature(z, s):
    """The expected improvement with mean 0 less z s, scaled by its tail so that nothing underflows."""
    value, _ = integrate.quad(lambda t: t * math.exp(-t * t / 2 + t * z), 0, 60, epsabs=0, epsrel=1e-12, limit=500)
    return math.log(value) - z * z / 2 - 0.5 * math.log(2 * math.pi) + math.log(s)


@pytest.mark.parametrize("s", [1e-6, 0.3, 1e4])
@pytest.mark.parametrize("z", [8.0, 3.0, 1.0, 0.0, -1.0, -3.0, -4.9])
def test_log_expected_improvement_is_that_of_quadrature(z, s):
    """Where the closed form holds, to its rounding."""
    found = log_expected_improvement(np.array([-z * s]), np.array([s]), 0.0)
    assert found[0] == pytest.approx(quadrature(z, s), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("z", [-4.9, -5.1, -6.0, -8.0, -20.0, -99.0, -1e4])
def test_log_expected_improvement_in_the_far_tail(z):
    """phi(z) + z Phi(z) without its cancellation, by the scaled complementary error function; as a series far out."""
    t = -z
    factor = 1 - t * math.sqrt(math.pi / 2) * special.erfcx(t / math.sqrt(2)) if t < 100 else 1 / t**2 - 3 / t**4
    expected = -0.5 * z * z - 0.5 * math.log(2 * math.pi) + math.log(factor)
    found = log_expected_improvement(np.array([-z]), np.array([1.0]), 0.0)
    assert found[0] == pytest.approx(expected, rel=1e-9, abs=1e-5)


def test_log_expected_improvement_rises_with_the_mean_and_the_spread():
    """Where the mean is worse than the best it is monotone in both, also where formulas meet."""
    found = log_expected_improvement(np.linspace(60, -6, 5000), np.ones(5000), 0.0)
    assert (np.diff(found) > 0).all()
    assert (np.diff(log_expected_improvement(np.full(500, 1.0), np.geomspace(1e-3, 1e3, 500), 0.0)) > 0).all()


def test_log_normal_cdf_keeps_the_far_tail():
    """40 standard deviations out the logarithm is finite and SciPy's."""
    np.testing.assert_allclose(log_normal_cdf(np.array([-40.0, 0, 40])), stats.norm.logcdf([-40, 0, 40]))
