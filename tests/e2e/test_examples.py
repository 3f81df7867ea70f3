"""Every program in examples/ runs, and prints what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Arguments that make each example small; every example is here.
ARGUMENTS = {
    "quickstart.py": [],
    "tune_random_forest.py": "--rows 5000 --max-evals 4 --parallelism 2 --master local[2]".split(),
}

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def output():
    """What an example prints; each runs once."""
    printed = {}

    def run(name):
        if name not in printed:
            command = [sys.executable, f"examples/{name}", *ARGUMENTS[name]]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, done.stderr[-3000:]
            printed[name] = done.stdout
        return printed[name]

    return run


def test_every_example_is_tested():
    """No program in examples/ is left out here."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(ARGUMENTS)


def test_quickstart_finds_an_accurate_model(output):
    """The quick start prints the best parameters as values and an accuracy better than a linear guess."""
    text = output("quickstart.py")
    assert re.search(r"best parameters: \{'C': [\d.]+, 'shape': \{.*'kernel': '(rbf|linear)'", text)
    assert 0.9 < float(re.search(r"accuracy: ([\d.]+)", text).group(1)) <= 1.0


def test_main_job_loads_all_flights_and_uses_what_it_was_told(output):
    """All 336,776 rows are loaded, and the asked number of those with a known arrival is used."""
    assert re.search(r"336,776 rows loaded; 327,346 with a known arrival; 5,000 used", output("tune_random_forest.py"))


def test_main_job_prints_parameters_as_values(output):
    """The best parameters are named, with values and not option numbers."""
    text = output("tune_random_forest.py")
    assert re.search(r"^  criterion +(gini|entropy)$", text, re.MULTILINE)
    assert re.search(r"^  n_estimators +[1-9]\d$", text, re.MULTILINE)
    assert re.search(r"^  class_weight +(None|\{0: 1, 1: [\d.]+\})$", text, re.MULTILINE)


@pytest.mark.parametrize("forest", ["default", "TPE", "random search"])
def test_main_job_prints_scores(output, forest):
    """Each forest has a test score between 0 and 1, those searched for a validation score too."""
    row = re.search(rf"^{forest}  +(\S+)  +([\d.]+)  +([\d.]+)$", output("tune_random_forest.py"), re.MULTILINE)
    scores = [text for text in row.groups() if text != "-"]
    assert len(scores) == (2 if forest == "default" else 3)
    assert all(0 <= float(score) < 1 for score in scores)


@pytest.mark.parametrize("search", ["TPE", "random search"])
def test_main_job_prints_times(output, search):
    """Each search has its number of trials, its time per trial, its wall time and its speed-up."""
    pattern = rf"^{search}  +4  +[\d.]+ s  +[\d.]+ s  +([\d.]+) x$"
    assert re.search(pattern, output("tune_random_forest.py"), re.MULTILINE)
