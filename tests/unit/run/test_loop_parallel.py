"""The loop with an executor of several slots."""

import os
import queue
import signal
import threading
from concurrent.futures import Future

import numpy as np
import pytest
from studies import states
from waiting import wait_until

from sparktune import STATUS_OK, Ctrl, Study, Trials, fmin, hp, rand, tpe
from sparktune.early_stop import no_progress_loss
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.run import fminiter, loop
from sparktune.run.replies import lost
from sparktune.run.threads import ThreadsExecutor

SPACE = (hp.uniform("x", 0, 1), Ctrl)


def tid_of(args):
    return args[1].current_trial["tid"]


def minimise(fn, trials, **options):
    options = {
        "algo": rand.suggest,
        "max_evals": 9,
        "verbose": False,
        "rstate": 0,
        "return_argmin": False,
        **options,
    }
    return fmin(fn, SPACE, trials=trials, **options)


def in_background(function, *args, **options):
    """Run in a thread; the error it ends with, if any, is in the list returned with it."""
    errors = []

    def run():
        try:
            function(*args, **options)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def finished(thread):
    thread.join(timeout=60)
    return not thread.is_alive()


def test_never_more_than_the_slots_in_flight(thread_trials, gate):
    """With three slots three trials run; a fourth starts as soon as one ends, while the others still run."""
    trials = thread_trials(3)
    thread, errors = in_background(minimise, lambda args: gate.enter(tid_of(args)) or args[0], trials)
    for slowest, freed in enumerate([1, 2, 3, 4]):  # trial 0 keeps its slot all the time
        gate.wait_until_inside(3)
        assert states(trials).count(1) == 3, slowest
        gate.let_go(freed)
    gate.let_go()
    assert finished(thread) and not errors
    assert gate.most_inside == 3
    assert states(trials) == [2] * 9


def test_a_run_that_can_be_repeated_fills_its_slots(gate):
    """Three trials run at once, and a fourth as soon as the oldest has ended, while the others still run."""
    trials, started = Trials(parallelism=3), []

    def fn(args):
        started.append(tid_of(args))
        gate.enter(tid_of(args))
        return args[0]

    thread, errors = in_background(minimise, fn, trials, reproducible=True)
    for n in range(5):
        wait_until(lambda n=n: len(started) == n + 3)
        gate.let_go(n)
    gate.let_go()
    assert finished(thread) and not errors
    assert gate.most_inside == 3
    assert states(trials) == [2] * 9


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest], ids=["rand", "tpe"])
def test_all_results_arrive(thread_trials, algo):
    """Every trial is run once and every loss belongs to its values, however many run at a time."""
    trials = thread_trials(4)
    minimise(lambda args: args[0] ** 2, trials, algo=algo, max_evals=40)
    assert sorted(trials.tids) == list(range(40))
    assert trials.losses() == [value**2 for value in trials.vals["x"]]
    assert trials.executor.is_shut_down


def test_proposals_asked_for_at_once_fill_the_slots(thread_trials, gate):
    """The algorithm is asked for as many proposals as there are free slots, and never for more than are left."""
    trials, asked = thread_trials(4), []

    def algo(new_ids, *args):
        asked.append(len(new_ids))
        return rand.suggest(new_ids, *args)

    minimise(lambda args: args[0], trials, algo=algo, max_evals=6)
    assert asked[0] == 4
    assert sum(asked) == 6


def test_running_trials_are_told_apart_by_tpe(thread_trials):
    """TPE takes running trials into account: no point is proposed twice."""
    trials = thread_trials(8)
    minimise(lambda args: args[0], trials, algo=tpe.suggest, max_evals=40)
    assert len(set(trials.vals["x"])) == 40


def test_an_error_ends_the_run_and_the_others_are_cancelled(thread_trials, gate):
    """Without catch_eval_exceptions an error comes out at once; trials that run are cancelled, not waited for."""
    trials = thread_trials(3)

    def fn(args):
        if tid_of(args) == 1:
            gate.wait_until_inside(2)
            raise ValueError("trial 1")
        gate.enter(tid_of(args))
        return 0.0

    with pytest.raises(ValueError, match="trial 1"):
        minimise(fn, trials)
    assert states(trials) == [4, 3, 4]
    assert sorted(trials.executor.cancelled) == [0, 2]
    assert trials.executor.is_shut_down


