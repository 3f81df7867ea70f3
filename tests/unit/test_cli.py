"""The command line, where it is used with other programs."""

import io
import os
import subprocess
import sys

import pytest

from sparktune import Study, cli, hp


@pytest.mark.skipif(os.name != "posix", reason="pipes of other systems end otherwise")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_ends_the_output(tmp_path, unbuffered):
    """Output into a pipe that nobody reads any more, as after ``head``, ends without a traceback."""
    with Study(hp.uniform("x", 0, 1), storage=tmp_path / "study.jsonl") as study:
        study.tell(study.ask(), 1.0)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sparktune", "show", str(tmp_path / "study.jsonl")]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (run.returncode, run.stderr) == (2, "")


class Closed(io.TextIOBase):
    """Output that nobody reads, and that is no file."""

    def write(self, text):
        raise BrokenPipeError


class ClosedWriter:
    """The same, by an object that has no more than what is written to."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("make", [Closed, ClosedWriter])
def test_output_that_is_no_file_may_end_as_well(tmp_path, monkeypatch, make):
    """A program that calls main with a stdout of its own has the exit code, whether that has a file or not."""
    with Study(hp.uniform("x", 0, 1), storage=tmp_path / "study.jsonl") as study:
        study.tell(study.ask(), 1.0)
    monkeypatch.setattr(sys, "stdout", make())
    assert cli.main(["show", str(tmp_path / "study.jsonl")]) == 2


def test_trials_without_a_loss_are_counted(tmp_path, capsys):
    """``sparktune show`` says how many trials failed, and of a study in which all did, why."""
    path = tmp_path / "study.jsonl"
    with Study(hp.uniform("x", 0, 1), storage=path) as study:
        study.tell(study.ask(), {"status": "fail"})
        study.tell(study.ask(), ValueError("no good"))
    cli.main(["show", str(path)])
    assert "ended without a loss: 2; the first one:\ntrial 0 with {'x': " in capsys.readouterr().out
    with Study(hp.uniform("x", 0, 1), storage=path) as study:
        study.tell(study.ask(), 1.0)
    cli.main(["show", str(path)])
    shown = capsys.readouterr().out
    assert "ended without a loss: 2\nbest loss: 1.0" in shown
