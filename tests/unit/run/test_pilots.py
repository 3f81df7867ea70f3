"""The driver's side of pilots: who gets an evaluation, when it is lost, and whom the pool does not believe."""

import contextlib
import gc
import hmac
import logging
import os
import pickle
import secrets
import socket
import threading
import time
import types
import weakref
from concurrent.futures import Future

import pytest
from waiting import wait_until

from sparktune.exceptions import WorkerLostError
from sparktune.history.returned import as_result
from sparktune.history.trial import Call, Outcome
from sparktune.run import connection, pilots
from sparktune.run.pilots import Patience, PilotPool
from sparktune.run.replies import Reader
from sparktune.worker import frames, pilot

SECRET = secrets.token_bytes(32)


class Launcher:
    """Starts nothing by itself: the test plays the pilots.

    Attributes:
        started, stopped: Numbers of pilots.
        replaced: Reasons.
        substitute: Evaluates if no pilot can be had.
        needed_elsewhere: Whether others wait for what pilots hold.
        asked: Set once that was asked.
    """

    def __init__(self, substitute=None):
        self.started, self.stopped, self.replaced = [], [], []
        self.substitute = substitute
        self.needed_elsewhere, self.asked = False, threading.Event()
        self._ends = {}
        self._change = threading.Condition()

    def run(self, number):
        with self._change:
            end = self._ends[number] = Future()
            self.started.append(number)
            self._change.notify_all()
        return end.result()

    def stop(self, number):
        self.stopped.append(number)
        self.end(number, "stopped")

    def is_needed_elsewhere(self, n_pilots):
        self.asked.set()
        return self.needed_elsewhere

    def replace(self, reason):
        self.replaced.append(reason)
        if self.substitute is None:
            raise WorkerLostError(reason)
        return self.substitute

    def end(self, number, reason):
        """Let a pilot end."""
        with contextlib.suppress(Exception):  # it has ended
            if isinstance(reason, Exception):
                self._ends[number].set_exception(reason)
            else:
                self._ends[number].set_result(reason)

    def wait_for(self, n):
        """Wait until n pilots have been started in all."""
        with self._change:
            assert self._change.wait_for(lambda: len(self.started) >= n, timeout=60)


class Pilot:
    """A pilot played by the test."""

    def __init__(self, address, number=0, secret=SECRET):
        self.number = number
        self.connection = socket.create_connection(address)
        self.connection.settimeout(60)
        self._messages = []
        self.wire = pilot.greet(self.connection, secret, number)
        self.connection.settimeout(60)

    def say(self, kind, lease=0, payload=b""):
        """Send a message."""
        self.connection.sendall(self.wire.seal(kind, lease, payload))

    def next(self):
        """The next message."""
        while not self._messages:
            data = self.connection.recv(65536)
            assert data, "the driver has hung up"
            self._messages.extend(self.wire.feed(data))
        return self._messages.pop(0)

    def reply(self, lease, value):
        """Say that an evaluation has returned a value."""
        record = {"host": "here", "start": 1.0, "end": 1.0}
        self.say(pilot.REPLY, lease, pickle.dumps({"kind": "ok", "value": pickle.dumps(value), "record": record}))

    def take(self):
        """The next evaluation: its lease and argument."""
        message = self.next()
        assert message.kind == pilot.EVALUATE
        return message.lease, message.payload

    def has_been_hung_up_on(self):
        """Whether the driver closes the connection; waits for that."""
        with contextlib.suppress(ConnectionResetError):
            while self.connection.recv(65536):
                pass
        return True


class Desk:
    """A pool with a launcher and pilots played by the test."""

    def __init__(self, substitute=None, limit=4, **patience):
        self.launcher = Launcher(substitute)
        self.pool = PilotPool(self.launcher, SECRET, Reader(as_result, ""), Patience(**patience))
        self.pool.limit = limit
        self.address = ("127.0.0.1", self.pool.listen("127.0.0.1"))
        self.pool.open()
        self._pilots = []

    def connect(self, number=0, secret=SECRET):
        """A new pilot."""
        self._pilots.append(Pilot(self.address, number, secret))
        return self._pilots[-1]

    def submit(self, tid, argument=b"argument"):
        """Submit an evaluation; its future."""
        return self.pool.submit(Call(tid, {}), argument)

    def close(self):
        """End everything."""
        for one in self._pilots:
            one.connection.close()
        for number in list(self.launcher.started):
            self.launcher.end(number, "bye")
        with contextlib.suppress(RuntimeError):  # the test has shut it down
            self.pool.fail(WorkerLostError("the test has ended"))
        self.pool.shutdown(cancel=True)


