"""What the programs share: the peer, and one ``fmin`` of a library with hyperopt's API."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def hyperopt_or_none() -> Any:
    """The peer, quiet, or None if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import hyperopt
    except ImportError:
        return None
    for name in ("hyperopt-spark", "hyperopt.tpe", "hyperopt.fmin"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return hyperopt


def run_fmin(
    library: Any, session: Any, objective: Callable[[float], Any], algo: str, n: int, parallelism: int, **options: Any
) -> list[dict[str, Any]]:
    """The documents of n trials over one float on Spark.

    Args:
        library: Ours, or one with hyperopt's API.
        session: A Spark session.
        objective: Gets a float between -5 and 5.
        algo: "tpe" or "rand".
        n: Trials.
        parallelism: Trials at a time.
        **options: Of the library's ``SparkTrials``.
    """
    trials = library.SparkTrials(parallelism=parallelism, spark_session=session, **options)
    library.fmin(
        objective,
        library.hp.uniform("x", -5, 5),
        algo=getattr(library, algo).suggest,
        max_evals=n,
        trials=trials,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    if len(trials.trials) != n:
        raise RuntimeError(f"{library.__name__} ran {len(trials.trials)} of {n} trials")
    documents: list[dict[str, Any]] = trials.trials
    return documents
