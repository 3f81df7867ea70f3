"""The process of an evaluation: what it reports, what limits it, and that nothing of it is left."""

import contextlib
import errno
import hashlib
import io
import logging
import multiprocessing
import operator
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import pytest
from descriptors import many_open_files
from waiting import wait_until_gone

from sparktune.worker import child, frames, processes
from sparktune.worker.evaluator import KEPT_OBJECTIVES, LOG_BYTES, Evaluator, Limits, Objective, Watch

MiB = 2**20


@pytest.fixture
def evaluator():
    """An evaluator, ended with the test."""
    evaluator = Evaluator()
    yield evaluator
    evaluator.close()


@pytest.fixture
def evaluate(evaluator):
    """Evaluates a function at an argument; returns the reply."""

    def evaluate(function, argument=0, watch=None, **limits):
        return evaluator.evaluate(pickled(function), pickle.dumps(argument), Limits(**limits), watch=watch)

    return evaluate


APART: list[Evaluator] = []  # the one of a process that is there for it


@pytest.fixture
def apart():
    """Calls a function with an evaluator in a small process, as a worker is: this one has what other tests left."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield lambda function, *args, **kwargs: process.submit(_call, function, args, kwargs).result()
        process.submit(_call, Evaluator.close, (), {}).result()


def _call(function, args, kwargs):
    if not APART:
        APART.append(Evaluator())
    return function(APART[0], *args, **kwargs)


@pytest.fixture
def evaluate_apart(apart):
    """As ``evaluate``, :func:`apart`."""

    def evaluate(function, argument=0, **limits):
        return apart(_evaluated, cloudpickle.dumps(function), pickle.dumps(argument), Limits(**limits))

    return evaluate


def _evaluated(evaluator, data, argument, limits):
    return evaluator.evaluate(objective_of(data), argument, limits)


def _checked(evaluator, data):
    return evaluator.check(objective_of(data), [], Limits(), {})


def pickled(function, **values):
    return objective_of(cloudpickle.dumps(function), **values)


def objective_of(data, **values):
    return Objective(hashlib.sha256(data).hexdigest(), lambda known: (data, values), frozenset(values))


# -- replies ----------------------------------------------------------------------------------------------------------


def test_result_comes_back(evaluate):
    """A reply to an evaluation has the pickled result, host, process and times."""
    reply = evaluate(lambda x: x + 1, 41)
    assert reply["kind"] == "ok"
    assert pickle.loads(reply["value"]) == 42
    record = reply["record"]
    assert record["host"] == socket.gethostname()
    assert record["pid"] != os.getpid()
    assert record["start"] <= record["end"]
    assert "log" not in record


def test_error_is_data(evaluate):
    """What the objective raises comes back as type, message, traceback and the exception itself."""

    def objective(x):
        raise ValueError("no such luck")

    reply = evaluate(objective)
    name, message, text, error = reply["error"]
    assert (reply["kind"], name, message) == ("error", "<class 'ValueError'>", "no such luck")
    assert "in objective" in text
    assert isinstance(pickle.loads(error), ValueError)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()], ids=repr)
def test_no_exception_ends_the_process(evaluate, error):
    """Exceptions that would end a program end an evaluation, and the next runs in the same process."""

    def objective(x):
        raise error

    before = evaluate(lambda x: os.getpid())
    assert evaluate(objective)["kind"] == "error"
    assert evaluate(lambda x: os.getpid())["value"] == before["value"]


def test_objective_that_cannot_be_loaded_says_so(evaluator):
    """An objective of a module that is not there is told from one that raises."""
    reply = evaluator.evaluate(Objective("x", lambda known: (b"cnowhere_at_all\nf\n.", {})), b"")
    assert reply["kind"] == "unloadable"
    assert "nowhere_at_all" in reply["error"][1]


def test_object_of_the_main_program_that_has_but_a_name_says_so(evaluator):
    """What pickles by its name in the main program is not found by it in another process: rule and fix are said."""
    load = Objective("x", lambda known: (b"c__main__\nnowhere_at_all\n.", {}))
    for _ in range(2):
        reply = evaluator.evaluate(load, b"")
        assert reply["kind"] == "unloadable"
        message = reply["error"][1]
        assert "pickles by its name alone" in message
        assert "nowhere_at_all" in message
        assert "define it in a module" in message
    missing = Objective("y", lambda known: (b"csys\nnowhere_at_all\n.", {}))
    assert "by its name alone" not in evaluator.evaluate(missing, b"")["error"][1]


def test_exception_of_a_class_without_a_text_is_data(evaluate):
    """A class whose metaclass fails to describe it fails its trial, and has its usual name."""

    def objective(x):
        class Meta(type):
            def __repr__(cls):
                raise RuntimeError("no repr")

        class OddError(Exception, metaclass=Meta):
            pass

        raise OddError("weird")

    name, message, _, _ = evaluate(objective)["error"]
    assert name.startswith("<class '")
    assert name.endswith("OddError'>")
    assert message == "weird"


def test_result_above_the_limit_is_refused(evaluate, monkeypatch):
    """A result that is too large is an error that says the limit and the fix."""
    monkeypatch.setattr(child, "MAX_RESULT_BYTES", MiB)
    reply = evaluate(lambda x: bytes(2 * MiB))
    assert reply["kind"] == "error"
    assert "1 MiB" in reply["error"][1]
    assert "storage" in reply["error"][1]


def test_large_arguments_and_results_pass(evaluate):
    """Several megabytes go both ways."""
    assert len(pickle.loads(evaluate(lambda x: x + x, bytes(5 * MiB))["value"])) == 10 * MiB


@pytest.mark.parametrize("size", [0, 3 * MiB])
def test_objective_is_sent_once_and_loaded_for_each_evaluation(evaluator, size):
    """What an evaluation changes in the objective or in what that captures, no other one sees, however large it is."""
    n_read = []
    captured = bytearray(size)

    def count(x, calls=[]):  # noqa: B006
        calls.append(x)
        captured.extend(b"more")
        return len(calls), len(captured)

    data = cloudpickle.dumps(count)

    def parts(known):
        n_read.append(1)
        return data, {}

    replies = [evaluator.evaluate(Objective("a", parts), pickle.dumps(i)) for i in range(3)]
    assert [pickle.loads(reply["value"]) for reply in replies] == [(1, size + 4)] * 3
    assert n_read == [1]


def test_objective_that_is_checked_is_not_loaded_again_for_the_first_evaluation(evaluator, tmp_path):
    """The preflight's work is not done twice."""
    log = tmp_path / "loaded"

    class Noted:
        def __setstate__(self, state):
            with open(state, "a") as file:
                file.write("once ")

        def __getstate__(self):
            return str(log)

        def __call__(self, x):
            return x

    data = cloudpickle.dumps(Noted())
    objective = Objective("a", lambda known: (data, {}))
    assert evaluator.check(objective, [], Limits(), {})["kind"] == "ok"
    for n in (1, 2):
        assert evaluator.evaluate(objective, pickle.dumps(5))["kind"] == "ok"
        assert log.read_text() == "once " * n


