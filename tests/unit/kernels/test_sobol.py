"""Points of a Sobol sequence."""

import numpy as np
import pytest
from scipy import stats

from sparktune.kernels.sobol import halton, sobol


@pytest.mark.filterwarnings("error")
def test_parts_are_parts_of_one_sequence():
    """However it is cut, the same seed gives the same points; SciPy has nothing to warn of."""
    whole = sobol(3, 7, 0, 50)
    parts = [sobol(3, 7, start, stop - start) for start, stop in ((0, 1), (1, 10), (10, 11), (11, 50))]
    np.testing.assert_array_equal(np.vstack(parts), whole)
    assert sobol(3, 7, 5, 0).shape == (0, 3)


def test_another_seed_is_another_sequence():
    """Scramblings differ."""
    assert not np.isclose(sobol(2, 1, 0, 16), sobol(2, 2, 0, 16)).any()


def test_points_are_in_the_unit_cube_and_even():
    """Any 64 first points put as many in each of 64 cells as a net does, and are more even than random ones."""
    points = sobol(2, 3, 0, 64)
    assert ((points >= 0) & (points < 1)).all()
    cells = np.floor(points * 8) @ [8, 1]
    assert len(np.unique(cells)) == 64
    assert stats.qmc.discrepancy(points) < 0.5 * stats.qmc.discrepancy(np.random.default_rng(0).random((64, 2)))


def test_many_dimensions():
    """A thousand dimensions have their points, each even on its own."""
    points = sobol(1000, 0, 0, 32)
    assert points.shape == (32, 1000)
    assert (np.sort(np.floor(points * 32), axis=0) == np.arange(32)[:, None]).all()


def test_a_halton_sequence_is_even_and_in_parts_the_same():
    """As the Sobol sequence: parts are parts of one sequence, and any first points are evener than random ones."""
    whole = halton(2, 7, 0, 50)
    parts = [halton(2, 7, start, stop - start) for start, stop in ((0, 1), (1, 10), (10, 50))]
    np.testing.assert_array_equal(np.vstack(parts), whole)
    assert stats.qmc.discrepancy(whole) < 0.5 * stats.qmc.discrepancy(np.random.default_rng(0).random((50, 2)))


def test_far_along_the_sequence_points_are_quickly_there():
    """Nothing before them is drawn again: the millionth point of a sequence of 2^30."""
    assert sobol(3, 7, 10**6, 2).shape == (2, 3)
    np.testing.assert_array_equal(sobol(3, 7, 4000, 4), sobol(3, 7, 0, 4096)[4000:4004])
