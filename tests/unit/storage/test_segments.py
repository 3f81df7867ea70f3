"""A study as files that are written whole."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import pytest

from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import InvalidStorage
from sparktune.storage import segments
from sparktune.storage.folders import LocalFolder, object_store
from sparktune.storage.lease import NAME
from sparktune.storage.lines import header, to_lines
from sparktune.storage.segments import FAN, Segment, Segments

EVENTS = [{"event": "new", "tid": n, "text": "ü" * n} for n in range(5)]


def event(n):
    return {"event": "x", "n": n}


@pytest.fixture(params=["local", "memory"])
def folder(request):
    """An empty folder of this machine, in memory where that can be, and one of an object store."""
    if request.param == "memory":
        pytest.importorskip("fsspec")
        yield object_store(f"memory://{uuid.uuid4().hex}/study")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as path:
        yield LocalFolder(f"{path}/study")


@pytest.fixture
def study(folder):
    """An open one, empty."""
    study = Segments(folder)
    study.open()
    yield study
    study.close()


class Failing:
    """A folder whose calls fail, or end the writer, from the n-th on."""

    def __init__(self, folder, n=None):
        self._folder = folder
        self.n_left = n

    def __str__(self):
        return "failing"

    def __getattr__(self, name):
        def call(*arguments):
            if self.n_left is not None:
                self.n_left -= 1
                if self.n_left < 0:
                    raise OSError(5, "Input/output error")
            return getattr(self._folder, name)(*arguments)

        return call


def names(folder):
    """Of the files with events."""
    return sorted(name for name in folder.names() if name.startswith("events"))


def test_what_was_appended_is_read(study, folder):
    """Events are read in their order, by the writer and by others, at any time."""
    assert Segments(folder).read() == []
    study.append(EVENTS[:2])
    study.append([])
    study.append(EVENTS[2:], sync=False)
    assert Segments(folder).read() == EVENTS
    study.close()
    study.open()
    study.append(EVENTS)
    assert study.read() == EVENTS * 2


def test_the_number_of_files_stays_small(study, folder):
    """After thousands of events there are not many more files than after a hundred, and all events are there."""
    n = 2200
    for number in range(n):
        study.append([event(number)])
        assert len(names(folder)) < 3 * FAN
    assert Segments(folder).read() == [event(number) for number in range(n)]


def test_an_event_is_written_a_few_times_at_most(folder):
    """What is put into the folder grows as the study, and not as its square."""

    class Counting(Failing):
        n_bytes = 0

        def put(self, name, data):
            self.n_bytes += 0 if name == NAME else len(data)
            self._folder.put(name, data)

    counting = Counting(folder)
    study = Segments(counting)
    study.open()
    written = []
    for number in range(2200):
        study.append([event(number)])
        written.append(counting.n_bytes)
    study.close()
    assert written[2199] - written[1099] < 1.5 * (written[1099] - written[0])


def test_a_crash_between_a_merged_file_and_its_parts_harms_nothing(folder):
    """Wherever in the calls of many events the store gives up, all that was acknowledged is read, and once."""
    for n_calls in itertools.count(20, 7):
        failing = Failing(folder)
        study = Segments(failing)
        study.open()
        before = Segments(folder).read()
        failing.n_left = n_calls
        written = []
        try:
            for number in range(FAN + 3):
                written.append(event(number))
                study.append([event(number)])
            is_over = failing.n_left > 0
        except OSError:
            written.pop()
            is_over = False
        found = Segments(folder).read()[len(before) :]
        assert found in (written, [*written, event(len(written))])
        failing.n_left = None
        study.close()
        if is_over:
            break
    assert n_calls > 100


def test_parts_of_a_merged_file_are_not_read_and_are_removed(study, folder):
    """A reader that finds both sees each event once; the next writer removes the parts."""
    for number in range(4):
        study.append([event(number)])
    part = Segment(1, 1).name
    data = folder.get(part)
    study.replace([event(number) for number in range(4)])
    folder.put(part, data)
    assert Segments(folder).read() == [event(number) for number in range(4)]
    study.close()
    study.open()
    assert part not in names(folder)
    assert study.read() == [event(number) for number in range(4)]


def test_half_a_merged_file_is_not_taken_for_it(study, folder):
    """Where a store does not write whole files, the parts are read as long as the merged file is torn."""
    for number in range(4):
        study.append([event(number)])
    study.close()
    whole = to_lines([header(events=4), *map(event, range(4))])
    for n in range(len(whole) - 1):
        folder.put(Segment(0, 3).name, whole[:n])
        assert Segments(folder).read() == [event(number) for number in range(4)]
    study.open()
    assert study.read() == [event(number) for number in range(4)]
    study.append([event(4)])
    assert study.read() == [event(number) for number in range(5)]


def test_many_files_become_one_when_the_study_is_opened(folder):
    """However often a driver is killed and started again, files do not pile up."""
    for life in range(3 * FAN):
        study = Segments(folder)
        study.open()
        study.append([event(life)])
        study.close()
        assert len(names(folder)) <= FAN + 2
    assert study.read() == [event(life) for life in range(3 * FAN)]


def test_replaced_events_are_all_there_is(study, folder):
    """One file remains, and the study goes on behind it."""
    for number in range(10):
        study.append([event(number)])
    study.replace(EVENTS)
    assert len(names(folder)) == 1
    study.append([event(1)])
    study.replace([])
    study.append([event(2)])
    study.close()
    study.open()
    study.append([event(3)])
    assert Segments(folder).read() == [event(2), event(3)]


def test_replaced_events_are_all_there_is_where_files_cannot_be_removed(folder, caplog):
    """Those before do not come back, nor does what was stored though it came with an error; and none are missing."""

    class Keeping(Failing):
        def remove(self, name):
            raise OSError(1, "Operation not permitted")

    study = Segments(Keeping(folder))
    study.open()
    study.append([event(0)])
    folder.put(Segment(1, 3).name, to_lines([header(events=3), *map(event, (1, 2, 3))]))
    study.replace(EVENTS)
    study.append([event(4)])
    assert Segments(folder).read() == [*EVENTS, event(4)]
    assert not caplog.records


def test_the_newest_object_of_a_process_takes_over(folder):
    """The one before is told at its next event, and when it would write all anew; nothing of it goes in between."""
    first, second = Segments(folder), Segments(folder)
    first.open()
    first.append([event(0)])
    second.open()
    for write in (first.append, first.replace):
        with pytest.raises(InvalidStorage, match="has taken over the study"):
            write([event(1)])
    first.close()
    second.append([event(2)])
    assert Segments(folder).read() == [event(0), event(2)]
    second.close()


def test_what_was_not_taken_may_be_tried_again(folder):
    """A store that fails for a while is an OSError; an event that came with an error is there once all the same."""
    failing = Failing(folder)
    study = Segments(failing)
    study.open()
    study.append([event(0)])
    failing.n_left = 0
    with pytest.raises(OSError, match="Input/output"):
        study.append([event(1)])
    failing.n_left = None
    folder.put(Segment(1, 1).name, to_lines([header(events=1), event(1)]))  # it had been stored
    study.append([event(1), event(2)])
    assert study.read() == [event(0), event(1), event(2)]


def test_a_folder_that_was_removed_is_noticed_and_made_again(study, folder):
    """What was there can be written anew by whoever has it in memory."""
    study.append(EVENTS)
    for name in folder.names():
        folder.remove(name)
    with pytest.raises(FileNotFoundError):
        study.append(EVENTS)
    study.replace(EVENTS)
    study.append(EVENTS)
    assert Segments(folder).read() == EVENTS * 2


def test_a_file_that_was_removed_is_noticed_and_all_is_written_again(study, folder):
    """At the next event in a folder of this machine; a store, whose listings cost, is asked at each so-many-th."""
    for number in range(3):
        study.append([event(number)])
    folder.remove(Segment(1, 1).name)
    n_written = 3
    with pytest.raises(FileNotFoundError):
        for _ in range(FAN):
            study.append([event(n_written)])
            n_written += 1
    assert n_written == 3 or not folder.is_listed_cheaply
    with pytest.raises(FileNotFoundError):  # as long as it is not written anew
        study.append([event(0)])
    study.replace(EVENTS)
    study.append(EVENTS)
    assert Segments(folder).read() == EVENTS * 2


def test_other_files_do_not_keep_a_study_from_being_written_again(study, folder):
    """An objective may put its models beside the study, whose own files are removed."""
    study.append(EVENTS)
    folder.put("model.bin", b"model")
    folder.remove(Segment(0, 4).name)
    folder.remove(NAME)
    with pytest.raises(FileNotFoundError):
        study.append(EVENTS)
    study.replace(EVENTS)
    assert Segments(folder).read() == EVENTS


def test_a_missing_file_is_said(study, folder, caplog):
    """A reader says which events are not there, and reads the rest."""
    for number in range(3):
        study.append([event(number)])
    folder.remove(Segment(1, 1).name)
    assert Segments(folder).read() == [event(0), event(2)]
    assert "events 1 to 1 of storage" in caplog.text


def test_a_folder_of_somebody_else_is_left_alone(folder):
    """A folder with other files is refused before anything is written."""
    folder.make()
    folder.put("precious.csv", b"a,b")
    for use in (Segments(folder).read, Segments(folder).open):
        with pytest.raises(InvalidStorage, match=r"a folder with other things in it \(precious\.csv\), and no study"):
            use()
    assert folder.names() == ["precious.csv"]


def test_files_that_systems_leave_are_nobody_s(folder):
    """Hidden ones, those of other programs' jobs and our own half-written lock keep no study out of a folder."""
    others = [".DS_Store", "_SUCCESS", f"{NAME}.new"]
    folder.make()
    for name in others:
        folder.put(name, b"x")
    study = Segments(folder)
    study.open()
    study.append(EVENTS)
    study.close()
    assert Segments(folder).read() == EVENTS
    assert set(others) < set(folder.names())


