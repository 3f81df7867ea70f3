"""Studies that are kept: what is written while they run, and taken up by the next program."""

import contextlib
import copy
import datetime
import gc
import os
import pickle
import subprocess
import sys
from threading import Lock

import numpy as np
import pytest
from studies import Gift

from sparktune import STATUS_OK, Domain, FMinIter, Study, Trials, fmin, hp, rand, space_eval, tpe
from sparktune.exceptions import InvalidStorage
from sparktune.history.events import n_renewed
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING
from sparktune.space.compile import Space
from sparktune.storage import keeper
from sparktune.storage.encoding import Pickled
from sparktune.storage.journal import Journal

SPACE = {"x": hp.uniform("x", -5, 5), "c": hp.choice("c", ["a", hp.lognormal("s", 0, 1)])}


def loss(point):
    return (point["x"] - 1) ** 2


def minimise(objective=loss, space=SPACE, max_evals=5, **options):
    """A short run; the trials."""
    options = {"algo": rand.suggest, "rstate": 0, "verbose": False, "return_argmin": False} | options
    trials = options.setdefault("trials", Trials())
    fmin(objective, space, max_evals=max_evals, **options)
    return trials


def documents_of(path, **options):
    """What is in a storage."""
    return Trials.load(path, **options)._dynamic_trials


@pytest.fixture
def path(tmp_path):
    """Where a study may be kept."""
    return tmp_path / "study.journal"


class Flaky:
    """A storage that refuses to write while ``error`` is set, and counts."""

    def __init__(self, path):
        self._journal = Journal(path)
        self.error = None
        self.n_written = 0

    def __getattr__(self, name):
        return getattr(self._journal, name)

    def __str__(self):
        return "flaky"

    def append(self, events, sync=True):
        if self.error is not None:
            raise self.error
        self._journal.append(events, sync)
        self.n_written += len(events)


@pytest.fixture
def flaky(path, monkeypatch):
    """One that is tried again at once."""
    monkeypatch.setattr(keeper, "RETRY_INTERVAL", 0.0)
    return Flaky(path)


# -- what comes back --------------------------------------------------------------------------------------------------


def test_a_study_comes_back_as_it_was(path):
    """Documents, best point and space are the same, and the run is not repeated."""
    trials = minimise(storage=path)
    loaded = Trials.load(path)
    assert loaded._dynamic_trials == trials._dynamic_trials
    assert loaded.best_params == space_eval(SPACE, trials.argmin)
    minimise(lambda _: pytest.fail("evaluated again"), storage=path, trials=Trials())


def test_a_new_study_is_found_before_it_is_asked_anything(path):
    """Others may read it, and go on with it once it is closed."""
    with contextlib.closing(Study(SPACE, tpe.suggest, storage=path)):
        loaded = Trials.load(path)
        assert len(loaded) == 0
        assert loaded._past.space.labels == ("c", "s", "x")
    with contextlib.closing(Study.load(path)) as study:
        assert study.ask().tid == 0


def test_the_same_program_goes_on_where_it_was(path):
    """``max_evals`` counts all trials, and the seed's stream goes on instead of beginning anew."""
    minimise(max_evals=4, storage=path)
    trials = minimise(max_evals=10, storage=path)
    assert trials.tids == list(range(10))
    assert len({document["misc"]["vals"]["x"][0] for document in trials.trials}) == 10
    assert documents_of(path) == trials._dynamic_trials


