"""What a path or URL stands for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, MissingPackageError
from sparktune.storage.folders import LocalFolder, object_store
from sparktune.storage.journal import Journal
from sparktune.storage.places import storage_at
from sparktune.storage.segments import Segments

WITHOUT_SQLALCHEMY = """
import sys
sys.modules["sqlalchemy"] = None  # as if it were not installed
from sparktune import Trials, fmin, hp, rand
for where in sys.argv[1:]:
    fmin(abs, hp.uniform("x", -1, 1), rand.suggest, max_evals=3, storage=where, show_progressbar=False)
    print(len(Trials.load(where)))
"""


def test_a_path_is_a_journal(tmp_path, monkeypatch):
    """As text or Path, absolute or not, with a colon or a file URL."""
    monkeypatch.chdir(tmp_path)
    for where in ("study", Path("study"), tmp_path / "study", f"file://{tmp_path}/study"):
        storage = storage_at(where)
        assert isinstance(storage, Journal)
        assert str(storage) == os.path.realpath(tmp_path / "study")
    assert isinstance(storage_at("study:1"), Journal)
    assert isinstance(storage_at("C:study"), Journal)


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    """With a tilde, as in a shell; a character that no path has is an error that says so."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(storage_at("~/study")) == os.path.realpath(tmp_path / "study")
    with pytest.raises(InvalidTypeError, match="null character"):
        storage_at("a\0b")


@pytest.mark.parametrize("where", ["/Volumes/main/default/v/study", "/dbfs/tmp/study", "{}", "{}/new/"])
def test_a_folder_is_one_of_segments(tmp_path, where):
    """Where there is one, where the path says so, and where files cannot be appended to."""
    storage = storage_at(where.format(tmp_path))
    assert isinstance(storage, Segments)
    assert isinstance(storage.folder, LocalFolder)


def test_a_url_is_a_folder_in_an_object_store():
    """fsspec knows which."""
    pytest.importorskip("fsspec")
    storage = storage_at("memory://bucket/study")
    assert isinstance(storage, Segments)
    assert str(storage) == "memory://bucket/study"


def test_a_store_that_is_not_known_is_named():
    """The error has the URL."""
    pytest.importorskip("fsspec")
    with pytest.raises(InvalidArgumentError, match="nosuch://x is no URL of a store that fsspec knows"):
        storage_at("nosuch://x")


def test_a_missing_package_is_named(monkeypatch):
    """Without fsspec the error has the line to install it."""
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'sparktune\[fsspec\]'"):
        object_store("s3://bucket/study")


@pytest.mark.parametrize("where", ["{}/study.jsonl", "{}/study/", "memory://study"])
def test_only_databases_need_sqlalchemy(tmp_path, where):
    """A study in a file, a folder or an object store is kept where SQLAlchemy is not installed."""
    if where.startswith("memory"):
        pytest.importorskip("fsspec")
    command = [sys.executable, "-c", WITHOUT_SQLALCHEMY, where.format(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.stdout.split(), run.stderr) == (["3"], "")


def test_modules_of_databases_alone_import_sqlalchemy():
    """Of all that is about storage no other can do without it, by itself or by what it imports."""
    code = """
import importlib, pkgutil, sys
import sparktune.storage
sys.modules["sqlalchemy"] = None
for module in pkgutil.iter_modules(sparktune.storage.__path__, "sparktune.storage."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        print(module.name.rpartition(".")[2])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["database", "engine", "tables", "writers"]


def test_a_storage_is_itself(tmp_path):
    """An object with the methods of one is used as it is."""
    journal = Journal(tmp_path / "study")
    assert storage_at(journal) is journal


@pytest.mark.parametrize("where", [5, "", b"study", ["a"], object()])
def test_anything_else_is_refused(where):
    """The error shows what was given."""
    with pytest.raises(InvalidTypeError, match="storage is a path"):
        storage_at(where)
