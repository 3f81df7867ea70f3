"""The command line, where it is used with other programs."""

import os
import subprocess
import sys

import pytest

from sparktune import Study, hp


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
