"""A user's program that is killed and started again: ``_crash_driver.py KIND STORAGE EVIDENCE MAX_EVALS``.

Each evaluation is noted in the evidence by the objective itself: a line when it begins, and one when it ends, each with
the point, which no two trials share.
"""

import functools
import os
import sys
import time

from sparktune import SparkTrials, Trials, fmin, hp, rand, tpe

#: By kind, how many trials run at a time.
SLOTS = {"serial": 1, "threads": 4, "spark": 2}
#: Seconds that an evaluation takes.
DURATION = {"serial": 0.002, "threads": 0.01, "spark": 0.02}


def evaluate(evidence, duration, x):
    """A loss, and the evidence that it was asked for."""
    note(evidence, "begin", x)
    time.sleep(duration)
    note(evidence, "end", x)
    return (x - 1) ** 2


def note(path, what, x):
    """A line at the end of a file that several processes write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(descriptor, f"{what} {x!r}\n".encode())
    os.close(descriptor)


def main(kind, storage, evidence, max_evals):
    """Tune, from where the storage is."""
    if kind == "spark":
        from sparktune.spark import get_session

        trials = SparkTrials(SLOTS[kind], spark_session=get_session("local[2]"), engine="jobs", storage=storage)
    else:
        trials = Trials(parallelism=SLOTS[kind], storage=storage)
    print("ready", flush=True)
    fmin(
        functools.partial(evaluate, evidence, DURATION[kind]),
        hp.uniform("x", -5, 5),
        algo=tpe.suggest if kind == "serial" else rand.suggest,
        max_evals=int(max_evals),
        trials=trials,
        rstate=0,
        show_progressbar=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
