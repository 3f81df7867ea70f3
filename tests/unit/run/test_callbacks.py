"""Callbacks: what they are told, in which order, and what their errors do."""

import threading

import pytest
from studies import states

from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import InvalidTypeError, SerializationError
from sparktune.run.callbacks import Callback, Callbacks

X = hp.uniform("x", -5, 5)
BACKENDS = ["serial", "threads", "processes"]


def trials_of(backend):
    """Trials that run two at a time, where the backend can."""
    return Trials(parallelism=1 if backend == "serial" else 2, backend=backend)


def run(callbacks, trials=None, fn=abs, **options):
    """fmin by random search, 6 trials, quiet, with these callbacks."""
    options = {"algo": rand.suggest, "max_evals": 6, "verbose": False, "rstate": 0, **options}
    return fmin(fn, X, trials=Trials() if trials is None else trials, callbacks=callbacks, **options)


class Recorder(Callback):
    """Keeps what it was told; raises ``error`` at ``event`` of the trial ``tid``, and at the end of the run."""

    def __init__(self, event=None, error=None, tid=2):
        self.told = []
        self._event, self._error, self._tid = event, error, tid

    def _note(self, event, tid, state=None):
        self.told.append((event, tid, state))
        if event == self._event and tid in (self._tid, None):
            raise self._error

    def on_trial_start(self, trials, trial):
        """Note it."""
        self._note("start", trial["tid"], trial["state"])

    def on_trial_end(self, trials, trial):
        """Note it."""
        self._note("end", trial["tid"], trial["state"])

    def on_run_end(self, trials):
        """Note it."""
        self._note("run", None)

    def ids(self, event):
        """Of which trials it was told this."""
        return sorted(tid for name, tid, _ in self.told if name == event)


# -- what they are told ------------------------------------------------------------------------------------------------


