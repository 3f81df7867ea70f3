"""Runs that end early: what runs is cancelled and killed, what is finished stays, other jobs are not touched."""

import os
import threading

import pytest
from studies import states

from sparktune import SparkTrials, spark
from sparktune.early_stop import no_progress_loss
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR

pytestmark = [pytest.mark.spark, pytest.mark.parametrize("session", ["local[4]"], indirect=True, scope="module")]


@pytest.fixture
def hold(desk):
    """An objective that returns at once at 0, and checks in with its pid at other points to wait for its loss."""
    check_in = desk.check_in

    def objective(i):
        return 0.0 if i == 0 else float(check_in(f"{i} {os.getpid()}"))

    return objective


def test_timeout_kills_what_runs_and_keeps_what_is_finished(tune, desk, background, hold):
    """At the timeout the run ends, its worker processes and threads with it; a second fmin goes on from the results."""
    tune(float, 2)  # starts the workers, for the clock below
    others = set(threading.enumerate())  # of other tests: a thread that was left alone may still sleep
    run = background(tune, hold, 5, timeout=5)
    visits = [desk.next(), desk.next()]
    trials = run.result(timeout=30)  # the objectives would wait for ever
    for visit in visits:
        visit.wait_until_gone()
    assert states(trials) == [JOB_STATE_DONE] + [JOB_STATE_CANCEL] * 4
    assert trials.fmin_cancelled_reason == spark.FMIN_CANCELLED_REASON_TIMEOUT == "fmin run timeout"
    assert (trials.count_successful_trials(), trials.count_cancelled_trials()) == (1, 4)
    assert trials.losses() == [0.0]
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith("sparktune"):
            thread.join(timeout=30)
            assert not thread.is_alive()

    tune(float, [6, 7], trials=trials)
    assert trials.losses() == [0.0, 6.0, 7.0]
    assert trials.fmin_cancelled_reason is None
    assert len(set(trials._ids)) == 7


def test_own_timeout_and_threshold_are_used_where_fmin_has_none(session, tune, desk, background, hold):
    """SparkTrials(timeout=, loss_threshold=) hold for each fmin that gives none itself."""
    tune(float, 2)  # starts the workers, for the clock below
    trials = SparkTrials(parallelism=1, timeout=4, spark_session=session)
    run = background(tune, hold, [1], trials=trials)
    desk.next()
    assert run.result(timeout=30).fmin_cancelled_reason == "fmin run timeout"

    trials = SparkTrials(parallelism=1, timeout=1e-3, loss_threshold=0.5, spark_session=session)
    assert tune(float, 1, trials=trials).fmin_cancelled_reason == "fmin run timeout"
    assert tune(float, 3, trials=trials, timeout=600).fmin_cancelled_reason == "loss threshold reached"
    tune(float, [1, 2], trials=trials, timeout=600, loss_threshold=-1.0)
    assert (trials.losses(), trials.fmin_cancelled_reason) == ([0.0, 1.0, 2.0], None)


def test_loss_threshold_cancels_what_runs(tune, desk, background, hold):
    """A loss below the threshold ends the run, and the trial that still runs is killed."""
    run = background(tune, hold, [1, 2, 3], loss_threshold=-1.0)
    visits = {visit.message[0]: visit for visit in (desk.next(), desk.next())}
    visits["2"].answer("-2")
    trials = run.result(timeout=30)
    visits["1"].wait_until_gone()
    assert states(trials) == [JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_CANCEL]
    assert trials.argmin == {"i": 2}
    assert trials.fmin_cancelled_reason == "loss threshold reached"


def test_early_stop_cancels_what_runs(tune, desk, background, hold):
    """An early stop rule is asked after each result; what runs when it says stop is killed."""
    run = background(tune, hold, [1, 2, 3], early_stop_fn=no_progress_loss(2))
    visits = {visit.message[0]: visit for visit in (desk.next(), desk.next())}
    visits["1"].answer("5")
    third = desk.next()
    third.answer("6")
    trials = run.result(timeout=30)
    visits["2"].wait_until_gone()
    assert states(trials) == [JOB_STATE_DONE, JOB_STATE_CANCEL, JOB_STATE_DONE]
    assert trials.fmin_cancelled_reason == "early stopping condition"


def test_objective_that_resists_is_killed(tune, desk, background):
    """Signals ignored and every exception swallowed: the worker process ends all the same."""
    check_in = desk.check_in

    def objective(i):
        import signal

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        while True:
            try:
                answer = check_in(i)
            except BaseException:
                continue
            if answer:
                return float(answer)

    run = background(tune, objective, 2, loss_threshold=0.0)
    visits = {visit.message: visit for visit in (desk.next(), desk.next())}
    visits["0"].answer("-1")
    assert states(run.result(timeout=30)) == [JOB_STATE_DONE, JOB_STATE_CANCEL]
    visits["1"].wait_until_gone()


