"""What is special about the gateway to Spark Connect, on a real server with two executors."""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import pyspark
import pytest
from connect_server import ConnectServer
from pyspark.sql import SparkSession
from waiting import wait_until

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.exceptions import SparkUnavailableError
from sparktune.spark.connect import INLINE_BYTES, _Watch
from sparktune.spark.gateway import SparkJobError
from sparktune.spark.resources import build_profile
from sparktune.spark.session import connect_to, get_session
from sparktune.spark.shipping import ship

pytestmark = [pytest.mark.spark, pytest.mark.slow]

SERVER = "the Spark Connect server"
AWAY = f"{SERVER} does not answer"
IS_OLD = pyspark.__version__.startswith("3.")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose executors are processes of their own, with two cores each."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # of another test: a process has either a classic session or Connect's
    with (
        pytest.MonkeyPatch.context() as patch,
        ConnectServer(tmp_path_factory.mktemp("server"), "local-cluster[2,2,1024]") as server,
    ):
        patch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
        yield server


@pytest.fixture
def session(server):
    """A new session of the server."""
    session = SparkSession.builder.remote(server.url).create()
    yield session
    session.stop()


def run(gateway, task, request=b"", properties=None):
    return gateway.run(task, request, "tag", "", properties or {})


def test_what_made_it_a_connect_session_is_not_said_to_be_ignored(server, caplog):
    """A program that asks again for the session it has, by the same URL, gets it without a warning."""
    asked = {"spark.remote": server.url, "spark.api.mode": "connect"}
    first = get_session(config=asked)
    assert get_session(config=asked) is first
    assert "ignored" not in caplog.text
    first.stop()


def test_slots_are_not_known(session):
    """Connect does not say how many tasks a cluster can run, and the gateway does not guess."""
    gateway = connect_to(session)
    assert (gateway.n_slots(), gateway.max_slots()) == (None, None)
    assert not gateway.is_local


def test_large_bytes_are_sent_once_per_session(session, monkeypatch):
    """What a gateway has shared is not sent again by another one of the session, even after it was unshared."""
    paths = []
    add = session.addArtifacts

    def count(path, **options):
        paths.append(path)
        add(path, **options)

    monkeypatch.setattr(session, "addArtifacts", count)
    data = os.urandom(INLINE_BYTES + 1)
    first, second = connect_to(session), connect_to(session)
    blob = first.share(data)
    first.unshare(blob)
    assert second.share(data) == blob
    assert len(paths) == 1
    assert not os.path.exists(paths[0])
    assert first.share(data[:-1]) == ("bytes", data[:-1])


def test_bytes_above_the_limit_of_a_message_arrive(session):
    """Artifacts go in pieces, so an objective may be larger than the 128 MiB of a message."""
    data = os.urandom(2**20) * 130
    open_blob = ship("task", "open_blob", connect_to(session).share(data))

    def task(rows):
        list(rows)
        arrived = open_blob()
        yield f"{len(arrived)} {arrived[-9:].hex()}".encode()

    assert run(connect_to(session), task) == f"{len(data)} {data[-9:].hex()}".encode()


def test_largest_reply_arrives(session):
    """A reply of 64 MiB, the most that workers send, comes back whole; a larger request is refused unsent."""

    def task(rows):
        list(rows)
        yield b"x" * 64 * 2**20

    gateway = connect_to(session)
    assert len(run(gateway, task)) == 64 * 2**20
    with pytest.raises(SparkJobError, match="parameters of a trial may have 64 MiB when pickled, and these have 130"):
        run(gateway, task, bytes(130 * 2**20))  # which pyspark compresses to next to nothing


def test_jobs_are_under_the_tags_of_the_caller(session, desk, background):
    """Interrupting the caller's own tag ends jobs that other threads run with its properties; no tag stays behind."""
    check_in = desk.check_in

    def task(rows):
        list(rows)
        yield check_in("here").encode()

    gateway = connect_to(session)
    session.addTag("callers-tag")
    properties = gateway.properties()
    ended = background(run, gateway, task, b"", properties)
    desk.next()
    session.interruptTag("callers-tag")
    with pytest.raises(SparkJobError, match="the Spark job was cancelled"):
        ended.result(timeout=60)
    assert session.getTags() == {"callers-tag"}

    def tags():
        return set(session.getTags())

    with ThreadPoolExecutor(1) as threads:  # one thread for both
        inside = threads.submit(gateway.in_thread(tags, "own-tag", "", properties, "")).result()
        assert (inside, threads.submit(tags).result()) == ({"own-tag", "callers-tag"}, set())


