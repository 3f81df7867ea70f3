"""The pilot's side of the wire: what it evaluates, when it stops, and whom it does not believe."""

import contextlib
import hashlib
import hmac
import os
import pickle
import secrets
import socket
import subprocess
import sys
import tempfile
import time

import cloudpickle
import pytest
from waiting import wait_until, wait_until_gone

from sparktune.run.processes import START
from sparktune.worker import frames, pilot, processes

SECRET = secrets.token_bytes(32)

FOLDER = os.path.dirname(pilot.__file__)


class Driver:
    """The other side of one pilot, played by the test.

    Attributes:
        process: The pilot.
    """

    def __init__(self, function, **limits):
        objective = cloudpickle.dumps(function)
        options = {"secret": SECRET, "digest": hashlib.sha256(objective).hexdigest(), "path": sys.path}
        options = pickle.dumps(options | {"timeout": None, "memory": None, "cpus": None} | limits)
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(60)
        self._messages = []
        with tempfile.TemporaryFile() as file, theirs:
            file.write(frames.LENGTH.pack(len(options)) + options + objective)
            file.flush()
            descriptors = (theirs.fileno(), file.fileno())
            command = [sys.executable, "-c", START, FOLDER, *map(str, descriptors), "7"]
            self.process = subprocess.Popen(command, pass_fds=descriptors)

    def greet(self, secret=SECRET):
        """Do the driver's part of the handshake; returns what the pilot said first."""
        nonce = secrets.token_bytes(pilot.NONCE_BYTES)
        self.connection.sendall(pilot.MAGIC + nonce)
        said = self.connection.recv(pilot.HELLO_BYTES)
        hello = nonce + said[: -pilot.SEAL_BYTES]
        self.connection.sendall(pilot.proof("driver", secret, hello))
        self.wire = pilot.Wire(secret, hello, "driver")
        self.is_pilot_genuine = hmac.compare_digest(said[-pilot.SEAL_BYTES :], pilot.proof("pilot", secret, hello))
        return said

    def say(self, kind, lease=0, payload=b""):
        """Send a message; returns its bytes."""
        data = self.wire.seal(kind, lease, payload)
        self.connection.sendall(data)
        return data

    def next(self, *kinds):
        """The next message, of these kinds if any are named."""
        while True:
            while not self._messages:
                data = self.connection.recv(65536)
                assert data, "the pilot has hung up"
                self._messages.extend(self.wire.feed(data))
            message = self._messages.pop(0)
            if not kinds or message.kind in kinds:
                return message

    def evaluate(self, lease, argument):
        """Have something evaluated; returns the reply."""
        self.say(pilot.EVALUATE, lease, pickle.dumps(argument))
        message = self.next(pilot.REPLY)
        assert message.lease == lease
        return pickle.loads(message.payload)

    def has_hung_up(self):
        """Whether the pilot closes the connection; waits for that."""
        while data := self.connection.recv(65536):
            assert not list(self.wire.feed(data)), "the pilot still talks"
        return True


@pytest.fixture
def start():
    """Starts a pilot that evaluates a function; returns its driver."""
    drivers = []

    def start(function, **limits):
        drivers.append(Driver(function, **limits))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.connection.close()
        driver.process.wait(60)


# -- at work ----------------------------------------------------------------------------------------------------------


def test_pilot_evaluates_one_call_after_another_in_one_process(start):
    """Each reply comes under its lease, and the process of the evaluations stays the same."""
    driver = start(lambda x: (x + 1, os.getpid()))
    driver.greet()
    assert driver.is_pilot_genuine
    values = [pickle.loads(driver.evaluate(lease, lease * 10)["value"]) for lease in (1, 2, 3)]
    assert [value for value, _ in values] == [11, 21, 31]
    assert len({pid for _, pid in values}) == 1


