"""A Spark session: the one that is there, or a new one that suits tuning; and the gateway to it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparktune.exceptions import InvalidTypeError, SparkUnavailableError
from sparktune.spark.classic import ClassicGateway
from sparktune.spark.connect import ConnectGateway
from sparktune.spark.gateway import Gateway
from sparktune.spark.java import ensure_java
from sparktune.spark.resources import is_connect, master_of, setting_of

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

logger = logging.getLogger("sparktune")

#: Settings by which a session becomes one of Spark Connect.
CONNECTING = ("spark.remote", "spark.api.mode")

#: Spark's own progress bar, which would write over ours. Spark turns it on by itself where a program is started with
#: python, so what the configuration says of it cannot be told from that: it is off unless a program asks for it.
PROGRESS = "spark.ui.showConsoleProgress"
#: Settings of a session that we start ourselves, unless given; ``conf/spark-defaults.conf`` says why for each.
DEFAULTS = {"spark.python.task.killTimeout": "200ms", "spark.scheduler.mode": "FAIR"}
#: A local session needs no address but the loopback one, whatever the machine's own name resolves to.
LOCAL_DEFAULTS = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def get_session(
    master: str | None = None, app_name: str = "sparktune", config: Mapping[str, str] | None = None
) -> SparkSession:
    """The active Spark session, as it is, with a warning if it is not as asked; if there is none, a new one.

    Starting one finds a Java first, see :func:`sparktune.spark.java.ensure_java`. What neither ``config`` nor Spark's
    configuration (``spark-defaults.conf``, ``PYSPARK_SUBMIT_ARGS``) says is set to what suits tuning, and Spark's own
    progress bar is off unless ``config`` turns it on. In a program that spark-submit has started, and on Spark
    Connect, all but the name is left as it is.

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
        _warn_of_ignored(active, master, config or {})
        return active
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        active = SparkSession.builder.getOrCreate()
        _warn_of_ignored(active, master, config or {})
        return active
    asked = {} if master is None else {"spark.master": master}
    settings = {"spark.app.name": app_name, **asked, **(config or {})}
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started Java for us
    if not is_submitted and not _is_for_connect(settings):
        SparkContext._assert_on_driver()  # as making it does, but only after it has started a Java
        ensure_java()
        settings = _completed(settings)
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _warn_of_ignored(session: SparkSession, master: str | None, config: Mapping[str, str]) -> None:
    """Say what was asked of a new session that the active one, which is given instead, has not."""
    there = master_of(session)
    ignored = [] if master in (None, there) else [f"master {master!r}"]
    # Their names alone, for a value may be a password. A True is Spark's "true".
    # What made it a Connect session is no setting of it.
    asked = {key: value for key, value in config.items() if not (is_connect(session) and key in CONNECTING)}
    ignored += [key for key, value in asked.items() if setting_of(session, key).lower() != str(value).lower()]
    if ignored:
        logger.warning(
            "get_session gives the active Spark session (master %s) as it is, and what was asked of a new one is "
            "ignored: %s; end the active one first, by its stop(), or leave that out",
            there,
            ", ".join(ignored),
        )


def _is_for_connect(settings: Mapping[str, str]) -> bool:
    """Whether pyspark makes a Connect session of them, here or on a server: most settings are the server's then."""
    mode = settings.get("spark.api.mode", os.environ.get("SPARK_API_MODE", ""))
    asked = {"SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"} & os.environ.keys()
    return bool(asked) or "spark.remote" in settings or mode.lower() == "connect"


def _completed(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings, and ours where neither they nor Spark's configuration say anything.

    Starts Java, in which the session will run, and asks Spark there: a master can come from four places, and on a
    cluster executors could not reach a driver at the loopback address.
    """
    from pyspark import SparkConf, SparkContext

    # Java keeps what it is started with for all sessions to come, so ours, which it can do without, must not be in it.
    ours = {PROGRESS, *DEFAULTS, *LOCAL_DEFAULTS}
    for_java = [(key, value) for key, value in settings.items() if key not in ours]
    SparkContext._ensure_initialized(conf=SparkConf(loadDefaults=False).setAll(for_java))
    given = {**dict(SparkConf().getAll()), **settings}
    defaults = dict(DEFAULTS)
    if given.get("spark.master", "").startswith("local"):
        # Workers there run this very Python; elsewhere the cluster's settings know better.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        if not LOCAL_DEFAULTS.keys() & given.keys():  # one alone would not fit the other
            defaults.update(LOCAL_DEFAULTS)
    missing = {key: value for key, value in defaults.items() if key not in given}
    return {PROGRESS: "false", **missing, **settings}


def connect_to(session: SparkSession, resource_profile: ResourceProfile | None = None) -> Gateway:
    """The gateway that fits a session.

    Args:
        session: Classic or Connect.
        resource_profile: Resources of each task, from :func:`sparktune.spark.resources.build_profile`.

    Raises:
        InvalidTypeError: If it is no session.
        SparkUnavailableError: If the session is stopped, or unfit.
    """
    if isinstance(session, type) or not hasattr(session, "createDataFrame"):
        raise InvalidTypeError(
            f"spark_session is a Spark session, classic or Connect, got {session!r}: pass spark, what "
            "sparktune.spark.get_session(master) gives, or None for the active one"
        )
    return (ConnectGateway if is_connect(session) else ClassicGateway)(session, resource_profile)