@pytest.fixture
def open_desk():
    """Opens a desk, which is closed in the end."""
    desks = []

    def open_desk(**options):
        desks.append(Desk(**options))
        return desks[-1]

    yield open_desk
    for desk in desks:
        desk.close()


# -- evaluations ------------------------------------------------------------------------------------------------------


def test_pilot_gets_one_evaluation_after_another(open_desk):
    """What is submitted goes to a pilot that has nothing to do, and its reply ends the future."""
    desk = open_desk()
    futures = [desk.submit(tid, str(tid).encode()) for tid in range(3)]
    one = desk.connect()
    for tid in range(3):
        lease, argument = one.take()
        assert argument == str(tid).encode()
        one.reply(lease, tid / 10)
    assert [future.result(60).result["loss"] for future in futures] == [0.0, 0.1, 0.2]
    assert futures[0].result().record["queue_time"] > 0


def test_as_many_pilots_are_started_as_evaluations_wait_up_to_the_limit(open_desk):
    """Two waiting evaluations start two pilots; ten of them start no more than the limit."""
    desk = open_desk(limit=4)
    desk.submit(0)
    desk.launcher.wait_for(1)
    desk.submit(1)
    desk.launcher.wait_for(2)
    for tid in range(2, 12):
        desk.submit(tid)
    desk.launcher.wait_for(4)
    assert desk.connect(0).take()  # it goes round once more
    assert desk.launcher.started == [0, 1, 2, 3]


def test_dead_idle_pilot_never_gets_an_evaluation(open_desk):
    """The connection of a pilot with nothing to do is watched: once it has ended, others get the work."""
    desk = open_desk()
    first, second = desk.connect(0), desk.connect(1)
    futures = [desk.submit(tid) for tid in range(2)]
    takers = {one: one.take() for one in (first, second)}
    second.reply(takers[second][0], 0.5)
    first.reply(takers[first][0], 0.5)
    for future in futures:
        future.result(60)
    first.connection.close()  # it was the last to become idle, so it would be the next
    wait_until(lambda: len(desk.pool._idle) == 1)
    future = desk.submit(2)
    second.reply(second.take()[0], 0.7)
    assert future.result(60).result["loss"] == 0.7


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_pilot_whose_job_has_ended_gets_no_other_evaluation(open_desk, state):
    """What its launcher has seen the end of is about to die, and must not take with it what another has just lost."""
    desk = open_desk(limit=1)
    first = desk.submit(0)
    desk.launcher.wait_for(1)
    one = desk.connect(0)
    lease, _ = one.take()
    if state == "idle":
        one.reply(lease, 0.5)
        first.result(60)
    desk.launcher.end(0, "the Spark job was cancelled")
    wait_until(lambda: not desk.pool._running)
    second = desk.submit(1)
    desk.launcher.wait_for(2)
    if state == "busy":
        one.reply(lease, 0.5)  # it still got to the end
        assert first.result(60).result["loss"] == 0.5
    assert one.next().kind == pilot.BYE
    other = desk.connect(1)
    other.reply(other.take()[0], 1.5)
    assert second.result(60).result["loss"] == 1.5


def test_end_of_the_connection_loses_the_evaluation_at_once(open_desk):
    """A pilot that dies loses its evaluation, which the loop may submit again, and no other."""
    desk = open_desk()
    first, second = desk.connect(0), desk.connect(1)
    futures = [desk.submit(tid) for tid in range(2)]
    for one in (first, second):
        one.take()
    first.connection.close()
    lost = next(future.result(60) for future in as_done(futures))
    assert lost.failure.is_lost
    assert "the worker ended" in lost.failure.message
    assert sum(future.done() for future in futures) == 1


