"""Which points of a space were proposed before, and points that were not.

On a finite space no algorithm proposes a point twice while another is left, but for TPE by hyperopt's rules: what is
preferred and new comes first, then a draw from the prior, then whatever :class:`~sparktune.search.tree.PointTree`
finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from sparktune.history.columns import History
from sparktune.history.reading import IGNORED
from sparktune.kernels.arrays import FloatArray
from sparktune.search.tree import PointTree, values_of
from sparktune.space.compile import Space

T = TypeVar("T")

#: Draws from the prior that look for a point that was not tried, before the tree is asked.
MAX_DRAWS = 64


def kept(history: History, name: str, space: Space, make: Callable[[], T]) -> T:
    """What ``make`` gave for this space, or for an equal one; kept in ``history.memo``, anew for another space."""
    known: tuple[Space, object, T] | None = history.memo.get(name)
    if known is not None and known[0] is space:
        return known[2]
    # Not only by name: a study may go on over the same labels with other bounds or conditions.
    key = tuple((parameter.distribution, parameter.is_choice, parameter.conditions) for parameter in space.parameters)
    value = known[2] if known is not None and known[1] == key else make()
    history.memo[name] = space, key, value
    return value


class Tried:
    """The points of a history that can come twice; cancelled trials do not count.

    Args:
        space: The compiled space.
        history: What has been tried.
    """

    def __init__(self, space: Space, history: History) -> None:
        self.space, self._history = space, history
        values = [values_of(parameter.distribution) for parameter in space.parameters]
        self._is_discrete = np.array([v is not None for v in values], dtype=bool)
        self._q = np.array([getattr(p.distribution, "q", 1.0) for p in space.parameters], dtype=float)
        #: Whether any point can come twice: not where a continuous parameter is always active.
        self.can_repeat = not any(
            not parameter.is_conditional and not is_discrete
            for parameter, is_discrete in zip(space.parameters, self._is_discrete, strict=True)
        )
        self._first_row: dict[int, int] = {}
        self._n_seen = 0
        self._tree: PointTree | None = None  # nearly never needed, so made when it is
        self._in_tree: tuple[int, tuple[int, ...]] = 0, ()

    @classmethod
    def of(cls, space: Space, history: History) -> Tried:
        """Those of a history, brought up to date; kept in ``history.memo``."""
        tried = kept(history, "tried", space, lambda: cls(space, history))
        tried.space = space
        tried._update()
        return tried

    def _update(self) -> None:
        n, n_seen = len(self._history), self._n_seen
        self._n_seen = n
        if n_seen == n or not self.can_repeat:
            return
        values = self._history.values[n_seen:]
        can_repeat = (self._is_discrete | np.isnan(values)).all(axis=1)
        steps = self._steps(values)
        for row in np.flatnonzero(can_repeat).tolist():
            self._first_row.setdefault(_key_of(steps[row]), n_seen + row)

    def _steps(self, values: FloatArray) -> FloatArray:
        """Grid steps instead of values: 0.3 and 3 * 0.1 are one point, and so are 0.0 and -0.0."""
        return np.asarray(np.rint(values / self._q) + 0.0)

    def is_tried(self, row: FloatArray, batch: FloatArray) -> bool:
        """Whether a point was proposed before, in the history or in ``batch``."""
        if not self.can_repeat or not self._is_discrete[~np.isnan(row)].all():
            return False  # a continuous parameter never repeats
        steps = self._steps(row)
        if len(batch) and self._is_among(steps, batch):
            return True
        first = self._first_row.get(_key_of(steps))
        if first is None or self._history.kinds[first] != IGNORED:
            return first is not None
        return self._is_among(steps, self._history.values[self._history.kinds != IGNORED])

    def _is_among(self, steps: FloatArray, values: FloatArray) -> bool:
        others = self._steps(values)
        return bool(((others == steps) | (np.isnan(others) & np.isnan(steps))).all(axis=1).any())

    def is_copy(self, row: FloatArray, batch: FloatArray) -> bool:
        """Whether a point has the very numbers of one that was proposed before, continuous parameters among them."""
        history = self._history
        active = np.flatnonzero(~np.isnan(row))
        if not len(active):
            return False
        # One column first: where that is continuous, few rows are left to look at.
        column = active[np.argmin(self._is_discrete[active])]
        near = np.flatnonzero(history.values[:, column] == row[column])
        others = np.vstack([history.values[near[history.kinds[near] != IGNORED]], batch])
        return bool(((others == row) | (np.isnan(others) & np.isnan(row))).all(axis=1).any())

    def first_new(
        self, values: FloatArray, batch: FloatArray, rng: np.random.Generator, *, copies: bool = False
    ) -> FloatArray:
        """The first of ``values`` that was not tried; where all were, another point; the first if none is left.

        Args:
            values: Points, shape (m, d), the one wanted most first.
            batch: Points proposed just now, shape (b, d).
            rng: Random stream of further draws.
            copies: Whether to look at continuous parameters as well. Draws of these never repeat, but moves of earlier
                points do that leave all as it was, or end at the same bounds.
        """
        for row in values:
            if not self.is_tried(row, batch) and not (copies and self.is_copy(row, batch)):
                return np.asarray(row)
        row = self.new_draw(batch, rng)
        return np.asarray(values[0] if self.is_tried(row, batch) else row)

    def new_draw(self, batch: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A draw from the prior, shape (d,); where it was tried before, a point that was not, if one is left."""
        row = self.space.sample(rng, 1)[0]
        if not self.is_tried(row, batch):
            return np.asarray(row)
        for other in self.space.sample(rng, MAX_DRAWS):
            if not self.is_tried(other, batch):
                return np.asarray(other)
        tree = self._synced_tree()
        marks = [mark for tried in batch for mark in tree.add(tried)]
        found = tree.draw_missing(rng)
        tree.take_back(marks)
        return np.asarray(row if found is None else found)

    def in_order(self, n: int) -> FloatArray:
        """The first points in order that were not tried, shape (m, d); m is n, or less if there are not n."""
        tree = self._synced_tree()
        marks, rows = [], np.empty((n, len(self.space)))
        for m in range(n):
            row = tree.first_missing()
            if row is None:
                rows = rows[:m]
                break
            rows[m] = row
            marks += tree.add(row)
        tree.take_back(marks)
        return rows

    def _synced_tree(self) -> PointTree:
        """The tree of all rows that count; made anew when a row in it was cancelled since."""
        n_in, ignored_in = self._in_tree
        ignored = tuple(self._history.ignored_rows.tolist())
        if self._tree is None or tuple(row for row in ignored if row < n_in) != ignored_in:
            self._tree, n_in = PointTree(self.space), 0
        left_out = set(ignored)
        for row in range(n_in, len(self._history)):
            if row not in left_out:
                self._tree.add(self._history.values[row])
        self._in_tree = len(self._history), ignored
        return self._tree


def _key_of(steps: FloatArray) -> int:
    return hash(steps.tobytes())
