"""Handles on shared values, and Spark's broadcast variables, as options of a space; on a session and on a cluster."""

import pickle
import threading

import numpy as np
import pytest

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.pyll import scope

pytestmark = pytest.mark.spark

#: Its workers have no sparktune.
CLUSTER = pytest.param("local-cluster[2,1,1024]", marks=pytest.mark.slow)
on_both = pytest.mark.parametrize("session", ["local[2]", CLUSTER], indirect=True, scope="module")
engines = pytest.mark.parametrize("engine", ["jobs", "workers"])


def tune(session, objective, space, points, engine="jobs", **options):
    """The trials at some points, one after another."""
    trials = SparkTrials(parallelism=1, spark_session=session, engine=engine, **options)
    fmin(
        objective,
        space,
        algo=rand.suggest,
        max_evals=0,
        trials=trials,
        points_to_evaluate=points,
        return_argmin=False,
        show_progressbar=False,
        verbose=False,
    )
    return trials


@on_both
@engines
def test_handles_can_be_options(session, engine):
    """The objective gets the value of the handle that was chosen, be it an option or held by one."""
    small, large = SparkTrials.broadcast([1.0, 2.0]), SparkTrials.broadcast([10.0] * 1000)
    space = hp.choice("data", [small, large, lambda: small, {"held": [large, 3]}])

    def objective(data):
        data = data["held"][0] if isinstance(data, dict) else data() if callable(data) else data
        return sum(data.value)

    trials = tune(session, objective, space, [{"data": i} for i in range(4)], engine)
    assert trials.losses() == [3.0, 10_000.0, 3.0, 10_000.0]


@on_both
@engines
def test_broadcast_variables_can_be_options(session, engine):
    """Spark's own broadcast variables are options as they are with hyperopt, beside one that the objective uses."""
    used, *options = (session.sparkContext.broadcast([float(n)] * n) for n in (1, 3, 5))
    space = hp.choice("data", [*options, lambda: options[0]])

    def objective(data):
        data = data() if callable(data) else data
        return sum(data.value) + used.value[0]

    trials = tune(session, objective, space, [{"data": i} for i in range(3)], engine)
    assert trials.losses() == [10.0, 26.0, 10.0]


@on_both
@engines
def test_handles_hold_others(session, engine):
    """A value that is broadcast may hold other handles and Spark's own variables, used by the objective or an option.

    The inner ones are loaded first, and need not be used by themselves.
    """
    variable = session.sparkContext.broadcast([100.0])
    inner = SparkTrials.broadcast(list(range(5)))
    outer = SparkTrials.broadcast({"inner": inner, "deeper": SparkTrials.broadcast([inner, variable])})
    option = SparkTrials.broadcast([SparkTrials.broadcast([1000.0])])
    space = hp.choice("data", [option])

    def objective(data):
        number, broadcast = outer.value["deeper"].value
        return float(sum(outer.value["inner"].value) + number.value[1]) + broadcast.value[0] + data.value[0].value[0]

    assert tune(session, objective, space, [{"data": 0}] * 2, engine).losses() == [1111.0] * 2


def test_option_that_is_a_handle_is_sent_once(session, monkeypatch):
    """What a trial is sent does not grow with the value of its option."""
    from sparktune.spark.jobs import RemoteObjective

    sizes, request = [], RemoteObjective.request

    def measured(objective, call):
        sizes.append(len(argument := request(objective, call)))
        return argument

    monkeypatch.setattr(RemoteObjective, "request", measured)
    space = hp.choice("data", [SparkTrials.broadcast(np.arange(1_000_000))])
    assert tune(session, lambda data: float(data.value[7]), space, [{"data": 0}] * 3).losses() == [7.0] * 3
    assert len(sizes) == 3
    assert max(sizes) < 1000


@engines
def test_same_objective_with_other_handles(session, engine):
    """A worker that knows the objective from another space gets what is in this one."""

    def objective(data):
        return float(data.value)

    for n in range(4):
        space = hp.choice("data", [SparkTrials.broadcast(n)])
        # Without the check, which loads the objective anew on the worker that it meets.
        assert tune(session, objective, space, [{"data": 0}] * 2, engine, preflight=False).losses() == [n, n]


def test_option_that_cannot_be_pickled_fails_its_trial_only(session):
    """A lock among the options is the failure of the trials that get it; the handles beside it arrive."""
    space = hp.choice("data", [threading.Lock(), SparkTrials.broadcast(2.0)])
    trials = tune(session, lambda data: data.value, space, [{"data": i} for i in range(2)])
    assert [trial["state"] for trial in trials._dynamic_trials] == [JOB_STATE_ERROR, JOB_STATE_DONE]
    assert "cannot pickle" in trials._dynamic_trials[0]["misc"]["error"][1]
    assert trials._dynamic_trials[1]["result"]["loss"] == 2.0


def test_frame_as_an_option_fails_its_trial_with_the_fix(session):
    """A DataFrame cannot be an option on the executors; the error says where it can."""
    space = hp.choice("data", [session.range(3), SparkTrials.broadcast(2.0)])
    trials = tune(session, lambda data: data.value, space, [{"data": i} for i in range(2)])
    failed, done = trials._dynamic_trials
    assert (failed["state"], done["state"]) == (JOB_STATE_ERROR, JOB_STATE_DONE)
    assert "at this point holds a DataFrame" in failed["misc"]["error"][1]
    assert 'engine="driver"' in failed["misc"]["error"][1]


def test_what_only_a_function_of_the_space_knows(session):
    """A handle that the space itself does not hold travels whole; a broadcast variable fails with the rule."""
    handle, variable = SparkTrials.broadcast([4.0]), session.sparkContext.broadcast([5.0])

    @scope.define
    def found_in_a_module(i):
        return [handle, variable][i]

    space = scope.found_in_a_module(hp.randint("i", 2))
    trials = tune(session, lambda data: data.value[0], space, [{"i": i} for i in range(2)])
    done, failed = trials._dynamic_trials
    assert (done["result"]["loss"], failed["state"]) == (4.0, JOB_STATE_ERROR)
    assert "have a key to it in the space" in failed["misc"]["error"][1]


def test_broadcast_variable_among_the_options_stays_out_of_other_jobs(session):
    """After fmin the program may destroy it, and its next job has nothing to do with it."""
    variable = session.sparkContext.broadcast([1.0])
    tune(session, lambda data: data.value[0], hp.choice("data", [variable]), [{"data": 0}])
    variable.destroy()
    assert session.sparkContext.parallelize([1], 1).map(lambda x: x + 1).collect() == [2]


def test_space_without_any_is_sent_as_before(session, monkeypatch):
    """Options are not pickled ahead where they can hold nothing, and others once."""
    pickled = []

    class Option:
        def __reduce__(self):
            pickled.append(1)
            return int, ()

    space = {"x": hp.choice("x", [1, "a", None, 2.5, b"c"]), "o": hp.choice("o", [Option()])}
    trials = tune(session, lambda point: float(point["o"]), space, [{"x": 0, "o": 0}] * 3)
    assert trials.losses() == [0.0] * 3
    assert len(pickled) == 1 + 3
    assert pickle.loads(pickle.dumps(trials)).losses() == [0.0] * 3
