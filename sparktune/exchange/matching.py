"""Earlier trials in the terms of another space: which of their values are possible there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sparktune.exchange.options import Option, alike, as_json, equal_to, looks_of, matching, meant
from sparktune.exchange.source import Row, Source
from sparktune.space.choices import is_nan, native, value_nodes
from sparktune.space.compile import Parameter, Space
from sparktune.space.distributions import Categorical, LogNormal, LogUniform
from sparktune.space.limits import lowest_lognormal

REMOVED = "not in this space"
OUT_OF_BOUNDS = "out of bounds"
NO_NUMBER = "not a number"
NO_OPTION = "an option that is not here"
NOT_ACTIVE = "in an option that was not chosen"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a trial is in a space.

    Attributes:
        raw: Value by label, as documents have them.
        left_out: Values that the space has no place for.
        is_point: Whether the values are a whole point of the space.
        is_outside: Whether one of its values is not possible there, or none has a place. Nothing is to be learned from
            such a trial: its loss would be taken for that of points which are possible, and misleads
            (docs/warm_start.md).
    """

    raw: dict[str, Any]
    left_out: dict[str, Any]
    is_point: bool
    is_outside: bool


class _LeftOut(Exception):
    """A value has no place in the space; the message says why."""


class _Outside(_LeftOut):
    """A value is not possible in the space."""


class Matcher:
    """Reads the rows of one source for a space, and counts what it did.

    Args:
        space: The space.
        source: The source.
    """

    def __init__(self, space: Space, source: Source) -> None:
        self._source = source
        self._space = space
        self._terms = _ByLabel(space)
        self._old: dict[int, _ByLabel] = {}
        self._matches: dict[tuple[int, int], Option | None] = {}
        self._n_used: Counter[str] = Counter()
        self._n_left_out: Counter[tuple[str, str]] = Counter()
        self._n_outside: Counter[tuple[str, str]] = Counter()
        self._doubtful: set[str] = set()  # choices read by number, though some of the numbers are options as well

    def fitted(self, rows: Sequence[Row]) -> list[Fitted]:
        """What the rows are in the space."""
        read = [self._read(row) for row in rows]
        filled = np.array([self._space.row(raw) for raw, _, _ in read]).reshape(len(read), len(self._space))
        has_value = ~np.isnan(filled)
        is_point = (has_value | ~self._space.activity(filled)).all(axis=1)
        return [
            Fitted(raw, left_out, bool(point) and not is_outside, is_outside)
            for (raw, left_out, is_outside), point in zip(read, is_point, strict=True)
        ]

    @property
    def has_loss(self) -> bool:
        """Whether a trial or a value was left out or may be misread, or there was none to use."""
        return bool(self._n_left_out or self._n_outside or self._doubtful) or not self._n_used

    def summary(self) -> str:
        """In one line, which labels were matched, and what was left out and why."""
        used = [label for label in self._space.labels if self._n_used[label]]
        parts = [
            ("labels matched", used or ["none"]),
            ("without a value", [label for label in self._space.labels if not self._n_used[label]]),
            ("read as numbers of options (choices='value' if they are options)", sorted(self._doubtful)),
            ("left out", [f"{label} ({reason})" for label, reason in sorted(self._n_left_out)]),
            ("trials left out", [f"{n} with {label} {why}" for (label, why), n in sorted(self._n_outside.items())]),
        ]
        return "; ".join(f"{what}: {', '.join(which)}" for what, which in parts if which)

    def _read(self, row: Row) -> tuple[dict[str, Any], dict[str, Any], bool]:
        raw: dict[str, Any] = {}
        left_out: dict[str, Any] = {}
        given = {label: value for label, value in row.values.items() if not self._is_empty(label, value)}
        reasons: list[tuple[str, str]] = []
        for label, value in given.items():
            try:
                raw[label] = self._raw(label, value, row, given.keys())
            except _Outside as reason:
                self._n_outside[label, str(reason)] += 1
                return {}, {}, True
            except _LeftOut as reason:
                left_out[label] = native(value)
                reasons.append((label, str(reason)))
        raw.update(self._none_options(row, given))
        for label in [label for label in raw if not self._may_be_active(label, raw)]:
            if label in given:
                left_out[label] = native(given[label])
                reasons.append((label, NOT_ACTIVE))
            del raw[label]
        if not raw and self._space.labels:
            self._n_outside["no label", "of this space"] += 1
            return {}, {}, True
        raw = {label: raw[label] for label in self._space.labels if label in raw}
        self._n_used.update(raw.keys())
        self._n_left_out.update(reasons)
        return raw, left_out, False

    def _none_options(self, row: Row, given: Mapping[str, Any]) -> dict[str, int]:
        """The option None, or else NaN, of choices whose cell has nothing in it: tables know no other None."""
        if self._source.choices == "index":
            return {}
        empty = [label for label in row.values if label not in given and label in self._terms.options]
        options = {label: self._terms.options[label] for label in empty}
        found = {label: equal_to(None, known) or equal_to(math.nan, known) for label, known in options.items()}
        return {label: option.index for label, option in found.items() if option is not None}

    def _is_empty(self, label: str, value: Any) -> bool:
        """Whether there is no value. Text may be that of an option, and look as NaN does in a table."""
        if self._source.has_none:
            return False
        if not (self._source.is_text and is_nan_text(value)):
            return is_missing(value)
        options = [option.value for option in self._terms.options.get(label, ()) if not option.labels]
        return not any(value.strip() in (str(option), as_json(option)) for option in options)

    def _may_be_active(self, label: str, raw: Mapping[str, Any]) -> bool:
        """Whether no value that is known says that a parameter is inactive."""
        return any(
            all(
                not isinstance(selector, int) or raw.get(self._space.labels[selector], option) == option
                for selector, option in way
            )
            for way in self._terms.parameter(label).conditions
        )

    # -- one value ----------------------------------------------------------------------------------------------------

    def _raw(self, label: str, value: Any, row: Row, known: Any) -> Any:
        if label not in self._space.index:
            raise _LeftOut(REMOVED)
        options = self._terms.options.get(label)
        old = self._old_terms(row)
        if self._source.choices == "index" and old is not None and label in old.options:
            meant = _at(old.options[label], value)
            if meant is None:
                raise _Outside(NO_OPTION)
            if options is None:
                return _number(meant.value, self._terms.parameter(label))
            return _possible(self._matched(meant, old.options[label], options))
        if options is None:
            if label in self._source.by_index:
                raise _Outside(NO_NUMBER)  # nor is it known of which options it is the number
            return _number(value, self._terms.parameter(label))
        is_number = old is not None and label in old.labels  # what was a number is now a choice
        if label in self._by_index or (self._source.choices == "index" and not is_number):
            return _possible(self._numbered(label, value, options))
        return _possible(self._meant(value, known, options))

    def _matched(self, meant: Option, others: Sequence[Option], options: Sequence[Option]) -> Option | None:
        """The option that one of an older space is here; found once for each."""
        key = id(meant), id(options)
        if key not in self._matches:
            found = equal_to(meant.value, options) or alike(meant, others, options)
            self._matches[key] = found or matching(meant.value, meant.labels, options)
        return self._matches[key]

    def _numbered(self, label: str, value: Any, options: Sequence[Option]) -> Option | None:
        """The option with this number; None if there is none, or it is another one than where the number is from."""
        option, before = _at(options, value), self._source.by_index.get(label)
        if option is None or before is None:
            return option
        return option if looks_of([option]) == [*before[option.index : option.index + 1]] else None

    def _meant(self, value: Any, known: Any, options: Sequence[Option]) -> Option | None:
        return meant(value, known, options, is_text=self._source.is_text)

    @cached_property
    def _by_index(self) -> set[str]:
        """Choices whose values are the options' numbers: as the source says, or as no other reading fits a column."""
        found = set(self._source.by_index)
        if self._source.choices == "either":
            found.update(label for label, options in self._terms.options.items() if self._is_by_index(label, options))
        return found

    def _is_by_index(self, label: str, options: Sequence[Option]) -> bool:
        rows = [row for row in self._source.rows if not self._is_empty(label, row.values.get(label))]
        is_option = [self._meant(row.values[label], row.values.keys(), options) is not None for row in rows]
        if all(is_option) or any(_at(options, row.values[label]) is None for row in rows):
            return False
        if any(is_option):
            self._doubtful.add(label)
        return True

    def _old_terms(self, row: Row) -> _ByLabel | None:
        if row.space is None:
            return None
        known = self._old.get(id(row.space))
        if known is None:
            known = self._old[id(row.space)] = _ByLabel(row.space)
        return known


