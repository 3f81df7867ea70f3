"""The objective with its space: how one point is evaluated."""

from __future__ import annotations

import functools
import inspect
import logging
import reprlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from sparktune.exceptions import CHANGE_IMPORTS, BadSearchSpace, InvalidArgumentError, InvalidTypeError
from sparktune.history import documents, returned
from sparktune.history.trial import JOB_STATE_DONE, Call, Failure, Outcome
from sparktune.run.arguments import as_generator, is_hyperopts
from sparktune.run.goal import Goal
from sparktune.space.compile import Space
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, Literal
from sparktune.space.numbers import is_number
from sparktune.space.scope import GarbageCollected, scope

logger = logging.getLogger("sparktune")


class Ctrl:
    """The handle by which an objective talks to the run: attachments, checkpoints, new trials.

    Attributes:
        trials: The trials object.
        current_trial: The document of the trial being evaluated.
        read_result: Makes a result dictionary of what an objective gives.
    """

    info = logger.info
    warn = logger.warning
    error = logger.error
    debug = logger.debug

    def __init__(
        self,
        trials: Any,
        current_trial: documents.Document | None = None,
        read_result: Callable[[Any], dict[str, Any]] = returned.as_result,
    ) -> None:
        self.trials = trials
        self.current_trial = current_trial
        self.read_result = read_result

    def checkpoint(self, r: Any = None) -> None:
        """Put a preliminary result into the trial's document, for others to see while it runs."""
        if self.current_trial is None:
            raise InvalidArgumentError("checkpoint needs a trial that is running, and this Ctrl has none")
        if r is not None:
            self.current_trial["result"] = self.read_result(r)
        self.trials.refresh()

    @property
    def attachments(self) -> Any:
        """The running trial's attachments, by name."""
        return self.trials.trial_attachments(trial=self.current_trial)

    def inject_results(self, specs: Any, results: Any, miscs: Any, new_tids: Any = None) -> list[Any]:
        """Insert finished trials that came from the running one; returns their ids."""
        trial = self.current_trial
        if trial is None:
            raise InvalidArgumentError("inject_results needs a trial that is running, and this Ctrl has none")
        tids = self.trials.new_trial_ids(len(specs)) if new_tids is None else new_tids
        new = self.trials.source_trial_docs(
            tids=tids, specs=specs, results=results, miscs=miscs, sources=[trial] * len(specs)
        )
        for document in new:
            document["state"] = JOB_STATE_DONE
        inserted: list[Any] = self.trials.insert_trial_docs(new)
        return inserted


