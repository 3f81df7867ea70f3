"""What ``import sparktune`` offers, and what it costs."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import sparktune
import sparktune.fmin
from sparktune import Trials, hp, rand, spark

PACKAGE = pathlib.Path(sparktune.__file__).parent
MODULES = [
    sparktune,
    sparktune.base,
    sparktune.early_stop,
    sparktune.exceptions,
    hp,
    sparktune.pyll,
    rand,
    spark,
]
NAMES = [(module, name) for module in MODULES for name in getattr(module, "__all__", dir(module)) if name[0] != "_"]


def described(value):
    return inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module.__name__}.{name}" for module, name in NAMES])
def test_public_names_have_a_docstring(module, name):
    """Every public class, function and module says what it is in its first line."""
    value = getattr(module, name)
    if described(value):
        assert (inspect.getdoc(value) or "").split("\n")[0].strip()


@pytest.mark.parametrize("cls", [Trials, sparktune.SparkTrials, sparktune.FMinIter, sparktune.Domain, sparktune.Ctrl])
def test_public_methods_have_a_docstring(cls):
    """Every public method and property that is defined in a public class has a docstring."""
    own = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    missing = [n for n, v in own.items() if (inspect.isfunction(v) or isinstance(v, property)) and not v.__doc__]
    assert missing == []


def test_all_is_complete():
    """Every name in __all__ exists, once."""
    assert len(set(sparktune.__all__)) == len(sparktune.__all__)
    assert [name for name in sparktune.__all__ if not hasattr(sparktune, name)] == []


def test_hyperopts_names_are_there():
    """The names a hyperopt program imports from the top can be imported here."""
    names = (
        "fmin space_eval partial fmin_pass_expr_memo_ctrl FMinIter Trials trials_from_docs SparkTrials Ctrl Domain hp "
        "rand tpe exceptions STATUS_NEW STATUS_RUNNING STATUS_SUSPENDED STATUS_OK STATUS_FAIL STATUS_STRINGS "
        "JOB_STATE_NEW JOB_STATE_RUNNING JOB_STATE_DONE JOB_STATE_ERROR JOB_STATES base pyll early_stop spark"
    ).split()
    assert [name for name in names if not hasattr(sparktune, name)] == []


def test_fmin_is_a_function_and_a_module():
    """sparktune.fmin is the function, and sparktune.fmin the module can be imported from."""
    from sparktune.fmin import FMinIter, fmin, generate_trials_to_calculate, space_eval

    assert inspect.isfunction(sparktune.fmin)
    assert fmin is sparktune.fmin
    assert space_eval is sparktune.space_eval
    assert FMinIter is sparktune.FMinIter
    assert inspect.isfunction(generate_trials_to_calculate)


def test_hyperopts_paths_lead_to_the_same_objects():
    """base, exceptions and pyll give the very objects of the top level."""
    from sparktune.base import JOB_STATE_CANCEL, STATUS_OK, AllTrialsFailed, Domain
    from sparktune.pyll import scope
    from sparktune.pyll.base import scope as scope_of_base

    assert Domain is sparktune.Domain
    assert STATUS_OK == sparktune.STATUS_OK == "ok"
    assert AllTrialsFailed is sparktune.exceptions.AllTrialsFailed
    assert JOB_STATE_CANCEL == 4
    assert scope is scope_of_base


def test_errors_are_drawn_in_the_docstring():
    """Every error is a SparktuneError, and in the tree that the module's docstring draws."""
    errors = [value for value in vars(sparktune.exceptions).values() if inspect.isclass(value)]
    public = [error for error in errors if error.__name__[0] != "_"]
    assert all(issubclass(error, sparktune.exceptions.SparktuneError) for error in public)
    assert [e.__name__ for e in public if f" {e.__name__}" not in sparktune.exceptions.__doc__] == []


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_import_is_light():
    """Importing sparktune and running a random search load neither pyspark nor scipy nor tqdm."""
    heavy = "{'pyspark', 'py4j', 'scipy', 'tqdm', 'pandas', 'sklearn'}"
    code = (
        "import sys, sparktune\n"
        f"print(sorted({heavy} & set(sys.modules)))\n"
        "from sparktune import fmin, hp, rand\n"
        "fmin(lambda x: x, hp.uniform('x', 0, 1), rand.suggest, 3, verbose=False)\n"
        f"print(sorted({heavy} & set(sys.modules)))\n"
    )
    done = run_python(code)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
    assert done.stderr == ""


def test_nothing_prints():
    """No module calls print or writes to the standard streams by itself, but for commands and where objectives run."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path in (PACKAGE / "worker" / "child.py", PACKAGE / "cli.py", PACKAGE / "compat" / "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Name) and node.id == "print"
            is_stream = isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}
            if is_print or is_stream:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_the_package_is_typed():
    """Type checkers read our annotations."""
    assert (PACKAGE / "py.typed").exists()
    for name in ("fmin", "space_eval"):
        function = getattr(sparktune, name)
        assert set(inspect.get_annotations(function)) == {*inspect.signature(function).parameters, "return"}


#: A program that runs, and what it gets wrong. ``Array`` is to a type checker what numpy's is: it can be iterated over.
PROGRAM = """
from collections.abc import Iterator

from sparktune.hp import choice, pchoice


class Array:
    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


by_name = {"a": 1, "b": 2}
choice("c", by_name)
choice("c", by_name.keys())
choice("c", Array())
choice("c", range(3))
choice("c", (option for option in by_name))
pchoice("p", [(0.5, "a"), (0.5, None)])
pchoice("p", ((0.5, "a"), [0.5, "b"]))
pchoice("p", zip([0.5, 0.5], by_name))
pchoice("p", {0.5: "a"}.items())
choice("c", 3)  # wrong
pchoice("p", by_name)  # wrong
"""


def test_options_that_run_pass_a_type_checker(tmp_path):
    """mypy takes whatever options can be listed from, and refuses what is an error when the program runs."""
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # Of our modules hp alone is read, which takes a second and not half a minute.
    options = ["--config-file=", "--strict", "--follow-imports=skip", "--no-error-summary", "--cache-dir", tmp_path]
    command = [sys.executable, "-m", "mypy", *options, program, PACKAGE / "hp.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    refused = [line.partition(": error:")[0] for line in done.stdout.splitlines() if "program.py" in line]
    wrong = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if "# wrong" in line]
    assert refused == [f"{program}:{number}" for number in wrong], done.stdout + done.stderr