def test_pilot_says_when_it_loads_the_objective_and_that_it_lives(start):
    """Loading is announced once, and heartbeats under the lease come while an evaluation runs."""
    driver = start(time.sleep)
    driver.greet()
    driver.say(pilot.EVALUATE, 5, pickle.dumps(600))
    assert driver.next()[:2] == (pilot.LOADING, 5)
    assert driver.next()[:2] == (pilot.BEAT, 5)
    driver.say(pilot.CANCEL, 5)
    driver.next(pilot.REPLY)


def test_cancel_kills_the_processes_of_the_evaluation_and_the_pilot_goes_on(start, tmp_path):
    """A cancelled evaluation is gone with what it started, in C code or not, and another one can follow."""
    file = tmp_path / "pid"

    def objective(path):
        if path is None:
            return "fine"
        child = subprocess.Popen(["sleep", "600"])
        with open(path + ".new", "w") as new:
            new.write(str(child.pid))
        os.rename(path + ".new", path)
        return sum(range(10**12))

    driver = start(objective)
    driver.greet()
    driver.say(pilot.EVALUATE, 1, pickle.dumps(str(file)))
    wait_until(file.exists)
    driver.say(pilot.CANCEL, 1)
    assert pickle.loads(driver.next(pilot.REPLY).payload)["kind"] == "cancelled"
    wait_until_gone(int(file.read_text()))
    assert pickle.loads(driver.evaluate(2, None)["value"]) == "fine"


def test_cancel_that_comes_along_with_the_evaluation_keeps_it_from_running(start, tmp_path):
    """An evaluation whose cancel is already there is not begun."""
    driver = start(os.mkdir)
    driver.greet()
    evaluate = driver.wire.seal(pilot.EVALUATE, 1, pickle.dumps(str(tmp_path / "run")))
    driver.connection.sendall(evaluate + driver.wire.seal(pilot.CANCEL, 1))
    assert pickle.loads(driver.next(pilot.REPLY).payload)["kind"] == "cancelled"
    assert not (tmp_path / "run").exists()


def test_cancel_of_another_lease_and_unknown_messages_are_ignored(start):
    """What is not meant for the running evaluation, or is of a later version, changes nothing."""
    driver = start(lambda x: x)
    driver.greet()
    driver.say(pilot.CANCEL, 99)
    driver.say(b"?", 1, b"from a later version")
    assert driver.evaluate(1, "x")["kind"] == "ok"


def test_pilot_keeps_the_limits_of_its_work(start):
    """An evaluation over its time is ended, and the reply says so."""
    driver = start(time.sleep, timeout=0.2)
    driver.greet()
    assert driver.evaluate(1, 600)["kind"] == "timeout"


def test_unpicklable_argument_is_a_failed_evaluation(start):
    """An argument that cannot be loaded there ends the evaluation, not the pilot."""
    driver = start(lambda x: x)
    driver.greet()
    driver.say(pilot.EVALUATE, 1, b"no pickle")
    reply = pickle.loads(driver.next(pilot.REPLY).payload)
    assert reply["kind"] == "error"
    assert "the values at this point cannot be loaded" in reply["error"][1]
    assert driver.evaluate(2, "x")["kind"] == "ok"


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["bye", "hang up"])
def test_pilot_ends_when_the_driver_says_bye_or_hangs_up(start, how):
    """A pilot with nothing to do ends, without an error."""
    driver = start(lambda x: x)
    driver.greet()
    driver.evaluate(1, "x")
    if how == "bye":
        driver.say(pilot.BYE)
        assert driver.has_hung_up()
    driver.connection.close()
    assert driver.process.wait(60) == 0


def test_nothing_is_left_of_an_evaluation_whose_driver_has_gone(start, tmp_path):
    """The end of the connection ends a running evaluation, its processes and the pilot."""

    def objective(path):
        os.mkdir(path)
        time.sleep(600)

    driver = start(objective)
    driver.greet()
    driver.say(pilot.EVALUATE, 1, pickle.dumps(str(tmp_path / "begun")))
    wait_until((tmp_path / "begun").exists)
    tree = processes.descendants(driver.process.pid)
    assert tree
    driver.connection.close()
    assert driver.process.wait(60) == 0
    for pid in tree:
        wait_until_gone(pid)


