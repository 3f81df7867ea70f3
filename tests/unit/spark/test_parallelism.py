"""How many trials run at a time, as far as that takes no Spark."""

import pytest

from sparktune import SparkTrials
from sparktune.exceptions import SparkUnavailableError
from sparktune.spark import parallelism
from sparktune.spark.parallelism import Slots


def test_programs_find_hyperopts_bound_which_does_not_hold():
    """SparkTrials has the number that programs keep their parallelism to, and a higher one is taken as it is."""
    bound = SparkTrials.MAX_CONCURRENT_JOBS_ALLOWED
    assert bound == 128
    assert Slots(None, bound + 72, "jobs")() == 200


class Cluster:
    """A gateway to so many slots; None: it has ended."""

    def __init__(self, n):
        self.n = n

    def n_slots(self):
        if self.n is None:
            raise SparkUnavailableError("the Spark session is stopped")
        return self.n

    max_slots = n_slots


def test_last_number_of_slots_outlives_the_cluster(monkeypatch):
    """With "auto", the slots follow the cluster until it ends; who asks then is told the last number."""
    monkeypatch.setattr(parallelism, "INTERVAL", -1.0)
    cluster = Cluster(2)
    slots = Slots(cluster, "auto", "jobs")
    cluster.n = 5
    assert slots() == 5
    cluster.n = None
    assert slots() == 5
    with pytest.raises(SparkUnavailableError, match="is stopped"):
        Slots(cluster, "auto", "jobs")
