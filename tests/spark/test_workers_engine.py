"""The engine "workers" on real sessions: speed's price is paid when a worker, an executor or the network fails."""

import logging
import os
import signal
import statistics
import subprocess
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest
from waiting import wait_until, wait_until_gone

from sparktune import hp
from sparktune.exceptions import InvalidArgumentError, ObjectiveError
from sparktune.history.trial import Call, Outcome
from sparktune.run.domain import Domain
from sparktune.run.pilots import Patience
from sparktune.spark.automatic import AutomaticExecutor
from sparktune.spark.classic import ClassicGateway
from sparktune.spark.jobs import JobsExecutor, RemoteObjective
from sparktune.spark.workers import WorkersExecutor
from sparktune.worker import processes
from sparktune.worker.evaluator import Limits

pytestmark = pytest.mark.spark

CLUSTER = pytest.param("local-cluster[2,1,1024]", marks=pytest.mark.slow)
on_both = pytest.mark.parametrize("session", ["local[2]", CLUSTER], indirect=True, scope="module")
on_local = pytest.mark.parametrize("session", ["local[2]"], indirect=True, scope="module")
on_cluster = pytest.mark.parametrize("session", [CLUSTER], indirect=True, scope="module")

SPACE = hp.uniform("x", 0, 10)


@pytest.fixture
def executor_for(session):
    """Makes an executor of an objective, which is shut down in the end."""
    executors = []

    def make(fn, slots=2, kind=WorkersExecutor, space=SPACE, limits=None, preflight=True, **options):
        objective = RemoteObjective(ClassicGateway(session), Domain(fn, space), limits or Limits(), preflight)
        executors.append(kind(objective, lambda: slots, **options))
        return executors[-1]

    yield make
    for executor in executors:
        executor.shutdown(cancel=True)


def call(tid=0, x=1.0):
    return Call(tid, {"x": x})


def ancestors(pid):
    """The chain of processes above one: guardian, Python worker, daemon, Java."""
    parents = processes.parents()
    chain = [pid]
    while parents.get(chain[-1], 0) > 1:
        chain.append(parents[chain[-1]])
    return chain[1:]


def run_job(session, n=1):
    """An ordinary Spark job of somebody else's."""
    return session.sparkContext.parallelize(range(n), n).count()


# -- outcomes ---------------------------------------------------------------------------------------------------------


@on_both
def test_outcomes_are_those_of_the_jobs_engine(session, executor_for):
    """Results, failures, logs and records are the same as when each trial is a Spark job of its own."""

    def objective(x):
        if x == 1:
            print("printed")
            raise ValueError("no such luck")
        if x == 2:
            return {"status": "ok", "loss": x, "attachments": {"a": b"1"}, "more": [x]}
        if x == 3:
            os._exit(3)
        if x == 4:
            return threading.Lock()
        if x == 5:
            raise SystemExit(7)
        if x == 6:
            return {"status": "fail"}
        return x

    def summary(executor):
        futures = [executor.submit(call(tid, x=float(tid))) for tid in range(8)]
        outcomes = [what_counts(future.result(120)) for future in futures]
        executor.shutdown()  # now: workers with nothing to do keep their slots for seconds
        return outcomes

    def what_counts(outcome):
        failure = outcome.failure
        if failure is not None:
            lines = [line for line in failure.traceback.splitlines() if "in objective" in line]
            failure = (failure.type, failure.message, lines, type(failure.exception), failure.is_lost)
        known = {key for key, value in outcome.record.items() if value not in (None, "")}
        return outcome.result, outcome.attachments, failure, known, outcome.record.get("log")

    assert summary(executor_for(objective)) == summary(executor_for(objective, kind=JobsExecutor))


@on_both
def test_hundreds_of_trials_come_back_each_with_its_own_result(session, executor_for):
    """None is lost or mixed up, each is evaluated once, and a handful of processes does it all."""
    executor = executor_for(lambda x: {"status": "ok", "loss": x, "worker": os.getppid()})
    futures = [executor.submit(call(tid, x=tid / 100)) for tid in range(600)]
    results = [future.result(120).result for future in futures]
    assert [result["loss"] for result in results] == [tid / 100 for tid in range(600)]
    assert len({result["worker"] for result in results}) <= 2


@on_local
def test_objective_is_checked_before_the_first_trial(session, executor_for):
    """An objective that workers cannot load is one clear error."""

    class Odd:
        def __reduce__(self):
            return __import__, ("a_module_that_is_nowhere",)

    odd = Odd()
    with pytest.raises(ObjectiveError, match="a_module_that_is_nowhere"):
        executor_for(lambda x: odd).submit(call()).result(120)


