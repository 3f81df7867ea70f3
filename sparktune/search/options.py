"""Rules for the options of the algorithms, and the one way in which they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.space.numbers import is_finite, is_number


@dataclass(frozen=True, slots=True)
class Rule:
    """What an option must be: in words, and as a test of a number."""

    text: str
    holds: Callable[[Any], object]


#: More candidates than memory has room for: there are arrays of them for each parameter, and for each trial.
MAX_COUNT = 1_000_000
#: Leaves room for products with the number of trials; an int may even be beyond all floats.
LARGEST = 1e300


def _is_float(value: Any) -> bool:
    return is_finite(value) and float(value) <= LARGEST


AT_LEAST_0 = Rule("a number >= 0", lambda value: value >= 0)
AT_LEAST_1 = Rule(f"a finite number >= 1, at most {LARGEST:g}", lambda value: value >= 1 and _is_float(value))
FINITE_AT_LEAST_0 = Rule(f"a finite number >= 0, at most {LARGEST:g}", lambda value: value >= 0 and _is_float(value))
FINITE_ABOVE_0 = Rule(f"a finite number > 0, at most {LARGEST:g}", lambda value: value > 0 and _is_float(value))
COUNT = Rule(
    f"an integer >= 1, at most {MAX_COUNT}", lambda value: hasattr(value, "__index__") and 1 <= value <= MAX_COUNT
)
INSIDE_0_1 = Rule("a number between 0 and 1", lambda value: 0 < value < 1)
FROM_0_TO_1 = Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)


def check_options(owner: str, options: object, rules: Mapping[str, Rule]) -> None:
    """Hold options against their rules.

    Args:
        owner: The function they belong to, as users write it.
        options: An object with an attribute for each.
        rules: The rule of each, by name.

    Raises:
        InvalidArgumentError: If one is not a number, or out of its rule; the message names it.
    """
    for name, rule in rules.items():
        value = getattr(options, name)
        if not is_number(value) or not rule.holds(value):  # NaN included
            raise InvalidArgumentError(f"{owner} takes for {name} {rule.text}, got {name}={_shown(value)}")


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no int of more than 4300 digits
        return "an int of thousands of digits"