def test_silent_pilot_loses_its_evaluation_and_is_stopped(open_desk):
    """Without a heartbeat the lease expires; what the pilot says later is ignored, and it is ended by force."""
    desk = open_desk(silence=0.3)
    future = desk.submit(0)
    desk.launcher.wait_for(1)
    one = desk.connect(0)
    lease, _ = one.take()
    outcome = future.result(60)
    assert outcome.failure.is_lost
    assert "nothing was heard" in outcome.failure.message
    wait_until(lambda: desk.launcher.stopped)
    again = desk.submit(0)
    with contextlib.suppress(OSError):
        one.reply(lease, 0.1)
    two = desk.connect(1)
    two.reply(two.take()[0], 0.2)
    assert again.result(60).result["loss"] == 0.2


def test_late_reply_of_an_expired_lease_is_ignored(open_desk):
    """A reply under another number than that of the running evaluation changes nothing."""
    desk = open_desk()
    future = desk.submit(0)
    one = desk.connect()
    lease, _ = one.take()
    one.reply(lease - 1, "late")
    one.reply(lease, 0.4)
    assert future.result(60).result["loss"] == 0.4


@pytest.mark.parametrize("kind", [pilot.BEAT, pilot.LOADING])
def test_signs_of_life_keep_an_evaluation(open_desk, monkeypatch, kind):
    """Heartbeats, or one word that the objective is loading, keep a lease beyond the time of silence."""
    clock = types.SimpleNamespace(now=time.monotonic(), monotonic=lambda: clock.now)
    for module in (pilots, connection):
        monkeypatch.setattr(module, "time", clock)
    desk = open_desk(silence=10.0)
    future = desk.submit(0)
    one = desk.connect()
    lease, _ = one.take()
    running = desk.pool._leases[0]
    for n in range(3):
        clock.now += 9.0
        if kind == pilot.BEAT or n == 0:
            one.say(kind, lease)
            wait_until(lambda: running.deadline >= clock.now + 10.0)
        desk.pool._in_loop(desk.pool._look_after)
        assert not future.done()
    one.reply(lease, 0.6)
    assert future.result(60).result["loss"] == 0.6


def test_unknown_messages_are_ignored(open_desk):
    """A pilot of a later version may say more."""
    desk = open_desk()
    future = desk.submit(0)
    one = desk.connect()
    lease, _ = one.take()
    one.say(b"?", lease, b"a report")
    one.reply(lease, 0.3)
    assert future.result(60).result["loss"] == 0.3


def test_objective_that_cannot_be_loaded_breaks_the_run(open_desk):
    """If the objective cannot be loaded on a worker, the future has an exception: no trial can do better."""
    desk = open_desk()
    future = desk.submit(0)
    one = desk.connect()
    error = ("<class 'ModuleNotFoundError'>", "No module named 'x'", "Traceback ...", None)
    reply = {"kind": "unloadable", "error": error, "record": {"host": "there"}}
    one.say(pilot.REPLY, one.take()[0], pickle.dumps(reply))
    with pytest.raises(RuntimeError, match="cannot be loaded on there: No module named 'x'"):
        future.result(60)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelled_evaluation_that_waits_ends_at_once(open_desk):
    """A waiting evaluation is taken out of the queue."""
    desk = open_desk()
    futures = [desk.submit(tid) for tid in range(2)]
    desk.pool.cancel(0)
    assert futures[0].result(60) == Outcome()
    one = desk.connect()
    one.reply(one.take()[0], 0.5)
    assert futures[1].result(60).result["loss"] == 0.5


def test_cancelled_evaluation_that_runs_ends_when_the_pilot_says_so(open_desk):
    """The pilot is told, its word ends the future, and it gets the next evaluation."""
    desk = open_desk()
    futures = [desk.submit(tid) for tid in range(2)]
    one = desk.connect()
    lease, _ = one.take()
    desk.pool.cancel(0)
    assert one.next()[:2] == (pilot.CANCEL, lease)
    assert not futures[0].done()
    one.say(pilot.REPLY, lease, pickle.dumps({"kind": "cancelled", "message": "", "record": {}}))
    assert futures[0].result(60) == Outcome()
    one.reply(one.take()[0], 0.5)
    assert futures[1].result(60).result["loss"] == 0.5


def test_result_that_is_already_on_its_way_survives_a_cancel(open_desk):
    """A result that comes in after the cancel is kept."""
    desk = open_desk()
    future = desk.submit(0)
    one = desk.connect()
    lease, _ = one.take()
    desk.pool.cancel(0)
    one.next()
    one.reply(lease, 0.9)
    assert future.result(60).result["loss"] == 0.9


