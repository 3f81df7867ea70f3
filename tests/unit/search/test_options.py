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
        (options.AT_LEAST_0, [0, 0.5, math.inf, 10**400], [-1, math.nan, "1", None]),
        (options.AT_LEAST_1, [1, 2.5], [0.9, math.inf, math.nan, 10**400, 1e301]),
        (options.FINITE_AT_LEAST_0, [0, 7], [-0.1, math.inf, 10**400]),
        (options.FINITE_ABOVE_0, [0.1, 7, 1e300, np.float32(5)], [0, math.inf, math.nan, 10**400]),
        (options.COUNT, [1, np.int64(5), np.int8(5), 1_000_000], [0, 1.5, 2.0, math.inf, 1_000_001, 10**400]),
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


def test_an_integer_that_cannot_be_written():
    """An integer with more digits than Python writes is refused like any other."""
    with pytest.raises(InvalidArgumentError, match=r"got x=an int of thousands of digits$"):
        options.check_options("my.suggest", SimpleNamespace(x=10**5000), {"x": options.COUNT})
