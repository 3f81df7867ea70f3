"""What every backend must do alike: one suite for all of them."""

import contextlib
import os
import signal
import threading
import time

import clusters
import pytest
from waiting import wait_until, wait_until_gone

from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import AllTrialsFailed
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR, Call
from sparktune.run.domain import Domain
from sparktune.run.executor import SerialExecutor

SPACE = hp.randint("i", 1000)

LOCAL = ("serial", "threads", "processes")
ON_SPARK = ("jobs", "workers", "driver", "connect")


class Backend:
    """A way to run trials, as the tests use it.

    Attributes:
        name: Of the backend.
        make: Makes the executor of a domain; options as of ``SparkTrials``.
        has_processes: Whether an evaluation is a process of its own, which can be killed and can die.
        can_cancel: Whether a running evaluation can be stopped.
        is_remote: Whether the objective is pickled.
    """

    def __init__(self, name, make, *, has_processes=False, can_cancel=True, is_remote=False):
        self.name = name
        self.make = make
        self.has_processes = has_processes
        self.can_cancel = can_cancel
        self.is_remote = is_remote

    def trials(self, **options):
        """A trials object that runs on this backend."""
        make = self.make

        class BackendTrials(Trials):
            def make_executor(self, domain):
                return make(domain, **options)

        trials = BackendTrials()
        trials.max_retries = options.get("max_retries", 1)
        return trials


@contextlib.contextmanager
def serial():
    yield Backend("serial", lambda domain, **_: SerialExecutor(domain), can_cancel=False)


@contextlib.contextmanager
def threads():
    from sparktune.run.threads import ThreadsExecutor

    yield Backend("threads", lambda domain, **_: ThreadsExecutor(domain, 2, grace=0.2))


@contextlib.contextmanager
def processes():
    def make(domain, trial_timeout=None, trial_memory=None, **_):
        from sparktune.run.processes import ProcessesExecutor
        from sparktune.worker.evaluator import Limits

        return ProcessesExecutor(domain, 2, Limits(trial_timeout, trial_memory))

    yield Backend("processes", make, has_processes=True, is_remote=True)


@contextlib.contextmanager
def on_spark(engine, session):
    from sparktune import SparkTrials
    from sparktune.spark import driver

    def make(domain, **options):
        return SparkTrials(2, spark_session=session, engine=engine, **options).make_executor(domain)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "GRACE", 0.5)  # a thread that sleeps is left alone in any case
        yield Backend(engine, make, has_processes=engine != "driver", is_remote=engine != "driver")


@contextlib.contextmanager
def connect(server):
    from pyspark.sql import SparkSession

    from sparktune import SparkTrials

    clusters.stop_session()
    before = dict(os.environ)  # builder.remote leaves variables behind
    session = SparkSession.builder.remote(server.url).getOrCreate()

    def make(domain, **options):
        return SparkTrials(2, spark_session=session, **options).make_executor(domain)

    yield Backend("connect", make, has_processes=True, is_remote=True)
    session.stop()
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="module")
def session():
    """The classic session, which one engine after another uses."""
    from sparktune.spark import get_session

    clusters.stop_session()  # of other tests
    yield get_session("local[2]", config={"spark.ui.enabled": "false", "spark.python.task.killTimeout": "200ms"})
    clusters.stop_session()


@pytest.fixture(scope="module", params=[*LOCAL, *(pytest.param(name, marks=pytest.mark.spark) for name in ON_SPARK)])
def backend(request):
    """Each backend in turn."""
    name = request.param
    if name in LOCAL:
        context = {"serial": serial, "threads": threads, "processes": processes}[name]()
    elif name == "connect":
        context = connect(request.getfixturevalue("connect_server"))
    else:
        context = on_spark(name, request.getfixturevalue("session"))
    with context as made:
        yield made


@pytest.fixture
def run(backend):
    """Evaluates an objective at points, all at once; returns their outcomes."""
    executors = []

    def run(objective, points=(0,), **options):
        executor = backend.make(Domain(objective, SPACE), **options)
        executors.append(executor)
        futures = [executor.submit(Call(i, {"i": i})) for i in points]
        return [future.result(timeout=120) for future in futures]

    yield run
    for executor in executors:
        executor.shutdown(cancel=True)


def needs_processes(backend):
    if not backend.has_processes:
        pytest.skip("an evaluation is no process of its own here")


# -- results ----------------------------------------------------------------------------------------------------------


