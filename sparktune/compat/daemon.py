"""``spark.python.daemon.module=sparktune.compat.daemon``: on Spark's workers, hyperopt means sparktune.

Spark starts this module where it would start ``pyspark.daemon``, with the same arguments; its workers are forks of it.
"""

from __future__ import annotations

import os
import runpy

import numpy as np

from sparktune.compat.finder import install


def main() -> None:
    """Be Spark's own daemon, with the alias; returns when Spark ends it."""
    install()
    daemon = os.getpid()

    def draw_anew() -> None:
        if os.getppid() == daemon:  # a worker, not a process that a function there has made
            np.random.seed()

    # sparktune has loaded NumPy, which Spark's daemon leaves to the workers: all would draw the same numbers. Python's
    # own ``random`` sees to this itself.
    os.register_at_fork(after_in_child=draw_anew)
    # As ``__main__`` of sys.modules too: what a worker starts by ``spawn`` looks there for what it was started from.
    runpy.run_module("pyspark.daemon", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
