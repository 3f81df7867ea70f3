"""What README and docs show works."""

import re
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


@pytest.mark.parametrize("page", ["docs/search.md", "docs/importances.md"])
def test_code_in_the_pages_on_the_search_runs(page):
    """The blocks run in order, with what they import."""
    blocks = PYTHON_BLOCK.findall((ROOT / page).read_text())
    assert blocks
    names = {}
    for block in blocks:
        exec(block, names)


def test_every_function_that_the_space_page_names_exists():
    """Names in the list of scope functions are registered, or are methods of scope."""
    page = (ROOT / "docs/space.md").read_text()
    listed = re.findall(r"^- \w+: `([^`]+)`$", page, re.MULTILINE)
    assert len(listed) == 3
    for name in " ".join(listed).split():
        assert name in IMPLEMENTATIONS or hasattr(scope, name), name


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
    """Relative links in the pages name files that exist."""
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
