"""Compute the table behind the task "breast_cancer_classifier": cross-validation of real classifiers.

    python benchmarks/quality/classifier_table.py

Needs scikit-learn and takes two minutes. Each entry is 1 - (area under the ROC curve), the mean over five folds, of one
model on scikit-learn's breast cancer data; only the first ten features are used, for with all thirty every model is
good. The task interpolates in the table, so that an evaluation costs microseconds.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).parent / "tables" / "breast_cancer.npz"

#: The axes of each classifier's table; the task has a parameter for each, in this order.
GRIDS: dict[str, dict[str, Any]] = {
    "logistic": {"C": np.logspace(-5, 3, 17), "class_weight": (None, "balanced")},
    "svm": {"C": np.logspace(-3, 4, 15), "gamma": np.logspace(-5, 1, 13), "kernel": ("rbf", "sigmoid", "poly")},
    "trees": {
        "max_features": np.array([0.1, 0.3, 0.5, 0.7, 1.0]),
        "min_samples_leaf": np.array([1, 2, 4, 8, 16, 32]),
        "max_depth": np.array([2, 4, 6, 9, 12]),
        "criterion": ("gini", "entropy"),
    },
    "neighbours": {"n_neighbors": np.arange(1, 61), "weights": ("uniform", "distance"), "p": (1, 2, np.inf)},
}


def models() -> dict[str, Callable[..., Any]]:
    """What makes each classifier from a value per axis."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "logistic": lambda **options: LogisticRegression(max_iter=500, **options),
        "svm": lambda **options: SVC(max_iter=5000, **options),
        "trees": lambda **options: ExtraTreesClassifier(20, random_state=0, **options),
        "neighbours": lambda **options: KNeighborsClassifier(
            algorithm="brute", metric="minkowski" if options["p"] < np.inf else "chebyshev", **plain(options)
        ),
    }


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options of kNN, without an infinite p, which scikit-learn calls another metric."""
    return {name: value for name, value in options.items() if name != "p" or value < np.inf}


def main() -> None:
    """Fill every table and write them to one file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    warnings.simplefilter("ignore")
    features, target = load_breast_cancer(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    tables: dict[str, Any] = {}
    for name, make in models().items():
        axes = GRIDS[name]
        table = np.empty([len(axis) for axis in axes.values()])
        for index in itertools.product(*map(range, table.shape)):
            values = (axis[i] for axis, i in zip(axes.values(), index, strict=True))
            options = {
                key: value.item() if hasattr(value, "item") else value for key, value in zip(axes, values, strict=True)
            }
            model = make_pipeline(StandardScaler(), make(**options))
            table[index] = 1 - cross_val_score(model, features[:, :10], target, cv=folds, scoring="roc_auc").mean()
        tables[name] = table.astype(np.float32)
        print(f"{name}: {table.size} models, best {table.min():.4f}, median {np.median(table):.4f}", flush=True)
    TABLE.parent.mkdir(exist_ok=True)
    np.savez_compressed(TABLE, **tables)


if __name__ == "__main__":
    main()