@on_local
def test_limits_of_a_trial_are_kept(session, executor_for):
    """A trial over its time is killed, in C code too; the worker goes on."""
    executor = executor_for(lambda x: sum(range(int(x))), slots=1, limits=Limits(timeout=1.0))
    outcomes = [executor.submit(call(tid, x=x)).result(120) for tid, x in enumerate((1e12, 3.0))]
    assert "TrialTimeoutError" in outcomes[0].failure.type
    assert outcomes[1].result["loss"] == 3.0


# -- cancelling -------------------------------------------------------------------------------------------------------


@on_both
def test_cancel_kills_a_trial_with_its_children_and_frees_the_slot(session, executor_for, desk):
    """The trial's processes are gone, its worker is not, and what waited runs on the same one."""

    def objective(x):
        if x:
            return {"status": "ok", "loss": x, "chain": os.getppid()}
        child = subprocess.Popen(["sleep", "600"])
        desk_check_in(f"{os.getpid()} {child.pid}")

    desk_check_in = desk.check_in
    executor = executor_for(objective, slots=1)
    running, waiting = executor.submit(call(0, x=0.0)), executor.submit(call(1, x=1.0))
    pid, child = map(int, desk.next().message.split())
    worker = ancestors(pid)[1]
    executor.cancel(0)
    outcome = running.result(60)
    assert (outcome.result, outcome.failure) == (None, None)
    wait_until_gone(pid, child)
    assert waiting.result(60).result["loss"] == 1.0
    assert worker in processes.parents()


@on_local
def test_cancel_during_the_preflight_ends_the_trial(session, executor_for, desk):
    """A trial is cancelled even before any worker was started, and the shutdown does not wait for the preflight."""
    check_in = desk.check_in

    class Slow:
        def __reduce__(self):
            return check_in, ("loading",)

    slow = Slow()
    executor = executor_for(lambda x: slow)
    future = executor.submit(call())
    desk.next()
    executor.cancel(0)
    assert future.result(60) == Outcome()
    executor.shutdown(cancel=True)


# -- faults -----------------------------------------------------------------------------------------------------------


@on_both
def test_killed_worker_loses_its_trial_at_once_and_the_next_one_runs(session, executor_for, desk, journal):
    """kill -9 of the Python worker: one lost trial, evaluated once, no process left, and a new worker for the next."""
    check_in, write = desk.check_in, journal.write

    def objective(x):
        write(x)
        if x == 0:
            check_in(str(os.getpid()))
        return x

    executor = executor_for(objective, slots=1)
    future = executor.submit(call(0, x=0.0))
    visit = desk.next()
    pid = int(visit.message)
    os.kill(ancestors(pid)[1], signal.SIGKILL)
    failure = future.result(60).failure
    assert failure.is_lost
    assert "the worker ended" in failure.message
    wait_until_gone(pid)
    assert executor.submit(call(1, x=1.0)).result(120).result["loss"] == 1.0
    assert journal.lines == ["0.0", "1.0"]


@on_cluster
def test_killed_executor_loses_its_trial_at_once_and_others_go_on(session, executor_for, desk, journal):
    """kill -9 of an executor's JVM: its trial is lost, not run again unasked, and further trials run."""
    check_in, write = desk.check_in, journal.write

    def objective(x):
        write(x)
        if x == 0:
            check_in(str(os.getpid()))
        return x

    executor = executor_for(objective)
    future = executor.submit(call(0, x=0.0))
    pid = int(desk.next().message)
    java = ancestors(pid)[3]
    assert "java" in Path(f"/proc/{java}/exe").resolve().name
    os.kill(java, signal.SIGKILL)
    assert future.result(60).failure.is_lost
    wait_until_gone(pid)
    futures = [executor.submit(call(tid, x=float(tid))) for tid in range(1, 9)]
    assert [future.result(120).result["loss"] for future in futures] == [float(tid) for tid in range(1, 9)]
    assert journal.lines.count("0.0") == 1


@on_local
def test_stopped_worker_loses_its_trial_after_a_while_and_gives_its_slot_back(session, executor_for, desk):
    """A worker that hangs is noticed by its silence, its Spark job is cancelled, and the next trial runs."""
    check_in = desk.check_in

    def objective(x):
        if x == 0:
            check_in(str(os.getpid()))
        return x

    executor = executor_for(objective, slots=1, patience=Patience(silence=4.0))
    future = executor.submit(call(0, x=0.0))
    pid = int(desk.next().message)
    worker = ancestors(pid)[1]
    os.kill(worker, signal.SIGSTOP)
    assert "nothing was heard" in future.result(60).failure.message
    assert executor.submit(call(1, x=1.0)).result(120).result["loss"] == 1.0
    wait_until_gone(worker, pid)