def test_pilot_that_does_not_confirm_a_cancel_is_given_up(open_desk, monkeypatch):
    """A cancelled evaluation ends all the same, as cancelled and not as lost, and its pilot is stopped."""
    monkeypatch.setattr(connection, "CANCEL_DEADLINE", 0.2)
    desk = open_desk()
    future = desk.submit(0)
    desk.launcher.wait_for(1)
    one = desk.connect(0)
    one.take()
    desk.pool.cancel(0)
    assert future.result(60) == Outcome()
    assert one.has_been_hung_up_on()
    wait_until(lambda: desk.launcher.stopped)


# -- pilots come and go -----------------------------------------------------------------------------------------------


def test_idle_pilot_is_given_back(open_desk):
    """A pilot with nothing to do is told to end after a while."""
    desk = open_desk(idle=0.2)
    one = desk.connect()
    future = desk.submit(0)
    one.reply(one.take()[0], 0.5)
    future.result(60)
    assert one.next().kind == pilot.BYE


def test_busy_pilot_makes_room_for_others_that_wait(open_desk):
    """Where others may wait for its slot, a pilot ends after its turn although there is work; another is started."""
    desk = open_desk(limit=1, turn=0.0, idle=1.0)
    desk.launcher.needed_elsewhere = True
    futures = [desk.submit(tid) for tid in range(1000)]
    desk.launcher.wait_for(1)
    one = desk.connect(0)
    assert desk.launcher.asked.wait(60)
    n_done = 0
    while (message := one.next()).kind == pilot.EVALUATE:
        one.reply(message.lease, 0.5)
        n_done += 1
    assert message.kind == pilot.BYE
    one.connection.close()
    desk.launcher.end(0, "bye")
    desk.launcher.wait_for(2)
    desk.launcher.needed_elsewhere = False
    two = desk.connect(1)
    for _ in range(n_done, 1000):
        two.reply(two.take()[0], 0.5)
    assert all(future.result(60).result["loss"] == 0.5 for future in futures)


def test_busy_pilot_stays_where_nobody_waits(open_desk):
    """A pilot whose slot nobody else needs goes on after its turn."""
    desk = open_desk(limit=1, turn=0.0, idle=1.0)
    futures = [desk.submit(tid) for tid in range(2)]
    one = desk.connect(0)
    lease, _ = one.take()
    for _ in range(2):  # when it is asked again, the first answer has been taken in
        assert desk.launcher.asked.wait(60)
        desk.launcher.asked.clear()
    one.reply(lease, 0.5)
    one.reply(one.take()[0], 0.5)
    assert [future.result(60).result["loss"] for future in futures] == [0.5, 0.5]


def test_pilot_that_ends_early_is_started_again(open_desk, monkeypatch):
    """A start that leads to no connection is repeated while something waits."""
    monkeypatch.setattr(pilots, "BACKOFF", (0.01, 0.01))
    desk = open_desk(limit=1, connection=60)
    future = desk.submit(0)
    for n in range(3):
        desk.launcher.wait_for(n + 1)
        desk.launcher.end(n, "its executor was lost")
    desk.launcher.wait_for(4)
    one = desk.connect(3)
    one.reply(one.take()[0], 0.5)
    assert future.result(60).result["loss"] == 0.5


class Instead:
    """An executor that keeps what it is given."""

    slots = 4

    def __init__(self):
        self.calls, self.cancelled = [], []
        self.futures = {}

    def submit(self, call):
        self.calls.append(call.tid)
        future = self.futures[call.tid] = Future()
        if call.tid != "held":
            future.set_result(Outcome({"status": "ok", "loss": 0.25}))
        return future

    def cancel(self, tid):
        self.cancelled.append(tid)
        self.futures[tid].set_result(Outcome())


@pytest.mark.parametrize("why", ["unreachable", "nobody"])
def test_without_a_pilot_others_evaluate(open_desk, why):
    """If pilots cannot reach the driver, or none comes, what waits and what comes later goes to the substitute."""
    desk = open_desk(substitute=Instead(), connection=0.3 if why == "nobody" else 60)
    waiting = [desk.submit(tid) for tid in range(2)]
    desk.launcher.wait_for(1)
    if why == "unreachable":
        desk.launcher.end(0, "unreachable from there: refused")
    assert [future.result(60).result["loss"] for future in waiting] == [0.25, 0.25]
    assert desk.submit(2).result(60).result["loss"] == 0.25
    [reason] = desk.launcher.replaced
    assert reason.startswith({"unreachable": "unreachable from there", "nobody": "none connected within 0.3 s"}[why])


