"""The process in which objectives run, one evaluation at a time: from bytes to bytes."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import logging
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Mapping
from typing import IO, Any, NoReturn, TextIO

from . import alias, frames

#: A larger result is refused: it would go through the driver's memory several times over, and can end the application.
MAX_RESULT_BYTES = 64 * 2**20

#: So does an exception that carries data. Of a larger one the text has to do, and of that so many characters.
MAX_ERROR_BYTES, MAX_ERROR_TEXT = 2**20, 2**16

#: So many bytes more in memory than there were, and what earlier evaluations have left is looked for.
GARBAGE_BYTES = 2**24

#: The pickle of a larger objective is kept in a file, where it takes no memory.
MAX_PICKLE_IN_MEMORY = 2**20

#: What libraries read, when they are loaded, for how many threads to start.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",  # joblib's, and so scikit-learn's, n_jobs=-1
)

#: Name of the module in which values shared beside the objective are found, see :func:`shared_module`.
SHARED = "_sparktune_shared"


def serve(connection: socket.socket, output: int, cpus: int | None) -> NoReturn:
    """Answer requests until the worker closes the connection. Never returns.

    Args:
        connection: To the worker.
        output: A file descriptor that what objectives print goes to.
        cpus: Processors an evaluation may use; None for no limit.
    """
    _settle(output, cpus)
    objectives: dict[str, _Kept] = {}
    me, folder = os.getpid(), _working_folder()
    while (message := frames.receive(connection)) is not None:
        request = pickle.loads(message)
        reply = OPERATIONS[request["op"]](objectives, request)
        reply["number"] = request["number"]  # so that no reply is taken for that to another request
        del request, message  # what an evaluation was given must not stay while this waits for the next
        if os.getpid() != me:  # the objective has forked, and this is its child
            os._exit(0)
        _flush()
        _tidy_up(output, folder)
        frames.send(connection, pickle.dumps(reply))
    os._exit(0)


# -- the process ------------------------------------------------------------------------------------------------------


def _settle(output: int, cpus: int | None) -> None:
    """Make a process that was forked in the middle of another's work a place of its own."""
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)
    sys.__dict__.update(__stdout__=sys.stdout, __stderr__=sys.stderr)
    faulthandler.enable(sys.stderr, all_threads=False)  # a crash in native code prints where Python was
    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if cpus is not None:
        _limit_threads(cpus)
    if "numpy" in sys.modules:  # else processes forked from one worker would draw the same numbers
        sys.modules["numpy"].random.seed()


def _text_stream(descriptor: int) -> TextIO:
    # By lines: what was printed before a crash has left the process.
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _limit_threads(cpus: int) -> None:
    for name in THREAD_VARIABLES:
        value = os.environ.get(name, "")
        if not value.isdigit() or int(value) > cpus:
            os.environ[name] = str(cpus)
    if "numpy" in sys.modules:  # its BLAS is loaded and has read its variables
        with contextlib.suppress(Exception):
            import threadpoolctl

            threadpoolctl.threadpool_limits(cpus)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return None


