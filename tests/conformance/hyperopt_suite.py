"""Run hyperopt's own tests against sparktune: ``python tests/conformance/hyperopt_suite.py [--all] [pytest options]``.

The tests are read from the hyperopt that is installed in the environment; none is copied here. ``import hyperopt`` in
them means sparktune (``sparktune.compat``). ``expectations.toml`` names each test that is not expected to pass, with
its reason. The run fails if any other fails or is skipped, if one that is named passes, and if a file has lost tests.

Files of hyperopt may stand among the options, ``tests/unit/test_fmin.py`` or ``test_fmin.py::test_set_fmin_rstate``.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from sparktune import compat

EXPECTATIONS = Path(__file__).with_name("expectations.toml")


class Expectations:
    """A pytest plugin: marks the tests that expectations.toml names, and finds what it does not account for.

    Args:
        table: What expectations.toml says.
        files: The files that are run as a whole; none is, when options choose single tests.
    """

    def __init__(self, table: dict[str, Any], files: list[str]) -> None:
        self.counts = {file: table["files"][file] for file in files}
        self.groups = {item: group for group in table["group"] for item in group["items"]}
        self.problems: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        names = [_name(item) for item in items]
        for item, name in zip(items, names, strict=True):
            group = self.groups.get(name)
            if group is not None and group["outcome"] == "fail":
                mark = pytest.mark.xfail(reason=group["reason"], strict=not group.get("flaky", False))
                item.add_marker(mark)
        found = Counter(map(_file, names))
        for file, expected in self.counts.items():
            if found[file] < expected:
                self.problems.append(f"{file}: {found[file]} tests collected, expected {expected}")
        gone = [
            name
            for name, group in self.groups.items()
            if _file(name) in self.counts and name not in names and not group.get("flaky", False)
        ]
        self.problems += [f"{name}: in expectations.toml, but there is no such test" for name in gone]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report = (yield).get_result()
        name = _name(item)
        may_skip = self.groups.get(name, {}).get("outcome") == "skip"
        if report.skipped and not hasattr(report, "wasxfail") and not may_skip:
            self.problems.append(f"{name}: was skipped, and expectations.toml does not say so")
        if may_skip and report.when == "call" and report.passed and not self.groups[name].get("flaky", False):
            self.problems.append(f"{name}: expectations.toml says it is skipped, and it passed")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # Some tests draw from this generator without a seed, and compare what they draw with a narrow tolerance.
        np.random.seed(0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.problems:
            terminalreporter.section("not as expectations.toml says")
            for problem in self.problems:
                terminalreporter.write_line(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def main(options: list[str]) -> int:
    """Run the suite; returns pytest's exit code."""
    compat.install()
    folder = _hyperopt_folder()
    table = tomllib.loads(EXPECTATIONS.read_text(encoding="utf-8"))
    everything = "--all" in options
    named, options = _split(folder, [option for option in options if option != "--all"])
    files = [file for file in table["files"] if everything or file not in table["slow"]]
    tests = named or [str(folder / file) for file in files]
    if named or any(option.startswith(("-k", "--deselect")) for option in options):
        files = [str(Path(file).relative_to(folder)) for file in named if "::" not in file and "-k" not in options]
    _prepare()
    # Settings of the project's own tests, in setup.cfg, are not for these.
    fixed = [
        "-c",
        os.devnull,
        f"--rootdir={folder.parent}",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
    ]
    fixed += ["-q", "-rfEsX", "--tb=short", "--show-capture=no", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    return int(pytest.main([*fixed, *options, *tests], plugins=[Expectations(table, files)]))


def _hyperopt_folder() -> Path:
    spec = importlib.machinery.PathFinder.find_spec("hyperopt")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("hyperopt's tests are part of hyperopt: pip install hyperopt==0.3.0, or run make conformance")
    return Path(spec.submodule_search_locations[0])


def _split(folder: Path, options: list[str]) -> tuple[list[str], list[str]]:
    """Files of hyperopt's tests among the options, as paths; and the other options."""
    named, others = [], []
    for option in options:
        file, colons, test = option.partition("::")
        found = [] if option.startswith("-") else sorted(folder.rglob(f"tests/**/{Path(file).name}"))
        found = [path for path in found if file in str(path)]
        if file.endswith(".py") and found:
            named += [f"{path}{colons}{test}" for path in found]
        else:
            others.append(option)
    return named, others


def _file(name: str) -> str:
    return name.partition("::")[0]


def _name(item: pytest.Item) -> str:
    """The test's name in expectations.toml; one of scikit-learn's checks by the check, for they are only numbered."""
    name = item.nodeid.removeprefix("hyperopt/")
    check = getattr(getattr(item, "callspec", None), "params", {}).get("check")
    return name if check is None else f"{name.partition('[')[0]}[{check.func.__name__}]"


def _prepare() -> None:
    """What some test modules need to be imported at all."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
