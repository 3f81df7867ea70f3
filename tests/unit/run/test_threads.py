"""Evaluations in threads: outcomes, records, cancelling, what is left behind."""

import contextvars
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import wait
from pathlib import Path

import pytest

import sparktune
from sparktune import Ctrl, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidLoss, ObjectiveError, TrialTimeoutError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR, Call, Outcome
from sparktune.run.domain import Domain
from sparktune.run.threads import ThreadsExecutor

SPACE = hp.uniform("x", 0, 10)


@pytest.fixture
def executor_for():
    """Makes an executor of an objective, which is shut down in the end."""
    executors = []

    def make(fn, slots=2, grace=60.0, timeout=None, space=SPACE, **options):
        executors.append(ThreadsExecutor(Domain(fn, space, **options), slots, timeout=timeout, grace=grace))
        return executors[-1]

    yield make
    for executor in executors:
        executor.shutdown(cancel=True)


class Door:
    """Where objectives wait; ``arrivals`` counts them, ``open`` lets all pass."""

    def __init__(self):
        self.arrivals = threading.Semaphore(0)
        self.open = threading.Event()

    def wait(self):
        self.arrivals.release()
        assert self.open.wait(60)

    def wait_for(self, n):
        for _ in range(n):
            assert self.arrivals.acquire(timeout=60)


@pytest.fixture
def door():
    """A door that is open when the test is over."""
    door = Door()
    yield door
    door.open.set()


@pytest.fixture
def trials_of():
    """Makes trials that run in threads."""

    class ThreadsTrials(Trials):
        def __init__(self, slots):
            super().__init__()
            self.slots = slots

        def make_executor(self, domain):
            return ThreadsExecutor(domain, self.slots)

    return ThreadsTrials


def submit(executor, *points):
    return [executor.submit(Call(tid, {"x": x})) for tid, x in enumerate(points)]


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sparktune-")]


# -- outcomes ---------------------------------------------------------------------------------------------------------


def test_results_belong_to_their_calls(executor_for):
    """Each future has the result of its own point, in whatever order they end."""
    futures = submit(executor_for(lambda x: x**2, slots=3), *range(20))
    assert [future.result(60).result["loss"] for future in futures] == [x**2 for x in range(20)]


def test_slots_evaluate_at_once(executor_for, door):
    """As many objectives as there are slots run at a time; the next begins when one of them ends."""
    executor = executor_for(lambda x: door.wait() or x, slots=2)
    futures = submit(executor, 1, 2, 3)
    door.wait_for(2)
    assert not door.arrivals.acquire(blocking=False)
    assert not futures[2].running()
    door.open.set()
    door.wait_for(1)
    assert {future.result(60).state for future in futures} == {JOB_STATE_DONE}


@pytest.mark.parametrize("error", [ValueError("deep"), KeyboardInterrupt("deep"), SystemExit("deep"), GeneratorExit()])
def test_whatever_the_objective_raises_is_data(executor_for, error):
    """An exception is a failure with type, message and traceback, sys.exit included, and the thread goes on."""

    def objective(x):
        if x == 1:
            raise error
        return x

    failed, fine = [future.result(60) for future in submit(executor_for(objective, slots=1), 1, 2)]
    assert failed.state == JOB_STATE_ERROR
    assert (failed.failure.type, failed.failure.message) == (str(type(error)), str(error))
    assert "in objective" in failed.failure.traceback
    assert not failed.failure.is_lost
    assert fine.result["loss"] == 2


def test_results_that_are_none_fail(executor_for):
    """What is not a result fails its trial with the rule that it breaks."""
    [future] = submit(executor_for(lambda x: "nothing"), 1)
    assert isinstance(future.result(60).failure.exception, InvalidLoss)


def test_sys_exit_ends_no_program(trials_of):
    """Where failures end the run, sys.exit in an objective raises an error that names it and does not exit."""
    with pytest.raises(ObjectiveError, match=r"SystemExit.*: 3"):
        fmin(lambda x: sys.exit(3), SPACE, rand.suggest, 4, trials=trials_of(2), verbose=False)


