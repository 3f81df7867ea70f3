"""What an objective can do to its worker, and what a worker need not have; on a local session and on a cluster.

What is done to workers from outside is in ``test_faults.py``.
"""

import os
import signal
import sys
import threading

import pytest

from sparktune import SparkTrials, fmin, hp, tpe
from sparktune.exceptions import ObjectiveError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR

pytestmark = pytest.mark.spark

CLUSTER = "local-cluster[2,1,1024]"
on_both = pytest.mark.parametrize("session", ["local[2]", CLUSTER], indirect=True, scope="module")
on_cluster = pytest.mark.parametrize("session", [CLUSTER], indirect=True, scope="module")

# -- faults: each ends one trial, and a trial is evaluated again only if its process died -----------------------------

#: By fault: what the trial's error must contain. The trials run in this order, "fine" ones between them.
FAULTS = {
    "raise": ("ValueError", "no such luck"),
    "unpicklable result": ("TypeError", "cannot pickle"),
    "sys.exit": ("SystemExit", "3"),
    "KeyboardInterrupt": ("KeyboardInterrupt", ""),
    "StopIteration": ("StopIteration", "the end"),
    "MemoryError": ("MemoryError", ""),
    "RecursionError": ("RecursionError", "recursion"),
    "odd constructor": ("Odd", "7 and 8"),
    "unpicklable exception": ("Locked", "it holds a lock"),
    "broken str": ("Broken", "raise Broken"),
    "cannot be unpickled": ("Hostile", "exits the driver"),
    "cannot be pickled": ("Stubborn", "exits the worker"),
    "result that cannot be unpickled": ("SystemExit", "3"),
    "os._exit": ("WorkerLostError", "exit code 3"),
    "SIGSEGV": ("WorkerLostError", "SIGSEGV"),
    "kill -9": ("WorkerLostError", "SIGKILL"),
    "abort": ("WorkerLostError", "SIGABRT"),
}
DEADLY = ("os._exit", "SIGSEGV", "kill -9", "abort")
POINTS = [name for fault in FAULTS for name in (fault, "fine")]


def make_objective(write):
    """An objective that commits the fault at ``POINTS[i]``, after a line in the journal."""

    class Odd(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    class Locked(Exception):
        def __init__(self, message):
            super().__init__(message)
            self.lock = threading.Lock()

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    class Hostile(Exception):
        def __reduce__(self):
            return sys.exit, (3,)

    class Stubborn(Exception):
        def __reduce__(self):
            sys.exit(3)

    def recurse():
        return recurse()

    points = POINTS

    def objective(i):
        write(i)
        match points[i]:
            case "raise":
                raise ValueError("no such luck")
            case "unpicklable result":
                return {"loss": 0.0, "status": "ok", "lock": threading.Lock()}
            case "sys.exit":
                sys.exit(3)
            case "KeyboardInterrupt":
                raise KeyboardInterrupt
            case "StopIteration":
                raise StopIteration("the end")
            case "MemoryError":
                bytearray(10**17)
            case "RecursionError":
                recurse()
            case "odd constructor":
                raise Odd(7, 8)
            case "unpicklable exception":
                raise Locked("it holds a lock")
            case "broken str":
                raise Broken
            case "cannot be unpickled":
                raise Hostile("exits the driver")
            case "cannot be pickled":
                raise Stubborn("exits the worker")
            case "result that cannot be unpickled":
                return {"loss": 0.0, "status": "ok", "error": Hostile()}
            case "os._exit":
                os._exit(3)
            case "SIGSEGV":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "kill -9":
                os.kill(os.getpid(), signal.SIGKILL)
            case "abort":
                os.abort()
        return float(i)

    return objective


@pytest.fixture(scope="module")
def aftermath(tune, tmp_path_factory):
    """The trials of one run with every fault in it, and the points that were evaluated."""
    path = tmp_path_factory.mktemp("faults") / "journal.txt"
    name = str(path)

    def write(line):
        with open(name, "a") as file:
            file.write(f"{line}\n")

    trials = tune(make_objective(write), len(POINTS))
    return trials, [int(line) for line in path.read_text().split()]


@on_both
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_ends_its_own_trial_with_an_error_that_names_it(aftermath, fault):
    """The trial has failed, and its document names the exception, or what became of the worker."""
    trials, _ = aftermath
    document = trials._dynamic_trials[POINTS.index(fault)]
    name, message = FAULTS[fault]
    assert document["state"] == JOB_STATE_ERROR
    assert name in document["misc"]["error"][0]
    assert message in document["misc"]["error"][1]


@on_both
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in DEADLY])
def test_error_has_the_traceback_from_the_worker(aftermath, fault):
    """A trial whose objective raises keeps the traceback, with the objective in it."""
    trials, _ = aftermath
    misc = trials._dynamic_trials[POINTS.index(fault)]["misc"]
    assert "Traceback (most recent call last)" in misc["traceback"]
    assert "result" in fault or "in objective" in misc["traceback"]


