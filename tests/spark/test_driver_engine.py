"""The engine *driver* on real Spark: objectives that use Spark, many at once, told apart, cancelled one by one."""

import contextlib
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pyspark
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.ml.classification import LogisticRegression, RandomForestClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.exceptions import SparkUnavailableError, TrialTimeoutError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR, Call
from sparktune.run.domain import Domain
from sparktune.spark.driver import DriverExecutor
from sparktune.spark.session import connect_to, get_session

pytestmark = pytest.mark.spark

SPACE = hp.randint("i", 100)


def start_session(**config):
    """A new session on four cores; the one of earlier tests is stopped."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()
    settings = {key.replace("_", "."): value for key, value in config.items()}
    return get_session("local[4]", config={"spark.ui.enabled": "false", **settings})


@pytest.fixture(scope="module")
def fair_session():
    """A session whose pools share the cores."""
    session = start_session(spark_scheduler_mode="FAIR", spark_sql_shuffle_partitions="2")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def connect_session(fair_session, connect_server):
    """A session of Spark Connect; comes after all tests of the classic session."""
    fair_session.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it too, and would leave it there
        session = SparkSession.builder.remote(connect_server.url).create()
        yield session
        session.stop()


@pytest.fixture
def executor_for():
    """Makes an executor of a session and an objective, which is shut down in the end."""
    executors = []

    def make(session, objective, slots=4, **options):
        executors.append(DriverExecutor(connect_to(session), Domain(objective, SPACE), slots, **options))
        return executors[-1]

    yield make
    for executor in executors:
        executor.shutdown(cancel=True)


def submit(executor, n):
    return [executor.submit(Call(i, {"i": i})) for i in range(n)]


def points_of(session, n=400):
    """A table of features, and a label that depends on them."""
    columns = F.col("id"), (F.col("id") % 7).alias("a"), (F.col("id") % 5).alias("b")
    table = session.range(n).select(*columns, (F.col("id") % 7 > 3).cast("double").alias("label"))
    return VectorAssembler(inputCols=["a", "b"], outputCol="features").transform(table)


def properties(context):
    """Those of the calling thread that tell jobs apart."""
    keys = ["spark.scheduler.pool", "spark.jobGroup.id", "spark.job.description", "spark.job.tags"]
    return [context.getLocalProperty(key) for key in keys]


def wait_on_spark(session, check_in, message):
    """A Spark job that checks in at the desk and does not end by itself."""
    session.sparkContext.parallelize([message], 1).foreach(lambda text: check_in(text) and None)


# -- several at once --------------------------------------------------------------------------------------------------


def test_four_fits_at_once_are_told_apart(fair_session, executor_for):
    """Four forests grow at the same time on one table, each under its own pool, group, description and tag."""
    context = fair_session.sparkContext
    table = points_of(fair_session).cache()
    together = threading.Barrier(4, timeout=60)

    def objective(i):
        together.wait()
        model = RandomForestClassifier(numTrees=2 + i, maxDepth=2, seed=1).fit(table)
        together.wait()
        wrong = model.transform(table).filter("prediction != label").count()
        group = context.getLocalProperty("spark.jobGroup.id")
        jobs = context.statusTracker().getJobIdsForGroup(group)
        return {
            "loss": wrong,
            "status": "ok",
            "properties": properties(context),
            "jobs": jobs,
            "trees": len(model.trees),
        }

    executor = executor_for(fair_session, objective)
    results = [future.result(120).result for future in submit(executor, 4)]
    assert [result["trees"] for result in results] == [2, 3, 4, 5]
    pools, groups, descriptions, tags = zip(*(result["properties"] for result in results), strict=True)
    assert len(set(pools)) == len(set(groups)) == len(set(tags)) == 4
    assert all(pool.startswith("sparktune-") for pool in pools)
    assert descriptions == tuple(f"sparktune trial {i}" for i in range(4))
    jobs = [set(result["jobs"]) for result in results]
    assert all(len(ids) > 2 for ids in jobs)
    assert sum(map(len, jobs)) == len(set.union(*jobs))
    table.unpersist()


def test_records_and_logs(fair_session, executor_for):
    """A record says that the trial ran in the driver, when, and what it printed."""

    def objective(i):
        print("rows:", fair_session.range(i).count())
        return i

    for i, future in enumerate(submit(executor_for(fair_session, objective), 3)):
        record = future.result(60).record
        assert (record["executor"], record["pid"]) == ("driver", os.getpid())
        assert record["log"] == f"rows: {i}\n"
        assert record["start"] < record["end"]


def test_errors_of_spark_are_data(fair_session, executor_for):
    """What Spark raises in an objective fails its trial, with the traceback; others go on."""

    def objective(i):
        print("before")
        return float(fair_session.range(10).select("id" if i else "nothing").count())

    failed, fine = [future.result(60) for future in submit(executor_for(fair_session, objective), 2)]
    assert failed.state == JOB_STATE_ERROR
    assert isinstance(failed.failure.exception, AnalysisException)
    assert "in objective" in failed.failure.traceback
    assert failed.record["log"].startswith("before\n")  # pyspark 4 logs the error as well
    assert fine.result["loss"] == 10


# -- properties of threads --------------------------------------------------------------------------------------------


def test_nothing_of_a_trial_is_left_for_the_next(fair_session, executor_for):
    """What an objective sets in its thread, the next trial in this thread does not have."""
    context = fair_session.sparkContext
    seen = []

    def objective(i):
        seen.append((threading.get_ident(), *properties(context)))
        assert context.getLocalProperty("spark.own") is None
        context.setLocalProperty("spark.own", "own")
        context.setJobGroup(f"own {i}", "own")
        context.addJobTag("own")
        context.setLocalProperty("spark.scheduler.pool", "own")
        return i

    for future in submit(executor_for(fair_session, objective, slots=1), 3):
        assert future.result(60).failure is None
    (thread, *first), *others = seen
    assert first[2] == "sparktune trial 0"
    for i, (ident, pool, group, description, tags) in enumerate(others, 1):
        assert (ident, pool, description) == (thread, first[0], f"sparktune trial {i}")
        assert group == tags == first[1][:-1] + str(i)


def test_the_caller_keeps_its_group(fair_session, executor_for):
    """The thread that calls has its own group, pool and tags during and after; trials carry its tags beside theirs."""
    context = fair_session.sparkContext
    context.setJobGroup("caller", "the caller's")
    context.addJobTag("callers-tag")
    context.setLocalProperty("spark.scheduler.pool", "callers")
    before = properties(context)
    try:
        future = executor_for(
            fair_session, lambda i: {"loss": 0, "status": "ok", "properties": properties(context)}
        ).submit(Call(5, {"i": 5}))
        pool, group, description, tags = future.result(60).result["properties"]
        assert properties(context) == before
    finally:
        context.removeJobTag("callers-tag")
        for key in ("spark.scheduler.pool", "spark.jobGroup.id", "spark.job.description"):
            context.setLocalProperty(key, None)
    assert "callers" not in pool and "caller" not in group
    assert description == "sparktune trial 5"
    assert set(tags.split(",")) == {"callers-tag", group}


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_one_is_cancelled_and_three_finish(fair_session, executor_for, desk):
    """A cancel ends the Spark jobs of its trial and no others: three fits finish, and so does the caller's own job."""
    table = points_of(fair_session).cache()
    check_in = desk.check_in

    def objective(i):
        print("trial", i)
        if i == 1:
            wait_on_spark(fair_session, check_in, "endless")
        elif i == 2:
            wait_on_spark(fair_session, check_in, "patient")
        return LogisticRegression(maxIter=3).fit(table).interceptVector[0]

    executor = executor_for(fair_session, objective)
    futures = submit(executor, 4)
    visits = {visit.message: visit for visit in (desk.next(), desk.next())}
    executor.cancel(1)
    visits["endless"].wait_until_gone()
    cancelled = futures[1].result(60)
    assert (cancelled.state, cancelled.record["log"]) == (JOB_STATE_CANCEL, "trial 1\n")
    visits["patient"].answer()
    losses = [futures[i].result(120).result["loss"] for i in (0, 2, 3)]
    assert losses == pytest.approx([losses[0]] * 3)  # Spark adds partitions up in the order in which they end
    table.unpersist()


