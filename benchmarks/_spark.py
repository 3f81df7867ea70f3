"""Spark for programs that measure: sessions, bare jobs of one task, and evaluations by an engine without any search."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sparktune
from sparktune.history.trial import Call, Outcome
from sparktune.run.domain import Domain
from sparktune.spark import get_session

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "spark"))

#: The packages that a Connect client needs.
CONNECT_PACKAGES = ("grpc", "grpc_status", "pandas", "pyarrow")


@contextlib.contextmanager
def classic_session(master: str) -> Iterator[Any]:
    """A classic session, stopped at the end."""
    session = get_session(master, config={"spark.ui.enabled": "false", "spark.driver.memory": "4g"})
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


@contextlib.contextmanager
def connect_session(master: str) -> Iterator[Any]:
    """A session on a Spark Connect server that is started here, and ended."""
    from connect_server import ConnectServer
    from pyspark.sql import SparkSession

    settings = {"spark.driver.memory": "4g"}
    with tempfile.TemporaryDirectory() as folder, ConnectServer(Path(folder), master, settings) as server:
        session = SparkSession.builder.remote(server.url).getOrCreate()
        try:
            yield session
        finally:
            session.stop()


def has_connect() -> bool:
    """Whether the packages of a Connect client are there."""
    return all(importlib.util.find_spec(name) is not None for name in CONNECT_PACKAGES)


def bare_jobs(session: Any, n: int, at_a_time: int) -> None:
    """n jobs of one task each: the least that classic Spark can do for a trial."""
    context = session.sparkContext

    def count(rows: Iterable[int]) -> list[int]:
        return [sum(1 for _ in rows)]

    with ThreadPoolExecutor(at_a_time) as threads:
        list(threads.map(lambda _: context.parallelize([0], 1).mapPartitions(count).collect(), range(n)))


def bare_arrow_jobs(session: Any, n: int, at_a_time: int) -> None:
    """n jobs of one task each on Spark Connect, where frame and schema are made once for all."""
    from pyspark.sql.types import LongType, StructField, StructType

    rows, schema = session.range(0, 1, 1, 1), StructType([StructField("id", LongType())])
    assert rows.columns  # asks the server, once

    def echo(batches: Iterator[Any]) -> list[Any]:
        return list(batches)

    def run(_: int) -> None:
        frame = rows.mapInArrow(echo, schema)
        frame.toArrow() if hasattr(frame, "toArrow") else frame.collect()

    with ThreadPoolExecutor(at_a_time) as threads:
        list(threads.map(run, range(n)))


def run_executor(
    session: Any,
    engine: str,
    objective: Callable[[float], float],
    n: int,
    at_a_time: int,
    n_submitted: int | None = None,
) -> None:
    """n evaluations by the executor of an engine, and no search.

    Args:
        session: A session.
        engine: Its name.
        objective: Gets a float.
        n: Evaluations.
        at_a_time: The executor's slots.
        n_submitted: Evaluations that it has at any time; None: as many as slots, which is what ``fmin`` gives it.
    """
    trials = sparktune.SparkTrials(at_a_time, spark_session=session, engine=engine)
    executor = trials.make_executor(Domain(objective, sparktune.hp.uniform("x", -5, 5)))
    is_free = threading.Semaphore(n_submitted or at_a_time)
    futures: list[Future[Outcome]] = []
    try:
        for tid in range(n):
            is_free.acquire()
            futures.append(executor.submit(Call(tid, {"x": 1e-3 * tid})))
            futures[-1].add_done_callback(lambda _: is_free.release())
        failures = [future.result().failure for future in futures if future.result().result is None]
    finally:
        executor.shutdown()
    if failures:
        raise RuntimeError(f"{len(failures)} of {n} evaluations failed: {failures[0]}")


def rate(n: int, run: Callable[..., object], *args: Any) -> float:
    """Trials per second of something that runs n of them."""
    start = time.perf_counter()
    run(*args)
    return n / (time.perf_counter() - start)


def n_jobs(session: Any) -> int:
    """Spark jobs that a session has started so far."""
    session.sparkContext.parallelize([0], 1).count()  # the last one has the highest number
    return int(max(session.sparkContext.statusTracker().getJobIdsForGroup(None)))