def test_time_to_load_the_objective_does_not_count(evaluator):
    """A time limit is that of the evaluation: an objective that takes long to load has it whole, each time."""

    class Slow:
        def __setstate__(self, state):
            time.sleep(1.1)

        def __getstate__(self):
            return 1

        def __call__(self, x):
            return x

    data = cloudpickle.dumps(Slow())
    objective = Objective("a", lambda known: (data, {}))
    kinds = [evaluator.evaluate(objective, pickle.dumps(5), Limits(timeout=1.0))["kind"] for _ in range(3)]
    assert kinds == ["ok"] * 3


def test_objective_that_does_not_load_again_says_so(evaluator, tmp_path):
    """As one that does not load the first time."""
    flag = tmp_path / "flag"

    class Once:
        def __setstate__(self, state):
            if os.path.exists(state):
                raise RuntimeError("only once")
            open(state, "w").close()

        def __getstate__(self):
            return str(flag)

        def __call__(self, x):
            return x

    data = cloudpickle.dumps(Once())
    objective = Objective("a", lambda known: (data, {}))
    replies = [evaluator.evaluate(objective, pickle.dumps(5)) for _ in range(2)]
    assert [reply["kind"] for reply in replies] == ["ok", "unloadable"]
    assert "only once" in replies[1]["error"][1]


