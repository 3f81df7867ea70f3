"""The mixtures of hyperopt's TPE by their old names: figures are SciPy's, or those that hyperopt 0.3.0 gives."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from sparktune import tpe
from sparktune.exceptions import InvalidArgumentError

WEIGHTS, MUS, SIGMAS = [0.3, 0.7], [1.0, 2.0], [1.0, 0.5]


def cdf(x):
    """Of the mixture above, by SciPy."""
    return sum(w * stats.norm.cdf(x, m, s) for w, m, s in zip(WEIGHTS, MUS, SIGMAS, strict=True))


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, 2.5), (1.5, None)])
def test_draws_follow_the_density_within_the_bounds(low, high):
    """GMM1 has the distribution of the mixture cut as a whole, and LGMM1 that of its exponentials."""
    below, upto = cdf(-np.inf if low is None else low), cdf(np.inf if high is None else high)
    drawn = tpe.GMM1(WEIGHTS, MUS, SIGMAS, low, high, rng=1, size=[50, 40])
    assert drawn.shape == (50, 40)
    assert stats.kstest(drawn.ravel(), lambda x: (cdf(x) - below) / (upto - below)).pvalue > 1e-3
    logarithms = np.log(tpe.LGMM1(WEIGHTS, MUS, SIGMAS, low, high, rng=1, size=[50, 40]))
    np.testing.assert_allclose(logarithms, drawn, atol=1e-14)


@pytest.mark.parametrize("function", [tpe.GMM1_lpdf, tpe.LGMM1_lpdf])
def test_densities_integrate_to_one(function):
    """Within the bounds the mass is 1; outside it is 0, without a warning."""
    low, high = 0.5, 2.5
    ends = (math.exp(low), math.exp(high)) if function is tpe.LGMM1_lpdf else (low, high)
    mass, _ = integrate.quad(lambda x: float(np.exp(function(x, WEIGHTS, MUS, SIGMAS, low, high))), *ends)
    assert mass == pytest.approx(1, abs=1e-8)
    np.testing.assert_array_equal(function([-1.0, 0.0, 20.0], WEIGHTS, MUS, SIGMAS, low, high), -np.inf)


def test_densities_have_the_shape_of_the_points():
    """Numbers, lists and matrices; the values are SciPy's."""
    x = np.array([[1.0, 0.0, 3.0], [2.0, -1.0, 1000.0]])
    parts = [w * stats.norm.pdf(x, m, s) for w, m, s in zip(WEIGHTS, MUS, SIGMAS, strict=True)]
    found = tpe.GMM1_lpdf(x, WEIGHTS, MUS, SIGMAS)
    np.testing.assert_allclose(np.exp(found), sum(parts), atol=1e-300)
    assert np.isfinite(found).all()  # far out, where the density itself underflows
    assert tpe.GMM1_lpdf(1.0, WEIGHTS, MUS, SIGMAS).shape == ()
    np.testing.assert_allclose(
        tpe.LGMM1_lpdf([0.5, 2.0], WEIGHTS, MUS, SIGMAS),
        tpe.GMM1_lpdf(np.log([0.5, 2.0]), WEIGHTS, MUS, SIGMAS) - np.log([0.5, 2.0]),
    )


@pytest.mark.parametrize(
    ("draw", "log_mass"), [(tpe.GMM1, tpe.GMM1_lpdf), (tpe.LGMM1, tpe.LGMM1_lpdf)], ids=["normal", "lognormal"]
)
@pytest.mark.parametrize(("low", "high"), [(None, None), (0.2, 2.4)])
def test_quantised_draws_have_their_log_mass(draw, log_mass, low, high):
    """Multiples of q come as often as the log mass says (chi-square)."""
    q, n = 0.5, 5000
    drawn = draw(WEIGHTS, MUS, SIGMAS, low, high, q, rng=2, size=n)
    steps, counts = np.unique(np.round(drawn / q), return_counts=True)
    np.testing.assert_array_equal(drawn, np.round(drawn / q) * q)
    expected = np.exp(log_mass(steps * q, WEIGHTS, MUS, SIGMAS, low, high, q)) * n
    is_common = expected > 5
    observed, wanted = (np.append(part[is_common], n - part[is_common].sum()) for part in (counts, expected))
    keep = wanted > 1
    assert stats.chisquare(observed[keep], wanted[keep] * observed[keep].sum() / wanted[keep].sum()).pvalue > 1e-3