def test_jobs_started_after_the_cancel_are_cancelled_too(fair_session, executor_for, desk):
    """An objective that takes a cancelled job for a hiccup and tries again is cancelled again."""
    check_in = desk.check_in

    def objective(i):
        for attempt in range(3):
            with contextlib.suppress(Py4JJavaError):
                wait_on_spark(fair_session, check_in, str(attempt))
        raise RuntimeError("given up")

    others = set(threading.enumerate())
    executor = executor_for(fair_session, objective)
    [future] = submit(executor, 1)
    first = desk.next()
    executor.cancel(0)
    first.wait_until_gone()
    assert future.result(60).state == JOB_STATE_CANCEL
    executor.shutdown()  # joins the thread, which ends when no job of it waits at the desk any more
    assert not future.result().failure
    is_left = [thread for thread in threading.enumerate() if thread.name == "sparktune-0" and thread not in others]
    for thread in is_left:
        thread.join(60)
        assert not thread.is_alive()


def test_a_time_limit_cancels_the_jobs(fair_session, executor_for, desk):
    """A trial that runs longer than it may is stopped with its Spark jobs, and fails by its limit."""
    check_in = desk.check_in
    executor = executor_for(fair_session, lambda i: wait_on_spark(fair_session, check_in, "endless"), timeout=3)
    [future] = submit(executor, 1)
    desk.next().wait_until_gone()
    assert future.result(60).failure.type == str(TrialTimeoutError)


