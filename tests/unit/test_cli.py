"""The command line, where it is used with other programs."""

import io
import os
import subprocess
import sys

import pytest

from sparktune import STATUS_OK, Study, cli, hp
from sparktune.pyll import scope


def ended(path, shell="", **environment):
    """What ``sparktune show`` of a study leaves, with redirections of the shell."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "sparktune", "show", str(path)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


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


@pytest.mark.skipif(os.name != "posix", reason="there is no such device or shell")
def test_output_that_cannot_be_written_is_no_difference(tmp_path):
    """On a full disk the exit code is 2 and stderr says why; with no output at all, as of a daemon, it is as usual."""
    path = tmp_path / "study.jsonl"
    with Study(hp.uniform("x", 0, 1), storage=path) as study:
        study.tell(study.ask(), 1.0)
    if os.path.exists("/dev/full"):
        for unbuffered in ("", "1"):
            run = ended(path, ">/dev/full", PYTHONUNBUFFERED=unbuffered)
            assert (run.returncode, run.stderr.count("\n")) == (2, 1)
            assert run.stderr.startswith("sparktune show: ")
            assert "No space left" in run.stderr
    run = ended(path, ">&-")
    assert (run.returncode, run.stderr) == (0, "")
    assert ended(tmp_path / "none.jsonl", ">&- 2>&-").returncode == 2


def test_characters_that_the_output_lacks_are_escaped(tmp_path, monkeypatch):
    """A terminal of an encoding that has no such character shows its number, and not a traceback."""
    path = tmp_path / "study.jsonl"
    with Study({"größe": hp.uniform("größe", 0, 1)}, storage=path) as study:
        study.tell(study.ask(), 1.0)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert cli.main(["show", str(path)]) == 0
    assert rb"its parameters: {'gr\xf6\xdfe': " in written.getvalue()


def test_a_trusted_space_that_cannot_be_evaluated_here(tmp_path, capsys):
    """Where a space calls a function that is not registered, the best trial is shown by its labels, trusted or not."""
    scope.define(twice_the_value)
    path = tmp_path / "study.jsonl"
    with Study({"x": scope.twice_the_value(hp.uniform("x", 0, 1))}, storage=path) as study:
        study.tell(study.ask(), 1.0)
    scope.undefine(twice_the_value)
    shown = []
    for options in ([], ["--trust"]):
        assert cli.main(["show", str(path), *options]) == 0
        shown.append(capsys.readouterr().out)
    assert "its parameters: {'x': " in shown[0]
    assert shown[0] == shown[1]
    assert cli.main(["replay", str(path)]) == 2
    assert "trust=True (--trust in a shell) if you trust" in capsys.readouterr().err


def twice_the_value(x):
    return 2 * x


@pytest.mark.parametrize("losses", [[1.0], [1.0, 2.0]])
def test_a_study_in_which_no_trial_meets_the_constraints(tmp_path, capsys, losses):
    """``sparktune show`` says so, until one does."""
    path = tmp_path / "study.jsonl"
    for constraint, is_said in ((0.5, True), (-0.5, False)):
        with Study(hp.uniform("x", 0, 1), storage=path) as study:
            study.tell(study.ask(), {"status": STATUS_OK, "losses": losses, "constraints": [constraint]})
        assert cli.main(["show", str(path)]) == 0
        assert ("no trial meets the constraints" in capsys.readouterr().out) == is_said
