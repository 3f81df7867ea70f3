"""``Trials(parallelism=, backend=)``: one API in the calling thread, in threads and in processes."""

import copy
import os
import pickle
import signal
import threading

import numpy as np
import pytest
from studies import states

from sparktune import STATUS_FAIL, STATUS_OK, Trials, auto, fmin, hp, partial, rand
from sparktune.exceptions import (
    AllTrialsFailed,
    InvalidArgumentError,
    InvalidLoss,
    InvalidTypeError,
    ObjectiveError,
    SerializationError,
    TrialTimeoutError,
)
from sparktune.fmin import fmin_pass_expr_memo_ctrl

BACKENDS = ["serial", "threads", "processes"]
PARALLEL = ["threads", "processes"]
X = hp.uniform("x", -5, 5)
NUMBER = hp.choice("i", list(range(9)))


def trials_of(backend, **options):
    """Trials that run two at a time, where the backend can."""
    return Trials(parallelism=1 if backend == "serial" else 2, backend=backend, **options)


def run(fn, trials, space=X, **options):
    """fmin by random search, 6 trials, quiet, unless told otherwise."""
    return fmin(
        fn, space, trials=trials, **{"algo": rand.suggest, "max_evals": 6, "verbose": False, "rstate": 0} | options
    )


def run_numbers(fn, trials, n, **options):
    """fmin with ``fn`` at 0, 1, and so on below n."""
    return run(fn, trials, NUMBER, max_evals=0, points_to_evaluate=[{"i": i} for i in range(n)], **options)


# -- the arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "backend", "parallelism"),
    [
        ({}, "serial", 1),
        ({"parallelism": 1}, "serial", 1),
        ({"parallelism": 3}, "threads", 3),
        ({"parallelism": np.int64(3)}, "threads", 3),
        ({"backend": "serial"}, "serial", 1),
        ({"backend": "threads"}, "threads", 1),
        ({"parallelism": 2, "backend": "processes"}, "processes", 2),
    ],
)
def test_the_backend_that_arguments_stand_for(arguments, backend, parallelism):
    """Without a backend, one trial at a time is serial, and several are threads."""
    trials = Trials(**arguments)
    assert (trials.backend, trials.parallelism) == (backend, parallelism)
    assert type(trials.parallelism) is int


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"parallelism": 0}, InvalidArgumentError, r"1 or more.*got 0: write os\.cpu_count\(\)"),
        ({"parallelism": -1}, InvalidArgumentError, "got -1"),
        ({"parallelism": True}, InvalidTypeError, "got True"),
        ({"parallelism": 2.0}, InvalidTypeError, "got 2.0"),
        ({"parallelism": None}, InvalidTypeError, "got None"),
        ({"backend": "spark"}, InvalidArgumentError, "'serial', 'threads', 'processes', or None, got 'spark'"),
        ({"backend": 2}, InvalidArgumentError, "got 2"),
        ({"backend": "serial", "parallelism": 2}, InvalidArgumentError, 'give "threads" or "processes"'),
        ({"trial_timeout": 5}, InvalidArgumentError, 'give backend="threads"'),
        ({"trial_timeout": 0, "backend": "threads"}, InvalidArgumentError, "trial_timeout .*above 0"),
        ({"trial_timeout": "5", "backend": "threads"}, InvalidTypeError, "trial_timeout is a number"),
        ({"trial_memory": "1g"}, InvalidArgumentError, 'got backend="serial": give backend="processes"'),
        ({"trial_memory": "1g", "backend": "threads"}, InvalidArgumentError, 'got backend="threads"'),
        ({"trial_memory": "much", "backend": "processes"}, InvalidTypeError, "trial_memory is a number of bytes"),
        ({"max_retries": -1}, InvalidArgumentError, "max_retries is 0"),
        ({"max_retries": 1.0}, InvalidTypeError, "max_retries is a whole number"),
    ],
)
def test_arguments_out_of_their_rule(arguments, error, message):
    """Each argument is checked when the object is made; the error says the rule, the value and the fix."""
    with pytest.raises(error, match=message):
        Trials(**arguments)