def test_objective_that_loads_once_in_a_process_gets_another_process(evaluator):
    """Some classes can be made once in a process: what was loaded there is loaded again from the beginning."""

    class OfItsProcess:
        def __setstate__(self, state):
            if getattr(sys, "of_its_process", False):
                raise TypeError("there is one already")
            sys.of_its_process = True

        def __getstate__(self):
            return 1

        def __call__(self, x):
            return os.getpid()

    data = cloudpickle.dumps(OfItsProcess())
    objective = Objective("a", lambda known: (data, {}))
    pids = [pickle.loads(evaluator.evaluate(objective, pickle.dumps(5))["value"]) for _ in range(3)]
    assert len(set(pids)) == 3


def test_data_of_earlier_evaluations_are_let_go(evaluator):
    """Functions that refer to each other in a circle keep what they capture until Python looks for such circles."""
    captured = bytes(40 * MiB)

    def helper():
        return objective

    def objective(x):
        assert helper is not None
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") + 0 * len(captured)

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("the system does not say how much memory a process holds")
    data = cloudpickle.dumps(objective)
    parts = Objective("a", lambda known: (data, {}))
    sizes = [pickle.loads(evaluator.evaluate(parts, pickle.dumps(0))["value"]) for _ in range(12)]
    assert max(sizes) < min(sizes) + 3 * len(captured)


def test_exception_with_data_is_shortened(evaluate):
    """Of an exception that holds megabytes, or says them, come type, both ends of its message, and its traceback."""

    def objective(size):
        error = ValueError("begin" + "x" * size + "end")
        error.data = bytes(size)
        raise error

    name, message, text, pickled = evaluate(objective, 3 * MiB)["error"]
    assert name == str(ValueError)
    assert message.startswith("begin")
    assert message.endswith("end")
    assert "characters left out" in message
    assert "in objective" in text
    assert len(message) + len(text) < 200_000
    assert pickled is None
    assert pickle.loads(evaluate(objective, 10)["error"][3]).data == bytes(10)


def test_old_objectives_are_forgotten(evaluator):
    """Of many objectives the last few are kept, with the values shared beside them."""

    def objective(x):
        return sorted(sys.modules["_sparktune_shared"].values)

    data = cloudpickle.dumps(objective)
    for name in "abcd":
        parts = (data, {name: pickle.dumps(name)})
        objective = Objective(name, lambda known, parts=parts: parts, frozenset(name))
        reply = evaluator.evaluate(objective, pickle.dumps(0))
    assert pickle.loads(reply["value"]) == ["a", "b", "c", "d"][-KEPT_OBJECTIVES:]


def test_values_that_are_there_are_not_read_again(evaluator):
    """A value shared by two objectives is loaded once, and stays as long as either is kept."""
    asked = []

    def share(name):
        data = cloudpickle.dumps(lambda x: sys.modules["_sparktune_shared"].values["v"])

        def parts(known):
            asked.append(sorted(known))
            return data, {} if "v" in known else {"v": pickle.dumps([7])}

        return Objective(name, parts, frozenset("v"))

    replies = [evaluator.evaluate(share(name), pickle.dumps(0)) for name in "abc"]
    assert [pickle.loads(reply["value"]) for reply in replies] == [[7]] * 3
    assert asked == [[], ["v"], ["v"]]


# -- death ------------------------------------------------------------------------------------------------------------