def test_errors_keep_their_class_in_fmin(trials_of):
    """Where failures end the run, the objective's own exception comes out of fmin."""
    with pytest.raises(ZeroDivisionError):
        fmin(lambda x: 1 / 0, SPACE, rand.suggest, 4, trials=trials_of(2), verbose=False)


def test_records_say_where_and_when(executor_for, door):
    """A record has host, process, start and end on the clock, and how long the call waited for a slot."""
    before, begun = time.time(), time.monotonic()
    futures = submit(executor_for(lambda x: door.wait() or x, slots=1), 1, 2)
    submitted = time.monotonic()
    door.wait_for(1)
    waited = time.monotonic() - submitted
    door.open.set()
    first, second = [future.result(60).record for future in futures]
    assert (first["host"], first["pid"]) == (socket.gethostname(), os.getpid())
    assert before <= first["start"] <= first["end"] <= second["start"] <= second["end"] <= time.time()
    assert first["queue_time"] >= 0
    assert waited <= second["queue_time"] <= time.monotonic() - begun
    assert "log" not in first


def test_logs_are_kept_by_trial(executor_for):
    """What an objective prints and logs is in its own record, with failures too, although they run at once."""
    both = threading.Barrier(2, timeout=60)

    def objective(x):
        for i in range(10):
            both.wait()
            print("line", x, i)
        logging.getLogger("sparktune.test_threads").warning("end of %g", x)
        return 1 / (x - 1)

    outcomes = [future.result(60) for future in submit(executor_for(objective), 1, 2)]
    assert [outcome.state for outcome in outcomes] == [JOB_STATE_ERROR, JOB_STATE_DONE]
    for x, outcome in enumerate(outcomes, 1):
        lines = [f"line {x:.1f} {i}" for i in range(10)] + [f"WARNING sparktune.test_threads: end of {x}"]
        assert outcome.record["log"].splitlines() == lines


def test_attachments_come_with_the_outcome(executor_for):
    """Attachments in a result are taken out of it and handed to whoever records the trial."""
    objective = {"loss": 1.0, "status": "ok", "attachments": {"model": b"..."}}
    [future] = submit(executor_for(lambda x: objective), 1)
    outcome = future.result(60)
    assert outcome.attachments == {"model": b"..."}
    assert outcome.result == {"loss": 1.0, "status": "ok"}


def test_fmin_runs_in_threads_with_ctrl(trials_of):
    """fmin finds what Trials find, and objectives may ask for Ctrl and attach to their own trial."""

    def objective(args):
        x, ctrl = args
        ctrl.attachments["x"] = x
        return {"loss": x, "status": "ok", "attachments": {"y": -x}}

    trials = trials_of(3)
    fmin(objective, (SPACE, Ctrl), rand.suggest, 12, trials=trials, rstate=0, verbose=False)
    assert trials.losses() == trials.vals["x"]
    for document in trials.trials:
        attachments = trials.trial_attachments(document)
        assert (attachments["x"], attachments["y"]) == (document["result"]["loss"], -document["result"]["loss"])


def test_objectives_of_expressions_run(executor_for):
    """pass_expr_memo_ctrl works, as nothing has to travel."""
    executor = executor_for(
        lambda expr, memo, ctrl: next(iter(memo.values())) + ctrl, space=SPACE, pass_expr_memo_ctrl=True
    )
    assert executor.submit(Call(0, {"x": 3}, ctrl=4)).result(60).result["loss"] == 7


def test_context_is_the_callers_and_private(executor_for):
    """An evaluation sees the context variables of who submitted it; what it sets, the next one does not see."""
    variable = contextvars.ContextVar("variable", default=0)

    def objective(x):
        seen = variable.get()
        variable.set(100)
        return seen

    executor = executor_for(objective, slots=1)
    variable.set(1)
    futures = submit(executor, 1, 2)
    variable.set(2)
    futures += submit(executor, 3)
    assert [future.result(60).result["loss"] for future in futures] == [1, 1, 2]


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_what_has_not_begun_is_cancelled_at_once(executor_for, door):
    """A call that waits for a slot ends as cancelled while the running one goes on, and is never evaluated."""
    seen = []
    executor = executor_for(lambda x: seen.append(x) or door.wait() or x, slots=1)
    running, waiting, last = submit(executor, 1, 2, 3)
    door.wait_for(1)
    executor.cancel(1)
    assert waiting.result(0) == Outcome()
    assert not running.done()
    door.open.set()
    assert [running.result(60).state, last.result(60).state] == [JOB_STATE_DONE] * 2
    assert seen == [1, 3]


