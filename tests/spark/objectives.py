"""What objectives do wrong, and the journal in which they say so. Travels to Spark's workers by value."""

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time


class Journal:
    """A file of one line per event, written by objectives on all workers and read by whoever watches.

    Args:
        path: The file; all processes must see it.
    """

    def __init__(self, path):
        self.path = path

    def note(self, kind, **fields):
        """Append an event."""
        line = json.dumps({"kind": kind, "time": time.time(), **fields}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, line.encode())  # one write of a short line: whole, and behind those of others
        os.close(file)

    def read(self, kind):
        """All events of a kind so far."""
        try:
            with open(self.path) as file:
                events = [json.loads(line) for line in file]
        except FileNotFoundError:
            return []
        return [event for event in events if event["kind"] == kind]

    def wait(self, kind, n=1, timeout=90.0):
        """The events of a kind, as soon as there are ``n``; TimeoutError if they do not come."""
        deadline = time.monotonic() + timeout
        while len(events := self.read(kind)) < n:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(events)} events {kind!r} in {timeout:g} s, and {n} were expected")
            time.sleep(0.02)
        return events


def identity(pid):
    """What tells a process from a later one with the same number: when it started; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *others = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(others[18])


class Stage:
    """What a fault sees of the evaluation that it is part of.

    Attributes:
        journal: Where to say what happens.
        attempt: 1 for the first evaluation of this trial.
    """

    def __init__(self, journal, attempt):
        self.journal = journal
        self.attempt = attempt

    def is_ready(self):
        """Tell whoever watches that the evaluation runs; where nobody acts from outside that is the fault itself."""
        self.journal.note("ready", pid=os.getpid())
        self.journal.note("fault")

    def has_child(self, pid):
        """Note a process that must not outlive the evaluation."""
        self.journal.note("child", pid=pid, identity=identity(pid))


def evaluate(commit, journal):
    """Be the evaluation with the fault."""
    journal.note("evaluation", pid=os.getpid(), identity=identity(os.getpid()))
    return commit(Stage(journal, len(journal.read("evaluation"))))


def wait_for_ever():
    """Until killed."""
    while True:
        signal.pause()


# -- ended by the objective itself -------------------------------------------------------------------------------------


def returns(stage):
    stage.is_ready()
    return 0.0


def raises(stage):
    stage.is_ready()
    raise ValueError("no such luck")


def returns_a_lock(stage):
    stage.is_ready()
    return {"loss": 0.0, "status": "ok", "lock": threading.Lock()}


def exits(stage):
    stage.is_ready()
    sys.exit(3)


def vanishes(stage):
    stage.is_ready()
    os._exit(3)


def vanishes_once(stage):
    return 0.0 if stage.attempt > 1 else vanishes(stage)


def crashes(stage):
    stage.is_ready()
    ctypes.string_at(0)


def is_killed(stage):
    stage.is_ready()
    os.kill(os.getpid(), signal.SIGKILL)


def becomes_another_program(stage):
    stage.is_ready()
    os.execvp("sleep", ["sleep", "3600"])


def kills_its_parent(stage):
    stage.is_ready()
    os.kill(os.getppid(), signal.SIGKILL)
    wait_for_ever()


def returns_twice(stage):
    stage.is_ready()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return 0.0


# -- would go on for ever ----------------------------------------------------------------------------------------------


def computes(stage):
    stage.is_ready()
    sum(range(10**15))  # one call in C, which holds Python's lock all the time


def resists(stage):
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    stage.is_ready()
    while True:
        with contextlib.suppress(BaseException):
            wait_for_ever()


def stops(stage):
    stage.is_ready()
    os.kill(os.getpid(), signal.SIGSTOP)


def hoards(stage):
    stage.is_ready()
    blocks = []
    while True:
        blocks.append(b"x" * 2**22)
        time.sleep(0.005)  # 800 MB a second: time to be noticed before the machine is full


def has_a_hoarding_child(stage):
    stage.is_ready()
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; x = b'x' * 2**29; time.sleep(3600)"])
    stage.has_child(child.pid)
    child.wait()


def has_children(stage):
    start_children(stage)
    stage.is_ready()
    wait_for_ever()


def start_children(stage):
    """Processes of every kind that an objective can start; each notes itself, or is noted here."""
    stage.has_child(subprocess.Popen(["sleep", "3600"]).pid)
    stage.has_child(subprocess.Popen(["sh", "-c", "trap '' TERM HUP INT; exec sleep 3600"], start_new_session=True).pid)
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,), daemon=True)
    worker.start()
    stage.has_child(worker.pid)
    if os.fork() == 0:
        stage.has_child(os.getpid())
        wait_for_ever()
    daemon = os.fork()
    if daemon == 0:  # becomes nobody's child, in a session of its own
        os.setsid()
        if os.fork() == 0:
            stage.has_child(os.getpid())
            wait_for_ever()
        os._exit(0)
    os.waitpid(daemon, 0)
    stage.journal.wait("child", 5 * stage.attempt)


# -- wait for what is done from outside --------------------------------------------------------------------------------


def waits_once(stage):
    if stage.attempt > 1:
        return 0.0
    stage.journal.note("ready", pid=os.getpid())
    wait_for_ever()


def has_children_once(stage):
    if stage.attempt > 1:
        return 0.0
    start_children(stage)
    return waits_once(stage)


def waits_for_the_act(stage):
    stage.journal.note("ready", pid=os.getpid())
    stage.journal.wait("acted", timeout=120)
    return 0.0