# -- SparkTrials ------------------------------------------------------------------------------------------------------


def test_fmin_tunes_on_a_table(fair_session):
    """``SparkTrials(engine="driver")`` takes an objective that holds a DataFrame, and the best of its points wins."""
    table = points_of(fair_session).cache()

    def objective(depth):
        model = RandomForestClassifier(numTrees=3, maxDepth=depth, seed=1).fit(table)
        return model.transform(table).filter("prediction != label").count() / 400

    trials = SparkTrials(parallelism=3, spark_session=fair_session, engine="driver")
    space = hp.uniformint("depth", 1, 4)
    best = fmin(objective, space, rand.suggest, 6, trials=trials, rstate=1, verbose=False)
    assert trials.count_successful_trials() == 6
    assert min(trials.losses()) == trials.best_trial["result"]["loss"]
    assert best["depth"] == trials.argmin["depth"]
    table.unpersist()


def test_objectives_find_the_session_of_the_trials(fair_session):
    """The active session is the given one while trials run, not the program's first, and afterwards what it was."""
    other = fair_session.newSession()
    other.range(7).createOrReplaceTempView("known_to_the_other")
    together = threading.Barrier(2, timeout=60)

    def objective(i):
        together.wait()
        with contextlib.suppress(threading.BrokenBarrierError):  # the other trial has ended
            return float(SparkSession.getActiveSession().table("known_to_the_other").count())

    before = SparkSession.getActiveSession()
    trials = SparkTrials(parallelism=2, spark_session=other, engine="driver")
    fmin(objective, SPACE, rand.suggest, 4, trials=trials, verbose=False)
    assert trials.losses() == [7.0] * 4
    assert SparkSession.getActiveSession() is before


def test_thread_has_its_own_session_back(fair_session):
    """What runs for the trials of one session leaves the active one of its thread as it was: none, or another."""
    other = fair_session.newSession()

    def active():
        return SparkSession.getActiveSession()

    inside = connect_to(other).in_thread(active, "tag", "", {}, "pool")
    around = connect_to(fair_session).in_thread(lambda: (active(), inside(), active()), "tag", "", {}, "pool")
    with ThreadPoolExecutor(1) as thread:
        seen = thread.submit(lambda: (active(), around(), active())).result(60)
    assert seen == (None, (fair_session, other, fair_session), None)