def test_results_of_all_kinds_come_back(path):
    """Arrays, bytes, tuples, times, nothing, infinity and pickles that were asked for."""
    result = {
        "status": STATUS_OK,
        "loss": 1.0,
        "array": np.arange(4.0).reshape(2, 2),
        "bytes": b"\x00\xff",
        "tuple": (1, (2, None)),
        "time": datetime.datetime(2026, 1, 1),
        "nested": {"inf": [float("inf"), -0.0], 3: {"$x": 1}},
        "set": {1, 2},
        "function": lambda x: x + 1,
    }
    minimise(lambda _: copy.copy(result), max_evals=1, storage=path)
    (back,) = [document["result"] for document in documents_of(path, trust=True)]
    np.testing.assert_array_equal(back.pop("array"), result["array"])
    assert back.pop("function")(1) == 2
    assert back == {key: value for key, value in result.items() if key not in ("array", "function")}
    (closed,) = [document["result"] for document in documents_of(path)]
    assert isinstance(closed["set"], Pickled)
    assert isinstance(closed["function"], Pickled)
    assert closed["bytes"] == b"\x00\xff"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_odd_losses_come_back(path, value):
    """A loss that is no finite number is kept as it is."""
    minimise(lambda _: value, max_evals=1, storage=path)
    (document,) = documents_of(path)
    np.testing.assert_equal(document["result"]["loss"], value)


def test_what_cannot_be_stored_costs_itself(path, caplog):
    """A result with a generator is kept without it, with a warning; the trial counts."""
    minimise(
        lambda _: {
            "status": STATUS_OK,
            "loss": 1.0,
            "odd": (x for x in "a"),
            "more": {"odd": Lock(), "n": 1},
        },
        max_evals=1,
        storage=path,
    )
    (document,) = documents_of(path)
    assert document["result"]["loss"] == 1.0
    assert document["result"]["odd"].startswith("<generator")
    assert document["result"]["more"]["n"] == 1
    assert "a part of trial 0 is left out of the storage: a generator cannot be stored" in caplog.text
    assert len(minimise(max_evals=2, storage=path)) == 2


def test_a_hostile_study_runs_no_code(path):
    """Loading, resuming and compacting a study with a pickle in it do not open the pickle."""
    minimise(lambda _: {"status": STATUS_OK, "loss": 0.0, "gift": Gift()}, max_evals=1, storage=path)
    Gift.n_opened = 0
    assert isinstance(documents_of(path)[0]["result"]["gift"], Pickled)
    trials = minimise(max_evals=2, storage=path)
    trials.save(path.with_name("copy"))
    assert isinstance(documents_of(path.with_name("copy"))[0]["result"]["gift"], Pickled)
    assert Gift.n_opened == 0
    documents_of(path, trust=True)
    assert Gift.n_opened == 1


def test_attachments_come_back(path):
    """Those of results, those that were set while the trial ran, and in saved and resumed studies, too."""

    def objective(expr, memo, ctrl):
        ctrl.attachments["weights"] = b"w"
        return {"status": STATUS_OK, "loss": 1.0, "attachments": {"model": np.arange(3)}}

    minimise(objective, max_evals=2, storage=path, pass_expr_memo_ctrl=True)
    resumed = minimise(max_evals=3, storage=path)
    resumed.save(path.with_name("copy"))
    for trials in (resumed, Trials.load(path), Trials.load(path.with_name("copy"))):
        attachments = trials.trial_attachments(trials.trials[1])
        assert attachments["weights"] == b"w"
        np.testing.assert_array_equal(attachments["model"], np.arange(3))
        assert not trials.trial_attachments(trials.trials[2])


def test_failed_and_cancelled_trials_come_back(path):
    """An error with its traceback is there afterwards."""
    trials = minimise(divide, storage=path, catch_eval_exceptions=True)
    assert [document["state"] for document in documents_of(path)] == [JOB_STATE_ERROR] * 5
    assert documents_of(path) == trials._dynamic_trials
    with pytest.raises(ZeroDivisionError):
        minimise(divide, max_evals=9, storage=path)
    assert len(documents_of(path)) == 6


