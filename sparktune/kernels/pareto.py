"""Comparing points by several losses: non-domination, hypervolume, and an order from best to worst.

A point dominates another if it is no worse in any loss and better in one. Losses are minimised, and may be infinite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparktune.kernels.arrays import FloatArray, IntArray

#: Points compared with all the others at once while a front is looked for: bounds the memory of the comparison.
BLOCK = 64
#: Where the reference point lies when points are ordered, on a scale on which the losses of a rank go from 0 to 1.
REFERENCE = 1.1


# -- non-domination ---------------------------------------------------------------------------------------------------


def nondominated_ranks(losses: FloatArray, n_needed: int | None = None) -> IntArray:
    """Rank of each point, shape (n,): 0 if no point dominates it, 1 if none does once those are taken away, and so on.

    Args:
        losses: Shape (n, m), without NaN.
        n_needed: Stop when so many points have a rank; the others get the next rank, whatever theirs would be. None:
            all get theirs. Time grows with the number of ranks, and with the number of points times those in a rank.

    Source:
        Goldberg 1989; Deb et al. 2002 (NSGA-II), section III A.
    """
    ranks = np.zeros(len(losses), dtype=np.intp)
    coded, rows = _coded(losses)
    rank, n_ranked = 0, 0
    while len(rows) and (n_needed is None or n_ranked < n_needed):
        is_best = _is_nondominated(coded)
        ranks[rows[is_best]] = rank
        n_ranked += int(np.count_nonzero(is_best))
        rank += 1
        coded, rows = coded[~is_best], rows[~is_best]
    ranks[rows] = rank
    return ranks


def front(losses: FloatArray) -> IntArray:
    """Indices of the points that no other dominates, by their first loss; of equal points only the first one.

    Args:
        losses: Shape (n, m), without NaN.
    """
    coded, rows = _coded(losses)
    best = np.sort(rows[_is_nondominated(coded)])
    _, first = np.unique(losses[best], axis=0, return_index=True)
    return best[first]


class Front:
    """What :func:`front` gives, kept while points come one by one: each is compared with those of the front alone.

    Attributes:
        ids: Numbers of the points that no other dominates, by their losses; of equal points only the lowest.

    Args:
        losses: Of the points that there are, shape (n, m), without NaN.
        ids: Their numbers, ascending, shape (n,).
    """

    def __init__(self, losses: FloatArray, ids: IntArray) -> None:
        best = front(losses)
        self.ids: list[int] = ids[best].tolist()
        self._losses = np.ascontiguousarray(losses[best].T)  # (m, k): comparing whole rows is several times as fast

    def add(self, losses: FloatArray, number: int) -> None:
        """Bring in a point with these losses, shape (m,)."""
        point = losses[:, None]
        is_no_worse = (self._losses <= point).all(axis=0)
        if is_no_worse.any():
            # One that is equal is the only one: another that is no worse would dominate it.
            position = int(is_no_worse.argmax())
            if number < self.ids[position] and (self._losses[:, position] == losses).all():
                self.ids[position] = number
            return
        left = np.flatnonzero((self._losses < point).any(axis=0))
        if len(left) < len(self.ids):
            self._losses, self.ids = self._losses[:, left], [self.ids[k] for k in left]
        position = self._position_of(losses)
        self.ids.insert(position, number)
        self._losses = np.concatenate([self._losses[:, :position], point, self._losses[:, position:]], axis=1)

    def _position_of(self, losses: FloatArray) -> int:
        """Where a point belongs by its first loss, among equals by the second, and so on."""
        start, stop = 0, len(self.ids)
        for row, loss in zip(self._losses, losses, strict=True):
            equal = row[start:stop]
            start, stop = start + int(equal.searchsorted(loss)), start + int(equal.searchsorted(loss, "right"))
        return start


def _coded(losses: FloatArray) -> tuple[NDArray[np.int64], IntArray]:
    """The losses as whole numbers of the same order, with their sum as last column, sorted by it; and the indices.

    A point can only be dominated by one with a smaller sum. Whole numbers make that exact, and infinite losses no
    special case.
    """
    columns = [np.unique(column, return_inverse=True)[1].ravel() for column in losses.T]
    coded = np.column_stack([*columns, np.sum(columns, axis=0)]).astype(np.int64)
    rows = np.argsort(coded[:, -1], kind="stable")
    return coded[rows], rows


def _is_nondominated(coded: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows no other row dominates; the rows are as :func:`_coded` gives them."""
    if coded.shape[1] == 3:
        return _is_nondominated_of_two(coded[:, 0], coded[:, 1])
    result = np.zeros(len(coded), dtype=bool)
    left = np.arange(len(coded))
    while len(left):
        block = left[:BLOCK]
        block = block[~_is_dominated(coded[block], coded[block])]
        result[block] = True
        left = left[BLOCK:]
        # In small steps: a few good points strike out most of the others.
        for start in range(0, len(block), 8):
            left = left[~_is_dominated(coded[left], coded[block[start : start + 8]])]
    return result