def _tidy_up(output: int, folder: str | None) -> None:
    """Undo what an objective has done to its process that would make the next evaluation fail."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0.0)  # it would go off in the next one
    # Another folder that is still there stays: modules that go to theirs when they are imported do so once.
    if folder is not None and _working_folder() is None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened would get what is printed
            os.dup2(output, descriptor)
        if _is_closed(getattr(sys, name, None)):
            stream = _text_stream(descriptor)
            sys.__dict__.update({name: stream, f"__{name}__": stream})
    for handler in logging.root.handlers:
        if type(handler) is logging.StreamHandler and _is_closed(handler.stream):
            handler.stream = sys.stderr  # setStream would flush the closed one


def _is_closed(stream: Any) -> bool:
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # its buffer was taken from it
        return True


# -- requests ---------------------------------------------------------------------------------------------------------


class _Kept:
    """An objective that is loaded anew for each evaluation: what one changes in it, no other sees.

    Args:
        pickled: What it is loaded from.
    """

    def __init__(self, pickled: bytes) -> None:
        self._file: IO[bytes] = io.BytesIO(pickled)
        if len(pickled) > MAX_PICKLE_IN_MEMORY:
            with contextlib.suppress(OSError):  # no room on the disk
                file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
                file.write(pickled)
                file.flush()
                self._file = file
        self._loaded: list[Any] = []
        self._memory = 0

    def load(self) -> None:
        """Have it ready for an evaluation, unless it is."""
        if not self._loaded:
            # Functions and classes of a main program refer to each other in circles, with all that they capture, and
            # Python looks for such by the number of objects, not by their size.
            if (memory := _resident()) is None or memory > self._memory + GARBAGE_BYTES:
                gc.collect()
                self._memory = _resident() or 0
            self._file.seek(0)
            self._loaded.append(pickle.load(self._file))

    def take(self) -> Any:
        """The objective, for one evaluation."""
        return self._loaded.pop()


def _resident() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say at once."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _load(objectives: dict[str, _Kept], request: Mapping[str, Any]) -> dict[str, Any]:
    """Unpickle an objective and the values shared beside it, and forget those that are no longer used."""
    values = shared_module().__dict__["values"]
    for digest in request["forget"]:
        objectives.pop(digest, None)
        values.pop(digest, None)
    _take_over(request["context"])
    record = _record()
    try:
        for digest, pickled in request["values"].items():
            values[digest] = pickle.loads(pickled)
        objectives[request["digest"]] = _Kept(request["objective"])
        objectives[request["digest"]].load()
        reply: dict[str, Any] = {"kind": "ok", "record": record}
    except BaseException as error:  # pickles run code of any class
        reply = {"kind": "unloadable", "error": describe(_explained(error)), "record": record}
    if request["packages"] is not None:
        reply["python"] = tuple(sys.version_info[:3])
        reply["packages"] = {name: version_of(name) for name in request["packages"]}
    return reply


def _renew(objectives: Mapping[str, _Kept], request: Mapping[str, Any]) -> dict[str, Any]:
    """Load an objective that was loaded before, for one more evaluation."""
    _take_over(request["context"])
    record = _record()
    try:
        objectives[request["digest"]].load()
    except BaseException as error:  # as above; and memory may have run out
        return {"kind": "unloadable", "error": describe(_explained(error)), "record": record}
    return {"kind": "ok", "record": record}


def _explained(error: BaseException) -> BaseException:
    """An error of loading, with rule and fix where a pickle names what only the main program has."""
    message = error.args[0] if isinstance(error, AttributeError) and error.args else None
    names = (repr(sys.modules["__main__"]), "'__main__'")  # here it is another one: Spark's daemon, a process of ours
    if not isinstance(message, str) or not any(name in message for name in names):
        return error
    explained = AttributeError(
        "an object of the main program that pickles by its name alone, as functions and classes do not, cannot be "
        f"found in another process ({message}): make it inside the objective, or define it in a module"
    )
    explained.__cause__ = error
    return explained


def shared_module() -> types.ModuleType:
    """The module with ``values``, shared values by digest, and ``get(digest)``, which wraps one of them.

    It exists where objectives are pickled, too, so that ``get`` travels by its name and needs nothing of ours there.
    """
    if SHARED not in sys.modules:
        values: dict[str, Any] = {}

        def get(digest: str) -> types.SimpleNamespace:
            return types.SimpleNamespace(value=values[digest])

        get.__module__, get.__qualname__ = SHARED, "get"
        module = types.ModuleType(SHARED)
        module.__dict__.update(values=values, get=get)
        sys.modules[SHARED] = module
    return sys.modules[SHARED]


def _evaluate(objectives: Mapping[str, _Kept], request: Mapping[str, Any]) -> dict[str, Any]:
    """Call an objective, which is loaded for this unless it was."""
    reply = _renew(objectives, request)
    if reply["kind"] != "ok":
        return reply
    objective, record = objectives[request["digest"]].take(), reply["record"]
    try:
        argument = _argument(request["argument"])
        record["start"] = time.time()
        reply["value"] = _within_limit(_dumps(objective(argument)))
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end a trial, not a worker
        reply["kind"], reply["error"] = "error", describe(error)
    record["end"] = time.time()
    return reply


OPERATIONS = {"load": _load, "renew": _renew, "evaluate": _evaluate}


def _argument(pickled: bytes) -> Any:
    try:
        return pickle.loads(pickled)
    except BaseException as error:
        raise RuntimeError(
            f"the values at this point cannot be loaded on {socket.gethostname()} ({type(error).__name__}: {error}): "
            "have options that can, or that name what the objective then makes or finds"
        ) from error


def _record() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "start": time.time()}


def _take_over(context: Mapping[str, Any]) -> None:
    """Make this process see what the worker sees: its modules, and Spark's description of the task."""
    sys.path.extend(folder for folder in context.get("path", ()) if folder not in sys.path)
    if context.get("alias"):
        alias.install()
    if "task" in context:
        from pyspark import SparkFiles, TaskContext

        task = TaskContext.get() or TaskContext._getOrCreate()
        task.__dict__.update(context["task"])
        SparkFiles._root_directory, SparkFiles._is_running_on_worker = context["files"], True
    for number, path in context.get("broadcasts", {}).items():
        import pyspark

        known = sys.modules[pyspark.Broadcast.__module__]._broadcastRegistry
        if number not in known:
            known[number] = pyspark.Broadcast(path=path)


def version_of(package: str) -> str | None:
    """The version of an importable package, "" if it states none; None if it is not there."""
    import importlib.metadata
    import importlib.util

    if package not in sys.modules:
        try:
            if importlib.util.find_spec(package) is None:
                return None
        except (ImportError, ValueError):
            return None
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str):
        return version
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value)  # a tenth of the time, and enough for most results
    except Exception:  # lambdas, and classes that exist in the driver's main module only
        return _cloudpickle().dumps(value)  # type: ignore[no-any-return]


def _cloudpickle() -> Any:
    import importlib

    try:
        return importlib.import_module("pyspark.cloudpickle")
    except ImportError:  # a local process
        return importlib.import_module("cloudpickle")


def _within_limit(pickled: bytes) -> bytes:
    if len(pickled) > MAX_RESULT_BYTES:
        raise ValueError(
            f"a result may have {MAX_RESULT_BYTES // 2**20} MiB when pickled, and this one has "
            f"{len(pickled) / 2**20:.0f}: write models and predictions to storage and return their path"
        )
    return pickled


def describe(error: BaseException) -> tuple[str, str, str, bytes | None]:
    """An exception as data: its type, message, traceback, and itself pickled, or None if it cannot be or is large."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickled = _dumps(error)
    except BaseException:  # an exception may hold anything: its text has to do
        pickled = None
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be shown)"
    try:
        name = str(type(error))
    except BaseException:  # of its metaclass
        name = type.__repr__(type(error))
    if pickled is not None and len(pickled) > MAX_ERROR_BYTES:
        pickled = None
    return name, _shortened(message), _shortened(text), pickled


def _shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= MAX_ERROR_TEXT:
        return text
    half = MAX_ERROR_TEXT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"
