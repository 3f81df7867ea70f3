"""``Stopping``: why a run ends."""

import math

import pytest

from sparktune.exceptions import InvalidArgumentError
from sparktune.run.stopping import LONGEST_WAIT, Stopping


def reason(stopping, best_loss=None, has_new_result=True):
    return stopping.reason(None, best_loss, has_new_result=has_new_result)


def test_no_rule_no_reason():
    """Without rules a run goes on."""
    assert reason(Stopping(), best_loss=-math.inf) is None
    assert Stopping().remaining() is None


@pytest.mark.parametrize(("best", "expected"), [(None, None), (1.0, None), (0.99, "loss threshold reached")])
def test_threshold(best, expected):
    """The best loss must be below the threshold."""
    assert reason(Stopping(loss_threshold=1.0), best) == expected


class Results:
    """Trials with two losses each, and no scalar one if that is so."""

    n_objectives = 2

    def __init__(self, has_only_several_losses):
        self._has_only_several_losses = has_only_several_losses


def test_a_threshold_without_a_loss_is_warned_of_once(caplog):
    """That no loss can be compared with the threshold is said as soon as results show it, and not again."""
    stopping = Stopping(loss_threshold=1.0)
    assert stopping.reason(Results(False), None, has_new_result=True) is None
    assert not caplog.records
    for _ in range(3):
        assert stopping.reason(Results(True), None, has_new_result=True) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("loss_threshold is compared with the 'loss' of a result, got results with 2 ")
    assert Stopping().reason(Results(True), None, has_new_result=True) is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("limits", [{"timeout": 0}, {"timeout": "1"}, {"loss_threshold": math.nan}])
def test_limits_that_are_none_are_refused(limits):
    """Whoever makes the rules, fmin or a program with its own FMinIter."""
    with pytest.raises(InvalidArgumentError, match=f"The {next(iter(limits))} argument should be None or"):
        Stopping(**limits)


def test_timeout_goes_before_the_other_rules():
    """When the time is over, that is the reason."""
    stopping = Stopping(timeout=1e-9, loss_threshold=1.0)
    while stopping.remaining():
        pass
    assert reason(stopping, best_loss=0.0) == "fmin run timeout"


@pytest.mark.parametrize("timeout", [1e300, math.inf])
def test_far_timeouts_can_be_waited_for(timeout):
    """remaining() never exceeds what a lock can wait for."""
    assert Stopping(timeout=timeout).remaining() == LONGEST_WAIT
    assert reason(Stopping(timeout=timeout)) is None


def test_the_early_stop_rule_is_asked_after_new_results_only():
    """Without a new result the rule is not called."""
    stopping = Stopping(early_stop_fn=lambda trials: (True, []))
    assert reason(stopping, has_new_result=False) is None
    assert reason(stopping) == "early stopping condition"
