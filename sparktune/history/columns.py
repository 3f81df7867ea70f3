"""Columns over the trial documents: what the algorithms read.

A document is read when it appears and again when it ends, so that keeping the columns costs the same per trial however
long the history is. Edits of finished documents are found by checking a bounded number of them at each sync.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import InvalidTrial
from sparktune.history.documents import Document, losses_of, raw_values
from sparktune.history.leaders import Leaders
from sparktune.history.marks import BORROWED, POINT, borrowed_from, standing_of
from sparktune.history.proposals import record_of
from sparktune.history.reading import FAILED, IGNORED, OK, PENDING, is_alike, reading_of, result_of
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_OK
from sparktune.kernels.arrays import FloatArray, IntArray

S = TypeVar("S", bound=np.generic)

#: Finished documents compared with their columns at each sync: all of them up to this many, then in turns.
CHECKED_PER_SYNC = 32
#: Stands for what a result was that nobody has read yet.
_UNREAD = object()


class History:
    """Append-only columns of trials, for one set of labels.

    How many losses and constraints there are, the first results of this study say; until there is one, the first of a
    warm start. Once there is one, those of a warm start are read again if they are of another kind.

    Attributes (read-only views, n rows in the order the trials were inserted):
        tids: Trial ids.
        losses: Shape (n,); NaN where the trial has no usable loss (yet), and where it has several and no scalar one.
        objectives: Shape (n, m): the ``losses`` of a trial, or its one loss; NaN where there is none.
        constraints: Shape (n, c); NaN where missing. c is 0 where no trial has any, or none of this study.
        violations: Shape (n,): total violation of the constraints, infinite where a finished trial does not say.
        values: Shape (n, d), a column per label, NaN where inactive.
        standings: Shape (n,): POINT, NO_POINT or BORROWED, see :mod:`sparktune.history.marks`.
        kinds: Shape (n,): PENDING, OK (losses that are numbers), FAILED (an error, status fail, a NaN loss, another
            number of losses than the first trial), or IGNORED (cancelled, or of a warm start and there already or with
            another number of losses or constraints: says nothing of the point).

    Other attributes:
        memo: Where algorithms keep what they computed from the values of the first rows; emptied when those change.

    Args:
        labels: The labels, one per column; values of other labels are not kept.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._column = {label: column for column, label in enumerate(self.labels)}
        self.memo: dict[Hashable, Any] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._n = 0
        self._documents: list[Document] = []
        self._read: list[Any] = []  # what the result of each row was when it was read, see reading_of
        self._losses = np.empty(0)
        self._kinds = np.empty(0, dtype=np.int8)
        self._values = np.empty((0, len(self.labels)))
        self._standings: NDArray[np.int8] | None = None  # kept where some trial is no point of this study
        self._forget_results()
        self.memo.clear()
        self._next_check = 0

    def _forget_results(self) -> None:
        """Have all rows pending, and their results to be read."""
        self._kinds[: self._n], self._losses[: self._n] = PENDING, np.nan
        self._counts = [0, 0, 0, 0]
        self._counts[PENDING] = self._n
        self._open, self._ignored = set(range(self._n)), set[int]()
        self._n_objectives = 0  # 0 until a trial says
        self._objectives: FloatArray | None = None  # kept where there are several
        self._constraints: FloatArray | None = None
        self._violations: FloatArray | None = None
        self._has_own = False  # whether a trial of this study says how many losses and constraints there are
        self._n_own_ok = 0
        self._borrowed_rows: dict[Hashable, int] = {}  # of each trial of a warm start the first, by its key
        self._is_stale = False  # whether results were read as they are not to be read any more
        self._leaders = Leaders(self)

    def __len__(self) -> int:
        return self._n

    @property
    def tids(self) -> list[Any]:
        """Trial ids."""
        return [document["tid"] for document in self._documents]

    @property
    def documents(self) -> list[Document]:
        """The documents themselves; not to be changed."""
        return self._documents

    @property
    def losses(self) -> FloatArray:
        """Scalar losses, shape (n,)."""
        return _read_only(self._losses[: self._n])

    @property
    def n_objectives(self) -> int:
        """How many losses each trial has; 1 as long as none has any."""
        return max(1, self._n_objectives)

    @property
    def numbers(self) -> tuple[int, int] | None:
        """How many losses and constraints a result of this study has; None until there is one that is not borrowed."""
        return (self.n_objectives, self.n_constraints) if self._has_own else None

    @property
    def objectives(self) -> FloatArray:
        """All losses, shape (n, m)."""
        if self._objectives is None:
            return _read_only(self._losses[: self._n, None])
        return _read_only(self._objectives[: self._n])

    @property
    def n_constraints(self) -> int:
        """How many constraints the trials have."""
        return 0 if self._constraints is None else self._constraints.shape[1]

    @property
    def constraints(self) -> FloatArray:
        """Constraints, shape (n, c); at most 0 where they are met."""
        return _read_only(np.empty((self._n, 0)) if self._constraints is None else self._constraints[: self._n])

    @property
    def violations(self) -> FloatArray:
        """By how much the constraints are exceeded in all, shape (n,)."""
        if self._violations is None:
            return np.broadcast_to(np.zeros(1), self._n)
        return _read_only(self._violations[: self._n])

    @property
    def kinds(self) -> NDArray[np.int8]:
        """What became of the trials, shape (n,)."""
        return _read_only(self._kinds[: self._n])

    def kinds_of(self, rows: IntArray) -> NDArray[np.int8]:
        """What became of some trials, shape (len(rows),)."""
        return self._kinds[rows]

    @property
    def standings(self) -> NDArray[np.int8]:
        """What the trials may be in the results, shape (n,)."""
        if self._standings is None:
            return np.broadcast_to(np.int8(POINT), self._n)
        return _read_only(self._standings[: self._n])

    @property
    def values(self) -> FloatArray:
        """Values, shape (n, d)."""
        return _read_only(self._values[: self._n])

    @property
    def n_finished(self) -> int:
        """Trials that ended with a loss or failed; pending and cancelled ones do not count."""
        return self._counts[OK] + self._counts[FAILED]

    @property
    def n_own_finished(self) -> int:
        """Of the finished trials, those of this study."""
        if self._standings is None:
            return self.n_finished
        is_finished = (self.kinds == OK) | (self.kinds == FAILED)
        return int(np.count_nonzero(is_finished & (self.standings != BORROWED)))

    @property
    def ignored_rows(self) -> IntArray:
        """The rows of trials that say nothing, ascending."""
        return np.array(sorted(self._ignored), dtype=np.intp)

    def newest_rows(self, n: int) -> IntArray:
        """The rows of the n finished trials that were inserted last, ascending; fewer if there are not n."""
        start = max(0, self._n - n - len(self._open) - len(self._ignored))
        kinds = self._kinds[start : self._n]
        found = start + np.flatnonzero((kinds == OK) | (kinds == FAILED))
        return found[max(0, len(found) - n) :]

    @property
    def running_rows(self) -> IntArray:
        """The rows of the trials without a result, ascending."""
        return np.array(sorted(self._open), dtype=np.intp)

    @property
    def running_tids(self) -> list[Any]:
        """Ids of the trials without a result, in the order they were inserted."""
        return [self._documents[row]["tid"] for row in sorted(self._open)]

    @property
    def open_documents(self) -> list[Document]:
        """The documents of the trials without a result, in the order they were inserted."""
        return [self._documents[row] for row in sorted(self._open)]

    def record(self, algo: str, seed: Any, n_startup: float = 0) -> dict[str, Any]:
        """What a proposal that is made now sees: see :func:`~sparktune.history.proposals.record_of`."""
        return record_of(algo, seed, n_startup, self._n, self.running_tids)

    @property
    def n_ok(self) -> int:
        """Trials that ended with a loss."""
        return self._counts[OK]

    def sync(self, documents: Sequence[Document]) -> None:
        """Bring the columns up to date with ``documents``, the same list as before, possibly longer."""
        if len(documents) < self._n or (self._n and documents[self._n - 1] is not self._documents[-1]):
            self.clear()
        n_known = self._n
        for row in sorted(self._open):
            document = self._documents[row]
            if document["state"] != JOB_STATE_RUNNING and result_of(document)[0] != PENDING:
                self._read_result(row)
        self._grow(len(documents))
        for row in range(n_known, len(documents)):
            self._append(row, documents[row])
        start, stop = self._next_check, min(self._next_check + CHECKED_PER_SYNC, n_known)
        self._next_check = stop if stop < n_known else 0
        self._check_finished(documents, start, stop)
        self._settle()

    def check_all(self) -> None:
        """Find edits of all finished documents; :meth:`sync` looks at some at a time."""
        self._check_finished(self._documents, 0, self._n)
        self._settle()

    def _grow(self, n: int) -> None:
        if n > len(self._losses):
            size = n + n // 20 + 64  # with 50 labels, 430 bytes a trial at most
            self._losses = _grown(self._losses, size)
            self._kinds = _grown(self._kinds, size)
            self._values = _grown(self._values, size)
            for name in ("_objectives", "_constraints", "_violations", "_standings"):
                if getattr(self, name) is not None:
                    setattr(self, name, _grown(getattr(self, name), size))

    def _append(self, row: int, document: Document) -> None:
        self._documents.append(document)
        self._read.append(_UNREAD)
        self._n = row + 1
        self._read_standing(row)
        self._kinds[row], self._losses[row] = PENDING, np.nan
        self._write_objectives(row, ())
        self._write_constraints(row, PENDING, ())
        self._counts[PENDING] += 1
        self._read_values(row)
        self._read_result(row)

    def _read_standing(self, row: int) -> None:
        standing = standing_of(self._documents[row])
        if standing != POINT and self._standings is None:
            self._standings = np.full(len(self._losses), POINT, dtype=np.int8)
        if self._standings is not None:
            self._standings[row] = standing

    def _is_own(self, row: int) -> bool:
        return self._standings is None or int(self._standings[row]) != BORROWED

    def _read_values(self, row: int) -> None:
        self._values[row] = np.nan
        for label, value in raw_values(self._documents[row]).items():
            column = self._column.get(label)
            if column is not None and value is not None:
                try:
                    self._values[row, column] = value
                except (TypeError, ValueError):
                    document = self._documents[row]
                    raise InvalidTrial(
                        f"values in a document's vals are numbers (of a choice, the option's index), got {value!r} for "
                        f"{label!r} in trial {document['tid']!r}",
                        document,
                    ) from None

    def _read_result(self, row: int) -> None:
        document, is_own = self._documents[row], self._is_own(row)
        kind, loss, losses, constraints = result_of(document)
        was = int(self._kinds[row])
        if not is_own and self._is_second(row):
            kind, loss, losses = IGNORED, np.nan, ()
        elif kind == OK and (kind := self._kind_among_others(is_own, losses, constraints)) != OK:
            loss, losses = np.nan, ()
        if kind == PENDING:
            self._open.add(row)
            if was == PENDING:
                return
        else:
            self._open.discard(row)
        if kind == IGNORED:
            self._ignored.add(row)
        else:
            self._ignored.discard(row)
        self._counts[was] -= 1
        self._counts[kind] += 1
        if is_own:
            self._n_own_ok += (kind == OK) - (was == OK)
            self._is_stale |= was == OK and not self._n_own_ok  # no trial of this study says any more
        self._kinds[row], self._losses[row] = kind, loss
        self._write_objectives(row, losses)
        if self._constraints is None and kind == OK and constraints and (is_own or not self._has_own):
            self._begin_constraints(len(constraints))
        self._write_constraints(row, kind, constraints)
        self._leaders.note(row, was)
        self._read[row] = reading_of(document)

    def _is_second(self, row: int) -> bool:
        """Whether a borrowed trial is there already: drivers that begin at the same time each bring it."""
        key = (borrowed_from(self._documents[row]) or {}).get("key")
        return key is not None and self._borrowed_rows.setdefault(key, row) != row

    def _kind_among_others(self, is_own: bool, losses: tuple[float, ...], constraints: tuple[float, ...]) -> int:
        """What a trial with losses is beside the others; the first says how many losses and constraints there are."""
        self._n_objectives = self._n_objectives or len(losses)
        if is_own and not self._has_own:
            self._has_own = True
            is_as_known = (len(losses), len(constraints)) == (self._n_objectives, self.n_constraints)
            self._is_stale |= self._standings is not None and not is_as_known
        if is_own:
            return OK if len(losses) == self._n_objectives else FAILED
        return OK if is_alike(losses, constraints, self._n_objectives, self.n_constraints) else IGNORED

    def _write_objectives(self, row: int, losses: tuple[float, ...]) -> None:
        if self._objectives is None and self._n_objectives > 1:
            self._objectives = np.full((len(self._losses), self._n_objectives), np.nan)
        if self._objectives is not None:
            self._objectives[row] = losses or np.nan

    def _begin_constraints(self, n: int) -> None:
        """Have n constraints, which the trials so far do not have: of borrowed ones they were not read."""
        self._constraints = np.full((len(self._losses), n), np.nan)
        self._violations = np.where((self._kinds == OK) | (self._kinds == FAILED), np.inf, 0.0)
        self._leaders.rank_all()
        self._is_stale |= self._has_own and self._standings is not None

    def _write_constraints(self, row: int, kind: int, constraints: tuple[float, ...]) -> None:
        if self._constraints is not None and self._violations is not None:
            is_given = kind == OK and len(constraints) == self.n_constraints
            self._constraints[row] = constraints if is_given else np.nan
            with np.errstate(over="ignore"):  # the sum of huge ones is infinite, as it should be
                exceeded = np.maximum(0.0, self._constraints[row]).sum()
            is_unknown = kind in (OK, FAILED) and exceeded != exceeded
            self._violations[row] = np.inf if is_unknown else np.nan_to_num(exceeded, posinf=np.inf)

    def _check_finished(self, documents: Sequence[Document], start: int, stop: int) -> None:
        """Read again the finished documents that were edited or replaced, among those from start to stop."""
        for row, document, known, read in zip(
            range(start, stop), documents[start:stop], self._documents[start:stop], self._read[start:stop], strict=True
        ):
            result = document["result"]
            # What nearly all documents are, looked at in place: this runs several times per trial.
            if (
                document is known
                and result.get("loss") is read
                and document["state"] == JOB_STATE_DONE
                and result.get("status") == STATUS_OK
                and (len(result) == 2 or ("losses" not in result and "constraints" not in result))
            ):
                continue
            if document is not known:
                self._replace(row, document)
            elif read is not _UNREAD and (now := reading_of(document)) is not read and now != read:
                if self._n_objectives != (len(losses_of(document)) or self._n_objectives):
                    # Another kind of study: its first trial says how many losses there are.
                    self.clear()
                    self.sync(documents)
                    return
                self._read_result(row)

    def _settle(self) -> None:
        """Read the results again if they are to be read in another way: this study's first, which say how."""
        if self._is_stale:
            self._forget_results()
            for row in np.argsort(self.standings == BORROWED, kind="stable").tolist():
                self._read_result(row)
            self._is_stale = False

    def _replace(self, row: int, document: Document) -> None:
        was_own = self._is_own(row)
        self._documents[row] = document
        self._read_standing(row)
        self._is_stale |= self._is_own(row) != was_own
        self._read_values(row)
        self.memo.clear()
        self._read_result(row)

    # -- the best rows --------------------------------------------------------------------------------------------

    def lowest_rows(self, n: int) -> IntArray:
        """The rows of the n lowest scalar losses, the lowest first, of equals the first; fewer if there are not n."""
        return self._leaders.lowest(n)

    @property
    def best_row(self) -> int | None:
        """The row with the lowest loss, the first of equals, of those that violate the constraints least; or None.

        Of this study's trials: those that are no points of its space count if no point has losses.
        """
        if self._violations is None and self._standings is None:
            lowest = self._leaders.lowest(1)
            return int(lowest[0]) if len(lowest) else None
        return self._leaders.best()

    @property
    def front_rows(self) -> list[int]:
        """The rows that meet the constraints and that no other such row dominates, by their first loss.

        Of rows with the same losses, the first. With one loss, that is the best row. The trials are those of
        :attr:`best_row`.
        """
        return self._leaders.front()

    def is_feasible(self, row: int) -> bool:
        """Whether a trial meets the constraints, as far as it has any."""
        return self._violations is None or bool(self._violations[row] <= 0)

    def loss(self, row: int) -> float:
        """The scalar loss of one row."""
        return float(self._losses[row])

    def kind(self, row: int) -> int:
        """What became of one trial."""
        return int(self._kinds[row])


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """A longer array that begins with ``array``; the rest is to be written before it is read."""
    grown = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown


def _read_only(array: NDArray[S]) -> NDArray[S]:
    view: NDArray[S] = array.view()
    view.flags.writeable = False
    return view
