"""The loop in one thread: interrupts, stepwise runs, and trials that others evaluate."""

import contextlib
import copy
import io
import os
import timeit
from types import SimpleNamespace

import numpy as np
import pytest
from studies import states

from sparktune import Domain, FMinIter, Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidTypeError
from sparktune.history import documents
from sparktune.history.trial import Outcome
from sparktune.run import fminiter
from sparktune.run.arguments import as_generator
from sparktune.run.progress import no_progress_callback

X = hp.uniform("x", -5, 5)


def minimise(fn, **options):
    return fmin(fn, X, **{"algo": rand.suggest, "max_evals": 5, "verbose": False, "rstate": 0, **options})


def minimised(max_evals):
    """Trials of a run."""
    trials = Trials()
    minimise(lambda x: x, trials=trials, max_evals=max_evals)
    return trials


def iteration(fn=lambda x: x, trials=None, **options):
    """An FMinIter over X by random search."""
    trials = Trials() if trials is None else trials
    options = {"rstate": np.random.default_rng(0), "max_evals": 4, **options}
    return FMinIter(rand.suggest, Domain(fn, X), trials, **options)


def test_a_copy_goes_on_by_itself():
    """A run that is copied half-way, as tuners do that look ahead, and its copy end without each other."""
    original = iteration()
    next(original)
    other = copy.deepcopy(original)
    assert (len(other.exhaust().trials), len(original.trials)) == (4, 1)
    assert len(original.exhaust().trials) == 4


#: What ``vars`` of hyperopt 0.3.0's has.
ATTRIBUTES = (
    "algo asynchronous domain early_stop_args early_stop_fn loss_threshold max_evals max_queue_len poll_interval_secs "
    "progress_callback rstate start_time timeout trials trials_save_file verbose"
)


@pytest.mark.parametrize(("catch", "expected"), [(True, [3, 3]), (False, [3])])
def test_a_subclass_says_whether_errors_are_caught(catch, expected):
    """catch_eval_exceptions may be an attribute of the class; the loop's own says False."""
    catching = type("Catching", (FMinIter,), {"catch_eval_exceptions": catch})
    iterator = catching(rand.suggest, Domain(lambda x: 1 / 0, X), Trials(), 0)
    with contextlib.suppress(ZeroDivisionError):
        iterator.run(2)
    assert states(iterator.trials) == expected
    assert FMinIter.catch_eval_exceptions is False


@pytest.mark.parametrize("name", ATTRIBUTES.split())
def test_it_has_the_attributes_that_programs_read(name):
    """What hyperopt's FMinIter shows of a run is there under the same name."""
    assert hasattr(iteration(), name)


def test_attributes_say_what_the_run_goes_by():
    """The clock is hyperopt's, the arguments of the stop rule are its next ones, and the display may be replaced."""
    before, display = timeit.default_timer(), Display()
    iterator = iteration(early_stop_fn=lambda trials, n=0: (False, [n + 1]), verbose=True, show_progressbar=False)
    assert (iterator.verbose, iterator.early_stop_args) == (True, [])
    assert before <= iterator.start_time <= timeit.default_timer()
    assert iterator.progress_callback is no_progress_callback
    iterator.progress_callback = display
    iterator.exhaust()
    assert iterator.early_stop_args == [4]
    assert display.opened == [{"initial": 0, "total": 4}]


# -- interrupts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("catch", [False, True])
def test_an_interrupt_in_the_objective(interrupt, catch):
    """An interrupt comes out; its trial and waiting ones are cancelled, finished ones kept; the run can be resumed."""
    trials, calls = Trials(), []

    def fn(x):
        calls.append(x)
        if len(calls) == 3:
            raise interrupt
        return x

    with pytest.raises(interrupt):
        minimise(fn, trials=trials, catch_eval_exceptions=catch, max_queue_len=4)
    assert states(trials) == [2, 2, 4, 4]
    assert len(trials) == 2
    minimise(fn, trials=trials)
    assert sorted(states(trials)) == [2, 2, 2, 2, 2, 4, 4]
    assert len(calls) == 6


def test_an_interrupt_is_the_reason_of_the_stop():
    """After Ctrl-C the iterator says that it was cancelled, and by whom."""

    def fn(x):
        raise KeyboardInterrupt

    iterator = iteration(fn)
    with pytest.raises(KeyboardInterrupt):
        iterator.exhaust()
    assert iterator.is_cancelled
    assert iterator.stop_reason == "fmin run cancelled by user"