def test_a_result_within_the_grace_is_kept(executor_for, door):
    """A cancelled evaluation that returns in time has its result."""
    executor = executor_for(lambda x: door.wait() or x)
    [future] = submit(executor, 5)
    door.wait_for(1)
    executor.cancel(0)
    door.open.set()
    assert future.result(60).result["loss"] == 5


def test_an_error_within_the_grace_is_a_cancellation(executor_for, door):
    """A cancelled evaluation that raises failed because it was stopped: no result, no failure, but its log."""

    def objective(x):
        print("so far")
        door.wait()
        raise RuntimeError("stopped")

    executor = executor_for(objective)
    [future] = submit(executor, 1)
    door.wait_for(1)
    executor.cancel(0)
    door.open.set()
    outcome = future.result(60)
    assert (outcome.state, outcome.failure) == (JOB_STATE_CANCEL, None)
    assert outcome.record["log"] == "so far\n"


def test_what_does_not_stop_is_left_alone(executor_for, door, caplog):
    """After the grace the future is cancelled, others have the slot, the late result is dropped; one warning in all."""
    ended = threading.Semaphore(0)

    def objective(x):
        try:
            return door.wait() if x < 2 else x
        finally:
            ended.release()

    executor = executor_for(objective, slots=2, grace=0.05)
    stuck = submit(executor, 0, 1)
    door.wait_for(2)
    later = executor.submit(Call(2, {"x": 2}))
    for tid in (0, 1):
        executor.cancel(tid)
    assert [future.result(60).state for future in stuck] == [JOB_STATE_CANCEL] * 2
    assert later.result(60).result["loss"] == 2
    assert executor.submit(Call(3, {"x": 3})).result(60).result["loss"] == 3
    executor.shutdown()
    assert [record.levelname for record in caplog.records if "left alone" in record.message] == ["WARNING"]
    door.open.set()
    for _ in range(4):
        assert ended.acquire(timeout=60)
    assert [future.result().state for future in stuck] == [JOB_STATE_CANCEL] * 2


def test_what_is_left_alone_has_a_record(executor_for, door):
    """Of an evaluation that did not stop it is known where and when it ran, and what it printed until then."""
    executor = executor_for(lambda x: print("stuck") or door.wait(), grace=0.05)
    [future] = submit(executor, 1)
    door.wait_for(1)
    executor.cancel(0)
    record = future.result(60).record
    assert record["log"] == "stuck\n"
    assert record["start"] < record["end"]
    assert record["pid"] == os.getpid()


@pytest.mark.parametrize("how", ["ignores it", "returns in time", "raises"])
def test_a_time_limit_fails_the_trial(executor_for, door, how):
    """What runs longer than it may fails, whether it returns within the grace, raises, or runs on."""

    def objective(x):
        print("begun")
        if how == "ignores it":
            door.wait()
        while not any(thread.name == "sparktune-stop-0" for thread in threading.enumerate()):
            time.sleep(0.01)  # until the limit has been noticed
        return x if how == "returns in time" else 1 / 0

    executor = executor_for(objective, grace=0.05 if how == "ignores it" else 60, timeout=0.05)
    [future] = submit(executor, 1)
    outcome = future.result(60)
    assert outcome.state == JOB_STATE_ERROR
    assert outcome.failure.type == str(TrialTimeoutError)
    assert outcome.failure.message == "the trial ran longer than trial_timeout=0.05 s and was stopped"
    assert outcome.record["log"] == "begun\n"
    assert not outcome.failure.is_lost


def test_a_time_limit_counts_from_the_call(executor_for, door):
    """Waiting for a slot is not running: a limit that the first call breaks leaves the second alone."""
    executor = executor_for(lambda x: door.wait() if x == 1 else x, slots=1, grace=0.05, timeout=1)
    first, second = submit(executor, 1, 2)
    assert first.result(60).state == JOB_STATE_ERROR
    assert second.result(60).result["loss"] == 2


