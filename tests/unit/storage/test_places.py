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
    assert isinstance(storage_at("C:\\study"), Journal)
    assert isinstance(storage_at("C://study"), Journal)
    assert isinstance(storage_at("sqlite"), Journal)
    assert str(storage_at(f"FILE://{tmp_path}/Study")) == os.path.realpath(tmp_path / "Study")


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


@pytest.mark.parametrize(
    "where", ["MEMORY://Bucket/study", "dir::memory://Bucket/study", "odd_memory://Bucket/study", "o-d.d+memory://x"]
)
def test_a_url_may_begin_with_all_that_urls_begin_with(where):
    """In capitals, with a store before another, with signs; the address behind stays as it is."""
    fsspec = pytest.importorskip("fsspec")
    for name in ("odd_memory", "o-d.d+memory"):
        fsspec.register_implementation(name, fsspec.get_filesystem_class("memory"), clobber=True)
    storage = storage_at(where)
    assert isinstance(storage, Segments)
    assert str(storage) == where.replace("MEMORY", "memory")


def test_a_store_that_is_not_known_is_named():
    """The error has the URL."""
    pytest.importorskip("fsspec")
    with pytest.raises(InvalidArgumentError, match="nosuch://x is no URL of a store that fsspec knows"):
        storage_at("nosuch://x")


@pytest.mark.parametrize(
    ("where", "fix"),
    [
        ("postgres://me:secret@host/db", "write postgresql:// in its place"),
        ("Postgres+psycopg://me:secret@host/db", "write postgresql:// in its place"),
        ("sqlite3:///study.db", "write sqlite:// in its place"),
        ("sqlite:study.db", r"write sqlite:///study\.db for the database, or put \./ before"),
        ("SQLite+pysqlite:study.db", r"write sqlite:///study\.db for the database, or put \./ before"),
        ("postgresql:me:secret@host/db", "write postgresql://user@host/database for the database"),
        ("postgres:study", "write postgresql://user@host/database for the database"),
    ],
)
def test_what_is_nearly_the_url_of_a_database_is_refused(where, fix, tmp_path, monkeypatch):
    """Nobody means a journal of that name; who does puts ./ before it. The error does not repeat the password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=fix) as error:
        storage_at(where)
    assert "secret" not in str(error.value)
    assert isinstance(storage_at("./sqlite:study.db"), Journal)
    assert isinstance(storage_at(tmp_path / "sqlite:study.db"), Journal)


def test_the_url_of_a_database_may_begin_with_capitals(tmp_path):
    """As other URLs."""
    pytest.importorskip("sqlalchemy")
    assert str(storage_at(f"SQLite:///{tmp_path}/Study.db")).startswith(f"sqlite:///{tmp_path}/Study.db")


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