@pytest.mark.parametrize("position", [0, 3])
def test_an_error_of_the_algorithm_comes_out(position):
    """An exception in the algorithm ends the run; finished trials are kept."""
    trials = Trials()

    def algo(new_ids, domain, trials, seed):
        if len(trials) == position:
            raise RuntimeError("the algorithm broke")
        return rand.suggest(new_ids, domain, trials, seed)

    with pytest.raises(RuntimeError, match="the algorithm broke"):
        minimise(lambda x: x, trials=trials, algo=algo)
    assert states(trials) == [2] * position


# -- stepwise ----------------------------------------------------------------------------------------------------------


def test_iterating_runs_one_trial_at_a_time():
    """Each step runs one trial and gives the trials object; the last one ends the iteration instead, as in hyperopt."""
    iterator = iteration()
    assert [len(trials) for trials in iterator] == [1, 2, 3]
    assert states(iterator.trials) == [2] * 4
    assert not iterator.is_cancelled
    with pytest.raises(StopIteration):
        next(iterator)
    assert len(iterator.trials) == 4


def test_steps_and_exhaust_together():
    """exhaust runs what the steps left, and gives the iterator."""
    iterator = iteration()
    next(iterator)
    assert iterator.exhaust() is iterator
    assert len(iterator.trials) == 4


def test_run_adds_as_many_as_are_asked_for():
    """run(N) is N more trials, whatever max_evals says."""
    iterator = iteration()
    iterator.run(2)
    iterator.run(5)
    assert len(iterator.trials) == 7


def test_iterating_ends_with_the_threshold():
    """A stop rule ends the iteration, and its name is kept."""
    iterator = iteration(lambda x: len(iterator.trials) == 1, loss_threshold=1)
    assert [len(trials) for trials in iterator] == [1]
    assert len(iterator.trials) == 2
    assert iterator.stop_reason == "loss threshold reached"


def test_iterating_ends_with_the_algorithm():
    """An algorithm that proposes nothing ends the iteration."""
    iterator = iteration()
    iterator.algo = lambda *args: []
    assert not list(iterator)
    assert not states(iterator.trials)


@pytest.mark.parametrize(("n", "expected"), [(-1, [2, 2, 2]), (2, [2, 2, 0])])
def test_serial_evaluate_runs_new_trials(n, expected):
    """serial_evaluate evaluates the new trials there are, or the first N of them."""
    iterator = iteration()
    iterator.trials.insert_trial_docs(rand.suggest([0, 1, 2], iterator.domain, iterator.trials, 0))
    iterator.serial_evaluate(n)
    assert states(iterator.trials) == expected


def test_random_states_of_every_kind():
    """FMinIter takes what fmin takes as rstate."""
    runs = [iteration(rstate=rstate).exhaust().trials.vals for rstate in (5, np.random.default_rng(5))]
    assert runs[0] == runs[1]
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator


# -- trials that others evaluate ---------------------------------------------------------------------------------------


class Served(Trials):
    """Trials whose new documents some worker evaluates; here, whenever anyone looks."""

    asynchronous = True

    def refresh(self):
        """Let the worker finish what is new, then refresh."""
        for document in self._dynamic_trials:
            if document["state"] == 0:
                documents.start(document, owner="worker")
                loss = document["misc"]["vals"]["x"][0]
                documents.finish(document, Outcome(result={"status": "ok", "loss": loss}))
        super().refresh()


def test_others_evaluate_asynchronous_trials():
    """The run only queues trials where others evaluate them, and waits until they are done."""
    trials = Served()
    iterator = iteration(lambda x: 1 / 0, trials, poll_interval_secs=0.0, max_queue_len=3)
    iterator.exhaust()
    assert states(trials) == [2] * 4
    assert {document["owner"] for document in trials} == {"worker"}


def test_no_more_trials_wait_for_others_than_the_queue_is_long(monkeypatch):
    """While there are so many the run proposes nothing, and goes on when others have taken one."""
    trials, waiting = Trials(), []

    def work(seconds):
        """Somebody evaluates a trial between two looks."""
        new = [document for document in trials._dynamic_trials if document["state"] == 0]
        waiting.append((len(new), seconds))
        documents.start(new[0])
        documents.finish(new[0], Outcome(result={"status": "ok", "loss": 1.0}))

    monkeypatch.setattr(fminiter, "time", SimpleNamespace(sleep=work))
    options = {"asynchronous": True, "max_queue_len": 2, "poll_interval_secs": 7.0, "max_evals": 5}
    iteration(lambda x: 1 / 0, trials, **options).exhaust()
    assert states(trials) == [2] * 5
    assert waiting == [(2, 7.0)] * 4 + [(1, 7.0)]