def test_cancel_reaches_the_substitute(open_desk):
    """An evaluation that was handed over is cancelled where it is."""
    desk = open_desk(substitute=Instead())
    desk.pool.give_up("no reason")
    future = desk.submit("held")
    wait_until(lambda: desk.launcher.substitute.calls)
    desk.pool.cancel("held")
    assert future.result(60) == Outcome()
    assert desk.launcher.substitute.cancelled == ["held"]


def test_nobody_to_evaluate_breaks_the_run(open_desk):
    """If there is no substitute, what waits ends with the error, and so does what comes later."""
    desk = open_desk(connection=0.2)
    for future in (desk.submit(0), desk.submit(1)):
        with pytest.raises(WorkerLostError, match="none connected"):
            future.result(60)


def test_substitute_that_breaks_breaks_the_run(open_desk):
    """An exception of the substitute's ends the evaluation that was handed over."""
    desk = open_desk(substitute=Instead())
    desk.launcher.substitute.futures = None
    desk.pool.give_up("no reason")
    with pytest.raises(TypeError):
        desk.submit(0).result(60)


def test_results_are_freed_with_their_futures(open_desk):
    """Nothing in the pool holds on to a result: it is gone when the future is let go, without the garbage collector."""
    desk = open_desk()
    gc.disable()
    try:
        future = desk.submit(0)
        one = desk.connect()
        one.reply(one.take()[0], 0.5)
        future.result(60)
        wait_until(lambda: not desk.pool._leases)
        remains = weakref.ref(future)
        del future
        wait_until(lambda: remains() is None)
    finally:
        gc.enable()


def test_launcher_that_breaks_breaks_the_run(open_desk):
    """An exception where pilots are started ends what waits."""
    desk = open_desk()
    future = desk.submit(0)
    desk.launcher.wait_for(1)
    desk.launcher.end(0, RuntimeError("Spark is gone"))
    with pytest.raises(RuntimeError, match="Spark is gone"):
        future.result(60)


def test_shutdown_leaves_nothing_behind():
    """After a shutdown with pilots at work, threads and sockets are as before; a second one does nothing."""
    n_threads, n_files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    desk = Desk(limit=2)
    futures = [desk.submit(tid) for tid in range(3)]
    desk.launcher.wait_for(2)
    stranger = socket.create_connection(desk.address)
    stranger.recv(1)
    ones = [desk.connect(0), desk.connect(1)]
    for one in ones:
        one.take()

    def play(one):
        while (message := one.next()).kind != pilot.BYE:
            one.say(pilot.REPLY, message.lease, pickle.dumps({"kind": "cancelled", "message": "", "record": {}}))
        one.connection.close()
        desk.launcher.end(one.number, "bye")

    players = [threading.Thread(target=play, args=(one,)) for one in ones]
    for player in players:
        player.start()
    desk.pool.shutdown(cancel=True)
    desk.pool.shutdown(cancel=True)
    for player in players:
        player.join()
    stranger.close()
    assert [future.result() for future in futures] == [Outcome()] * 3
    assert threading.active_count() == n_threads
    assert len(os.listdir("/proc/self/fd")) == n_files


@pytest.mark.parametrize("step", ["wait", "_end_pilots"])
def test_interrupted_shutdown_leaves_nothing_behind(monkeypatch, step):
    """A second Ctrl-C, while a shutdown waits for trials or for pilots, ends the waiting: pilots are hung up on."""
    n_threads, n_files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    desk = Desk(silence=3600.0)
    desk.submit(0)
    desk.launcher.wait_for(1)
    one = desk.connect(0)
    lease, _ = one.take()

    def interrupt(*_):
        raise KeyboardInterrupt

    if step == "wait":
        monkeypatch.setattr(pilots, "wait", interrupt)
    else:
        monkeypatch.setattr(desk.pool, "_end_pilots", interrupt)
        one.reply(lease, 0.5)
    with pytest.raises(KeyboardInterrupt):
        desk.pool.shutdown(cancel=False)
    assert one.has_been_hung_up_on()
    one.connection.close()
    desk.launcher.end(0, "gone")
    wait_until(lambda: threading.active_count() <= n_threads)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= n_files)


