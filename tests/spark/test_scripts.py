"""A user's script in a process of its own: Ctrl-C, and classes that exist in the script only."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sparktune
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE

pytestmark = pytest.mark.spark

SCRIPT = '''
import json
import signal
import socket
import sys
import threading

root, port, path = sys.argv[1:]
sys.path.insert(0, root)

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.spark import get_session


class Model:
    """Exists in this script only."""

    size = 3


class Failure(Exception):
    """Exists in this script only, and cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(first)


def check_in(message):
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(f"{message}\\n".encode())
        return connection.recv(100).decode()


def objective(i):
    if i == 0:
        return {"loss": 0.5, "status": "ok", "model": Model()}
    if i == 1:
        raise Failure("of the script", 2)
    check_in(f"trial {i}")


def other_job():
    others.extend(context.parallelize([0], 1).map(lambda _: check_in("other job")).collect())


context = get_session("local[4]", config={"spark.ui.enabled": "false"}).sparkContext
before = signal.getsignal(signal.SIGINT)
others = []
thread = threading.Thread(target=other_job)
thread.start()
trials = SparkTrials(parallelism=2)
try:
    fmin(
        objective,
        hp.randint("i", 9),
        algo=rand.suggest,
        max_evals=0,
        trials=trials,
        points_to_evaluate=[{"i": i} for i in range(6)],
        show_progressbar=False,
        trials_save_file=path,
    )
    ended = "fmin returned"
except KeyboardInterrupt:
    ended = "KeyboardInterrupt"
is_restored = signal.getsignal(signal.SIGINT) is before
check_in("fmin has ended")
thread.join()
print(
    json.dumps(
        {
            "ended": ended,
            "is_restored": is_restored,
            "others": others,
            "reason": trials.fmin_cancelled_reason,
            "states": [document["state"] for document in trials._dynamic_trials],
            "losses": trials.losses()[:1],
            "is_model": type(trials.results[0]["model"]) is Model,
            "error": trials._dynamic_trials[1]["misc"]["error"],
        }
    )
)
'''


def test_interrupt_stops_the_trials_and_nothing_else(desk, tmp_path):
    """On Ctrl-C, KeyboardInterrupt reaches the caller, running trials are cancelled and finished ones kept; the
    application's other job goes on, and the signal handler is the one from before."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = tmp_path / "trials.pkl"
    root = str(Path(sparktune.__file__).parent.parent)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYSPARK_", "PYTHONPATH"))}
    process = subprocess.Popen(
        [sys.executable, str(script), root, str(desk.port), str(path)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives it
    )
    try:
        visits = {visit.message: visit for visit in (desk.next(timeout=120), desk.next(), desk.next())}
        assert set(visits) == {"other job", "trial 2", "trial 3"}
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of the group
        ended = desk.next(timeout=60)
        assert ended.message == "fmin has ended"
        visits["trial 2"].wait_until_gone()
        visits["trial 3"].wait_until_gone()
        visits["other job"].answer("still here")
        ended.answer()
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, stderr
    report = json.loads(stdout)
    kind, traceback = report.pop("error")  # the traceback, as hyperopt's SparkTrials has it
    assert kind == "<class '__main__.Failure'>"
    assert traceback.startswith("Traceback (most recent call last)")
    assert traceback.endswith("of the script\n")
    assert report == {
        "ended": "KeyboardInterrupt",
        "is_restored": True,
        "others": ["still here"],
        "reason": "fmin run cancelled by user",
        "states": [JOB_STATE_DONE, 3] + [JOB_STATE_CANCEL] * 4,
        "losses": [0.5],
        "is_model": True,
    }
    # The file can be read here, where the script's classes do not exist.
    with open(path, "rb") as file:
        trials = pickle.load(file)
    assert [document["state"] for document in trials._dynamic_trials] == report["states"]
    assert trials.best_trial["result"]["model"].size == 3