def test_two_sessions_at_a_time_leave_the_one_of_before(fair_session):
    """pyspark names one active session for all threads; when two runs have ended, in any order, it is the old one."""
    one, two = fair_session.newSession(), fair_session.newSession()
    begun, ended = threading.Event(), threading.Event()
    before = SparkSession.getActiveSession()

    def first():
        begun.set()
        assert ended.wait(60)

    def second():
        assert begun.wait(60)

    with ThreadPoolExecutor(2) as threads:
        future = threads.submit(connect_to(one).in_thread(first, "tag one", "", {}, "pool"))
        threads.submit(connect_to(two).in_thread(second, "tag two", "", {}, "pool")).result(60)
        ended.set()
        future.result(60)
    assert SparkSession.getActiveSession() is before


def test_a_stopped_session_ends_the_run(desk):
    """Where the session is stopped while trials run, the run ends with an error that says so, and keeps its results."""
    session = start_session(spark_scheduler_mode="FAIR")
    check_in, stopped = desk.check_in, threading.Event()

    def objective(i):
        if i:
            assert check_in("running") == "stopped"
        return float(session.range(i + 1).count())

    trials = SparkTrials(parallelism=2, spark_session=session, engine="driver")
    errors = []

    def tune():
        try:
            points = [{"i": 0}, {"i": 1}, {"i": 2}]
            fmin(objective, SPACE, rand.suggest, 0, trials=trials, points_to_evaluate=points, verbose=False)
        except SparkUnavailableError as error:
            errors.append(error)
        stopped.set()

    threading.Thread(target=tune, daemon=True).start()
    visits = [desk.next(), desk.next()]
    session.stop()
    for visit in visits:
        visit.answer("stopped")
    assert stopped.wait(60)
    assert "application ended" in str(errors[0])
    assert trials._dynamic_trials[0]["state"] == JOB_STATE_DONE
    assert trials.losses() == [1.0]


def test_fifo_is_pointed_out(caplog):
    """Where the application's scheduler is FIFO, one line says what that means and how to change it."""
    session = start_session(spark_scheduler_mode="FIFO")
    with caplog.at_level(logging.INFO, "sparktune"):
        for slots in (4, 1):
            DriverExecutor(connect_to(session), Domain(float, SPACE), slots).shutdown()
    [line] = [record.getMessage() for record in caplog.records if "spark.scheduler.mode" in record.getMessage()]
    assert "FAIR" in line
    session.stop()
    caplog.clear()
    session = start_session(spark_scheduler_mode="FAIR")
    with caplog.at_level(logging.INFO, "sparktune"):
        DriverExecutor(connect_to(session), Domain(float, SPACE), 4).shutdown()
    assert "spark.scheduler.mode" not in caplog.text
    session.stop()


# -- Spark Connect ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(pyspark.__version__.startswith("3."), reason="MLlib is on Spark Connect since 4.0")
def test_connect_fits_four_at_once(connect_session, executor_for):
    """On Spark Connect objectives in threads find their session, fit models at the same time, and have their tags."""
    table = points_of(connect_session)
    together = threading.Barrier(4, timeout=60)

    def objective(i):
        together.wait()
        model = LogisticRegression(maxIter=1 + i).fit(table)
        right = model.transform(table).filter("prediction = label").count()
        same = SparkSession.getActiveSession() is connect_session
        return {"loss": -right, "status": "ok", "tags": sorted(connect_session.getTags()), "same": same}

    results = [future.result(300).result for future in submit(executor_for(connect_session, objective), 4)]
    assert all(result["same"] for result in results)
    assert [len(result["tags"]) for result in results] == [1] * 4
    assert len({result["tags"][0] for result in results}) == 4


@pytest.mark.slow
def test_connect_cancels_one(connect_session, executor_for, desk):
    """A cancel interrupts the jobs of its trial only, on Spark Connect as well."""
    check_in = desk.check_in

    def wait_in_arrow(batches):
        for batch in batches:
            check_in("endless")
            yield batch

    def objective(i):
        frame = connect_session.range(0, 3, 1, 1)
        if i == 1:
            frame = frame.mapInArrow(wait_in_arrow, "id long")
        return float(frame.count())

    executor = executor_for(connect_session, objective)
    futures = submit(executor, 3)
    visit = desk.next()
    executor.cancel(1)
    visit.wait_until_gone()
    assert futures[1].result(60).state == JOB_STATE_CANCEL
    assert [futures[i].result(60).result["loss"] for i in (0, 2)] == [3, 3]
