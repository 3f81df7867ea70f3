"""What README and docs show works."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sparktune.pyll import stochastic
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
    queries = re.findall(r"^select .*;$", (ROOT / "docs/databases.md").read_text(), re.MULTILINE)
    if sqlite3.sqlite_version_info < (3, 38):  # the first with ->>
        queries = [query for query in queries if "->>" not in query]
    assert queries
    with contextlib.closing(sqlite3.connect("study.db")) as database:
        assert [len(database.execute(query).fetchall()) for query in queries] == [50] * len(queries)


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
