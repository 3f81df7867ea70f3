"""Well-known kinds of hyperopt tutorial, with the import changed and nothing else."""

import numpy as np
import pytest

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def test_descent_over_a_list_of_choices(capsys):
    """Two choices in a list; the answer by index, and through space_eval."""
    from sparktune import fmin, hp, space_eval, tpe

    def grad_desc(params):
        step_size, n_steps = params
        x = 5.0
        for _ in range(n_steps):
            x -= step_size * 2 * (x - 1)
        return (x - 1) ** 2

    step_sizes = [0.001, 0.01, 0.1, 0.5, 0.9]
    numbers_of_steps = list(range(1, 11))
    space = [hp.choice("step_size", step_sizes), hp.choice("n_steps", numbers_of_steps)]

    best = fmin(
        grad_desc,
        space,
        algo=tpe.suggest,
        max_evals=40,
        rstate=np.random.default_rng(42),
        show_progressbar=False,
    )
    print(best)
    print(space_eval(space, best))

    assert set(best) == {"step_size", "n_steps"}
    assert step_sizes[best["step_size"]] == 0.5
    assert space_eval(space, best) == (step_sizes[best["step_size"]], numbers_of_steps[best["n_steps"]])
    assert "step_size" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_neural_network_over_a_tuple(capsys):
    """A tuple of two reals and a choice; the trials are read afterwards."""
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    from sparktune import STATUS_OK, Trials, fmin, hp, space_eval, tpe

    X, y = sklearn_datasets.load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    def objective(args):
        log_alpha, log_rate, solver = args
        clf = MLPClassifier(
            hidden_layer_sizes=(8,),
            alpha=10**log_alpha,
            learning_rate_init=10**log_rate,
            solver=solver,
            max_iter=60,
            random_state=0,
        )
        clf.fit(X_train, y_train)
        return {"loss": 1 - clf.score(X_test, y_test), "status": STATUS_OK, "n_iter": clf.n_iter_}

    space = (
        hp.uniform("log_alpha", -5, 0),
        hp.uniform("log_rate", -4, 0),
        hp.choice("solver", ["lbfgs", "adam"]),
    )
    trials = Trials()
    best = fmin(
        fn=objective,
        space=space,
        algo=tpe.suggest,
        max_evals=15,
        trials=trials,
        rstate=np.random.default_rng(1),
        verbose=False,
    )
    print("best:", best)
    for trial in trials.trials[:2]:
        print(trial)

    assert len(trials.losses()) == 15
    assert min(trials.losses()) == trials.best_trial["result"]["loss"] < 0.2
    assert trials.best_trial["result"]["n_iter"] <= 60
    assert space_eval(space, best)[2] in ("lbfgs", "adam")
    assert [result["status"] for result in trials.results] == ["ok"] * 15
    assert "book_time" in capsys.readouterr().out


def forest_objective():
    """The score of a small random forest on iris; what it needs is imported inside, as tutorials do for Spark."""
    X, y = sklearn_datasets.load_iris(return_X_y=True)

    def objective(params):
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import cross_val_score

        clf = RandomForestClassifier(**params, random_state=0)
        accuracy = cross_val_score(clf, X, y, cv=2).mean()
        return {"loss": -accuracy, "status": "ok"}

    return objective


def forest_space():
    """A dict with integers made by scope.int and a choice of texts."""
    from sparktune import hp
    from sparktune.pyll import scope

    return {
        "n_estimators": scope.int(hp.quniform("n_estimators", 2, 10, 1)),
        "max_depth": scope.int(hp.quniform("max_depth", 1, 6, 1)),
        "criterion": hp.choice("criterion", ["gini", "entropy"]),
        "min_samples_leaf": hp.uniform("min_samples_leaf", 0.01, 0.3),
    }


def check_forest(trials, best, n):
    """What such a tutorial shows at its end."""
    from sparktune import space_eval

    params = space_eval(forest_space(), best)
    assert type(params["n_estimators"]) is int
    assert params["criterion"] in ("gini", "entropy")
    assert len(trials.losses()) == n
    assert trials.best_trial["result"]["loss"] == min(trials.losses()) < -0.8
    assert trials.argmin == best
    assert len(trials.vals["max_depth"]) == n


def test_a_random_forest_over_a_dict():
    """A dict space with scope.int, in this process."""
    from sparktune import Trials, fmin, tpe

    trials = Trials()
    best = fmin(
        forest_objective(),
        forest_space(),
        algo=tpe.suggest,
        max_evals=20,
        trials=trials,
        verbose=False,
        rstate=7,
    )
    check_forest(trials, best, 20)


@pytest.mark.spark
def test_a_random_forest_on_spark():
    """The same with SparkTrials(parallelism=24), which is more than there are trials."""
    pytest.importorskip("pyspark")
    from sparktune import SparkTrials, fmin, tpe

    trials = SparkTrials(parallelism=24)
    best = fmin(
        forest_objective(),
        forest_space(),
        algo=tpe.suggest,
        max_evals=4,
        trials=trials,
        verbose=False,
        rstate=7,
    )
    check_forest(trials, best, 4)
    assert trials.count_successful_trials() == trials.count_total_trials() == 4
