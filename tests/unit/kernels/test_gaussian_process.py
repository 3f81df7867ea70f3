"""The Gaussian process against direct formulas, and log expected improvement against quadrature."""

import math

import numpy as np
import pytest
from scipy import integrate, linalg, special, stats

from sparktune.kernels.gaussian_process import (
    GaussianProcess,
    LossScale,
    Posterior,
    Prior,
    fit,
    log_expected_improvement,
    log_normal_cdf,
    scaled,
)

INF = math.inf

GROUPS = np.array([0, 1, 2, 2, 2])
PRIOR = Prior.of(3, np.zeros(3, dtype=bool))


def matern(a, b, scales, signal):
    """Rasmussen and Williams 2006, equation 4.17, with a loop over pairs."""
    r = np.array([[math.sqrt(sum(((p - q) / scales) ** 2)) for q in b] for p in a])
    return signal * (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r)


def trend(a, b, variance):
    """A constant, P1 and half of P2 of two numbers, and the own option of three, by SciPy's polynomials."""
    features = []
    for x in (a, b):
        numbers = 2 * x[:, :2] - 1
        first, second = (math.sqrt(2 * n + 1) * special.eval_legendre(n, numbers) for n in (1, 2))
        effects = np.hstack([first, 0.5 * second, x[:, 2:] / math.sqrt(0.5)]) / math.sqrt(3)
        features.append(np.column_stack([np.ones(len(x)), effects]))
    return variance * features[0] @ features[1].T


@pytest.fixture
def data(rng):
    """Two numbers and a choice of three options; values with noise."""
    x = np.column_stack([rng.random((30, 2)), math.sqrt(0.5) * np.eye(3)[rng.integers(0, 3, 30)]])
    return x, np.sin(5 * x[:, 0]) + x[:, 3] + 0.1 * rng.standard_normal(30)


THETA = np.log([0.3, 2.0, 0.8, 1.7, 0.05, 0.4])


def covariance(a, b, theta):
    return matern(a, b, np.exp(theta[:3])[GROUPS], np.exp(theta[3])) + trend(a, b, np.exp(theta[5]))


def log_evidence(theta, x, y):
    k = covariance(x, x, theta) + (np.exp(theta[4]) + 1e-8) * np.eye(len(x))
    return stats.multivariate_normal.logpdf(y, np.zeros(len(y)), k)


def test_the_posterior_is_that_of_the_direct_formulas(data, rng):
    """Mean and variance as with an explicit inverse of the kernel's matrix."""
    x, y = data
    at = rng.random((7, 5))
    process = GaussianProcess(GROUPS, THETA)
    process.condition(x, y)
    means, sds = process.predict(at)
    inverse = linalg.inv(covariance(x, x, THETA) + (0.05 + 1e-8) * np.eye(len(x)))
    cross = covariance(at, x, THETA)
    np.testing.assert_allclose(means, cross @ inverse @ y, rtol=1e-8, atol=1e-10)
    expected = np.diag(covariance(at, at, THETA) - cross @ inverse @ cross.T)
    np.testing.assert_allclose(sds**2, expected, rtol=1e-7)


def test_the_means_at_known_points_are_what_is_predicted_there(data, rng):
    """With points awaited and without."""
    process = GaussianProcess(GROUPS, THETA)
    for awaited in (None, rng.random((3, 5))):
        process.condition(*data, awaited)
        np.testing.assert_allclose(process.known_means, process.predict(data[0])[0], rtol=1e-8, atol=1e-10)


def test_awaited_values_count_as_what_is_expected_there(data, rng):
    """Mean and spread are those after they are given as known, at the mean."""
    x, y = data
    at, awaited = rng.random((7, 5)), rng.random((3, 5))
    process, told = GaussianProcess(GROUPS, THETA), GaussianProcess(GROUPS, THETA)
    process.condition(x, y)
    expected, _ = process.predict(awaited)
    told.condition(np.vstack([x, awaited]), np.append(y, expected))
    process.condition(x, y, awaited)
    np.testing.assert_allclose(process.predict(at), told.predict(at), rtol=1e-9)


