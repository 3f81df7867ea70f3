"""Evaluations in other processes of this machine."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import secrets
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import Future
from typing import IO, Any

import cloudpickle

from sparktune import worker
from sparktune.exceptions import InvalidArgumentError, SerializationError, WorkerLostError
from sparktune.history.trial import Call, Outcome
from sparktune.run.domain import Domain, failure_from
from sparktune.run.executor import Executor, done
from sparktune.run.pilots import Patience, PilotPool
from sparktune.run.replies import Reader
from sparktune.worker import alias, caches
from sparktune.worker.evaluator import Limits
from sparktune.worker.frames import LENGTH

#: What a process begins with; its arguments are the folder of ``sparktune.worker``, and those of ``pilot.run_process``.
#: It loads what it needs from there, under a name of its own: importing the whole package would take half a second, and
#: megabytes of memory, for nothing.
START = """\
import sys
folder, *numbers = sys.argv[1:]
sys.path = [path for path in sys.path if path]  # no modules from the folder it happens to be in
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("_sparktune_worker", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
from _sparktune_worker import pilot
pilot.run_process(*map(int, numbers))
"""


class ProcessesExecutor:
    """Runs evaluations in processes of this machine, which are started as they are needed and used again.

    The objective is pickled once. Processes begin as new interpreters that can import what this one can; they do not
    take over its memory, so it does not matter what threads or libraries run in it.

    Args:
        domain: Objective and space; the space is evaluated here.
        slots: Evaluations at a time.
        limits: Of each evaluation; None for none.
        patience: How long to wait for what; None: what is usual.

    Raises:
        SerializationError: If the objective cannot be pickled.
        InvalidArgumentError: If the objective wants ``expr``, ``memo`` and ``ctrl``, which cannot travel; if sparktune
            is imported from an archive.
    """

    def __init__(
        self, domain: Domain, slots: int, limits: Limits | None = None, *, patience: Patience | None = None
    ) -> None:
        if domain.pass_expr_memo_ctrl:
            raise InvalidArgumentError(
                "an objective with pass_expr_memo_ctrl runs in this process, not in another one: give "
                'backend="threads", or write an objective that takes the value of the space'
            )
        if not os.path.isdir(_folder()):
            raise InvalidArgumentError(
                "processes read sparktune's modules as files of a folder, and sparktune is imported from an archive, "
                f"{_folder()}: install sparktune, or unpack the archive and have sys.path name its folder, or give "
                'backend="threads"'
            )
        self.slots = slots
        self._domain = domain
        secret = secrets.token_bytes(32)
        self._file = _parcel(_pickle(domain.fn), limits or Limits(), secret)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        reader = Reader(domain.result_of, "Install what is missing, or have sys.path name its folder")
        self._pool = PilotPool(self, secret, reader, patience)
        self._pool.limit = slots
        self._pool.open()

    def submit(self, call: Call) -> Future[Outcome]:
        """Start an evaluation, or queue it."""
        try:
            argument = _dumps(self._domain.arguments(call.raw))
        except Exception as error:  # the space itself failed at this point: the trial's failure, not the run's
            return done(Outcome(failure=failure_from(error)))
        return self._pool.submit(call, argument)

    def cancel(self, tid: Any) -> None:
        """End one evaluation, with all processes that it has started."""
        self._pool.cancel(tid)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for what runs, or with ``cancel`` end it, and end the processes."""
        try:
            self._pool.shutdown(cancel=cancel)
        finally:  # after an interrupt too
            self._file.close()

    # -- for the pool -------------------------------------------------------------------------------------------------

    def run(self, number: int) -> str:
        """Have a process run until it ends."""
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self._file.fileno())
        with theirs:
            # A session of its own: a Ctrl-C in the terminal is for this process, which then decides.
            process = self._processes[number] = subprocess.Popen(
                [sys.executable, "-c", START, _folder(), *map(str, (*descriptors, number))],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
            )
        # This thread stays until the process has ended: on Linux the process ends when the thread that made it does.
        try:
            self._pool.adopt(ours)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            del self._processes[number]
        return f"refused: it ended with exit code {status}"

    def stop(self, number: int) -> None:
        """Kill a process."""
        process = self._processes.get(number)
        if process is not None:
            process.kill()

    def is_needed_elsewhere(self, n_pilots: int) -> bool:
        """Nobody waits for a process of ours."""
        return False

    def replace(self, reason: str) -> Executor:
        """Nobody evaluates instead."""
        raise WorkerLostError(
            f"no process to evaluate in could be started with {sys.executable} ({reason}): see above for what it said"
        )


def _folder() -> str:
    """Where the modules are that a process begins with."""
    return os.path.dirname(worker.__file__)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Has functions with a cache travel as others do."""

    def reducer_override(self, obj: Any) -> Any:
        reduced = caches.reduced(obj, cloudpickle.list_registry_pickle_by_value())
        return super().reducer_override(obj) if reduced is None else reduced


def _dumps(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


def _pickle(fn: Any) -> bytes:
    try:
        return _dumps(fn)
    except Exception as error:  # pickling calls code of any class
        raise SerializationError(
            f"the objective cannot be pickled to be sent to other processes ({error}): open files, locks and "
            "connections inside the objective, not around it"
        ) from error


def _parcel(objective: bytes, limits: Limits, secret: bytes) -> IO[bytes]:
    """An open file without a name, for :func:`sparktune.worker.pilot.run_process`: gone when nobody has it open."""
    options = pickle.dumps(
        {
            "secret": secret,
            "digest": hashlib.sha256(objective).hexdigest(),
            "path": list(sys.path),
            "alias": alias.is_installed(),
            "timeout": limits.timeout,
            "memory": limits.memory,
            "cpus": limits.cpus,
        }
    )
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the executor closes it
    file.write(LENGTH.pack(len(options)) + options + objective)
    file.flush()
    return file
