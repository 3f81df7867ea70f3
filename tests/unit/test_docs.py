"""What README and docs show works."""

import contextlib
import datetime
import operator
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import InvalidSpaceError
from sparktune.pyll import as_apply, stochastic
from sparktune.space.scope import IMPLEMENTATIONS, scope

ROOT = Path(__file__).parents[2]
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_quick_start_in_the_readme_is_the_example():
    """README shows examples/quickstart.py, its docstring left out."""
    example = (ROOT / "examples/quickstart.py").read_text().split('"""\n', 2)[-1].strip()
    assert example in (ROOT / "README.md").read_text()


def test_code_in_the_space_page_runs():
    """The blocks of docs/space.md run in order and give spaces that can be drawn from."""
    names = {}
    try:
        for block in PYTHON_BLOCK.findall((ROOT / "docs/space.md").read_text()):
            exec(block, names)
            stochastic.sample(names["space"], 0)
    finally:
        scope.undefine("halving")


def run_blocks(page):
    """Run the blocks of a page in order; returns the names that they leave."""
    blocks, names = PYTHON_BLOCK.findall((ROOT / page).read_text()), {}
    assert blocks
    for block in blocks:
        exec(block, names)
    return names


@pytest.mark.parametrize("page", ["docs/search.md", "docs/importances.md"])
def test_code_in_the_pages_on_the_search_runs(page):
    """The blocks run in order, with what they import."""
    run_blocks(page)


def test_code_in_the_storage_page_runs(tmp_path, monkeypatch):
    """Each study goes on where it was left; of the trials that were asked for one is told, and one given up."""
    monkeypatch.chdir(tmp_path)
    names = run_blocks("docs/storage.md")
    assert len(names["trials"]) == 30
    assert len(names["study"]) == 1
    assert not names["study"].open_trials
    assert {"study.jsonl", "copy.jsonl", "jobs.jsonl"} <= {path.name for path in tmp_path.iterdir()}


def test_code_in_the_page_on_databases_runs(tmp_path, monkeypatch):
    """The study is in the file, and the page's queries find its trials."""
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)
    run_blocks("docs/databases.md")
    queries = queries_of_the_page()
    if sqlite3.sqlite_version_info < (3, 38):  # the first with ->>
        queries = [query for query in queries if "->>" not in query]
    with contextlib.closing(sqlite3.connect("study.db")) as database:
        assert [len(database.execute(query).fetchall()) for query in queries] == [50] * len(queries)


def queries_of_the_page():
    """The queries of the page on databases; there are two."""
    queries = re.findall(r"^select [^;]*;$", (ROOT / "docs/databases.md").read_text(), re.MULTILINE)
    assert len(queries) == 2
    return queries


def test_the_query_for_durations_gives_seconds(tmp_path):
    """Of a trial that took 150.5 seconds, and of one that went over midnight, in SQLite."""
    pytest.importorskip("sqlalchemy")
    trials = Trials()
    fmin(lambda x: x, hp.uniform("x", 0, 1), algo=rand.suggest, max_evals=2, trials=trials, rstate=0, verbose=False)
    begin = datetime.datetime(2026, 1, 2, 23, 59)
    for document, seconds in zip(trials.trials, [150.5, 3600.25], strict=True):
        document.update(book_time=begin, refresh_time=begin + datetime.timedelta(seconds=seconds))
    trials.save(f"sqlite:///{tmp_path}/study.db?study=forest")
    (query,) = [query for query in queries_of_the_page() if "duration" in query]
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.row_factory = sqlite3.Row
        durations = {row["number"]: row["duration"] for row in database.execute(query)}
    assert durations == pytest.approx({0: 150.5, 1: 3600.25}, abs=1e-3)  # a Julian day is exact to 40 microseconds


