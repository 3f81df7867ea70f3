"""Who a process's descendants are, and what memory they hold."""

import os
import queue
import subprocess
import sys
import threading

import pytest

from sparktune.worker import processes

HAS_PROC = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="what a process is called is in /proc")
HAS_CHILDREN = pytest.mark.skipif(
    not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="the system has no lists of children"
)
NAMED = """
import sys
with open("/proc/self/comm", "wb") as file:
    file.write(bytes.fromhex(sys.argv[1]))
print("named", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def named():
    """Starts a process that is called by these bytes."""
    programs = []

    def start(name):
        command = [sys.executable, "-c", NAMED, name.hex()]
        programs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert programs[-1].stdout.readline() == b"named\n"
        return programs[-1].pid

    yield start
    for program in programs:
        program.communicate()


@pytest.fixture
def without_proc(monkeypatch):
    """A system such as macOS, whose processes ``ps`` knows."""

    def no_such_file(path, *_):
        raise FileNotFoundError(path)

    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    monkeypatch.setattr(processes, "open", no_such_file, raising=False)


@HAS_PROC
@pytest.mark.parametrize("name", ["aaaaaaaaaaaaaaé".encode()[:15], b"\xff\xfe", b"a) S 1 (b"], ids=ascii)
def test_a_process_may_have_any_name(named, name):
    """Half a character too, where the system has cut it, or what looks like more columns: it is seen to live."""
    assert named(name) in processes.descendants(os.getpid())


def test_descendants_are_found_without_proc(without_proc):
    """Those that live; the name of none of them matters."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        assert processes.parents()[program.pid] == os.getpid()
        assert program.pid in processes.descendants(os.getpid())
        program.communicate(b"\n")


def test_known_descendants_are_those_of_descendants(without_proc):
    """Where the system has no lists of children, all processes are asked."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        assert program.pid in processes.known_descendants(os.getpid())
        program.communicate(b"\n")


@HAS_CHILDREN
def test_known_descendants_take_no_look_at_other_processes(monkeypatch):
    """Children, theirs, and those that a thread has started."""
    code = "import subprocess; p = subprocess.Popen(['cat']); print(p.pid, flush=True); p.wait()"
    started, may_end = queue.SimpleQueue(), threading.Event()

    def start():
        started.put(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        may_end.wait(60)

    thread = threading.Thread(target=start)
    thread.start()
    program = started.get(timeout=60)
    family = {program.pid, int(program.stdout.readline())}
    monkeypatch.setattr(processes, "parents", None)
    assert family <= set(processes.known_descendants(os.getpid()))
    assert set(processes.known_descendants(program.pid)) == family - {program.pid}
    may_end.set()
    thread.join()
    program.communicate()


def test_memory_is_known_without_proc(without_proc):
    """In bytes, the sum of the processes; of those that have ended, none."""
    n = 2**27
    block = bytearray(os.urandom(2**16)) * (n // 2**16)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        both = processes.memory_of([os.getpid(), program.pid])
        program.communicate(b"\n")
    mine = processes.memory_of([os.getpid(), program.pid])
    assert n < mine < both < 100 * n  # and not in KiB
    del block
    assert processes.memory_of([program.pid]) == processes.memory_of([]) == 0
