"""Where trials run, on Spark. pyspark is imported when a ``SparkTrials`` is made, not before."""

from sparktune.spark.session import get_session
from sparktune.spark.trials import SparkTrials

__all__ = ["SparkTrials", "get_session"]
