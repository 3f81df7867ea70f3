"""A small Gaussian process: an additive trend plus Matern-5/2, hyperparameters at their posterior mode.

The trend is a polynomial of each number and an effect of each option, all with the same prior variance, so that what
parameters do on their own is learned from few points. The rest has one length-scale per parameter.

Sources:
    Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", algorithm 2.1 (posterior), section 2.7
    (trends with a prior), equation 5.9 (gradient of the evidence), equation 4.17 (kernel). Hvarfner et al. 2024
    (length-scales that grow with the square root of the number of parameters). Ament et al. 2023 (expected improvement
    on the log scale).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparktune.kernels.arrays import BoolArray, FloatArray, IntArray
from sparktune.kernels.special import LOG_SQRT_2PI

SQRT5 = math.sqrt(5.0)
#: Added to the diagonal, so that equal points have a Cholesky factor.
JITTER = 1e-8
#: Priors of the logarithms, normal with these modes and standard deviations. That of the length-scales is Hvarfner's,
#: ``sqrt(2) + log(d) / 2``, shifted: on [0, 1] objectives of few parameters bend more.
LENGTH_SHIFT, LENGTH_SD = -2.0, 1.2
SIGNAL_MODE, SIGNAL_SD = 0.0, 1.0
NOISE_MODE, NOISE_SD = math.log(1e-3), 2.0
TREND_MODE, TREND_SD = math.log(0.3), 1.5
#: Options that parameters hang on are this much farther apart than others, on the log scale: what was found in one
#: branch says little of the other ones.
SELECTOR_SHIFT = -1.5
#: Where a fit starts, seen from the mode: shorter length-scales, from where it takes half the steps.
START_SHIFT = -1.0
#: Bounds of the logarithms of length-scales, and of the variances of signal, noise and trend.
LENGTH_BOUNDS, SIGNAL_BOUNDS, NOISE_BOUNDS = (-5.0, 5.0), (-3.0, 4.0), (math.log(1e-6), math.log(2.0))
TREND_BOUNDS = (-9.0, 3.0)
#: The square term's share in the trend, beside the linear one's 1.
SQUARE_SHARE = 0.5
#: Losses that are above all others by more than so many times the range of these are far: so many of them at most, or a
#: tenth of all, and less than half.
FAR, MAX_FAR = 30.0, 3
#: Values are this many times their spread at most.
LARGE = 1e300


@dataclass(frozen=True)
class Prior:
    """What is known of the hyperparameters beforehand: their logarithms are normal, and within bounds.

    The order is length-scales, variance of the signal, of the noise, of the trend.

    Attributes:
        modes, sds: Of the logarithms, shape (d + 3,).
        bounds: Lowest and highest logarithm of each.
    """

    modes: FloatArray
    sds: FloatArray
    bounds: list[tuple[float, float]]

    @classmethod
    def of(cls, n_active: float, is_selector: BoolArray) -> Prior:
        """The prior for d parameters.

        Args:
            n_active: How many of them are active in a point on average.
            is_selector: Whether other parameters hang on it, shape (d,).
        """
        d = len(is_selector)
        length_mode = math.sqrt(2.0) + 0.5 * math.log(max(n_active, 1.0)) + LENGTH_SHIFT
        return cls(
            np.append(length_mode + SELECTOR_SHIFT * is_selector, [SIGNAL_MODE, NOISE_MODE, TREND_MODE]),
            np.append(np.full(d, LENGTH_SD), [SIGNAL_SD, NOISE_SD, TREND_SD]),
            [LENGTH_BOUNDS] * d + [SIGNAL_BOUNDS, NOISE_BOUNDS, TREND_BOUNDS],
        )


def fit(groups: IntArray, x: FloatArray, y: FloatArray, prior: Prior, n_iterations: int) -> FloatArray:
    """The hyperparameters' logarithms near the mode of their posterior, shape (d + 3,).

    Args:
        groups: See :class:`GaussianProcess`.
        x, y: Points (n, p) and their values (n,).
        prior: Of the hyperparameters.
        n_iterations: Steps at most; 20 nearly always end at the mode.
    """
    from scipy.optimize import minimize

    if not len(x):
        return prior.modes
    start = prior.modes.copy()
    start[:-3] += START_SHIFT
    options = {"maxiter": n_iterations}
    posterior = Posterior(groups, x, y, prior)
    found = minimize(posterior, start, jac=True, method="L-BFGS-B", bounds=prior.bounds, options=options)
    return np.asarray(found.x)


class Posterior:
    """Minus the log density of the hyperparameters given values, up to a constant, and its gradient.

    Args:
        groups, x, y, prior: See :func:`fit`.
    """

    def __init__(self, groups: IntArray, x: FloatArray, y: FloatArray, prior: Prior) -> None:
        self._y, self._prior = y, prior
        # Of symmetric matrices only what is above the diagonal, shape (n (n - 1) / 2,).
        self._pairs = np.triu_indices(len(x), 1)
        parts = [x[:, groups == group] for group in range(len(prior.modes) - 3)]
        self._squares = np.array([_squared_distances(part, part)[self._pairs] for part in parts])
        features = trend_features(groups, x)
        self._trend = (features @ features.T)[self._pairs]
        self._trend_diagonal = np.einsum("nf,nf->n", features, features)

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient (d + 3,) at the logarithms ``theta``."""
        from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

        y, pairs = self._y, self._pairs
        inverse_squares = np.exp(-2.0 * theta[:-3])
        signal, noise, trend = np.exp(theta[-3:])
        r2 = inverse_squares @ self._squares
        linear = 1.0 + SQRT5 * np.sqrt(r2)
        decay = signal * np.exp(1.0 - linear)
        k = (linear + (5.0 / 3.0) * r2) * decay
        matrix = np.empty((len(y), len(y)))
        matrix[pairs] = k + trend * self._trend
        np.fill_diagonal(matrix, signal + noise + JITTER + trend * self._trend_diagonal)
        factor, failed = dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        alpha, _ = dpotrs(factor, y, lower=1)
        log_determinant = 2.0 * np.log(factor.diagonal()).sum()
        inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
        off = (theta - self._prior.modes) / self._prior.sds
        value = 0.5 * (y @ alpha + log_determinant + off @ off)
        w = alpha[pairs[0]] * alpha[pairs[1]] - inverse.T[pairs]
        w_diagonal = alpha * alpha - inverse.diagonal()
        gradient = off / self._prior.sds
        gradient[:-3] -= inverse_squares * (self._squares @ ((5.0 / 3.0) * w * linear * decay))
        gradient[-3] -= w @ k + 0.5 * signal * w_diagonal.sum()
        gradient[-2] -= 0.5 * noise * w_diagonal.sum()
        gradient[-1] -= trend * (w @ self._trend + 0.5 * (w_diagonal @ self._trend_diagonal))
        return float(value), gradient


