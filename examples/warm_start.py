"""Tune a small forest, then again over a wider space with one parameter more, and learn from the first search."""

import tempfile
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from sparktune import Trials, fmin, hp
from sparktune.exchange import from_csv

X, y = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(X, y, test_size=0.5, random_state=0)


def error(params):
    forest = RandomForestClassifier(n_estimators=30, **params, random_state=0).fit(X_train, y_train)
    return 1 - forest.score(X_valid, y_valid)


first_space = {
    "max_depth": hp.randint("max_depth", 2, 7),
    "max_features": hp.uniform("max_features", 0.05, 0.5),
    "criterion": hp.choice("criterion", ["gini", "entropy"]),
}
first = Trials()
fmin(error, first_space, max_evals=25, trials=first, rstate=0, verbose=False)

# The results go to a file, as they would to a colleague.
path = Path(tempfile.mkdtemp(), "first.csv")
first.to_csv(path)

second_space = {
    "max_depth": hp.randint("max_depth", 2, 17),
    "max_features": hp.uniform("max_features", 0.05, 0.8),
    "criterion": hp.choice("criterion", ["entropy", "log_loss", "gini"]),
    "min_samples_leaf": hp.randint("min_samples_leaf", 1, 11),
}
earlier = from_csv(path).with_values(min_samples_leaf=1)  # scikit-learn's default, which the first search had
second = Trials()
fmin(error, second_space, max_evals=15, trials=second, rstate=0, verbose=False, warm_start=earlier)

print(f"first search, 25 trials: error {first.best_loss:.2%}")
print(f"second search, 15 trials after those: error {second.best_loss:.2%} with {second.best_params}")
