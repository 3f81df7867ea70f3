"""What every ``suggest`` does around its ``propose``."""

import pytest

from sparktune import Trials, anneal, atpe, hp, qmc, rand, tpe
from sparktune.exceptions import InvalidTypeError
from sparktune.run.domain import Domain

ALGOS = pytest.mark.parametrize("suggest", [rand.suggest, tpe.suggest, anneal.suggest, atpe.suggest, qmc.suggest])


@ALGOS
def test_trials_of_an_installed_hyperopt_are_refused(suggest):
    """hyperopt's own fmin with an algorithm of ours says what to change: its trials have no history."""
    own = type("Trials", (), {"__module__": "hyperopt.base", "trials": [], "losses": list})()
    domain = Domain(None, hp.uniform("x", 0, 1))
    with pytest.raises(InvalidTypeError, match=r"trials must be sparktune's, got hyperopt's Trials: change the import"):
        suggest([0], domain, own, 0)


@ALGOS
def test_a_wrapper_that_passes_on_is_enough(suggest):
    """An object of another class that has what our trials have is asked like them."""

    class Wrapper:
        def __init__(self, trials):
            self.wrapped = trials

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

    (document,) = suggest([0], Domain(None, hp.uniform("x", 0, 1)), Wrapper(Trials()), 0)
    assert 0 <= document["misc"]["vals"]["x"][0] <= 1
