"""New sessions and what Spark's configuration says about them; each in a process of its own, with a Java of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparktune

pytestmark = pytest.mark.spark

SETTINGS = (
    "spark.master",
    "spark.scheduler.mode",
    "spark.python.task.killTimeout",
    "spark.ui.showConsoleProgress",
    "spark.driver.host",
    "spark.driver.bindAddress",
)

#: Says what a session has.
REAL = """
import json, os
from sparktune.spark import get_session

session = get_session({arguments})
settings = dict(session.sparkContext.getConf().getAll())
settings["heap"] = session.sparkContext._jvm.java.lang.Runtime.getRuntime().maxMemory()
print(json.dumps({{"settings": settings, "environment": dict(os.environ)}}))
session.stop()
"""

#: Says what a session is asked to have, where there is no such cluster.
ASKED = """
import json, os
from pyspark.sql import SparkSession
from sparktune.spark import get_session

SparkSession.Builder.getOrCreate = lambda self: self._options
print(json.dumps({{"settings": get_session({arguments}), "environment": dict(os.environ)}}))
"""

#: Two sessions one after the other in one Java.
TWO = """
import json, os
from sparktune.spark import get_session

get_session("local[1]", config={{"spark.ui.enabled": "false", "spark.scheduler.mode": "FIFO"}}).stop()
session = get_session({arguments})
print(json.dumps({{"settings": dict(session.sparkContext.getConf().getAll()), "environment": dict(os.environ)}}))
session.stop()
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program under a ``spark-defaults.conf`` and variables; returns its settings and its environment."""

    def run(program, arguments="", defaults="", names=SETTINGS, **variables):
        (tmp_path / "spark-defaults.conf").write_text(f"spark.ui.enabled false\n{defaults}\n")
        others = ("PYSPARK_", "SPARK_REMOTE", "SPARK_CONNECT_MODE", "MASTER")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        environment |= {
            "PYTHONPATH": str(Path(sparktune.__file__).parent.parent),
            "SPARK_CONF_DIR": str(tmp_path),
            "SPARK_LOCAL_IP": "127.0.0.1",
            **variables,
        }
        output = subprocess.run(
            [sys.executable, "-c", program.format(arguments=arguments)],
            env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=180,
        ).stdout  # fmt: skip
        said = json.loads(output.splitlines()[-1])
        return {key: said["settings"].get(key) for key in names}, said["environment"]

    return run


def test_a_session_suits_tuning(run):
    """Where nothing is said, a session is local, fair, quick to kill and quiet, and runs this very Python."""
    settings, environment = run(REAL)
    assert settings == {
        "spark.master": "local[*]",
        "spark.scheduler.mode": "FAIR",
        "spark.python.task.killTimeout": "200ms",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    assert environment["PYSPARK_PYTHON"] == sys.executable


def test_what_the_configuration_says_holds(run):
    """What spark-defaults.conf says is not overridden, and an address of it is not mixed with ours."""
    defaults = (
        "spark.master local-cluster[1,1,512]\nspark.executor.memory 512m\nspark.scheduler.mode FIFO\n"
        "spark.driver.host localhost"
    )
    settings, environment = run(REAL, defaults=defaults)
    assert settings == {
        "spark.master": "local-cluster[1,1,512]",
        "spark.scheduler.mode": "FIFO",
        "spark.python.task.killTimeout": "200ms",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "localhost",
        "spark.driver.bindAddress": None,
    }
    assert environment["PYSPARK_PYTHON"] == sys.executable


@pytest.mark.parametrize(
    "where",
    [
        {"defaults": "spark.master spark://cluster:7077"},
        {"PYSPARK_SUBMIT_ARGS": "--master spark://cluster:7077 pyspark-shell"},
        {"MASTER": "spark://cluster:7077"},
        {"arguments": "'spark://cluster:7077'"},
        {"arguments": "config={'spark.master': 'spark://cluster:7077'}"},
    ],
    ids=["spark-defaults.conf", "PYSPARK_SUBMIT_ARGS", "MASTER", "master=", "config="],
)
def test_a_cluster_s_driver_has_an_address_that_executors_reach(run, where):
    """Wherever the master is written: only a local session is at the loopback address and runs the driver's Python."""
    settings, environment = run(ASKED, **where)
    assert settings["spark.driver.host"] is None
    assert settings["spark.driver.bindAddress"] is None
    assert settings["spark.scheduler.mode"] == "FAIR"
    assert "PYSPARK_PYTHON" not in environment


def test_arguments_hold_over_the_configuration(run):
    """The caller's own settings come before those of spark-defaults.conf, for Java itself, too."""
    defaults = "spark.master spark://cluster:7077\nspark.scheduler.mode FAIR\nspark.driver.memory 700m"
    config = {"spark.scheduler.mode": "FIFO", "spark.driver.memory": "600m", "spark.ui.showConsoleProgress": "true"}
    arguments = f"'local[1]', config={config}"
    settings, _ = run(REAL, arguments, defaults, (*SETTINGS, "heap"))
    assert settings["heap"] <= 600 * 2**20
    assert settings["spark.master"] == "local[1]"
    assert settings["spark.scheduler.mode"] == "FIFO"
    assert settings["spark.ui.showConsoleProgress"] == "true"
    assert settings["spark.driver.host"] == "127.0.0.1"


def test_a_session_s_own_settings_end_with_it(run):
    """What an earlier session of the process was told is no configuration of the next."""
    settings, _ = run(TWO, "'local[1]'")
    assert settings["spark.scheduler.mode"] == "FAIR"


@pytest.mark.parametrize(
    "where",
    [{"SPARK_REMOTE": "sc://cluster"}, {"arguments": "config={'spark.remote': 'sc://cluster'}"}],
    ids=["SPARK_REMOTE", "config="],
)
def test_a_connect_session_is_left_to_its_server(run, where):
    """On Spark Connect nothing is asked for, and no Java is needed."""
    settings, environment = run(ASKED, **where, JAVA_HOME="nowhere", PATH="")
    assert set(settings.values()) == {None}
    assert "PYSPARK_PYTHON" not in environment