# -- the slots that workers hold --------------------------------------------------------------------------------------


@on_local
def test_idle_workers_are_given_back_so_that_other_jobs_run(session, executor_for):
    """Workers hold every slot; once they have nothing to do, another job of the application runs. Then they return."""
    executor = executor_for(lambda x: x, patience=Patience(idle=0.5))
    wait([executor.submit(call(tid)) for tid in range(50)], timeout=120)
    assert run_job(session) == 1
    assert executor.submit(call(50, x=2.0)).result(120).result["loss"] == 2.0


@on_both
def test_shutdown_leaves_nothing_behind(session, executor_for):
    """Threads and sockets of the driver are as before, no Spark job runs, and others' jobs get all slots."""
    run_job(session, 2)

    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    counts = []
    for _ in range(4):  # the first ones may open what stays
        executor = executor_for(lambda x: x)
        wait([executor.submit(call(tid)) for tid in range(20)], timeout=120)
        executor.shutdown()
        executor.shutdown()
        counts.append(count())
        wait_until(lambda: not session.sparkContext.statusTracker().getActiveJobsIds())  # which lags behind a little
    assert counts[2] == counts[3]
    assert run_job(session, 2) == 2


@on_local
def test_shutdown_with_cancel_ends_what_runs_and_what_waits(session, executor_for, desk):
    """All futures end as cancelled within seconds, with a trial that hangs, one that waits and one that is to start."""
    check_in = desk.check_in
    executor = executor_for(lambda x: check_in(""), slots=3)
    futures = [executor.submit(call(tid)) for tid in range(5)]
    for _ in range(2):
        desk.next()
    executor.shutdown(cancel=True)
    assert [(future.result(0).result, future.result(0).failure) for future in futures] == [(None, None)] * 5
    assert run_job(session, 2) == 2


# -- falling back -----------------------------------------------------------------------------------------------------


@on_local
def test_no_worker_in_time_falls_back_to_jobs(session, executor_for, desk, background, caplog):
    """While other jobs hold all slots no worker comes, and trials are queued as jobs of their own."""
    check_in = desk.check_in

    def hold(_):
        check_in("")

    jobs = background(lambda: session.sparkContext.parallelize(range(2), 2).foreach(hold))
    visits = [desk.next(), desk.next()]
    executor = executor_for(lambda x: x, preflight=False, patience=Patience(connection=1.0))
    with caplog.at_level(logging.WARNING, "sparktune"):
        future = executor.submit(call())
        wait_until(lambda: caplog.records)
    for visit in visits:
        visit.answer()
    jobs.result(60)
    assert future.result(120).result["loss"] == 1.0
    assert "none connected within 1 s" in caplog.text


def test_connect_is_refused():
    """On Spark Connect the error names the engine to use."""

    class Remote:
        gateway = None

    with pytest.raises(InvalidArgumentError, match='engine="connect"'):
        WorkersExecutor(Remote(), lambda: 1)


# -- chosen by itself -------------------------------------------------------------------------------------------------


@on_local
def test_short_trials_go_to_workers_after_the_first_ones(session, executor_for, caplog):
    """The first trials are jobs; once they have turned out to be short, workers evaluate, and one line says so."""
    executor = executor_for(lambda x: x, kind=AutomaticExecutor)
    with caplog.at_level(logging.INFO, "sparktune"):
        for tid in range(12):
            assert executor.submit(call(tid, x=float(tid))).result(120).result["loss"] == float(tid)
    lines = [record.getMessage() for record in caplog.records if "long-lived" in record.getMessage()]
    assert len(lines) == 1
    assert "the last 5 trials took" in lines[0]
    latencies = []
    for tid in range(12, 62):
        latencies.append(executor.submit(call(tid)).result(120).record["queue_time"])
    assert statistics.median(latencies) < 0.02  # a Spark job's is above it even on an idle machine


@on_local
def test_long_trials_stay_jobs(session, executor_for, monkeypatch):
    """Trials at or above the limit never start workers."""
    monkeypatch.setattr("sparktune.spark.automatic.SHORT", 0.0)
    executor = executor_for(lambda x: x, kind=AutomaticExecutor)
    for tid in range(8):
        executor.submit(call(tid)).result(120)
    assert executor._workers is None
