"""One writer at a time, of processes and of objects."""

import gc
import os
import signal
import subprocess
import sys

import pytest

from sparktune.exceptions import InvalidStorage
from sparktune.storage.journal import Journal

WRITER = """
import sys
from sparktune.storage.journal import Journal
journal = Journal(sys.argv[1])
journal.open()
journal.append([{"event": "x"}])
print("open", flush=True)
sys.stdin.read()
journal.close()
"""

FORKING_WRITER = """
import os, sys, time
from sparktune.storage.journal import Journal
journal = Journal(sys.argv[1])
journal.open()
if not os.fork():
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(600)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    """Where a journal may be."""
    return tmp_path / "study.journal"


@pytest.fixture
def started():
    """Starts programs that say a line when they are ready, and end when their input does."""
    programs = []

    def start(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        programs.append(program)
        return program, program.stdout.readline().strip()

    yield start
    for program in programs:
        program.kill()
        program.communicate()


def test_a_second_process_is_refused_with_who_has_it(path, started):
    """The error has the process and the machine, and goes when the first one ends; readers are not refused."""
    program, _ = started(WRITER, path)
    with pytest.raises(InvalidStorage, match=rf"another process is writing this study \(process {program.pid} on "):
        Journal(path).open()
    assert Journal(path).read() == [{"event": "x"}]
    program.communicate("")
    Journal(path).open()


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_who_has_it_need_not_be_said(path, started, text):
    """A lock whose file says nothing that can be read keeps others out as well."""
    started(WRITER, path)
    Journal(path)._lock.path.write_text(text)
    with pytest.raises(InvalidStorage, match="another process is writing this study, and it has one writer"):
        Journal(path).open()


def test_who_had_it_before_is_forgotten(path):
    """Of a longer name that the lock's file had, nothing stays behind that of the next writer."""
    journal = Journal(path)
    journal._lock.path.write_text('{"host": "' + "h" * 200 + '", "pid": 1}')
    journal.open()
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert f"(process {os.getpid()} on " in done.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are listed there")
def test_an_attempt_that_was_refused_leaves_no_file_open(path, started):
    """A program that tries until the study is free does not run out of descriptors."""
    started(WRITER, path)
    with pytest.raises(InvalidStorage, match="another process is writing"):
        Journal(path).open()
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [name for name in opened if name.startswith(os.path.realpath(path))]


def test_a_killed_writer_leaves_no_lock(path, started):
    """kill -9 of the writer, and the next one writes."""
    program, _ = started(WRITER, path)
    program.kill()
    program.wait()
    journal = Journal(path)
    journal.open()
    journal.append([{"event": "y"}])
    journal.close()
    assert [event["event"] for event in journal.read()] == ["x", "y"]


def test_a_forked_child_that_outlives_the_writer_does_not_keep_the_lock(path, started):
    """The lock goes with the process that took it, whatever that process has forked."""
    program, child = started(FORKING_WRITER, path)
    try:
        program.kill()
        program.wait()
        os.kill(int(child), 0)  # it lives
        journal = Journal(path)
        journal.open()
        journal.close()
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_a_forked_child_cannot_write(path):
    """The child of a writer is told so, and the parent's lock stays when the child ends."""
    journal = Journal(path)
    journal.open()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            journal.append([{"event": "x"}])
            os.write(writer, b"written")
        except InvalidStorage:
            os.write(writer, b"refused")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"refused"
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert f"process {os.getpid()} on" in done.stderr
    journal.append([{"event": "y"}])
    assert len(journal.read()) == 1


def test_the_newest_object_of_a_process_takes_over(path):
    """The object before is told at its next event; nothing that it wrote is lost."""
    first, second = Journal(path), Journal(path)
    first.open()
    first.append([{"event": "x"}])
    second.open()
    with pytest.raises(InvalidStorage, match="a newer object of this process may have taken it over"):
        first.append([{"event": "x"}])
    first.close()
    second.append([{"event": "y"}])
    assert [event["event"] for event in second.read()] == ["x", "y"]


def test_two_names_of_a_file_have_one_lock(path, tmp_path):
    """Through a linked folder, too, a newer object takes over and is no second writer."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    first, second = Journal(tmp_path / "folder" / "s"), Journal(tmp_path / "link" / "s")
    first.open()
    second.open()
    with pytest.raises(InvalidStorage):
        first.append([{"event": "x"}])


def test_an_object_that_was_forgotten_leaves_no_lock(path):
    """A journal that nobody closed and nobody has is closed by the garbage collector."""
    journal = Journal(path)
    journal.open()
    del journal
    gc.collect()
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_a_study_that_could_not_be_opened_is_let_go(path):
    """Whoever was refused for what is in the file keeps nobody out of it afterwards."""
    path.write_bytes(b"a,b\n")
    journal = Journal(path)
    with pytest.raises(InvalidStorage, match="is no study"):
        journal.open()
    path.unlink()
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    with pytest.raises(InvalidStorage, match="is not open for writing here"):
        journal.append([{"event": "x"}])


def test_reading_the_lock_does_not_end_it(path):
    """Somebody in this process who copies the folder, lock and all, does not let others in."""
    journal = Journal(path)
    journal.open()
    journal._lock.path.read_bytes()
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "another process is writing this study" in done.stderr


def test_a_lock_that_was_removed_is_made_again(path):
    """Tidying up the lock's file does not let a second writer in for longer than until the next event."""
    journal = Journal(path)
    journal.open()
    journal._lock.path.unlink()
    journal.append([{"event": "x"}])
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "another process is writing this study" in done.stderr