def test_without_noise_the_posterior_goes_through_the_points(rng):
    """With next to no noise the mean at the points is their value, and its spread next to nothing."""
    x = rng.random((12, 1))
    y = np.sin(6 * x[:, 0])
    process = GaussianProcess(np.array([0]), np.log([0.3, 1.0, 1e-6, 0.3]))
    process.condition(x, y)
    means, sds = process.predict(x)
    np.testing.assert_allclose(means, y, atol=1e-3)
    assert sds.max() < 2e-3


def test_far_from_all_points_the_posterior_is_the_prior(data):
    """Without a trend, a hundred length-scales away the mean is 0 and the standard deviation the signal's."""
    process = GaussianProcess(GROUPS, np.append(THETA[:-1], -200.0))
    process.condition(*data)
    means, sds = process.predict(np.full((1, 5), 300.0))
    assert means[0] == pytest.approx(0, abs=1e-12)
    assert sds[0] == pytest.approx(math.sqrt(1.7))


def test_the_trend_goes_on_where_there_are_no_points(rng):
    """Of a sum of lines seen in one corner, the other corner is known four times as well as without the trend."""
    x, slopes = 0.5 * rng.random((25, 4)), np.array([1.0, -2.0, 3.0, 1.0])
    errors = []
    for variance in (3.0, 1e-9):
        process = GaussianProcess(np.arange(4), np.log([*[0.5] * 4, 0.1, 1e-6, variance]))
        process.condition(x, x @ slopes)
        errors.append(abs(process.predict(np.full((1, 4), 0.9))[0][0] - 0.9 * slopes.sum()))
    assert errors[0] < 0.25 * errors[1]


def test_equal_points_are_no_trouble():
    """The same point many times, with other values: the mean is theirs, all stays finite."""
    x, y, groups = np.full((60, 2), 0.5), np.tile([0.0, 1.0], 30), np.array([0, 1])
    process = GaussianProcess(groups, np.log([0.5, 0.5, 1.0, 1e-6, 0.3]))
    process.condition(x, y)
    means, sds = process.predict(np.array([[0.5, 0.5], [0.1, 0.9]]))
    assert means[0] == pytest.approx(0.5, abs=1e-3)
    assert np.isfinite([means, sds]).all()
    assert np.isfinite(fit(groups, x, y, Prior.of(2, np.zeros(2, dtype=bool)), 10)).all()


@pytest.mark.parametrize("theta", [THETA, np.zeros(6), np.log([0.05, 5.0, 0.2, 0.3, 1e-4, 2.0])])
def test_the_gradient_is_that_of_finite_differences(theta, data):
    """Of the negative log posterior, in each hyperparameter, by central differences."""
    posterior = Posterior(GROUPS, *data, PRIOR)
    _, gradient = posterior(theta)
    for i in range(6):
        step = 1e-5 * (np.arange(6) == i)
        upper, lower = (posterior(theta + s)[0] for s in (step, -step))
        assert gradient[i] == pytest.approx((upper - lower) / 2e-5, rel=1e-4, abs=1e-4)


def test_what_the_fit_minimises_is_the_evidence_and_normal_priors(data):
    """Differences between hyperparameters are those of the log evidence and of the priors' log densities."""
    posterior = Posterior(GROUPS, *data, PRIOR)

    def expected(theta):
        return -log_evidence(theta, *data) - stats.norm.logpdf(theta, PRIOR.modes, PRIOR.sds).sum()

    for theta in (THETA, PRIOR.modes + 1.0, PRIOR.modes - 0.5):
        found = posterior(theta)[0] - posterior(PRIOR.modes)[0]
        assert found == pytest.approx(expected(theta) - expected(PRIOR.modes), rel=1e-7, abs=1e-7)


