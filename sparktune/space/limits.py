"""What the distributions refuse: arguments that are no numbers or not in order, and those too extreme for floats.

Each function raises :class:`InvalidSpaceError`, with the rule, the values received and the fix, or does nothing.
``kind`` is the distribution's name in the message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparktune.exceptions import InvalidSpaceError
from sparktune.space.numbers import is_finite, is_number

#: Exponents are cut here: exp(709.8) is the largest double.
MAX_EXPONENT = 700.0
#: Larger arguments of normal distributions are refused: a search that goes far from the mean must not leave the floats.
LARGEST = 1e300
#: Steps of at most so many standard deviations: kernels square them.
MAX_DEVIATIONS = 1e150
#: No draw is so many standard deviations from the mean.
REACH = 40.0
#: Beyond, a float cannot hold every integer.
MAX_INTEGER = 2**53
#: Probabilities may miss a sum of 1 by so much: 0.33 three times is a thing people write, and is normalised.
SUM_SLACK = 0.02


def require_numbers(kind: str, **arguments: object) -> None:
    """Each argument must be a finite number."""
    for name, value in arguments.items():
        if not is_finite(value):
            raise InvalidSpaceError(f"{kind} needs a finite number for {name}, got {name}={value!r}")


def require_range(kind: str, low: float, high: float) -> None:
    """The bounds must be in order, and not an infinity apart."""
    require_numbers(kind, low=low, high=high)
    if not low < high:
        hint = " (both are logarithms: use math.log(1e-4) for 1e-4)" if "log" in kind else ": swap or widen the bounds"
        raise InvalidSpaceError(f"{kind}: low should be less than high, got low={low}, high={high}{hint}")
    if not is_finite(float(high) - float(low)):
        raise InvalidSpaceError(f"{kind} needs a finite high - low, got low={low}, high={high}: narrow the bounds")


def require_positive(kind: str, name: str, value: float) -> None:
    """A scale or a step must be above 0."""
    require_numbers(kind, **{name: value})
    if not value > 0:
        raise InvalidSpaceError(f"{kind} needs {name} > 0, got {name}={value}")


def require_moderate(kind: str, **arguments: float) -> None:
    """What far draws are made of must leave them room among the floats."""
    for name, value in arguments.items():
        if abs(float(value)) > LARGEST:
            raise InvalidSpaceError(
                f"{kind} needs {name} within {LARGEST:g} of 0 (values may become infinite beyond), got {name}={value}: "
                "use a smaller one, and scale it inside the space"
            )


def require_exponent(kind: str, high: float) -> None:
    """The exponential of the highest logarithm must be finite."""
    if high > MAX_EXPONENT:
        raise InvalidSpaceError(
            f"{kind} takes the logarithms of its bounds, got high={high}, and exp({high}) is not a finite number: "
            f"use math.log({high}) if you meant {high}"
        )


def require_multiples(kind: str, largest: float, q: float) -> None:
    """The number of steps up to the largest value must be finite."""
    if not is_finite(float(largest) / float(q)):
        raise InvalidSpaceError(f"{kind} has too many multiples of q={q} up to {largest:g}: use a larger q")


def require_deviations(kind: str, sigma: float, q: float) -> None:
    """A step must not be so many standard deviations that its square is infinite."""
    if float(q) / float(sigma) > MAX_DEVIATIONS:
        raise InvalidSpaceError(
            f"{kind} needs q <= {MAX_DEVIATIONS:g} * sigma, got sigma={sigma}, q={q}: use a smaller q"
        )


def highest_lognormal(mu: float, sigma: float) -> float:
    """The largest value that a lognormal distribution can draw."""
    return math.exp(min(float(mu) + REACH * float(sigma), MAX_EXPONENT))


def lowest_lognormal(mu: float, sigma: float) -> float:
    """The smallest value that a lognormal distribution can draw; 0.0 where it is too small for a float."""
    return math.exp(float(mu) - REACH * float(sigma))


def require_grid(kind: str, low: float, high: float, q: float, first: int, last: int) -> None:
    """Floats must hold every multiple of q from the first to the last, and half a step beyond each bound."""
    if max(-first, last) > MAX_INTEGER:
        raise InvalidSpaceError(
            f"{kind} needs multiples of q up to 2**53 * q (a float cannot hold every one beyond), "
            f"got low={low}, high={high}, q={q}: use a larger q"
        )
    if not is_finite((last + 0.5) * float(q) - (first - 0.5) * float(q)):
        raise InvalidSpaceError(
            f"{kind} needs bounds that are finite with half a step beyond each, got low={low}, "
            f"high={high}, q={q}: use a smaller q"
        )


def require_integers(kind: str, low: int, high: int) -> None:
    """The bounds must be integers in order, within those of which floats hold every one."""
    for name, value in (("low", low), ("high", high)):
        if not is_finite(value) or not float(value).is_integer():
            raise InvalidSpaceError(f"{kind} needs an integer for {name}, got {name}={value!r}")
    if not low < high:
        raise InvalidSpaceError(f"{kind} draws from low to high - 1 and needs low < high, got low={low}, high={high}")
    if low < -MAX_INTEGER or high > MAX_INTEGER:
        raise InvalidSpaceError(
            f"{kind}'s bounds must lie within 2**53 of 0 (beyond, a float cannot hold every integer), "
            f"got low={low}, high={high}"
        )


def require_probabilities(kind: str, p: Sequence[float]) -> None:
    """There must be probabilities, each from 0 to 1, with a sum of 1."""
    if not p:
        raise InvalidSpaceError(f"{kind} needs at least one (probability, option) pair, got none")
    for probability in p:
        if not is_number(probability) or not 0 <= probability <= 1:
            raise InvalidSpaceError(
                f"{kind} needs probabilities from 0 to 1, got {probability!r}: write (probability, option)"
            )
    if abs(sum(p) - 1.0) > SUM_SLACK:
        raise InvalidSpaceError(f"{kind} needs probabilities that sum to 1, got {list(p)}, which sum to {sum(p):g}")