class _ByLabel:
    """A space by label: its parameters, and the options of those that are choices."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.labels = frozenset(space.labels)
        self.options: dict[str, list[Option]] = {}
        for label, node in value_nodes(space).items():
            distribution = self.parameter(label).distribution
            if node.name == "switch":
                weights = distribution.p if isinstance(distribution, Categorical) else None
                self.options[label] = Option.all_of(node, weights)

    def parameter(self, label: str) -> Parameter:
        return self._space.parameters[self._space.index[label]]


def is_missing(value: Any) -> bool:
    """Whether there is no value: None or NaN, which is what tables have in empty cells."""
    return value is None or is_nan(value)


def is_nan_text(value: Any) -> bool:
    """Whether a value is text that stands for NaN in a table."""
    return isinstance(value, str) and value.strip().lower() == "nan"


def _at(options: Sequence[Option], value: Any) -> Option | None:
    """The option with this number; None if there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return options[int(number)] if number.is_integer() and 0 <= number < len(options) else None


def _possible(option: Option | None) -> int:
    if option is None or not option.is_possible:
        raise _Outside(NO_OPTION)
    return option.index


def _number(value: Any, parameter: Parameter) -> Any:
    """A value of a parameter that is no choice: the nearest on its grid, if it has one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _Outside(NO_NUMBER) from None
    distribution = parameter.distribution
    low, high = distribution.bounds
    q = 1.0 if parameter.is_integer else getattr(distribution, "q", None)
    # Half a cell beyond a grid's end is that end; hyperopt's draws go so far.
    slack = 0.5 * q * (1 + 1e-9) if q else 1e-9 * max(abs(low), abs(high)) if math.isfinite(high - low) else 0.0
    is_inside = low - slack <= number <= high + slack and math.isfinite(number)
    if not is_inside or (isinstance(distribution, LogUniform | LogNormal) and not _may_be_drawn(number, distribution)):
        raise _Outside(OUT_OF_BOUNDS)
    nearest = min(max(round(number / q) * q if q else number, low), high)
    if math.isclose(nearest, number, rel_tol=1e-9, abs_tol=1e-12):
        nearest = number  # 0.3 and 3 * 0.1 are one point: as it was written
    return int(nearest) if parameter.is_integer else nearest


def _may_be_drawn(number: float, distribution: LogUniform | LogNormal) -> bool:
    """Whether a number is positive, or the 0.0 of a distribution whose smallest draws are too small for a float."""
    if isinstance(distribution, LogUniform):
        lowest = distribution.bounds[0]
    else:
        lowest = lowest_lognormal(distribution.mu, distribution.sigma)
    return number > 0 or number == lowest