def test_the_fit_improves_the_posterior_and_finds_what_matters(rng):
    """The length-scale of the parameter that does nothing grows beyond that of the one that does."""
    x = rng.random((60, 2))
    y = np.sin(9 * x[:, 0])
    groups, prior = np.array([0, 1]), Prior.of(2, np.zeros(2, dtype=bool))
    found, posterior = fit(groups, x, y, prior, 30), Posterior(groups, x, y, prior)
    assert posterior(found)[0] < posterior(prior.modes)[0] - 10
    assert found[1] > found[0] + 1
    assert found[-2] < math.log(0.01)


def test_without_values_the_hyperparameters_are_the_priors_modes():
    """There is nothing to learn from."""
    np.testing.assert_array_equal(fit(GROUPS, np.empty((0, 5)), np.empty(0), PRIOR, 20), PRIOR.modes)


def test_the_prior_of_length_scales():
    """They grow with the square root of the parameters that are active, and are shorter for those others hang on."""
    prior = Prior.of(4, np.array([False, True, False]))
    alone = Prior.of(1, np.zeros(3, dtype=bool))
    np.testing.assert_allclose(prior.modes[[0, 2]], alone.modes[0] + math.log(2))
    assert prior.modes[1] < prior.modes[0] - 1


@pytest.mark.parametrize("noise_sd", [0.1, 0.5, 1.0])
def test_noise_is_recognised(noise_sd, rng):
    """Of a line with noise, 80 points give its variance within a factor of two, and the line within its spread."""
    x, groups = rng.random((80, 1)), np.array([0])
    line = 3 * x[:, 0] - 1.5
    y = line + noise_sd * rng.standard_normal(80)
    process = GaussianProcess(groups, fit(groups, x, y, Prior.of(1, np.zeros(1, dtype=bool)), 50))
    process.condition(x, y)
    means, _ = process.predict(x)
    assert 0.5 < process.noise / noise_sd**2 < 2.0
    assert np.abs(means - line).max() < noise_sd


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


# -- scales ------------------------------------------------------------------------------------------------------------


