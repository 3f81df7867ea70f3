"""Waiting for what comes by itself; the deadlines are generous, for they end a hung test and measure nothing."""

import time

from sparktune.worker import processes


def wait_until(condition, deadline=60):
    """Wait until a condition holds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"it has not come within {deadline} s"
        time.sleep(0.01)


def wait_until_gone(*pids, deadline=60):
    """Wait until processes are gone that are not ours to wait for."""
    wait_until(lambda: not set(pids) & set(processes.parents()), deadline)
