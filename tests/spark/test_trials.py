"""``fmin`` with ``SparkTrials`` on a local session: results, data sent, parallelism, what is kept."""

import math
import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import sparktune
from sparktune import SparkTrials, Trials, fmin, hp, rand, tpe
from sparktune.exceptions import (
    AllTrialsFailed,
    InvalidArgumentError,
    InvalidTypeError,
    ObjectiveError,
    SerializationError,
    SparktuneError,
)
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.pyll import scope
from sparktune.spark.classic import ClassicGateway

pytestmark = pytest.mark.spark

QUIET = {"show_progressbar": False, "verbose": False}


def run_python(code, *arguments):
    """What a fresh Python process that can import sparktune prints."""
    root = str(Path(sparktune.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {root!r})\n{code}"
    process = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest])
def test_one_at_a_time_equals_trials(session, algo):
    """With parallelism 1, points, losses and the best point are those of Trials, argument types included."""
    space = {
        "x": hp.uniform("x", -5, 5),
        "kind": hp.choice("kind", ["a", {"n": hp.uniformint("n", 1, 9)}, [hp.lognormal("s", 0, 1), None]]),
    }

    def objective(params):
        return {"loss": params["x"] ** 2, "status": "ok", "seen": repr(params)}

    runs = []
    for trials in (Trials(), SparkTrials(parallelism=1, spark_session=session)):
        best = fmin(objective, space, algo=algo, max_evals=8, trials=trials, rstate=np.random.default_rng(1), **QUIET)
        runs.append((best, trials.losses(), trials.vals, [result["seen"] for result in trials.results]))
    assert runs[0] == runs[1]


def test_points_to_evaluate_give_the_losses_of_trials(tune):
    """The same points give the same results, two at a time or one after another."""

    def objective(i):
        return {"loss": math.sin(i), "status": "ok", "double": 2 * i}

    trials = tune(objective, 6)
    assert trials.results == tune(objective, 6, trials=Trials()).results
    assert [document["misc"]["vals"]["i"] for document in trials.trials] == [[i] for i in range(6)]


def test_workers_are_reused(tune):
    """Twenty trials, two at a time, take at most two worker processes."""
    trials = tune(float, 20)
    assert len({document["misc"]["run"]["pid"] for document in trials.trials}) <= 2


def test_result_may_be_of_a_class_of_the_script(tune):
    """A result comes back as an instance of the very class that the objective captured."""

    class Model:
        def __init__(self, i):
            self.i = i

    trials = tune(lambda i: {"loss": i, "status": "ok", "model": Model(i)}, 2)
    assert [type(result["model"]) for result in trials.results] == [Model, Model]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, "InvalidLoss", "forget to return"),
        ("0.5", "InvalidLoss", "number"),
        ({"loss": 0.5}, "InvalidResultStatus", "'status'"),
        ({"status": "ok"}, "InvalidLoss", "'loss'"),
        ({"status": "ok", "loss": None}, "InvalidLoss", "None"),
        ({"status": "great", "loss": 1.0}, "InvalidResultStatus", "great"),
        ({"status": "ok", "loss": 1.0, "attachments": 7}, "InvalidLoss", "dict of contents by name"),
    ],
)
def test_value_that_is_no_result_is_the_failure_of_its_trial(tune, value, error, message):
    """A trial that returns nonsense has failed with what was wrong with it; the others go on."""
    trials = tune(lambda i: value if i == 0 else 1.0, 2)
    first, second = trials._dynamic_trials
    assert (first["state"], second["state"]) == (JOB_STATE_ERROR, JOB_STATE_DONE)
    assert error in first["misc"]["error"][0]
    assert message in first["misc"]["error"][1]


def test_nan_loss_and_status_fail_count_as_failed(tune):
    """Trials that end without a loss are done but count as failed, and the best one is among the others."""
    results = [math.nan, {"status": "fail"}, 2.0, math.inf, 1.0]
    trials = tune(lambda i: results[i], 5)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_DONE] * 5
    assert (trials.count_successful_trials(), trials.count_failed_trials()) == (3, 2)
    assert (trials.count_cancelled_trials(), trials.count_total_trials()) == (0, 5)
    assert trials.argmin == {"i": 4}


