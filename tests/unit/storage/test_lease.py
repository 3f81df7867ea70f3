"""Who writes into a folder without locks."""

import json
import os
import subprocess
import sys
import time

import pytest
from waiting import wait_until

from sparktune.exceptions import InvalidStorage
from sparktune.storage import lease
from sparktune.storage.folders import LocalFolder
from sparktune.storage.lease import NAME, PATIENCE, WriterLease

HOLDER = """
import sys
from sparktune.storage.folders import LocalFolder
from sparktune.storage.lease import WriterLease
held = WriterLease(LocalFolder(sys.argv[1]))
held.acquire()
print("held", flush=True)
sys.stdin.read()
held.release()
"""


@pytest.fixture
def folder(tmp_path):
    """An empty one."""
    return LocalFolder(tmp_path)


@pytest.fixture
def other(folder):
    """A process that has the folder."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        program.stdout.readline()
        yield program
        program.kill()


def written_by(folder, **changes):
    """Change what the file says."""
    sign = json.loads(folder.get(NAME))
    folder.put(NAME, json.dumps(sign | changes).encode())


def test_a_second_process_is_refused_with_who_has_it(folder, other):
    """Until the first one lets go."""
    mine = WriterLease(folder)
    with pytest.raises(InvalidStorage, match=rf"another process is writing.*\(process {other.pid} on "):
        mine.acquire()
    other.communicate("")
    mine.acquire()
    assert mine.check()
    mine.release()
    assert folder.names() == []


def test_a_dead_process_of_this_machine_is_dead_at_once(folder, other):
    """Nobody waits for a sign of life of a process that is no more."""
    other.kill()
    other.wait()
    mine = WriterLease(folder)
    mine.acquire()
    assert json.loads(folder.get(NAME))["pid"] == os.getpid()
    mine.release()


def test_a_number_of_a_process_that_was_given_again_is_another_process(folder, other):
    """A holder with the number of a living process that was born later is dead."""
    written_by(folder, born="1")
    WriterLease(folder).acquire()


def test_a_writer_of_another_machine_is_dead_after_a_time_without_signs(folder, other):
    """Before that the error says how long it is still; a process of that number here means nothing."""
    written_by(folder, machine="another", host="far", pid=1, seen=time.time() - PATIENCE + 30)
    with pytest.raises(InvalidStorage, match=r"process 1 on far.*if it died on another machine, it is let go 30 s"):
        WriterLease(folder).acquire()
    written_by(folder, machine="another", host="far", seen=time.time() - PATIENCE - 1)
    WriterLease(folder).acquire()


def test_the_newest_object_of_a_process_takes_over(folder):
    """The one before finds out at its next write, and does not take the newer one's right away when it ends."""
    first, second = WriterLease(folder), WriterLease(folder)
    first.acquire()
    second.acquire()
    with pytest.raises(InvalidStorage, match="has taken over the study"):
        first.check()
    first.release()
    assert second.check()
    second.release()


def test_a_writer_that_was_taken_for_dead_writes_nothing_more(folder, monkeypatch):
    """Neither events nor signs of life: it is told at its next write."""
    monkeypatch.setattr(lease, "INTERVAL", 0.01)
    mine = WriterLease(folder)
    mine.acquire()
    mine._presence.stop()
    written_by(folder, writer="another", host="far", machine="another", pid=1)
    mine.beat()
    assert json.loads(folder.get(NAME))["writer"] == "another"
    with pytest.raises(InvalidStorage, match="process 1 on far has taken over"):
        mine.check()
    mine.release()
    assert json.loads(folder.get(NAME))["writer"] == "another"


def test_of_two_that_take_it_at_the_same_moment_one_is_refused(folder, monkeypatch):
    """Who finds another's name right after writing its own has not got it."""

    def put_by_two(name, data):
        LocalFolder.put(folder, name, data)
        written_by(LocalFolder(folder.path), writer="another", host="far", machine="another", pid=1)

    monkeypatch.setattr(folder, "put", put_by_two)
    with pytest.raises(InvalidStorage, match="process 1 on far has taken over"):
        WriterLease(folder).acquire()
    assert json.loads(folder.get(NAME))["writer"] == "another"


def test_signs_of_life_are_given_by_themselves(folder, monkeypatch):
    """A holder that writes nothing is seen to live, until it lets go."""
    monkeypatch.setattr(lease, "INTERVAL", 0.01)
    mine = WriterLease(folder)
    mine.acquire()
    first = json.loads(folder.get(NAME))["seen"]
    wait_until(lambda: json.loads(folder.get(NAME))["seen"] > first)
    mine.release()
    assert folder.names() == []


def test_a_removed_file_is_written_again(folder):
    """The caller is told that it was gone."""
    mine = WriterLease(folder)
    mine.acquire()
    folder.remove(NAME)
    assert not mine.check()
    assert mine.check()
    mine.release()


def test_who_has_let_go_is_not_open(folder):
    """After its end a writer is refused at its next write, and does not take the folder again by that."""
    mine = WriterLease(folder)
    mine.acquire()
    mine.release()
    mine.release()
    with pytest.raises(InvalidStorage, match="is not open for writing here"):
        mine.check()
    assert folder.names() == []


def test_a_folder_that_fails_behind_the_first_sign_is_let_go(folder, monkeypatch):
    """Else nobody could write there as long as this process lives, which itself does not."""
    mine = WriterLease(folder)
    read = [None, OSError("away for a moment")]

    def get(name):
        if read and (error := read.pop(0)) is not None:
            raise error
        return type(folder).get(folder, name)

    monkeypatch.setattr(folder, "get", get)
    with pytest.raises(OSError, match="away"):
        mine.acquire()
    assert folder.names() == []
    with pytest.raises(InvalidStorage, match="not open for writing"):
        mine.check()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"writer": 1}'])
def test_half_a_file_is_no_holder(folder, data):
    """What a crash has left of the file keeps nobody out."""
    folder.put(NAME, data)
    mine = WriterLease(folder)
    mine.acquire()
    mine.release()


def test_a_forked_child_cannot_write(folder):
    """The child is told so, and does not let the parent's right go."""
    mine = WriterLease(folder)
    mine.acquire()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            mine.check()
        except InvalidStorage:
            os.write(writer, b"refused")
        finally:
            mine.release()
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"refused"
    assert mine.check()
    mine.release()
