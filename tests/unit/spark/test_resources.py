"""The rules for resources per trial that hold before any session is asked."""

import pytest

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.spark.resources import build_profile, is_connect, is_local_master


def test_nothing_asked_for_is_no_profile():
    """Without resources there is no profile, whatever the session."""
    assert build_profile(None) is None


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"cpus_per_trial": 0}, InvalidArgumentError, "cpus_per_trial must be 1 or more, got 0"),
        ({"cpus_per_trial": 1.5}, InvalidTypeError, "cpus_per_trial is a whole number of cores, got 1.5"),
        ({"cpus_per_trial": True}, InvalidTypeError, "cpus_per_trial is a whole number of cores, got True"),
        ({"gpus_per_trial": 0}, InvalidArgumentError, "gpus_per_trial must be .* got 0"),
        ({"gpus_per_trial": 0.7}, InvalidArgumentError, "gpus_per_trial must be .* got 0.7"),
        ({"gpus_per_trial": 1.5}, InvalidArgumentError, "gpus_per_trial must be .* got 1.5"),
        ({"gpus_per_trial": "1"}, InvalidTypeError, "gpus_per_trial is a number of GPUs, got '1'"),
        ({"cpus_per_trial": 2, "resource_profile": object()}, InvalidArgumentError, "leave out one or the other"),
        ({"gpus_per_trial": 1, "resource_profile": object()}, InvalidArgumentError, "leave out one or the other"),
    ],
)
def test_resources_out_of_their_rule_are_refused(asked, error, message):
    """Each error names the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        build_profile(None, **asked)


@pytest.mark.parametrize(
    ("master", "expected"),
    [("local", True), ("local[2]", True), ("local[*,4]", True), ("local-cluster[2,1,1024]", False), ("yarn", False)],
)
def test_local_mode_is_told_from_a_cluster_on_one_machine(master, expected):
    """Only local mode has its tasks in the driver's own process."""
    assert is_local_master(master) is expected


def test_connect_session_is_told_by_its_class():
    """The kind of session is seen from its class, without gRPC or a server, subclasses included."""
    session = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})
    assert is_connect(type("TheirSession", (session,), {})())
    assert not is_connect(type("SparkSession", (), {"__module__": "pyspark.sql.session"})())
