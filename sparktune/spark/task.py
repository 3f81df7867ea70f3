"""What runs on a Spark worker: one evaluation, from bytes to bytes.

Workers may not have sparktune, so this module is sent by value: it uses the standard library and what pyspark itself
brings, and nothing of it refers to the rest of the package.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
import traceback
import types
from collections.abc import Iterator
from typing import Any

#: Objectives that a Python worker keeps: the current run's and the one before, so that two runs side by side do not
#: load theirs anew for every trial, and data of old runs do not pile up.
KEPT_OBJECTIVES = 2


#: A larger result is refused: it would go through the driver's memory several times over, and can end the application.
MAX_RESULT_BYTES = 64 * 2**20


def run_trial(shared: Any, digest: str, path: tuple[str, ...], rows: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the reply to the one request in ``rows``.

    Args:
        shared: Holds the pickled objective as ``shared.value``: a broadcast variable.
        digest: Identifies the objective.
        path: Folders to look for modules in, after those the worker knows.
        rows: One request: the pickled argument of the objective.

    Returns:
        An iterator over one pickled dictionary: ``kind`` ("ok", "error", "unloadable" or "lost"), ``value`` (the
        pickled result), ``error`` (type, message, traceback text, pickled exception or None) and ``record``.
    """
    # Read to the end before anything else: Spark throws a Python worker away if its task left input unread, and the
    # next trial would pay for a new process and all its imports.
    requests = list(rows)
    yield pickle.dumps(_reply(shared, digest, path, requests[0]))


def _reply(shared: Any, digest: str, path: tuple[str, ...], request: bytes) -> dict[str, Any]:
    attempt = _attempt()
    record = {"host": socket.gethostname(), "pid": os.getpid(), "attempt": attempt, "start": time.time()}
    reply: dict[str, Any] = {"kind": "lost", "record": record}
    # Spark starts a task again when its worker or executor dies. The evaluation may have had effects, and what killed
    # the first worker may kill this one: the driver decides, so nothing is evaluated twice unasked.
    if attempt == 0:
        try:
            kind = "unloadable"
            objective = _objective(shared, digest, path)
            argument = pickle.loads(request)
            kind = "error"
            reply["value"] = _within_limit(_dumps(objective(argument)))
            reply["kind"] = "ok"
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: the task must end well, see above
            reply["kind"] = kind
            reply["error"] = _describe(error)
    record["end"] = time.time()
    return reply


def _attempt() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return context.attemptNumber() if context is not None else 0


def _objective(shared: Any, digest: str, path: tuple[str, ...]) -> Any:
    """The objective, loaded once per worker process."""
    # A module of our own in sys.modules: globals of functions sent by value are new for every task.
    module = sys.modules.setdefault("_sparktune_worker", types.ModuleType("_sparktune_worker"))
    kept: dict[str, Any] = module.__dict__.setdefault("objectives", {})
    if digest in kept:
        kept[digest] = kept.pop(digest)
    else:
        sys.path.extend(folder for folder in path if folder not in sys.path)
        objective = pickle.loads(shared.value)
        # The pickle is not needed again, and may be as large as the data in it.
        shared.__dict__.pop("_value", None)
        kept[digest] = objective
        while len(kept) > KEPT_OBJECTIVES:
            del kept[next(iter(kept))]
    return kept[digest]


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value)  # a tenth of the time, and enough for most results
    except Exception:  # lambdas, and classes that exist in the driver's main module only
        from pyspark import cloudpickle

        return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def _within_limit(pickled: bytes) -> bytes:
    if len(pickled) > MAX_RESULT_BYTES:
        raise ValueError(
            f"a result may have {MAX_RESULT_BYTES // 2**20} MiB when pickled, and this one has "
            f"{len(pickled) / 2**20:.0f}: write models and predictions to storage and return their path"
        )
    return pickled


def _describe(error: BaseException) -> tuple[str, str, str, bytes | None]:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickled = _dumps(error)
    except BaseException:  # an exception may hold anything: its text has to do
        pickled = None
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be shown)"
    return str(type(error)), message, text, pickled
