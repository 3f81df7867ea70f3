"""``python -m sparktune.compat`` runs a program as ``python`` does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparktune

SHOW = """\
import os, sys
import hyperopt
print([sys.argv, __name__, sys.modules["__main__"].__dict__ is globals(), sys.path[0], __spec__ and __spec__.name])
print(hyperopt.__name__)
"""


ROOT = Path(sparktune.__file__).parents[1]


def run(*arguments, cwd, alias=True, path=ROOT):
    """A finished process that ran ``python -m sparktune.compat`` or, for comparison, ``python`` with the arguments."""
    command = [sys.executable, *(["-m", "sparktune.compat"] if alias else []), *arguments]
    env = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, env=env)


@pytest.fixture
def folder(tmp_path):
    """A folder with a script below it, a module and a stand-in for hyperopt, to compare with python itself."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/script.py").write_text(SHOW)
    (tmp_path / "module.py").write_text(SHOW)
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__main__.py").write_text(SHOW)
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in/hyperopt.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("sub/script.py", "--flag", "-c", "x"),
        ("-m", "module", "-h"),
        ("-c", SHOW, "a", "-m"),
        ("package", "a"),
        ("-m", "package"),
    ],
    ids=["script", "module", "code", "folder", "package"],
)
def test_the_program_sees_what_python_would_show_it(folder, arguments):
    """argv, __name__, the main module, sys.path[0] and __spec__ are those of python itself; only hyperopt is not."""
    ours = run(*arguments, cwd=folder)
    pythons = run(*arguments, cwd=folder, alias=False, path=folder / "stand_in")
    assert (ours.returncode, pythons.returncode) == (0, 0), ours.stderr + pythons.stderr
    assert ours.stdout.splitlines()[0] == pythons.stdout.splitlines()[0]
    assert (ours.stdout.splitlines()[1], pythons.stdout.splitlines()[1]) == ("sparktune", "hyperopt")


def test_an_error_in_the_program_ends_it_as_it_ends_python(tmp_path):
    """The exit code is 1, and the traceback shows the program's line."""
    (tmp_path / "script.py").write_text("import hyperopt\n1 / 0\n")
    ended = run("script.py", cwd=tmp_path)
    assert ended.returncode == 1
    assert 'script.py", line 2' in ended.stderr
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_the_exit_code_is_the_programs(tmp_path):
    """sys.exit in the program is the process's."""
    assert run("-c", "import sys; sys.exit(7)", cwd=tmp_path).returncode == 7


def test_functions_of_the_program_can_be_pickled(tmp_path):
    """The main module is found by its name, also in a thread that goes on after the program's end."""
    (tmp_path / "script.py").write_text(
        "import pickle, threading\n"
        "def f(): return 5\n"
        "def later(): threading.main_thread().join(); print(pickle.loads(pickle.dumps(f))())\n"
        "threading.Thread(target=later).start()\n"
    )
    ended = run("script.py", cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("5\n", "")


@pytest.mark.parametrize("arguments", [(), ("-m",), ("-c",)])
def test_nothing_to_run_is_an_error(tmp_path, arguments):
    """Without a program the usage is shown, and the exit code is 2."""
    ended = run(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: python -m sparktune.compat")


def test_help_can_be_asked_for(tmp_path):
    """--help is no error."""
    ended = run("--help", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "import hyperopt" in ended.stdout


def test_a_script_that_does_not_exist_is_an_error(tmp_path):
    """It ends in one line that names the file, and in the status that python gives."""
    ended = run("missing.py", cwd=tmp_path)
    assert ended.returncode == run("missing.py", cwd=tmp_path, alias=False).returncode == 2
    assert re.fullmatch(r".*: can't open file 'missing\.py': No such file or directory\n", ended.stderr)


def test_fmin_runs_in_a_program_that_was_written_for_hyperopt(tmp_path):
    """A program with hyperopt's imports gives a result."""
    (tmp_path / "script.py").write_text(
        "import numpy as np\n"
        "from hyperopt import STATUS_OK, Trials, fmin, hp, tpe\n"
        "from hyperopt.pyll.base import scope\n"
        "trials = Trials()\n"
        "space = {'x': hp.uniform('x', -1, 1), 'n': scope.int(hp.quniform('n', 1, 5, 1))}\n"
        "fmin(lambda p: {'loss': p['x'] ** 2 + p['n'], 'status': STATUS_OK}, space, algo=tpe.suggest, max_evals=25,\n"
        "     trials=trials, rstate=np.random.default_rng(0), show_progressbar=False)\n"
        "print(len(trials), trials.best_trial['result']['loss'] < 2.5)\n"
    )
    ended = run("script.py", cwd=tmp_path)
    assert ended.stdout == "25 True\n", ended.stderr
