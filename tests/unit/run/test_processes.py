"""Evaluations in processes of this machine: outcomes, limits, cancelling, dead processes, what is left behind."""

import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from descriptors import many_open_files
from waiting import wait_until, wait_until_gone

import sparktune
from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, ObjectiveError, SerializationError
from sparktune.history.trial import JOB_STATE_DONE, Call
from sparktune.run.domain import Domain
from sparktune.run.pilots import Patience
from sparktune.run.processes import ProcessesExecutor
from sparktune.worker import processes

SPACE = hp.uniform("x", 0, 10)


@pytest.fixture
def executor_for():
    """Makes an executor of an objective, which is shut down in the end."""
    executors = []

    def make(fn, slots=2, patience=None, space=SPACE, **options):
        executors.append(ProcessesExecutor(Domain(fn, space, **options), slots, patience=patience))
        return executors[-1]

    yield make
    for executor in executors:
        executor.shutdown(cancel=True)


def call(tid=0, x=1.0):
    return Call(tid, {"x": x})


def held(folder):
    """An objective that says who it is, in ``folder``, and then stays; and what waits until n are there."""

    def objective(x):
        child = subprocess.Popen(["sleep", "600"])
        Path(folder, f"{os.getpid()} {os.getppid()} {child.pid}").touch()
        time.sleep(600)

    def wait_for(n=1):
        wait_until(lambda: len(os.listdir(folder)) >= n)
        return [[int(pid) for pid in name.split()] for name in os.listdir(folder)]

    return objective, wait_for


# -- outcomes ---------------------------------------------------------------------------------------------------------


def test_what_is_printed_and_logged_is_in_the_record(executor_for):
    """The last lines of standard output, standard error and logging come along."""

    def objective(x):
        print("printed")
        os.system("echo by a child")
        logging.getLogger("mine").warning("logged")
        return x

    log = executor_for(objective).submit(call()).result(60).record["log"]
    assert log.splitlines() == ["printed", "by a child", "WARNING mine: logged"]


def test_space_that_fails_at_a_point_fails_the_trial(executor_for):
    """An error in the space's own arithmetic is the trial's, and never leaves this process."""
    executor = executor_for(lambda x: x, space=1 / hp.uniform("x", 0, 10))
    assert "ZeroDivisionError" in executor.submit(call(x=0.0)).result(60).failure.type


@pytest.mark.parametrize("how", ["os._exit", "kill -9", "segfault"])
def test_process_that_dies_is_a_lost_evaluation_and_the_next_one_runs(executor_for, how):
    """Whatever ends the process of an evaluation ends that evaluation only, and is told."""

    def objective(x):
        if x == 0:
            if how == "os._exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL if how == "kill -9" else signal.SIGSEGV)
        return x

    executor = executor_for(objective, slots=1)
    lost, fine = (executor.submit(call(tid, x=float(tid))).result(60) for tid in range(2))
    assert lost.failure.is_lost
    assert {"os._exit": "exit code 3", "kill -9": "SIGKILL", "segfault": "SIGSEGV"}[how] in lost.failure.message
    assert fine.result["loss"] == 1.0


def test_killed_worker_is_a_lost_evaluation_at_once_and_another_one_starts(executor_for, tmp_path):
    """kill -9 of the worker above the evaluation loses it, ends all its processes, and the next trial has a new one."""
    objective, wait_for = held(tmp_path)
    executor = executor_for(lambda x: objective(x) if x == 0 else x, slots=1)
    future = executor.submit(call(x=0.0))
    [(pid, guardian, child)] = wait_for()
    os.kill(processes.parents()[guardian], signal.SIGKILL)
    assert future.result(60).failure.is_lost
    wait_until_gone(pid, guardian, child)
    assert executor.submit(call(x=1.0)).result(60).result["loss"] == 1.0


# -- processes --------------------------------------------------------------------------------------------------------


def test_processes_are_started_as_needed_and_used_again(executor_for):
    """Evaluations one after another share a process, although there are slots for more."""
    executor = executor_for(lambda x: os.getpid(), slots=4)
    pids = {executor.submit(call(tid)).result(60).result["loss"] for tid in range(5)}
    assert len(pids) == 1


