"""What the model-based algorithms keep between proposals, so that one costs the same however long the history is.

All of it is a function of the points of the first rows, in their order, and of nothing else: not of when results came
in, nor of how often anyone asked. So a study that is loaded and goes on proposes what it would have proposed.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import IGNORED, History
from sparktune.kernels.histogram import Histogram, Smoothing
from sparktune.kernels.parzen import Kernels, Points, bandwidths_among, neighbour_bandwidths
from sparktune.kernels.special import normal_cdf
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates
from sparktune.space.distributions import FloatArray

#: The kernels of the first rows are made anew when their number grew by this share, but by no more rows than
#: ``MAX_STEP``; up to ``EXACT`` rows always. Rows since then have kernels of their own.
GROWTH, EXACT, MAX_STEP = 0.05, 20, 256
#: Of more rows than this, a random part stands for all.
MAX_KERNELS = 1024
#: Draws from the prior that look for a point that was not tried.
MAX_DRAWS = 64


class SearchState:
    """Points seen, their kernels, and histograms of their coordinates.

    Attributes:
        coordinates: The space's.
        histogram: Of all rows.
        smoothing: Of the histogram, for the number of rows.
        coefficients: Of the prior and of the rows' kernels, shape (1 + k, n_features).
    """

    def __init__(self, space: Space, history: History) -> None:
        self.space, self._history = space, history
        self.key: tuple[object, ...] = ()
        self.coordinates = Coordinates(space)
        self.layout = self.coordinates.layout
        self.histogram = Histogram(self.layout)
        self.coefficients = self.layout.prior.coefficients
        self.smoothing = Smoothing(self.layout, 0)
        self._first_row: dict[int, int] = {}
        self._n_seen = 0
        self._epoch = -1

    @classmethod
    def of(cls, space: Space, history: History) -> SearchState:
        """The state for a history, brought up to date; kept in ``history.memo``."""
        state: SearchState | None = history.memo.get("search")
        if state is None or state.space is not space:
            # Not only by name: a study may go on over the same labels with other bounds.
            key = tuple((parameter.distribution, parameter.is_choice) for parameter in space.parameters)
            if state is None or state.key != key:
                state = history.memo["search"] = cls(space, history)
            state.space, state.key = space, key
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
        for row in np.flatnonzero((self.coordinates.is_discrete | np.isnan(values)).all(axis=1)):
            self._first_row.setdefault(_key_of(values[row]), n_seen + int(row))
        if (epoch := _epoch(n)) != self._epoch:
            self._begin(epoch)
        # Those of the epoch have theirs.
        added = self._kernels_among(points.z[max(0, self._epoch - n_seen) :])
        self.coefficients = np.vstack([self.coefficients, added])

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._rows = np.arange(epoch)
        if epoch > MAX_KERNELS:
            self._rows = np.sort(np.random.default_rng(epoch).choice(epoch, MAX_KERNELS, replace=False))
        z = self.coordinates.encode(self._history.values[self._rows])
        columns = self.layout.ordered
        ordered = z[:, columns]
        self._sorted = np.sort(ordered, axis=0)
        self._n_active = np.count_nonzero(~np.isnan(ordered), axis=0)
        sigmas = np.ones(z.shape)
        sigmas[:, columns] = neighbour_bandwidths(ordered, self.layout.low[columns], self.layout.high[columns])
        kernels = Kernels(self.layout, z, sigmas, epoch)
        self.coefficients = np.vstack([self.layout.prior.coefficients, kernels.coefficients])
        # A fifth more rows change the bandwidth by 7 %, and this costs more than a proposal.
        n_smoothed = int(1.2 ** math.floor(math.log(epoch, 1.2))) if epoch else 0
        if n_smoothed != self.smoothing.n:
            self.smoothing = Smoothing(self.layout, n_smoothed)

    def kernels_among(self, values: FloatArray) -> NDArray[np.floating]:
        """Coefficients of kernels at further points, shape (m, n_features)."""
        return self._kernels_among(self.coordinates.encode(values))

    def _kernels_among(self, z: FloatArray) -> NDArray[np.floating]:
        columns = self.layout.ordered
        sigmas = np.ones(z.shape)
        sigmas[:, columns] = bandwidths_among(self._sorted, self._n_active, z[:, columns])
        return Kernels(self.layout, z, sigmas, self._epoch).coefficients

    def weights(self, is_counted: NDArray[np.bool_], prior_weight: float) -> FloatArray:
        """Weights of ``coefficients``, shape (1 + k,): of rows that count; one that stands for others weighs more."""
        weights = is_counted[self._rows].astype(float)
        if len(self._rows) < self._epoch and (kept := weights.sum()):
            weights *= np.count_nonzero(is_counted[: self._epoch]) / kept
        return np.concatenate([[prior_weight], weights, is_counted[self._epoch :]])

    # -- points ---------------------------------------------------------------------------------------------------

    def points(self, values: FloatArray) -> Points:
        """Points of values (n, d), prepared for kernels."""
        return self.layout.points(self.coordinates.encode(values))

    def on_grid(self, z: FloatArray) -> FloatArray:
        """Values of coordinates (n, d): on their grids, within their bounds, NaN where inactive."""
        return self.space.mask(self.coordinates.decode(z))

    def first_new(self, values: FloatArray, batch: FloatArray, rng: np.random.Generator) -> int | FloatArray:
        """Index of the first of ``values`` that was not tried; where all were, a draw from the prior that was not.

        Args:
            values: Points, shape (m, d), the one wanted most first.
            batch: Points proposed just now, shape (b, d).
            rng: Random stream of the draws.

        Returns:
            An index, or a point, shape (d,); 0 if nothing new was found.
        """
        for index, row in enumerate(values):
            if not self.is_tried(row, batch):
                return index
        row = self.new_draw(batch, rng)
        return 0 if self.is_tried(row, batch) else row

    def new_draw(self, batch: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A draw from the prior, shape (d,); where it was tried before, the first of some more that was not."""
        row = self.space.sample(rng, 1)[0]
        if self.is_tried(row, batch):
            for other in self.space.sample(rng, MAX_DRAWS):
                if not self.is_tried(other, batch):
                    return np.asarray(other)
        return np.asarray(row)

    # -- what a Gaussian process sees -----------------------------------------------------------------------------

    @cached_property
    def input_groups(self) -> NDArray[np.intp]:
        """Which parameter each input belongs to, shape (p,)."""
        layout = self.layout
        return np.concatenate([layout.ordered, np.repeat(layout.categorical, layout.n_categories)]).astype(np.intp)

    def inputs(self, z: FloatArray) -> FloatArray:
        """Inputs of a Gaussian process, shape (n, p): numbers in [0, 1], a choice as one column per option.

        An inactive number is in the middle of its range, and an inactive choice nowhere: points in which it is inactive
        are alike in it.
        """
        layout = self.layout
        numbers = z[:, layout.ordered]
        is_unbounded = layout.is_unbounded[layout.ordered]
        if is_unbounded.any():
            numbers = np.where(is_unbounded, normal_cdf(numbers), numbers)
        inputs = np.zeros((len(z), len(self.input_groups)))
        inputs[:, : numbers.shape[1]] = np.where(np.isnan(numbers), 0.5, numbers)
        cells = layout.cells(z)[:, len(layout.ordinal) :]
        rows, columns = np.nonzero(cells >= 0)
        # Two options are at distance 1, as far as the ends of a range.
        inputs[rows, numbers.shape[1] + cells[rows, columns] - layout.n_steps] = math.sqrt(0.5)
        return inputs

    def is_tried(self, row: FloatArray, batch: FloatArray) -> bool:
        """Whether a point was proposed before, in the history or in ``batch``; cancelled trials do not count."""
        if not self.coordinates.is_discrete[~np.isnan(row)].all():
            return False  # a continuous parameter never repeats
        if any(np.array_equal(row, other, equal_nan=True) for other in batch):
            return True
        first = self._first_row.get(_key_of(row))
        if first is None or self._history.kinds[first] != IGNORED:
            return first is not None
        tried = self._history.values[self._history.kinds != IGNORED]
        return bool(((tried == row) | (np.isnan(tried) & np.isnan(row))).all(axis=1).any())


def _key_of(row: FloatArray) -> int:
    return hash((row + 0.0).tobytes())  # -0.0 is 0.0


def _epoch(n: int) -> int:
    """How many of n rows are in the kernels made together: a step function of n alone."""
    epoch = min(n, EXACT)
    while (step := min(max(1, int(GROWTH * epoch)), MAX_STEP)) <= n - epoch:
        # Many equal steps at once, where they do not grow any more.
        epoch += step if step < MAX_STEP else (n - epoch) // step * step
    return epoch
