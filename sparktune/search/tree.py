"""The points of a space as a tree: which of them were added, and one that was not.

A path from the root gives a value to one active parameter after another; where it ends is one point, so points that
differ in inactive parameters only are the same. Only paths that were added are kept, and for each node the values below
which nothing is missing: finding a point that is missing costs one walk, however large the space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sparktune.kernels.arrays import FloatArray
from sparktune.space.compile import Space
from sparktune.space.distributions import (
    Categorical,
    Distribution,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
)

#: Draws from the prior for a value below which something is missing; then any such value.
N_DRAWS = 8
#: Walks that may end where an infinite grid has no likely value left.
N_WALKS = 8


class Values:
    """The possible values of a discrete parameter, by number: 0, 1, 2, ...; on infinite grids also negative ones.

    Attributes:
        count: How many there are; may be infinite.
    """

    def __init__(self, distribution: Distribution) -> None:
        self._options: list[int] | None = None
        self._first, self._q = 0, 1.0
        self._low, self._high = distribution.bounds
        self.count: float = math.inf
        match distribution:
            case Categorical(p):
                self._options = [option for option, probability in enumerate(p) if probability > 0]
                self.count = len(self._options)
            case RandInt(low, high):
                self._first, self.count = int(low), int(high - low)
            case QUniform(q=q) | QLogUniform(q=q):
                self._first, last = distribution.grid
                self._q, self.count = float(q), last - self._first + 1
            case QNormal(q=q) | QLogNormal(q=q):
                self._q = float(q)

    def value(self, number: int) -> float:
        """The value with this number."""
        if self._options is not None:
            return float(self._options[number])
        return min(max((self._first + number) * self._q, self._low), self._high) + 0.0

    def number(self, value: float) -> int | None:
        """The number of a value; None if it is not possible."""
        if not math.isfinite(value):
            return None
        if self._options is not None:
            return self._options.index(int(value)) if value in self._options else None
        number = round(value / self._q) - self._first
        is_known = math.isinf(self.count) or 0 <= number < self.count
        return number if is_known and math.isclose(self.value(number), value, rel_tol=1e-9, abs_tol=1e-9) else None


def values_of(distribution: Distribution) -> Values | None:
    """The values of a discrete parameter; None for a continuous one."""
    is_discrete = isinstance(distribution, Categorical | RandInt) or hasattr(distribution, "q")
    return Values(distribution) if is_discrete else None


def next_active(space: Space, row: FloatArray) -> int | None:
    """The first column without a value, NaN, that is known to be active by the values there are; None if there is none.

    Args:
        space: The compiled space.
        row: Values, shape (d,).
    """
    return next((c for c in range(len(space)) if np.isnan(row[c]) and space.is_reached(c, row)), None)


@dataclass(slots=True)
class _Node:
    """What follows after some values.

    Attributes:
        column: The parameter that comes next; None where the point is complete.
        values: Its values; None if it is continuous: there is always something missing below.
        children: By number of the value.
        full: Numbers of the values below which nothing is missing.
    """

    column: int | None
    values: Values | None
    children: dict[int, _Node] = field(default_factory=dict)
    full: set[int] = field(default_factory=set)

    def lowest(self) -> int:
        """The lowest number below which something is missing."""
        return next(number for number in range(len(self.full) + 1) if number not in self.full)

    def drawn(self, distribution: Distribution, rng: np.random.Generator) -> int | None:
        """A number below which something is missing; None if an infinite grid has no likely one."""
        assert self.values is not None
        for value in distribution.sample(rng, N_DRAWS).tolist():
            number = self.values.number(value)
            if number is not None and number not in self.full:
                return number
        if math.isinf(self.values.count):
            return None
        chosen = int(rng.integers(int(self.values.count) - len(self.full)))
        for number in sorted(self.full):
            if number > chosen:
                break
            chosen += 1
        return chosen


class PointTree:
    """Points of a space that were added, and what is missing.

    Args:
        space: The compiled space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._values = [values_of(parameter.distribution) for parameter in space.parameters]
        # Above the root, so that the root itself can be full, in a space without parameters as well.
        self._top = _Node(None, None, {0: self._follow(np.full(len(space), np.nan))})

    @property
    def is_full(self) -> bool:
        """Whether every point of the space was added."""
        return 0 in self._top.full

    def add(self, row: FloatArray) -> list[tuple[set[int], int]]:
        """Add a point, shape (d,); what is not a point of the space, or one of continuously many, changes nothing.

        Returns:
            What :meth:`take_back` takes to undo it.
        """
        at, node, path = np.full(len(self._space), np.nan), self._top.children[0], [(self._top, 0)]
        while node.column is not None:
            number = None if node.values is None else node.values.number(row[node.column])
            if number is None:
                return []
            path.append((node, number))
            at[node.column] = row[node.column]
            if number not in node.children:
                node.children[number] = self._follow(at)
            node = node.children[number]
        marks = []
        for node, number in reversed(path):
            if number in node.full:
                break
            node.full.add(number)
            marks.append((node.full, number))
            if node.values is None or len(node.full) < node.values.count:
                break
        return marks

    def take_back(self, marks: list[tuple[set[int], int]]) -> None:
        """Undo the last :meth:`add` that is not undone yet."""
        for full, number in marks:
            full.discard(number)

    def first_missing(self) -> FloatArray | None:
        """The first point in order that was not added, shape (d,); None if all were. For finite spaces."""
        return None if self.is_full else self._walk(None)

    def draw_missing(self, rng: np.random.Generator) -> FloatArray | None:
        """A point that was not added, values drawn from the prior where they can be, shape (d,); None if none is left.

        Of an infinite grid only likely values are looked at.
        """
        for _ in range(0 if self.is_full else N_WALKS):
            row = self._walk(rng)
            if row is not None:
                return row
        return None

    def _walk(self, rng: np.random.Generator | None) -> FloatArray | None:
        row, node = np.full(len(self._space), np.nan), self._top.children[0]
        while node.column is not None:
            distribution = self._space.parameters[node.column].distribution
            if node.values is None:
                assert rng is not None
                return self._completed(row, rng)
            number = node.lowest() if rng is None else node.drawn(distribution, rng)
            if number is None:
                return None
            row[node.column] = node.values.value(number)
            # Not kept: a walk adds nothing.
            node = node.children.get(number) or self._follow(row)
        return row

    def _completed(self, row: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A point with these values and, of what else is active, draws from the prior: no two are the same."""
        drawn = [parameter.distribution.sample(rng) for parameter in self._space.parameters]
        return np.asarray(self._space.mask(np.where(np.isnan(row), drawn, row)[None])[0])

    def _follow(self, row: FloatArray) -> _Node:
        """The node after some values, NaN where there is none yet."""
        column = next_active(self._space, row)
        return _Node(column, None if column is None else self._values[column])
