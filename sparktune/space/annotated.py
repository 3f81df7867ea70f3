"""Spaces written as annotations: ``def objective(x: hp.uniform("x", 0, 1), y: hp.choice("y", [1, 2])): ...``."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from sparktune.exceptions import InvalidAnnotatedParameter
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, as_apply


def annotated_space(fn: Callable[..., Any]) -> tuple[Callable[[Any], Any], Apply]:
    """The space in the annotations of ``fn``, and a callable that takes a value of that space and calls ``fn`` with it.

    Every parameter with an annotation that is a space is part of it: an ``hp`` or ``scope`` expression, or a dict, list
    or tuple with such in it. Others keep their default.

    Args:
        fn: Function, method or callable object.

    Raises:
        InvalidAnnotatedParameter: If a parameter without a default is no part of the space, if an annotation is none
            where one is needed, or if there is no space at all.
    """
    try:
        parameters = inspect.signature(fn, eval_str=True).parameters.values()
    except (NameError, SyntaxError) as error:
        raise InvalidAnnotatedParameter(
            f"an annotation of {_name(fn)} is text that cannot be evaluated: {error}. Without "
            "`from __future__ import annotations`, annotations are values"
        ) from error
    space: dict[str, Apply] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        node = as_apply(parameter.annotation)
        has_parameters = any(part.name == "hyperopt_param" for part in dfs(node))
        if has_parameters and parameter.kind is parameter.POSITIONAL_ONLY:
            raise InvalidAnnotatedParameter(
                f"{_name(fn)} is called by keyword, and takes {parameter.name!r} by position only: remove the '/'"
            )
        if has_parameters:
            space[parameter.name] = node
        elif parameter.default is parameter.empty:
            raise InvalidAnnotatedParameter(_no_space(fn, parameter))
    if not space:
        raise InvalidAnnotatedParameter(
            f'with space="annotated" the annotations are the space, and {_name(fn)} has none: write '
            f"def objective(x: hp.uniform('x', 0, 1)), or pass a space"
        )
    return _called_by_keyword(fn), as_apply(space)


def _called_by_keyword(fn: Callable[..., Any]) -> Callable[[Any], Any]:
    if isinstance(fn, types.FunctionType):
        # Without annotations: they hold our nodes, and an executor that the function is sent to need not have us.
        bare = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        bare.__kwdefaults__ = fn.__kwdefaults__
        bare.__module__, bare.__qualname__, bare.__doc__ = fn.__module__, fn.__qualname__, fn.__doc__
        fn = bare

    def objective(params: dict[str, Any]) -> Any:  # nested, so that it is pickled as a value and not by its name
        return fn(**params)

    objective.__name__ = _name(fn)
    objective.__annotations__ = {}
    return objective


def _no_space(fn: Callable[..., Any], parameter: inspect.Parameter) -> str:
    is_bare = parameter.annotation is parameter.empty
    received = "no annotation" if is_bare else f"the annotation {parameter.annotation!r}"
    return (
        f"every parameter of {_name(fn)} needs a search space as its annotation, or a default; {parameter.name!r} has "
        f"{received}: write {parameter.name}: hp.uniform({parameter.name!r}, 0, 1)"
    )


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
