"""Smoothed histograms are densities."""

import numpy as np
import pytest

from sparktune.kernels.histogram import N_BINS, bins_of, log_marginals, smoothing_matrix

CENTRES = (np.arange(N_BINS) + 0.5) / N_BINS


def grid(p):
    """Every bin's centre, in each of p columns."""
    return np.repeat(CENTRES[:, None], p, axis=1)


@pytest.mark.parametrize("bandwidth", [0.01, 0.1, 0.5])
def test_rows_of_the_smoothing_matrix_integrate_to_one(bandwidth):
    """A count in any bin, the outermost too, becomes a density with mass one."""
    np.testing.assert_allclose(smoothing_matrix(bandwidth).mean(axis=1), 1)


@pytest.mark.parametrize("n", [0, 1, 10, 3000])
@pytest.mark.parametrize("prior_weight", [0.1, 1.0, 100.0])
def test_marginals_integrate_to_one(n, prior_weight, rng):
    """Each column is a density on [0, 1], with any number of points, some of them inactive."""
    points = rng.beta(0.3, 2, (n, 3))
    points[rng.random(points.shape) < 0.4] = np.nan
    points[:, 2] = np.nan
    density = np.exp(log_marginals(points, grid(3), prior_weight))
    np.testing.assert_allclose(density.mean(axis=0), 1)
    np.testing.assert_allclose(density[:, 2], 1)


def test_marginals_are_high_where_points_are():
    """The density peaks at the points, and is about the prior's share away from them."""
    points = np.full((200, 1), 0.3)
    density = np.exp(log_marginals(points, grid(1), 1.0))[:, 0]
    assert abs(CENTRES[density.argmax()] - 0.3) < 1 / N_BINS
    assert density[CENTRES > 0.7] == pytest.approx(1 / 201, rel=1e-3)


def test_where_to_look_may_be_inactive():
    """An inactive coordinate has log density 0."""
    assert log_marginals(np.full((5, 1), 0.5), np.array([[np.nan]]), 1.0) == 0


def test_columns_may_be_none():
    """A space without numeric parameters has no columns."""
    assert log_marginals(np.empty((5, 0)), np.empty((3, 0)), 1.0).shape == (3, 0)


def test_ends_belong_to_the_outermost_bins():
    """0 and 1, and what rounding puts beyond them, have a bin."""
    np.testing.assert_array_equal(
        bins_of(np.array([-1e-9, 0.0, 1.0, 1 + 1e-9, np.nan])), [0, 0, N_BINS - 1, N_BINS - 1, 0]
    )
