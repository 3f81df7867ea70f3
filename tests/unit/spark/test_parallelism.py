"""How many trials run at a time, as far as that takes no Spark."""

from sparktune import SparkTrials
from sparktune.spark.parallelism import Slots


def test_programs_find_hyperopts_bound_which_does_not_hold():
    """SparkTrials has the number that programs keep their parallelism to, and a higher one is taken as it is."""
    bound = SparkTrials.MAX_CONCURRENT_JOBS_ALLOWED
    assert bound == 128
    assert Slots(None, bound + 72, "jobs")() == 200
