"""A study in one file."""

import os
import subprocess
import sys

import pytest

from sparktune.exceptions import InvalidStorage
from sparktune.storage.journal import Journal
from sparktune.storage.lines import header, to_line, to_lines

EVENTS = [{"event": "new", "tid": n, "text": "ü" * n} for n in range(5)]


@pytest.fixture
def path(tmp_path):
    """Where a journal may be."""
    return tmp_path / "study.journal"


@pytest.fixture
def journal(path):
    """An open one, empty."""
    journal = Journal(path)
    journal.open()
    yield journal
    journal.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def in_process(code, *arguments):
    """What a program prints, that runs to its end in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def as_nobody(passable):
    """Runs code as a user without rights; what error of ours it raises."""

    def run(code, *arguments):
        program = (
            "import os, sys\nfrom sparktune.storage.journal import Journal\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"try: {code}\nexcept ValueError as error: print(error)\n"
        )
        return in_process(program, *arguments)

    return run


def test_what_was_appended_is_read(journal, path):
    """Events are read in their order, by the writer and by others, at any time."""
    assert Journal(path).read() == []
    journal.append(EVENTS[:2])
    journal.append(EVENTS[2:], sync=False)
    assert Journal(path).read() == EVENTS
    journal.close()
    journal.open()
    journal.append(EVENTS)
    assert journal.read() == EVENTS * 2


def test_a_study_begins_with_its_header(journal, path):
    """Other versions see the format before there is any event, and after it was written anew; with no line twice."""
    begins = to_line(header())
    assert path.read_bytes() == begins
    journal.close()
    journal.open()
    journal.append(EVENTS[:1])
    assert path.read_bytes() == begins + to_line(EVENTS[0])
    journal.replace(EVENTS)
    assert path.read_bytes() == begins + to_lines(EVENTS)


def test_a_new_file_and_its_name_are_on_the_disk(path, synced):
    """A study that was opened is there after the machine has lost its power; so is what was appended."""
    journal = Journal(path)
    journal.open()
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]
    journal.append(EVENTS)
    journal.append(EVENTS, sync=False)
    assert synced[2:] == [path.stat().st_ino]
    journal.close()


def test_there_is_no_study_where_there_is_no_file(path):
    """Reading makes nothing."""
    assert Journal(path).read() == []
    assert not path.exists()


def test_a_journal_torn_at_any_byte_gives_all_events_before(path):
    """Whatever a crash has cut off, what is whole is read, and the next writer goes on behind it."""
    data = to_lines([header(), *EVENTS[:2]])
    for n in range(len(data)):
        path.write_bytes(data[:n])
        n_whole = max(0, data[:n].count(b"\n") - 1)
        assert Journal(path).read() == EVENTS[:n_whole]
        journal = Journal(path)
        journal.open()
        journal.append([{"event": "x"}])
        journal.close()
        assert Journal(path).read() == [*EVENTS[:n_whole], {"event": "x"}]


def test_zeros_behind_the_last_line_are_cut(path):
    """A machine that lost its power may leave a file with zeros at its end."""
    path.write_bytes(to_lines([header(), *EVENTS]) + bytes(5000))
    journal = Journal(path)
    journal.open()
    journal.append(EVENTS)
    journal.close()
    assert Journal(path).read() == EVENTS * 2


def test_what_is_damaged_behind_the_last_good_line_is_cut(path):
    """Lines that are none are left alone between others, and are gone from the end with the next event."""
    good = to_lines([header(), EVENTS[0]]) + b"damaged\n" + to_line(EVENTS[1])
    path.write_bytes(good + b"damaged\n" + to_line(EVENTS[2])[1:] + b"torn")
    journal = Journal(path)
    journal.open()
    journal.append(EVENTS[3:])
    journal.close()
    assert path.read_bytes() == good + to_lines(EVENTS[3:])


def test_opening_alone_changes_nothing(path):
    """A damaged file is not written to before there is something to write."""
    data = to_lines([header(), *EVENTS]) + b"torn"
    path.write_bytes(data)
    journal = Journal(path)
    journal.open()
    journal.close()
    assert path.read_bytes() == data


@pytest.mark.parametrize("data", [b"a,b\n1,2\n", b"{}", b'{"crc":"wrong","format":1}\n', b"\n"])
def test_a_file_of_somebody_else_is_left_alone(path, data):
    """It is refused by readers and writers, and is the same afterwards."""
    path.write_bytes(data)
    for use in (Journal(path).read, Journal(path).open):
        with pytest.raises(InvalidStorage, match="is no study of sparktune, and is left alone"):
            use()
    assert path.read_bytes() == data


def test_a_newer_format_is_left_alone(path):
    """A journal of a later version is refused, with what to do, and is the same afterwards."""
    data = to_lines([header() | {"format": 2}, *EVENTS])
    path.write_bytes(data)
    for use in (Journal(path).read, Journal(path).open):
        with pytest.raises(InvalidStorage, match="upgrade sparktune"):
            use()
    assert path.read_bytes() == data


def test_a_folder_is_refused(tmp_path):
    """A folder is no file, whoever asks for a journal there."""
    for use in (Journal(tmp_path).read, Journal(tmp_path).open):
        with pytest.raises(InvalidStorage, match="name a file"):
            use()


def test_a_pipe_is_refused(path):
    """A file that is none does not make anybody wait."""
    os.mkfifo(path)
    with pytest.raises(InvalidStorage, match="name a file"):
        Journal(path).open()


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="there is no such device")
def test_a_device_is_not_read(path):
    """It may have no end, nor may a pipe: this one has, and nothing in it."""
    path.symlink_to("/dev/null")
    with pytest.raises(InvalidStorage, match="name a file"):
        Journal(path).read()


def test_a_folder_that_is_missing_is_named(tmp_path):
    """The error says what is missing, and nothing is made."""
    journal = Journal(tmp_path / "no" / "study.journal")
    with pytest.raises(InvalidStorage, match=r"no/study\.journal cannot be written \(No such file.*folder that exists"):
        journal.open()
    assert not (tmp_path / "no").exists()


def test_a_read_only_folder_is_refused(tmp_path, as_nobody):
    """Without permission to write, the error comes at once."""
    tmp_path.chmod(0o555)
    assert "cannot be written (Permission denied)" in as_nobody("Journal(sys.argv[1]).open()", tmp_path / "study")


def test_a_file_that_may_not_be_read_is_refused(path, as_nobody):
    """A study of somebody else's without permission is an error of ours, and not an empty study."""
    path.write_bytes(to_line(header()))
    path.chmod(0)
    assert "cannot be read (Permission denied)" in as_nobody("Journal(sys.argv[1]).read()", path)


