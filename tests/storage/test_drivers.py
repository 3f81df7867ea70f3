"""Several driver processes on one study: real processes, really killed, and a server that is really stopped."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from waiting import wait_until

from sparktune import Study, Trials, fmin, hp, rand
from sparktune.storage.database import Database

#: A driver: folder, URL, total, and until when its first trial waits.
DRIVER = """
import json, os, pathlib, sys
from sparktune import Trials, fmin, hp, rand
from sparktune.storage import database
from waiting import wait_until

database.MISSED = 300  # a busy machine may hold a driver up; that one was killed is seen at once, by its process
folder, url, total, until, stop_at = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
mine = []


def objective(x):
    mine.append(x)
    (folder / f"began-{os.getpid()}").touch()
    if until == "four drivers" and len(mine) <= 2:  # who is at its second has written the result of its first
        (folder / f"at-{len(mine)}-{os.getpid()}").touch()
        wait_until(lambda: len(list(folder.glob(f"at-{len(mine)}-*"))) == 4)
    elif len(mine) == 1:
        wait_until(lambda: (folder / until).exists())
    return {"status": "ok", "loss": x * x, "pid": os.getpid()}


def stop(trials, *_):
    states = {document["tid"]: document["state"] for document in trials._dynamic_trials}
    return stop_at != "" and states.get(int(stop_at)) == 2, ()


trials = Trials(storage=database.Database(url, heartbeat=0.2))
fmin(objective, hp.uniform("x", -1, 1), algo=rand.suggest, max_evals=total, trials=trials, verbose=False, rstate=0,
     early_stop_fn=stop)
pids = {document["result"].get("pid") for document in trials.trials} - {None, os.getpid()}
print(json.dumps({"tids": trials.tids, "n_mine": len(mine), "others": sorted(pids)}))
"""

OPTIONS = {"algo": rand.suggest, "rstate": 0, "verbose": False}


@pytest.fixture
def start(tmp_path):
    """Starts a driver process; those that are left are killed in the end."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    drivers = []

    def start(url, total, until="", stop_at=""):
        paths = [os.path.dirname(sys.modules["waiting"].__file__), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        arguments = [sys.executable, str(script), str(tmp_path), url, str(total), until, stop_at]
        drivers.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment))
        return drivers[-1]

    yield start
    for driver in drivers:
        if driver.poll() is None:
            driver.kill()
        driver.communicate()


def rows_of(url, statement):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text(statement)).all()
    engine.dispose()
    return rows


def kill(driver, tmp_path):
    """Kill a driver while its first trial runs."""
    wait_until(lambda: (tmp_path / f"began-{driver.pid}").exists())
    driver.send_signal(signal.SIGKILL)
    driver.wait(60)


def events_of(url, tid):
    return [row.kind for row in rows_of(url, f"select kind from events where number = {tid} order by sequence")]


def test_a_study_with_open_trials_begins_anew(url):
    """Trials that were open when all were deleted are nobody's to evaluate."""
    study = Study(hp.uniform("x", -1, 1), rand.suggest, storage=url)
    study.ask(2)
    study.__exit__(ValueError)  # as if its program had died
    trials = Trials(storage=url)
    trials.delete_all()
    fmin(abs, hp.uniform("x", -1, 1), max_evals=3, trials=trials, **OPTIONS)
    assert len(Trials.load(url)) == 3


def test_four_drivers_share_a_study(url, start):
    """Each trial has one id and one driver, each driver sees the others' results, and the total is that of all."""
    drivers = [start(url, 40, until="four drivers") for _ in range(4)]
    reports = [json.loads(driver.communicate(timeout=240)[0]) for driver in drivers]
    numbers = [row.number for row in rows_of(url, "select number from trials order by number")]
    assert numbers == list(range(len(numbers)))
    assert 40 <= len(numbers) <= 43  # three others may each have begun one more just then
    assert sum(report["n_mine"] for report in reports) == len(numbers)
    assert min(report["n_mine"] for report in reports) >= 1
    # The first trials wait for one another, and so do the second ones: none is done before all have written a result.
    pids = {driver.pid for driver in drivers}
    last = max(reports, key=lambda report: len(report["others"]))
    assert set(last["others"]) | {drivers[reports.index(last)].pid} == pids
    assert all(report["others"] for report in reports)
    assert {row.state for row in rows_of(url, "select state from trials")} == {"done"}
    assert len(Trials.load(url)) == len(numbers)


