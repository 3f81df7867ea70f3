"""Files that are written whole."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from sparktune.storage.files import remove_left_over, replace_file, temporary_of
from sparktune.storage.presence import Presence


@pytest.fixture
def replace(tmp_path):
    """Writes a file anew; returns it."""

    def replace(data, mode=None):
        replace_file(tmp_path / "file", lambda file: file.write(data), tmp_path / "file.new", mode)
        return tmp_path / "file"

    return replace


@pytest.fixture
def mask():
    """The mask of this process for new files: nobody else may write."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o644), (0o600, 0o600), (0o664, 0o664)])
def test_a_file_is_open_to_whom_it_should(replace, mask, mode, expected):
    """The mask rules only where nothing else is asked for."""
    assert stat.S_IMODE(replace(b"data", mode).stat().st_mode) == expected


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()], ids=repr)
def test_what_fails_leaves_what_was_there(replace, tmp_path, error):
    """And nothing beside it."""
    path = replace(b"before")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        replace_file(path, fail, tmp_path / "file.new")
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file"], b"before")


def test_what_a_crash_has_left_is_written_over(replace, tmp_path):
    """A temporary file of before does not count."""
    (tmp_path / "file.new").write_bytes(b"half of what was there before")
    assert replace(b"data").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_and_its_name_are_on_the_disk(replace, synced, tmp_path):
    """First what is in it, then that it has been renamed."""
    path = replace(b"data")
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]


# -- temporary files ---------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from sparktune.storage.files import replace_file, temporary_of

def write(paths):
    if not paths:
        os.kill(os.getpid(), signal.SIGKILL)
    replace_file(paths[0], lambda file: write(paths[1:]), temporary_of(paths[0]))

write([Path(path) for path in sys.argv[1:]])
"""

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody tells who lives")


def kill_in_mid_write(*paths):
    assert subprocess.run([sys.executable, "-c", KILLED, *paths]).returncode == -signal.SIGKILL


NAMES = ["file", "f[a]*ü.x", "n" * 250]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What two processes have left of a file of each name, each in a folder of its own, and of one beside it."""
    folders = {name: tmp_path_factory.mktemp("left") for name in NAMES}
    others = [folder / "other" for folder in folders.values()]
    kill_in_mid_write(*others)
    beside = {name: os.listdir(folder) for name, folder in folders.items()}
    for _ in range(2):
        kill_in_mid_write(*[folder / name for name, folder in folders.items()])
    return folders, beside


@needs_linux
@pytest.mark.parametrize("name", NAMES)
def test_what_dead_processes_have_left_is_removed(left, name):
    """The temporary files of those that were killed while they wrote this file, and nothing else."""
    folder, others = (of_name[name] for of_name in left)
    path = folder / name
    path.write_bytes(b"whole")
    assert len(os.listdir(folder)) == 4
    remove_left_over(path)
    assert sorted(os.listdir(folder)) == sorted([name, *others])


def test_what_living_processes_write_stays(tmp_path):
    """Ours is one: of this call, of another at the same time, and of one of before that failed."""
    path = tmp_path / "file"
    temporary = [temporary_of(path) for _ in range(3)]
    assert len({*temporary}) == 3
    for file in temporary:
        file.touch()
    remove_left_over(path)
    assert sorted(tmp_path.iterdir()) == sorted(temporary)


@needs_linux
def test_files_that_are_not_told_to_be_of_the_dead_stay(tmp_path, monkeypatch):
    """Those of other machines and other programs, with names that are nearly ours; so do all where nobody can tell."""
    path = tmp_path / "file"
    kill_in_mid_write(path)
    (left,) = tmp_path.iterdir()
    machine, process = left.name.removeprefix("file.").split("-", 1)
    near = [f"{left.name}.bak", f"a{left.name}", f"file.{machine[::-1]}-{process}", "file.new", "file.1a2b3c4d"]
    for name in near:
        (tmp_path / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(Presence, "identity", lambda: {"machine": None})
        remove_left_over(path)
    assert left.exists()
    with monkeypatch.context() as patch:  # as if they were somebody else's
        patch.setattr(os, "geteuid", lambda: -1)
        remove_left_over(path)
    assert left.exists()
    remove_left_over(path)
    assert sorted(os.listdir(tmp_path)) == sorted(near)


@needs_linux
def test_a_process_that_was_started_later_under_the_same_number_is_another(tmp_path):
    """A number is given out again, and does not keep what the one before has left."""
    path = tmp_path / "file"
    temporary = temporary_of(path)
    born = Presence.identity()["born"]
    left = temporary.with_name(temporary.name.replace(f"-{born}-", f"-{int(born) - 1}-"))
    left.touch()
    temporary.touch()
    remove_left_over(path)
    assert os.listdir(tmp_path) == [temporary.name]
