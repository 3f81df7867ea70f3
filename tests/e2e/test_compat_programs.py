"""Other people's programs for hyperopt run on sparktune, in an environment that has them (make conformance)."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sparktune

ROOT = Path(sparktune.__file__).parents[1]


def run(program, folder):
    """The last line that a program prints when ``python -m sparktune.compat`` runs it."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(program))
    # Some pass no seed on: without one, a program on little data chooses badly every now and then.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HYPEROPT_FMIN_SEED": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "sparktune.compat", str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=600)
    assert ended.returncode == 0, ended.stderr[-5000:]
    return ended.stdout.splitlines()[-1]


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: make conformance")


@needs("hpsklearn")
def test_hyperopt_sklearn_finds_a_classifier(tmp_path):
    """HyperoptEstimator searches classifiers with their parameters, each trial in a process of its own."""
    program = """
        import sys

        import numpy as np
        from hpsklearn import HyperoptEstimator, any_preprocessing
        from hpsklearn import k_neighbors_classifier, random_forest_classifier, svc
        from hyperopt import hp, tpe
        from sklearn.datasets import load_iris

        if __name__ == "__main__":
            X, y = load_iris(return_X_y=True)
            order = np.random.RandomState(13).permutation(len(X))
            train, test = order[:-30], order[-30:]
            classifiers = [random_forest_classifier("forest"), svc("svc"), k_neighbors_classifier("neighbours")]
            estimator = HyperoptEstimator(
                classifier=hp.choice("classifier", classifiers),
                preprocessing=any_preprocessing("preprocessing"),
                algo=tpe.suggest,
                max_evals=12,
                trial_timeout=60,
            )
            estimator.fit(X[train], y[train], cv_shuffle=True, random_state=7)
            files = {str(module.__dict__.get("__file__")) for module in sys.modules.values()}
            others = [file for file in files if "site-packages/hyperopt/" in file]
            print(others, estimator.score(X[test], y[test]) > 0.8, sorted(estimator.best_model()))
    """
    assert run(program, tmp_path) == "[] True ['ex_preprocs', 'learner', 'preprocs']"


@needs("hpsklearn")
def test_hyperopt_sklearn_finds_a_regressor_with_random_search_and_annealing(tmp_path):
    """The other algorithms run, and the trials can be read."""
    program = """
        from hpsklearn import HyperoptEstimator, lasso, min_max_scaler, ridge
        from hyperopt import anneal, hp, rand
        from sklearn.datasets import load_diabetes

        if __name__ == "__main__":
            X, y = load_diabetes(return_X_y=True)
            for algo in (rand.suggest, anneal.suggest):
                estimator = HyperoptEstimator(
                    regressor=hp.choice("regressor", [lasso("lasso"), ridge("ridge")]),
                    preprocessing=[min_max_scaler("scaler")],
                    algo=algo,
                    max_evals=8,
                    trial_timeout=60,
                )
                estimator.fit(X, y, cv_shuffle=True, random_state=7)
                print(len(estimator.trials.trials), estimator.score(X, y) > 0.2)
    """
    assert run(program, tmp_path) == "8 True"


@needs("lale")
def test_lale_chooses_a_pipeline(tmp_path):
    """Spaces that lale makes of operators' schemas, with functions that it registers in scope, are searched."""
    program = """
        import sklearn.datasets
        from lale.lib.lale import Hyperopt, NoOp
        from lale.lib.sklearn import KNeighborsClassifier, LogisticRegression, MinMaxScaler

        X, y = sklearn.datasets.load_iris(return_X_y=True)
        pipeline = (MinMaxScaler | NoOp) >> (LogisticRegression | KNeighborsClassifier)
        found = Hyperopt(estimator=pipeline, cv=3, max_evals=10, show_progressbar=False, verbose=False).fit(X, y)
        print(len(found.summary()), (found.predict(X) == y).mean() > 0.9)
    """
    assert run(program, tmp_path) == "10 True"
