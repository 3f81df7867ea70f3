"""Linear algebra in one thread."""

import threading

import numpy as np
import pytest
import threadpoolctl

from sparktune import Trials, auto, fmin, gp, hp, rand, tpe
from sparktune.base import Domain
from sparktune.kernels.blas import single_threaded


def n_threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def three_threads():
    """A number that the machine has hardly set by itself."""
    np.linalg.inv(np.eye(2))
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield


def test_one_thread_inside_and_as_many_as_before_outside():
    """The number is one inside, also of an inner context, and restored after an exception."""
    with pytest.raises(KeyError), single_threaded():
        with single_threaded():
            assert n_threads() == {1}
        assert n_threads() == {1}
        raise KeyError
    assert n_threads() == {3}


def test_a_second_search_in_another_thread_changes_nothing():
    """Whoever comes later, and stays longer, neither waits nor keeps the number from being restored."""
    inside, leave = threading.Event(), threading.Event()

    @single_threaded()
    def search():
        inside.set()
        leave.wait(60)

    thread = threading.Thread(target=search)
    with single_threaded():
        thread.start()
        assert inside.wait(60)
        assert n_threads() == {1}
    assert n_threads() == {3}
    leave.set()
    thread.join(60)
    assert n_threads() == {3}


@pytest.mark.parametrize("algo", [tpe, gp, auto])
def test_proposals_use_one_thread(algo):
    """The algorithms with matrices make proposals so."""
    seen = []

    class Watched(np.random.Generator):
        def random(self, *args, **options):
            seen.append(n_threads())
            return super().random(*args, **options)

    domain, trials = Domain(lambda x: x**2, hp.uniform("x", -1, 1)), Trials()
    fmin(domain.fn, domain.expr, rand.suggest, 12, trials=trials, rstate=0, verbose=False)
    algo.propose(domain.space, trials.history(domain.space.labels), Watched(np.random.PCG64(0)), 1)
    assert seen
    assert all(numbers == {1} for numbers in seen)
    assert n_threads() == {3}
