"""What tells a process from all others."""

import os
import subprocess
import sys
import time

import pytest

from sparktune.storage import presence
from sparktune.storage.presence import Presence

COMM = "/proc/self/comm"


@pytest.fixture
def call_it():
    """Gives this process a name, in bytes; it has its own again afterwards."""
    with open(COMM, "rb") as file:
        before = file.read()

    def call_it(name):
        with open(COMM, "wb") as file:
            file.write(name)

    yield call_it
    call_it(before.rstrip())


@pytest.mark.skipif(not os.path.exists(COMM), reason="when a process was born is in /proc")
@pytest.mark.parametrize("name", ["aaaaaaaaaaaaaaé".encode()[:15], b"\xff\xfe", b"a) S 1 (b"], ids=ascii)
def test_a_process_is_the_same_whatever_it_is_called(call_it, name):
    """Half a character too, where the system has cut its name, or what looks like more columns."""
    before = Presence.identity()
    call_it(name)
    assert Presence.identity() == before
    assert before["born"].isdigit()
    time.sleep(0.05)  # births are told apart by hundredths of a second
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert presence._born(other.pid) != before["born"]
        other.communicate(b"\n")