@pytest.mark.parametrize("copied", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy, lambda t: t.view()])
def test_copies_keep_the_backend(copied):
    """Pickles, copies and views have the limits of the original, and run as it does."""
    limits = {"trial_timeout": 60.0, "trial_memory": 2**30, "max_retries": 2}
    trials = trials_of("processes", **limits)
    run(lambda x: os.getpid(), trials, max_evals=2)
    other = copied(trials)
    assert {name: getattr(other, name) for name in limits} == limits
    assert (other.backend, other.parallelism) == ("processes", 2)
    run(lambda x: os.getpid(), other, max_evals=4)
    assert os.getpid() not in other.losses()
    assert states(other) == [2] * 4


# -- the same in every backend -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("algo", [rand.suggest, partial(auto.suggest, n_startup_jobs=4)], ids=["rand", "auto"])
def test_runs_to_the_end(backend, algo, executor_threads):
    """A run has all its trials, each with its own result, and leaves no thread behind."""
    before, trials = executor_threads(), trials_of(backend)
    best = run(lambda x: x**2, trials, algo=algo, max_evals=10)
    assert states(trials) == [2] * 10
    assert trials.losses() == pytest.approx([x**2 for x in trials.vals["x"]])
    assert best == trials.argmin
    assert len(set(trials.tids)) == 10
    assert executor_threads() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_goes_on_with_another_run(backend):
    """A second fmin on the same object adds to it, and has new points for the same seed."""
    trials = trials_of(backend)
    for n in (3, 7):
        run(lambda x: x, trials, max_evals=n)
    assert len(set(trials.vals["x"])) == 7


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_come_first(backend):
    """points_to_evaluate are evaluated, on top of max_evals, by option or index."""
    trials = trials_of(backend)
    space = hp.choice("c", ["a", "b", {"u": hp.uniform("u", 0, 1)}])
    points = [{"c": "b"}, {"c": 0}, {"c": 2, "u": 0.5}]
    run(lambda c: {"status": STATUS_OK, "loss": 0.0, "got": c}, trials, space, max_evals=2, points_to_evaluate=points)
    assert [result["got"] for result in trials.results[:3]] == ["b", "a", {"u": 0.5}]
    assert len(trials) == 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_attachments_come_back(backend):
    """Attachments of a result are under its trial, and not in the result."""
    trials = trials_of(backend)
    run(lambda x: {"status": STATUS_OK, "loss": x, "attachments": {"model": [x]}}, trials)
    for trial in trials:
        assert trials.trial_attachments(trial)["model"] == [trial["result"]["loss"]]
        assert "attachments" not in trial["result"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_metric_to_be_maximised(backend):
    """direction and metric are those of fmin in every backend."""
    trials = trials_of(backend)
    run(lambda x: {"auc": x}, trials, metric="auc", direction="maximize")
    assert trials.best_params == max(trials.vals["x"])


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_says_where_and_at_which_point(backend):
    """The objective's exception comes out with its class, the line that raised it, the trial and its parameters."""

    def innermost_function(x):
        raise ZeroDivisionError("of the objective")

    with pytest.raises(ZeroDivisionError, match="of the objective") as caught:
        run(innermost_function, Trials(backend=backend), points_to_evaluate=[{"x": 1.5}])
    if hasattr(caught.value, "__notes__"):  # since Python 3.11
        [note] = caught.value.__notes__
        assert note.startswith("raised by trial 0 at {'x': 1.5}")
        frames = [entry.name for entry in caught.traceback]
        assert "innermost_function" in frames or "innermost_function" in note


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors_that_are_caught(backend, caplog):
    """With catch_eval_exceptions a failing trial is recorded, and the others run."""

    def fn(i):
        if i % 2:
            raise ZeroDivisionError(i)
        return -i

    trials = trials_of(backend)
    assert run_numbers(fn, trials, 6, catch_eval_exceptions=True) == {"i": 4}
    assert states(trials) == [2, 3] * 3
    failed = trials._dynamic_trials[1]
    assert failed["misc"]["error"] == ("<class 'ZeroDivisionError'>", "1")
    assert "in fn" in failed["misc"]["traceback"]
    assert [record.levelname for record in caplog.records if "the run goes on" in record.message] == ["WARNING"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_failed(backend):
    """If all trials fail, the error has hyperopt's text and the first traceback; without argmin there is None."""

    def fn(x):
        raise ZeroDivisionError("of the objective")

    with pytest.raises(
        AllTrialsFailed, match="There are no evaluation tasks, cannot return argmin of task losses"
    ) as e:
        run(fn, trials_of(backend), catch_eval_exceptions=True)
    assert "6 trials ended without a loss; the first one:\ntrial 0 with {'x': " in str(e.value)
    assert "in fn" in str(e.value)
    assert run(fn, trials_of(backend), catch_eval_exceptions=True, return_argmin=False) is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("result", [float("nan"), {"status": STATUS_FAIL}])
def test_all_without_a_loss(backend, result):
    """If no trial has a loss, the error shows what the first one returned."""
    with pytest.raises(AllTrialsFailed, match=r"the first one:\ntrial 0 .* returned \{.*'(ok|fail)'"):
        run(lambda x: result, trials_of(backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("result", [None, "text", [1.0]])
def test_what_is_no_result(backend, result):
    """A value that is no result is an InvalidLoss in every backend."""
    trials = Trials(backend=backend)
    with pytest.raises(InvalidLoss, match="an objective returns a number or a dict"):
        run(lambda x: result, trials)
    assert states(trials) == [3]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("catch", [False, True])
def test_exceptions_that_cannot_travel(backend, catch):
    """An exception that cannot be pickled is recorded by its name and text, and ends the run with both."""

    class OddError(Exception):
        def __init__(self, one, two):
            super().__init__(one)
            self.lock = threading.Lock()

    def fn(x):
        raise OddError("first", "second")

    trials = Trials(backend=backend)
    with pytest.raises(AllTrialsFailed if catch else (OddError, ObjectiveError), match="first"):
        run(fn, trials, catch_eval_exceptions=catch)
    assert states(trials) == [3] * (6 if catch else 1)
    assert "OddError" in trials._dynamic_trials[0]["misc"]["error"][0]


@pytest.mark.parametrize("backend", PARALLEL)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_exits_in_an_objective_do_not_end_the_program(backend, error):
    """sys.exit in a thread or process of the objective fails its trial, and ends the run as an error with its text."""

    def fn(x):
        raise error

    trials = Trials(backend=backend)
    with pytest.raises(ObjectiveError, match=f"{type(error).__name__}.*\n.*raised by trial 0"):
        run(fn, trials)
    assert states(trials) == [3]
    with pytest.raises(AllTrialsFailed, match=type(error).__name__):
        run(fn, Trials(backend=backend), catch_eval_exceptions=True)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("catch", [False, True])
def test_exits_in_the_calling_thread_go_through(error, catch):
    """In the calling thread sys.exit and Ctrl-C end the run as they are, and cancel the trial."""

    def fn(x):
        raise error

    trials = Trials()
    with pytest.raises(type(error)):
        run(fn, trials, catch_eval_exceptions=catch)
    assert states(trials) == [4]


@pytest.mark.parametrize("captured", ["objective", "argument"])
def test_what_cannot_be_sent_to_a_process(captured):
    """An objective that cannot be pickled is refused before anything runs, with the fix; in threads it runs."""
    lock = threading.Lock()
    fn = (lambda x: lock and x) if captured == "objective" else partial(lambda x, lock: x, lock=lock)
    trials = Trials(backend="processes")
    with pytest.raises(SerializationError, match=r"cannot be pickled to be sent .*open files, locks"):
        run(fn, trials)
    assert len(trials) == 0
    run(fn, Trials(backend="threads"))


def test_results_that_cannot_be_sent_back():
    """A result that cannot be pickled fails its trial, and says why."""
    trials = Trials(backend="processes")
    with pytest.raises(TypeError, match="cannot pickle"):
        run(lambda x: {"status": STATUS_OK, "loss": x, "lock": threading.Lock()}, trials)
    assert states(trials) == [3]


def test_objectives_that_want_the_expression():
    """With expr, memo and ctrl an objective runs in threads; processes refuse it."""

    @fmin_pass_expr_memo_ctrl
    def fn(expr, memo, ctrl):
        ctrl.attachments["seen"] = len(memo)
        return float(sum(memo.values()))

    trials = trials_of("threads")
    run(fn, trials)
    assert trials.losses() == trials.vals["x"]
    assert [trials.trial_attachments(trial)["seen"] for trial in trials] == [1] * 6
    with pytest.raises(InvalidArgumentError, match="pass_expr_memo_ctrl"):
        run(fn, trials_of("processes"))


# -- what ends a run early ---------------------------------------------------------------------------------------------


class Held:
    """Trials other than number 0 stay; the calling thread goes on once number 1 is inside, and then looks again.

    ``folder`` is where those inside leave their names: the objective may run in another process.
    """

    def __init__(self, folder):
        self._inside = str(folder / "inside")
        os.mkfifo(self._inside)

    def objective(self):
        """An objective over NUMBER."""
        inside = self._inside

        def fn(i):
            if i == 0:
                with open(inside) as file:  # until number 1 is there
                    file.read()
                return -1.0
            with open(inside, "w") as file:
                file.write("x")
            import time

            time.sleep(2 if threading.current_thread().name.startswith("sparktune") else 600)
            return 0.0

        return fn


def stop_after_one(trials, *state):
    """An early stop rule: at the first result."""
    return trials.n_finished >= 1, []


class Interrupt:
    """Ctrl-C at the first result."""

    def on_trial_end(self, trials, trial):
        """Send the signal to this process."""
        if trials.n_finished == 1 and not hasattr(self, "sent"):
            self.sent = True
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("backend", PARALLEL)
@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("threshold", {"loss_threshold": -0.5}),
        ("early stop", {"early_stop_fn": stop_after_one}),
        ("interrupt", {"callbacks": [Interrupt()]}),
        ("timeout", {"timeout": 1.5}),
    ],
)
def test_what_runs_is_cancelled(backend, reason, options, tmp_path, monkeypatch):
    """A threshold, an early stop, Ctrl-C and a timeout keep results that are in, and cancel what runs or waits."""
    monkeypatch.setattr(
        "sparktune.run.threads.ThreadsExecutor.__init__.__kwdefaults__", {"timeout": None, "grace": 0.1}
    )
    trials = trials_of(backend)
    if reason == "interrupt":
        options = {"callbacks": [Interrupt()]}
        with pytest.raises(KeyboardInterrupt):
            run_numbers(Held(tmp_path).objective(), trials, 2, **options)
    else:
        assert run_numbers(Held(tmp_path).objective(), trials, 2, **options) == {"i": 0}
    assert states(trials) == [2, 4]
    assert trials.losses()[0] == -1.0


@pytest.mark.parametrize("backend", PARALLEL)
@pytest.mark.parametrize("catch", [False, True])
def test_a_trial_that_takes_too_long(backend, catch, monkeypatch):
    """trial_timeout fails the trial with its limit in the error; whether the run goes on is up to the caller."""
    monkeypatch.setattr(
        "sparktune.run.threads.ThreadsExecutor.__init__.__kwdefaults__", {"timeout": None, "grace": 0.1}
    )
    release = threading.Event()

    def in_thread(i):
        return release.wait(60) and 0.0 if i == 1 else float(i)

    def in_process(i):
        import time

        return time.sleep(600) if i == 1 else float(i)

    trials = trials_of(backend, trial_timeout=0.5)
    fn = in_thread if backend == "threads" else in_process
    try:
        if catch:
            assert run_numbers(fn, trials, 4, catch_eval_exceptions=True) == {"i": 0}
            assert states(trials) == [2, 3, 2, 2]
        else:
            with pytest.raises(TrialTimeoutError, match=r"trial_timeout=0\.5 s.*\nraised by trial 1 at \{'i': 1\}"):
                run_numbers(fn, trials, 2)
            assert states(trials) == [2, 3]
    finally:
        release.set()
    error = trials._dynamic_trials[1]["misc"]["error"]
    assert "TrialTimeoutError" in error[0]
    assert "0.5 s" in error[1]


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_process_that_dies(max_retries, tmp_path):
    """A trial whose process was killed is evaluated again max_retries times, then it has failed; others are not hit."""

    def fn(i):
        if i == 1:
            with open(tmp_path / "attempts", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return float(i)

    trials = trials_of("processes", max_retries=max_retries)
    run_numbers(fn, trials, 4, catch_eval_exceptions=True)
    assert states(trials) == [2, 3, 2, 2]
    assert (tmp_path / "attempts").read_text() == "x" * (1 + max_retries)
    assert "WorkerLostError" in trials._dynamic_trials[1]["misc"]["error"][0]
