"""A space compiled once: parameters, distributions and conditions. The algorithms see only this.

Values of n points are an array (n, d), one column per parameter in the order of ``Space.labels``; NaN means that the
parameter is inactive in that point, for it sits in a branch that was not chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import BadSearchSpace, DuplicateLabel, InvalidSpaceError
from sparktune.kernels.arrays import BoolArray, FloatArray
from sparktune.space.distributions import (
    Categorical,
    Distribution,
    RandInt,
    distribution_of,
)
from sparktune.space.graph import clone, dfs
from sparktune.space.nodes import Apply, Literal, as_apply
from sparktune.space.numbers import Integer, Real
from sparktune.space.order import draw_order
from sparktune.space.places import place_of
from sparktune.space.scope import UndrawnParameterError, rec_eval

#: One way to become active: each of its selector nodes has the option number beside it.
Way: TypeAlias = frozenset[tuple[Apply, int]]
ALWAYS: frozenset[Way] = frozenset([frozenset()])


@dataclass(frozen=True, slots=True)
class Parameter:
    """One labelled parameter.

    Attributes:
        label: Its name.
        distribution: What its values are drawn from.
        node: Its ``hyperopt_param`` node.
        value_node: The distribution node inside; the evaluator takes the value for it.
        conditions: Ways to become active, each a tuple of (selector, option): the selector's value must be the option.
            A selector is the column of a choice, or an expression where the switch hangs on arithmetic. One empty
            tuple: always active.
        is_choice: Whether some switch takes its value as an option number, so that its order means nothing.
    """

    label: str
    distribution: Distribution
    node: Apply
    value_node: Apply
    conditions: tuple[tuple[tuple[int | Apply, int], ...], ...]
    is_choice: bool

    @property
    def is_conditional(self) -> bool:
        """Whether it is inactive in some points."""
        return self.conditions != ((),)

    @property
    def is_integer(self) -> bool:
        """Whether raw values are integers."""
        return isinstance(self.distribution, (RandInt, Categorical))


class Space:
    """What may be tried: an expression compiled into parameters.

    Args:
        expr: Any nest of dicts, lists, tuples, literals and ``hp`` / ``scope`` nodes.

    Raises:
        DuplicateLabel: If one label is on two nodes, except where they draw from the same distribution in options of
            a choice that exclude each other: those are one parameter.
        BadSearchSpace: If a label is not a literal or a parameter's distribution is invalid.
        InvalidSpaceError: If a choice has no options.
    """

    def __init__(self, expr: object) -> None:
        self.expr = as_apply(expr)
        order = dfs(self.expr)
        _require_options(order)
        nodes, again = _parameter_nodes(order)
        if again:
            self.expr = _with_one_node_each(self.expr, order, nodes, again)
            order = dfs(self.expr)
            nodes, _ = _parameter_nodes(order)
        ways = _ways_to_reach(order)
        selectors = {node.pos_args[0] for node in order if node.name == "switch"}
        self.labels: tuple[str, ...] = tuple(nodes)
        self.index: dict[str, int] = {label: column for column, label in enumerate(self.labels)}
        column_of = {node: self.index[label] for label, node in nodes.items()}
        self.parameters: tuple[Parameter, ...] = tuple(
            Parameter(
                label=label,
                distribution=distribution_of(node.arg["obj"]),
                node=node,
                value_node=node.arg["obj"],
                conditions=tuple(
                    tuple((column_of.get(selector, selector), option) for selector, option in way) for way in ways[node]
                ),
                is_choice=node in selectors,
            )
            for label, node in nodes.items()
        )

    @classmethod
    def of(cls, space: object) -> Space:
        """The space that an expression describes; a space is itself."""
        return space if isinstance(space, Space) else cls(space)

    def __len__(self) -> int:
        return len(self.labels)

    def activity(self, values: FloatArray) -> BoolArray:
        """Which parameters are active, shape (n, d), given values (n, d); what hangs on one that is NaN is not."""
        is_active = np.ones(values.shape, dtype=bool)
        for column, parameter in enumerate(self.parameters):
            if parameter.is_conditional:
                is_active[:, column] = np.logical_or.reduce([self._holds(way, values) for way in parameter.conditions])
        return is_active

    def _holds(self, way: tuple[tuple[int | Apply, int], ...], values: FloatArray) -> BoolArray:
        holds = np.ones(len(values), dtype=bool)
        for selector, option in way:
            if isinstance(selector, int):
                holds &= values[:, selector] == option
            else:
                holds &= np.array([self._is_chosen(selector, option, row) for row in values], dtype=bool)
        return holds

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw n points from the prior, shape (n, d), NaN where inactive."""
        values = np.empty((n, len(self)))
        for column, parameter in enumerate(self.parameters):
            values[:, column] = parameter.distribution.sample(rng, n)
        return self.mask(values)

    @cached_property
    def _draw_order(self) -> list[int]:
        nodes = {parameter.label: parameter.node for parameter in self.parameters}
        return [self.index[label] for label in draw_order(self.expr, nodes)]

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """One point from the prior, shape (d,), NaN where inactive: the one that hyperopt draws with this generator.

        Inactive parameters take nothing from the generator, unlike in :meth:`sample`, which draws many points at once.
        """
        row = np.full(len(self), np.nan)
        for column in self._draw_order:
            if self.is_reached(column, row):
                row[column] = self.parameters[column].distribution.sample(rng, 1)[0]
        return row

    def draw_batch(self, rng: np.random.Generator, n: int) -> FloatArray:
        """n points from the prior, shape (n, d), NaN where inactive: those of a batch that hyperopt draws.

        It draws all values of one parameter, then all of the next: other points than those of n times :meth:`draw`.
        """
        rows = np.full((n, len(self)), np.nan)
        for column in self._draw_order:
            reached = [i for i, row in enumerate(rows) if self.is_reached(column, row)]
            rows[reached, column] = self.parameters[column].distribution.sample(rng, len(reached))
        return rows

    def is_reached(self, column: int, row: FloatArray) -> bool:
        """Whether a parameter is active by the values known so far; more of them can only open further ways.

        Args:
            column: The parameter.
            row: Values, shape (d,), NaN where unknown or inactive.
        """
        ways = self.parameters[column].conditions
        return any(all(self._is_chosen(selector, option, row) for selector, option in way) for way in ways)

    def _is_chosen(self, selector: int | Apply, option: int, row: FloatArray) -> bool:
        """Whether a switch takes an option; False as long as it hangs on a parameter without a value."""
        if isinstance(selector, int):
            return bool(row[selector] == option)
        try:
            return bool(rec_eval(selector, memo=self._memo(self.raw(row))) == option)
        except UndrawnParameterError:
            return False

    def mask(self, values: FloatArray) -> FloatArray:
        """``values`` with NaN put in where a parameter is inactive."""
        return np.where(self.activity(values), values, np.nan)

    def raw(self, row: FloatArray) -> dict[str, Any]:
        """The active values of one point by label: what documents and ``fmin`` call values."""
        return {
            parameter.label: Integer(value) if parameter.is_integer else Real(value)
            for parameter, value in zip(self.parameters, row.tolist(), strict=True)
            if value == value
        }

    def row(self, raw: Mapping[str, Any]) -> FloatArray:
        """The values of one point, shape (d,), from values by label; NaN where a label is missing."""
        row = np.full(len(self), np.nan)
        for label, value in raw.items():
            column = self.index.get(label)
            if column is not None and value is not None:
                row[column] = value
        return row

    def by_label(
        self, rows: Sequence[FloatArray], ids: Sequence[Any]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Points as two dictionaries by label: the ids of those in which it is active, and its values there.

        Args:
            rows: The points, each of shape (d,), NaN where inactive.
            ids: One for each point.

        Returns:
            Arrays, one element for each point in which the label is active: values are int64 where raw ones are
            integers, else float64.
        """
        all_ids = np.array(list(ids), dtype=None if len(ids) else np.int64)  # an empty array of floats is no index
        columns = np.reshape(rows, (len(ids), len(self))).T
        is_active = ~np.isnan(columns)
        return (
            {label: all_ids[mask] for label, mask in zip(self.labels, is_active, strict=True)},
            {
                p.label: column[mask].astype(np.int64 if p.is_integer else np.float64)
                for p, column, mask in zip(self.parameters, columns, is_active, strict=True)
            },
        )

    def _memo(self, raw: Mapping[str, Any]) -> dict[Apply, Any]:
        return {
            # pandas and JSON make floats of option numbers
            p.value_node: int(raw[p.label]) if p.is_integer and _is_whole(raw[p.label]) else _plain(raw[p.label])
            for p in self.parameters
            if p.label in raw
        }

    def evaluate(
        self, raw: Mapping[str, Any], extra: Mapping[Apply, Any] | None = None, of: Apply | None = None
    ) -> Any:
        """What the objective is called with: the expression with values put in.

        Args:
            raw: Value by label; labels of branches that are not chosen may be missing.
            extra: Values of further nodes.
            of: The node to evaluate; None for the whole expression.

        Raises:
            BadSearchSpace: If an active label has no value; the message names it.
        """
        try:
            return rec_eval(self.expr if of is None else of, memo={**self._memo(raw), **(extra or {})})
        except UndrawnParameterError as error:
            labels = [p.label for p in self.parameters if p.value_node is error.node]
            if not labels:
                raise BadSearchSpace(
                    f"the space draws from {error.node.name!r}, which has no label and so is no parameter: write "
                    "hp.uniform(label, ...) for scope.uniform(...), and hp.choice(label, options) for scope.one_of(...)"
                ) from None
            raise BadSearchSpace(
                f"the space needs a value for {labels[0]!r}, which is active in this "
                f"point; values were given for {sorted(raw) or 'nothing'}"
            ) from None


def _plain(value: object) -> object:
    """What expressions calculate with: of our documents' numbers Python's own."""
    return value.item() if isinstance(value, (Integer, Real)) else value


def _is_whole(value: object) -> bool:
    return isinstance(value, (float, np.floating)) and float(value).is_integer()


def _parameter_nodes(order: list[Apply]) -> tuple[dict[str, Apply], list[tuple[str, Apply]]]:
    """The first parameter node of each label, and those after it with their labels."""
    nodes: dict[str, Apply] = {}
    again: list[tuple[str, Apply]] = []
    for node in order:
        if node.name != "hyperopt_param":
            continue
        label_node = node.arg["label"]
        if not isinstance(label_node, Literal) or not isinstance(label_node.obj, str):
            raise BadSearchSpace(f"a label must be a string, got {label_node}")
        label = label_node.obj
        if label in nodes:
            again.append((label, node))
        else:
            nodes[label] = node
    return nodes, again


def _require_options(order: list[Apply]) -> None:
    for node in order:
        if node.name == "switch" and len(node.pos_args) == 1 and node.pos_args[0].name == "hyperopt_param":
            argument = node.pos_args[0].arg
            kind = "pchoice" if argument["obj"].name == "categorical" else "choice"
            raise InvalidSpaceError(
                f"hp.{kind}({argument['label'].obj!r}, ...) needs at least one option, got an empty list"
            )


def _with_one_node_each(
    expr: Apply, order: list[Apply], nodes: Mapping[str, Apply], again: list[tuple[str, Apply]]
) -> Apply:
    """A copy of the expression in which one node stands for all that have its label, where they may be one."""
    ways = _ways_to_reach(order)
    selectors = {node.pos_args[0] for node in order if node.name == "switch"}
    copies: dict[Apply, Apply] = {}
    taken: dict[str, list[Apply]] = {}
    for label, node in again:
        others = taken.setdefault(label, [nodes[label]])
        first, is_choice = others[0], node in selectors or others[0] in selectors
        is_same = not is_choice and distribution_of(first.arg["obj"]) == distribution_of(node.arg["obj"])
        if not is_same or not all(_exclude(ways[other], ways[node]) for other in others):
            raise _duplicate_label(label, first, node, expr)
        others.append(node)
        copies[node] = clone(first, copies)
    return clone(expr, copies)


def _exclude(ways: Iterable[Way], others: Iterable[Way]) -> bool:
    """Whether each of these ways wants another option of some choice than each of those."""
    return all(
        any(selector == other and option != wanted for selector, option in way for other, wanted in other_way)
        for way in ways
        for other_way in others
    )


def _duplicate_label(label: str, first: Apply, second: Apply, expr: Apply) -> DuplicateLabel:
    one, other = (f"{_describe(node)} at {place_of(node, expr)}" for node in (first, second))
    return DuplicateLabel(
        f"{label}: this label is on two parameters, {one}, and {other}. Give each its own label; or use one node "
        "twice: x = hp.uniform(...), then x in both places. (In options that exclude each other one label may stand "
        "for equal distributions, but not for choices.)"
    )


def _describe(node: Apply) -> str:
    distribution = node.arg["obj"]
    arguments = ", ".join(str(child.obj) if isinstance(child, Literal) else "..." for child in distribution.inputs())
    return f"{distribution.name}({arguments})"


def _ways_to_reach(order: list[Apply]) -> dict[Apply, tuple[Way, ...]]:
    """The ways in which each node is reached from the root; ``order`` has arguments before their users.

    A way holds every choice on its path, so whether it is open hangs on the values alone, not on other activity.
    """
    ways: dict[Apply, frozenset[Way]] = {node: frozenset() for node in order}
    ways[order[-1]] = ALWAYS
    n_options: dict[Apply, int] = defaultdict(int)
    for node in order:
        if node.name == "switch":
            n_options[node.pos_args[0]] = max(n_options[node.pos_args[0]], len(node.pos_args) - 1)
    for node in reversed(order):  # the users of a node have all been here before it
        ways[node] = _simplify(ways[node], n_options)
        for position, child in enumerate(node.inputs()):
            added = ways[node]
            if node.name == "switch" and position > 0:
                added = frozenset(way | {(node.pos_args[0], position - 1)} for way in added)
            ways[child] |= added
    return {node: tuple(sorted(found, key=len)) for node, found in ways.items()}


def _simplify(ways: frozenset[Way], n_options: Mapping[Apply, int]) -> frozenset[Way]:
    """The same condition in fewer ways.

    Ways that want two options of one selector are left out, and so are special cases of another. Ways that differ in
    one selector only, with all its options there, become one without it: else their number would double with each
    choice whose options share a parameter.
    """
    ways = _most_general({way for way in ways if len({selector for selector, _ in way}) == len(way)})
    while len(ways) > 1:
        options: dict[tuple[Way, Apply], set[int]] = defaultdict(set)
        for way in ways:
            for selector, option in way:
                options[way - {(selector, option)}, selector].add(option)
        merged = {way for (way, selector), found in options.items() if len(found) == n_options[selector]}
        if not merged:
            break
        ways = _most_general(ways | merged)
    return ways


def _most_general(ways: AbstractSet[Way]) -> frozenset[Way]:
    if frozenset() in ways:
        return ALWAYS
    return frozenset(way for way in ways if not any(other < way for other in ways))