def test_order_of_events():
    """Each trial starts as running and ends with its state, one after another, and the run ends last."""
    recorder = Recorder()
    run([recorder], max_evals=2)
    assert recorder.told == [("start", 0, 1), ("end", 0, 2), ("start", 1, 1), ("end", 1, 2), ("run", None, None)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_trial_starts_and_ends_once(backend):
    """In every backend each trial starts once, ends once after it, and the run ends after all."""
    recorder = Recorder()
    run([recorder], trials_of(backend))
    assert recorder.ids("start") == recorder.ids("end") == list(range(6))
    for tid in range(6):
        assert recorder.told.index(("start", tid, 1)) < recorder.told.index(("end", tid, 2))
    assert recorder.told[-1] == ("run", None, None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_they_run_in_the_callers_thread(backend):
    """Callbacks are called in the thread that called fmin, so they need no locks."""
    threads = set()

    class Who:
        def on_trial_start(self, trials, trial):
            threads.add(threading.current_thread())

        on_trial_end = on_trial_start

        def on_run_end(self, trials):
            threads.add(threading.current_thread())

    run([Who()], trials_of(backend))
    assert threads == {threading.current_thread()}


def test_the_result_is_there_at_the_end():
    """At a trial's end its result is in its document and in the trials, the best loss included."""
    seen = []

    class Look:
        def on_trial_end(self, trials, trial):
            assert trial is trials.trials[-1]
            seen.append((trial["result"]["loss"], trials.best_loss))

    trials = Trials()
    run([Look()], trials)
    losses = trials.losses()
    assert seen == [(loss, min(losses[: i + 1])) for i, loss in enumerate(losses)]


@pytest.mark.parametrize(("catch", "expected"), [(False, [(0, 3)]), (True, [(0, 3), (1, 2), (2, 3), (3, 2)])])
def test_failed_trials_end_too(catch, expected):
    """A trial that failed ends with the state of an error, whether or not that ends the run."""
    results = iter([ZeroDivisionError("first"), 1.0] * 2)

    def fn(x):
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    recorder = Recorder()
    if catch:
        run([recorder], fn=fn, max_evals=None, catch_eval_exceptions=True, early_stop_fn=lambda t: (len(t) == 2, []))
    else:
        with pytest.raises(ZeroDivisionError):
            run([recorder], fn=fn)
    assert [(tid, state) for event, tid, state in recorder.told if event == "end"] == expected
    assert recorder.told[-1][0] == "run"


def test_points_and_waiting_trials_start_too():
    """Points to evaluate are started and ended like all others."""
    recorder = Recorder()
    run([recorder], max_evals=1, points_to_evaluate=[{"x": 1.0}, {"x": 2.0}])
    assert recorder.ids("start") == recorder.ids("end") == [0, 1, 2]


def test_trials_that_were_never_started_do_not_end():
    """Trials that are cancelled while they wait are neither started nor ended."""
    recorder = Recorder()
    trials = Trials()
    run([recorder], trials, max_queue_len=6, early_stop_fn=lambda t: (t.n_finished == 2, []))
    assert states(trials) == [2, 2, 4, 4, 4, 4]
    assert recorder.ids("start") == recorder.ids("end") == [0, 1]


def test_several_callbacks_in_their_order():
    """Callbacks are told in their order, each of what it has a method for; None and an empty list are no callbacks."""
    told = []

    class Start:
        def on_trial_start(self, trials, trial):
            told.append("start")

    class End:
        def on_trial_end(self, trials, trial):
            told.append("end")

    run([End(), Start(), End()], max_evals=1)
    assert told == ["start", "end", "end"]
    run([])
    run(None)
    run(iter([Start()]), max_evals=1)
    assert told == ["start", "end", "end", "start"]


def test_a_run_of_no_trials_ends():
    """The end of the run is told even if nothing ran."""
    recorder = Recorder()
    run([recorder], max_evals=0, return_argmin=False)
    assert recorder.told == [("run", None, None)]


# -- what is no callback -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", [5, Recorder(), print])
def test_callbacks_that_are_no_list(callbacks):
    """A single object is refused, with the fix."""
    with pytest.raises(InvalidTypeError, match=r"callbacks is a list of objects, got .*write callbacks=\[\.\.\.\]"):
        run(callbacks)


@pytest.mark.parametrize("callback", [5, None, print, object(), Recorder, "on_trial_end"])
def test_objects_without_a_method(callback):
    """What has none of the methods, classes included, is refused before anything runs; the error names them."""
    trials = Trials()
    with pytest.raises(InvalidTypeError, match="on_trial_start, on_trial_end or on_run_end, got"):
        run([Recorder(), callback], trials)
    assert len(trials) == 0


# -- their errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", [RuntimeError("of the callback"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("event", ["start", "end", "run"])
def test_an_error_ends_the_run(backend, error, event, executor_threads):
    """An error in any event comes out of fmin; results are kept, all that was started has ended, nothing is left."""
    trials, recorder = trials_of(backend), Recorder(event, error)
    before = executor_threads()
    with pytest.raises(type(error)) as caught:
        run([recorder], trials)
    assert caught.value is error
    assert recorder.ids("start") == recorder.ids("end")
    assert recorder.told[-1][0] == "run"
    assert set(states(trials)) <= {2, 4}
    assert states(trials)[2] == {"start": 4, "end": 2, "run": 2}[event]
    assert executor_threads() == before
    run([], trials, max_evals=len(trials) + 2)
    assert states(trials)[-2:] == [2, 2]


def test_callbacks_before_the_one_that_fails_hear_of_the_end():
    """If a callback fails at a trial's start, those that were told of the start are told of the end."""
    first = Recorder()
    with pytest.raises(RuntimeError):
        run([first, Recorder("start", RuntimeError())])
    assert first.told[-3:] == [("start", 2, 1), ("end", 2, 4), ("run", None, None)]


def test_an_interrupted_trial_ends():
    """A trial in the calling thread that Ctrl-C interrupts has ended, as cancelled."""

    def fn(x):
        raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        run([recorder], fn=fn)
    assert recorder.told == [("start", 0, 1), ("end", 0, 4), ("run", None, None)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("event", ["end", "run"])
def test_the_first_cause_comes_first(backend, event, caplog):
    """If the objective's error ends the run, it is the one that is raised; what callbacks raise then is logged."""

    def fn(x):
        raise ZeroDivisionError("of the objective")

    trials = Trials() if backend == "serial" else Trials(backend=backend)
    recorder = Recorder(event, RuntimeError("of the callback"), tid=0)
    if event == "end":  # the callback comes first: the trial's error is in its document
        with pytest.raises(RuntimeError, match="of the callback"):
            run([recorder], trials, fn=fn)
    else:
        with pytest.raises(ZeroDivisionError, match="of the objective"):
            run([recorder], trials, fn=fn)
        assert "of the callback" in caplog.text
    assert trials._dynamic_trials[0]["misc"]["error"] == ("<class 'ZeroDivisionError'>", "of the objective")


def test_errors_while_the_run_ends_are_logged(caplog):
    """While a run is being cancelled, what a callback raises is logged and keeps nothing from its end."""

    class Bad:
        def on_trial_end(self, trials, trial):
            raise RuntimeError(f"of trial {trial['tid']}")

    both = threading.Event()

    def fn(x):
        assert x == 1.0 or both.wait(60)
        return x

    trials = Trials(parallelism=2)
    with pytest.raises(RuntimeError, match="of trial 0"):
        run([Held(both), Bad()], trials, fn=fn, max_evals=0, points_to_evaluate=[{"x": 1.0}, {"x": 2.0}])
    assert states(trials) == [2, 2]
    assert "RuntimeError: of trial 1" in caplog.text
    assert "while the run was ending" in caplog.text


class Held:
    """Lets the other evaluation go when the first one has ended."""

    def __init__(self, event):
        self._event = event

    def on_trial_end(self, trials, trial):
        """Let it go."""
        self._event.set()


def test_a_run_that_cannot_begin_ends():
    """A run whose objective cannot travel ends with that error, and the end is told."""
    recorder, lock = Recorder("run", RuntimeError("of the callback"), tid=None), threading.Lock()
    with pytest.raises(SerializationError):
        run([recorder], Trials(backend="processes"), fn=lambda x: lock and x)
    assert recorder.told == [("run", None, None)]


@pytest.mark.parametrize("backend", ["serial", "threads"])
@pytest.mark.parametrize("event", ["on_trial_start", "on_trial_end"])
def test_a_callback_that_ends_the_trial_itself(backend, event):
    """A callback that changes the state of a running trial's document does not make the run wait for ever."""

    class Meddler:
        pass

    def change(trials, trial):
        if trial["tid"] == 1:
            trial["state"] = 4

    meddler = Meddler()
    setattr(meddler, event, change)
    trials = Trials(backend=backend)
    run([meddler], trials, timeout=60)
    assert states(trials)[0] == states(trials)[-1] == 2
    assert states(trials)[1] == 4


def test_several_as_one():
    """Callbacks passes each event on, and quietly() logs instead of raising, only as long as it is open."""
    recorder = Recorder("run", RuntimeError())
    callbacks = Callbacks([recorder])
    with callbacks.quietly():
        with callbacks.quietly():
            callbacks.run_end(None)
        callbacks.run_end(None)
    with pytest.raises(RuntimeError):
        callbacks.run_end(None)
    assert len(recorder.told) == 3