def test_result_beyond_the_limit_fails_its_trial_only(tune):
    """A result of more than 64 MiB is refused on the worker, with the limit and the way out in the message."""

    def objective(i):
        return {"loss": i, "status": "ok", "model": bytes(65 * 2**20 if i == 0 else 1)}

    trials = tune(objective, 2)
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_ERROR, JOB_STATE_DONE]
    assert "64 MiB" in trials._dynamic_trials[0]["misc"]["error"][1]
    assert "return their path" in trials._dynamic_trials[0]["misc"]["error"][1]


def test_attachments_come_back(tune):
    """What an objective attaches is found under its trial, and is no part of the result; None attaches nothing."""
    attachments = [{"plot": b"png", "size": 3}, None, {}]
    trials = tune(lambda i: {"loss": i, "status": "ok", "attachments": attachments[i]}, 3)
    assert [dict(trials.trial_attachments(document).items()) for document in trials.trials] == [
        {"plot": b"png", "size": 3},
        {},
        {},
    ]
    assert all("attachments" not in result for result in trials.results)


def test_all_failed_names_the_first_cause(tune):
    """When no trial has a loss, fmin raises with the first failure and its traceback from the worker."""

    def measure(i):
        raise RuntimeError(f"sensor {i} is off")

    def objective(i):
        return measure(i)

    with pytest.raises(AllTrialsFailed, match="sensor 0 is off") as caught:
        tune(objective, 3, parallelism=1, return_argmin=True)
    assert "in measure" in str(caught.value)


def test_space_that_fails_at_a_point_is_the_failure_of_that_trial(session):
    """An expression of the space that raises ends its trial, not the run."""

    @scope.define
    def reciprocal_of_whole_number(i):
        return 1 // i

    trials = SparkTrials(parallelism=2, spark_session=session)
    fmin(
        float,
        scope.reciprocal_of_whole_number(hp.randint("i", 3)),
        algo=rand.suggest,
        max_evals=0,
        trials=trials,
        points_to_evaluate=[{"i": 0}, {"i": 1}],
        **QUIET,
    )
    assert [document["state"] for document in trials._dynamic_trials] == [JOB_STATE_ERROR, JOB_STATE_DONE]
    assert "ZeroDivisionError" in trials._dynamic_trials[0]["misc"]["error"][0]


def test_functions_and_classes_can_be_choices(session):
    """Parameters travel by value: options may be functions that exist in the driver only."""

    def double(x):
        return 2 * x

    class Triple:
        def __call__(self, x):
            return 3 * x

    trials = SparkTrials(parallelism=1, spark_session=session)
    space = hp.choice("f", [double, Triple()])
    points = [{"f": 0}, {"f": 1}]
    fmin(lambda f: f(1.0), space, max_evals=0, trials=trials, points_to_evaluate=points, **QUIET)
    assert trials.losses() == [2.0, 3.0]


# -- what is sent -----------------------------------------------------------------------------------------------------


class KeepsExecutor(SparkTrials):
    """Remembers the executor of its last run, and the size of each trial's request."""

    def make_executor(self, domain):
        self.executor = super().make_executor(domain)
        self.sizes = []
        self.objective = self.executor._objective
        gateway = self.objective.gateway
        run = type(gateway).run

        def measured(task, request, *args):
            self.sizes.append(len(pickle.dumps(task)) + len(request))
            return run(gateway, task, request, *args)

        gateway.run = measured
        return self.executor


def test_captured_data_travel_once(session, tune, journal, monkeypatch):
    """A 20 MB array goes with the objective, once to each worker; a trial costs a few kB, and loads it anew."""
    write, share, shared = journal.write, ClassicGateway.share, []

    def measured(gateway, data):
        shared.append(len(data))
        return share(gateway, data)

    monkeypatch.setattr(ClassicGateway, "share", measured)

    class Data:
        def __init__(self):
            self.values = np.random.default_rng(0).bytes(20_000_000)

        def __setstate__(self, state):
            self.__dict__.update(state)
            write(os.getpid())

    data = Data()
    trials = KeepsExecutor(parallelism=2, spark_session=session, engine="jobs")
    tune(lambda i: float(len(data.values)), 8, trials=trials)
    assert trials.losses() == [20_000_000.0] * 8
    (n_bytes,) = shared
    assert 20_000_000 < n_bytes < 20_100_000
    assert len(trials.sizes) == 8 + 1  # one is the preflight's
    assert max(trials.sizes) < 40_000
    pids = [document["misc"]["run"]["pid"] for document in trials.trials]
    assert {str(pid) for pid in pids} <= set(journal.lines)
    assert len(journal.lines) in (8, 9)  # what the preflight has loaded is that of a trial, if its process gets one