def test_as_many_run_at_once_as_there_are_slots(executor_for, tmp_path):
    """Two evaluations on two slots run at the same time: each waits for the other."""

    def objective(x):
        Path(tmp_path, str(x)).touch()
        wait_until(lambda: len(os.listdir(tmp_path)) == 2)
        return x

    executor = executor_for(objective, slots=2)
    futures = [executor.submit(call(tid, x=float(tid))) for tid in range(2)]
    assert [future.result(60).result["loss"] for future in futures] == [0.0, 1.0]


def test_hundreds_of_evaluations_come_back_each_with_its_own_result(executor_for):
    """None is lost or mixed up when many are submitted at once."""
    executor = executor_for(lambda x: x)
    futures = [executor.submit(call(tid, x=tid / 100)) for tid in range(500)]
    assert [future.result(60).result["loss"] for future in futures] == [tid / 100 for tid in range(500)]


def test_driver_with_many_open_files(executor_for):
    """A program with a thousand open files evaluates as any other."""
    with many_open_files():
        executor = executor_for(lambda x: x)
        assert executor.submit(call(x=0.5)).result(60).result["loss"] == 0.5


def test_objective_can_import_what_this_process_can(executor_for, tmp_path, monkeypatch):
    """The processes look for modules where this one does."""
    (tmp_path / "beside_the_script.py").write_text("VALUE = 0.75\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def objective(x):
        import beside_the_script

        return beside_the_script.VALUE

    assert executor_for(objective).submit(call()).result(60).result["loss"] == 0.75


def test_processes_load_nothing_that_the_objective_does_not(executor_for):
    """Neither this package nor numpy nor pyspark is imported for the evaluation's sake."""

    def objective(x):
        import sys

        return {
            "status": "ok",
            "loss": 0.0,
            "loaded": [n for n in ("sparktune", "numpy", "pyspark") if n in sys.modules],
        }

    assert executor_for(objective).submit(call()).result(60).result["loaded"] == []


def test_processes_with_nothing_to_do_end(executor_for):
    """A process that is idle for a while is given up, and a new one comes when it is needed."""
    executor = executor_for(lambda x: os.getppid(), patience=Patience(idle=0.2))
    first = executor.submit(call()).result(60).result["loss"]
    wait_until_gone(first)
    assert executor.submit(call()).result(60).result["loss"] != first


def test_sparktune_in_an_archive_is_refused_with_the_fix(tmp_path):
    """Processes need its modules as files: imported from a zip, an error says so before any is started."""
    archive = shutil.make_archive(
        str(tmp_path / "sparktune"), "zip", Path(sparktune.__file__).parent.parent, "sparktune"
    )
    code = (
        "from sparktune import Trials, fmin, hp\n"
        "trials = Trials(parallelism=2, backend='processes')\n"
        "fmin(float, hp.uniform('x', 0, 1), max_evals=2, trials=trials, show_progressbar=False)"
    )
    environment = {**os.environ, "PYTHONPATH": archive}
    run = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "InvalidArgumentError" in run.stderr
    assert re.search(r"from an archive, .*sparktune\.zip.*: install sparktune, or unpack .*threads", run.stderr)
    assert "NotADirectoryError" not in run.stderr


# -- limits and cancelling --------------------------------------------------------------------------------------------


def test_cancel_kills_the_evaluation_with_its_children_and_frees_the_slot(executor_for, tmp_path):
    """A cancelled evaluation ends as such, nothing of it is left, and what waits takes its place."""
    objective, wait_for = held(tmp_path)
    executor = executor_for(lambda x: objective(x) if x == 0 else x, slots=1)
    running, waiting = executor.submit(call(0, x=0.0)), executor.submit(call(1, x=1.0))
    [(pid, _, child)] = wait_for()
    executor.cancel(0)
    assert (running.result(60).result, running.result().failure) == (None, None)
    wait_until_gone(pid, child)
    assert waiting.result(60).result["loss"] == 1.0


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_functions_with_a_cache_travel(executor_for):
    """One of the main program is not found by its name in another process: objectives and options may hold some."""

    @functools.cache
    def data():
        return [1.0, 2.0]

    data.__module__ = data.__wrapped__.__module__ = "__main__"
    space = [SPACE, hp.choice("f", [data])]
    executor = executor_for(lambda p: sum(data()) + sum(p[1]()), space=space)
    outcome = executor.submit(Call(0, {"x": 1.0, "f": 0})).result(timeout=60)
    assert outcome.result["loss"] == 6.0


def test_objective_that_cannot_be_pickled_is_refused():
    """The error comes before anything is started, and says what to do."""
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="inside the objective, not around it"):
        ProcessesExecutor(Domain(lambda x: lock, SPACE), 1)