def test_results_belong_to_their_calls(run):
    """Each future has the result of its own call, in whatever order they end."""
    outcomes = run(lambda i: {"loss": float(i), "status": "ok", "extra": [i]}, range(8))
    assert [outcome.result for outcome in outcomes] == [
        {"loss": float(i), "status": "ok", "extra": [i]} for i in range(8)
    ]
    assert all(outcome.state == JOB_STATE_DONE for outcome in outcomes)


def test_what_a_trial_changes_in_the_objective_no_other_sees(backend, run):
    """As on hyperopt's Spark, each trial has the objective and what it captures as they were, in the next run as well.
    Threads share them, as hyperopt's ``Trials`` does.
    """
    defaults, seen = {}, []

    def objective(i):
        defaults.update({i: i})
        seen.append(i)
        return float(len(defaults) + len(seen))

    losses = [outcome.result["loss"] for _ in range(2) for outcome in run(objective, range(4))]
    assert losses == [2.0] * 8 if backend.is_remote else len(seen) == 8


def test_an_exception_full_of_data_is_a_failure_with_its_text(backend, run):
    """Megabytes in an exception do not take the place of what it says."""
    needs_processes(backend)

    def objective(i):
        error = ValueError("the frame is not valid")
        error.frame = bytes(80 * 2**20)
        raise error

    [outcome] = run(objective)
    assert "the frame is not valid" in outcome.failure.message
    assert "in objective" in outcome.failure.traceback


def test_attachments_come_back(backend):
    """What an objective attaches is the trial's attachment."""
    trials = backend.trials()
    minimise(trials, lambda i: {"loss": 0.0, "status": "ok", "attachments": {"model": b"bytes"}}, 2)
    assert [trials.trial_attachments(trial)["model"] for trial in trials.trials] == [b"bytes"] * 2
    assert not any("attachments" in result for result in trials.results)


def test_status_fail_is_a_result(run):
    """A trial that says it failed has a result, and no error."""
    [outcome] = run(lambda i: {"status": "fail", "why": "no data"})
    assert (outcome.result, outcome.failure) == ({"status": "fail", "why": "no data"}, None)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_error_in_the_objective_comes_back_as_data(run):
    """Every backend reports a failed objective as an outcome that names the error and has its traceback."""

    def divide(i):  # in here, for a module of tests cannot be imported on a Connect server
        return 1 / i

    [outcome] = run(lambda i: divide(i))
    assert outcome.state == JOB_STATE_ERROR
    assert outcome.failure.type == "<class 'ZeroDivisionError'>"
    assert outcome.failure.message == "division by zero"
    assert "in divide" in outcome.failure.traceback
    assert isinstance(outcome.failure.exception, ZeroDivisionError)
    assert not outcome.failure.is_lost


@pytest.mark.parametrize("returned", [None, "nan", {"loss": 1.0}, {"status": "perhaps"}], ids=repr)
def test_what_is_no_result_is_an_error(run, returned):
    """A value that is neither a number nor a result fails the trial, with the rule in its error."""
    [outcome] = run(lambda i: returned)
    assert outcome.state == JOB_STATE_ERROR
    assert "Invalid" in outcome.failure.type


def test_exit_of_the_objective_ends_its_trial_only(backend, run):
    """sys.exit in an objective fails its trial, and the others run."""
    if backend.name == "serial":
        pytest.skip("it runs in the caller's own thread, which it ends")

    def objective(i):
        if i == 1:
            raise SystemExit(3)
        return float(i)

    outcomes = run(objective, range(4))
    assert [outcome.state for outcome in outcomes] == [JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_DONE, JOB_STATE_DONE]
    assert "SystemExit" in outcomes[1].failure.type


def test_run_goes_on_or_ends_as_asked(backend):
    """An error ends the run, with the objective's own exception, unless exceptions are caught."""
    with pytest.raises(ZeroDivisionError):
        minimise(backend.trials(), lambda i: 1 / 0, 4)
    trials = backend.trials()
    with pytest.raises(AllTrialsFailed, match="division by zero"):
        minimise(trials, lambda i: 1 / 0, 3, catch_eval_exceptions=True)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_ERROR] * 3


# -- records ----------------------------------------------------------------------------------------------------------


def test_log_has_what_the_objective_printed(backend):
    """``logs`` has prints and the traceback of the trial that made them, and of no other."""

    def objective(i):
        print("value", i)
        if i == 1:
            raise ValueError("no such luck")
        return float(i)

    trials = backend.trials()
    minimise(trials, objective, [0, 1, 2], catch_eval_exceptions=True)
    assert trials.logs(0).strip() == "value 0"
    assert trials.logs(1).startswith("value 1\n")
    assert "ValueError: no such luck" in trials.logs(1)
    assert trials.logs(2).strip() == "value 2"