class Domain:
    """The objective ``fn`` over the space ``expr``.

    Args:
        fn: Called with the value of the space; with ``expr=, memo=, ctrl=`` if ``pass_expr_memo_ctrl``, see
            :meth:`memo_from_config`. None where nothing is evaluated, as in programs that ask algorithms for points
            themselves.
        expr: The search space.
        workdir: Recorded in the documents; not used otherwise.
        pass_expr_memo_ctrl: See ``fn``; None: what ``@fmin_pass_expr_memo_ctrl`` says.
        name: Shown by ``short_str``.
        loss_target: Kept for programs that read it.
        goal: Which number of a result is optimised, and how.

    Attributes:
        space: The compiled space.
        params: The distribution node of each label.

    Raises:
        InvalidTypeError: If ``fn`` cannot be called, or is an async function or a generator.
        BadSearchSpace: If the space is not one, see :class:`~sparktune.space.compile.Space`, or is hyperopt's own.
    """

    rec_eval_print_node_on_error = False
    pyll_ctrl = Literal(Ctrl)  # what stands for the live Ctrl in a space

    def __init__(
        self,
        fn: Callable[..., Any] | None,
        expr: Any,
        workdir: Any = None,
        pass_expr_memo_ctrl: bool | None = None,
        name: str | None = None,
        loss_target: float | None = None,
        *,
        goal: Goal | None = None,
    ) -> None:
        if fn is not None:
            require_objective(fn)
        self.fn = fn
        if pass_expr_memo_ctrl is None:
            pass_expr_memo_ctrl = bool(getattr(fn, "fmin_pass_expr_memo_ctrl", False))
        self.pass_expr_memo_ctrl = pass_expr_memo_ctrl
        self.space = Space(expr)
        self.expr = self.space.expr
        if not self.space.labels:
            self._remedy = _parameter_for(expr)
        require_own_nodes(self.expr)
        self.params: dict[str, Apply] = {p.label: p.value_node for p in self.space.parameters}
        self.workdir = workdir
        self.name = name
        self.loss_target = loss_target
        self.cmd = documents.FMIN_CMD
        self.goal = goal or Goal()
        self._ctrl_nodes = [n for n in dfs(self.expr) if isinstance(n, Literal) and n.obj is Ctrl]
        #: The expression by which hyperopt's own algorithms, and many that were written after them, draw points:
        #: ``idxs, vals = rec_eval(domain.s_idxs_vals, memo={domain.s_new_ids: ids, domain.s_rng: generator})``.
        self.s_new_ids, self.s_rng = Literal("new_ids"), Literal("rng")
        self.s_idxs_vals = scope.call(_drawn, [Literal(self.space), self.s_new_ids, self.s_rng])

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "space" not in state:  # hyperopt's: made anew from what that one was made from
            arguments = ("fn", "expr", "workdir", "pass_expr_memo_ctrl", "name", "loss_target")
            Domain.__init__(self, **{name: state[name] for name in arguments})
            # Besides it has what a subclass or a program gave it, and "vh", by which hyperopt draws points.
            state = {name: state[name] for name in state.keys() - vars(self).keys() - {"vh"}} | {"cmd": state["cmd"]}
        self.__dict__.update(state)

    def memo_from_config(self, config: Mapping[str, Any]) -> dict[Apply, Any]:
        """Value by ``hyperopt_param`` node, for ``rec_eval``: of each parameter, active or not.

        Args:
            config: Value by label; further labels are left out. Parameters that are not in it have the value
                ``GarbageCollected``.
        """
        return {p.node: config.get(p.label, GarbageCollected) for p in self.space.parameters}

    def arguments(self, config: Mapping[str, Any], ctrl: Any = None) -> Any:
        """What the objective is called with: the value of the space, with live ``Ctrl`` objects put in."""
        return self.space.evaluate(config, extra={node: ctrl for node in self._ctrl_nodes})

    def evaluate(self, config: Mapping[str, Any], ctrl: Any, attach_attachments: bool = True) -> dict[str, Any]:
        """The objective's result at one point, as a dictionary.

        Args:
            config: Value by label, for the active labels.
            ctrl: Receives attachments; passed on to objectives that ask for it.
            attach_attachments: Whether to move ``result["attachments"]`` to ``ctrl``.

        Raises:
            InvalidLoss, InvalidResultStatus: If the objective returns something else than a result.
            Exception: Whatever the objective raises.
        """
        if self.pass_expr_memo_ctrl:
            memo = self.memo_from_config(config) | {node: ctrl for node in self._ctrl_nodes}
            value = require_objective(self.fn)(expr=self.expr, memo=memo, ctrl=ctrl)
        else:
            fn, argument = self.evaluate_async(config, ctrl)
            value = fn(argument)
        return self.evaluate_async2(value, ctrl, attach_attachments)

    def warn_if_constant(self) -> None:
        """Say so if the space has no parameter, for then all trials are the same.

        hyperopt searches such a space in silence, and programs do for one trial: it is no error.
        """
        if not self.space.labels:
            logger.warning("the space has no parameter, so that all trials are the same: %s", self._remedy)

    def evaluate_async(
        self, config: Mapping[str, Any], ctrl: Any, attach_attachments: bool = True
    ) -> tuple[Callable[..., Any], Any]:
        """The objective and what to call it with, for programs that call it elsewhere; then :meth:`evaluate_async2`."""
        return require_objective(self.fn), self.arguments(config, ctrl)

    def evaluate_async2(self, rval: Any, ctrl: Any, attach_attachments: bool = True) -> dict[str, Any]:
        """The result dictionary of what the objective returned, see :meth:`evaluate`."""
        result = self.result_of(rval)
        if attach_attachments:
            for key, attachment in (result.pop("attachments", None) or {}).items():
                ctrl.attachments[key] = attachment
        return result

    def result_of(self, value: Any) -> dict[str, Any]:
        """What the objective returned, as a result dictionary.

        Raises:
            InvalidLoss, InvalidResultStatus: If it is no result.
        """
        return returned.as_result(self.goal.apply(value))

    def outcome(self, call: Call) -> Outcome:
        """What becomes of one evaluation in this thread: exceptions come back as data, interrupts pass through."""
        try:
            return Outcome(result=self.evaluate(call.raw, call.ctrl))
        except Exception as error:
            return Outcome(failure=failure_from(error))

    @property
    def vh(self) -> Any:
        """Left out: hyperopt's way of drawing many points at once."""
        raise AttributeError(
            "Domain.vh is hyperopt's own machinery and is left out: domain.s_idxs_vals draws points, domain.params has "
            "the distribution of each label, domain.space the compiled space"
        )

    # Readers of results, which programs override in subclasses.

    def loss(self, result: Mapping[str, Any], config: Any = None) -> Any:
        """The loss in a result, or None."""
        return result.get("loss")

    def loss_variance(self, result: Mapping[str, Any], config: Any = None) -> Any:
        """The variance of the loss in a result; 0 if it has none."""
        return result.get("loss_variance", 0.0)

    def true_loss(self, result: Mapping[str, Any], config: Any = None) -> Any:
        """The noise-free loss in a result; the loss if it has none."""
        return result.get("true_loss", self.loss(result, config))

    def true_loss_variance(self, config: Any = None) -> Any:
        """The variance of the true loss."""
        raise NotImplementedError("override Domain.true_loss_variance where the objective knows it")

    def status(self, result: Mapping[str, Any], config: Any = None) -> Any:
        """The status in a result."""
        return result["status"]

    def new_result(self) -> dict[str, Any]:
        """The result of a trial that has not run."""
        return documents.new_result()

    def short_str(self) -> str:
        """A line that names the domain."""
        return f"Domain{{{self.name or getattr(self.fn, '__name__', type(self.fn).__name__)}}}"