def test_failed_trials_count_after_a_restart_too(path):
    """A program that is started again when it was done evaluates nothing, though some of its trials have failed."""

    def objective(point):
        return 1 / 0 if point["x"] < 0 else point["x"]

    first = minimise(objective, max_evals=12, storage=path, catch_eval_exceptions=True)
    assert 0 < len(first) < 12
    again = minimise(lambda _: pytest.fail("evaluated"), max_evals=12, storage=path, catch_eval_exceptions=True)
    assert again._dynamic_trials == first._dynamic_trials


def divide(_):
    return 1 / 0


def test_ids_of_all_kinds_come_back(path):
    """Trials of the user with texts and fractions as ids are kept and gone on from."""
    template = minimise(max_evals=1).trials[0]
    trials = Trials()
    for tid in ("a::b", 2.5):
        document = copy.deepcopy(template)
        document["tid"] = document["misc"]["tid"] = tid
        trials.insert_trial_doc(document)
    trials.refresh()
    trials.trial_attachments(trials.trials[0])["note"] = "kept"
    minimise(trials=trials, max_evals=4, storage=path)
    back = Trials.load(path)
    assert back.tids == ["a::b", 2.5, 2, 3]
    assert back.trial_attachments(back.trials[0])["note"] == "kept"


def test_documents_of_other_mappings_come_back(path):
    """A document that was made of mappings of another kind is read as a document."""
    from collections import OrderedDict

    (template,) = minimise(max_evals=1).trials
    document = OrderedDict(template, misc=OrderedDict(template["misc"]), result=OrderedDict(template["result"]))
    trials = Trials()
    trials.insert_trial_doc(document)
    minimise(trials=trials, max_evals=2, storage=path)
    assert documents_of(path)[0] == template


def test_points_to_evaluate_are_not_evaluated_twice(path):
    """The same program with the same points, started again, has them once."""
    points = [{"x": 1.0, "c": 0}, {"x": 2.0, "c": 1, "s": 0.5}]
    minimise(max_evals=3, storage=path, points_to_evaluate=points)
    trials = minimise(max_evals=4, storage=path, points_to_evaluate=points)
    values = [document["misc"]["vals"]["x"][0] for document in trials.trials]
    assert len(values) == 6
    assert values[:2] == [1.0, 2.0]
    assert len(set(values)) == 6


def test_deleted_trials_are_deleted_in_the_storage(path):
    """Whether fewer or more trials come after them."""
    trials = minimise(max_evals=5, storage=path)
    trials.delete_all()
    minimise(max_evals=2, trials=trials)
    assert documents_of(path) == trials._dynamic_trials
    trials.delete_all()
    trials.insert_trial_docs(minimise(max_evals=4, rstate=1).trials)
    minimise(max_evals=4, trials=trials)
    assert documents_of(path) == trials._dynamic_trials
    assert len(documents_of(path)) == 4


def test_objectives_may_insert_trials_from_threads(path):
    """Trials that running ones inject are all in the storage."""

    def objective(expr, memo, ctrl):
        tids = ctrl.trials.new_trial_ids(1)
        raw = {"x": 1.0}
        from sparktune.history.documents import new_misc

        ctrl.inject_results([None], [{"status": STATUS_OK, "loss": 3.0}], [new_misc(tids[0], raw, raw)], tids)
        return 1.0

    trials = Trials(parallelism=4)
    minimise(objective, hp.uniform("x", 0, 1), 20, trials=trials, storage=path, pass_expr_memo_ctrl=True)
    assert documents_of(path) == trials._dynamic_trials


def test_a_trial_inserted_while_others_are_noted_is_not_passed_over(path):
    """One that another thread inserts at that moment is noted the next time."""
    first, second = minimise(max_evals=2).trials

    class Growing(list):
        def __getitem__(self, index):
            found = super().__getitem__(index)
            if isinstance(index, slice) and len(self) == 1:
                self.append(second)
            return found

    trials = Trials()
    trials._dynamic_trials = Growing([first])
    writer = keeper.Keeper(trials, Journal(path))
    writer.storage.open()
    writer._is_open = True
    writer.flush()
    writer.close()
    assert documents_of(path) == [first, second]