DEATHS = {
    "os._exit": (lambda x: os._exit(7), "exit code 7"),
    "kill -9": (lambda x: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "abort": (lambda x: os.abort(), "SIGABRT"),
    "SIGTERM": (lambda x: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_death_is_reported_and_the_next_evaluation_runs(evaluate, death):
    """A process that ends is a lost evaluation that says how; the evaluator starts another."""
    objective, text = DEATHS[death]
    reply = evaluate(objective)
    assert reply["kind"] == "lost"
    assert text in reply["message"]
    assert pickle.loads(evaluate(lambda x: x, 5)["value"]) == 5


def test_crash_in_native_code_prints_where_python_was(evaluate):
    """After a segmentation fault the log has the Python stack, and not the names of all compiled modules.

    The names are said here, longer than the log, as in a process that has loaded many.
    """

    def objective(x):
        import ctypes

        print("about to crash")
        print("\nExtension modules: " + ", ".join(f"module_{n}" for n in range(1000)) + " (total: 1000)")
        ctypes.string_at(0)

    reply = evaluate(objective)
    assert "SIGSEGV" in reply["message"]
    assert reply["record"]["log"].startswith("about to crash\n")
    assert "in objective" in reply["record"]["log"]
    assert "Extension modules" not in reply["record"]["log"]


def test_death_between_evaluations_is_found_out(evaluate):
    """A process that was killed while nothing ran costs no more than the next evaluation's report."""
    pid = pickle.loads(evaluate(lambda x: os.getpid())["value"])
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    kinds = [evaluate(lambda x: x)["kind"] for _ in range(2)]
    assert kinds in (["lost", "ok"], ["ok", "ok"])


def test_child_of_the_objective_that_returns_does_not_answer(evaluate):
    """An objective that forks gets one reply, its own."""

    def objective(x):
        return os.fork()

    assert pickle.loads(evaluate(objective)["value"]) > 0
    assert pickle.loads(evaluate(lambda x: x, 3)["value"]) == 3


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), KeyboardInterrupt()])
def test_failed_watch_ends_the_process(evaluate, error):
    """What goes wrong while an evaluation runs ends its process, whose reply would be read as that to the next."""

    def objective(x):
        if x == "first":
            time.sleep(600)
        return x, os.getpid()

    def tick():
        raise error

    _, pid = pickle.loads(evaluate(objective, "before")["value"])
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(type(error)):
        evaluate(objective, "first", watch=Watch(ours, lambda: False, tick, 0.01))
    wait_until_gone(pid)
    assert pickle.loads(evaluate(objective, "second")["value"])[0] == "second"


def test_failed_look_at_the_memory_ends_the_process(evaluate, monkeypatch):
    """Where a limit of memory cannot be kept, because a process has all files open it may, nothing runs on without."""
    pid = pickle.loads(evaluate(lambda x: os.getpid())["value"])
    looks = [[]]  # the one before the evaluation

    def fail(*_):
        if looks:
            return looks.pop()
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(processes, "known_descendants", fail)
        evaluate(lambda x: time.sleep(600), memory=300 * MiB)
    wait_until_gone(pid)
    assert pickle.loads(evaluate(lambda x: x, 5)["value"]) == 5


def test_reply_to_another_request_is_refused(evaluate, monkeypatch):
    """A reply has the number of its request; one that comes once more is taken for no result."""
    sent = []

    def send(connection, message):
        for old in sent:
            frames.send(connection, old)
        sent.append(message)
        frames.send(connection, message)

    with monkeypatch.context() as patch:  # for the process that is forked here
        patch.setattr(child, "frames", types.SimpleNamespace(receive=frames.receive, send=send))
        reply = evaluate(lambda x: x, 1)
    assert reply["kind"] == "lost"
    assert "what it was not asked" in reply["message"]
    assert pickle.loads(evaluate(lambda x: x, 2)["value"]) == 2


# -- limits -----------------------------------------------------------------------------------------------------------


def ignore_signals(x):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(100)


@pytest.mark.parametrize("objective", [lambda x: sum(range(10**13)), ignore_signals], ids=["in C", "ignores signals"])
def test_timeout_kills_whatever_runs(evaluate, objective):
    """An evaluation over its time is killed, in code that holds Python's lock too, and says so."""
    reply = evaluate(objective, timeout=0.3)
    assert reply["kind"] == "timeout"
    assert "trial_timeout=0.3 s" in reply["message"]
    wait_until_gone(reply["record"]["pid"])


def test_timeout_holds_for_one_that_prints_without_end(evaluate):
    """Reading along what is printed does not keep the worker from looking at the clock."""

    def objective(x):
        text = "x" * 60_000 + "\n"
        while True:
            os.write(1, text.encode())

    assert evaluate(objective, timeout=0.3)["kind"] == "timeout"


def test_time_between_evaluations_does_not_count(evaluate, monkeypatch):
    """The clock of a timeout starts with the evaluation."""
    skipped = 0.0
    clock = types.SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + skipped)
    monkeypatch.setattr("sparktune.worker.evaluator.time", clock)
    for _ in range(3):
        assert evaluate(lambda x: sum(range(10**6)), timeout=300)["kind"] == "ok"
        skipped += 1000.0


def test_memory_limit_counts_children(evaluate):
    """Memory that a child of the objective holds counts; the whole tree is killed."""

    def objective(path):
        code = "import time; data = bytearray(400 * 2**20); time.sleep(100)"
        process = subprocess.Popen([sys.executable, "-S", "-c", code])
        print(process.pid)
        process.wait()

    reply = evaluate(objective, memory=300 * MiB, timeout=60)
    assert reply["kind"] == "memory"
    assert "trial_memory=300 MiB" in reply["message"]
    wait_until_gone(int(reply["record"]["log"]))


