"""Where trials run, on Spark. pyspark is imported when a ``SparkTrials`` is made, not before."""

from sparktune.run.stopping import REASON_EARLY_STOP, REASON_TIMEOUT, REASON_USER
from sparktune.spark.session import get_session
from sparktune.spark.trials import SparkTrials

__all__ = ["SparkTrials", "get_session"]

# By hyperopt's names: programs compare ``trials.fmin_cancelled_reason`` with them.
FMIN_CANCELLED_REASON_EARLY_STOPPING = REASON_EARLY_STOP
FMIN_CANCELLED_REASON_TIMEOUT = REASON_TIMEOUT
FMIN_CANCELLED_REASON_USER = REASON_USER
