"""Printing while a bar is shown: whole lines, above the bar, and the streams as they were afterwards."""

import contextlib
import io
import sys

import cloudpickle
import pytest
from tqdm import tqdm

from sparktune.progress import default_callback, no_progress_callback, tqdm_progress_callback
from sparktune.std_out_err_redirect_tqdm import DummyTqdmFile, std_out_err_redirect_tqdm


@contextlib.contextmanager
def in_memory():
    """Standard output and error, empty. No fixture: pytest sets the streams anew between a fixture and its test."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
        yield stdout, stderr


def test_the_bar_is_away_while_a_line_is_written():
    """On a stream with a bar, a line begins where the bar has been erased, and the bar is drawn again behind it."""
    with in_memory() as (_, stderr), tqdm(total=3, file=stderr, ncols=40), std_out_err_redirect_tqdm():
        print("a line", file=sys.stderr)
    before, after = stderr.getvalue().split("a line\n")
    assert before.endswith("\r")
    assert before.rstrip("\r").split("\r")[-1].strip() == ""
    assert "0/3" in after


def test_lines_are_written_whole():
    """Pieces of a line wait for its end, so that the bar does not come between; what is left is written at the end."""
    with in_memory() as (stdout, _):
        with std_out_err_redirect_tqdm():
            print("one", end=" ")
            assert stdout.getvalue() == ""
            print("line", end="\n\nrest")
            assert stdout.getvalue() == "one line\n\n"
        assert stdout.getvalue() == "one line\n\nrest"


def fail_within_redirection():
    with std_out_err_redirect_tqdm():
        assert isinstance(sys.stderr, DummyTqdmFile)
        raise ZeroDivisionError


def test_streams_come_back_after_an_error():
    """Whatever happens within, afterwards the streams are those of before."""
    with in_memory() as streams:
        with pytest.raises(ZeroDivisionError):
            fail_within_redirection()
        assert (sys.stdout, sys.stderr) == streams


def test_a_program_without_streams_stays_without(monkeypatch):
    """Where standard output is None, as in windowed programs, print still does nothing."""
    monkeypatch.setattr(sys, "stdout", None)
    with std_out_err_redirect_tqdm() as stdout:
        print("nowhere")
        assert stdout is None is sys.stdout


def test_a_stream_travels_by_its_name():
    """A pickled stream is the standard stream of the process that loads it, and otherwise like the one behind it."""
    with std_out_err_redirect_tqdm():
        pickled = [cloudpickle.dumps(stream) for stream in (sys.stdout, sys.stderr)]
        assert sys.stdout.encoding == sys.stdout.file.encoding
    assert [cloudpickle.loads(data) for data in pickled] == [sys.stdout, sys.stderr]


def test_a_run_prints_above_its_bar():
    """The bar of a run counts, shows its postfix, and lets what is printed go above it."""
    with in_memory() as (stdout, stderr):
        with tqdm_progress_callback(initial=0, total=5) as bar:
            bar.postfix = "best loss: 4"
            print("hello")
            bar.update(5)
        assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert stdout.getvalue() == "hello\n"
    assert "5/5" in stderr.getvalue()
    assert "best loss: 4" in stderr.getvalue()


def test_no_progress_shows_nothing():
    """The silent one takes the same calls; the default one is the bar."""
    with in_memory() as streams, no_progress_callback(initial=0, total=5) as bar:
        bar.postfix = "best loss: 4"
        bar.update(5)
    assert [stream.getvalue() for stream in streams] == ["", ""]
    assert default_callback is tqdm_progress_callback