def keep(n_bytes):
    """Leave memory behind, as caches of modules do; how much was there, and in which process."""
    left = sys.__dict__.setdefault("left_by_test_evaluator", [])
    left.append(b"x" * n_bytes)
    return len(left), os.getpid()


class Expanding:
    """Bytes whose pickle is short: as much memory where they are loaded, and nothing to send there."""

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes

    def __reduce__(self):
        return operator.mul, (b"x", self.n_bytes)


def evaluations(evaluate, *sizes, function=keep, **limits):
    replies = [evaluate(function, size, **limits) for size in sizes]
    assert [reply["kind"] for reply in replies] == ["ok"] * len(sizes)
    return [pickle.loads(reply["value"]) for reply in replies]


def test_memory_that_evaluations_left_does_not_count_against_the_next(evaluate_apart):
    """When they have left a quarter of a limit, the next one gets a process of its own."""
    found = evaluations(evaluate_apart, *[100 * MiB] * 6, memory=600 * MiB)
    assert [n for n, _ in found] == [1, 2, 1, 2, 1, 2]
    assert len({pid for _, pid in found}) == 3


def test_memory_that_was_left_without_a_limit_does_not_count_either(evaluate_apart):
    """Nobody has looked what is there: all of it may have been left, and above a quarter there is a new process."""
    assert [n for n, _ in evaluations(evaluate_apart, 0, 0, 200 * MiB)] == [1, 2, 3]
    assert [n for n, _ in evaluations(evaluate_apart, 0, memory=2000 * MiB)] == [4]
    assert [n for n, _ in evaluations(evaluate_apart, 0, 0, memory=600 * MiB)] == [1, 2]
    assert [n for n, _ in evaluations(evaluate_apart, 0)] == [3]


def test_memory_of_objectives_is_not_what_was_left(evaluate_apart):
    """Two large ones that take turns are evaluated in one process, as long as nothing is left behind."""
    captured = Expanding(120 * MiB)

    def first(x):
        return len(captured), os.getpid()

    def second(x):
        return -len(captured), os.getpid()

    functions = [first, second, first, second]
    pids = {evaluations(evaluate_apart, 0, function=function, memory=400 * MiB)[0][1] for function in functions}
    assert len(pids) == 1


def test_memory_of_an_objective_that_was_checked_is_not_what_was_left(apart, evaluate_apart):
    """One that is loaded to see whether it can be takes its memory just as well."""
    captured = os.urandom(120 * MiB)

    def objective(x):
        return len(captured), os.getpid()

    [(_, pid)] = evaluations(evaluate_apart, 0, memory=400 * MiB)
    assert apart(_checked, cloudpickle.dumps(objective))["kind"] == "ok"
    assert evaluations(evaluate_apart, 0, function=objective, memory=400 * MiB) == [(120 * MiB, pid)]


def test_memory_of_forgotten_objectives_is_no_room_for_what_is_left(evaluate_apart):
    """After many objectives in one process a quarter of the limit is still all that may be left in it."""
    captured = Expanding(80 * MiB)

    def objective(number):
        return lambda size: (keep(size)[0], len(captured) + number)

    for number in range(KEPT_OBJECTIVES):
        evaluations(evaluate_apart, 0, function=objective(number), memory=400 * MiB)
    found = evaluations(evaluate_apart, 130 * MiB, 0, function=objective(-1), memory=400 * MiB)
    assert found[1][0] == 1


