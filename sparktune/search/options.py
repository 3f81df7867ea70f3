"""Rules for the options of the algorithms, and the one way in which they are checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.space.nodes import is_number


@dataclass(frozen=True, slots=True)
class Rule:
    """What an option must be: in words, and as a test of a number."""

    text: str
    holds: Callable[[Any], object]


AT_LEAST_0 = Rule("a number >= 0", lambda value: value >= 0)
AT_LEAST_1 = Rule("a finite number >= 1", lambda value: 1 <= value < math.inf)
FINITE_AT_LEAST_0 = Rule("a finite number >= 0", lambda value: 0 <= value < math.inf)
FINITE_ABOVE_0 = Rule("a finite number > 0", lambda value: 0 < value < math.inf)
COUNT = Rule("an integer >= 1", lambda value: hasattr(value, "__index__") and value >= 1)
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
            raise InvalidArgumentError(f"{owner} takes for {name} {rule.text}, got {name}={value!r}")