def test_errors_that_are_caught_end_their_trial_only(thread_trials):
    """With catch_eval_exceptions the other trials are untouched."""
    trials = thread_trials(3)

    def fn(args):
        if tid_of(args) % 3 == 0:
            raise ValueError("each third")
        return args[0]

    minimise(fn, trials, catch_eval_exceptions=True)
    assert [document["tid"] for document in trials._dynamic_trials if document["state"] == 3] == [0, 3, 6]


def test_an_error_of_the_algorithm_comes_out_and_running_trials_are_cancelled(thread_trials, gate):
    """An exception in the algorithm ends the run; finished trials are kept."""
    trials = thread_trials(3)

    def algo(new_ids, *args):
        if new_ids[0] > 0:
            raise RuntimeError("the algorithm broke")
        return rand.suggest(new_ids, *args)

    def fn(args):
        if tid_of(args) == 0:
            gate.wait_until_inside(2)
            return 0.5
        gate.enter(tid_of(args))
        return 0.0

    with pytest.raises(RuntimeError, match="the algorithm broke"):
        minimise(fn, trials, algo=algo)
    assert states(trials) == [2, 4, 4]
    assert trials.losses() == [0.5]


@pytest.mark.parametrize(
    "options",
    [{"loss_threshold": 0.5}, {"early_stop_fn": lambda trials: (trials.best_loss is not None, [])}],
    ids=["loss_threshold", "early_stop_fn"],
)
def test_a_stop_cancels_what_runs(thread_trials, gate, options):
    """When the run is to end, running trials are cancelled; the run can be resumed."""
    trials = thread_trials(3)

    def fn(args):
        if tid_of(args) == 0:
            gate.wait_until_inside(2)
            return 0.0
        gate.enter(tid_of(args))
        return 1.0

    minimise(fn, trials, **options)
    assert states(trials) == [2, 4, 4]
    gate.let_go()
    minimise(fn, trials, max_evals=4)
    assert sorted(states(trials)) == [2, 2, 2, 2, 4, 4]


def test_a_timeout_cancels_what_runs(thread_trials, gate):
    """When the time is over, the loop does not wait for trials that run."""
    trials = thread_trials(2)
    minimise(lambda args: gate.enter(tid_of(args)), trials, timeout=0.01)
    assert states(trials) == [4, 4]


def test_results_that_are_in_when_a_cancel_comes_are_kept(thread_trials):
    """A trial that ended before it was cancelled keeps its loss, though the loop had not read it yet."""
    trials = thread_trials(3)
    barrier, all_in = threading.Barrier(3), threading.Event()

    def fn(args):
        barrier.wait(timeout=60)
        return float(tid_of(args))

    def rule(trials):
        all_in.wait(timeout=60)
        return True, []

    class Watching(type(trials)):
        def make_executor(self, domain):
            executor = super().make_executor(domain)
            submit, n_in = executor.submit, []

            def counted(call):
                future = submit(call)
                future.add_done_callback(lambda done: n_in.append(1) or (len(n_in) == 3 and all_in.set()))
                return future

            executor.submit = counted
            return executor

    trials = Watching(3)
    minimise(fn, trials, early_stop_fn=rule)
    assert states(trials) == [2, 2, 2]
    assert trials.losses() == [0.0, 1.0, 2.0]


def test_no_progress_loss_counts_finished_trials_only(thread_trials, gate):
    """Trials that run do not count as trials without progress."""
    trials = thread_trials(4)

    def fn(args):
        if tid_of(args) == 0:
            gate.enter(0)
        return 1.0

    minimise(fn, trials, early_stop_fn=no_progress_loss(10), max_evals=100)
    # Results that come in together count one by one, except that the first best loss may come with two others.
    assert 10 <= states(trials).count(2) <= 10 + 2 + 3
    assert states(trials)[0] == 4


def test_an_interrupt_while_trials_run_elsewhere(thread_trials, gate):
    """Ctrl-C while the loop waits cancels what runs, keeps what finished, and comes out; the run can be resumed."""
    trials = thread_trials(3)

    def fn(args):
        if tid_of(args) == 0:
            return 0.0
        if tid_of(args) == 1:
            gate.wait_until_inside(2)
            os.kill(os.getpid(), signal.SIGINT)  # comes in the main thread, as from a terminal
            return 1.0
        gate.enter(tid_of(args))
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        minimise(fn, trials)
    assert states(trials)[0] == 2
    assert states(trials)[1] in (2, 4)  # whichever came first, its result or the interrupt
    assert set(states(trials)[2:]) == {4}
    gate.let_go()
    minimise(lambda args: 1.0, trials, max_evals=5)
    assert len(trials) == 5
    assert set(states(trials)) == {2, 4}


