"""What is expected of a point by the ranks of the trials near it: TPE's other estimate of the expected improvement.

The Parzen densities know which trials were good, not by how much the others were worse. A regression of the ranks sees
from few trials where the losses fall, and how sure that is. Nothing is fitted: the kernel's hyperparameters are the
modes of their priors, but for the trend, which counts for more. Ranks are regressed, not losses, so no increasing
function of the losses changes a proposal.

Sources:
    Bergstra et al. 2011, section 4.1: TPE's ratio orders points as the expected improvement does, so the logs of two
    estimates of it add up. Van der Waerden 1952 (normal scores). The regression is a Gaussian process of fixed
    hyperparameters, see :mod:`sparktune.kernels.gaussian_process`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparktune.history.columns import History
from sparktune.history.reading import OK
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.gaussian_process import GaussianProcess, log_expected_improvement
from sparktune.kernels.parzen import Points
from sparktune.kernels.special import normal_ppf
from sparktune.search.failures import failure_targets, log_survival
from sparktune.search.state import SearchState

#: So many of the best trials are regressed, and as many of the others, the newest. Twice as many find no better points.
N_BEST = 32
#: So many running trials count, the newest.
N_RUNNING = 64
#: Variances of the trend, as much as of what bends beside it, and of the noise of a score.
TREND, NOISE = 1.0, 0.05
#: Variances of the noise of failures: they hang on the point, or on chance. The likeliest is taken.
FAILURE_NOISES = 0.02, 0.2, 1.0
#: Weight of the improvement that the prior expects, for each trial that TPE's prior weighs more than one. Any weight is
#: a floor, below which the ranks do not tell points apart.
PRIOR_SHARE = 1.0 / 6.0


class Ranks:
    """A regression of the trials' ranks at one moment of a study.

    Args:
        state: What is kept between proposals.
        history: What has been tried; at least one trial has a loss, and none has several.
        prior_weight: TPE's. Above 1 the prior's improvement is added to the regression's, so that the ranks count only
            where they expect more than that: far from the slope that they see there may be something else.
    """

    def __init__(self, state: SearchState, history: History, prior_weight: float = 1.0) -> None:
        self._state = state
        self._prior_share = PRIOR_SHARE * max(0.0, prior_weight - 1.0)
        best, newest = history.lowest_rows(N_BEST), history.newest_rows(2 * N_BEST)
        has_loss = history.kinds_of(newest) == OK
        others = newest[has_loss & (newest[:, None] != best).all(axis=1)]
        rows = np.append(best, others[max(0, len(others) - N_BEST) :])
        self._running = self._inputs(history.values[history.running_rows[-N_RUNNING:]])
        self._scores = self._regression(history.values[rows], scores(history.objectives[rows, 0]), [NOISE])
        self._failures: Regression | None = None
        if not has_loss.all():
            rows = np.append(rows, newest[~has_loss])
            targets = failure_targets(history.kinds_of(rows))
            self._failures = self._regression(history.values[rows], targets, FAILURE_NOISES)

    def _regression(self, values: FloatArray, y: FloatArray, noises: Sequence[float]) -> Regression:
        """Of values ``y`` (n,) at points (n, d), with the noise under which they are likeliest."""
        x, theta, found = self._inputs(values), self._state.process_prior(values).modes.copy(), []
        for noise in noises:
            theta[-2:] = math.log(noise), math.log(TREND)
            found.append(Regression(GaussianProcess(self._state.input_groups, theta), x, y))
            found[-1].condition(self._running)
        return max(found, key=lambda regression: regression.process.log_evidence) if len(found) > 1 else found[0]

    def add_running(self, values: FloatArray) -> None:
        """Count points (m, d) as running trials."""
        self._running = np.concatenate([self._running, self._inputs(values)])[-N_RUNNING:]
        for regression in (self._scores, self._failures):
            if regression is not None:
                regression.condition(self._running)

    def log_improvement(self, points: Points) -> FloatArray:
        """Log of the improvement on the best score that is expected of a trial at each point, shape (m,).

        Where trials have failed, that weighed with the probability that one at the point does not.
        """
        x, best = self._state.inputs(points), float(self._scores.y.min())
        expected = log_expected_improvement(*self._scores.predict(x), best)
        if self._prior_share:
            prior = log_expected_improvement(np.zeros(1), np.ones(1), best)  # of any normal score
            expected = np.logaddexp(expected, prior + math.log(self._prior_share))
        if self._failures is not None:
            expected += log_survival(self._failures.process, x)
        return expected

    def _inputs(self, values: FloatArray) -> FloatArray:
        if not len(values):
            return np.empty((0, len(self._state.input_groups)))
        return self._state.inputs(self._state.points(values))


@dataclass(frozen=True)
class Regression:
    """Values that a process is conditioned on.

    Attributes:
        process: The process.
        x, y: Points (n, p) and their values (n,).
    """

    process: GaussianProcess
    x: FloatArray
    y: FloatArray

    def condition(self, running: FloatArray) -> None:
        """Take points (m, p) for running trials, in the place of earlier ones."""
        self.process.condition(self.x, self.y, running)

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of what a trial at ``x`` (m, p) gives, shapes (m,)."""
        means, sds = self.process.predict(x)
        return means, np.sqrt(sds**2 + self.process.noise)


def scores(losses: FloatArray) -> FloatArray:
    """Normal scores of the ranks of losses (n,), shape (n,): the better, the lower; equals have the same."""
    ordered = np.sort(losses)
    middles = ordered.searchsorted(losses, side="left") + ordered.searchsorted(losses, side="right")
    return normal_ppf(0.5 * middles / len(losses))
