"""The best rows of a history: found again among the former ones and what came in since, not among all.

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


#: Results that may come in before the best rows are looked for among all rows again, unless someone asks earlier.
MAX_UNRANKED = 1000
#: So many of the lowest losses are kept in order as results come in; who wants more has all of them looked at.
N_LOWEST = 32


class Leaders:
    """The best rows of one history, which says when a row is read.

    Args:
        history: Its columns are read at each question.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._leading: list[int] = []
        self._points_lead = False  # whether a POINT has losses
        self._unranked: list[int] | None = []  # rows read since the leading ones were found; None: look at all
        self._lowest: list[tuple[float, int]] | None = []  # losses with their rows; None: look at all

    def note(self, row: int, was: int) -> None:
        """A row was read that was of the kind ``was`` before."""
        self._note_unranked(row, was)
        self._note_lowest(row, was)

    def _note_unranked(self, row: int, was: int) -> None:
        if self._unranked is None or was == OK or len(self._unranked) >= MAX_UNRANKED:
            self._unranked = None
        else:
            self._unranked.append(row)

    def _note_lowest(self, row: int, was: int) -> None:
        if was == OK:
            self._lowest = None
        elif self._lowest is not None and self._history.kind(row) == OK and (loss := self._history.loss(row)) == loss:
            insort(self._lowest, (loss, row))
            del self._lowest[N_LOWEST:]

    def rank_all(self) -> None:
        """Look at all rows the next time: what ranks them has changed."""
        self._unranked = None

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
        leading = self._find_leading()
        return leading[0] if leading and (loss := self._history.loss(leading[0])) == loss else None

    def front(self) -> list[int]:
        """The rows that :attr:`History.front_rows` gives."""
        rows = np.unique(np.asarray(self._find_leading(), dtype=np.intp))
        rows = rows[self._history.violations[rows] <= 0]
        found: list[int] = rows[pareto.front(self._history.objectives[rows])].tolist()
        return found

    def _find_leading(self) -> list[int]:
        """The best row and the front, found among the former ones and what came in since."""
        if self._unranked != []:
            kinds = self._history.kinds
            if self._unranked is None:
                self._points_lead = False
                rows = np.flatnonzero(kinds == OK)
            else:
                rows = np.asarray(sorted({*self._leading, *self._unranked}), dtype=np.intp)
                rows = rows[kinds[rows] == OK]
            self._leading = self._leading_of(self._candidates(rows))
            self._unranked = []
        return self._leading

    def _candidates(self, rows: IntArray) -> IntArray:
        """Those of some rows with losses that may lead."""
        standings = self._history.standings[rows]
        self._points_lead = self._points_lead or bool((standings == POINT).any())
        found: IntArray = rows[standings == (POINT if self._points_lead else NO_POINT)]
        return found

    def _leading_of(self, rows: IntArray) -> list[int]:
        """First the best of these rows by violation and loss, if any has a loss; then those of their front."""
        violations, losses = self._history.violations[rows], self._history.losses[rows]
        has_loss = ~np.isnan(losses)
        leading: list[int] = rows[has_loss][np.lexsort((losses[has_loss], violations[has_loss]))[:1]].tolist()
        if self._history.n_objectives > 1:
            feasible = rows[violations <= 0]
            leading += feasible[pareto.front(self._history.objectives[feasible])].tolist()
        return leading