def test_views_and_subclasses_are_kept(path):
    """A subclass is kept like Trials; a view of another exp_key writes into the same study."""

    class Mine(Trials):
        pass

    trials = Mine(exp_key="a", storage=path)
    minimise(trials=trials, max_evals=2)
    view = trials.view("b")
    minimise(trials=view, max_evals=3, rstate=1)
    assert [document["exp_key"] for document in documents_of(path)] == ["a", "a", "b", "b", "b"]
    again = Mine(exp_key="b", storage=path)
    assert len(again) == 3


def test_a_pickled_object_is_not_kept_there(path):
    """A copy of the trials does not write into the study of the original."""
    trials = minimise(max_evals=2, storage=path)
    minimise(trials=pickle.loads(pickle.dumps(trials)), max_evals=4)
    assert len(documents_of(path)) == 2


# -- a driver that dies -----------------------------------------------------------------------------------------------


def test_trials_that_were_running_are_evaluated_again_once(path):
    """After one death they are new again and marked; after the second they have failed, and say why."""
    crashes = pytest.raises(KeyboardInterrupt)  # a study that an error has closed is as one whose driver has died
    with crashes, Study(SPACE, rand.suggest, storage=path, rstate=0) as study:
        study.tell(study.ask(), 1.0)
        study.ask()
        raise KeyboardInterrupt
    trials = minimise(max_evals=2, storage=path)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_DONE] * 2
    assert [n_renewed(document) for document in trials._dynamic_trials] == [0, 1]
    attempts = trials.trials[1]["misc"]["run"]["attempts"]
    assert attempts[0]["error"] == "the driver died while the trial was running"
    assert isinstance(attempts[0]["start"], float)  # as executors note it
    for _ in range(3):
        with crashes, Study(SPACE, rand.suggest, storage=path, rstate=0) as study:
            waiting = study.ask()
            raise KeyboardInterrupt
    assert n_renewed(waiting.document) == 0
    failed = [document for document in documents_of(path) if document["state"] == JOB_STATE_ERROR]
    assert [document["misc"]["error"][1] for document in failed] == ["its driver died twice while it was running"]


def test_a_trial_that_a_closed_study_has_left_open_can_be_told_to_the_next(path):
    """Asked in one process and told in another: it stays open, is not asked again, and is not marked as lost."""
    with Study(SPACE, rand.suggest, storage=path, rstate=0) as study:
        trial = study.ask()
    with Study(SPACE, rand.suggest, storage=path, rstate=0) as study:
        assert [opened.params for opened in study.open_trials] == [trial.params]
        assert study.ask().tid == 1
    with Study.load(path) as study:
        assert [opened.tid for opened in study.open_trials] == [0, 1]
        study.tell(0, 0.5)
    trials = minimise(max_evals=2, storage=path)  # which evaluates what is open
    assert trials.losses()[0] == 0.5
    assert [n_renewed(document) for document in trials.trials] == [0, 1]


def test_a_late_result_of_a_trial_that_is_to_be_evaluated_again(path):
    """After a crash a result may come all the same, from where the trial ran, before the trial is asked again."""
    with pytest.raises(ZeroDivisionError), Study(SPACE, rand.suggest, storage=path) as study:
        trial = study.ask()
        1 / 0  # noqa: B018
    with Study(SPACE, rand.suggest, storage=path) as study:
        assert study.open_trials == []
        study.tell(trial.tid, 0.5)
        assert study.ask().tid == 1
    assert documents_of(path)[0]["result"]["loss"] == 0.5


def test_a_storage_that_takes_nothing_is_left_alone_for_a_while(path, monkeypatch):
    """It is not tried at every event; but when the study is closed it is, so that nothing is lost by then."""
    monkeypatch.setattr(keeper, "RETRY_INTERVAL", 600.0)
    storage = Flaky(path)
    with Study(SPACE, rand.suggest, storage=storage) as study:
        n_before, storage.error = storage.n_written, OSError(28, "No space left on device")
        study.tell(study.ask(), 1.0)
        storage.error = None
        study.tell(study.ask(), 0.5)
        assert storage.n_written == n_before
    assert [document["result"]["loss"] for document in documents_of(path)] == [1.0, 0.5]


