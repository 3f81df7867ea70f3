"""Columns over the trial documents: what the algorithms read.

A document is read when it appears and again when it ends, so that keeping the columns costs the same per trial however
long the history is. Edits of finished documents are found by checking a bounded number of them at each sync.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import InvalidTrial
from sparktune.history.documents import Document, loss_of, raw_values
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_NEW, JOB_STATE_RUNNING

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Transform: TypeAlias = Callable[[FloatArray], FloatArray]

PENDING, OK, FAILED, IGNORED = range(4)
#: Finished documents compared with their columns at each sync: all of them up to this many, then in turns.
CHECKED_PER_SYNC = 1024


class History:
    """Append-only columns of trials, for one set of labels.

    Attributes (read-only views, n rows in the order the trials were inserted):
        tids: Trial ids.
        losses: Shape (n,); NaN where the trial has no usable loss (yet).
        values: Shape (n, d), a column per label, NaN where inactive.
        kinds: Shape (n,): PENDING, OK (a loss that is a number), FAILED (an error, status fail, a NaN loss), or IGNORED
            (cancelled: says nothing of the point).

    Args:
        labels: The labels, one per column; values of other labels are not kept.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._column = {label: column for column, label in enumerate(self.labels)}
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._n = 0
        self._documents: list[Document] = []
        self._losses = np.empty(0)
        self._kinds = np.empty(0, dtype=np.int8)
        self._values = np.empty((0, len(self.labels)))
        self._derived: dict[Hashable, FloatArray] = {}
        self._open: set[int] = set()
        self._next_check = 0
        self.version = 0

    def __len__(self) -> int:
        return self._n

    @property
    def tids(self) -> list[Any]:
        """Trial ids."""
        return [document["tid"] for document in self._documents]

    @property
    def losses(self) -> FloatArray:
        """Losses, shape (n,)."""
        view: FloatArray = _read_only(self._losses[: self._n])
        return view

    @property
    def kinds(self) -> NDArray[np.int8]:
        """What became of the trials, shape (n,)."""
        view: NDArray[np.int8] = _read_only(self._kinds[: self._n])
        return view

    @property
    def values(self) -> FloatArray:
        """Values, shape (n, d)."""
        view: FloatArray = _read_only(self._values[: self._n])
        return view

    @property
    def n_finished(self) -> int:
        """Trials that ended with a loss or failed; pending and cancelled ones do not count."""
        kinds = self._kinds[: self._n]
        return int(np.count_nonzero((kinds == OK) | (kinds == FAILED)))

    def derived(self, name: Hashable, transform: Transform) -> FloatArray:
        """``transform(values)``, row by row, computed once per row and kept under ``name``."""
        known = self._derived.get(name)
        if known is None or len(known) > self._n:
            known = np.empty((0, len(self.labels)))
        if len(known) < self._n:
            # Grown by a quarter at a time, so that a row is copied a constant number of times.
            base = known.base if known.base is not None and len(known.base) >= self._n else None
            if base is None:
                base = np.empty((self._n + self._n // 4 + 16, len(self.labels)))
                base[: len(known)] = known
            base[len(known) : self._n] = transform(self._values[len(known) : self._n])
            known = self._derived[name] = base[: self._n]
        return known

    def sync(self, documents: Sequence[Document]) -> None:
        """Bring the columns up to date with ``documents``, the same list as before, possibly longer."""
        if len(documents) < self._n or (self._n and documents[self._n - 1] is not self._documents[-1]):
            self.clear()
        self._grow(len(documents))
        for row in range(self._n, len(documents)):
            self._documents.append(documents[row])
            self._n = row + 1
            self._read_values(row)
            self._open.add(row)
        for row in list(self._open):
            self._read_result(row)
        self._check_finished(documents)

    def _grow(self, n: int) -> None:
        if n > len(self._losses):
            size = n + n // 2 + 64
            self._losses = np.resize(self._losses, size) if self._n else np.full(size, np.nan)
            self._kinds = np.resize(self._kinds, size) if self._n else np.zeros(size, dtype=np.int8)
            values = np.full((size, len(self.labels)), np.nan)
            values[: self._n] = self._values[: self._n]
            self._values = values

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
        document = self._documents[row]
        kind, loss = _kind_and_loss(document)
        self._kinds[row], self._losses[row] = kind, loss
        if kind != PENDING:
            self._open.discard(row)
            self.version += 1

    def _check_finished(self, documents: Sequence[Document]) -> None:
        """Read again the finished documents that were edited or replaced, among the next few."""
        if not self._n:
            return
        start = self._next_check if self._next_check < self._n else 0
        stop = min(start + CHECKED_PER_SYNC, self._n)
        self._next_check = stop
        losses, kinds = self._losses[start:stop].tolist(), self._kinds[start:stop].tolist()
        for row, loss, kind in zip(range(start, stop), losses, kinds, strict=True):
            document = documents[row]
            if document is not self._documents[row]:
                self._documents[row] = document
                self._read_values(row)
                self._derived.clear()
                self._open.add(row)
                self._read_result(row)
            elif kind != PENDING:
                kind_now, loss_now = _kind_and_loss(document)
                if kind_now != kind or (loss_now != loss and loss_now == loss_now):
                    self._open.add(row)
                    self._read_result(row)


def _kind_and_loss(document: Document) -> tuple[int, float]:
    state = document["state"]
    if state in (JOB_STATE_NEW, JOB_STATE_RUNNING):
        return PENDING, np.nan
    if state == JOB_STATE_CANCEL:
        return IGNORED, np.nan
    loss = loss_of(document)
    return (FAILED, loss) if loss != loss else (OK, loss)


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