@on_both
def test_run_goes_on_after_every_fault(aftermath):
    """All trials between the faulty ones end with their loss."""
    trials, _ = aftermath
    assert len(trials._dynamic_trials) == len(POINTS)
    for i, (name, document) in enumerate(zip(POINTS, trials._dynamic_trials, strict=True)):
        if name == "fine":
            assert (document["state"], document["result"]["loss"]) == (JOB_STATE_DONE, float(i))


@on_both
def test_each_attempt_is_one_evaluation_and_only_a_lost_one_is_repeated(aftermath):
    """Spark's own retries, four attempts on a cluster, never reach the objective; one of ours does, if its process
    died, and then the trial's document tells of both attempts."""
    trials, evaluated = aftermath
    expected = [2 if name in DEADLY else 1 for name in POINTS]
    assert [evaluated.count(i) for i in range(len(POINTS))] == expected
    assert [len(document["misc"]["run"]["attempts"]) for document in trials._dynamic_trials] == expected


@on_both
def test_counts_add_up(aftermath):
    """Failed trials are those with a fault."""
    trials, _ = aftermath
    assert trials.count_failed_trials() == len(FAULTS)
    assert trials.count_successful_trials() == len(POINTS) - len(FAULTS)
    assert (trials.count_cancelled_trials(), trials.count_total_trials()) == (0, len(POINTS))


# -- a cluster: executors are processes of their own, and their Python has nothing but Spark --------------------------


@on_cluster
def test_workers_need_neither_sparktune_nor_numpy(session):
    """Every kind of parameter reaches an objective whose Python has the standard library and pyspark only."""

    def objective(params):
        import importlib

        missing = []
        for name in ("sparktune", "numpy", "cloudpickle"):
            try:
                importlib.import_module(name)
            except ImportError:
                missing.append(name)
        return {"loss": params["x"] ** 2, "status": "ok", "missing": missing, "params": params}

    space = {
        "x": hp.uniform("x", -5, 5),
        "q": hp.quniform("q", 0, 100, 5),
        "n": hp.randint("n", 9),
        "m": hp.uniformint("m", 1, 9),
        "c": hp.pchoice("c", [(0.5, ("a", hp.lognormal("s", 0, 1))), (0.5, [{"b": hp.qlognormal("t", 0, 1, 1)}])]),
    }
    trials = SparkTrials(spark_session=session)
    fmin(objective, space, algo=tpe.suggest, max_evals=6, trials=trials, verbose=False, show_progressbar=False)
    assert trials.parallelism == 2
    assert [result["missing"] for result in trials.results] == [["sparktune", "numpy", "cloudpickle"]] * 6
    assert {type(result["params"]["m"]) for result in trials.results} == {int}


@on_cluster
def test_module_of_the_driver_must_be_sent(session, tune, tmp_path, monkeypatch):
    """A module that only the driver can import gives one error that names the fix, and the fix works."""
    path = tmp_path / "beside_the_driver.py"
    path.write_text("def objective(i):\n    return float(i) + 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_driver

    with pytest.raises(ObjectiveError, match=r"No module named 'beside_the_driver'.*--py-files.*addPyFile"):
        tune(beside_the_driver.objective, 5)
    session.sparkContext.addPyFile(str(path))
    assert tune(beside_the_driver.objective, 2).losses() == [0.5, 1.5]


@on_cluster
def test_cancelled_trial_is_killed_on_its_executor(tune, desk, background):
    """A trial that runs when the run ends loses its worker process, on executors too."""
    check_in = desk.check_in
    run = background(tune, lambda i: float(check_in(i)), 2, loss_threshold=0.0)
    visits = {visit.message: visit for visit in (desk.next(), desk.next())}
    visits["0"].answer("-1")
    trials = run.result(timeout=30)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_DONE, JOB_STATE_CANCEL]
    visits["1"].wait_until_gone()


@on_cluster
def test_tasks_can_ask_for_resources(session, tune):
    """On a cluster each trial's task runs with the resource profile."""
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    profile = ResourceProfileBuilder().require(TaskResourceRequests().cpus(1)).build
    trials = SparkTrials(parallelism=2, spark_session=session, resource_profile=profile)
    assert tune(float, 2, trials=trials).losses() == [0.0, 1.0]
    assert profile.id > 0  # Spark numbers the profiles it has used
