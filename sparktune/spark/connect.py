"""The gateway to Spark Connect: jobs of one task by ``mapInArrow``, with no ``sparkContext`` and no JVM in reach."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.gateway import (
    APPLICATION_ENDED,
    STOPPED,
    SparkJobError,
    refuse_copies,
    registering,
    translate,
    translated,
    unless_stopped,
    warn_of_idle_timeout,
)
from sparktune.spark.resources import is_local_master, master_of, setting_of
from sparktune.spark.shipping import ship
from sparktune.worker.task import Blob, Task

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

T = TypeVar("T")

logger = logging.getLogger("sparktune")

#: Up to this size bytes travel with every task; larger ones become a file of the session, which costs a round trip and
#: a look at the worker's disk.
INLINE_BYTES = 2**20

#: A larger request is refused. gRPC's limit is 128 MiB, and the server holds several copies of it: 150 MiB that were
#: compressed to less on the way ended one with 1 GB of memory.
MAX_REQUEST_BYTES = 64 * 2**20

_TAGS = "tags"  # the key in properties()

# Names of the files that sessions have: the client would send a file again each time it is added.
_sent: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
_sending = threading.Lock()


class ConnectGateway:
    """One-task Spark jobs on a Spark Connect session; see :class:`sparktune.spark.gateway.Gateway`.

    Args:
        session: A Connect session, from ``SparkSession.builder.remote(...)`` or Databricks Connect.
        resource_profile: Resources of each task, from :func:`sparktune.spark.resources.build_profile`; pyspark 4.0+.

    Raises:
        SparkUnavailableError: If the session is stopped, or the server cannot be reached; if the server says that it is
            set up in a way that would end trials, or that it can never have such resources.
    """

    engine = "connect"
    remedy = (
        "A missing module must be installed on the executors, or sent along with "
        "spark.addArtifacts('module.py', pyfile=True)."
    )

    def __init__(self, session: SparkSession, resource_profile: ResourceProfile | None = None) -> None:
        self._session: Any = session  # methods that classic sessions lack
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        self._options: dict[str, Any] = {} if resource_profile is None else {"profile": resource_profile}
        with translated(self):
            from pyspark.sql.types import BinaryType, StructField, StructType

            # Made once: each new frame would ask the server for its columns, and a schema in words for what it means.
            self._schema = StructType([StructField("reply", BinaryType())])
            self._one_row = self._session.range(0, 1, 1, 1)
            # Asks the server now, which shows whether it can be reached; since 4.0 the frame keeps the answer.
            self._one_row.columns  # noqa: B018
        setting = functools.partial(setting_of, session)
        refuse_copies(setting)
        warn_of_idle_timeout(setting, "spark.sql.execution.pyspark.udf")
        if resource_profile is not None:
            with registering(self, resource_profile):  # by the session that is active in this thread
                self._in_session(lambda: resource_profile.id)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return str(self._session.session_id)

    @property
    def is_local(self) -> bool:
        """Whether pyspark has started the server itself, on this machine, for ``remote("local[...]")``."""
        return "SPARK_LOCAL_REMOTE" in os.environ

    @property
    def is_stopped(self) -> bool:
        """Whether the session has been stopped, or the server has said that it knows it no more."""
        return bool(self._session.is_stopped)

    @property
    def cpus_per_task(self) -> int:
        """1, as what :meth:`n_slots` counts are cores."""
        return 1

    def n_slots(self) -> int | None:
        """The cores of a server in local mode; None for any other, which does not say."""
        master = master_of(self._session)
        if master is None or not is_local_master(master):
            return None
        cores = master.partition("[")[2].rstrip("]").partition(",")[0] or "1"
        return int(cores) if cores.isdigit() else None  # local[*]: the server's, not ours

    def max_slots(self) -> int | None:
        """The same: of executors that may come a client hears nothing."""
        return self.n_slots()

    def check_resources(self, *, wait: bool) -> None:
        """Nothing: a client hears of no executors, and what the server knows it has said when this object was made."""

    def properties(self) -> dict[str, str]:
        """The tags of the calling thread, so that whoever interrupts them interrupts its trials.

        Raises:
            SparkUnavailableError: If the session has been stopped.
        """
        if self.is_stopped:
            raise SparkUnavailableError(STOPPED)
        tags = ",".join(sorted(self._session.getTags()))
        return {_TAGS: tags} if tags else {}

    def share(self, data: bytes) -> Blob:
        """Send bytes to the workers once per session: up to 1 MiB with each task, above it as a file of the session.

        Raises:
            SparkUnavailableError: If the session or the server is gone.
        """
        if len(data) <= INLINE_BYTES:
            return "bytes", data
        name = hashlib.sha256(data).hexdigest()
        with _sending:
            names = _sent.setdefault(self._session, set())
            if name not in names:
                self._add_file(name, data)
                names.add(name)
        return "file", name

    def _add_file(self, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="sparktune-") as folder:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(data)
            with translated(self):
                self._session.addArtifacts(path, file=True)

    def unshare(self, blob: Blob) -> None:
        """Nothing: Connect has no way to take a file from a session, which frees them all when it ends.

        What is shared again, such as the same objective in a later ``fmin``, is there already.
        """

    def run(self, task: Task, request: bytes, tag: str, description: str, properties: Mapping[str, str]) -> bytes:
        """Run ``task`` over the one row ``request``; its one row of output.

        Args:
            task: Must pickle.
            request: Travels in the closure, so 64 MiB at most.
            tag: Interrupts the job, see :meth:`cancel`.
            description: Not used: Connect has no place for it.
            properties: See :meth:`properties`.

        Raises:
            SparkJobError: If the job failed or was cancelled, or the request is too large.
            SparkUnavailableError: If the session or the server is gone, or can run no Python task.
        """
        if len(request) > MAX_REQUEST_BYTES:
            raise SparkJobError(
                f"on Spark Connect the parameters of a trial may have {MAX_REQUEST_BYTES // 2**20} MiB when pickled, "
                f"and these have {len(request) / 2**20:.0f}: let the objective capture what is large, or write it to "
                "storage, and have an index or a path in the space"
            )
        try:
            return self._tagged(lambda: self._reply(ship("task", "run_arrow", task, request)), tag, properties)
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SparkUnavailableError:
        """What a job's error stands for; of a session that is being stopped, the end of the session."""
        failure = translate(error, is_stopped=self.is_stopped)
        if isinstance(failure, SparkJobError):
            # The server cancels a session's jobs when the session is released, before the client knows that it is.
            try:
                self._session.conf.get("spark.sql.session.timeZone")
            except Exception as reason:
                second = translate(reason, is_stopped=self.is_stopped)
                return failure if isinstance(second, SparkJobError) else second
        return failure

    def _reply(self, run: Callable[..., Any]) -> bytes:
        frame = self._one_row.mapInArrow(run, self._schema, **self._options)
        if hasattr(frame, "toArrow"):  # 4.0: without a Row per row
            [reply] = frame.toArrow().column("reply").to_pylist()
        else:
            [[reply]] = frame.collect()
        return bytes(reply)

    def cancel(self, tag: str) -> None:
        """Interrupt the jobs under a tag; other jobs of the session are not touched."""
        unless_stopped(self, lambda: self._session.interruptTag(tag))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within it a warning says when the server is away, which pyspark keeps quiet about for ten minutes."""
        channel = getattr(self._session.client, "_channel", None)  # gRPC's, to which there is no public way
        if channel is None:
            yield
            return
        watch = _Watch()
        channel.subscribe(watch)
        try:
            yield
        finally:
            channel.unsubscribe(watch)

    def in_thread(
        self, function: Callable[[], T], tag: str, description: str, properties: Mapping[str, str], pool: str
    ) -> Callable[[], T]:
        """``function``, for which the session is the active one of its thread, and whose jobs run under a tag.

        Description and pool are not used: Connect has neither.
        """

        def run() -> T:
            if self.is_stopped:
                raise SparkUnavailableError(APPLICATION_ENDED)
            return self._in_session(lambda: self._tagged(function, tag, properties))

        return run

    def _tagged(self, function: Callable[[], T], tag: str, properties: Mapping[str, str]) -> T:
        """Call ``function`` with exactly these tags on the thread."""
        session = self._session
        before = set(session.getTags())
        session.clearTags()
        for name in [tag, *filter(None, properties.get(_TAGS, "").split(","))]:
            session.addTag(name)
        try:
            return function()
        finally:
            session.clearTags()
            for name in before:
                session.addTag(name)

    def _in_session(self, function: Callable[[], T]) -> T:
        """Call ``function`` with the session as the thread's active one, which a new thread has none of.

        pyspark's ``inheritable_thread_target`` does so from 4.0 on, but leaves the session behind in the thread.
        """
        from pyspark.sql.connect.session import SparkSession as ConnectSession

        active = ConnectSession._active_session
        before = getattr(active, "session", None)
        active.session = self._session
        try:
            return function()
        finally:
            active.session = before


class _Watch:
    """Says when the server no longer answers, and when it does again."""

    def __init__(self) -> None:
        self._is_away = False

    def __call__(self, state: Any) -> None:
        """What gRPC calls with each new state of the connection."""
        if state.name == "TRANSIENT_FAILURE" and not self._is_away:
            self._is_away = True
            logger.warning(
                "the Spark Connect server does not answer: pyspark's client looks for it for about ten minutes, then "
                "trials fail; Ctrl-C ends the run with all results, and with storage= it can go on later"
            )
        elif state.name == "READY" and self._is_away:
            self._is_away = False
            logger.warning("the Spark Connect server answers again")