def test_the_space_of_a_study_is_the_last_that_could_be_stored(path, caplog):
    """A run whose space cannot be stored goes on in the study, which has that of the run before it."""
    minimise(max_evals=2, storage=path)
    minimise(space=SPACE | {"odd": Lock()}, max_evals=3, storage=path)
    assert "the search space and the algorithm are left out of the storage" in caplog.text
    stored = keeper.Keeper(Trials(), Journal(path))
    stored.take_up()
    assert len(stored.runs) == 2
    assert stored.space().labels == Space(SPACE).labels


def test_fmin_over_the_trials_of_a_study_leaves_its_storage_open(path):
    """What is told to the study afterwards is kept, too."""
    with Study(SPACE, rand.suggest, storage=path) as study:
        trial = study.ask()
        minimise(trials=study.trials, max_evals=3)
        study.tell(trial, 0.5)
        assert documents_of(path)[0]["result"]["loss"] == 0.5


@pytest.mark.parametrize("steps", [True, False])
def test_an_iterator_of_ones_own_keeps_the_study(path, steps):
    """FMinIter over trials that are kept writes each result, and lets the storage go at its end."""
    trials = Trials(storage=path)
    iterator = FMinIter(rand.suggest, Domain(loss, SPACE), trials, np.random.default_rng(0), max_evals=3)
    if steps:
        assert [len(documents_of(path)) for _ in iterator] == [1, 2]  # the last step ends it
    else:
        iterator.exhaust()
    assert len(documents_of(path)) == 3
    assert not trials._keeper.is_open


def test_results_told_while_the_study_was_closed_are_written_later(path):
    """What came in after close waits in memory, and is written when the study is opened again."""
    trials = Trials()
    study = Study(SPACE, rand.suggest, trials, storage=path)
    trial = study.ask()
    study.close()
    study.tell(trial, 0.5)
    assert [document["state"] for document in documents_of(path)] == [JOB_STATE_RUNNING]
    minimise(trials=trials, max_evals=2)
    assert [document["state"] for document in documents_of(path)] == [JOB_STATE_DONE] * 2
    assert documents_of(path)[0]["result"]["loss"] == 0.5


def test_late_results_do_not_undo_what_another_program_has_done(path, caplog):
    """If another one has ended the trial meanwhile, its result stands, in the file and in memory."""
    trials = Trials()
    study = Study(SPACE, rand.suggest, trials, storage=path)
    trial = study.ask()
    study.close()
    minimise(lambda _: 7.0, max_evals=1, storage=path)
    study.tell(trial, 0.5)
    minimise(trials=trials, max_evals=2)
    assert trials.trials[0]["result"]["loss"] == documents_of(path)[0]["result"]["loss"] == 7.0
    assert "another program has gone on with it" in caplog.text


def test_all_was_written_before_the_next_trial_begins(path):
    """When an objective is called, its own trial and all earlier results are in the storage."""

    def objective(point):
        found = documents_of(path)
        states = [document["state"] for document in found]
        assert states == [JOB_STATE_DONE] * (len(found) - 1) + [JOB_STATE_RUNNING]
        assert found[-1]["misc"]["vals"]["x"] == [point["x"]]
        return 1.0

    assert len(minimise(objective, storage=path)) == 5