class GaussianProcess:
    """A posterior over functions of the features.

    Attributes:
        noise: Variance of a value around the function.
        known_means: Means at the points whose values are known, shape (n,).

    Args:
        groups: Which parameter each feature belongs to, shape (p,), numbered from 0; the features of one share a
            length-scale. One alone is a number in [0, 1], several are the options of a choice.
        theta: Logarithms of the length-scales, and of the variances of signal, noise and trend, shape (d + 3,).
    """

    def __init__(self, groups: IntArray, theta: FloatArray) -> None:
        self._groups = groups
        self._scale = SQRT5 * np.exp(-theta[:-3])[groups]
        self._log_signal = theta[-3]
        self._signal, self.noise, trend = np.exp(theta[-3:])
        self._trend_sd = math.sqrt(trend)

    def condition(self, x: FloatArray, y: FloatArray, awaited: FloatArray | None = None) -> None:
        """Take values ``y`` (n,) at ``x`` (n, p) for known, and at ``awaited`` (m, p) what is expected there.

        Awaited values change no mean, only the spread: so their factor follows that of the known ones, which alone
        gives the means.
        """
        from scipy.linalg.lapack import dpotrf, dpotrs

        if awaited is not None and len(awaited):
            x = np.vstack([x, awaited])
        n = len(y)
        self._x, self._features = self._scaled(x)
        k = self._kernel(self._x, self._features)
        # At least 1e-6, which rounding errors do not reach: there is a factor.
        k.flat[:: len(x) + 1] += self.noise + JITTER
        self._factor, _ = dpotrf(k, lower=1)
        self._alpha, _ = dpotrs(self._factor[:n, :n], y, lower=1)
        self.known_means = y - (self.noise + JITTER) * self._alpha
        self._y = y

    @property
    def log_evidence(self) -> float:
        """Log density of the known values, up to a constant.

        Source:
            Rasmussen and Williams 2006, equation 2.30.
        """
        known = self._factor.diagonal()[: len(self._y)]
        return float(-0.5 * self._y @ self._alpha - np.log(known).sum())

    def _scaled(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points on which the signal hangs by their distance, and features on which the trend hangs linearly."""
        return x * self._scale, self._trend_sd * trend_features(self._groups, x)

    def _kernel(self, x: FloatArray, features: FloatArray) -> FloatArray:
        # In place: with hundreds of points the time goes into fetching memory.
        r2 = _squared_distances(x, self._x)
        r = np.sqrt(r2)
        k = r2
        k *= 1.0 / 3.0
        k += r
        k += 1.0
        k *= np.exp(np.subtract(self._log_signal, r, out=r), out=r)
        k += features @ self._features.T
        return k

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the function, without noise, at ``x`` (m, p); shapes (m,)."""
        from scipy.linalg.blas import dtrsm

        x, features = self._scaled(x)
        k = self._kernel(x, features)
        # From the right, which takes half the time that it takes from the left.
        v = dtrsm(1.0, self._factor, k, side=1, lower=1, trans_a=1)
        before = self._signal + np.einsum("mf,mf->m", features, features)
        variance = before - np.einsum("mn,mn->m", v, v)
        return np.asarray(k[:, : len(self._alpha)] @ self._alpha), np.sqrt(np.maximum(variance, 1e-10))


def trend_features(groups: IntArray, x: FloatArray) -> FloatArray:
    """What the trend is linear in, shape (n, f): a constant, polynomials of the numbers, options of the choices.

    The polynomials are Legendre's on [0, 1], of mean square 1. All but the constant are scaled by the number of
    parameters, so that the trend varies as much with many as with few.

    Args:
        groups: See :class:`GaussianProcess`.
        x: Points, shape (n, p).
    """
    numbers, options, n_parameters = _split(groups.tobytes())
    k, scale = len(numbers), 1.0 / math.sqrt(max(1, n_parameters))
    features = np.empty((len(x), 1 + k + len(groups)))
    features[:, 0] = 1.0
    u = 2.0 * x.take(numbers, axis=1) - 1.0
    np.multiply(u, math.sqrt(3.0) * scale, out=features[:, 1 : 1 + k])
    np.multiply(3.0 * u * u - 1.0, SQUARE_SHARE * math.sqrt(1.25) * scale, out=features[:, 1 + k : 1 + 2 * k])
    np.multiply(x.take(options, axis=1), math.sqrt(2.0) * scale, out=features[:, 1 + 2 * k :])
    return features


@lru_cache(maxsize=64)
def _split(groups: bytes) -> tuple[IntArray, IntArray, int]:
    """The features that are numbers, those that are options, and how many parameters there are."""
    of_feature = np.frombuffer(groups, dtype=np.intp)
    sizes = np.bincount(of_feature)
    is_number = sizes[of_feature] == 1
    return np.flatnonzero(is_number), np.flatnonzero(~is_number), len(sizes)


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    squares = -2.0 * a @ b.T
    squares += np.einsum("np,np->n", a, a)[:, None]
    squares += np.einsum("np,np->n", b, b)
    return np.asarray(np.maximum(squares, 0.0, out=squares))


def log_expected_improvement(means: FloatArray, sds: FloatArray, best: float) -> FloatArray:
    """Log of the expected fall below ``best``, elementwise.

    Source:
        Jones et al. 1998, equation 15, on the log scale as in Ament et al. 2023, section 4.
    """
    from scipy.special import erfcx, ndtr

    z = (best - means) / sds
    near = np.maximum(z, -1.0)
    log_h = np.log(np.exp(-0.5 * near**2 - LOG_SQRT_2PI) + near * ndtr(near))
    # Below, phi(z) + z Phi(z) cancels: phi(z) times 1 - t sqrt(pi/2) erfcx(t/sqrt(2)), t = -z, does up to t of 1e3, and
    # beyond that the latter is 1/t^2.
    t = np.maximum(-z, 1.0)
    moderate = np.minimum(t, 1e3)
    share = np.log1p(-moderate * math.sqrt(0.5 * math.pi) * erfcx(moderate * math.sqrt(0.5)))
    tail = -0.5 * t**2 - LOG_SQRT_2PI + np.where(t <= 1e3, share, -2.0 * np.log(t))
    return np.asarray(np.where(z > -1.0, log_h, tail) + np.log(sds))


def log_normal_cdf(z: FloatArray) -> FloatArray:
    """Log of the standard normal distribution function, elementwise."""
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr(z))


