"""The best rows of a history: what came in since they were asked for is compared with them, and not with all.

By the losses alone for the search, which learns from every trial; by constraints and standings too for the results.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

import numpy as np

from sparktune.history.marks import NO_POINT, POINT
from sparktune.history.reading import OK
from sparktune.kernels import pareto
from sparktune.kernels.arrays import IntArray

if TYPE_CHECKING:
    from sparktune.history.columns import History


#: Results that may come in before the leading rows are looked for among all rows again, unless someone asks earlier.
MAX_UNRANKED = 1000
#: So many of the lowest losses are kept in order as results come in; who wants more has all of them looked at.
N_LOWEST = 32


class Leaders:
    """The best rows of one history, which says when a row is read.

    The best row and the front are each found when someone asks: for a study that shows neither, there is no work.

    Args:
        history: Its columns are read at each question.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._best: int | None = None
        self._front: pareto.Front | None = None
        self._new_for_best, self._new_for_front = _Unranked(history), _Unranked(history)
        self._lowest: list[tuple[float, int]] | None = []  # losses with their rows; None: look at all

    def note(self, row: int, was: int) -> None:
        """A row was read that was of the kind ``was`` before."""
        self._new_for_best.note(row, was)
        self._new_for_front.note(row, was)
        self._note_lowest(row, was)

    def _note_lowest(self, row: int, was: int) -> None:
        if was == OK:
            self._lowest = None
        elif self._lowest is not None and self._history.kind(row) == OK and (loss := self._history.loss(row)) == loss:
            insort(self._lowest, (loss, row))
            del self._lowest[N_LOWEST:]

    def rank_all(self) -> None:
        """Look at all rows the next time: what ranks them has changed."""
        self._new_for_best.forget()
        self._new_for_front.forget()

    # -- by loss alone --------------------------------------------------------------------------------------------

    def lowest(self, n: int) -> IntArray:
        """The rows of the n lowest scalar losses, the lowest first, of equals the first; fewer if there are not n."""
        if n > N_LOWEST:
            return self._find_lowest(n)
        if self._lowest is None:
            self._lowest = [(self._history.loss(row), row) for row in self._find_lowest(N_LOWEST).tolist()]
        return np.array([row for _, row in self._lowest[:n]], dtype=np.intp)

    def _find_lowest(self, n: int) -> IntArray:
        all_losses = self._history.losses
        rows = np.flatnonzero((self._history.kinds == OK) & ~np.isnan(all_losses))
        losses = all_losses[rows]
        if 0 < n < len(rows):
            # Partition first, so that the sort is of the few.
            near = losses <= np.partition(losses, n - 1)[n - 1]
            rows, losses = rows[near], losses[near]
        found: IntArray = rows[np.argsort(losses, kind="stable")[:n]]
        return found

    # -- in the results -------------------------------------------------------------------------------------------

    def best(self) -> int | None:
        """The row that :attr:`History.best_row` gives."""
        rows, is_anew = self._new_for_best.take()
        if is_anew:
            self._best = None
        if len(rows):
            self._best = self._best_of(rows if self._best is None else np.append(rows, self._best))
        return self._best

    def _best_of(self, rows: IntArray) -> int | None:
        """The best of these rows by violation and loss, of equals the first; None if none has a loss."""
        rows = rows[~np.isnan(self._history.losses[rows])]
        order = np.lexsort((rows, self._history.losses[rows], self._history.violations[rows]))
        return int(rows[order[0]]) if len(rows) else None

    def front(self) -> list[int]:
        """The rows that :attr:`History.front_rows` gives."""
        if self._history.n_objectives == 1:
            best = self.best()
            return [best] if best is not None and self._history.is_feasible(best) else []
        rows, is_anew = self._new_for_front.take()
        rows = rows[self._history.violations[rows] <= 0]
        objectives = self._history.objectives[rows]
        if is_anew or self._front is None:
            self._front = pareto.Front(objectives, rows)
        else:
            for row, losses in zip(rows.tolist(), objectives, strict=True):
                self._front.add(losses, row)
        return list(self._front.ids)


class _Unranked:
    """The rows of one history that were read since they were taken last, of which some may lead.

    Args:
        history: Its columns are read when rows are taken.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._rows: list[int] | None = []  # None: all that there are
        self._points_lead = False  # whether a POINT has losses

    def note(self, row: int, was: int) -> None:
        """A row was read that was of the kind ``was`` before."""
        if self._rows is None or was == OK or len(self._rows) >= MAX_UNRANKED:
            self._rows = None
        else:
            self._rows.append(row)

    def forget(self) -> None:
        """Give all rows the next time."""
        self._rows = None

    def take(self) -> tuple[IntArray, bool]:
        """The rows that may lead, ascending; and whether that is anew, as those that led before do so no more."""
        if self._rows == []:
            return np.empty(0, dtype=np.intp), False
        is_anew = self._rows is None
        rows = np.arange(len(self._history)) if self._rows is None else np.unique(self._rows)
        rows = rows[self._history.kinds_of(rows) == OK]
        self._rows = []
        standings = self._history.standings[rows]
        has_point = bool((standings == POINT).any())
        if is_anew:
            self._points_lead = has_point
        elif has_point and not self._points_lead:
            self._points_lead = is_anew = True  # there was no POINT before, so that all that may lead are here
        return rows[standings == (POINT if self._points_lead else NO_POINT)], is_anew
