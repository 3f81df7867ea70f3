"""For algorithms of one's own that choose a value for one parameter after another, as hyperopt has it.

A subclass of :class:`SuggestAlgo` says what the value of a parameter is, given those chosen before; the class walks
the space, asks for the parameters that are active, and makes the documents. An algorithm that would rather see a whole
point at once is easier written as a function ``suggest(new_ids, domain, trials, seed)``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidTypeError
from sparktune.history.documents import Document, miscs_to_idxs_vals
from sparktune.history.proposals import proposal_documents
from sparktune.kernels.arrays import FloatArray
from sparktune.search.tree import next_active
from sparktune.space.compile import Space
from sparktune.space.nodes import IMPLEMENTATIONS, Apply, Literal, as_apply
from sparktune.space.scope import rec_eval

__all__ = ["ExprEvaluator", "SuggestAlgo"]


class ExprEvaluator:
    """Evaluates an expression node by node; subclasses override :meth:`on_node` to change what happens at one.

    Args:
        expr: The expression.
        deepcopy_inputs, max_program_len, memo_gc: Accepted for hyperopt's signature; not used.
    """

    def __init__(
        self, expr: Any, deepcopy_inputs: bool = False, max_program_len: int | None = None, memo_gc: bool = True
    ) -> None:
        self.expr = as_apply(expr)
        self.deepcopy_inputs, self.max_program_len, self.memo_gc = deepcopy_inputs, max_program_len, memo_gc

    def eval_nodes(self, memo: Mapping[Apply, Any] | None = None) -> dict[Apply, Any]:
        """The value of each node that the expression's value hangs on, itself included.

        Args:
            memo: Values of nodes that are not to be evaluated.
        """
        values, open_nodes = dict(memo or {}), [self.expr]
        while open_nodes:
            node = open_nodes[-1]
            missing = [child for child in self._needed(values, node) if child not in values]
            if missing and node not in values:
                open_nodes.extend(missing)
                continue
            if node not in values:
                self.set_in_memo(values, node, self._value(values, node))
            open_nodes.pop()
        return values

    def _needed(self, memo: Mapping[Apply, Any], node: Apply) -> list[Apply]:
        """The nodes that one needs: of a switch its index and the option that is chosen."""
        if node.name != "switch":
            return node.inputs()
        index, *options = node.pos_args
        return [index, options[memo[index]]] if index in memo else [index]

    def _value(self, memo: dict[Apply, Any], node: Apply) -> Any:
        if isinstance(node, Literal):
            return node.obj
        return self.on_switch(memo, node) if node.name == "switch" else self.on_node(memo, node)

    def set_in_memo(self, memo: dict[Apply, Any], k: Apply, v: Any) -> None:
        """Keep the value of a node."""
        memo[k] = v

    def on_switch(self, memo: dict[Apply, Any], node: Apply) -> Any:
        """The value of a switch: that of the option chosen."""
        index, *options = node.pos_args
        return memo[options[memo[index]]]

    def on_node(self, memo: dict[Apply, Any], node: Apply) -> Any:
        """The value of any other node, given those of its arguments in ``memo``."""
        arguments = [memo[child] for child in node.pos_args]
        return IMPLEMENTATIONS[node.name](*arguments, **{name: memo[child] for name, child in node.named_args})


class SuggestAlgo(ExprEvaluator):
    """Proposes points parameter by parameter: override :meth:`on_node_hyperparameter`.

        class Middle(SuggestAlgo):
            def on_node_hyperparameter(self, memo, node, label):
                if node.name == "uniform":
                    return [(memo[node.arg["low"]] + memo[node.arg["high"]]) / 2]
                return self.draw(memo, node)

        def suggest(new_ids, domain, trials, seed):
            algo = Middle(domain, trials, seed)
            return [document for new_id in new_ids for document in algo(new_id)]

    Args:
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes; with an integer, the point of an id hangs on seed and id.

    Attributes:
        domain, trials: As given.
        rng: The random stream of the present id.
        label_by_node: Label of each parameter's node.
    """

    def __init__(self, domain: Any, trials: Any, seed: Any) -> None:
        super().__init__(domain.expr)
        self.domain, self.trials, self._seed = domain, trials, seed
        self.rng = np.random.default_rng(seed)
        self.label_by_node: dict[Apply, str] = {}

    def on_node_hyperparameter(self, memo: dict[Apply, Any], node: Apply, label: str) -> Any:
        """The value of one parameter: to be overridden.

        Args:
            memo: Values of nodes: the arguments of ``node``, and the parameters chosen before.
            node: The parameter's distribution, such as ``uniform(low, high, rng=, size=1)``: ``node.name`` says which,
                and ``memo[node.arg["low"]]`` is the value of an argument.
            label: The parameter's label.

        Returns:
            A number, or a sequence of one number.
        """
        raise NotImplementedError(
            "override on_node_hyperparameter(self, memo, node, label); return self.draw(memo, node)"
        )

    def draw(self, memo: dict[Apply, Any], node: Apply) -> Any:
        """A draw from a parameter's own distribution."""
        return ExprEvaluator.on_node(self, memo, node)

    def on_node(self, memo: dict[Apply, Any], node: Apply) -> Any:
        """The value of a node: of a parameter what :meth:`on_node_hyperparameter` says."""
        label = self.label_by_node.get(node)
        return super().on_node(memo, node) if label is None else self.on_node_hyperparameter(memo, node, label)

    def __call__(self, new_id: Any) -> list[Document]:
        """The document of one proposal, in a list."""
        return proposal_documents(self._point(new_id)[None], [new_id], self.domain, self.trials)

    def batch(self, new_ids: Sequence[Any]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Proposals as two dictionaries by label: the ids in which it is active, and its values there."""
        miscs = [document["misc"] for new_id in new_ids for document in self(new_id)]
        return miscs_to_idxs_vals(miscs, self.domain.space.labels)

    def _point(self, new_id: Any) -> FloatArray:
        """One point, shape (d,), NaN where inactive."""
        space: Space = self.domain.space
        if hasattr(self._seed, "__index__"):
            self.rng = np.random.default_rng([int(self._seed), zlib.crc32(repr(new_id).encode())])
        row, memo = np.full(len(space), np.nan), dict[Apply, Any]()
        self.label_by_node = {}
        while (column := next_active(space, row)) is not None:
            parameter = space.parameters[column]
            node = _with_stream(parameter.value_node, self.rng)
            memo |= {child: rec_eval(child) for child in node.inputs()}
            self.label_by_node[node] = parameter.label
            row[column] = _as_number(self.on_node(memo, node), parameter.label)
            value = int(row[column]) if parameter.is_integer else float(row[column])
            memo |= dict.fromkeys((node, parameter.node, parameter.value_node), value)
        return row


def _with_stream(node: Apply, rng: np.random.Generator) -> Apply:
    """A distribution node that draws one value from ``rng``."""
    own = [[name, child] for name, child in node.named_args if name not in ("rng", "size")]
    return Apply(node.name, node.pos_args, [*own, ["rng", Literal(rng)], ["size", Literal(1)]])


def _as_number(value: Any, label: str) -> float:
    values = np.ravel(value)
    try:
        number = float(values[0]) if len(values) == 1 else np.nan
    except (TypeError, ValueError):
        number = np.nan
    if np.isnan(number):
        raise InvalidTypeError(
            f"on_node_hyperparameter returns a number, or a sequence of one, got {value!r} for {label!r}"
        )
    return number
