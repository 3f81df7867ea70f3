"""What a Spark task does: one evaluation, from bytes to bytes."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .evaluator import Evaluator, Limits, Objective

#: Bytes sent once, small to pickle: ("bytes", themselves), ("broadcast", a broadcast variable), or ("file", the name of
#: a file that was added to the session). :func:`open_blob` reads them on a worker.
Blob = tuple[str, Any]

#: What a worker makes of one row, in an iterator: the one row of an iterator. It must read its input to the end first,
#: or Spark throws the worker away after it.
Task = Callable[[Iterator[bytes]], Iterator[bytes]]

_evaluator = Evaluator()  # one per Python worker: Spark runs its tasks one after another


def run_trial(options: Mapping[str, Any], rows: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the reply to the one request in ``rows``, pickled.

    Args:
        options: ``digest``, ``objective`` (a :data:`Blob`), ``values`` (a blob by digest),
            ``broadcasts`` (broadcast variables that the objective uses or is called with), ``path`` (folders to look
            for modules in, after those the worker knows), ``alias`` (whether ``import hyperopt`` means sparktune
            there), ``timeout``, ``memory`` and ``cpus`` as in
            :class:`~sparktune.worker.evaluator.Limits`, where ``cpus`` None stands for those of the task.
        rows: One request, pickled: ("evaluate", the pickled argument) or ("check", names of packages).

    Returns:
        An iterator over one reply, see :meth:`sparktune.worker.evaluator.Evaluator.evaluate`.
    """
    # Read to the end before anything else: Spark throws a Python worker away if its task left input unread, and the
    # next trial would pay for a new process and all its imports.
    [request] = list(rows)
    yield pickle.dumps(_reply(options, *pickle.loads(request)))


def run_arrow(task: Task, request: bytes, batches: Iterator[Any]) -> Iterator[Any]:
    """Yield what ``task`` makes of one request as an Arrow batch of one row; for ``mapInArrow``."""
    for _ in batches:  # to the end, as above
        pass
    import pyarrow

    for reply in task(iter([request])):
        yield pyarrow.RecordBatch.from_arrays([pyarrow.array([reply], pyarrow.binary())], ["reply"])


def objective_of(options: Mapping[str, Any]) -> Objective:
    """The objective that a task's options name, to be read when it is needed."""
    blobs: Mapping[str, Blob] = options["values"]
    variables = _without_files(options["broadcasts"])

    def parts(known: Collection[str]) -> tuple[bytes, dict[str, bytes]]:
        # In the order in which they are loaded: a value may hold those before it, and variables.
        values = {name: pickle.dumps(variable) for name, variable in variables.items() if name not in known}
        values.update((digest, open_blob(blob)) for digest, blob in blobs.items() if digest not in known)
        return open_blob(options["objective"]), values

    return Objective(options["digest"], parts, frozenset([*blobs, *variables]))


class _Variable:
    """A broadcast variable on its way to the process of the evaluation, which knows it from when this is loaded."""

    def __init__(self, number: int, value: Any) -> None:
        self._number = number
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return _take_in, (self._number, pickle.dumps(self._value))


def _take_in(number: int, pickled: bytes) -> None:
    _known_broadcasts()[number] = sys.modules["pyspark"].Broadcast(sock_file=io.BytesIO(pickled))


def _without_files(broadcasts: Collection[Any]) -> dict[str, _Variable]:
    """The broadcast variables that Spark has given this worker as values, as it does with encryption, by a name.

    Others are in files, which the process of the evaluation reads when it needs them. It was forked from this worker,
    so that of these it would know but those that were there then.
    """
    if all(hasattr(variable, "_path") for variable in broadcasts):
        return {}
    numbers = {id(variable): number for number, variable in _known_broadcasts().items()}
    return {
        f"broadcast {number}": _Variable(number, variable.value)
        for variable in broadcasts
        if not hasattr(variable, "_path") and (number := numbers.get(id(variable))) is not None
    }


def _known_broadcasts() -> dict[int, Any]:
    """What Spark knows of the user's broadcast variables in this process, by number."""
    import pyspark

    return sys.modules[pyspark.Broadcast.__module__]._broadcastRegistry  # type: ignore[no-any-return]


def limits_of(options: Mapping[str, Any]) -> Limits:
    """The limits that a task's options name."""
    return Limits(options["timeout"], options["memory"], options["cpus"] or _cpus())


def context_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the process of the evaluation takes over from this worker."""
    context: dict[str, Any] = {"path": [*sys.path, *options["path"]], "alias": options.get("alias")}
    task = _task_context()
    if task is not None:
        import pyspark

        context["task"] = task.__dict__
        context["files"] = pyspark.SparkFiles._root_directory
        if options["broadcasts"]:  # the user's: Spark has fetched them
            found = _known_broadcasts().items()
            context["broadcasts"] = {number: b._path for number, b in found if hasattr(b, "_path")}
    return context


def _reply(options: Mapping[str, Any], kind: str, content: Any) -> dict[str, Any]:
    context = context_of(options)
    if kind == "check":
        return _evaluator.check(objective_of(options), content, limits_of(options), context)
    task = _task_context()
    # Spark starts a task again when its worker or executor dies. The evaluation may have had effects, and what killed
    # the first worker may kill this one: the driver decides, so nothing is evaluated twice unasked.
    if task is not None and task.attemptNumber() > 0:
        import socket

        message = "the Python worker or the executor died during the evaluation (out of memory? preempted?)"
        return {"kind": "lost", "message": message, "record": {"host": socket.gethostname(), "pid": os.getpid()}}
    return _evaluator.evaluate(objective_of(options), content, limits_of(options), context)


def _task_context() -> Any:
    pyspark = sys.modules.get("pyspark")  # in a Spark worker it has been imported long since
    return pyspark.TaskContext.get() if pyspark is not None else None


def _cpus() -> int | None:
    task = _task_context()
    return task.cpus() if task is not None else None


def open_blob(blob: Blob) -> bytes:
    """The bytes that a blob stands for."""
    kind, value = blob
    if kind == "bytes":
        return value  # type: ignore[no-any-return]
    if kind == "broadcast":
        data: bytes = value.value
        if hasattr(value, "_path"):  # it can be read again; until then it is only large
            value.__dict__.pop("_value", None)
        return data
    from pyspark import SparkFiles

    for folder in (SparkFiles.getRootDirectory(), os.getcwd()):
        path = os.path.join(folder, value)
        if os.path.exists(path):
            with open(path, "rb") as file:
                return file.read()
    raise FileNotFoundError(f"the file {value} that was sent to the Spark session is not on this worker")