def test_record_says_where_and_when(backend):
    """Every document has host, process, start, end and waiting time of its attempt."""
    if backend.name == "serial":
        pytest.skip("it is this process, now: book_time and refresh_time say when")
    trials = backend.trials()
    start = time.time()
    minimise(trials, lambda i: float(os.getpid()), 3)
    for trial in trials.trials:
        record = trial["misc"]["run"]
        assert record["pid"] == trial["result"]["loss"]
        assert (record["pid"] != os.getpid()) == backend.has_processes
        assert record["host"]
        assert start - 1 <= record["start"] <= record["end"] <= time.time() + 1
        assert record["queue_time"] >= 0
        [attempt] = record["attempts"]
        assert attempt["pid"] == record["pid"]


# -- stopping ---------------------------------------------------------------------------------------------------------


def sleeper(path):
    """An objective that says it has started, and sleeps; for ever, until the test is over."""

    def objective(i):
        with open(f"{path}/{i}", "w") as file:
            file.write(str(os.getpid()))
        end = time.monotonic() + 300
        while i < 100 and time.monotonic() < end and not os.path.exists(f"{path}/over"):
            time.sleep(0.05)
        return float(i)

    return objective


@pytest.fixture
def asleep(tmp_path):
    """An objective that sleeps; a thread that a test leaves alone wakes up when the test is over."""
    yield sleeper(str(tmp_path))
    (tmp_path / "over").touch()


def test_cancel_ends_one_evaluation(backend, tmp_path, asleep):
    """A running evaluation that is cancelled ends as cancelled; the one beside it goes on; its slot is free again."""
    if not backend.can_cancel:
        pytest.skip("nothing runs between calls")
    executor = backend.make(Domain(asleep, SPACE))
    try:
        first, second = executor.submit(Call(0, {"i": 0})), executor.submit(Call(1, {"i": 1}))
        wait_until((tmp_path / "0").exists)
        wait_until((tmp_path / "1").exists)
        executor.cancel(0)
        assert first.result(timeout=60).state == JOB_STATE_CANCEL
        assert not second.done()
        assert executor.submit(Call(100, {"i": 100})).result(timeout=60).result["loss"] == 100.0
        executor.cancel(1)
        assert second.result(timeout=60).state == JOB_STATE_CANCEL
    finally:
        executor.shutdown(cancel=True)
    if backend.has_processes:
        for name in ("0", "1"):
            wait_until_gone(int((tmp_path / name).read_text()))


def test_cancel_of_what_waits_never_starts_it(backend, tmp_path, asleep):
    """An evaluation that is cancelled before it began is never made."""
    if not backend.can_cancel:
        pytest.skip("nothing waits here")
    executor = backend.make(Domain(asleep, SPACE))
    try:
        for i in range(2):
            executor.submit(Call(i, {"i": i}))
        wait_until((tmp_path / "0").exists)
        wait_until((tmp_path / "1").exists)
        waiting = executor.submit(Call(2, {"i": 2}))
        executor.cancel(2)
        executor.cancel(0)
        assert waiting.result(timeout=60).state == JOB_STATE_CANCEL
        assert executor.submit(Call(101, {"i": 101})).result(timeout=60).result["loss"] == 101.0
    finally:
        executor.shutdown(cancel=True)
    assert not (tmp_path / "2").exists()


def test_timeout_of_the_run_keeps_what_is_in(backend, tmp_path, asleep):
    """A run that times out has cancelled what ran, kept what was finished, and can go on."""
    if not backend.can_cancel:
        pytest.skip("the caller's own thread cannot be interrupted")
    trials = backend.trials()
    # Long enough for the first trial on a machine that is busy: it is followed by two that would never end.
    minimise(trials, asleep, [100, 0, 1], timeout=5 if backend.name in ON_SPARK else 2)
    states = {trial["tid"]: trial["state"] for trial in trials._dynamic_trials}
    assert states == {0: JOB_STATE_DONE, 1: JOB_STATE_CANCEL, 2: JOB_STATE_CANCEL}
    minimise(trials, asleep, [102, 103])
    assert sorted(trials.losses()) == [100.0, 102.0, 103.0]


def test_trial_timeout_kills_the_trial(backend, run, tmp_path, asleep):
    """A trial over its time is killed, says so, and leaves its slot to the next."""
    needs_processes(backend)
    outcomes = run(asleep, [0, 1, 100, 101], trial_timeout=2)
    assert ["TrialTimeoutError" in outcome.failure.type for outcome in outcomes[:2]] == [True, True]
    assert "trial_timeout=2 s" in outcomes[0].failure.message
    assert not outcomes[0].failure.is_lost
    assert [outcome.result["loss"] for outcome in outcomes[2:]] == [100.0, 101.0]
    for name in ("0", "1"):
        wait_until_gone(int((tmp_path / name).read_text()))