def test_a_study_cut_anywhere_is_read(path, tmp_path):
    """Each trial whose end is on a whole line has ended, with its result; none is there twice."""
    trials = minimise(max_evals=12, storage=path)
    data = path.read_bytes()
    results = {document["tid"]: document["result"] for document in trials.trials}
    ends = [
        (data.find(b"\n", place) + 1, tid)
        for tid in results
        if (place := data.find(b'"event":"end","tid":%d,' % tid)) >= 0
    ]
    piece = tmp_path / "piece"
    for n in range(0, len(data) + 1, 41):  # every byte of the end: tests/e2e/test_crashes.py
        piece.write_bytes(data[:n])
        if data[:n].count(b"\n") < 2:
            continue  # no study yet
        found = documents_of(piece)
        assert len({document["tid"] for document in found}) == len(found)
        done = {document["tid"]: document["result"] for document in found if document["state"] == JOB_STATE_DONE}
        assert done == {tid: results[tid] for end, tid in ends if end <= n}


def test_a_damaged_line_costs_its_trial_and_no_other(path, caplog):
    """A study with a changed byte in the middle is read, with a warning, and gone on with."""
    minimise(max_evals=6, storage=path)
    lines = path.read_bytes().splitlines(keepends=True)
    (place,) = [n for n, line in enumerate(lines) if b'"event":"end","tid":2,' in line]
    lines[place] = lines[place].replace(b'"state":2', b'"state":3')
    path.write_bytes(b"".join(lines))
    assert [document["state"] for document in documents_of(path)] == [2, 2, 1, 2, 2, 2]
    assert f"line {place + 1} of storage {path} is left out: it is damaged" in caplog.text
    assert len(minimise(max_evals=8, storage=path)) == 8
    assert n_renewed(documents_of(path)[2]) == 1


# -- a storage that fails ---------------------------------------------------------------------------------------------


def test_a_storage_that_takes_nothing_for_a_while_loses_nothing(flaky, path, caplog):
    """Results wait in memory, a warning says so once, and all are written when it works again, with another one."""
    n_calls = 0

    def objective(point):
        nonlocal n_calls
        n_calls += 1
        flaky.error = OSError(28, "No space left on device") if 2 <= n_calls <= 4 else None
        return loss(point)

    trials = minimise(objective, max_evals=8, storage=flaky)
    assert documents_of(path) == trials._dynamic_trials
    assert caplog.text.count("takes nothing (No space left on device): results are kept in memory") == 1
    assert caplog.text.count("takes events again") == 1


def test_a_storage_lost_at_the_end_is_said_and_saved_elsewhere(flaky, path, caplog):
    """The run returns its result; the message says what to do, and doing that works."""

    def objective(point):
        flaky.error = OSError(5, "Input/output error")
        return loss(point)

    trials = minimise(objective, max_evals=4, storage=flaky)
    assert len(trials) == 4
    assert "are in memory still; call trials.save(path) with another path" in caplog.text
    trials.save(path.with_name("elsewhere"))
    assert documents_of(path.with_name("elsewhere")) == trials._dynamic_trials
    flaky.error = None
    minimise(trials=trials, max_evals=5)
    assert documents_of(path) == trials._dynamic_trials


def test_a_study_that_begins_while_its_storage_takes_nothing_is_kept_in_memory(flaky, path, caplog):
    """A warning says so; what it is, and its trials, are written when the storage works again."""
    trials = Trials(storage=flaky)
    flaky.error = OSError(28, "No space left on device")
    study = Study(SPACE, tpe.suggest, trials)
    assert caplog.text.count("takes nothing (No space left on device): results are kept in memory") == 1
    trial = study.ask()
    flaky.error = None
    study.tell(trial, 1.0)
    study.close()
    assert documents_of(path) == trials._dynamic_trials
    with contextlib.closing(Study.load(path)) as loaded:
        assert loaded._search.algo.func is tpe.suggest


def test_a_file_removed_while_the_study_runs_is_written_anew(path):
    """Also if its folder goes and comes back; at the end all is there."""

    def objective(point):
        if len(documents_of(path)) == 3:
            path.unlink()
        return loss(point)

    trials = minimise(objective, max_evals=6, storage=path)
    assert documents_of(path) == trials._dynamic_trials