def test_a_study_that_cannot_be_taken_up_is_let_go(folder):
    """Where the store fails while a study is opened, that is an error; others are let in, and it may be tried again."""

    class Leaving(Failing):
        n_looks = 0

        def names(self):
            self.n_looks += 1
            if self.n_looks == 2:  # the one behind the lock
                raise OSError(5, "Input/output error")
            return self._folder.names()

    study = Segments(Leaving(folder))
    with pytest.raises(InvalidStorage, match=r"failing cannot be written \(Input/output error"):
        study.open()
    assert folder.names() == []
    study.open()
    study.append(EVENTS)
    study.close()
    assert Segments(folder).read() == EVENTS


def test_a_newer_format_is_refused(folder):
    """A file of a later version is not read as this one's."""
    folder.make()
    folder.put(Segment(0, 0).name, to_lines([header() | {"format": 2}, event(0)]))
    with pytest.raises(InvalidStorage, match="upgrade sparktune"):
        Segments(folder).read()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (to_lines([header() | {"format": 2, "sparktune": "9.0"}, event(3)]), r"written by sparktune 9\.0"),
        (b"my own log\n" * 4, "is no study of sparktune, and is left alone"),
    ],
)
def test_files_that_cannot_be_read_are_not_written_over(folder, data, error):
    """A study of a newer version, and files that only have such names, are as they were after an attempt to write."""
    trials = Trials()
    fmin(abs, hp.uniform("x", -1, 1), rand.suggest, 2, trials=trials, rstate=0, verbose=False)
    folder.make()
    files = {Segment(0, 2).name: to_lines([header(events=3), *map(event, range(3))]), Segment(3, 3).name: data}
    for name, content in files.items():
        folder.put(name, content)
    for use in (Segments(folder).open, lambda: trials.save(Segments(folder))):
        with pytest.raises(InvalidStorage, match=error):
            use()
        assert {name: folder.get(name) for name in folder.names()} == files


