"""Real Spark sessions, and what lets a test see an objective run elsewhere: a journal and a desk."""

import contextlib
import os
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.spark import get_session

#: A cluster of two executors, processes of their own with one slot each, on this machine.
CLUSTER = "local-cluster[2,1,1024]"

# Cluster workers get the standard library and what Spark itself brings: no sparktune, no site-packages at all.
BARE_PYTHON = """\
#!/bin/sh
PYTHONPATH=$(printf '%s' "$PYTHONPATH" | tr : '\\n' | grep '[.]zip$' | paste -s -d : -)
export PYTHONPATH
exec '{python}' -S "$@"
"""


def stop_session():
    """Stop the session that is active, if any."""
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()
    elif SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()


@pytest.fixture(scope="module")
def session(request, tmp_path_factory):
    """A session on ``local[2]``, or on the master that the test names as ``indirect`` parameter."""
    stop_session()  # of other tests: a process can have one only
    master = getattr(request, "param", "local[2]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        if master == CLUSTER:
            python = tmp_path_factory.mktemp("bin") / "python"
            python.write_text(BARE_PYTHON.format(python=sys.executable))
            python.chmod(0o755)
            patch.setenv("PYSPARK_PYTHON", str(python))
        session = get_session(master, config={"spark.ui.enabled": "false"})
        application_id = session.sparkContext.applicationId
        yield session
        stop_session()  # not always the one above: tests may stop it and make another
    home = os.environ.get("SPARK_HOME") or os.path.dirname(pyspark.__file__)
    shutil.rmtree(Path(home, "work", application_id), ignore_errors=True)  # the executors' folders, on a cluster


@pytest.fixture(scope="module")
def tune(session):
    """Evaluates an objective at 0, 1, ..., n - 1, where trial i gets the point i; returns the trials."""

    def tune(objective, points, trials=None, parallelism=2, **options):
        points = range(points) if isinstance(points, int) else points
        if trials is None:
            trials = SparkTrials(parallelism=parallelism, spark_session=session)
        defaults = {"return_argmin": False, "show_progressbar": False, "verbose": False}
        fmin(
            objective,
            hp.randint("i", 1000),
            algo=rand.suggest,
            max_evals=len(trials.trials),  # the points come on top
            trials=trials,
            points_to_evaluate=[{"i": i} for i in points],
            **{**defaults, **options},
        )
        return trials

    return tune


class Journal:
    """A file that objectives append lines to.

    Attributes:
        write: Appends a line; for objectives, as are all functions here that travel: they are pickled by value.
    """

    def __init__(self, path):
        self.path = path

        def write(line):
            with open(path, "a") as file:
                file.write(f"{line}\n")

        self.write = write

    @property
    def lines(self):
        return Path(self.path).read_text().splitlines() if os.path.exists(self.path) else []


@pytest.fixture
def journal(tmp_path):
    """A new :class:`Journal`."""
    return Journal(str(tmp_path / "journal.txt"))


@dataclass
class Visit:
    """An objective that has checked in and waits."""

    message: str
    connection: socket.socket

    def answer(self, text="go on"):
        """Let it go on; ``check_in`` returns the text."""
        self.connection.sendall(text.encode())

    def wait_until_gone(self, timeout=60):
        """Wait until its process has let go of the connection."""
        self.connection.settimeout(timeout)
        with contextlib.suppress(ConnectionResetError):
            assert self.connection.recv(1) == b""


class Desk:
    """A port where objectives check in, so that a test knows that they run, and wait until they are answered.

    Attributes:
        check_in: For objectives: send a message, return the answer. Empty if the test ended without one.
    """

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = port = self._server.getsockname()[1]
        self._visits = []

        def check_in(message):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(f"{message}\n".encode())
                return connection.recv(100).decode()

        self.check_in = check_in

    def next(self, timeout=60):
        """The next objective that checks in."""
        self._server.settimeout(timeout)
        connection, _ = self._server.accept()
        connection.settimeout(timeout)
        with connection.makefile() as file:
            self._visits.append(Visit(file.readline().strip(), connection))
        return self._visits[-1]

    def close(self):
        self._server.close()
        for visit in self._visits:
            visit.connection.close()


@pytest.fixture
def desk():
    """A new :class:`Desk`."""
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def background(desk):
    """Runs a function in a thread; returns its future."""
    threads = ThreadPoolExecutor(4)
    yield threads.submit
    desk.close()  # whoever waits there would keep the threads
    threads.shutdown(wait=True)