def test_an_executor_that_breaks_ends_the_run(thread_trials):
    """An exception in a future is the backend's: it comes out, and no trial is left running."""

    class Broken(thread_trials):
        def make_executor(self, domain):
            executor = super().make_executor(domain)

            def submit(call):
                if call.tid != 1:
                    return type(executor).submit(executor, call)
                future = executor._futures[call.tid] = Future()
                future.set_exception(ConnectionError("the cluster is gone"))
                return future

            executor.submit = submit
            return executor

    trials = Broken(2)
    with pytest.raises(ConnectionError, match="the cluster is gone"):
        minimise(lambda args: args[0], trials)
    assert set(states(trials)) <= {2, 4}
    assert states(trials)[1] == 4


def test_trials_that_do_not_stop_are_given_up(thread_trials, gate, monkeypatch, caplog):
    """A cancelled trial that does not end in time is recorded as cancelled all the same, with a warning."""
    monkeypatch.setattr(loop, "CANCEL_DEADLINE", 0.0)

    class Deaf(thread_trials):
        def make_executor(self, domain):
            executor = super().make_executor(domain)
            executor.cancel = lambda tid: None
            return executor

    trials = Deaf(2)
    minimise(lambda args: gate.enter(tid_of(args)), trials, timeout=0.01)
    assert states(trials) == [4, 4]
    assert "did not stop within" in caplog.text


def test_results_that_come_after_all_are_dropped(thread_trials, gate, monkeypatch):
    """What a trial that was given up returns later does not disturb the run that goes on with the same FMinIter."""
    monkeypatch.setattr(loop, "CANCEL_DEADLINE", 0.0)
    trials = thread_trials(2)
    domain = loop.Domain(lambda args: gate.enter(tid_of(args)) or 0.0, SPACE)
    executor = trials.make_executor(domain)
    executor.cancel = lambda tid: None
    came = threading.Event()

    def algo(new_ids, *args):
        if new_ids[0] == 2:  # ids 0 and 1 were the first call's
            raise RuntimeError("once")
        return rand.suggest(new_ids[:1], *args)

    iterator = fminiter.FMinIter(algo, domain, trials, rstate=np.random.default_rng(0), executor=executor, max_evals=3)
    with pytest.raises(RuntimeError, match="once"):
        iterator.exhaust()
    assert states(trials) == [4]
    executor._futures[0].add_done_callback(lambda done: came.set())
    gate.let_go()
    assert came.wait(timeout=60)
    iterator.exhaust()
    assert states(trials) == [4, 2, 2, 2]


def test_an_interrupt_just_when_a_result_is_taken(thread_trials):
    """A result that was on its way into the loop when Ctrl-C came is kept, and nothing is waited for."""

    class Interrupted(queue.SimpleQueue):
        def get(self, *args, **options):
            super().get(*args, **options)
            raise KeyboardInterrupt

    trials = thread_trials(1)
    domain = loop.Domain(lambda args: 0.5, SPACE)
    executor = trials.make_executor(domain)
    iterator = fminiter.FMinIter(rand.suggest, domain, trials, rstate=0, executor=executor, max_evals=3)
    iterator._inbox = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        iterator.exhaust()
    assert states(trials) == [2]
    assert trials.losses() == [0.5]


def test_an_interrupt_just_when_a_trial_is_started(thread_trials, gate):
    """A trial whose start was interrupted is not left running in the documents."""

    class Interrupted(thread_trials):
        def make_executor(self, domain):
            executor = super().make_executor(domain)

            def submit(call):
                type(executor).submit(executor, call)
                if call.tid == 1:
                    raise KeyboardInterrupt
                return executor._futures[call.tid]

            executor.submit = submit
            return executor

    trials = Interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        minimise(lambda args: gate.enter(tid_of(args)), trials)
    assert states(trials) == [4, 4, 4]


def test_results_at_the_same_time_are_checked_against_each_other(thread_trials):
    """Of trials that end together, those with another number of losses than the first recorded fail, one by one."""
    together = threading.Barrier(3)

    def fn(args):
        together.wait(timeout=60)
        return {"status": STATUS_OK, "losses": np.arange(1.0, 4.0 if tid_of(args) == 1 else 3.0)}

    trials = thread_trials(3)
    minimise(fn, trials, max_evals=3, catch_eval_exceptions=True)
    kinds = [len(document["result"].get("losses", ())) for document in trials._dynamic_trials]
    assert (states(trials), kinds) in [([2, 3, 2], [2, 0, 2]), ([3, 2, 3], [0, 3, 0])]
    assert trials.front_losses.tolist() in [[[1, 2]], [[1, 2, 3]]]