def _is_nondominated_of_two(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which points with two losses no other dominates, by a sweep over the first: they may all be on the front."""
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    # Of those with the same x, the first one has the lowest y; and that has to be below all y of lower x.
    is_first = np.diff(x, prepend=-1) > 0
    lowest = np.minimum.accumulate(y)[is_first]
    is_lower = np.append(True, lowest[1:] < lowest[:-1])
    step = np.cumsum(is_first) - 1
    result = np.zeros(len(order), dtype=bool)
    result[order] = is_lower[step] & (y == lowest[step])
    return result


def _is_dominated(coded: NDArray[np.int64], by: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of ``coded`` some row of ``by`` dominates."""
    dominated = coded[:, -1, None] > by[:, -1]
    for column in range(coded.shape[1] - 1):
        dominated &= coded[:, column, None] >= by[:, column]
    return np.asarray(dominated.any(axis=1))


# -- hypervolume ------------------------------------------------------------------------------------------------------


def hypervolume(losses: FloatArray, reference: FloatArray) -> float:
    """Volume of the points that some of the given ones dominates and that dominate the reference.

    Args:
        losses: Shape (n, m), without NaN, m >= 1.
        reference: Shape (m,). Points that are not below it in every loss add nothing.

    Returns:
        The volume; infinite if a point below the reference has a loss of minus infinity, or if the box around them all
        is too large for a float.

    Source:
        Lacour, Klamroth and Fonseca 2017, "A box decomposition algorithm to compute the hypervolume indicator", the
        non-incremental algorithm (HBDA-NI). Time grows about as n ** ((m - 1) // 2 + 1): 60 points with 8 losses take
        a tenth of a second, and 100 with 10 a few.
    """
    inside = np.asarray(losses[(losses < reference).all(axis=1)], dtype=float)
    if not len(inside):
        return 0.0
    with np.errstate(over="ignore"):
        if not np.isfinite(np.prod(reference - inside.min(axis=0))):
            return np.inf
    return _volume(inside, np.asarray(reference, dtype=float))


def _volume(losses: FloatArray, reference: FloatArray) -> float:
    """:func:`hypervolume` of points below the reference."""
    if losses.shape[1] == 1:
        return float(reference[0] - losses.min())
    if losses.shape[1] == 2:
        return _area(losses, reference)
    # By the last loss: those that come before a point reach as deep as it does, or deeper.
    losses = losses[np.argsort(losses[:, -1], kind="stable")]
    depths = reference[-1] - losses[:, -1]
    region = _Region(losses[:, :-1], reference[:-1])
    return sum(float(depth) * region.add(row) for row, depth in enumerate(depths))


def _area(losses: FloatArray, reference: FloatArray) -> float:
    """:func:`hypervolume` of points with two losses, by a sweep over the first."""
    x, y = losses[np.argsort(losses[:, 0], kind="stable")].T
    lowest = np.minimum.accumulate(y)
    return float(np.diff(x, append=reference[0]) @ (reference[1] - lowest))


class _Region:
    """What points dominate below a reference, one point after the other.

    Kept are the local upper bounds of the points so far: what lies below none of these corners is dominated. Each
    coordinate of a corner is that of one point, its maker. A corner and its makers give a box; the boxes of all corners
    are disjoint, and together they are what is dominated.

    Args:
        points: Shape (n, d), below the reference.
        reference: Shape (d,), finite.

    Source:
        Lacour, Klamroth and Fonseca 2017; for the corners Klamroth, Lacour and Vanderpooten 2015, "On the
        representation of the search region in multi-objective optimization".
    """

    def __init__(self, points: FloatArray, reference: FloatArray) -> None:
        n, d = points.shape
        # The first corner is the reference, each of its coordinates made by a point that is infinitely good elsewhere.
        first = np.where(np.eye(d, dtype=bool), reference, -np.inf)
        self._points = np.vstack([points, first])
        self._reference = reference
        self._corners, self._makers = reference[None, :], np.arange(n, n + d)[None, :]

    def add(self, row: int) -> float:
        """Add the point ``row``; the volume that it adds."""
        point = self._points[row]
        is_above = (self._corners > point).all(axis=1)
        if not is_above.any():
            return 0.0
        corners, makers = self._corners[is_above], self._makers[is_above]
        all_corners, all_makers = [self._corners[~is_above]], [self._makers[~is_above]]
        added = -self._volume(corners, makers)
        for j in range(len(point)):
            # Moved back to the point, a corner is still one if its other makers are no worse in this coordinate.
            others = np.delete(makers, j, axis=1)
            is_corner = (self._points[others, j] <= point[j]).all(axis=1)
            moved, moved_makers = corners[is_corner], makers[is_corner]
            moved[:, j], moved_makers[:, j] = point[j], row
            added += self._volume(moved, moved_makers)
            all_corners.append(moved)
            all_makers.append(moved_makers)
        self._corners, self._makers = np.vstack(all_corners), np.vstack(all_makers)
        return max(0.0, added)

    def _volume(self, corners: FloatArray, makers: IntArray) -> float:
        """Volume of the boxes of corners (b, d): from each up in the first coordinate, down to its makers in others."""
        volumes = self._reference[0] - corners[:, 0]
        is_box = volumes > 0
        corners, makers, volumes = corners[is_box], makers[is_box], volumes[is_box]
        lowest = self._points[makers[:, 0]]
        for j in range(1, corners.shape[1]):
            volumes *= corners[:, j] - lowest[:, j]
            lowest = np.maximum(lowest, self._points[makers[:, j]])
        return float(volumes.sum())


def hypervolume_subset(losses: FloatArray, reference: FloatArray, k: int) -> IntArray:
    """Indices of k points that together dominate a large volume, in the order in which they were picked.

    The greedy choice: each time the point that adds most volume to those already picked, the first one of equals. Its
    volume is at least 1 - 1/e of the largest that k points can have.

    Args:
        losses: Shape (n, m), without NaN and minus infinity.
        reference: Shape (m,), finite. Points that are not below it in every loss add nothing.
        k: How many to pick; all if there are no more.

    Source:
        Guerreiro, Fonseca and Paquete 2016, "Greedy hypervolume subset selection in low dimensions", for the greedy
        choice. Here the volume not yet dominated is kept as disjoint boxes: what a pick takes away from them is what
        the other points lose.
    """
    reference = np.asarray(reference, dtype=float)
    points = np.minimum(losses, reference)
    gains = np.prod(reference - points, axis=1)
    low, high = points.min(axis=0, initial=np.inf)[None, :], reference[None, :]
    picked: list[int] = []
    while len(picked) < min(k, len(points)):
        best = int(np.argmax(gains))
        if gains[best] <= 0:  # the others add nothing any more
            is_left = np.ones(len(points), dtype=bool)
            is_left[picked] = False
            picked.extend(np.flatnonzero(is_left)[: k - len(picked)].tolist())
            break
        picked.append(best)
        is_cut = (high > points[best]).all(axis=1)
        inner = np.maximum(low[is_cut], points[best])
        gains -= _volumes_above(points, inner, high[is_cut])
        gains[best] = -np.inf
        pieces = _cut(low[is_cut], high[is_cut], inner)
        low, high = np.vstack([low[~is_cut], pieces[0]]), np.vstack([high[~is_cut], pieces[1]])
    return np.asarray(picked, dtype=np.intp)


def _volumes_above(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Volume that each point (n, m) dominates of all the boxes [low, high] (b, m) together, shape (n,)."""
    total = np.zeros(len(points))
    for start in range(0, len(low), BLOCK):
        volumes = np.ones((len(points), len(low[start : start + BLOCK])))
        for j in range(points.shape[1]):
            lower = np.maximum(points[:, j, None], low[start : start + BLOCK, j])
            volumes *= np.maximum(0.0, high[start : start + BLOCK, j] - lower)
        total += volumes.sum(axis=1)
    return total


def _cut(low: FloatArray, high: FloatArray, inner: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What is left of the boxes [low, high] without [inner, high], as disjoint boxes: below inner in one loss each."""
    lows, highs = [], []
    for j in range(low.shape[1]):
        piece_low, piece_high = low.copy(), high.copy()
        piece_low[:, :j] = inner[:, :j]
        piece_high[:, j] = inner[:, j]
        is_there = piece_high[:, j] > piece_low[:, j]
        lows.append(piece_low[is_there])
        highs.append(piece_high[is_there])
    return np.vstack(lows), np.vstack(highs)


# -- order ------------------------------------------------------------------------------------------------------------


def order(objectives: FloatArray, violations: FloatArray, k: int | None = None) -> IntArray:
    """Indices of the k best points, best first.

    Points that meet the constraints come before those that do not. Among the former, one loss is compared as it is,
    with equals in the order given; several by non-domination rank, and within a rank by the volume that a point adds
    to those before it. The others come by their total violation, and for one loss, if that is the same, by the loss.

    Args:
        objectives: Losses, shape (n, m), without NaN.
        violations: Total violation of the constraints, shape (n,); 0 where they are met.
        k: How many; None: all. Work on volumes is done for no more than k points.

    Source:
        Ozaki et al. 2022, "Multiobjective tree-structured Parzen estimator", section 4; for constraints, Deb et al.
        2002, section VI.
    """
    n = len(objectives)
    k = n if k is None else min(k, n)
    if objectives.shape[1] == 1:
        return np.lexsort((objectives[:, 0], violations))[:k]
    is_feasible = violations <= 0
    feasible = np.flatnonzero(is_feasible)
    best = feasible[_order_by_volume(objectives[feasible], min(k, len(feasible)))]
    others = np.flatnonzero(~is_feasible)
    others = others[np.argsort(violations[others], kind="stable")]
    return np.concatenate([best, others])[:k]


def _order_by_volume(losses: FloatArray, k: int) -> IntArray:
    """Indices of the k best points by rank, and within a rank by the volume they add."""
    ranks = nondominated_ranks(losses, k)
    parts: list[IntArray] = [np.empty(0, dtype=np.intp)]
    n_left, rank = k, 0
    while n_left > 0:
        rows = np.flatnonzero(ranks == rank)
        scaled, reference = _scaled(losses[rows])
        parts.append(rows[hypervolume_subset(scaled, reference, n_left)])
        n_left -= len(parts[-1])
        rank += 1
    return np.concatenate(parts)


def _scaled(losses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Losses moved to [0, 1], each on its own, and a reference point: the units of the losses do not matter then."""
    finite = np.where(np.isfinite(losses), losses, np.nan)
    with np.errstate(all="ignore"):
        low = np.nan_to_num(np.fmin.reduce(finite, axis=0))
        high = np.nan_to_num(np.fmax.reduce(finite, axis=0))
        width = np.where(high > low, high - low, 1.0)
        scaled = (losses - low) / width
    # An infinite loss is as good as the best, or as bad as the reference: it adds no volume.
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, REFERENCE), np.full(losses.shape[1], REFERENCE)
