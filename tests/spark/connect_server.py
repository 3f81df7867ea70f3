"""A real Spark Connect server for tests, a process of its own on a free port of this machine.

The pyspark 3.5 of pip has none, but its clients can talk to a newer one's: ``SPARKTUNE_CONNECT_PYTHON`` names a Python,
of the same minor version, that has it.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyspark

from sparktune.spark.java import ensure_java


class ConnectServer:
    """A server that has started, in a process that a test may kill.

    Args:
        folder: Where it runs; its log goes there.
        master: Spark's master.
        config: Further Spark settings.

    Attributes:
        url: For ``SparkSession.builder.remote``.
        process: The server itself, not a script around it.
    """

    def __init__(self, folder: Path, master: str = "local[2]", config: dict[str, str] | None = None) -> None:
        ensure_java()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"sc://127.0.0.1:{port}"
        python = os.environ.get("SPARKTUNE_CONNECT_PYTHON", sys.executable)
        home = os.path.dirname(pyspark.__file__)
        if python != sys.executable:
            code = "import os, pyspark; print(os.path.dirname(pyspark.__file__))"
            home = subprocess.run([python, "-c", code], capture_output=True, check=True, text=True).stdout.strip()
        if not list(Path(home, "jars").glob("spark-connect_*.jar")):
            import pytest  # programs that measure use this class as well

            pytest.skip(f"pyspark {pyspark.__version__} from pip has no Connect server")
        settings = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.python.task.killTimeout": "200ms",
            "spark.ui.enabled": "false",
            **(config or {}),
        }
        command = [f"{home}/bin/spark-submit", "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
        command += ["--master", master, "--name", "sparktune tests"]
        for key, value in settings.items():
            command += ["--conf", f"{key}={value}"]
        environment = {**os.environ, "SPARK_HOME": home, "PYSPARK_PYTHON": python}
        for name in ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
            environment.pop(name, None)
        self._log = folder / "connect-server.log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "spark-internal"], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_for(port)

    def _wait_for(self, port: int, timeout: float = 180) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        return
            else:
                break
        self.stop()
        raise RuntimeError(f"the Connect server has not started:\n{self._log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "ConnectServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
