"""An executor of threads, for what only shows when trials run at the same time."""

import threading
from concurrent.futures import Future

import pytest

from sparktune import Trials
from sparktune.history.trial import Outcome


class ThreadExecutor:
    """One thread per evaluation; meets ``sparktune.run.executor.Executor``.

    A thread cannot be stopped, so a cancelled evaluation is given up: its future ends at once, and what it returns
    later is dropped.
    """

    def __init__(self, domain, slots):
        self.slots = slots
        self.cancelled = []
        self.is_shut_down = False
        self._domain = domain
        self._futures = {}
        self._lock = threading.Lock()

    def submit(self, call):
        """Start a thread for the evaluation."""
        future = self._futures[call.tid] = Future()
        threading.Thread(target=self._run, args=(call, future), daemon=True).start()
        return future

    def _run(self, call, future):
        self._finish(future, self._domain.outcome(call))

    def _finish(self, future, outcome):
        with self._lock:
            if not future.done():
                future.set_result(outcome)

    def cancel(self, tid):
        """Give up one evaluation."""
        self.cancelled.append(tid)
        self._finish(self._futures[tid], Outcome())

    def shutdown(self, *, cancel=False):
        """Give up all that run."""
        self.is_shut_down = True
        for future in self._futures.values():
            self._finish(future, Outcome())


class ThreadTrials(Trials):
    """Trials that run in threads, ``slots`` at a time."""

    def __init__(self, slots):
        super().__init__()
        self.slots = slots

    def make_executor(self, domain):
        """The executor, kept to be looked at."""
        self.executor = ThreadExecutor(domain, self.slots)
        return self.executor


@pytest.fixture
def thread_trials():
    """The class ``ThreadTrials``."""
    return ThreadTrials


class Gate:
    """Holds evaluations until they are let go; a test that never does ends after a minute rather than never."""

    def __init__(self):
        self.n_inside = 0
        self.most_inside = 0
        self._changed = threading.Condition()
        self._open = set()
        self._is_open_to_all = False

    def enter(self, key):
        """Wait until ``key`` is let go."""
        with self._changed:
            self.n_inside += 1
            self.most_inside = max(self.most_inside, self.n_inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_open_to_all or key in self._open, timeout=60)
            self.n_inside -= 1

    def let_go(self, *keys):
        """Let these pass; all, if none is named."""
        with self._changed:
            self._open.update(keys)
            self._is_open_to_all |= not keys
            self._changed.notify_all()

    def wait_until_inside(self, n):
        """Wait until n evaluations are held at once."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.n_inside >= n, timeout=60)


@pytest.fixture
def gate():
    """A gate that opens when the test is over."""
    gate = Gate()
    yield gate
    gate.let_go()
