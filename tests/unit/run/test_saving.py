"""``trials_save_file``: what it costs to save a result, and who may read it."""

import os
import pickle
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sparktune import Trials
from sparktune.run import saving


class Counting(dict):
    """Counts how many of its keys were looked at."""

    n_looked_at = 0

    def __iter__(self):
        return self._counted(super().__iter__())

    def __reversed__(self):
        return self._counted(super().__reversed__())

    def _counted(self, keys):
        for key in keys:
            self.n_looked_at += 1
            yield key


def test_each_attachment_is_looked_at_once(tmp_path, monkeypatch, document):
    """Results beside the pickle are saved with their attachments, at n looks for n results and not n squared."""
    monkeypatch.setattr(saving, "SMALL", 0)
    monkeypatch.setattr(saving, "GROWTH", 1000)
    path, trials, n = str(tmp_path / "trials.pkl"), Trials(), 100
    save_file = saving.SaveFile(trials, path)
    trials.attachments = Counting()
    for tid in range(n):
        trials.insert_trial_doc(document(tid, {"x": 0.1}, 1.0))
        newest = trials._dynamic_trials[-1]
        trials.trial_attachments(newest)["model"] = tid
        save_file.note(newest)
    assert trials.attachments.n_looked_at <= 3 * n
    with open(path, "rb") as file:
        saved = pickle.load(file)
    assert len(saved._dynamic_trials) == 1
    saving.take_up(saved, path)
    assert [dict(saved.trial_attachments(d).items()) for d in saved._dynamic_trials] == [{"model": i} for i in range(n)]


@pytest.fixture
def saved(tmp_path, monkeypatch, document):
    """A file with the pickle of one trial, and a file of four results since then; the path of the first."""
    monkeypatch.setattr(saving, "SMALL", 0)
    monkeypatch.setattr(saving, "GROWTH", 1000)
    path, trials = str(tmp_path / "trials.pkl"), Trials()
    save_file = saving.SaveFile(trials, path)
    for tid in range(5):
        trials.insert_trial_doc(document(tid, {"x": 0.1}, float(tid)))
        save_file.note(trials._dynamic_trials[-1])
    return path


def taken_up(path):
    with open(path, "rb") as file:
        trials = pickle.load(file)
    saving.take_up(trials, path)
    return [trial["tid"] for trial in trials._dynamic_trials]


def test_results_that_cannot_be_told_whose_they_are_are_left_out_with_a_warning(saved, caplog):
    """The first line says of which pickle they are; where it is damaged, that is said."""
    assert taken_up(saved) == [0, 1, 2, 3, 4]
    assert not caplog.text
    since = Path(saved + saving.SINCE)
    lines = since.read_bytes().splitlines(keepends=True)
    since.write_bytes(b"".join([lines[0].replace(b"token", b"tokem"), *lines[1:]]))
    assert taken_up(saved) == [0]
    assert f"results in {since} are left out" in caplog.text


@pytest.mark.parametrize("n", range(0, 1000, 50))
def test_results_before_a_torn_line_are_taken_up(saved, n):
    """What a crash has cut off is lost, and nothing else."""
    since = Path(saved + saving.SINCE)
    data = since.read_bytes()[:n]
    since.write_bytes(data)
    assert taken_up(saved) == list(range(1 + max(0, data.count(b"\n") - 1)))


def test_a_result_that_is_saved_outlives_the_machine(tmp_path, monkeypatch, document, synced):
    """What is in a file is on the disk, and so is its name: of the pickle, and of the results beside it."""
    monkeypatch.setattr(saving, "SMALL", 0)
    monkeypatch.setattr(saving, "GROWTH", 1000)
    path, trials = tmp_path / "trials.pkl", Trials()
    save_file = saving.SaveFile(trials, str(path))
    for tid, names in enumerate([(path, tmp_path), (since := Path(f"{path}{saving.SINCE}"), tmp_path), (since,)]):
        trials.insert_trial_doc(document(tid, {"x": 0.1}, float(tid)))
        save_file.note(trials._dynamic_trials[-1])
        assert synced == [name.stat().st_ino for name in names]
        synced.clear()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    """The system itself says only that there is no space."""
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: _full(opened, path, mode))
    with pytest.raises(OSError, match=r"No space left.*trials\.pkl"):
        saving.save_atomically(Trials(), str(tmp_path / "trials.pkl"))
    assert os.listdir(tmp_path) == []


def _full(opened, path, mode):
    """The file is made, and what is written to it goes where there is no room."""
    os.close(opened(path, os.O_CREAT, mode))
    return opened("/dev/full", os.O_WRONLY)


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mask():
    """Sets the mask of this process for new files."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Looking:
    """Notes who may read what is in a folder while it is pickled."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = []

    def __getstate__(self):
        self.seen = [mode_of(self.folder / name) for name in sorted(os.listdir(self.folder))]
        return {"seen": self.seen}


@pytest.mark.parametrize("bits", [0o022, 0o027, 0o077])
def test_a_new_file_is_open_to_whom_the_mask_says(tmp_path, monkeypatch, mask, bits):
    """The mask is not touched for that: it is one for all threads, whose files would have no mask for a moment."""
    mask(bits)
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", lambda mask: pytest.fail("the mask was changed"))
        saving.save_atomically(Trials(), str(tmp_path / "trials.pkl"))
    assert mode_of(tmp_path / "trials.pkl") == 0o666 & ~bits


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o400])
def test_a_file_that_is_written_again_is_open_to_whom_it_was(tmp_path, mask, mode):
    """Whatever the mask says; nobody else may read it while it is written."""
    path = tmp_path / "trials.pkl"
    path.touch()
    path.chmod(mode)
    looking = Looking(tmp_path)
    saving.save_atomically(looking, str(path))
    assert mode_of(path) == mode
    assert [seen & ~mode for seen in looking.seen] == [0, 0]


KILLED = """
import os, signal, sys
from sparktune import Trials
from sparktune.run import saving

class Killing(Trials):
    def __getstate__(self):
        os.kill(os.getpid(), signal.SIGKILL)

saving.save_atomically(Killing(), sys.argv[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody tells who lives")
def test_copies_of_programs_that_were_killed_while_they_saved_do_not_pile_up(tmp_path, monkeypatch, document):
    """The next that saves removes them, once; whatever else is in the folder stays."""
    path, trials = tmp_path / "trials.pkl", Trials()
    trials.insert_trial_doc(document(0, {"x": 0.1}, 1.0))
    (tmp_path / "trials.pkl.bak").touch()
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", KILLED, str(path)])
        assert run.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    save_file = saving.SaveFile(trials, str(path))
    save_file.write()
    assert sorted(os.listdir(tmp_path)) == ["trials.pkl", "trials.pkl.bak"]
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("a folder may be a large one"))
    save_file.write()