def test_a_file_removed_between_runs_is_written_anew(path):
    """Documents and attachments of the object are all in the new file."""
    trials = minimise(
        lambda _: {"status": STATUS_OK, "loss": 1.0, "attachments": {"a": b"a"}}, max_evals=3, storage=path
    )
    path.unlink()
    minimise(trials=trials, max_evals=4)
    loaded = Trials.load(path)
    assert loaded._dynamic_trials == trials._dynamic_trials
    assert loaded.attachments == trials.attachments
    assert loaded.best_params["x"] == trials.best_params["x"]


def test_a_file_of_limited_size_is_a_full_disk(path):
    """Where the system refuses to let the file grow, the run ends well and says what is in memory."""
    code = (
        "import resource, sys, logging\n"
        "from sparktune import Trials, fmin, hp, rand\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "trials = Trials(storage=sys.argv[1])\n"
        "fmin(abs, hp.uniform('x', -1, 1), rand.suggest, 60, trials=trials, verbose=False, rstate=0)\n"
        "print(len(trials))\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "60", done.stderr
    assert "takes nothing (File too large)" in done.stderr
    assert "call trials.save(path) with another path" in done.stderr
    assert 0 < len(documents_of(path)) < 60
    minimise(lambda _: 1.0, hp.uniform("x", -1, 1), 60, storage=path)
    assert len(documents_of(path)) == 60


@pytest.mark.parametrize("bad", [b"not a study\n", b"PK\x03\x04"])
def test_a_wrong_file_costs_no_trial(path, bad):
    """The error comes before anything is evaluated, and the file is the same afterwards."""
    path.write_bytes(bad)
    with pytest.raises(InvalidStorage, match="is no study of sparktune"):
        minimise(lambda _: pytest.fail("evaluated"), storage=path)
    assert path.read_bytes() == bad


def test_other_trials_are_refused(path):
    """Trials that a study does not have are not mixed into it."""
    minimise(max_evals=2, storage=path)
    with pytest.raises(InvalidStorage, match="has a study of 2 trials, and these Trials hold others"):
        minimise(max_evals=9, trials=minimise(max_evals=4), storage=path)


def test_loading_what_is_not_there_is_an_error(path):
    """Neither a missing file nor an empty one is a study."""
    for _ in range(2):
        with pytest.raises(InvalidStorage, match="has no study"):
            Trials.load(path)
        path.write_bytes(b"")


def test_lines_that_make_no_study_are_refused(path):
    """Whole lines with events that are none are our error, and no other."""
    from sparktune.storage.lines import header, to_lines

    for event in ({"event": "new"}, {"event": "new", "trial": 5}, {"event": "new", "trial": {"tid": 1}}):
        path.write_bytes(to_lines([header(), event]))
        with pytest.raises(InvalidStorage, match="make no study"):
            Trials.load(path)


# -- several objects, several processes -------------------------------------------------------------------------------


def test_a_newer_object_takes_the_study_over(path):
    """A cell of a notebook that is run again goes on; the older object is told when it writes."""
    first = Study(SPACE, rand.suggest, storage=path)
    first.tell(first.ask(), 1.0)
    second = Study(SPACE, rand.suggest, storage=path)
    assert len(second) == 1
    with pytest.raises(InvalidStorage, match="taken it over"):
        first.ask()
    second.tell(second.ask(), 2.0)
    first.close()
    second.close()
    assert [document["result"]["loss"] for document in documents_of(path)] == [1.0, 2.0]


def test_saving_into_its_own_storage_while_it_runs_is_fine(path):
    """A callback may save the study where it is kept: it is there already, and is written further."""

    class Saving:
        def on_trial_end(self, trials, trial):
            trials.save(path)

    trials = minimise(max_evals=4, storage=path, callbacks=[Saving()])
    assert documents_of(path) == trials._dynamic_trials


def test_another_process_reads_while_this_one_writes(path):
    """A reader sees whole studies only, however often it looks, and a second writer is refused."""
    code = (
        "import sys\n"
        "from sparktune import Trials, fmin, hp, rand\n"
        "print('begin', flush=True)\n"
        "fmin(abs, hp.uniform('x', -1, 1), rand.suggest, 300, storage=sys.argv[1], verbose=False)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as program:
        program.stdout.readline()
        n_before, n_refused = 0, 0
        while program.poll() is None:
            if not path.exists() or not Journal(path).read():
                continue
            found = documents_of(path)
            assert [document["tid"] for document in found] == list(range(len(found)))
            assert len(found) >= n_before
            n_before = len(found)
            if n_before and not n_refused and program.poll() is None:
                try:
                    Trials(storage=path)._begin(Domain(abs, hp.uniform("x", -1, 1)), None)
                except InvalidStorage as error:
                    n_refused += "another process is writing" in str(error)
    assert program.returncode == 0
    assert len(documents_of(path)) == 300


def test_a_forgotten_study_leaves_its_storage(path):
    """A Study that nobody closed and nobody has does not keep others from writing."""
    study = Study(SPACE, rand.suggest, storage=path)
    study.ask()
    del study
    gc.collect()
    code = "import sys; from sparktune.storage.journal import Journal; Journal(sys.argv[1]).open()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


# -- cost -------------------------------------------------------------------------------------------------------------


def test_a_long_study_is_compacted_when_it_is_opened(path, monkeypatch):
    """The file is written anew in fewer lines, with everything that was in it, pickles as they were."""
    monkeypatch.setattr("sparktune.storage.journal.FEWEST_LINES", 10)
    kept = minimise(
        lambda _: {"status": STATUS_OK, "loss": 1.0, "odd": {1}, "attachments": {"a": b"a"}},
        max_evals=10,
        storage=path,
        trials=Trials(parallelism=1),
    )
    before = documents_of(path)
    n_lines = path.read_bytes().count(b"\n")
    trials = Trials()
    trials.keep_in(path, trust=True)
    minimise(trials=trials, max_evals=10)
    assert path.read_bytes().count(b"\n") < n_lines * 0.8
    assert documents_of(path) == before
    assert documents_of(path, trust=True) == kept._dynamic_trials
    assert Trials.load(path).attachments == kept.attachments


def test_a_compaction_that_fails_costs_nothing(path, monkeypatch, caplog):
    """Where there is no room to write the file anew, the study goes on in the old one."""
    monkeypatch.setattr("sparktune.storage.journal.FEWEST_LINES", 10)
    minimise(max_evals=10, storage=path)

    class NoRoom(Journal):
        def replace(self, events):
            raise OSError(28, "No space left on device")

    trials = minimise(max_evals=12, storage=NoRoom(path))
    assert documents_of(path) == trials._dynamic_trials
    assert "stays longer than it need be" in caplog.text


def test_a_trial_costs_the_same_however_many_there_are(path):
    """Bytes written, and keys of attachments looked at, do not grow with the study."""
    sizes = []

    class Sizes:
        def on_trial_end(self, trials, trial):
            sizes.append(os.path.getsize(path))

    minimise(
        lambda _: {"status": STATUS_OK, "loss": 1.0, "attachments": {"a": b"a"}},
        max_evals=200,
        storage=path,
        callbacks=[Sizes()],
    )
    first, last = sizes[60] - sizes[10], sizes[190] - sizes[140]
    assert last < first * 1.1


def test_the_algorithm_that_learns_goes_on_with_what_it_knew(path):
    """A resumed search by TPE knows the results that were in the storage."""
    minimise(max_evals=30, algo=tpe.suggest, storage=path)
    trials = minimise(max_evals=31, algo=tpe.suggest, storage=path)
    assert trials.trials[30]["misc"]["search"]["n_trials"] == 30
