"""Files that are written whole."""

import os
import stat

import pytest

from sparktune.storage.files import replace_file


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