def _drawn(space: Space, new_ids: Sequence[Any], rng: Any) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Draws from the prior: by label the ids in which it is active, and its values there."""
    return space.by_label(list(space.draw_batch(as_generator(rng), len(new_ids))), new_ids)


def _parameter_for(expr: Any) -> str:
    """How to write a parameter in place of what stands in a space that has none."""
    if isinstance(expr, str):
        return f'write space="annotated" if the annotations of the objective are the space, got {expr!r}'
    if callable(expr) and not isinstance(expr, Apply):
        return f"pass what a function of hp returns, as in hp.uniform('x', 0, 1), got the function {expr!r}"
    for key, value in expr.items() if isinstance(expr, Mapping) else ():
        if isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value)):
            return f"write hp.uniform({key!r}, {value[0]!r}, {value[1]!r}) in place of {value!r}"
        if isinstance(value, (list, tuple)) and value:
            return f"write hp.choice({key!r}, {(options := reprlib.repr(list(value)))}) in place of {options}"
    return "write what is to be searched with functions of hp, as in hp.uniform('x', 0, 1)"


def require_own_nodes(expr: Apply) -> None:
    """Refuse an expression with nodes of an installed hyperopt, which would be constants, so that nothing is searched.

    Raises:
        BadSearchSpace: If there are any.
    """
    if any(isinstance(node, Literal) and is_hyperopts(type(node.obj)) for node in dfs(expr)):
        raise BadSearchSpace(f"a space is made with sparktune's hp, got nodes of hyperopt's own: {CHANGE_IMPORTS}")


def require_objective(fn: Any) -> Callable[..., Any]:
    """``fn`` itself, if it can be called."""
    if not callable(fn):
        raise InvalidTypeError(f"the objective must be callable, got {fn!r} ({type(fn).__name__}): pass a function")
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    called = inner, type(inner).__call__  # of an object what its class says; of a function Python's own
    if any(map(inspect.iscoroutinefunction, called)):
        raise InvalidTypeError(
            f"the objective must return its result, got the async function {fn!r}: pass lambda params: "
            "asyncio.run(objective(params))"
        )
    if any(inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function) for function in called):
        raise InvalidTypeError(f"the objective must return its result, got the generator {fn!r}: use return, not yield")
    return fn  # type: ignore[no-any-return]


def failure_from(error: BaseException) -> Failure:
    """A failure record of an exception caught here."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        message = str(error)
    except Exception:  # the user's class, and a broken one: the trial failed all the same
        message = f"<no text: str() of this {type(error).__name__} fails>"
    try:
        name = str(type(error))
    except Exception:  # of its metaclass, likewise
        name = type.__repr__(type(error))
    return Failure(name, message, text, error)
