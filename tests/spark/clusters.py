"""Places where trials run, each a real one: local mode, executors of their own, a standalone cluster, a Connect server.

:func:`open_place` gives a session on one of them. Everything listens on the loopback address, on free ports, writes
below one folder, and ends when the session is left; no process that was not started here is touched.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
from connect_server import ConnectServer

from sparktune.spark import get_session
from sparktune.spark.java import ensure_java

#: Two executors, processes of their own with one slot each, on this machine.
LOCAL_CLUSTER = "local-cluster[2,1,1024]"

#: All places, two slots each; "workers" is the engine of that name on the same cluster as before it.
PLACES = ("local[2]", LOCAL_CLUSTER, "workers", "standalone", "connect")

#: The engine in each place, where it is not the first that there is for such a session.
ENGINES = {"workers": "workers", "connect": "connect"}

#: Quiet, and told of processes that go away within seconds.
SETTINGS = {"spark.ui.enabled": "false", "spark.decommission.enabled": "true"}

#: Of the Connect server: a client that has gone away is noticed within seconds, not five minutes.
CONNECT_SETTINGS = {
    "spark.connect.execute.manager.detachedTimeout": "5s",
    "spark.connect.execute.manager.maintenanceInterval": "2s",
}


def spark_submit():
    """pyspark's own: beside the interpreter, as pip puts it, or in the package."""
    places = Path(sys.executable).parent, Path(pyspark.__file__).parent / "bin"
    return next(str(place / "spark-submit") for place in places if (place / "spark-submit").exists())


class StandaloneCluster:
    """Spark's own master and workers, each a Java process.

    Args:
        folder: Logs and the workers' folders go there.
        n_workers: Workers to start with, of one core and 1 GiB each.

    Attributes:
        url: For ``SparkSession.builder.master``.
    """

    def __init__(self, folder: Path, n_workers: int = 2) -> None:
        ensure_java()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._n_workers = 0
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"spark://127.0.0.1:{port}"
        try:
            self._start("master", "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
            self._wait_for("master", "New state: ALIVE")
            for _ in range(n_workers):
                self.add_worker()
        except BaseException:
            self.stop()
            raise

    def add_worker(self) -> None:
        """Start one more worker, and wait until the master knows it."""
        self._n_workers += 1
        name = f"worker-{self._n_workers}"
        options = ["--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", "0"]
        self._start(name, "worker.Worker", *options, "--work-dir", str(self._folder / name), self.url)
        self._wait_for(name, "Successfully registered with master")

    def decommission(self, pid: int) -> None:
        """Tell a worker to take no more work, as a cluster manager does with a machine it takes back."""
        os.kill(pid, signal.SIGPWR)
        deadline = time.monotonic() + 60
        while not any("Decommission" in self.log(f"worker-{i + 1}") for i in range(self._n_workers)):
            if time.monotonic() > deadline:
                raise TimeoutError("no worker has noticed that it is being decommissioned")
            time.sleep(0.1)

    def log(self, name: str) -> str:
        """What the master, or a worker, has written so far."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End all of its processes."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> "StandaloneCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, name: str, main: str, *args: str) -> None:
        # spark-class replaces itself with Java, so that the process is the one to signal and to end.
        home = os.path.dirname(pyspark.__file__)
        environment = {
            **os.environ,
            "SPARK_HOME": home,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_WORKER_OPTS": "-Dspark.decommission.enabled=true",
            "PYSPARK_PYTHON": sys.executable,
        }
        command = [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{main}", *args]
        with open(self._folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)
        self._processes.append(process)

    def _wait_for(self, name: str, text: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.log(name):
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {name} has not started:\n{self.log(name)[-3000:]}")
            time.sleep(0.1)


@dataclass(frozen=True)
class Place:
    """Where trials run.

    Attributes:
        name: One of :data:`PLACES`.
        session: On it.
        engine: To run trials with.
        cluster: The standalone cluster, where it is one.
    """

    name: str
    session: Any
    engine: str
    cluster: StandaloneCluster | None


@contextlib.contextmanager
def open_cluster(name: str, folder: Path) -> Iterator[tuple[str, StandaloneCluster | None]]:
    """The address of one of :data:`PLACES`, for sessions, and the standalone cluster, where it is one."""
    if name == "connect":
        with ConnectServer(folder, LOCAL_CLUSTER, {**SETTINGS, **CONNECT_SETTINGS}) as server:
            yield server.url, None
    elif name == "standalone":
        with StandaloneCluster(folder) as cluster:
            yield cluster.url, cluster
    else:
        yield LOCAL_CLUSTER if name == "workers" else name, None


@contextlib.contextmanager
def open_place(name: str, folder: Path) -> Iterator[Place]:
    """A session on one of :data:`PLACES`; the one that was there before is stopped."""
    stop_session()
    with open_cluster(name, folder) as (address, cluster), contextlib.ExitStack() as stack:
        if name == "connect":
            session = remote_session(address, stack.callback)
        else:
            session = classic_session(address)
            stack.callback(stop_session)
        stack.callback(_remove_work_folder, session.conf.get("spark.app.id"))
        yield Place(name, session, ENGINES.get(name, "jobs"), cluster)


def classic_session(master: str) -> Any:
    """A new classic session, its workers on this very Python."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    local = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    session = get_session(master, config={**SETTINGS, **local})
    session.sparkContext.setLogLevel("OFF")  # executors are killed by the dozen, and Spark has much to say about each
    return session


def remote_session(url: str, at_end: Callable[..., Any] = lambda *_: None) -> Any:
    """A new session on a Connect server; ``at_end`` is told how to end it, and undo what it did to the environment."""
    from pyspark.sql import SparkSession

    before = os.environ.get("SPARK_CONNECT_MODE_ENABLED")
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    session = SparkSession.builder.remote(url).create()

    def end() -> None:
        session.stop()
        os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)
        if before is not None:
            os.environ["SPARK_CONNECT_MODE_ENABLED"] = before

    at_end(end)
    return session


def stop_session() -> None:
    """Stop the classic session that is there, if any: a process can have one only."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        from pyspark.sql import SparkSession

        active = SparkSession.getActiveSession()
        (active or SparkContext._active_spark_context).stop()


def _remove_work_folder(application: str) -> None:
    """Remove what the executors of a ``local-cluster`` have left where Spark is installed."""
    home = os.environ.get("SPARK_HOME") or os.path.dirname(pyspark.__file__)
    shutil.rmtree(Path(home, "work", application), ignore_errors=True)