def test_session_is_the_active_one_of_a_thread(session, background):
    """pyspark.ml looks for the session of its thread, and a new thread has none."""
    gateway = connect_to(session)
    assert background(SparkSession.getActiveSession).result(timeout=60) is None
    inside = gateway.in_thread(SparkSession.getActiveSession, "tag", "", {}, "")
    assert background(inside).result(timeout=60) is session


def test_handles_can_be_options(session):
    """Handles on shared values in a space arrive, those that travel with the task and those that become files."""
    small, large = SparkTrials.broadcast([1.0]), SparkTrials.broadcast([2.0] * INLINE_BYTES)
    space = hp.choice("data", [small, large, lambda: small])
    trials = SparkTrials(parallelism=2, spark_session=session)
    points = [{"data": i} for i in range(3)]

    def objective(data):
        return (data() if callable(data) else data).value[-1]

    fmin(objective, space, rand.suggest, 0, trials=trials, points_to_evaluate=points, verbose=False)
    assert trials.losses() == [1.0, 2.0, 1.0]


def test_cpus_per_trial_go_to_the_task(session):
    """A task of two CPUs knows so, made in another thread than the session was; pyspark 3.5 has no way to ask."""
    if IS_OLD:
        with pytest.raises(SparkUnavailableError, match=r"need pyspark 4\.0 or newer .* this is 3\.5"):
            build_profile(session, cpus_per_trial=2)
        return

    def task(rows):
        from pyspark import TaskContext

        list(rows)
        yield str(TaskContext.get().cpus()).encode()

    with ThreadPoolExecutor(1) as threads:
        gateway = threads.submit(lambda: connect_to(session, build_profile(session, cpus_per_trial=2))).result()
    assert run(gateway, task) == b"2"


@pytest.mark.skipif(IS_OLD, reason="pyspark 3.5 has no way to ask")
def test_gpus_that_the_server_lacks_are_refused(session):
    """The error names the argument and the setting, before a trial is made."""
    with pytest.raises(SparkUnavailableError, match=r"gpus_per_trial.*got gpu: 1: .*spark\.executor\.resource\.gpu"):
        connect_to(session, build_profile(session, gpus_per_trial=1))


def test_a_server_that_answers_again(caplog):
    """Of each time that it is away there is one warning, and one when it is back."""
    watch = _Watch()
    for name in ("IDLE", "CONNECTING", "READY", *(2 * ["TRANSIENT_FAILURE", "CONNECTING"]), "READY", "READY"):
        watch(grpc.ChannelConnectivity[name])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [AWAY, f"{SERVER} answers again"]
    watch(grpc.ChannelConnectivity.TRANSIENT_FAILURE)
    assert len(caplog.records) == 3


def test_server_that_is_gone_ends_the_run(server, session, desk, background, caplog):
    """When the server dies and the client has tried again in vain, the error is that of an ended application.

    A warning says at once what the client waits for.
    """
    check_in = desk.check_in

    def task(rows):
        list(rows)
        yield check_in("here").encode()

    gateway = connect_to(session)
    if IS_OLD:  # left to itself, it tries again for ten minutes
        session.client._retry_policy["max_retries"] = 2
    else:
        from pyspark.sql.connect.client.retries import DefaultPolicy

        session.client.set_retry_policies([DefaultPolicy(max_retries=2)])
    ended = background(run, gateway, task)
    desk.next()
    with gateway.watching():
        server.process.kill()
        server.process.wait()
        wait_until(lambda: AWAY in caplog.text)
    for call in (ended.result, lambda: run(gateway, task), lambda: connect_to(session)):
        with pytest.raises(SparkUnavailableError, match="the Spark application ended") as raised:
            call()
        assert not isinstance(raised.value, SparkJobError)