def test_shared_objective_and_threads_are_freed(session, tune):
    """After fmin no thread of ours is left, nor the file the objective was sent from."""
    others = set(threading.enumerate())
    trials = KeepsExecutor(parallelism=2, spark_session=session, engine="jobs")
    tune(float, 3, trials=trials)
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith("sparktune"):
            thread.join(timeout=30)
            assert not thread.is_alive()
    assert not os.path.exists(trials.objective.options["objective"][1]._path)


def test_many_runs_leave_nothing_behind(session, tune):
    """Ten runs on one object add no threads."""

    others = set(threading.enumerate())

    def n_threads():
        for thread in set(threading.enumerate()) - others:
            if thread.name.startswith("sparktune"):
                thread.join(timeout=30)
        return threading.active_count()

    trials = tune(float, 2)
    before = n_threads()
    for start in range(2, 22, 2):
        tune(float, [start, start + 1], trials=trials)
    assert n_threads() <= before
    assert trials.losses() == [float(i) for i in range(22)]


@pytest.mark.parametrize("what", ["session", "context", "frame", "rdd"])
def test_captured_spark_object_is_refused_with_the_fix(session, tune, what):
    """An objective that uses Spark itself cannot run on a worker; the error says where it can."""
    captured = {
        "session": lambda: session,
        "context": lambda: session.sparkContext,
        "frame": lambda: session.range(3),
        "rdd": lambda: session.sparkContext.parallelize([1]),
    }[what]()
    if what == "rdd":
        captured = captured.map(str)
    with pytest.raises(SerializationError, match=r'driver only.*engine="driver"'):
        tune(lambda i: float(str(captured) == ""), 2)


MODULE_THAT_USES_SPARK = """
table = None

def objective(i):
    return float(table.count())

class Objective:
    def __call__(self, i):
        return float(table.count())

    def method(self, i):
        return float(table.count())
"""


@pytest.mark.parametrize("name", ["objective", "Objective()", "Objective().method"])
def test_spark_object_in_a_module_s_globals_is_refused_with_the_fix(session, tune, tmp_path, monkeypatch, name):
    """A function of an imported module travels by its name, so that what its module holds on the driver is missing."""
    (tmp_path / "module_that_uses_spark.py").write_text(MODULE_THAT_USES_SPARK)
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_that_uses_spark

    module_that_uses_spark.table = session.range(3)
    try:
        with pytest.raises(SerializationError, match=r'holds a DataFrame.*engine="driver"'):
            tune(eval(name, vars(module_that_uses_spark)), 2)
    finally:
        del sys.modules["module_that_uses_spark"]


def test_module_that_asks_for_a_session_is_refused_with_the_fix(session, tune, tmp_path, monkeypatch):
    """A module that makes a session as it is imported cannot be loaded on a worker; sending it along would not help."""
    text = "from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate()\n"
    (tmp_path / "module_with_a_session.py").write_text(text + "def objective(i):\n    return 0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_with_a_session

    with pytest.raises(ObjectiveError, match=r'engine="driver"') as error:
        tune(module_with_a_session.objective, 2)
    assert "--py-files" not in str(error.value)


def test_trial_that_asks_for_a_session_fails_with_the_fix(tune):
    """What an objective's own use of Spark fails with on a worker says which engine it needs."""

    def objective(i):
        from pyspark.sql import SparkSession

        return float(SparkSession.getActiveSession().range(3).count())

    [trial] = tune(objective, 1)._dynamic_trials
    assert re.search(r"no attribute 'range'\n.*engine=\"driver\"", trial["misc"]["error"][1])


def test_session_in_a_task_is_refused_before_a_java_is_started(tune):
    """SparkTrials() in an objective fails with the fix at once, instead of starting a Java on the executor first."""

    def objective(i):
        from sparktune import SparkTrials
        from sparktune.spark import session

        started, ensure_java = [], session.ensure_java
        session.ensure_java = lambda: started.append(1)
        try:
            SparkTrials(parallelism=1)
        finally:
            session.ensure_java = ensure_java
            print("started:", started)

    trials = tune(objective, 1)
    error = trials._dynamic_trials[0]["misc"]["error"][1]
    assert "CONTEXT_ONLY_VALID_ON_DRIVER" in error
    assert 'engine="driver"' in error
    assert trials.logs(0).startswith("started: []\n")


def test_captured_lock_is_refused_with_the_fix(tune):
    """An objective that cannot be pickled for another reason gets another hint."""
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="inside the objective"):
        tune(lambda i: float(lock.locked()), 2)


