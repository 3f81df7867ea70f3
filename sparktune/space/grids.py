"""The grids of quantised distributions: which points they have, and rounded draws that give each its share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparktune.exceptions import InvalidSpaceError
from sparktune.kernels.arrays import FloatArray
from sparktune.space.numbers import is_finite

#: Slack, in grid steps, for bounds that are multiples of ``q`` but for rounding: 0.3 / 0.1 is 2.9999999999999996.
GRID_SLACK = 1e-9


class NoMultipleError(InvalidSpaceError):
    """No multiple of ``q`` lies within the bounds of a quantised distribution."""


def first_and_last(kind: str, low: float, high: float, q: float) -> tuple[int, int]:
    """First and last k with ``low <= k * q <= high``."""
    if not is_finite(max(abs(float(low)), abs(float(high)), float(high) - float(low)) / float(q)):
        raise InvalidSpaceError(f"{kind} has too many multiples of q={q} between {low:g} and {high:g}: use a larger q")
    first, last = math.ceil(low / q - GRID_SLACK), math.floor(high / q + GRID_SLACK)
    if "log" in kind:
        first = max(first, 1)  # the slack may let in 0, which has no logarithm
    if first > last:
        raise NoMultipleError(
            f"{kind} draws multiples of q, and no multiple of q={q} lies between {low:g} and {high:g}: "
            "use a smaller q or wider bounds"
        )
    return first, last


def is_on_grid(x: ArrayLike, q: float, first: float = -np.inf, last: float = np.inf) -> NDArray[np.bool_]:
    """Whether ``x`` is a multiple of ``q`` but for rounding, from the first to the last, elementwise."""
    with np.errstate(all="ignore"):
        steps = np.asarray(x, dtype=float) / q
        nearest = np.round(steps)
        away, size = np.abs(steps - nearest), np.abs(steps)
        # A share of a large number is more than a step: beyond that only what a float cannot tell apart is near.
        near = away <= np.maximum(1e-6 * np.clip(size, 1.0, 1e5), 4.0 * np.finfo(float).eps * size)
    return np.asarray(near & (nearest >= first) & (nearest <= last))


class Cells:
    """Moves rounded draws to grid points of given shares, as few of them as can be.

    Rounding gives the end points less than their share, or more. Of each cell that has too much its upper end is cut
    off, and what is cut off everywhere is dealt out to those that have too little: the draw itself decides, so that
    none needs a second number of the generator, and most are what hyperopt draws with it.

    Args:
        edges: Where rounding begins to give the next grid point, between the ends of the draws; shape (k + 1,).
        shares: Of the k grid points; they sum to 1.
    """

    def __init__(self, edges: FloatArray, shares: FloatArray) -> None:
        masses = np.diff(edges) / (edges[-1] - edges[0])
        self._edges, self._width = edges, float(edges[-1] - edges[0])
        self._kept = np.minimum(masses, shares)
        self._cut_before = np.append(0.0, np.cumsum(masses - self._kept))
        self._lacking = np.cumsum(shares - self._kept)

    def index(self, drawn: FloatArray) -> NDArray[np.intp]:
        """Numbers of grid points, of the shape of ``drawn``: draws that are uniform between the ends."""
        cell = np.clip(np.searchsorted(self._edges, drawn, side="right") - 1, 0, len(self._kept) - 1)
        beyond = (drawn - self._edges[cell]) / self._width - self._kept[cell]
        target = np.searchsorted(self._lacking, self._cut_before[cell] + beyond, side="right")
        is_moved = (beyond > 0) & (target < len(self._kept))
        return np.asarray(np.where(is_moved, target, cell))