def test_what_was_left_is_looked_for_in_its_own_processes(evaluate, monkeypatch):
    """Trials of milliseconds have a limit of memory, too, on machines with thousands of other processes."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        pytest.skip("the system does not list a process's children")
    assert [n for n, _ in evaluations(evaluate, 0, memory=600 * MiB)] == [1]
    monkeypatch.setattr(processes, "parents", None)
    assert [n for n, _ in evaluations(evaluate, 0, 0, memory=600 * MiB)] == [2, 3]


def spawn_all(x):
    """Start children in every way that hides them from a simple kill, print their ids, and wait."""
    children = [subprocess.Popen(["sleep", "300"], start_new_session=True).pid]
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
    children.append(pid)
    reader, writer = os.pipe()
    if os.fork() == 0:  # a daemon: its parent ends at once
        os.setsid()
        if (pid := os.fork()) == 0:
            time.sleep(300)
        os.write(writer, str(pid).encode())
        os._exit(0)
    children.append(int(os.read(reader, 100)))
    print(*children, flush=True)
    time.sleep(300)


def test_timeout_leaves_no_process_behind(evaluate):
    """Children, forks and daemons of an evaluation that is killed are killed with it."""
    reply = evaluate(spawn_all, timeout=1)
    children = [int(pid) for pid in reply["record"]["log"].split()]
    assert len(children) == 3
    for pid in children:
        wait_until_gone(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are found on Linux only")
def test_death_of_the_worker_leaves_no_process_behind(tmp_path):
    """When the worker is killed with SIGKILL, the evaluation and all it has started end."""
    code = """if True:
        import hashlib, pickle, sys
        from sparktune.worker.evaluator import Evaluator, Objective
        data = sys.stdin.buffer.read()
        Evaluator().evaluate(Objective("x", lambda known: (data, {})), pickle.dumps(0))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as worker:
        worker.stdin.write(cloudpickle.dumps(spawn_all))
        worker.stdin.close()
        children = [int(pid) for pid in worker.stderr.readline().split()]
        everything = processes.descendants(worker.pid) + children
        worker.kill()
    assert len(children) == 3
    for pid in everything:
        wait_until_gone(pid)


def test_cancelling_ends_the_evaluation(evaluate):
    """A watch that says so ends an evaluation."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def objective(x):
            print("started", flush=True)
            time.sleep(300)

        ticks = []

        def tick():
            ticks.append(1)
            theirs.send(b"x")

        reply = evaluate(objective, watch=Watch(ours, lambda: ours.recv(1) == b"x", tick, 0.05))
    assert reply["kind"] == "cancelled"
    assert ticks


def test_worker_with_many_open_files(evaluate):
    """An evaluation runs in a process with a thousand open files as in any other, is watched and killed."""
    with many_open_files():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            watch = Watch(ours, lambda: ours.recv(1) == b"", lambda: None, 60.0)
            assert evaluate(lambda x: time.sleep(0.1), watch=watch)["kind"] == "ok"
            assert evaluate(lambda x: time.sleep(600), timeout=0.1)["kind"] == "timeout"


# -- output -----------------------------------------------------------------------------------------------------------


def test_log_has_what_was_printed_and_logged(evaluate, monkeypatch):
    """Prints, log records and the output of children are in the record, in their order."""
    monkeypatch.setattr(logging.root, "handlers", [])  # as on a worker; here they are pytest's

    def objective(x):
        print("printed")
        print("to stderr", file=sys.stderr)
        logging.getLogger("mine").info("logged %d", 7)
        os.system("echo from a child")
        return x

    log = evaluate(objective)["record"]["log"]
    places = [log.index(text) for text in ("printed", "to stderr", "INFO mine: logged 7", "from a child")]
    assert places == sorted(places)


@pytest.mark.parametrize("n", [1000, 3000, 3500, 20_000, 20_001, 20_013])
def test_log_is_the_end_of_what_was_printed(evaluate, n):
    """Of much output the last lines are kept, whole ones."""

    def objective(x):
        text = "".join(f"line {i}\n" for i in range(n))
        for start in range(0, len(text), 4 * LOG_BYTES - 1):  # so that some cut falls into a line
            sys.stdout.write(text[start : start + 4 * LOG_BYTES - 1])

    log = evaluate(objective)["record"]["log"]
    lines = log.splitlines()
    assert len(log) <= LOG_BYTES
    assert lines[-1] == f"line {n - 1}"
    assert all(line.startswith("line ") for line in lines)
    assert len(lines) > 100


def test_log_is_of_one_evaluation(evaluate):
    """What an earlier evaluation printed is not in a later one's log."""
    assert evaluate(lambda x: print("first"))["record"]["log"] == "first\n"
    assert "log" not in evaluate(lambda x: None)["record"]


def test_output_of_an_evaluation_that_was_killed_is_kept(evaluate):
    """The log of a timeout tells how far it came."""

    def objective(x):
        print("epoch 1")
        time.sleep(100)

    assert evaluate(objective, timeout=0.5)["record"]["log"] == "epoch 1\n"