class LosesExecutor(ThreadsExecutor):
    """Loses the first evaluations of some trials: {tid: how many}."""

    def __init__(self, domain, losses):
        super().__init__(domain, 2)
        self.losses = dict(losses)
        self.calls = []

    def _run(self, call, slot):
        self.calls.append((call.tid, dict(call.raw)))
        if self.losses.get(call.tid, 0) > 0:
            self.losses[call.tid] -= 1
            return lost(f"machine {len(self.calls)} went away")
        return super()._run(call, slot)


class LosesTrials(Trials):
    def __init__(self, losses, max_retries):
        super().__init__()
        self.losses_by_tid = losses
        self.max_retries = max_retries

    def make_executor(self, domain):
        self.executor = LosesExecutor(domain, self.losses_by_tid)
        return self.executor


def test_lost_trial_is_submitted_again_with_the_same_parameters(caplog):
    """A trial that was lost comes back once more, is said so, and the run has as many trials as asked for."""
    trials = LosesTrials({3: 1}, max_retries=1)
    with caplog.at_level("WARNING", "sparktune"):
        minimise(lambda args: args[0], trials)
    assert states(trials) == [JOB_STATE_DONE] * 9
    (first, again) = [raw for tid, raw in trials.executor.calls if tid == 3]
    assert first == again
    assert len(trials.executor.calls) == 10
    assert "went away" in trials.trials[3]["misc"]["run"]["attempts"][0]["error"]
    assert caplog.text.count("trial 3 was lost and is evaluated again") == 1


def test_the_death_of_a_driver_is_no_attempt_of_the_trial(tmp_path):
    """A trial that its driver has not survived may be lost as often as any other."""
    with pytest.raises(KeyboardInterrupt), Study(SPACE, rand.suggest, storage=tmp_path / "study") as study:
        study.ask()
        raise KeyboardInterrupt
    trials = LosesTrials({0: 1}, max_retries=1)
    minimise(lambda args: args[0], trials, storage=tmp_path / "study")
    assert states(trials) == [JOB_STATE_DONE] * 9
    assert len(trials.trials[0]["misc"]["run"]["attempts"]) == 3


@pytest.mark.parametrize(("n_losses", "max_retries", "n_calls"), [(1, 0, 9), (5, 2, 11)])
def test_trial_that_stays_lost_has_failed(n_losses, max_retries, n_calls):
    """After ``max_retries`` further attempts the trial has failed with its reason, and the run goes on."""
    trials = LosesTrials({3: n_losses}, max_retries)
    minimise(lambda args: args[0], trials, catch_eval_exceptions=True)
    assert states(trials) == [JOB_STATE_DONE] * 3 + [JOB_STATE_ERROR] + [JOB_STATE_DONE] * 5
    assert len(trials.executor.calls) == n_calls
    assert "went away" in trials._dynamic_trials[3]["misc"]["error"][1]
    assert len(trials._dynamic_trials[3]["misc"]["run"]["attempts"]) == max_retries + 1


def test_trial_that_is_lost_while_the_run_ends_is_not_submitted_again():
    """What ends while a run is being cancelled is recorded as it ended."""
    trials = LosesTrials({1: 1}, max_retries=5)
    minimise(lambda args: args[0] - 10, trials, loss_threshold=0.0, catch_eval_exceptions=True)
    assert all(state in (JOB_STATE_DONE, JOB_STATE_CANCEL, JOB_STATE_ERROR) for state in states(trials))
    assert len(trials.executor.calls) <= 4


def test_slots_that_change_are_used(gate):
    """An executor whose slots grow by themselves is given more trials without waiting for a result."""

    class Grows(ThreadsExecutor):
        slots_interval = 0.05

        def __init__(self, domain):
            super().__init__(domain, 1)

    class GrowsTrials(Trials):
        def make_executor(self, domain):
            self.executor = Grows(domain)
            return self.executor

    trials = GrowsTrials()
    thread, errors = in_background(minimise, lambda args: gate.enter(tid_of(args)) or args[0], trials)
    gate.wait_until_inside(1)
    trials.executor.slots = 3
    gate.wait_until_inside(3)
    gate.let_go()
    assert finished(thread) and not errors
    assert gate.most_inside == 3