def test_error_of_an_early_stop_rule_ends_the_run_and_what_runs(tune, desk, background, hold):
    """A rule that raises is the caller's error; no trial stays behind, in Spark or as running."""

    def rule(trials, *state):
        raise ZeroDivisionError("a bad rule")

    trials = []

    def run():
        trials.append(SparkTrials(parallelism=2))
        tune(hold, [0, 1], trials=trials[0], early_stop_fn=rule, parallelism=2)

    result = background(run)
    with pytest.raises(ZeroDivisionError, match="a bad rule"):
        result.result(timeout=60)
    assert states(trials[0]) == [JOB_STATE_DONE, JOB_STATE_CANCEL]


def job(session, job_id):
    """What Spark's own UI knows of a job."""
    return session.sparkContext._jsc.sc().statusStore().job(job_id)


def test_jobs_stay_in_the_callers_group_and_pool(session, tune, desk, background, hold):
    """Trials run in the job group and the pool of the thread that calls fmin, described; cancelling them, which goes
    by their own tags, leaves the caller's other jobs in that group running."""
    context = session.sparkContext
    check_in = desk.check_in
    trials = SparkTrials(parallelism=2, spark_session=session)  # made in a thread without a group

    def in_group(function, *args, **kwargs):
        context.setJobGroup("the-callers-group", "the caller's description")
        context.setLocalProperty("spark.scheduler.pool", "the-callers-pool")
        result = function(*args, **kwargs)
        assert context.getLocalProperty("spark.job.description") == "the caller's description"
        return result

    def foreign_job():
        return context.parallelize([0], 1).map(lambda _: check_in("foreign")).collect()

    foreign = background(in_group, foreign_job)
    foreign_visit = desk.next()
    run = background(in_group, tune, hold, [7, 8], trials=trials, loss_threshold=-1.0)
    visits = {visit.message[0]: visit for visit in (desk.next(), desk.next())}

    foreign_id, *ids = sorted(context.statusTracker().getJobIdsForGroup("the-callers-group"))
    store = context._jsc.sc().statusStore()  # what Spark's own UI shows
    jobs = [store.job(job_id) for job_id in ids]
    assert {data.description().get() for data in jobs} == {
        "sparktune preflight",
        "sparktune trial 0",
        "sparktune trial 1",
    }
    stages = [store.lastStageAttempt(data.stageIds().head()) for data in jobs]
    assert [stage.schedulingPool() for stage in stages] == ["the-callers-pool"] * 3

    visits["7"].answer("-2")
    run.result(timeout=30)
    visits["8"].wait_until_gone()
    assert states(trials) == [JOB_STATE_DONE, JOB_STATE_CANCEL]
    assert list(context.statusTracker().getActiveJobsIds()) == [foreign_id]
    foreign_visit.answer("still here")
    assert foreign.result(timeout=30) == ["still here"]


def test_two_runs_at_once_do_not_touch_each_other(tune, desk, background, hold):
    """Runs side by side on one session, with the same trial ids: when one stops early, the other goes on."""
    first = background(tune, hold, [1, 2], loss_threshold=-1.0)
    visits = [desk.next(), desk.next()]
    second = background(tune, hold, [3, 4])
    visits = {visit.message[0]: visit for visit in (*visits, desk.next(), desk.next())}
    visits["1"].answer("-2")
    assert states(first.result(timeout=30)) == [JOB_STATE_DONE, JOB_STATE_CANCEL]
    visits["2"].wait_until_gone()
    visits["3"].answer("3")
    visits["4"].answer("4")
    assert second.result(timeout=30).losses() == [3.0, 4.0]


def test_second_run_with_an_object_that_runs_is_refused(session, tune, desk, background, hold):
    """Each of two runs would start the other's trials; the first goes on, and afterwards another may begin."""
    trials = SparkTrials(parallelism=1, spark_session=session)
    first = background(tune, hold, [1], trials=trials)
    visit = desk.next()
    with pytest.raises(InvalidArgumentError, match="one fmin at a time"):
        tune(hold, [0], trials=trials)
    visit.answer("1")
    assert first.result(timeout=60).losses() == [1.0]
    assert tune(hold, [0], trials=trials).losses() == [1.0, 0.0]


def test_trial_cancelled_from_outside_has_failed(session, tune, desk, background, hold):
    """Somebody who cancels a trial's job, in Spark's UI for example, ends that trial; the run goes on."""
    run = background(tune, hold, [1, 2], parallelism=1)
    desk.next()
    session.sparkContext.cancelAllJobs()
    desk.next().answer("2")
    trials = run.result(timeout=60)
    assert states(trials) == [JOB_STATE_ERROR, JOB_STATE_DONE]
    assert "cancel" in trials._dynamic_trials[0]["misc"]["error"][1]
