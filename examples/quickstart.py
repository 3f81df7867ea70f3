"""Recognise handwritten digits: tune a support vector machine on Spark."""

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from sparktune import STATUS_OK, SparkTrials, auto, fmin, hp, space_eval

X, y = load_digits(return_X_y=True)  # the objective uses them, so they go to the executors, once

space = {
    "C": hp.loguniform("C", -5, 7),  # bounds are logarithms
    "shape": hp.choice("shape", [{"kernel": "linear"}, {"kernel": "rbf", "gamma": hp.loguniform("gamma", -12, 0)}]),
}


def objective(params):
    model = SVC(C=params["C"], **params["shape"])
    return {"status": STATUS_OK, "loss": 1 - cross_val_score(model, X, y, cv=3).mean()}


trials = SparkTrials(parallelism=2)
best = fmin(objective, space, algo=auto.suggest, max_evals=30, trials=trials, rstate=0)
print("best parameters:", space_eval(space, best))
print(f"accuracy: {1 - trials.best_trial['result']['loss']:.4f}")
