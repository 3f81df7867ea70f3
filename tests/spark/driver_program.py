"""A user's program on Spark, to be interrupted or killed while it tunes: ``driver_program.py ADDRESS JOURNAL``.

Beside its trials, which take one of two slots, it has another Spark job that must not be touched. If it lives to see
the end of ``fmin``, it goes on with a second one and notes what it has seen.
"""

import signal
import sys
import threading

import objectives
from clusters import classic_session, remote_session
from objectives import Journal, evaluate, has_children
from pyspark import cloudpickle

from sparktune import SparkTrials, fmin, hp, rand

cloudpickle.register_pickle_by_value(objectives)  # executors cannot import it

STATES = {2: "done", 3: "failed", 4: "cancelled"}


def run_other_job(session, journal):
    """A job that has begun when this returns; the function that waits for its end, and returns what came of it."""

    def task(batches):
        for _ in batches:
            pass
        journal.note("other job")
        journal.wait("released", timeout=300)
        import pyarrow

        yield pyarrow.RecordBatch.from_arrays([pyarrow.array(["went on"])], ["said"])

    def run():
        said.extend(row.said for row in session.range(0, 1, 1, 1).mapInArrow(task, "said string").collect())

    def result():
        thread.join()
        return said

    said = []
    thread = threading.Thread(target=run)
    thread.start()
    journal.wait("other job", timeout=120)
    return result


def main(address, journal):
    """Tune, be interrupted, go on."""
    session = remote_session(address) if address.startswith("sc:") else classic_session(address)
    result_of_other_job = run_other_job(session, journal)
    trials = SparkTrials(1, spark_session=session)

    def objective(i):
        return 0.5 if i in (0, 3) else evaluate(has_children, journal)

    def tune(*points):
        points = [{"i": i} for i in points]
        fmin(
            objective,
            hp.randint("i", 9),
            algo=rand.suggest,
            max_evals=len(trials.trials),
            trials=trials,
            points_to_evaluate=points,
            return_argmin=False,
            show_progressbar=False,
        )

    before = signal.getsignal(signal.SIGINT)
    try:
        tune(0, 1, 2)
        ended = "fmin returned"
    except KeyboardInterrupt:
        ended = "KeyboardInterrupt"
    is_restored = signal.getsignal(signal.SIGINT) is before
    journal.note("released")
    said = result_of_other_job()
    states = [STATES[document["state"]] for document in trials._dynamic_trials]
    tune(3)
    last = STATES[trials._dynamic_trials[-1]["state"]]
    journal.note("report", ended=ended, is_restored=is_restored, other_job=said, states=states, second_fmin=last)


if __name__ == "__main__":
    main(sys.argv[1], Journal(sys.argv[2]))