def test_files_that_were_read_are_not_read_again_to_begin_writing(folder):
    """That they can be written over is known then."""

    class Counting(Failing):
        n_read = 0

        def get(self, name):
            Counting.n_read += name != NAME
            return self._folder.get(name)

    for number in range(3):
        folder.make()
        folder.put(Segment(number, number).name, to_lines([header(events=1), event(number)]))
    study = Segments(Counting(folder))
    study.read()
    for number in range(2):
        assert Counting.n_read == 3
        study.open()
        study.append([event(number)])
        study.close()


def test_a_file_that_another_process_merges_meanwhile_is_not_missed(folder):
    """Who opens the study is told of the writer, and not of a file that was listed and is part of another by now."""

    class Merging(Failing):
        def names(self):
            return [*self._folder.names(), Segment(0, 0).name]

    sign = {"writer": "another", "seen": time.time(), "host": "far", "pid": 1, "machine": "another", "born": "1"}
    folder.make()
    folder.put(NAME, json.dumps(sign).encode())
    with pytest.raises(InvalidStorage, match="another process is writing this study"):
        Segments(Merging(folder)).open()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    """Where the parent is missing, or is a file, opening says so."""
    with pytest.raises(InvalidStorage, match=r"cannot be written \(No such file"):
        Segments(LocalFolder(tmp_path / "no" / "study")).open()
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidStorage, match=r"cannot be (written|read) \(Not a directory"):
        Segments(LocalFolder(tmp_path / "file")).open()