def test_trial_memory_kills_the_trial(backend, run):
    """A trial over its memory is killed and says so."""
    needs_processes(backend)

    def objective(i):
        data = []
        while True:
            data.append(bytearray(2**24))
            time.sleep(0.01)

    [outcome] = run(objective, trial_memory="400m" if backend.name != "processes" else 400 * 2**20)
    assert "TrialMemoryError" in outcome.failure.type
    assert "trial_memory=400 MiB" in outcome.failure.message


# -- loss and retry ---------------------------------------------------------------------------------------------------


def dies_once(path, n_deaths):
    """An objective whose process is killed the first times that it is evaluated at 1; it notes each evaluation."""

    def objective(i):
        with open(path, "a") as file:
            file.write(f"{i}\n")
        with open(path) as file:
            n_before = file.read().split().count("1")
        if i == 1 and n_before <= n_deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return float(i)

    return objective


def test_lost_trial_is_evaluated_again(backend, tmp_path):
    """A trial whose process died is evaluated once more with the same parameters; the document tells of both."""
    needs_processes(backend)
    path = tmp_path / "evaluations"
    trials = backend.trials()
    minimise(trials, dies_once(str(path), 1), [0, 1, 2])
    assert trials.losses() == [0.0, 1.0, 2.0]
    assert sorted(path.read_text().split()) == ["0", "1", "1", "2"]
    first, second = trials.trials[1]["misc"]["run"]["attempts"]
    assert "SIGKILL" in first["error"]
    assert "error" not in second
    assert first["pid"] != second["pid"]


def test_trial_that_is_lost_again_fails_with_its_reason(backend, tmp_path):
    """After ``max_retries`` further attempts a lost trial has failed, and the run goes on."""
    needs_processes(backend)
    path = tmp_path / "evaluations"
    trials = backend.trials()
    minimise(trials, dies_once(str(path), 99), [0, 1, 2], catch_eval_exceptions=True)
    assert [document["state"] for document in trials._dynamic_trials] == [
        JOB_STATE_DONE,
        JOB_STATE_ERROR,
        JOB_STATE_DONE,
    ]
    assert "WorkerLostError" in trials._dynamic_trials[1]["misc"]["error"][0]
    assert "SIGKILL" in trials._dynamic_trials[1]["misc"]["error"][1]
    assert sorted(path.read_text().split()) == ["0", "1", "1", "2"]


# -- order, and the end -----------------------------------------------------------------------------------------------


def test_results_are_used_as_they_come(backend, tmp_path):
    """A slot that is free is used while another trial still runs."""
    if backend.name == "serial":
        pytest.skip("one at a time")
    path = str(tmp_path / "go")

    def objective(i):
        if i == 0:  # waits until three others have come and gone
            end = time.monotonic() + 100
            while not os.path.exists(path):
                if time.monotonic() > end:
                    raise TimeoutError("the others did not run meanwhile")
                time.sleep(0.01)
        elif i == 3:
            with open(path, "w"):
                pass
        return float(i)

    trials = backend.trials()
    minimise(trials, objective, [0, 1, 2, 3])
    assert trials.losses() == [0.0, 1.0, 2.0, 3.0]


def test_shutdown_leaves_no_threads(backend):
    """After the end of a run its threads end, too."""
    before = {thread for thread in threading.enumerate() if thread.name.startswith("sparktune")}
    executor = backend.make(Domain(float, SPACE))
    executor.submit(Call(0, {"i": 0})).result(timeout=120)
    executor.shutdown(cancel=True)
    for thread in threading.enumerate():
        if thread.name.startswith("sparktune") and thread not in before:
            thread.join(timeout=60)
            assert not thread.is_alive()


def test_objective_that_cannot_travel_is_refused_with_the_fix(backend):
    """What cannot be pickled is an error before any trial."""
    if not backend.is_remote:
        pytest.skip("nothing is pickled here")
    lock = threading.Lock()
    with pytest.raises(TypeError, match="inside the objective"):
        backend.make(Domain(lambda i: float(lock.locked()), SPACE))


def minimise(trials, objective, points, **options):
    """Evaluate an objective at the points 0, 1, ... or those given."""
    points = range(points) if isinstance(points, int) else points
    fmin(
        objective,
        SPACE,
        algo=rand.suggest,
        max_evals=len(trials.trials),
        trials=trials,
        points_to_evaluate=[{"i": i} for i in points],
        show_progressbar=False,
        verbose=False,
        **{"return_argmin": True, **options},
    )