def test_objective_that_wants_the_expression_is_refused():
    """``pass_expr_memo_ctrl`` needs this process."""
    with pytest.raises(InvalidArgumentError, match="pass_expr_memo_ctrl"):
        ProcessesExecutor(Domain(lambda expr, memo, ctrl: 0, SPACE, pass_expr_memo_ctrl=True), 1)


def test_objective_that_cannot_be_loaded_there_breaks_the_run(executor_for):
    """What cannot be unpickled in another process is an error with the reason, not a failed trial."""

    class Odd:
        def __reduce__(self):
            return __import__, ("a_module_that_is_nowhere",)

    odd = Odd()
    with pytest.raises(ObjectiveError, match="a_module_that_is_nowhere"):
        executor_for(lambda x: odd).submit(call()).result(60)


def test_python_that_does_not_start_breaks_the_run(executor_for, monkeypatch):
    """If no process can be started, the error names the interpreter."""
    executor = executor_for(lambda x: x)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="/bin/false"):
        executor.submit(call()).result(60)


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown_leaves_nothing_behind(tmp_path, cancel):
    """After a shutdown, processes, threads and open files are as before."""
    n_threads, n_files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    others = set(processes.descendants(os.getpid()))  # of tests before this one
    objective, wait_for = held(tmp_path)
    executor = ProcessesExecutor(Domain(objective if cancel else lambda x: x, SPACE), 2)
    futures = [executor.submit(call(tid)) for tid in range(5)]
    if cancel:
        wait_for(2)
    executor.shutdown(cancel=cancel)
    assert all(future.result(0).failure is None for future in futures)
    assert all((future.result(0).result is None) == cancel for future in futures)
    assert threading.active_count() == n_threads
    assert len(os.listdir("/proc/self/fd")) == n_files
    wait_until(lambda: others.issuperset(processes.descendants(os.getpid())))


@pytest.mark.parametrize("how", ["killed", "exception"])
def test_nothing_outlives_the_program(tmp_path, how):
    """A program that is killed, or forgets the shutdown, leaves no process behind."""
    script = tmp_path / "script.py"
    (tmp_path / "pids").mkdir()
    script.write_text(
        f"""
import os, time
from pathlib import Path
from sparktune import hp
from sparktune.history.trial import Call
from sparktune.run.domain import Domain
from sparktune.run.processes import ProcessesExecutor

def objective(x):
    if {how == "killed"}:
        Path({str(tmp_path / "pids")!r}, f"{{os.getpid()}} {{os.getppid()}}").touch()
        time.sleep(600)
    return x

executor = ProcessesExecutor(Domain(objective, hp.uniform("x", 0, 1)), 1)
future = executor.submit(Call(0, {{"x": 0.5}}))
future.result()
print(future.result().record["pid"])
raise SystemExit(3)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(sparktune.__file__).parent.parent)}
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    with program:
        if how == "killed":
            wait_until(lambda: os.listdir(tmp_path / "pids"))
            tree = processes.descendants(program.pid)
            assert len(tree) >= 3
            program.kill()
        else:
            tree = [int(program.stdout.readline())]
            assert program.wait(60) == 3
    wait_until_gone(*tree)


class ProcessesTrials(Trials):
    """Trials that run in two processes."""

    asynchronous = True

    def make_executor(self, domain):
        return ProcessesExecutor(domain, 2)


def test_fmin_runs_in_processes():
    """A study runs to its end, each trial in another process than this one."""
    trials = ProcessesTrials()
    fmin(lambda x: (x - 3) ** 2, SPACE, rand.suggest, 30, trials=trials, rstate=0, show_progressbar=False)
    assert [trial["state"] for trial in trials.trials] == [JOB_STATE_DONE] * 30
    assert min(trials.losses()) < 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen on this system")
def test_thread_pools_are_told_the_cores_that_may_be_used():
    """A driver that is kept to one core, as in a small container, tells its trials of one, not of the machine's."""
    program = textwrap.dedent("""
        import os
        from sparktune import Trials, fmin, hp, rand

        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        trials = Trials(backend="processes")
        told = lambda x: {"status": "ok", "loss": x, "told": os.environ["OMP_NUM_THREADS"]}
        fmin(told, hp.uniform("x", 0, 1), rand.suggest, 1, trials=trials, show_progressbar=False)
        print(trials.results[0]["told"])
    """)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout == "1\n"
