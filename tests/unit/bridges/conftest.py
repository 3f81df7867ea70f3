"""What the tests of several bridges share."""

import pytest


@pytest.fixture
def takes_constraints():
    """Skips where Optuna does not take the constraints of trials."""
    from sparktune.bridges.optuna.units import TAKES_CONSTRAINTS

    if not TAKES_CONSTRAINTS:
        pytest.skip("Optuna 4 takes constraints from its own")