def test_a_trial_of_a_killed_driver_is_evaluated_again_by_one_that_runs(url, start, tmp_path):
    """kill -9 in mid-trial: a driver that works beside notices, evaluates the trial once more, and says so in it."""
    victim = start(url, 1000, until="never")
    wait_until(lambda: (tmp_path / f"began-{victim.pid}").exists())
    (row,) = rows_of(url, "select number from trials")
    survivor = start(url, 100_000, until="killed", stop_at=str(row.number))
    wait_until(lambda: (tmp_path / f"began-{survivor.pid}").exists())
    kill(victim, tmp_path)
    (tmp_path / "killed").touch()
    assert survivor.wait(240) == 0
    assert events_of(url, row.number) == ["new", "start", "again", "start", "end"]
    (document,) = [document for document in Trials.load(url).trials if document["tid"] == row.number]
    assert document["misc"]["run"]["n_renewed"] == 1
    assert document["result"]["pid"] == survivor.pid


def test_a_killed_driver_that_is_started_again_goes_on_at_once(url, start, tmp_path):
    """On the same machine nobody waits for a heartbeat to fail: the trial that ran is evaluated again, once."""
    victim = start(url, 5, until="never")
    kill(victim, tmp_path)
    restarted = start(url, 5, until="driver.py")
    assert restarted.wait(240) == 0
    assert events_of(url, 0) == ["new", "start", "again", "start", "end"]
    assert [document["tid"] for document in Trials.load(url).trials] == [0, 1, 2, 3, 4]


def test_two_drivers_that_come_after_a_killed_one_evaluate_its_trial_once(url, start, tmp_path):
    """Whoever is first takes the trial over; the other leaves it alone."""
    victim = start(url, 20, until="never")
    kill(victim, tmp_path)
    heirs = [start(url, 20, until="driver.py") for _ in range(2)]
    assert [heir.wait(240) for heir in heirs] == [0, 0]
    assert events_of(url, 0) == ["new", "start", "again", "start", "end"]
    assert 20 <= len(Trials.load(url)) <= 21


class Signal(logging.Handler):
    """Sets an event when a text is logged."""

    def __init__(self, text):
        super().__init__()
        self.text, self.seen = text, threading.Event()

    def emit(self, record):
        if self.text in record.getMessage():
            self.seen.set()


def test_a_server_that_is_stopped_in_mid_run_and_started_again_has_all_results(postgres, caplog):
    """Results are kept while the server is away, proposals wait for it, and all is written when it is back."""
    url = postgres.new_database("restart")
    waits = Signal("gives no ids")
    logging.getLogger("sparktune").addHandler(waits)
    back = threading.Thread(target=lambda: waits.seen.wait(60) and postgres.start())
    back.start()

    def objective(x):
        called.append(x)
        if len(called) == 3:
            postgres.stop()
        return x * x

    called = []
    try:
        fmin(objective, hp.uniform("x", -1, 1), max_evals=6, storage=Database(url, heartbeat=0.1), **OPTIONS)
    finally:
        waits.seen.set()
        back.join(60)
        logging.getLogger("sparktune").removeHandler(waits)
    assert len(called) == 6
    assert Trials.load(url).losses() == [x * x for x in called]
    assert "results are kept in memory" in caplog.text
    assert "takes events again" in caplog.text
    assert [row.sequence for row in rows_of(url, "select sequence from events order by sequence")] == list(range(1, 20))


def test_a_database_that_stays_away_ends_the_run_with_an_error(postgres, monkeypatch):
    """After ten minutes without ids for new trials, here none, asking says so; what was told meanwhile is not lost."""
    monkeypatch.setattr("sparktune.storage.sharing.PATIENCE", 0.0)
    url = postgres.new_database("away")
    with Study(hp.uniform("x", -1, 1), rand.suggest, storage=url) as study:
        trial = study.ask()
        postgres.stop()
        study.tell(trial, 0.5)
        with pytest.raises(OSError, match=r"/away .* has given no ids for new trials for .* start the program again"):
            study.ask()
        postgres.start()
    assert Trials.load(url).losses() == [0.5]


def test_trials_in_parallel_are_recorded_each_once(url):
    """Eight threads of one driver, some of whose trials fail: as many rows as trials, each with its state."""
    trials = Trials(parallelism=8, storage=url)

    def objective(x):
        return 1 / 0 if x > 0.5 else x

    space = hp.uniform("x", -1, 1)
    fmin(objective, space, max_evals=40, trials=trials, catch_eval_exceptions=True, **OPTIONS)
    states = dict(rows_of(url, "select state, count(*) from trials group by state"))
    assert states == {"done": len(trials), "error": 40 - len(trials)}
    assert [row.number for row in rows_of(url, "select number from trials order by number")] == list(range(40))