def test_components_must_fit():
    """Weights, means and sigmas of several lengths are refused, with their shapes."""
    with pytest.raises(InvalidArgumentError, match=r"\(2,\), \(2,\), \(1,\)"):
        tpe.GMM1([0.5, 0.5], [0.0, 1.0], [1.0])


def test_single_components():
    """The functions of one normal and one lognormal are SciPy's."""
    x = np.array([0.5, 1.0, 3.0])
    np.testing.assert_allclose(tpe.normal_cdf(x, 1.0, 2.0), stats.norm.cdf(x, 1, 2))
    lognormal = stats.lognorm(2.0, scale=math.e)
    np.testing.assert_allclose(tpe.lognormal_cdf([0.0, *x], 1.0, 2.0), lognormal.cdf([0.0, *x]))
    np.testing.assert_allclose(tpe.lognormal_lpdf(x, 1.0, 2.0), lognormal.logpdf(x))
    mass = lognormal.cdf(x) - lognormal.cdf(x - 0.5)
    np.testing.assert_allclose(tpe.qlognormal_lpdf(x, 1.0, 2.0, 0.5), np.log(mass))
    with pytest.raises(InvalidArgumentError, match=r"negative arg.*-1"):
        tpe.lognormal_cdf([1.0, -1.0], 1.0, 2.0)


def test_forgetting():
    """The newest LF observations have weight 1, those before them a ramp."""
    np.testing.assert_allclose(tpe.linear_forgetting_weights(7, 3), [1 / 7, 3 / 7, 5 / 7, 1, 1, 1, 1])
    np.testing.assert_array_equal(tpe.linear_forgetting_weights(2, 3), [1, 1])
    assert tpe.linear_forgetting_weights(0, 3).shape == (0,)


@pytest.mark.parametrize(
    ("forgotten", "weights"), [(25, [1, 1, 1, 1, 1, 1]), (0, [1, 1, 1, 1, 1, 1]), (3, [1, 1, 1, 1, 0.2, 1])]
)
def test_the_adaptive_estimator(forgotten, weights):
    """Components are sorted, with the prior among them; sigmas are the larger gap to a neighbour."""
    found = tpe.adaptive_parzen_normal([3.0, 1.0, 5.0, 2.0, 2.5], 1.0, 2.2, 4.0, forgotten)
    expected = np.array(weights) / sum(weights), [1, 2, 2.2, 2.5, 3, 5], [1, 1, 4, 4 / 7, 2, 2]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)


def test_the_older_estimator():
    """The prior comes first; the outermost points look at their second neighbour."""
    found = tpe.adaptive_parzen_normal_orig([0.0, 10.0, 11.0, 30.0], 1.0, 5.0, 20.0)
    for one, other in zip(found, ([0.2] * 5, [5, 0, 10, 11, 30], [20, 11, 10, 19, 20]), strict=True):
        np.testing.assert_allclose(one, other)
    assert [len(part) for part in tpe.adaptive_parzen_normal_orig([], 1.0, 5.0, 20.0)] == [1, 1, 1]


def test_trials_are_split_by_loss():
    """The values of the best ceil(gamma * sqrt(n)) trials, of those in which the parameter was active, and the rest."""
    below, above = tpe.ap_split_trials([0, 3, 4, 5], [10, 13, 14, 15], range(6), [5.0, 4, 3, 2, 1, 0], 1.0)
    assert (below.tolist(), above.tolist()) == ([13, 14, 15], [10])
    below, above = tpe.ap_split_trials(range(6), range(6), range(6), [5.0, 4, 3, 2, 1, 0], 1.0, gamma_cap=2)
    assert (below.tolist(), above.tolist()) == ([4, 5], [0, 1, 2, 3])