def test_log_has_the_last_state_of_a_progress_bar(evaluate):
    """A line that was written over again and again is one line."""

    def objective(x):
        for i in range(1000):
            print(f"\r{i} of 1000", end="")
        print()

    assert evaluate(objective)["record"]["log"] == "999 of 1000\n"


# -- surroundings -----------------------------------------------------------------------------------------------------


def test_thread_pools_are_told_the_cpus(evaluate, monkeypatch):
    """The variables that libraries size their thread pools by are set, and a smaller value of the user's stays."""
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)

    def objective(x):
        return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")]

    assert pickle.loads(evaluate(objective, cpus=2)["value"]) == ["2", "1", "2"]


def close_streams(x):
    sys.stdout.close()
    sys.stderr.close()


def close_descriptors(x):
    os.close(1)
    os.close(2)


def detach_streams(x):
    sys.stdout.detach()
    sys.stderr = io.TextIOWrapper(sys.stderr.detach(), write_through=True)


@pytest.mark.parametrize("objective", [close_streams, close_descriptors, detach_streams])
def test_next_evaluation_can_print_and_log(evaluate, monkeypatch, objective):
    """An objective that closes its output costs nobody else theirs."""
    monkeypatch.setattr(logging.root, "handlers", [])  # as on a worker; here they are pytest's

    def talk(x):
        print("printed")
        logging.getLogger("library").warning("logged")
        os.write(2, b"written\n")

    spoiling, reply = evaluate(objective), evaluate(talk)
    assert spoiling["kind"] == reply["kind"] == "ok"
    assert spoiling["record"]["pid"] == reply["record"]["pid"]
    assert reply["record"]["log"].splitlines() == ["printed", "WARNING library: logged", "written"]


def test_next_evaluation_has_a_folder(evaluate, tmp_path):
    """An objective may go to another folder, for good, as modules do when they are imported, or remove it."""
    before = pickle.loads(evaluate(lambda x: os.getcwd())["value"])
    tmp_path.joinpath("folder").mkdir()
    folder = str(tmp_path / "folder")
    assert evaluate(os.chdir, folder)["kind"] == "ok"
    assert pickle.loads(evaluate(lambda x: os.getcwd())["value"]) == folder
    assert evaluate(os.rmdir, folder)["kind"] == "ok"
    assert pickle.loads(evaluate(lambda x: os.getcwd())["value"]) == before


def test_alarm_does_not_outlive_its_evaluation(evaluate):
    """A time limit that an objective has set itself, and not taken back, ends no other evaluation."""

    def objective(x):
        signal.setitimer(signal.ITIMER_REAL, 60.0)

    assert evaluate(objective)["kind"] == "ok"
    assert pickle.loads(evaluate(lambda x: signal.getitimer(signal.ITIMER_REAL))["value"]) == (0.0, 0.0)


def test_worker_s_files_are_not_reachable(evaluator):
    """The process has no way to the worker's connections: it must not be able to keep them open or write to them."""
    ours, theirs = socket.socketpair()
    with ours:
        number = theirs.fileno()

        def objective(x):
            return os.readlink(f"/proc/self/fd/{number}")

        if os.path.isdir("/proc/self/fd"):
            assert pickle.loads(evaluator.evaluate(pickled(objective), pickle.dumps(0))["value"]) == os.devnull
        else:
            evaluator.evaluate(pickled(lambda x: x), pickle.dumps(0))
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(1) == b""


def test_closing_ends_the_process():
    """An evaluator that is closed leaves nothing, and starts anew if it is used again."""
    evaluator = Evaluator()
    pid = pickle.loads(evaluator.evaluate(pickled(lambda x: os.getpid()), pickle.dumps(0))["value"])
    evaluator.close()
    wait_until_gone(pid)
    assert evaluator.evaluate(pickled(lambda x: x), pickle.dumps(0))["kind"] == "ok"
    evaluator.close()


def test_check_reports_versions(evaluator):
    """Loading an objective for a check says which Python and packages are there."""
    reply = evaluator.check(pickled(lambda x: x), ["numpy", "nowhere_at_all"], Limits(), {})
    import numpy

    assert reply["kind"] == "ok"
    assert tuple(reply["python"]) == sys.version_info[:3]
    assert reply["packages"] == {"numpy": numpy.__version__, "nowhere_at_all": None}
