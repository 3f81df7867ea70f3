"""sparktune: hyperparameter tuning with hyperopt's API, in one process or on a Spark cluster.

>>> from sparktune import fmin, hp, tpe
>>> best = fmin(lambda x: (x - 1) ** 2, hp.uniform("x", -5, 5), algo=tpe.suggest, max_evals=50)
"""

from sparktune import (
    algobase,
    anneal,
    atpe,
    auto,
    base,
    early_stop,
    exceptions,
    gp,
    grid,
    hp,
    mix,
    progress,
    pyll,
    pyll_utils,
    qmc,
    rand,
    spark,
    std_out_err_redirect_tqdm,
    tpe,
    utils,
    vectorize,
)
from sparktune._version import __version__
from sparktune.fmin import FMinIter, fmin, fmin_pass_expr_memo_ctrl, partial, space_eval
from sparktune.history.trial import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    JOB_STATES,
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
    STATUS_RUNNING,
    STATUS_STRINGS,
    STATUS_SUSPENDED,
)
from sparktune.run.callbacks import Callback
from sparktune.run.domain import Ctrl, Domain
from sparktune.spark import SparkTrials
from sparktune.study import Study
from sparktune.trials import Trials, trials_from_docs

__all__ = [
    "JOB_STATES",
    "JOB_STATE_DONE",
    "JOB_STATE_ERROR",
    "JOB_STATE_NEW",
    "JOB_STATE_RUNNING",
    "STATUS_FAIL",
    "STATUS_NEW",
    "STATUS_OK",
    "STATUS_RUNNING",
    "STATUS_STRINGS",
    "STATUS_SUSPENDED",
    "Callback",
    "Ctrl",
    "Domain",
    "FMinIter",
    "SparkTrials",
    "Study",
    "Trials",
    "__version__",
    "algobase",
    "anneal",
    "atpe",
    "auto",
    "base",
    "early_stop",
    "exceptions",
    "fmin",
    "fmin_pass_expr_memo_ctrl",
    "gp",
    "grid",
    "hp",
    "mix",
    "partial",
    "progress",
    "pyll",
    "pyll_utils",
    "qmc",
    "rand",
    "space_eval",
    "spark",
    "std_out_err_redirect_tqdm",
    "tpe",
    "trials_from_docs",
    "utils",
    "vectorize",
]
