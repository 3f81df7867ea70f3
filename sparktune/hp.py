"""``hp.*``: parameters of a search space. Each takes its label first; one label names one parameter.

Distribution arguments are checked here, where the parameter is made, not where it is first drawn; that a choice has
options is checked where the space is compiled.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from sparktune.exceptions import InvalidSpaceError, InvalidTypeError
from sparktune.space.distributions import distribution_of
from sparktune.space.grids import NoMultipleError
from sparktune.space.limits import MAX_INTEGER
from sparktune.space.nodes import Apply, Literal
from sparktune.space.numbers import is_finite, is_number
from sparktune.space.scope import scope

__all__ = [
    "choice",
    "lognormal",
    "loguniform",
    "normal",
    "pchoice",
    "qlognormal",
    "qloguniform",
    "qnormal",
    "quniform",
    "randint",
    "uniform",
    "uniformint",
]


def _parameter(label: str, distribution: Apply, kind: str | None = None, is_checked: bool = True) -> Apply:
    """A parameter; ``kind`` is its function here, where the distribution has another name."""
    if isinstance(label, bytes):
        label = label.decode()
    if not isinstance(label, str):
        raise InvalidTypeError(
            f"require string label: the first argument names the parameter, got {label!r}; "
            f"write hp.{kind or distribution.name}('name', ...)"
        )
    if is_checked:
        try:
            distribution_of(distribution)
        except InvalidSpaceError as error:
            message = str(error).replace(distribution.name, kind, 1) if kind else str(error)
            raise InvalidSpaceError(f"parameter {label!r}: {message}") from None
    return scope.hyperopt_param(label, distribution)


def _quantised(kind: str, label: str, low: float, high: float, q: float) -> Apply:
    """A parameter of multiples of ``q``; of unrounded values if there is none within the bounds, with a warning.

    hyperopt gives a value out of its bounds there. Programs have such bounds, by mistake, and must go on running.
    """
    distribution: Apply = getattr(scope, kind)(low, high, q)
    try:
        distribution_of(distribution)
    except NoMultipleError as error:
        warnings.warn(f"parameter {label!r}: {error}; until then its values are not rounded", stacklevel=3)
        distribution = getattr(scope, kind.removeprefix("q"))(low, high)
    except InvalidSpaceError:
        pass  # raised again below, with the label
    return _parameter(label, distribution)


def _options(label: str, options: Iterable[Any], kind: str) -> list[Any]:
    is_listable = isinstance(options, (Apply, Iterable)) and not isinstance(options, (str, bytes))
    if not is_listable or (isinstance(options, dict) and kind != "choice"):
        raise InvalidTypeError(
            f"hp.{kind}({label!r}, ...) needs a list of options, got {type(options).__name__}: "
            "put the options in a list"
        )
    listed = list(options)
    # The hashes of numbers, by which a set has its order, are the same everywhere; those of text are not.
    if isinstance(options, (set, frozenset)) and not all(map(is_number, listed)):
        warnings.warn(
            f"hp.{kind}({label!r}, ...) got a {type(options).__name__}, which may have another order in the next "
            "process, and options are stored by their number: write a list, [...]",
            stacklevel=3,
        )
    return listed


def choice(label: str, options: Iterable[Any]) -> Apply:
    """One of ``options``, all equally likely; options may be spaces of their own. Of a dict one of its keys.

    Parameters inside an option are active only when it is chosen. The raw value in documents, and in what ``fmin``
    returns, is the option's index; ``space_eval`` turns it into the option.

    A choice without options is an error only in a space that is searched: programs that make spaces throw it away.

    Raises:
        InvalidTypeError: If the label is no text, or the options are no list.
    """
    listed = _options(label, options, "choice")
    return scope.switch(_parameter(label, scope.randint(len(listed)), "choice", is_checked=bool(listed)), *listed)


def pchoice(label: str, p_options: Iterable[tuple[float, Any] | list[Any]]) -> Apply:
    """One of the options in (probability, option) pairs; otherwise as :func:`choice`.

    Raises:
        InvalidTypeError: If the label is no text, or the options are no list.
        InvalidSpaceError: If they are no such pairs, or the probabilities are negative or do not sum to 1.
    """
    pairs = _options(label, p_options, "pchoice")
    if not pairs:
        return scope.switch(_parameter(label, scope.categorical([]), "pchoice", is_checked=False))
    try:
        probabilities, options = zip(*[(p, option) for p, option in pairs], strict=True)
    except (TypeError, ValueError):
        raise InvalidSpaceError(
            f"hp.pchoice({label!r}, ...) needs (probability, option) pairs, got {pairs!r}"
        ) from None
    return scope.switch(_parameter(label, scope.categorical(list(probabilities)), "pchoice"), *options)


def randint(label: str, *args: int, **kwargs: int) -> Apply:
    """An integer: ``randint(label, upper)`` in [0, upper), ``randint(label, low, high)`` in [low, high).

    Also by keyword: ``upper=``, or ``low=`` and ``high=``.

    Raises:
        InvalidTypeError: If the label is no text, or there are other arguments than these.
        InvalidSpaceError: If the bounds are not integers, or not in order.
    """
    names = ("upper",) if len(args) + len(kwargs) == 1 and "low" not in kwargs else ("low", "high")
    bounds = dict(zip(names, args, strict=False)) | kwargs
    is_clear = len(bounds) == len(args) + len(kwargs)  # no bound twice, none left over
    if not is_clear or set(bounds) not in ({"upper"}, {"low"}, {"high"}, {"low", "high"}):
        given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
        raise InvalidTypeError(f"hp.randint takes (label, upper) or (label, low, high), got ({label!r}, {given})")
    if "upper" in bounds:
        return scope.int(_parameter(label, scope.randint(bounds["upper"])))
    if set(bounds) == {"low"}:
        raise InvalidTypeError(f"hp.randint({label!r}, low={bounds['low']!r}) needs high as well")
    return scope.int(_parameter(label, scope.randint(bounds.get("low", 0), bounds["high"])))


def uniform(label: str, low: float, high: float) -> Apply:
    """A float, uniform on [low, high].

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If the bounds are not finite numbers, or not in order.
    """
    return scope.float(_parameter(label, scope.uniform(low, high)))


def quniform(label: str, low: float, high: float, q: float) -> Apply:
    """A float, a multiple of ``q`` in [low, high], each equally likely.

    If there is none, a float that is uniform on [low, high], with a warning.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If the bounds are not finite numbers, or not in order, or ``q`` is not positive.
    """
    return scope.float(_quantised("quniform", label, low, high, q))


def uniformint(label: str, low: float, high: float, q: float = 1.0) -> Apply:
    """An integer from low to high, both included, each equally likely; ``q`` is accepted and is 1.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If the bounds are not integers, or not in order, or beyond 2**53.
    """
    for bound, value in (("low", low), ("high", high)):
        plain = value.obj if isinstance(value, Literal) else value
        if is_finite(plain) and not float(plain).is_integer():
            raise InvalidSpaceError(f"hp.uniformint({label!r}, ...) needs an integer for {bound}, got {plain!r}")
        if is_finite(plain) and abs(plain) > MAX_INTEGER:
            raise InvalidSpaceError(
                f"parameter {label!r}: uniformint needs bounds from -2**53 to 2**53 (a float cannot hold every integer "
                f"beyond), got {bound}={plain!r}: narrow the bounds, or take hp.quniform with a larger q, as a float"
            )
    return scope.int(scope.float(_parameter(label, scope.quniform(low, high, 1.0), "uniformint")))


def loguniform(label: str, low: float, high: float, *extra: float) -> Apply:
    """exp(U), U uniform on [low, high]: the bounds are natural logarithms.

    For a value between 1e-4 and 1 write ``hp.loguniform(label, math.log(1e-4), math.log(1))``. A warning is given for
    bounds that look as if they were not logarithms.

    Raises:
        InvalidTypeError: If the label is no text, or there are more arguments than these.
        InvalidSpaceError: If the bounds are not finite numbers, or not in order, or exp(high) is not finite.
    """
    node = _parameter(label, scope.loguniform(low, high))
    if extra:
        raise InvalidTypeError(
            f"hp.loguniform takes (label, low, high), got {len(extra)} more: hp.qloguniform is the one with q"
        )
    _warn_of_raw_bounds("loguniform", label, low, high)
    return scope.float(node)


def _warn_of_raw_bounds(kind: str, label: str, low: object, high: object) -> None:
    """Warn of (1e-4, 0.1) and the like: as logarithms they mean values from 1.0001 to 1.105, which nobody wants."""
    low, high = (bound.obj if isinstance(bound, Literal) else bound for bound in (low, high))
    if not 0 < low < 1 or high / low < 10 or 1 < high < 50:  # type: ignore[operator]
        return
    warnings.warn(
        f"hp.{kind}({label!r}, {low}, {high}) draws values from {math.exp(low):.5g} to {math.exp(high):.5g}, "  # type: ignore[arg-type]
        f"since its bounds are logarithms: write math.log({low}) and math.log({high}) if you meant these values",
        stacklevel=3,
    )


def qloguniform(label: str, low: float, high: float, q: float) -> Apply:
    """A multiple of ``q`` in [exp(low), exp(high)], log-uniform: the bounds are natural logarithms.

    If there is none, a log-uniform float, with a warning.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If the bounds are not finite numbers, or not in order, exp(high) is not finite, or ``q`` not
            positive.
    """
    node = _quantised("qloguniform", label, low, high, q)
    _warn_of_raw_bounds("qloguniform", label, low, high)
    return scope.float(node)


def normal(label: str, mu: float, sigma: float) -> Apply:
    """A float, normal with mean ``mu`` and standard deviation ``sigma``.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If ``mu`` is not a finite number, or ``sigma`` not a positive one.
    """
    return scope.float(_parameter(label, scope.normal(mu, sigma)))


def qnormal(label: str, mu: float, sigma: float, q: float) -> Apply:
    """A normal draw rounded to the nearest multiple of ``q``.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If ``mu`` is not a finite number, or ``sigma`` or ``q`` not a positive one.
    """
    return scope.float(_parameter(label, scope.qnormal(mu, sigma, q)))


def lognormal(label: str, mu: float, sigma: float) -> Apply:
    """exp of a normal draw with mean ``mu`` and standard deviation ``sigma``.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If ``mu`` is not a finite number, or ``sigma`` not a positive one.
    """
    return scope.float(_parameter(label, scope.lognormal(mu, sigma)))


def qlognormal(label: str, mu: float, sigma: float, q: float) -> Apply:
    """exp of a normal draw, rounded to the nearest multiple of ``q``.

    Raises:
        InvalidTypeError: If the label is no text.
        InvalidSpaceError: If ``mu`` is not a finite number, or ``sigma`` or ``q`` not a positive one.
    """
    return scope.float(_parameter(label, scope.qlognormal(mu, sigma, q)))
