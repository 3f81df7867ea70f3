"""A Spark session: the one that is there, or a new one that suits tuning."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.java import ensure_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Settings of a session that we start ourselves, unless given; ``conf/spark-defaults.conf`` says why for each.
DEFAULTS = {
    "spark.python.task.killTimeout": "200ms",
    "spark.scheduler.mode": "FAIR",
    "spark.ui.showConsoleProgress": "false",
}
#: A local session needs no address but the loopback one: this starts on machines whose own name does not resolve.
LOCAL_DEFAULTS = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def get_session(
    master: str | None = None, app_name: str = "sparktune", config: Mapping[str, str] | None = None
) -> SparkSession:
    """The active Spark session; if there is none, a new one.

    Starting one finds a Java first, see :func:`sparktune.spark.java.ensure_java`.

    Args:
        master: Spark master of a new session, such as ``"local[4]"``; None: what spark-submit or the configuration
            says, else ``local[*]``.
        app_name: Name of a new application.
        config: Further Spark settings of a new session.

    Raises:
        SparkUnavailableError: If pyspark is not installed.
        JavaNotFoundError: If a new session is needed and no suitable Java is found.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise SparkUnavailableError(
            f"SparkTrials needs pyspark >= 3.5, and importing it failed ({error}): pip install 'sparktune[local]' on a "
            "laptop; on a cluster use the cluster's own Python"
        ) from error
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        return SparkSession.builder.getOrCreate()
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started Java for us
    if not is_submitted and "SPARK_REMOTE" not in os.environ:
        ensure_java()
        # Workers of a local session run this very Python; elsewhere the cluster's settings know better.
        if master is None or master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name)
    if master is not None:
        builder = builder.master(master)
    is_local = master.startswith("local") if master is not None else not is_submitted and "MASTER" not in os.environ
    settings = {**DEFAULTS, **(LOCAL_DEFAULTS if is_local else {}), **(config or {})}
    for key, value in settings.items():
        if not is_submitted or key in (config or {}):
            builder = builder.config(key, value)
    return builder.getOrCreate()
