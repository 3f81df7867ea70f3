"""What the model-based algorithms keep between proposals, so that one costs the same however long the history is.

All of it is a function of the points of the first rows, in their order, and, in the hyperparameters of Gaussian
processes, of the results of the first finished ones; of nothing else: not of when results came in, nor of how often
anyone asked. So a study that is loaded and goes on proposes what it would have proposed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.gaussian_process import Prior
from sparktune.kernels.histogram import Histogram, Smoothing
from sparktune.kernels.parzen import Kernels, Mixture, Neighbours, Points, neighbour_bandwidths, neighbour_gaps
from sparktune.kernels.special import normal_cdf
from sparktune.search.tried import Tried, kept
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates

#: The kernels of the first rows are made anew when their number grew by this share, but by no more rows than
#: ``MAX_STEP``; up to ``EXACT`` rows always. Rows since then have kernels of their own.
GROWTH, EXACT, MAX_STEP = 0.05, 20, 256
#: Of more rows than this, a random part stands for all.
MAX_KERNELS = 1024


class SearchState:
    """Points seen, their kernels, and histograms of their coordinates.

    Attributes:
        coordinates: The space's.
        histogram: Of all rows.
        smoothing: Of the histogram, for the number of rows.
        tried: The points that were tried.
    """

    def __init__(self, space: Space, history: History) -> None:
        self.space, self._history = space, history
        self.tried = Tried.of(space, history)
        self.coordinates = Coordinates(space)
        self.layout = self.coordinates.layout
        self.histogram = Histogram(self.layout)
        self.smoothing = Smoothing(self.layout, 0)
        self._n_seen = 0
        self._epoch = -1
        # The last ones asked for, with what they were made from: the good trials seldom change.
        self._mixture: tuple[Hashable, Mixture] | None = None
        self._gaps: tuple[FloatArray, FloatArray] | None = None
        self._points: tuple[bytes, Points] | None = None
        self._counts: tuple[bytes, NDArray[np.intp]] | None = None
        self._prior: tuple[float, Prior] | None = None
        #: Hyperparameters of Gaussian processes, with what they were fitted to: see ``gp.hyperparameters``.
        self.fitted: tuple[Hashable, list[FloatArray]] | None = None

    @classmethod
    def of(cls, space: Space, history: History) -> SearchState:
        """The state for a history, brought up to date; kept in ``history.memo``."""
        state = kept(history, "search", space, lambda: cls(space, history))
        state.space, state.tried = space, Tried.of(space, history)
        state._update()
        return state

    # -- kernels --------------------------------------------------------------------------------------------------

    def _update(self) -> None:
        n, n_seen = len(self._history), self._n_seen
        if n_seen == n and self._epoch >= 0:
            return
        self._n_seen = n
        values = self._history.values[n_seen:]
        points = self.points(values)
        self.histogram.add(points)
        if (epoch := _epoch(n, self._epoch)) != self._epoch:
            self._begin(epoch)
        if n > self._epoch:  # those of the epoch have theirs
            self._append(self._kernels_among(points.z[max(0, self._epoch - n_seen) :]))

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._rows = np.arange(epoch)
        if epoch > MAX_KERNELS:
            self._rows = np.sort(np.random.default_rng(epoch).choice(epoch, MAX_KERNELS, replace=False))
        layout, columns = self.layout, self.layout.ordered
        z = self.coordinates.encode(self._history.values[self._rows])
        ordered = z[:, columns]
        self._neighbours = Neighbours(ordered)
        sigmas = np.ones(z.shape)
        sigmas[:, columns] = neighbour_bandwidths(ordered, layout.low[columns], layout.high[columns])
        # With room for the kernels of the rows since then; what was handed out of the old array stays as it was.
        self._kernels = np.empty((1 + len(z) + _step(epoch), layout.n_features), dtype=layout.dtype)
        self._n_kernels = 0
        self._append(layout.prior.coefficients)
        self._append(Kernels(layout, z, sigmas, epoch).coefficients)
        # A fifth more rows change the bandwidth by 7 %, and this costs more than a proposal.
        n_smoothed = int(1.2 ** math.floor(math.log(epoch, 1.2))) if epoch else 0
        if n_smoothed != self.smoothing.n:
            self.smoothing = Smoothing(layout, n_smoothed)

    def _append(self, coefficients: NDArray[np.floating]) -> None:
        stop = self._n_kernels + len(coefficients)
        self._kernels[self._n_kernels : stop] = coefficients
        self._n_kernels = stop

    @property
    def coefficients(self) -> NDArray[np.floating]:
        """Coefficients of the prior and of the rows' kernels, shape (1 + k, n_features)."""
        return self._kernels[: self._n_kernels]

    def kernels_among(self, values: FloatArray) -> NDArray[np.floating]:
        """Coefficients of kernels at further points, shape (m, n_features)."""
        return self._kernels_among(self.coordinates.encode(values))

    def _kernels_among(self, z: FloatArray) -> NDArray[np.floating]:
        columns = self.layout.ordered
        sigmas = np.ones(z.shape)
        sigmas[:, columns] = self._neighbours.bandwidths(z.take(columns, axis=1))
        return Kernels(self.layout, z, sigmas, self._epoch).coefficients

    def weights(self, left_out: NDArray[np.intp], prior_weight: float) -> FloatArray:
        """Weights of ``coefficients``, shape (1 + k,): of all rows but some; one that stands for others weighs more.

        Args:
            left_out: Rows that do not count, each once.
            prior_weight: The prior's weight, in rows.
        """
        n_made, is_made = len(self._rows), left_out < self._epoch
        made = left_out[is_made]
        places = made
        if n_made < self._epoch:
            places = self._rows.searchsorted(made)
            places = places[self._rows[np.minimum(places, n_made - 1)] == made]
        weights = np.ones(self._n_kernels)
        weights[0] = prior_weight
        if n_made < self._epoch and (n_kept := n_made - len(places)):
            weights[1 : 1 + n_made] = (self._epoch - len(made)) / n_kept
        weights[1 + places] = 0.0
        weights[1 + n_made + left_out[~is_made] - self._epoch] = 0.0
        return weights

    # -- densities ------------------------------------------------------------------------------------------------

    def mixture(
        self, rows: NDArray[np.intp], weights: FloatArray, prior_weight: float, floor: float, step_share: float = 0.0
    ) -> Mixture:
        """A mixture around the points of some rows.

        Args:
            rows: The rows, shape (k,).
            weights: Their weights, shape (k,).
            prior_weight: Weight of the prior, on the scale of ``weights``.
            floor: No bandwidth is below it; at most 1.
            step_share: On a grid of few steps no bandwidth is below this share of the step that its point is on.
        """
        points, layout = self._points_of(rows), self.layout
        z, columns = points.z, layout.ordered
        if self._gaps is None or self._gaps[0] is not z:
            gaps = np.ones(z.shape)
            gaps[:, columns] = neighbour_gaps(z.take(columns, axis=1), layout.low[columns], layout.high[columns])
            self._gaps = z, gaps
        sigmas = np.maximum(self._gaps[1], floor)
        if step_share and layout.n_steps:
            least = step_share * layout.prior_mass[points.cells[:, : len(layout.ordinal)]]
            sigmas[:, layout.ordinal] = np.maximum(sigmas[:, layout.ordinal], least)
        np.minimum(sigmas, 1.0, out=sigmas)
        key = rows.tobytes(), sigmas.tobytes(), weights.tobytes(), prior_weight
        if self._mixture is None or self._mixture[0] != key:
            self._mixture = key, Mixture(self.layout, z, sigmas, weights, prior_weight)
        return self._mixture[1]

    def density(self, left_out: NDArray[np.intp], prior_weight: float) -> FloatArray:
        """Smoothed density of each parameter on its own, for ``histogram.log_marginals``: of all rows but some.

        Args:
            left_out: Rows that do not count, each once.
            prior_weight: The prior's weight, in rows.
        """
        key = left_out.tobytes()
        if self._counts is None or self._counts[0] != key:
            self._counts = key, self.histogram.count(self._points_of(left_out))
        return self.histogram.density(self._counts[1], self.smoothing, prior_weight)

    def _points_of(self, rows: NDArray[np.intp]) -> Points:
        key = rows.tobytes()
        if self._points is None or self._points[0] != key:
            self._points = key, self.points(self._history.values[rows])
        return self._points[1]

    # -- points ---------------------------------------------------------------------------------------------------

    def points(self, values: FloatArray) -> Points:
        """Points of values (n, d), prepared for kernels."""
        return self.layout.points(self.coordinates.encode(values))

    def on_grid(self, z: FloatArray) -> FloatArray:
        """Values of coordinates (n, d): on their grids, within their bounds, NaN where inactive."""
        return self.space.mask(self.coordinates.decode(z))

    # -- what a Gaussian process sees -----------------------------------------------------------------------------

    @cached_property
    def input_groups(self) -> NDArray[np.intp]:
        """Which parameter each input belongs to, shape (p,)."""
        layout = self.layout
        return np.concatenate([layout.ordered, np.repeat(layout.categorical, layout.n_categories)]).astype(np.intp)

    def inputs(self, points: Points) -> FloatArray:
        """Inputs of a Gaussian process, shape (n, p): numbers in [0, 1], a choice as one column per option.

        An inactive number is in the middle of its range, and an inactive choice nowhere: points in which it is inactive
        are alike in it.
        """
        layout = self.layout
        numbers = points.z.take(layout.ordered, axis=1)
        if layout.has_unbounded:
            numbers = np.where(layout.is_unbounded[layout.ordered], normal_cdf(numbers), numbers)
        inputs = np.empty((len(points), len(self.input_groups)))
        inputs[:, : numbers.shape[1]] = np.where(numbers == numbers, numbers, 0.5)  # NaN where inactive
        options = slice(layout.n_steps, None)
        is_own = points.cells.take(layout.stepped_of_cell[options], axis=1) == layout.cell_numbers[options]
        # Two options are at distance 1, as far as the ends of a range.
        inputs[:, numbers.shape[1] :] = math.sqrt(0.5) * is_own
        return inputs

    def process_prior(self, values: FloatArray) -> Prior:
        """Prior of a process's hyperparameters, for points with values (n, d)."""
        n_active = np.count_nonzero(values == values) / len(values)
        if self._prior is None or self._prior[0] != n_active:
            self._prior = n_active, Prior.of(n_active, self.is_selector)
        return self._prior[1]

    @cached_property
    def is_selector(self) -> NDArray[np.bool_]:
        """Which parameters others hang on, shape (d,)."""
        ways = (way for parameter in self.space.parameters for way in parameter.conditions)
        selectors = {selector for way in ways for selector, _ in way}
        return np.array([column in selectors for column in range(len(self.space))])


def _epoch(n: int, start: int) -> int:
    """How many of n rows are in the kernels made together: a step function of n alone.

    Args:
        n: Number of rows.
        start: The function's value for some fewer rows, or less than 0.
    """
    epoch = start if start >= EXACT else min(n, EXACT)
    while (step := _step(epoch)) <= n - epoch:
        # Many equal steps at once, where they do not grow any more.
        epoch += step if step < MAX_STEP else (n - epoch) // step * step
    return epoch


def _step(epoch: int) -> int:
    return min(max(1, int(GROWTH * epoch)), MAX_STEP)