def test_objective_that_wants_ctrl_is_refused(tune):
    """pass_expr_memo_ctrl needs the driver."""
    with pytest.raises(InvalidArgumentError, match="pass_expr_memo_ctrl"):
        tune(lambda expr, memo, ctrl: 0.0, 2, pass_expr_memo_ctrl=True)


def test_module_missing_on_executors_ends_the_run_with_one_error(session, tune, tmp_path, monkeypatch):
    """A module that the workers cannot import gives one error with the fix, and works once it is sent."""
    path = tmp_path / "only_on_the_driver.py"
    path.write_text("def objective(i):\n    return float(i) + 0.5\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        import only_on_the_driver
    monkeypatch.setitem(sys.modules, "only_on_the_driver", only_on_the_driver)
    with pytest.raises(ObjectiveError, match=r"No module named 'only_on_the_driver'.*--py-files.*addPyFile"):
        tune(only_on_the_driver.objective, 5)
    session.sparkContext.addPyFile(str(path))
    assert tune(only_on_the_driver.objective, 2).losses() == [0.5, 1.5]


def test_local_workers_import_what_the_driver_can(tune, tmp_path, monkeypatch):
    """On a local session a module beside the user's script needs no sending."""
    (tmp_path / "beside_the_script.py").write_text("def objective(i):\n    return float(i) + 0.25\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_script

    assert tune(beside_the_script.objective, 2).losses() == [0.25, 1.25]


# -- parallelism ------------------------------------------------------------------------------------------------------


def test_a_slot_is_refilled_as_soon_as_it_is_free(tune, desk, background):
    """The third trial starts when the first ends, while the second still runs."""
    check_in = desk.check_in
    run = background(tune, lambda i: float(len(check_in(i))), 3)
    visits = {visit.message: visit for visit in (desk.next(), desk.next())}
    assert set(visits) == {"0", "1"}
    visits["0"].answer("a")
    third = desk.next()
    assert third.message == "2"
    third.answer("abc")
    visits["1"].answer("ab")
    assert run.result(timeout=60).losses() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_as_many_at_a_time_as_parallelism(tune, desk, background, parallelism):
    """As many evaluations overlap as asked for, but no more than the session has slots."""
    check_in = desk.check_in
    run = background(tune, lambda i: float(len(check_in(i))), 4, parallelism=parallelism)
    visits = [desk.next() for _ in range(min(parallelism, 2))]
    with pytest.raises(TimeoutError):
        desk.next(timeout=1)  # time enough for a third to come
    for n in range(4):
        visits[n].answer("abc")
        if len(visits) < 4:
            visits.append(desk.next())
    assert run.result(timeout=60).losses() == [3.0] * 4


def test_default_parallelism_is_the_number_of_slots(session):
    """None and 0 mean as many as the session has."""
    assert [SparkTrials(p, spark_session=session).parallelism for p in (None, 0, 3, np.int64(3))] == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"parallelism": "4"}, InvalidTypeError),
        ({"parallelism": True}, InvalidTypeError),
        ({"parallelism": 2.0}, InvalidTypeError),
        ({"timeout": -1}, InvalidArgumentError),
        ({"timeout": 0}, InvalidArgumentError),
        ({"timeout": "60"}, InvalidArgumentError),
        ({"timeout": True}, InvalidArgumentError),
        ({"timeout": math.nan}, InvalidArgumentError),
        ({"loss_threshold": "low"}, InvalidArgumentError),
        ({"loss_threshold": False}, InvalidArgumentError),
    ],
)
def test_bad_arguments_are_refused_with_what_was_given(session, arguments, error):
    """Each argument says its rule and the value received."""
    [(name, value)] = arguments.items()
    with pytest.raises(error, match=name) as caught:
        SparkTrials(**arguments, spark_session=session)
    assert str(value) in str(caught.value)
    assert isinstance(caught.value, SparktuneError)