# -- whom it does not believe -----------------------------------------------------------------------------------------


def test_driver_without_the_secret_is_refused_and_nothing_of_it_is_unpickled(start, bomb):
    """Who does not know the secret gets no further than the handshake."""
    payload, has_exploded = bomb
    driver = start(lambda x: x)
    driver.greet(b"guessed")
    assert not driver.is_pilot_genuine  # it did not tell the secret either
    with contextlib.suppress(BrokenPipeError):
        driver.say(pilot.EVALUATE, 1, payload)
    assert driver.process.wait(60) == 0
    assert not has_exploded()


def test_listener_that_echoes_the_handshake_is_refused(start):
    """What the pilot has said itself is no proof of the other side's."""
    driver = start(lambda x: x)
    driver.connection.sendall(pilot.MAGIC + bytes(pilot.NONCE_BYTES))
    said = driver.connection.recv(pilot.HELLO_BYTES)
    driver.connection.sendall(said[-pilot.SEAL_BYTES :])
    assert driver.connection.recv(1) == b""


@pytest.mark.parametrize("forgery", ["wrong seal", "changed", "repeated", "other direction", "endless"])
def test_message_that_is_not_the_drivers_ends_the_connection_unread(start, bomb, forgery):
    """After the handshake too, nothing is unpickled that does not carry the driver's seal for this place."""
    payload, has_exploded = bomb
    driver = start(lambda x: x)
    driver.greet()
    genuine = driver.say(pilot.EVALUATE, 1, pickle.dumps("x"))
    driver.next(pilot.REPLY)
    head = len(genuine) - len(pickle.dumps("x"))
    driver.connection.sendall(
        {
            "wrong seal": frames.LENGTH.pack(41 + len(payload)) + bytes(32) + pilot.EVALUATE + bytes(8) + payload,
            "changed": frames.LENGTH.pack(41 + len(payload)) + genuine[8:head] + payload,
            "repeated": genuine,
            "other direction": pilot.Wire(SECRET, b"", "pilot").seal(pilot.EVALUATE, 1, payload),
            "endless": frames.LENGTH.pack(2**62),
        }[forgery]
    )
    assert driver.has_hung_up()
    assert driver.process.wait(60) == 0
    assert not has_exploded()


# -- the wire ---------------------------------------------------------------------------------------------------------


def test_messages_arrive_whole_however_they_are_cut():
    """Bytes may come in one by one or all at once: the messages are the same."""
    messages = [(b"e", 1, b""), (b"c", 2**64 - 1, b"x"), (b"r", 3, secrets.token_bytes(5000))]
    for step in (1, 7, 10**6):
        sender, receiver = (pilot.Wire(SECRET, b"hello", role) for role in ("driver", "pilot"))
        data = b"".join(sender.seal(*message) for message in messages)
        received = [m for i in range(0, len(data), step) for m in receiver.feed(data[i : i + step])]
        assert [tuple(message) for message in received] == messages


@pytest.mark.parametrize("changed", ["secret", "hello", "role"])
def test_wire_of_another_connection_or_direction_is_refused(changed):
    """Keys belong to one secret, one handshake and one direction."""
    sender = pilot.Wire(SECRET, b"hello", "driver")
    receiver = {
        "secret": pilot.Wire(b"another", b"hello", "pilot"),
        "hello": pilot.Wire(SECRET, b"another", "pilot"),
        "role": pilot.Wire(SECRET, b"hello", "driver"),
    }[changed]
    with pytest.raises(pilot.ForgedMessageError):
        list(receiver.feed(sender.seal(pilot.BYE)))


def test_message_left_out_is_noticed():
    """A message is valid at its place in the stream only."""
    sender, receiver = (pilot.Wire(SECRET, b"hello", role) for role in ("driver", "pilot"))
    sender.seal(pilot.CANCEL, 1)
    with pytest.raises(pilot.ForgedMessageError):
        list(receiver.feed(sender.seal(pilot.CANCEL, 2)))
