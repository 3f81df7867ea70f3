"""Cells of a notebook in a real Jupyter kernel: run, interrupted by its button, run again."""

import ast
import queue
import time
from pathlib import Path

import pytest

import sparktune

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.spark

SETUP = """
import time
from sparktune import SparkTrials, Trials, fmin, hp, space_eval, tpe
from sparktune.run.callbacks import Callback

class Model:
    def __init__(self, name): self.name = name
    def __eq__(self, other): return self.name == other.name
    def __hash__(self): return hash(self.name)

class Counting(Callback):
    def on_trial_end(self, trials, trial): print("finished", trials.n_finished, end=";", flush=True)

def square(x): return x * x
def double(x): return 2 * x

space = {
    "x": hp.uniform("x", -3, 3),
    "f": hp.choice("f", [double, square]),
    "m": hp.choice("m", [Model("a"), Model("b")]),
}

def objective(p):
    time.sleep(0.02)
    return p["f"](p["x"]) ** 2 + (p["m"].name == "a")

def tune(trials, max_evals):
    return fmin(objective, space, tpe.suggest, max_evals, trials=trials, callbacks=[Counting()], verbose=False)
"""


class Notebook:
    """A kernel, with this package and a folder of its own."""

    def __init__(self, folder):
        self._kernel, self._client = manager.start_new_kernel(cwd=str(folder))
        self.run(f"import sys; sys.path.insert(0, {str(Path(sparktune.__file__).parents[1])!r})")

    def run(self, code, interrupt_at=None):
        """The value of a cell's last line if it has one, and the name of the error that it ended with, or None.

        ``interrupt_at`` is a text: when the cell has printed it, the kernel is interrupted.
        """
        cell, text, value, error = self._client.execute(code), "", None, None
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
                if interrupt_at is not None and interrupt_at in text:
                    interrupt_at = None
                    self._kernel.interrupt_kernel()
            elif kind == "execute_result":
                value = ast.literal_eval(content["data"]["text/plain"])
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return value, error
        raise AssertionError(f"the cell did not end; it has printed {text!r}")

    def close(self):
        self._client.stop_channels()
        self._kernel.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path):
    """Starts a kernel; all have one folder."""
    notebooks = []

    def start():
        notebooks.append(Notebook(tmp_path))
        return notebooks[-1]

    yield start
    for each in notebooks:
        each.close()


def test_study_survives_the_interrupt_button_cells_run_again_and_a_dead_kernel(notebook):
    """Whatever is pressed in a notebook, a stored study goes on with all its trials, whose options are classes and
    functions of cells; on Spark as well."""
    cells = notebook()
    assert cells.run(SETUP) == (None, None)
    assert (
        cells.run("trials = Trials(storage='study'); tune(trials, 1000)", interrupt_at="finished 5;")[1]
        == "KeyboardInterrupt"
    )
    n, _ = cells.run("len(trials)")
    assert 5 <= n < 1000

    assert cells.run(SETUP) == (None, None)
    _, error = cells.run(f"trials = Trials(storage='study'); best = tune(trials, {n + 5})")
    assert error is None
    value, _ = cells.run("len(trials), set(trials.statuses()), space_eval(space, best)['f'] in (square, double)")
    assert value == (n + 5, {"ok"}, True)

    code = "trials = SparkTrials(2, storage='study'); tune(trials, 1000)"
    assert cells.run(code, interrupt_at=f"finished {n + 10};")[1] == "KeyboardInterrupt"
    value, _ = cells.run("len(trials), trials.count_by_state_unsynced([0, 1])")
    assert value[0] >= n + 10
    assert value[1] == 0
    assert cells.run(f"tune(trials, {value[0] + 3}); len(trials)")[0] == value[0] + 3
    cells.close()

    cells = notebook()
    assert cells.run(SETUP) == (None, None)
    _, error = cells.run(f"trials = Trials(storage='study'); best = tune(trials, {value[0] + 6})")
    assert error is None
    assert cells.run("len(trials), type(trials.best_params['m']) is Model")[0] == (value[0] + 6, True)
