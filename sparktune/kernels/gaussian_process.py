"""A small Gaussian process: Matern-5/2, one length-scale per parameter, hyperparameters at their posterior mode.

Sources:
    Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", algorithm 2.1 (posterior), equation 5.9
    (gradient of the evidence), equation 4.17 (kernel). Hvarfner et al. 2024 (length-scales that grow with the square
    root of the number of parameters). Ament et al. 2023 (expected improvement on the log scale).
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.special import LOG_SQRT_2PI

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]

SQRT5 = math.sqrt(5.0)
#: Added to the diagonal, so that equal points have a Cholesky factor.
JITTER = 1e-8
#: Priors of the logarithms, normal with these modes and standard deviations. That of the length-scales is Hvarfner's,
#: ``sqrt(2) + log(d) / 2``, shifted: on [0, 1] objectives of few parameters bend more.
LENGTH_SHIFT, LENGTH_SD = -1.5, 1.2
SIGNAL_MODE, SIGNAL_SD = 0.0, 1.0
NOISE_MODE, NOISE_SD = math.log(1e-3), 2.0
#: Bounds of the logarithms of length-scales, signal variance and noise variance.
LENGTH_BOUNDS, SIGNAL_BOUNDS, NOISE_BOUNDS = (-5.0, 5.0), (-3.0, 4.0), (math.log(1e-6), math.log(2.0))


class GaussianProcess:
    """A posterior over functions of the features.

    Args:
        groups: Which parameter each feature belongs to, shape (p,), numbered from 0; the features of one share a
            length-scale.
        theta: Logarithms of the length-scales, of the signal variance and of the noise variance; the prior's mode if
            None.
    """

    def __init__(self, groups: IntArray, theta: FloatArray | None = None) -> None:
        self.groups = groups
        self.n_scales = int(groups.max()) + 1 if len(groups) else 0
        d = self.n_scales
        length_mode = math.sqrt(2.0) + 0.5 * math.log(max(d, 1)) + LENGTH_SHIFT
        self._mode = np.append(np.full(d, length_mode), [SIGNAL_MODE, NOISE_MODE])
        self._widths = np.append(np.full(d, LENGTH_SD), [SIGNAL_SD, NOISE_SD])
        self._bounds = [LENGTH_BOUNDS] * d + [SIGNAL_BOUNDS, NOISE_BOUNDS]
        self.theta = self._mode if theta is None else theta

    def fit(self, x: FloatArray, y: FloatArray, n_iterations: int) -> None:
        """Move the hyperparameters towards the mode of their posterior given values ``y`` (n,) at ``x`` (n, p)."""
        from scipy.optimize import minimize

        parts = [x[:, self.groups == group] for group in range(self.n_scales)]
        squares = np.stack([_squared_distances(part, part).ravel() for part in parts])
        found = minimize(
            self._negative_log_posterior,
            self.theta,
            args=(squares, y),
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds,
            options={"maxiter": n_iterations},
        )
        self.theta = found.x

    def _negative_log_posterior(
        self, theta: FloatArray, squares: FloatArray, y: FloatArray
    ) -> tuple[float, FloatArray]:
        from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

        n, d = len(y), self.n_scales
        inverse_squares = np.exp(-2.0 * theta[:d])
        signal, noise = np.exp(theta[d:])
        r2 = (inverse_squares @ squares).reshape(n, n)
        r = np.sqrt(r2)
        decay = np.exp(-SQRT5 * r)
        k = signal * (1.0 + SQRT5 * r + (5.0 / 3.0) * r2) * decay
        noisy = k.copy()
        noisy.flat[:: n + 1] += noise + JITTER
        factor, failed = dpotrf(noisy, lower=1, clean=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        alpha, _ = dpotrs(factor, y, lower=1)
        inverse, _ = dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        w = np.outer(alpha, alpha) - inverse
        slope = (w * (5.0 / 3.0 * signal) * (1.0 + SQRT5 * r) * decay).ravel()  # w times -2 dk / d(r^2)
        off = (theta - self._mode) / self._widths
        value = 0.5 * y @ alpha + np.log(factor.diagonal()).sum() + 0.5 * off @ off
        gradient = off / self._widths
        gradient[:d] -= 0.5 * inverse_squares * (squares @ slope)
        gradient[d] -= 0.5 * (w * k).sum()
        gradient[d + 1] -= 0.5 * noise * np.trace(w)
        return float(value), gradient

    def condition(self, x: FloatArray, y: FloatArray) -> None:
        """Take values ``y`` (n,) at ``x`` (n, p) for known."""
        from scipy.linalg import cho_solve, cholesky

        d = self.n_scales
        self._scale = np.exp(-self.theta[:d])[self.groups]
        self._signal, self.noise = np.exp(self.theta[d:])
        self._x = x * self._scale
        k = self._kernel(self._x)
        k.flat[:: len(x) + 1] += self.noise + JITTER
        self._factor = cholesky(k, lower=True, check_finite=False)
        self._alpha = cho_solve((self._factor, True), y, check_finite=False)

    def _kernel(self, x: FloatArray) -> FloatArray:
        r2 = _squared_distances(x, self._x)
        r = np.sqrt(r2)
        return np.asarray(self._signal * (1.0 + SQRT5 * r + (5.0 / 3.0) * r2) * np.exp(-SQRT5 * r))

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the function, without noise, at ``x`` (m, p); shapes (m,)."""
        from scipy.linalg import solve_triangular

        k = self._kernel(x * self._scale)
        v = solve_triangular(self._factor, k.T, lower=True, check_finite=False)
        variance = self._signal - np.einsum("nm,nm->m", v, v)
        return np.asarray(k @ self._alpha), np.sqrt(np.maximum(variance, 1e-10))


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0.0))


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
