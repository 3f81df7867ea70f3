"""Output of evaluations in this process: to each its own, and everything to the original streams as well."""

import contextlib
import contextvars
import copy
import io
import logging
import sys
import threading

import cloudpickle
import pytest
from tqdm import tqdm

from sparktune.run.capture import MAX_LOG_BYTES, capture


@pytest.fixture
def replace_streams(monkeypatch):
    """Puts streams without a fileno, such as a notebook has, in the place of stdout and stderr; returns them."""

    def replace_streams():  # within the test: before it begins, pytest sets its own once more
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return replace_streams


@pytest.fixture
def logger():
    """A logger of the test's own, which passes records on to the root logger."""
    logger = logging.getLogger("sparktune.test_capture")
    yield logger
    logger.handlers.clear()
    logger.propagate = True


def in_threads(*functions):
    """Run all at once; the text that each returned."""
    texts = {}

    def run(function):
        texts[function] = function()

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [texts[function] for function in functions]


def test_prints_are_captured_and_still_printed(replace_streams):
    """Both streams go into the log in the order of writing, and to where they went before."""
    streams = replace_streams()
    with capture() as log:
        print("loss", 0.5)
        print("careful", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
    assert log.text() == "loss 0.5\ncareful\na\nb\n"
    assert [stream.getvalue() for stream in streams] == ["loss 0.5\na\nb\n", "careful\n"]


def test_originals_come_back(replace_streams):
    """Outside a capture the streams and logging are those of before, after an error too."""
    streams = replace_streams()
    method = logging.Logger.callHandlers
    with pytest.raises(ZeroDivisionError), capture():
        assert sys.stdout is not streams[0]
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == streams
    assert logging.Logger.callHandlers is method


def test_what_comes_after_is_not_captured(replace_streams):
    """A log keeps its text and takes no more once its capture is over."""
    replace_streams()
    with capture() as log:
        print("within")
    print("after")
    assert log.text() == "within\n"


def test_threads_have_logs_of_their_own(replace_streams):
    """Of evaluations at the same time each gets what it printed, although they take turns line by line."""
    streams = replace_streams()
    turn = threading.Barrier(3, timeout=60)

    def evaluation(name):
        def run():
            with capture() as log:
                for i in range(20):
                    turn.wait()
                    print(name, i)
            return log.text()

        return run

    texts = in_threads(*map(evaluation, "abc"))
    assert texts == ["".join(f"{name} {i}\n" for i in range(20)) for name in "abc"]
    assert sorted(streams[0].getvalue().splitlines()) == sorted("".join(texts).splitlines())


def test_tees_stay_until_the_last_capture_is_over(replace_streams):
    """The end of one capture leaves another in place, whichever began first."""
    streams = replace_streams()
    first, second = capture(), capture()
    log = first.__enter__()
    with second as inner:
        assert sys.stdout is not streams[0]
    print("still here")
    first.__exit__(None, None, None)
    assert inner.text() == ""
    assert log.text() == "still here\n"
    assert sys.stdout is streams[0]


def test_a_closed_log_lets_go_of_the_streams(replace_streams):
    """An evaluation that was given up prints on, but neither keeps the tees in place nor adds to its log."""
    streams = replace_streams()
    with capture() as log:
        print("in time")
        log.close()
        assert sys.stdout is streams[0]
        print("late")
    assert log.text() == "in time\n"
    assert streams[0].getvalue() == "in time\nlate\n"
    with capture() as log:  # the count of open logs is right all the same
        print("again")
    assert log.text() == "again\n"
    assert sys.stdout is streams[0]


def test_inner_text_belongs_to_the_outer_log_too(replace_streams):
    """A capture within a capture gets its own text; the outer one gets all of it, once."""
    replace_streams()
    with capture() as outer:
        print("before")
        with capture() as inner:
            print("inside")
        print("after")
    assert inner.text() == "inside\n"
    assert outer.text() == "before\ninside\nafter\n"


def test_own_threads_need_a_copy_of_the_context(replace_streams):
    """A thread started by the objective is captured if it runs in a copy of its context, and prints either way."""
    streams = replace_streams()

    def run_in_thread(target, *args):
        thread = threading.Thread(target=target, args=args)
        thread.start()
        thread.join(timeout=60)

    with capture() as log:
        run_in_thread(contextvars.Context().run, print, "without")
        run_in_thread(contextvars.copy_context().run, print, "with")
    assert log.text() == "with\n"
    assert streams[0].getvalue() == "without\nwith\n"


# -- logging ----------------------------------------------------------------------------------------------------------


def test_log_records_are_captured_with_tracebacks(logger):
    """A record gives a line with level, name and message, and its traceback if it has one."""
    with capture() as log:
        logger.warning("%d trees", 7)
        try:
            raise ValueError("too deep")
        except ValueError:
            logger.exception("failed")
    first, second, *lines = log.text().splitlines()
    assert first == "WARNING sparktune.test_capture: 7 trees"
    assert second == "ERROR sparktune.test_capture: failed"
    assert lines[-1] == "ValueError: too deep"


def test_levels_hold(logger):
    """What a logger's level rejects is not captured either."""
    logger.setLevel(logging.INFO)
    with capture() as log:
        logger.debug("no")
        logger.info("yes")
    logger.setLevel(logging.NOTSET)
    assert log.text() == "INFO sparktune.test_capture: yes\n"


def test_a_record_is_captured_once(replace_streams, logger):
    """A handler that writes to the captured stream does not double a record, and does get it."""
    streams = replace_streams()
    with capture() as log:
        handler = logging.StreamHandler()  # to the stderr of now, the tee
        logger.addHandler(handler)
        logger.warning("once")
    assert log.text() == "WARNING sparktune.test_capture: once\n"
    assert streams[1].getvalue() == "once\n"


def test_loggers_that_do_not_propagate_are_captured(logger):
    """It does not matter which handlers a logger has, or whether the root logger hears of it."""
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    with capture() as log:
        logger.warning("heard")
    assert log.text() == "WARNING sparktune.test_capture: heard\n"


def test_basic_config_works_within(replace_streams, monkeypatch):
    """An objective that configures logging does configure it: no handler of ours is in the way."""
    streams = replace_streams()
    root = logging.Logger("root of the test", logging.WARNING)
    monkeypatch.setattr(logging, "root", root)
    with capture() as log:
        logging.basicConfig(format="basic: %(message)s", stream=sys.stderr)
        root.warning("text")
    assert len(root.handlers) == 1
    assert streams[1].getvalue() == "basic: text\n"
    assert log.text() == "WARNING root of the test: text\n"


def test_a_record_that_cannot_be_formatted_is_no_error(replace_streams, logger):
    """Arguments that do not fit the message end up in the log as they are."""
    replace_streams()
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    with capture() as log:
        logger.warning("%d", "seven")
    assert log.text() == "WARNING sparktune.test_capture: %d ('seven',)\n"


# -- how much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "é", "🌲"])
def test_only_the_end_is_kept(replace_streams, letter):
    """At most 8 KiB of UTF-8 are kept, cut between characters, whether printed at once or in many pieces."""
    replace_streams()
    n = MAX_LOG_BYTES // len(letter.encode())
    with capture() as log:
        for _ in range(50):
            print(letter * 1000, end="")
        print("!", end="")
    assert log.text() == letter * (n - 1) + "!"
    with capture() as log:
        print("start" + letter * 50_000 + "!", end="")
    assert log.text() == letter * (n - 1) + "!"


def test_memory_is_bounded(replace_streams):
    """However much is printed, a log holds a few times its limit."""
    replace_streams()
    with capture() as log:
        for i in range(20_000):
            print(i)
            if i % 100 == 0:
                assert sum(map(len, log._pieces)) <= 5 * MAX_LOG_BYTES
    assert log.text().endswith("19999\n")


def test_of_a_progress_bar_the_last_state_is_kept(replace_streams):
    """tqdm works on the tee, and its hundreds of states do not push other lines out of the log."""
    streams = replace_streams()
    with capture() as log:
        print("before")
        for _ in tqdm(range(1000), mininterval=0, ascii=True, desc="fit"):
            pass
        print("after")
    before, bar, after = log.text().splitlines()
    assert (before, after) == ("before", "after")
    assert bar.startswith("fit: 100%|") and "1000/1000" in bar
    assert streams[1].getvalue().count("\r") > 500


def test_line_ends_of_windows_stay(replace_streams):
    """A carriage return before a line feed overwrites nothing."""
    replace_streams()
    with capture() as log:
        print("one\r\ntwo\r\n", end="")
    assert log.text() == "one\r\ntwo\r\n"


def test_lone_surrogates_do_not_break_it(replace_streams):
    """Text that UTF-8 cannot express is replaced."""
    replace_streams()
    with capture() as log:
        print("file \udc80")
    assert log.text() == "file ?\n"


# -- others who meddle with the streams -------------------------------------------------------------------------------


def test_a_tee_is_its_stream_in_all_else():
    """Attributes and methods are those of the stream behind it; copies and pickles are the stream of that name."""
    stream = sys.stdout
    with capture():
        assert sys.stdout.fileno() == stream.fileno()
        assert sys.stdout.encoding == stream.encoding
        assert not sys.stdout.isatty()
        sys.stdout.flush()
        assert copy.copy(sys.stdout) is sys.stdout
        assert cloudpickle.loads(cloudpickle.dumps(sys.stderr)) is sys.stderr
        with pytest.raises(AttributeError, match="no_such"):
            sys.stdout.no_such  # noqa: B018


def test_redirects_within_work(replace_streams):
    """``contextlib.redirect_stdout`` in an objective gets the text, and gives the tee back."""
    streams = replace_streams()
    inside = io.StringIO()
    with capture() as log:
        with contextlib.redirect_stdout(inside):
            print("elsewhere")
        print("here")
    assert inside.getvalue() == "elsewhere\n"
    assert log.text() == "here\n"
    assert sys.stdout is streams[0]


def test_a_stream_put_before_the_tee_stays(replace_streams):
    """Who replaces the stream meanwhile keeps what he set; putting our tee back later does no harm."""
    streams = replace_streams()
    capturing = capture()
    capturing.__enter__()
    tee, own = sys.stdout, io.StringIO()
    sys.stdout = own
    capturing.__exit__(None, None, None)
    assert sys.stdout is own
    sys.stdout = tee
    print("plain")
    with capture() as log:
        print("captured")
    assert log.text() == "captured\n"
    assert streams[0].getvalue() == "plain\ncaptured\n"
    assert sys.stdout is streams[0]


def test_a_wrapper_around_the_tee_doubles_nothing(replace_streams):
    """With a tee behind someone's wrapper and one before it, text is captured and printed once."""
    streams = replace_streams()

    class Wrapper(io.StringIO):
        def write(self, text):
            return tee.write(text)

    capturing = capture()
    capturing.__enter__()
    tee = sys.stdout
    sys.stdout = wrapper = Wrapper()
    capturing.__exit__(None, None, None)
    with capture() as log:
        print("text")
    assert log.text() == "text\n"
    assert streams[0].getvalue() == "text\n"
    assert sys.stdout is wrapper


def test_a_missing_stream_is_no_error(monkeypatch):
    """Programs without a console, where sys.stdout is None, are left so."""
    monkeypatch.setattr(sys, "stdout", None)
    with capture() as log:
        print("nowhere")
        assert sys.stdout is None
    assert log.text() == ""
