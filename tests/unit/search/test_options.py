"""Rules for options."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sparktune.exceptions import InvalidArgumentError
from sparktune.search import options


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (options.AT_LEAST_0, [0, 0.5, math.inf], [-1, math.nan, "1", None]),
        (options.AT_LEAST_1, [1, 2.5], [0.9, math.inf, math.nan]),
        (options.FINITE_AT_LEAST_0, [0, 7], [-0.1, math.inf]),
        (options.FINITE_ABOVE_0, [0.1, 7], [0, math.inf, math.nan]),
        (options.COUNT, [1, np.int64(5)], [0, 1.5, 2.0, math.inf]),
        (options.INSIDE_0_1, [0.1, 0.9], [0, 1, math.nan]),
        (options.FROM_0_TO_1, [0, 0.5, 1], [-0.1, 1.1, math.nan]),
    ],
)
def test_rules(rule, good, bad):
    """What holds passes; what does not is refused with owner, name, rule and value."""
    for value in good:
        options.check_options("my.suggest", SimpleNamespace(x=value), {"x": rule})
    for value in bad:
        with pytest.raises(InvalidArgumentError) as caught:
            options.check_options("my.suggest", SimpleNamespace(x=value), {"x": rule})
        assert str(caught.value) == f"my.suggest takes for x {rule.text}, got x={value!r}"
