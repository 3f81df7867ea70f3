"""A short form of ``benchmarks/crashes.py``: drivers are killed and started again, and nothing is lost or twice."""

import dataclasses
import importlib
import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_page", "_crash_driver", "crashes")


@pytest.fixture(scope="module")
def bench():
    """The program's module; it is a script, so its folder is on the path only here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        yield importlib.import_module("crashes")
    for name in MODULES:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name", ["serial", "threads", "segments", pytest.param("spark", marks=[pytest.mark.spark, pytest.mark.slow])]
)
def test_killed_drivers_lose_nothing_and_count_nothing_twice(bench, tmp_path, name):
    """A study whose driver is killed at random moments ends with each trial in it once, as it was when it had ended."""
    kind = dataclasses.replace(bench.KINDS[name], max_evals=60)
    tally = bench.play(kind, 2, tmp_path, random.Random(1))
    assert tally.examples == {}
    assert tally.studies >= 1


def test_a_study_cut_at_every_byte_of_its_last_kilobyte_is_read(bench, tmp_path):
    """All trials whose end is on a whole line are there, once, and the study can be gone on with."""
    kind = dataclasses.replace(bench.KINDS["threads"], max_evals=20)
    study = bench.Study(kind, tmp_path, bench.Tally())
    assert not study.live(None)
    study.check_end()
    assert study.tally.examples == {}
    tally = bench.cut(tmp_path / "study.journal", tmp_path, 1024)
    assert tally.examples == {}
    assert tally.stored > 1025 * 10


def test_the_campaign_sees_what_it_looks_for(bench, tmp_path):
    """A study from which a trial is taken, or to which one is added again, is not taken for a whole one."""
    kind = dataclasses.replace(bench.KINDS["serial"], max_evals=8)
    study = bench.Study(kind, tmp_path, bench.Tally())
    study.live(None)
    study.check()
    assert not study.tally.faults
    path = tmp_path / "study.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    study.check()
    assert study.tally.faults[bench.LOST]
    path.write_bytes(lines[0].replace(b"study", b"other"))
    study.check()
    assert study.tally.faults[bench.UNREADABLE]
