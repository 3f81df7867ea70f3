"""Where trials fail: a Gaussian process of its own asks, beside those of the losses.

A failure says nothing of the loss that there would have been, as machines fail anywhere. Where it is the point that
makes a trial fail, the points around it do as well, which the process learns; where it is chance it finds noise, and
then the search goes on as if nothing had failed.

Source:
    Gelbart et al. 2014, "Bayesian optimization with unknown constraints" (a binary condition as a constraint).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparktune.history.reading import OK
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.gaussian_process import GaussianProcess, log_normal_cdf

#: The log probability of no failure counts so many times beside the log expected improvement. Once, the search goes
#: into a region that fails as soon as it has come close to the best point outside; measured in docs/adr/0012.
WEIGHT = 3.0


def failure_targets(kinds: NDArray[np.int8]) -> FloatArray:
    """What the process is conditioned on, shape (n,): 1 for a trial that failed, -1 for one with losses.

    Args:
        kinds: What became of finished trials, as in :class:`~sparktune.history.columns.History`.
    """
    return np.where(kinds == OK, -1.0, 1.0)


def log_survival(process: GaussianProcess, x: FloatArray) -> FloatArray:
    """Log of what an improvement at ``x`` (m, p) is worth, as the trial may fail there; shape (m,), at most 0."""
    means, sds = process.predict(x)
    return np.asarray(WEIGHT * log_normal_cdf(-means / sds))
