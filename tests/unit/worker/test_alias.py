"""What ``import hyperopt`` means in an evaluation."""

import subprocess
import sys
import textwrap

PROGRAM = """
import sys
import hyperopt
from hyperopt import Trials, fmin, hp, rand
import helper

def objective(x):
    import hyperopt.pyll.base
    assert hyperopt.fmin.__module__ == "sparktune.fmin"
    return helper.loss(x)

if __name__ == "__main__":
    trials = Trials(parallelism=1, backend="processes")
    fmin(objective, hp.uniform("x", -1, 1), algo=rand.suggest, max_evals=2, trials=trials, verbose=False)
    print(trials.statuses())
"""

HELPER = """
from hyperopt import STATUS_OK

def loss(x):
    return {"loss": x * x, "status": STATUS_OK}
"""


def test_other_processes_take_hyperopt_for_sparktune_as_this_one_does(tmp_path):
    """An objective that imports hyperopt, itself and by a module of the user's, runs in processes."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper.py").write_text(HELPER)
    command = [sys.executable, "-m", "sparktune.compat", str(tmp_path / "program.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "['ok', 'ok']\n"


def test_a_worker_without_sparktune_says_what_to_do():
    """Where sparktune cannot be imported, ``import hyperopt`` fails with what means what, and the fix."""
    code = """
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("alias", sys.argv[1])
    alias = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alias)
    sys.modules["sparktune"] = None
    alias.install()
    try:
        import hyperopt.tpe
    except ModuleNotFoundError as error:
        print(error.name, error)
    """
    from sparktune.worker import alias

    command = [sys.executable, "-c", textwrap.dedent(code), alias.__file__]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith("hyperopt the objective imports hyperopt")
    assert "pip install sparktune" in output