class LossScale:
    """The scale on which losses are modelled: mean 0, standard deviation 1, tails drawn in.

    The tails are drawn in by the inverse hyperbolic sine. An infinite loss counts as above the finite ones by their
    range, and ``-inf`` as the best of them. A worst loss that several trials share is a penalty, and losses that are
    far above all others are of runs that diverged: beside them all that were measured would be alike, so these count
    as above the others by their range at most.

    Args:
        losses: The losses that set it, shape (n,); NaN not among them.
    """

    def __init__(self, losses: FloatArray) -> None:
        finite = losses[np.isfinite(losses)]
        self._low = self._high = self._infinite = 0.0
        if len(finite):
            self._low, self._high = float(finite.min()), _highest(finite)
            # By halves, for the range of the largest floats overflows.
            half_range = 0.5 * self._high - 0.5 * self._low or 0.5 * (abs(self._high) or 1.0)
            self._infinite = 2.0 * min(0.5 * self._high + half_range, 0.5 * float(np.finfo(float).max))
        losses = self._bounded(losses if len(losses) else np.zeros(1))
        # The largest floats may overflow in a sum or difference; halves of them do not.
        self._median = 2.0 * float(np.median(0.5 * losses))
        self._spread = _spread(0.5 * losses - 0.5 * self._median)
        z = self._drawn_in(losses)
        self._mean, self._sd = float(z.mean()), float(z.std()) or 1.0

    def _bounded(self, losses: FloatArray) -> FloatArray:
        return np.where(losses == np.inf, self._infinite, np.clip(losses, self._low, self._high))

    def _drawn_in(self, losses: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            relative = (0.5 * losses - 0.5 * self._median) / self._spread
        return np.arcsinh(np.clip(relative, -LARGE, LARGE))

    def __call__(self, losses: FloatArray) -> FloatArray:
        """Losses on the scale, elementwise."""
        return np.asarray((self._drawn_in(self._bounded(losses)) - self._mean) / self._sd)

    def inverse(self, z: FloatArray) -> FloatArray:
        """Losses from the scale, elementwise."""
        relative = 2.0 * np.sinh(np.clip(z * self._sd + self._mean, -700.0, 700.0))
        with np.errstate(over="ignore"):
            return np.asarray(self._median + self._spread * relative)


def _highest(losses: FloatArray) -> float:
    """The worst of finite losses, or what it counts as if it is a penalty or of a run that diverged."""
    ordered = 0.5 * np.sort(losses)  # halves, as above
    kept = ordered[: _n_near(ordered)]
    others = kept[: kept.searchsorted(kept[-1])]
    if len(kept) - len(others) > 1 and len(others) and others[-1] > ordered[0]:
        kept = others
    worst, top = float(ordered[-1]), float(kept[-1])
    return 2.0 * (worst if len(kept) == len(ordered) else min(top + (top - float(ordered[0])), worst))


def _n_near(ordered: FloatArray) -> int:
    """How many of the halves of ascending losses are not far above all others."""
    n = len(ordered)
    tops = np.arange(max(n // 2 + 1, n - max(MAX_FAR, n // 10)), n)
    ranges = ordered[tops - 1] - ordered[0]
    far = tops[(ranges > 0.0) & ((ordered[tops] - ordered[tops - 1]) / FAR > ranges)]
    return int(far[0]) if len(far) else n


def scaled(constraints: FloatArray) -> FloatArray:
    """Constraints (n,) on the scale of their spread, their tails drawn in; 0 stays 0, and NaN, unknown, stays NaN.

    Infinite ones are as far from 0 as the farthest finite ones on their side, and at least at 1 or -1.
    """
    finite = constraints[np.isfinite(constraints)]
    with np.errstate(over="ignore"):
        relative = constraints / (_spread(finite) if len(finite) else 1.0)
    drawn_in = np.arcsinh(np.clip(relative, -LARGE, LARGE))
    known = drawn_in[np.isfinite(constraints)]
    highest, lowest = known.max(initial=1.0), known.min(initial=-1.0)
    return np.asarray(np.where(np.isinf(constraints), np.where(constraints > 0, highest, lowest), drawn_in))


def _spread(x: FloatArray) -> float:
    """Interquartile range; where that is 0 the largest distance from 0; where that is 0, 1."""
    low, high = np.percentile(x, [25, 75])
    return float(0.5 * high - 0.5 * low) * 2.0 or float(np.abs(x).max()) or 1.0
