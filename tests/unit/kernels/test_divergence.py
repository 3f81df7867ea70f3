"""The divergence of a part of a sample from the whole."""

import itertools

import numpy as np
import pytest

from sparktune.kernels.divergence import N_CELLS, excess_divergence, rank_cells, smoothing


@pytest.mark.parametrize("n_points", [0.3, 1, 10, 1e6])
def test_kernels_spread_a_mass_of_one(n_points):
    """Every row of the smoothing sums to one, those at the ends too."""
    np.testing.assert_allclose(smoothing(n_points).sum(axis=1), 1)


def test_kernels_narrow_with_the_number_of_points():
    """More points have narrower kernels, by Scott's power of -1/5."""
    width = [1 / smoothing(n)[N_CELLS // 2].max() for n in (1000, 32000)]
    assert width[0] / width[1] == pytest.approx(2, rel=0.01)  # cells and ends take a little


def test_ranks_fill_the_cells_evenly(rng):
    """Any continuous sample becomes uniform, in the order of its values."""
    x = np.exp(10 * rng.standard_normal(10 * N_CELLS))
    cells = rank_cells(x)
    np.testing.assert_array_equal(np.bincount(cells), 10)
    assert (np.diff(cells[np.argsort(x)]) >= 0).all()


def test_equal_values_share_a_cell():
    """Ties get their mean rank; a constant is in the middle."""
    np.testing.assert_array_equal(rank_cells(np.array([5.0, 1.0, 5.0, 1.0]), n_cells=100), [75, 25, 75, 25])
    np.testing.assert_array_equal(rank_cells(np.full(7, 3.0), n_cells=100), 50)


def test_infinite_values_have_ranks():
    """Infinities are the outermost values."""
    np.testing.assert_array_equal(rank_cells(np.array([np.inf, 0.0, -np.inf, 1.0]), n_cells=4), [3, 1, 0, 2])


def test_a_part_like_the_whole_has_no_divergence(rng):
    """Equal weights give 0, whatever the points: nothing is left to chance either."""
    cells = rng.integers(N_CELLS, size=50)
    assert excess_divergence(cells, np.full(50, 0.2), smoothing(10)) == pytest.approx(0, abs=1e-12)
    assert excess_divergence(cells, np.ones(50)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("smoothed", [True, False])
@pytest.mark.parametrize("weights", [[1, 1, 0, 0, 0, 0], [1, 0.3, 0.3, 0.3, 0, 0.1]])
def test_its_mean_over_all_orders_is_zero(smoothed, weights):
    """Where the weights have nothing to do with the points, the excess is 0 on average, exactly."""
    cells = np.array([0, 0, 1, 3, 4, 4])
    kernels = smoothing(2, n_cells=5) if smoothed else None
    found = [
        excess_divergence(cells, np.array(order, dtype=float), kernels) for order in itertools.permutations(weights)
    ]
    assert np.mean(found) == pytest.approx(0, abs=1e-12)
    assert np.std(found) > 0.1


def test_it_is_pearsons_divergence_for_large_samples(rng):
    """With many points the excess tends to the integral of (p' - p)**2 / p, here of the density 2 x on [0, 1]: 1/3."""
    x = rng.random(200_000)
    is_part = rng.random(len(x)) < x
    found = excess_divergence(rank_cells(x), is_part.astype(float), smoothing(is_part.sum()))
    # p is that of the remaining whole and the kernels, of width 0.03, flatten it at the ends.
    assert found == pytest.approx(1 / 3, rel=0.05)


def test_of_categories_it_is_known_in_closed_form():
    """Two categories with half of the points each and all of the part in one: the divergence is 1 less (m - 1) / n'."""
    cells = np.repeat([0, 1], 5000)
    weights = np.zeros(10_000)
    weights[:100] = 1
    assert excess_divergence(cells, weights) == pytest.approx(1 - 1 / 100, abs=2e-4)  # 1 / n is left out


@pytest.mark.parametrize("cells", [[0], [2, 2]])
def test_a_constant_has_none(cells):
    """One point, or one value, tells nothing apart."""
    cells = np.array(cells)
    weights = np.eye(len(cells))[0]
    assert excess_divergence(cells, weights) == pytest.approx(0, abs=1e-12)
    assert excess_divergence(cells, weights, smoothing(1)) == pytest.approx(0, abs=1e-12)