@pytest.mark.parametrize("end", ["connects", "does not"])
def test_pilot_that_starts_during_the_shutdown_is_told_to_end(open_desk, monkeypatch, end):
    """A pilot that comes too late finds an open port and ends; one that does not come is no reason to fall back."""
    monkeypatch.setattr(pilots, "STILLBORN_DEADLINE", 60.0)
    desk = open_desk(substitute=Instead())
    future = desk.submit(0)
    desk.launcher.wait_for(1)
    desk.pool.cancel(0)
    future.result(60)
    shutdown = threading.Thread(target=desk.pool.shutdown, kwargs={"cancel": False})
    shutdown.start()
    wait_until(lambda: desk.pool._is_closing)
    if end == "connects":
        assert desk.connect(0).next().kind == pilot.BYE
        desk.launcher.end(0, "bye")
    else:
        desk.launcher.end(0, "unreachable: refused")
    shutdown.join(60)
    assert not shutdown.is_alive()
    assert desk.launcher.replaced == []


# -- strangers --------------------------------------------------------------------------------------------------------


def test_stranger_is_refused_and_nothing_of_it_is_unpickled(open_desk, bomb, caplog):
    """Who does not know the secret is hung up on, and pilots go on."""
    payload, has_exploded = bomb
    desk = open_desk()
    with socket.create_connection(desk.address) as stranger:
        stranger.settimeout(60)
        assert stranger.recv(len(pilot.MAGIC)) == pilot.MAGIC
        with contextlib.suppress(OSError), caplog.at_level(logging.WARNING, "sparktune"):
            stranger.sendall(frames.LENGTH.pack(len(payload)) + payload + bytes(200))
            while stranger.recv(100):
                pass
    assert "refused" in caplog.text
    future = desk.submit(0)
    one = desk.connect()
    one.reply(one.take()[0], 0.5)
    future.result(60)
    assert not has_exploded()


def test_pilot_with_another_secret_is_refused_by_both_sides(open_desk):
    """A pilot of another run gets no evaluation, and does not take this driver for its own."""
    desk = open_desk()
    assert desk.connect(secret=b"another").wire is None


def test_stranger_that_says_nothing_is_hung_up_on(open_desk, monkeypatch):
    """The handshake has a deadline."""
    monkeypatch.setattr(pilot, "HANDSHAKE_DEADLINE", 0.2)
    desk = open_desk()
    with socket.create_connection(desk.address) as stranger:
        stranger.settimeout(60)
        stranger.recv(pilot.GREETING_BYTES)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""


def test_handshake_that_was_overheard_is_of_no_use(open_desk):
    """What a pilot has said on one connection proves nothing on another."""
    desk = open_desk()
    with socket.create_connection(desk.address) as stranger:
        stranger.settimeout(60)
        nonce = stranger.recv(pilot.GREETING_BYTES)[len(pilot.MAGIC) :]
        said = bytes(pilot.NONCE_BYTES) + pilot.NUMBER.pack(0)
        overheard = said + hmac.digest(SECRET, b"pilot" + bytes(len(nonce)) + said, "sha256")
        stranger.sendall(overheard)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""


def test_forged_reply_loses_the_evaluation_unread(open_desk, bomb):
    """A message without the pilot's seal ends the connection, and nothing in it is unpickled."""
    payload, has_exploded = bomb
    desk = open_desk()
    future = desk.submit(0)
    one = desk.connect()
    lease, _ = one.take()
    genuine = one.wire.seal(pilot.REPLY, lease, payload)
    one.connection.sendall(genuine[:8] + bytes(pilot.SEAL_BYTES) + genuine[8 + pilot.SEAL_BYTES :])
    outcome = future.result(60)
    assert outcome.failure.is_lost
    assert one.has_been_hung_up_on()
    assert not has_exploded()


# -- helpers ----------------------------------------------------------------------------------------------------------


def as_done(futures):
    done = []
    wait_until(lambda: done or done.extend(future for future in futures if future.done()))
    return done