def test_permission_that_is_lost_and_comes_back_loses_nothing(tmp_path, as_nobody):
    """While the folder may not be entered, events are not taken; afterwards the same ones are."""
    folder = tmp_path / "folder"
    tmp_path.chmod(0o777)
    code = (
        "\n    folder = sys.argv[1]; os.mkdir(folder)"
        "\n    journal = Journal(folder + '/study'); journal.open()"
        "\n    os.chmod(folder, 0)"
        "\n    try: journal.append([{'event': 'x'}])"
        "\n    except PermissionError: print('refused')"
        "\n    os.chmod(folder, 0o700)"
        "\n    journal.append([{'event': 'x'}]); print(journal.read())"
    )
    assert as_nobody(code, folder).splitlines() == ["refused", "[{'event': 'x'}]"]


def test_a_removed_file_is_an_error_that_a_new_one_mends(journal, path):
    """What goes nowhere is noticed, and replace makes the file again."""
    journal.append(EVENTS)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        journal.append(EVENTS)
    journal.replace(EVENTS)
    journal.append(EVENTS)
    assert Journal(path).read() == EVENTS * 2


def test_a_file_that_was_moved_or_cut_is_noticed(journal, path):
    """Events do not follow a file to another name, nor are they written behind a hole."""
    journal.append(EVENTS)
    path.rename(path.with_name("moved"))
    with pytest.raises(FileNotFoundError):
        journal.append(EVENTS)
    journal.replace(EVENTS)
    path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="was cut"):
        journal.append(EVENTS)


def test_another_file_in_its_place_is_not_overwritten(journal, path):
    """A file that somebody put there stays; the events are not taken, for now."""
    other = path.with_name("other")
    other.write_bytes(b"precious")
    os.replace(other, path)
    with pytest.raises(FileExistsError):
        journal.append(EVENTS)
    assert path.read_bytes() == b"precious"


def test_a_second_writer_without_a_lock_is_noticed(journal, path):
    """Where locks do nothing, what somebody else appends ends the writing here."""
    journal.append(EVENTS)
    with open(path, "ab") as file:
        file.write(to_line(EVENTS[0]))
    with pytest.raises(InvalidStorage, match="one writer"):
        journal.append(EVENTS)


def test_a_full_disk_is_an_error_until_there_is_room(small_disk):
    """What did not fit is an OSError; tried again when there is room, all is there once."""
    journal = Journal(small_disk / "study.journal")
    journal.open()
    journal.append(EVENTS)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(100_000))
    large = [{"event": "x", "text": "x" * 8000}]
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            journal.append(large)
        assert Journal(journal.path).read() == EVENTS
    filler.unlink()
    journal.append(large)
    journal.append(EVENTS)
    journal.close()
    assert Journal(journal.path).read() == [*EVENTS, *large, *EVENTS]


def test_a_full_disk_refuses_a_new_study_at_once(small_disk):
    """Where not even the header fits, opening fails with what to do."""
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(100_000))
    with pytest.raises(InvalidStorage, match=r"cannot be written \(No space left"):
        Journal(small_disk / "study.journal").open()


def test_a_replacement_that_does_not_fit_leaves_the_old_file(small_disk):
    """When the disk is full in the middle of writing anew, the study is what it was, and is written further."""
    journal = Journal(small_disk / "study.journal")
    journal.open()
    journal.append(EVENTS)
    with pytest.raises(OSError, match="No space"):
        journal.replace([{"event": "x", "text": "x" * 100_000}])
    journal.append(EVENTS)
    journal.close()
    assert Journal(journal.path).read() == EVENTS * 2
    assert sorted(os.listdir(small_disk)) == ["study.journal", "study.journal.lock"]


def test_replace_keeps_who_may_read(journal, path):
    """A file that others may not read is not opened to them by being written anew."""
    path.chmod(0o600)
    journal.replace(EVENTS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path, path):
    """The study is where the link points; both names have one lock."""
    link = tmp_path / "link"
    link.symlink_to(path)
    journal = Journal(link)
    journal.open()
    journal.append(EVENTS)
    journal.replace(EVENTS)
    journal.close()
    assert link.is_symlink()
    assert Journal(path).read() == EVENTS


def test_revisions_differ_when_somebody_has_written(journal, path):
    """A reader can tell that there is something new, also if the file has the same length."""
    before = Journal(path).revision
    journal.append(EVENTS)
    after = Journal(path).revision
    assert before != after == Journal(path).revision
    journal.replace(EVENTS)
    assert Journal(path).revision != after


def test_closed_means_closed(journal):
    """Nothing is written after close, and closing again does nothing."""
    journal.close()
    journal.close()
    with pytest.raises(InvalidStorage, match="not open"):
        journal.append(EVENTS)
