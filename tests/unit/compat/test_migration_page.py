"""docs/migration.md says of every name of hyperopt's what has become of it, and it is so."""

import importlib
import re
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs/migration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`.*`) \| (same|better|replaced|absent) \|", re.MULTILINE)


def rows():
    """(module, name, what the page says) of each name in the tables."""
    for section in re.split(r"^### `hyperopt", PAGE, flags=re.MULTILINE)[1:]:
        module = "sparktune" + section.partition("`")[0]
        for names, status in ROW.findall(section):
            yield from ((module, name, status) for name in re.findall(r"`(\w+)`", names))


ROWS = list(rows())


def test_the_page_covers_hyperopt():
    """There are as many names as hyperopt 0.3.0 has."""
    assert len(ROWS) > 400
    assert len(set(ROWS)) == len(ROWS)


@pytest.mark.parametrize("module", sorted({module for module, _, _ in ROWS}))
def test_names_that_are_said_to_be_there_are_there(module):
    """Names called same, better or replaced can be imported from hyperopt's modules."""
    importlib.import_module(module)
    names = [name for where, name, status in ROWS if where == module and status != "absent"]
    assert [name for name in names if not hasattr(sys.modules[module], name)] == []