def test_asynchronous_runs_stop_early():
    """Stop rules hold for trials that others evaluate."""
    trials = Served()
    rule = lambda trials: (len(trials) >= 2, [])  # noqa: E731
    iterator = iteration(trials=trials, poll_interval_secs=0.0, early_stop_fn=rule)
    iterator.exhaust()
    assert len(trials) == 2
    assert iterator.stop_reason == "early stopping condition"


class Workers(Served):
    """The same, of a program that says only to the run that others evaluate its trials."""

    asynchronous = False


def test_a_run_that_is_made_asynchronous_later():
    """Programs set the attribute of a run that they have made."""
    iterator = iteration(lambda x: 1 / 0, Workers(), poll_interval_secs=0.0)
    iterator.asynchronous = True
    iterator.exhaust()
    assert {document["owner"] for document in iterator.trials} == {"worker"}


def test_trials_that_are_done_when_they_are_inserted():
    """A Trials object may have others evaluate what is inserted, before the run looks: such trials are left alone."""
    trials = Workers()
    minimise(lambda x: 1 / 0, trials=trials)
    assert states(trials) == [2] * 5
    assert {document["owner"] for document in trials} == {"worker"}


# -- progress ----------------------------------------------------------------------------------------------------------


class Display:
    """A progress display that keeps what it is told."""

    def __init__(self):
        self.opened = []
        self.updates = []
        self.postfix = None
        self.is_closed = False

    def __call__(self, **options):
        self.opened.append(options)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.is_closed = True

    def update(self, n):
        """Keep the step with the text that goes with it."""
        self.updates.append((n, self.postfix))


def test_a_display_of_ones_own():
    """A factory is called by hyperopt's keywords, told each result with the best loss, and closed."""
    display, losses, trials = Display(), iter([3.0, float("nan"), 2.0, 9.0]), Trials()
    minimise(lambda x: next(losses), trials=trials, max_evals=3, verbose=True, show_progressbar=display)
    minimise(lambda x: next(losses), trials=trials, max_evals=4, verbose=True, show_progressbar=display)
    assert display.opened == [{"initial": 0, "total": 3}, {"initial": 3, "total": 4}]
    assert display.updates == [
        (1, "best loss: 3.0"),
        (1, "best loss: 3.0"),
        (1, "best loss: 2.0"),
        (1, "best loss: 2.0"),
    ]
    assert display.is_closed


def test_trials_that_others_finish_before_the_run_looks_are_progress():
    """A display comes to its total, whoever has evaluated the trials."""
    display = Display()
    minimise(lambda x: 1 / 0, trials=Workers(), show_progressbar=display)
    assert display.opened == [{"initial": 0, "total": 5}]
    assert sum(n for n, _ in display.updates) == 5


def test_trials_of_other_drivers_are_progress(tmp_path):
    """Of a study that another driver works on too, the display counts all trials, those begun before as well."""
    pytest.importorskip("sqlalchemy")
    url, display = f"sqlite:///{tmp_path}/study.db", Display()
    with Study(X, rand.suggest, rstate=1, storage=url) as other:
        begun = other.ask(2)

        def objective(x):
            for trial in begun:
                other.tell(trial, 1.0)
            begun[:] = other.ask(1) if len(other.trials) < 6 else []
            return x

        minimise(objective, storage=url, max_evals=8, show_progressbar=display)
    assert display.opened == [{"initial": 0, "total": 8}]
    assert sum(n for n, _ in display.updates) == 8


def test_trials_of_other_studies_are_no_progress():
    """A warm start does not move the bar."""
    display = Display()
    minimise(lambda x: x, max_evals=3, warm_start=minimised(5), show_progressbar=display)
    assert display.opened == [{"initial": 0, "total": 3}]


def test_a_display_is_closed_after_an_error():
    """The display is left also when the objective raises."""
    display = Display()
    with pytest.raises(ZeroDivisionError):
        minimise(lambda x: x / 0, verbose=True, show_progressbar=display)
    assert display.is_closed


def test_the_default_bar_shows_the_best_loss(capfd):
    """The bar shows how many trials are done and the best loss."""
    minimise(lambda x: 1.5, verbose=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "best loss: 1.5" in shown.err
    assert "5/5" in shown.err


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self):
        return True

    def lines(self):
        """What is on the screen."""
        screen = []
        for written in self.getvalue().split("\n"):
            line = ""
            for text in written.split("\r"):
                line = text + line[len(text) :]
            screen.append(line.rstrip())
        return screen


@contextlib.contextmanager
def on_terminal():
    """Standard output and error are one terminal."""
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        yield terminal


