"""What both gateways do, the classic one on a local session and on a cluster, and the one to a Spark Connect server."""

import hashlib
import os
import signal
from concurrent.futures import wait

import pytest
from pyspark.sql import SparkSession

from sparktune.exceptions import InvalidArgumentError, SparkUnavailableError
from sparktune.spark.gateway import SparkJobError
from sparktune.spark.resources import build_profile
from sparktune.spark.session import connect_to, get_session
from sparktune.spark.shipping import ship

pytestmark = pytest.mark.spark

CLUSTER = pytest.param("local-cluster[2,1,1024]", marks=pytest.mark.slow)
classic = pytest.mark.parametrize("session", ["local[2]", CLUSTER], indirect=True, scope="module")
only_local = pytest.mark.parametrize("session", ["local[2]"], indirect=True, scope="module")
by_all = pytest.mark.parametrize("session", ["local[2]", CLUSTER, "connect"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def session(request):
    """A classic session on the master that the test names, or one on a Connect server."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # of another test: a process can have one only
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "connect":
            patch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
            session = SparkSession.builder.remote(request.getfixturevalue("connect_server").url).create()
            yield session
            session.stop()
        else:
            session = get_session(request.param, config={"spark.ui.enabled": "false"})
            yield session
            session.stop()


@pytest.fixture
def gateway(session):
    """A gateway to the session."""
    return connect_to(session)


@pytest.fixture
def ask_desk(desk):
    """A task that checks in at the desk with its request, and replies what it is answered."""
    check_in = desk.check_in

    def task(rows):
        [request] = list(rows)
        yield check_in(request.decode()).encode()

    return task


def run(gateway, task, request=b"", tag="test", properties=None):
    return gateway.run(task, request, tag, "a test", properties or {})


@by_all
def test_job_turns_a_request_into_a_reply(gateway):
    """The task gets the request as its one row, and its one row of output comes back."""

    def task(rows):
        [request] = list(rows)
        yield request[::-1]

    assert run(gateway, task, b"abc") == b"cba"
    assert run(gateway, task, b"") == b""
    assert run(gateway, task, bytes(10**6)) == bytes(10**6)


@by_all
@pytest.mark.parametrize("size", [10, 2**20, 5 * 2**20])
def test_shared_bytes_are_there_on_the_workers(gateway, size):
    """Small and large bytes arrive whole, in every job that opens them."""
    data = os.urandom(size)
    blob = gateway.share(data)
    open_blob = ship("task", "open_blob", blob)

    def task(rows):
        list(rows)
        yield hashlib.sha256(open_blob()).digest()

    for _ in range(2):
        assert run(gateway, task) == hashlib.sha256(data).digest()
    gateway.unshare(blob)


@by_all
def test_jobs_of_several_threads_run_at_once(gateway, desk, ask_desk, background):
    """Two jobs from two threads have both started before either has ended."""
    replies = {name: background(run, gateway, ask_desk, name.encode(), f"tag-{name}") for name in ("a", "b")}
    for visit in [desk.next(), desk.next()]:
        visit.answer(f"hello {visit.message}")
    assert {name: reply.result(timeout=60) for name, reply in replies.items()} == {"a": b"hello a", "b": b"hello b"}


@by_all
def test_cancel_ends_the_jobs_under_the_tag_and_no_others(gateway, desk, ask_desk, background):
    """The cancelled job is an error that says so and its worker ends; the job beside it lives."""
    futures = {name: background(run, gateway, ask_desk, name.encode(), f"tag-{name}") for name in ("a", "b")}
    visits = {visit.message: visit for visit in (desk.next(), desk.next())}
    gateway.cancel("tag-a")
    with pytest.raises(SparkJobError, match="the Spark job was cancelled"):
        futures["a"].result(timeout=60)
    visits["a"].wait_until_gone()
    visits["b"].answer("still here")
    assert futures["b"].result(timeout=60) == b"still here"


@by_all
def test_killed_worker_is_an_error_that_says_so(gateway):
    """A Python worker that is killed, each time Spark tries again, ends the job."""

    def task(rows):
        list(rows)
        os.kill(os.getpid(), signal.SIGKILL)
        yield b""

    with pytest.raises(SparkJobError, match="the Python worker died"):
        run(gateway, task)


@by_all
def test_error_of_the_task_is_in_the_message(gateway):
    """What our own code raises on a worker can be read on the driver."""

    def task(rows):
        list(rows)
        raise LookupError("no such luck")
        yield b""

    with pytest.raises(SparkJobError, match="no such luck"):
        run(gateway, task)


@by_all
def test_function_in_a_thread_runs_its_spark_jobs_under_its_tag(gateway, session, desk, background):
    """Cancelling the tag ends a query that the function waits for, and a later query of the thread runs."""
    check_in = desk.check_in

    def wait_at_desk(batches):
        for _ in batches:
            check_in("query")
            yield from ()

    slow = session.range(0, 1, 1, 1).mapInArrow(wait_at_desk, "id long")
    ended = background(gateway.in_thread(slow.collect, "tag-query", "a query", {}, "a pool"))
    visit = desk.next()
    gateway.cancel("tag-query")
    with pytest.raises(Exception, match=r"(?i)cancel"):  # pyspark's own: it is the function that raises
        ended.result(timeout=60)
    visit.wait_until_gone()
    count = gateway.in_thread(lambda: session.range(7).count(), "tag-count", "a count", {}, "a pool")
    assert background(count).result(timeout=60) == 7


@by_all
def test_errors_of_a_function_in_a_thread_are_its_own(gateway):
    """What the function raises comes through as it is."""

    def function():
        raise LookupError("no such luck")

    with pytest.raises(LookupError, match="no such luck"):
        gateway.in_thread(function, "tag", "", {}, "")()


@by_all
def test_slots_are_those_of_the_session(gateway):
    """Two cores are two slots, at once and at most: a cluster's executors are waited for."""
    assert (gateway.n_slots(), gateway.max_slots()) == (2, 2)


@classic
def test_jobs_stay_in_the_group_and_pool_of_the_caller(gateway, session, desk, ask_desk, background):
    """Cancelling the caller's own job group ends jobs that other threads run with its properties."""
    context = session.sparkContext
    context.setJobGroup("callers", "what the caller does")
    context.setLocalProperty("spark.scheduler.pool", "callers pool")
    context.addJobTag("callers-tag")
    try:
        properties = gateway.properties()
    finally:
        context.removeJobTag("callers-tag")
        for key in properties:
            context.setLocalProperty(key, None)
    assert properties["spark.scheduler.pool"] == "callers pool"
    assert properties["spark.job.tags"] == "callers-tag"
    ended = background(run, gateway, ask_desk, b"here", "tag", properties)
    desk.next()
    context.cancelJobGroup("callers")
    with pytest.raises(SparkJobError, match="the Spark job was cancelled"):
        ended.result(timeout=60)


@classic
def test_thread_has_its_own_properties_back_after_a_function(gateway, session, background):
    """Pool, group, description and tags are set for the function, with the caller's tags, and taken away again."""
    context = session.sparkContext
    keys = ("spark.scheduler.pool", "spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")

    def look():
        return [context.getLocalProperty(key) for key in keys], set(context.getJobTags())

    inner = gateway.in_thread(look, "my-tag", "what it does", {"spark.job.tags": "callers-tag"}, "a pool")

    def outer():
        context.setLocalProperty("spark.scheduler.pool", "own pool")
        context.addJobTag("own-tag")
        return inner(), look()

    inside, after = background(outer).result(timeout=60)
    assert inside == (["a pool", "my-tag", "what it does", "false"], {"my-tag", "callers-tag"})
    assert after == (["own pool", None, None, None], {"own-tag"})


@only_local
def test_other_python_on_the_workers_ends_the_run_with_the_remedy(gateway, session, monkeypatch):
    """A Python of another version, or none, on the workers is not one job's failure but everybody's."""

    def task(rows):
        yield from rows

    monkeypatch.setattr(session.sparkContext, "pythonVer", "3.0")
    with pytest.raises(SparkUnavailableError, match="set PYSPARK_PYTHON") as raised:
        run(gateway, task)
    assert not isinstance(raised.value, SparkJobError)
    monkeypatch.undo()
    monkeypatch.setattr(session.sparkContext, "pythonExec", "/no/such/python")
    with pytest.raises(SparkUnavailableError, match="/no/such/python") as raised:
        run(gateway, task)
    assert not isinstance(raised.value, SparkJobError)


@only_local
def test_shared_properties_of_threads_are_refused(session, monkeypatch):
    """Where Python's threads are not tied to Java's, tags would hit other trials' jobs."""
    monkeypatch.setenv("PYSPARK_PIN_THREAD", "false")
    with pytest.raises(SparkUnavailableError, match="PYSPARK_PIN_THREAD"):
        connect_to(session)


@only_local
@pytest.mark.parametrize("asked", [{"cpus_per_trial": 2}, {"gpus_per_trial": 1}])
def test_resources_are_refused_in_local_mode(session, asked):
    """Local mode has nothing to schedule by, so the error says so."""
    with pytest.raises(InvalidArgumentError, match=r"on a cluster only, and this session runs on local\[2\]"):
        build_profile(session, **asked)


@by_all
def test_session_stopped_in_mid_job_ends_the_run(gateway, session, desk, ask_desk, background):
    """The job's error is that of an ended application, not of one job; so it is for whatever is asked later."""
    ended = background(run, gateway, ask_desk)  # the last test here: it stops the session of all the others
    desk.next()
    session.stop()
    wait([ended], timeout=60)
    for call in (ended.result, lambda: run(gateway, ask_desk)):
        with pytest.raises(SparkUnavailableError, match="the Spark application ended") as raised:
            call()
        assert not isinstance(raised.value, SparkJobError)
    gateway.cancel("test")
    gateway.unshare(("bytes", b""))
    for call in (gateway.properties, lambda: connect_to(session)):
        with pytest.raises(SparkUnavailableError, match="the Spark session is stopped"):
            call()