def test_left_over_temporary_files_are_removed(tmp_path):
    """What a crash left in the middle of writing a file is not read, and goes."""
    study = Segments(LocalFolder(tmp_path))
    study.open()
    study.append(EVENTS)
    study.close()
    (tmp_path / f".{Segment(5, 5).name}.new").write_bytes(b"half")
    assert study.read() == EVENTS
    study.open()
    study.close()
    assert sorted(os.listdir(tmp_path)) == names(study.folder)


def test_a_reader_that_meets_a_merge_reads_again(study, folder, monkeypatch):
    """A file that goes between the listing and the reading is looked for anew."""
    for number in range(4):
        study.append([event(number)])

    class Moving(Failing):
        has_moved = False

        def get(self, name):
            if not self.has_moved:
                Moving.has_moved = True
                study.replace([event(number) for number in range(4)])
            return self._folder.get(name)

    assert Segments(Moving(folder)).read() == [event(number) for number in range(4)]


def test_revisions_differ_when_somebody_has_written(study, folder):
    """A reader can tell that there is something new."""
    before = Segments(folder).revision
    study.append(EVENTS)
    after = Segments(folder).revision
    assert before != after == study.revision


def test_a_study_runs_and_goes_on_there(folder):
    """fmin keeps a study in segments, and takes it up."""
    space = {"x": hp.uniform("x", -5, 5)}

    def run(n):
        trials = Trials(storage=Segments(folder))
        fmin(lambda p: p["x"] ** 2, space, rand.suggest, n, trials=trials, rstate=0, verbose=False)
        return trials

    run(40)
    trials = run(70)
    assert trials.tids == list(range(70))
    loaded = Trials.load(Segments(folder))
    assert loaded._dynamic_trials == trials._dynamic_trials
    assert loaded.best_params == trials.best_params


def test_a_killed_writer_loses_nothing_and_leaves_no_lock(tmp_path):
    """kill -9 in the middle: all that was acknowledged is there, and the next one on this machine writes at once."""
    code = (
        "import itertools, sys\n"
        "from sparktune.storage.folders import LocalFolder\n"
        "from sparktune.storage.segments import Segments\n"
        "study = Segments(LocalFolder(sys.argv[1]))\n"
        "study.open()\n"
        "for n in itertools.count():\n"
        "    study.append([{'event': 'x', 'n': n}])\n"
        "    print(n, flush=True)\n"
    )
    folder = LocalFolder(tmp_path / "study")
    for n_lines in (1, 40, 200):
        before = len(Segments(folder).read())
        command = [sys.executable, "-c", code, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            for _ in range(n_lines):
                program.stdout.readline()
            program.send_signal(signal.SIGKILL)
            acknowledged = n_lines + len([line for line in program.stdout if line.endswith("\n")])
        found = Segments(folder).read()[before:]
        assert found == [event(n) for n in range(len(found))]
        assert acknowledged <= len(found) <= acknowledged + 1
    study = Segments(folder)
    study.open()
    study.close()


def test_merging_is_not_needed_to_go_on(folder, monkeypatch):
    """If files cannot be removed, the study grows by them and is right all the same."""

    class Keeping(Failing):
        def remove(self, name):
            if name != NAME:
                raise OSError(1, "Operation not permitted")

    study = Segments(Keeping(folder))
    study.open()
    for number in range(2 * FAN):
        study.append([event(number)])
    study.close()
    assert len(names(folder)) > 2 * FAN
    assert Segments(folder).read() == [event(number) for number in range(2 * FAN)]
    assert segments.FAN == FAN
