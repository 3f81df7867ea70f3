"""Tune a scikit-learn pipeline as a scikit-learn estimator, with the candidates cross-validated on Spark."""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sparktune import SparkTrials, hp
from sparktune.sklearn import HyperoptSearchCV

X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)

search = HyperoptSearchCV(
    make_pipeline(PCA(random_state=0), SVC()),
    space={
        "pca__n_components": hp.uniformint("components", 5, 40),
        "svc__C": hp.loguniform("C", -3, 5),  # bounds are logarithms
        "svc__gamma": hp.loguniform("gamma", -12, -3),
    },
    max_evals=20,
    trials=SparkTrials(parallelism=2),  # leave it out to search in this process
    cv=3,
    random_state=0,
)
search.fit(X_train, y_train)
print("best parameters:", search.best_params_)
print(f"cross-validation: {search.best_score_:.4f}")
print(f"test: {search.score(X_test, y_test):.4f}")