def standardised(losses):
    """Losses on the scale that they set themselves."""
    return LossScale(losses)(losses)


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e12, 1e300])
def test_standardised_losses_have_mean_0_and_standard_deviation_1(scale, rng):
    """Of any scale, in their order."""
    losses = scale * rng.standard_normal(40)
    found = standardised(losses)
    assert (found.mean(), found.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    np.testing.assert_array_equal(np.argsort(found), np.argsort(losses))


def test_standardised_losses_draw_in_their_tails():
    """One loss of a million beside others near 1 leaves them apart."""
    found = standardised(np.append(np.linspace(0, 1, 20), 1e6))
    assert np.ptp(found[:20]) > 0.2
    assert found[20] == found.max()


@pytest.mark.parametrize(
    "losses",
    [
        [1.0],
        [2, 2, 2],
        [],
        [INF, INF],
        [-INF],
        [INF, 1, 1],
        [1, 2, INF, -INF],
        [0, 0, 0, 1],
        [1e308, -1e308, 0],
        [1e308, -1e308] * 5,
        [1.7e308] * 4,
    ],
)
def test_standardised_losses_are_finite(losses):
    """Equal, infinite and huge losses: numbers come out, infinite ones at the ends."""
    losses = np.array(losses, dtype=float)
    found = standardised(losses)
    assert np.isfinite(found).all()
    order = np.argsort(losses, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_the_scale_of_losses_goes_both_ways(rng):
    """The inverse gives the losses back, within the range of those that set the scale."""
    losses = rng.standard_normal(30) ** 3
    scale = LossScale(losses)
    np.testing.assert_allclose(scale.inverse(scale(losses)), losses, rtol=1e-9, atol=1e-12)
    infinite, worst, best, minus = scale(np.array([INF, losses.max(), losses.min(), -INF]))
    assert infinite > worst
    assert minus == best


@pytest.mark.parametrize("penalty", [1e4, 1e300, INF])
def test_penalties_leave_the_other_losses_apart(penalty, rng):
    """With two losses in five far above the others, these spread over more than half of the scale's unit."""
    measured = rng.random(30)
    scale = LossScale(np.append(measured, [penalty] * 20))
    assert np.ptp(scale(measured)) > 0.5
    assert np.isinf(penalty) or scale(np.array([penalty]))[0] > scale(measured).max() + 1
    without = LossScale(measured)
    assert np.corrcoef(scale(measured), without(measured))[0, 1] > 0.99


@pytest.mark.parametrize("diverged", [[1e4], [1e300], [1e5, 3e7, 1.7e308], [1e9, 1e9, 1e300]])
def test_losses_of_runs_that_diverged_leave_the_others_apart(diverged, rng):
    """They are no penalty that several share: each is far above the others by a number of its own."""
    measured = rng.random(40) - 0.5
    scale = LossScale(np.append(measured, diverged))
    without = LossScale(measured)
    assert np.ptp(scale(measured)) > 0.5 * np.ptp(without(measured))
    worst = scale(np.array(diverged))
    assert (worst == worst[0]).all()
    assert worst[0] > scale(measured).max() + 0.5


def test_of_two_losses_none_is_far():
    """There is no range of the others yet."""
    scale = LossScale(np.array([0.0, 1e9]))
    np.testing.assert_allclose(scale.inverse(scale(np.array([0.0, 1e9]))), [0.0, 1e9], atol=1.0)


@pytest.mark.parametrize("measured", [[3.0], [0.0, 0.0], [-2.0, 5.0], [1.7e308, -1.7e308]])
def test_an_infinite_loss_is_worse_than_any_other(measured):
    """Also where one was measured alone: else that would count as no better."""
    scale = LossScale(np.array([*measured, INF, INF]))
    worst, infinite = scale(np.array([max(measured), INF]))
    assert infinite > worst
    assert np.isfinite(infinite)


def test_infinite_losses_beside_penalties_leave_the_others_apart(rng):
    """The range by which an infinite loss is above the others is theirs, and not that of the penalties."""
    measured = rng.random(30)
    scale = LossScale(np.array([*measured, *[1e10] * 6, INF]))
    assert np.ptp(scale(measured)) > 0.5
    penalty, infinite = scale(np.array([1e10, INF]))
    assert measured.max() < penalty < infinite


def test_without_penalties_all_losses_count(rng):
    """A worst loss that is not far above the others is kept as it is, and so are more of them than a tenth."""
    for worst in ([20.0], [1.5, 1.5], [1e6, 2e6, 3e6, 4e6]):
        losses = np.append(rng.random(30), worst)
        scale = LossScale(losses)
        np.testing.assert_allclose(scale.inverse(scale(losses)), losses)
    np.testing.assert_array_equal(np.sign(LossScale(np.array([1.0, 9.0, 9.0]))(np.array([1.0, 9.0]))), [-1, 1])


def test_losses_far_outside_the_scale_are_infinite_at_most():
    """What a process expects beside huge losses may lie beyond the floats, on either side: no warning and no NaN."""
    for largest in (1e300, 1.7e308):
        scale = LossScale(np.array([largest, -largest] * 5))
        np.testing.assert_allclose(scale.inverse(scale(np.array([largest, -largest]))), [largest, -largest], rtol=1e-9)
        assert scale.inverse(np.array([-1e3, 0.0, 1e3])).tolist() == [-INF, 0.0, INF]


def test_scaled_constraints_keep_their_sign(rng):
    """0 stays 0, so that what is met stays met."""
    constraints = 1e3 * rng.standard_normal(30)
    np.testing.assert_array_equal(np.sign(scaled(constraints)), np.sign(constraints))
    np.testing.assert_array_equal(scaled(np.zeros(4)), 0)
    assert np.isfinite(scaled(np.array([1.0]))).all()


def test_scaled_constraints_leave_out_what_is_not_a_number():
    """Unknown and infinite constraints change nothing for the others."""
    known = np.array([1.0, -2.0, 0.5])
    found = scaled(np.append(known, [math.nan, math.inf]))
    np.testing.assert_array_equal(found[:3], scaled(known))
    assert np.isnan(found[3])
    assert np.isnan(scaled(np.array([math.nan]))).all()