@pytest.mark.parametrize("callbacks", [5, 0, len, [len]], ids=repr)
def test_callbacks_out_of_their_rule_are_refused_as_by_trials(session, callbacks):
    """What is no list of callbacks gives the error that Trials gives."""
    texts = []
    for trials in (Trials(), SparkTrials(1, spark_session=session)):
        with pytest.raises(InvalidTypeError, match="callback") as caught:
            fmin(float, hp.uniform("x", 0, 1), rand.suggest, 1, trials=trials, callbacks=callbacks, **QUIET)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_resource_profile_is_refused_in_local_mode(session):
    """Spark schedules no resources on a local session, so asking for them is an error, not a no-op."""
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    profile = ResourceProfileBuilder().require(TaskResourceRequests().cpus(2)).build
    with pytest.raises(
        InvalidArgumentError, match="resource_profile: Spark has resources to schedule on a cluster only"
    ):
        SparkTrials(spark_session=session, resource_profile=profile)


# -- keeping and resuming ---------------------------------------------------------------------------------------------


READ_WITHOUT_SPARK = """
import pickle
with open(sys.argv[1], "rb") as file:
    trials = pickle.load(file)
assert type(trials).__name__ == "SparkTrials"
assert trials.argmin == {"i": 0} and trials.parallelism == 2
assert trials.count_successful_trials() == 3 and trials.fmin_cancelled_reason is None
assert pickle.loads(pickle.dumps(trials)).losses() == trials.losses()
assert "py4j" not in sys.modules, "reading results started Spark"
print(trials.losses())
"""


def test_trials_save_file_is_read_without_spark(tune, tmp_path):
    """The file holds every result, and a process without Spark can read it."""
    path = tmp_path / "trials.pkl"
    tune(float, 3, trials_save_file=str(path))
    assert run_python(READ_WITHOUT_SPARK, str(path)) == "[0.0, 1.0, 2.0]"
    assert os.listdir(tmp_path) == [path.name]


def test_pickled_trials_resume(tune):
    """An unpickled object finds the session again, and goes on from its trials."""
    trials = pickle.loads(pickle.dumps(tune(float, 2)))
    tune(float, [2, 3], trials=trials)
    assert trials.losses() == [0.0, 1.0, 2.0, 3.0]
    assert trials.tids == [0, 1, 2, 3]


@pytest.mark.parametrize("n_pickled", [1, 2])
def test_a_pickle_that_lacks_its_resource_profile_can_be_read_but_not_go_on(session, tune, n_pickled):
    """Results are there; before more trials run on less than was asked for, the user must say on what."""
    trials = tune(float, 2)
    trials.resource_profile = "of a cluster"
    for _ in range(n_pickled):
        trials = pickle.loads(pickle.dumps(trials))
    assert trials.losses() == [0.0, 1.0]
    assert trials.resource_profile is None
    with pytest.raises(InvalidArgumentError, match=r"ran with a resource_profile.*set trials\.resource_profile"):
        tune(float, [2], trials=trials)
    assert len(trials) == 2
    trials.resource_profile = None
    assert tune(float, [2], trials=trials).losses() == [0.0, 1.0, 2.0]
    assert len(tune(float, [3], trials=pickle.loads(pickle.dumps(trials)))) == 4


def test_trials_save_file_resumes_a_spark_run(session, tmp_path):
    """Without trials=, fmin goes on from the file, with the trials object that is in it."""
    path = str(tmp_path / "trials.pkl")
    space = hp.uniform("x", -1, 1)
    first = SparkTrials(parallelism=2, spark_session=session)
    fmin(abs, space, algo=rand.suggest, max_evals=3, trials=first, trials_save_file=path, **QUIET)
    fmin(abs, space, algo=rand.suggest, max_evals=5, trials_save_file=path, **QUIET)
    with open(path, "rb") as file:
        trials = pickle.load(file)
    assert isinstance(trials, SparkTrials)
    assert len(trials) == 5 and trials.losses()[:3] == first.losses()
