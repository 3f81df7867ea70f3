"""How far the density of a weighted part of a sample is from that of the whole, in one dimension."""

from __future__ import annotations

import numpy as np

from sparktune.kernels.arrays import FloatArray, IntArray

N_CELLS = 128
#: Half of Scott's 1.06 standard deviations, that of a uniform variable being 12**-0.5. Good values lie in narrow or
#: several places, which the full width blurs: measured on searches by TPE, parameters without influence get more then.
BANDWIDTH = 0.53 * 12**-0.5


def rank_cells(x: FloatArray, n_cells: int = N_CELLS) -> IntArray:
    """The cell of each value's rank, shape (n,), 0 to n_cells - 1; equal values share their mean rank.

    Ranks make the whole sample uniform. A Pearson divergence does not change with a monotone map of its variable, so
    nothing is lost, and a logarithmic, unbounded or very large range needs no treatment of its own.

    Args:
        x: Values, shape (n,), without NaN.
        n_cells: Number of cells, all of the same width.
    """
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - 0.5 * counts) / max(len(x), 1)
    return np.asarray(middle[inverse.reshape(-1)] * n_cells, dtype=np.intp)


def smoothing(n_points: float, n_cells: int = N_CELLS) -> FloatArray:
    """Normal kernels over the cells, shape (n_cells, n_cells), one per row with sum 1.

    Args:
        n_points: Size of the sample to be smoothed; the bandwidth is half that of Scott's rule for a uniform one.
        n_cells: Number of cells.

    Source:
        Scott 1992, "Multivariate density estimation", section 6.3.
    """
    bandwidth = BANDWIDTH * max(n_points, 1.0) ** -0.2
    centres = (np.arange(n_cells) + 0.5) / n_cells
    kernel = np.exp(-0.5 * ((centres[:, None] - centres) / bandwidth) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def excess_divergence(cells: IntArray, weights: FloatArray, kernels: FloatArray | None = None) -> float:
    """Pearson divergence of the weighted sample from the whole, less what chance alone gives; may be below 0.

    With p the smoothed histogram of all points and p' that of the weighted ones, the divergence is the sum of
    (p' - p)**2 / p over the cells. If the weights had nothing to do with the points, every order of them would be as
    likely, p' would have mean p, and its variance is known (that of a sum drawn without replacement): the mean of the
    divergence over all orders is subtracted.

    Args:
        cells: Cell of each point, shape (n,).
        weights: Weight of each point in p', shape (n,), >= 0 and not all 0.
        kernels: Row c has the masses, over all cells, that a point in cell c spreads to, shape (m, m); None: points
            stay where they are.

    Source:
        The divergence: Watanabe, Bansal and Hutter 2023, "PED-ANOVA", arXiv 2304.10255. The mean over all orders:
        sampling from a finite population, as in Cochran 1977, "Sampling techniques", theorem 2.2; with points that stay
        where they are it is that of Pearson's chi-square statistic.
    """
    n = len(cells)
    m = int(cells.max()) + 1 if kernels is None else len(kernels)
    share = np.bincount(cells, minlength=m) / n
    part = np.bincount(cells, weights, minlength=m) / weights.sum()
    if kernels is None:
        p, p_part, mean_square = share, part, share
    else:
        p, p_part, mean_square = share @ kernels, part @ kernels, share @ kernels**2
    is_used = p > 0
    p, p_part, mean_square = p[is_used], p_part[is_used], mean_square[is_used]
    divergence = float(np.sum((p_part - p) ** 2 / p))
    spread = float(np.sum((weights / weights.sum() - 1.0 / n) ** 2)) * n / max(n - 1, 1)
    return divergence - spread * float(np.sum((mean_square - p**2) / p))