def test_streams_are_given_back_although_a_thread_goes_on(executor_for, door):
    """An evaluation that is left alone does not keep the streams captured."""
    stream = sys.stdout
    executor = executor_for(lambda x: door.wait(), grace=0.05)
    [future] = submit(executor, 1)
    door.wait_for(1)
    assert sys.stdout is not stream
    executor.cancel(0)
    future.result(60)
    assert sys.stdout is stream


def test_cancelling_what_is_over_or_unknown_does_nothing(executor_for):
    """Neither a finished trial nor one never heard of can be cancelled; a second cancel is as good as one."""
    executor = executor_for(lambda x: x)
    [future] = submit(executor, 1)
    result = future.result(60)
    for tid in (0, 0, 77):
        executor.cancel(tid)
    assert future.result() is result


def test_a_timeout_ends_fmin(trials_of, door):
    """A timeout ends a run whose objectives run on: its trials are cancelled, finished ones kept."""

    def objective(x):
        return door.wait() if x > 2 else x

    trials = trials_of(2)
    points = [{"x": 1.0}, {"x": 3.0}, {"x": 2.0}]
    fmin(objective, SPACE, rand.suggest, 10, 0.5, trials=trials, points_to_evaluate=points, verbose=False)
    states = [document["state"] for document in trials._dynamic_trials]
    assert states[0] == states[2] == JOB_STATE_DONE
    assert states[1] == JOB_STATE_CANCEL


# -- the end ----------------------------------------------------------------------------------------------------------


def test_shutdown_waits_and_leaves_no_thread(executor_for, door):
    """Shutdown lets running and waiting evaluations end, and their threads; a second one does nothing."""
    before = set(own_threads())
    executor = executor_for(lambda x: door.wait() or x, slots=2)
    futures = submit(executor, 1, 2, 3)
    door.wait_for(2)
    threads = set(own_threads()) - before
    assert len(threads) == 2
    closing = threading.Thread(target=executor.shutdown)
    closing.start()
    assert not any(future.done() for future in futures)
    door.open.set()
    closing.join(60)
    assert [future.result(0).result["loss"] for future in futures] == [1, 2, 3]
    assert not any(thread.is_alive() for thread in threads)
    executor.shutdown()


def test_shutdown_with_cancel_ends_all(executor_for, door):
    """Shutdown with cancel ends every future, the waiting ones too."""
    executor = executor_for(lambda x: door.wait(), slots=1, grace=0.05)
    futures = submit(executor, 1, 2, 3)
    door.wait_for(1)
    executor.shutdown(cancel=True)
    assert [future.result(0).state for future in futures] == [JOB_STATE_CANCEL] * 3


def test_idle_threads_hold_no_data(executor_for):
    """What an evaluation had and returned can be freed as soon as nobody else holds it."""

    class Model:
        pass

    models = []

    def objective(x):
        model = Model()
        models.append(weakref.ref(model))
        return {"loss": x, "status": "ok", "model": model}

    executor = executor_for(objective, slots=1)
    futures = submit(executor, 1, 2)
    wait(futures, 60)
    assert executor.submit(Call(2, {"x": 3})).result(60)  # the thread is done with the others
    del futures
    gc.collect()
    assert [model() for model in models[:2]] == [None, None]


def test_a_running_thread_does_not_hold_up_the_exit():
    """A program ends although an objective that it has given up on never will."""
    code = """if True:
        import threading
        from sparktune import hp
        from sparktune.history.trial import Call
        from sparktune.run.domain import Domain
        from sparktune.run.threads import ThreadsExecutor
        begun = threading.Event()
        objective = lambda x: begun.set() or threading.Event().wait()
        executor = ThreadsExecutor(Domain(objective, hp.uniform("x", 0, 1)), 1, grace=0.05)
        executor.submit(Call(0, {"x": 0.5}))
        begun.wait(60)
        executor.cancel(0)
        executor.shutdown()
        print("the end")
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(sparktune.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (0, "the end\n"), process.stderr