def test_what_an_objective_prints_goes_above_the_bar():
    """On a terminal, each line that is printed is a line of the screen, and the bar is in the last one only."""

    def objective(x):
        print("one", "line")
        print("in", end=" ", flush=True)
        print("pieces")
        return 1.5

    with on_terminal() as terminal:
        minimise(objective, max_evals=3, verbose=True)
    *lines, bar, end = terminal.lines()
    assert lines == ["one line", "in pieces"] * 3
    assert "3/3" in bar
    assert end == ""


def test_pieces_of_a_line_are_seen_at_once():
    """A prompt, or a bar of the objective's own, does not wait for the end of its line."""

    def objective(x):
        print("go on?", end="")
        seen.append(terminal.lines()[-1])
        return 1.5

    seen = []
    with on_terminal() as terminal:
        minimise(objective, max_evals=1, verbose=True)
    assert seen == ["go on?"]


def test_prints_of_a_run_within_an_objective():
    """A run within an objective has a bar of its own, and what is printed in there is on lines of its own, too."""

    def inner(x):
        print("inner")
        return 1.5

    def outer(x):
        minimise(inner, max_evals=1, verbose=True)
        print("outer")
        return 1.5

    with on_terminal() as terminal:
        minimise(outer, max_evals=1, verbose=True)
    assert [line for line in terminal.lines() if "ner" in line or "outer" in line] == ["inner", "outer"]


def test_prints_of_threads_are_above_the_bar():
    """Lines that several trials print at once are whole lines, with no piece of the bar in them."""

    def objective(x):
        for _ in range(200):
            print("a line of some length\n", end="")
        return 1.5

    with on_terminal() as terminal:
        minimise(objective, max_evals=8, verbose=True, trials=Trials(parallelism=4))
    *lines, bar, end = terminal.lines()
    assert lines == ["a line of some length"] * 1600
    assert "8/8" in bar
    assert end == ""


def test_forked_processes_leave_the_bar_alone():
    """Killed while they drew it, they would leave it locked."""

    def objective(x):
        if child := os.fork():
            return os.waitpid(child, 0)[1]
        n = len(terminal.getvalue())
        print("forked")
        os._exit(terminal.getvalue()[n:] != "forked\n")

    trials = Trials()
    with on_terminal() as terminal:
        minimise(objective, max_evals=1, verbose=True, trials=trials)
    assert trials.losses() == [0]


@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
def test_streams_that_are_no_terminal_are_left_alone(stdout):
    """Where nothing is written over, as in a file, in a notebook or with stderr there, print is all there is."""
    stderr = io.StringIO() if stdout is Terminal else Terminal()
    with contextlib.redirect_stdout(stdout()) as printed, contextlib.redirect_stderr(stderr):
        minimise(lambda x: print("a line") or 1.5, max_evals=2, verbose=True)
    assert printed.getvalue() == "a line\na line\n"


@pytest.mark.parametrize(
    "options",
    [{"verbose": False}, {"verbose": False, "show_progressbar": None}]
    + [{"verbose": True, "show_progressbar": nothing} for nothing in (False, 0)],
)
def test_silence(capfd, options):
    """verbose=False and show_progressbar=False silence the bar: nothing on stdout nor stderr."""
    minimise(lambda x: 1.5, **options)
    assert capfd.readouterr() == ("", "")


def test_a_bar_that_was_asked_for_is_shown_without_verbose(capfd):
    """show_progressbar=True and a display of one's own do not depend on verbose."""
    minimise(lambda x: 1.5, verbose=False, show_progressbar=True)
    assert "best loss: 1.5" in capfd.readouterr().err
    display = Display()
    minimise(lambda x: 1.5, verbose=False, show_progressbar=display)
    assert display.is_closed


@pytest.mark.parametrize("display", ["yes", 5, []])
def test_displays_that_are_none(display):
    """Something else in place of a display is refused."""
    with pytest.raises(InvalidTypeError, match=r"show_progressbar is True, False, None for .*, or a function"):
        minimise(lambda x: x, show_progressbar=display)


def test_first_of_many_failures_is_warned_of(caplog):
    """A run that goes on after failures says so once, with the trial and its error, when the first one comes."""

    def objective(x):
        raise ValueError("no such file")

    trials = Trials()
    options = {"catch_eval_exceptions": True, "return_argmin": False, "verbose": False}
    fmin(objective, hp.uniform("x", 0, 1), rand.suggest, 5, trials=trials, **options)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "trial 0 failed, and the run goes on: <class 'ValueError'> no such file" in warnings[0]