def test_the_journal_that_the_storage_page_shows_is_one(tmp_path, caplog):
    """It is loaded whole: a trial, with its loss, its times and the space."""
    (lines,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/storage.md").read_text(), re.DOTALL)
    (tmp_path / "study.jsonl").write_text(lines)
    trials = Trials.load(tmp_path / "study.jsonl")
    assert not caplog.records  # of lines that were left out
    (record,) = trials.to_records()
    assert record["state"] == "done"
    assert record["loss"] == pytest.approx((trials.best_params - 1) ** 2)
    assert record["duration"] == pytest.approx(0.001)


def test_code_in_the_page_on_migration_runs(tmp_path):
    """In a program of its own: hyperopt is sparktune, and a pickle of hyperopt's becomes Trials."""
    shutil.copy(ROOT / "tests/unit/compat/pickles/trials.pickle", tmp_path)
    blocks = PYTHON_BLOCK.findall((ROOT / "docs/migration.md").read_text())
    check = "import hyperopt, sparktune; print(hyperopt is sparktune, type(trials) is sparktune.Trials, len(trials))"
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-c", "\n".join([*blocks, check])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "True True 6\n", run.stderr


def test_code_in_the_sklearn_page_runs():
    """The search finds parameters for an estimator of scikit-learn."""
    pytest.importorskip("sklearn")
    assert run_blocks("docs/sklearn.md")["search"].best_score_ > 0.95


def test_code_in_the_plotting_page_runs(tmp_path, monkeypatch):
    """The figure is written, and the other one has the scale that was asked for."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    try:
        assert run_blocks("docs/plotting.md")["ax"].get_yscale() == "log"
    finally:
        plt.close("all")
    assert (tmp_path / "parameters.png").stat().st_size


def test_what_the_space_page_says_of_operators_holds():
    """Arithmetic and ``<`` work with arrays, ``==`` and ``in`` compare identities, and no array takes an index."""
    a, b, n, array = hp.uniform("a", 1, 5), hp.uniform("b", 1, 5), hp.randint("n", 3), np.array([1.0, 2.0])
    for name in "add sub mul truediv floordiv mod pow lt le gt ge".split():
        both = [getattr(operator, name)(array, a), getattr(operator, name)(a, array)]
        assert [value.shape for value in stochastic.sample(both, 0)] == [(2,), (2,)], name
    for name in "abs exp log log2 log10 sqrt sin cos tan".split():
        assert stochastic.sample(getattr(np, name)(a), 0) == pytest.approx(getattr(np, name)(stochastic.sample(a, 0)))
    assert stochastic.sample([np.maximum(a, b), np.minimum(a, b)], 0) == stochastic.sample(
        [scope.max([a, b]), scope.min([a, b])], 0
    )
    for function in (np.max, np.min, np.sum, np.asarray):
        with pytest.raises((TypeError, InvalidSpaceError)):
            stochastic.sample(function(a), 0)
    assert [n == 2, n != 2, n in (0, 1, 2)] == [False, True, False]
    assert {stochastic.sample((scope.eq(n, 2), scope.ne(n, 2)), seed) for seed in range(9)} == {
        (True, False),
        (False, True),
    }
    for values in ([8, 16, 32], np.array([8, 16, 32])):
        with pytest.raises((IndexError, TypeError)):
            values[n]
        assert stochastic.sample(as_apply(values)[n], 0) in (8, 16, 32)


def test_every_function_that_the_space_page_names_exists():
    """Names in the list of scope functions are registered, or are methods of scope."""
    page = (ROOT / "docs/space.md").read_text()
    listed = re.findall(r"^- \w+: `([^`]+)`$", page, re.MULTILINE)
    assert len(listed) == 3
    for name in " ".join(listed).split():
        assert name in IMPLEMENTATIONS or hasattr(scope, name), name


def anchors(text):
    """What links into a page may name: its headings as GitHub writes them, the second of a name with a number."""
    found = set()
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(next(name for n in range(99) if (name := f"{slug}-{n}" if n else slug) not in found))
    return found


def dead_links(path):
    """The relative links in a page that lead nowhere, or to no heading."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        target, _, anchor = link.partition("#")
        page = path.parent / target if target else path
        is_elsewhere = ":" in target  # on another site
        if not is_elsewhere and not (page.exists() and (not anchor or anchor in anchors(page.read_text()))):
            dead.append(link)
    return dead


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_lead_somewhere(page):
    """Relative links in the pages name files that exist, and headings in them."""
    assert dead_links(ROOT / page) == []


def test_links_that_lead_nowhere_are_found(tmp_path):
    """A missing file, and a heading that neither this page nor the other one has; not what is on other sites."""
    good = ["#a-b-c", "#a-b-c-1", "other.md", "other.md#there", "https://example.org/#x"]
    dead = ["#a-b-c-2", "#no-heading", "none.md", "other.md#a-b-c", "none.md#there"]
    (tmp_path / "other.md").write_text("## There\n")
    links = " ".join(f"[x]({link})" for link in good + dead)
    (tmp_path / "page.md").write_text(f"# A `b`, c\n# A [b](other.md) c\n```\n# no heading\n```\n{links}\n")
    assert dead_links(tmp_path / "page.md") == dead
