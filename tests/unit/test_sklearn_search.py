"""``HyperoptSearchCV``: scikit-learn's own checks, and what it does beside its searches on the same candidates."""

import pickle
import subprocess
import sys
import warnings

import cloudpickle
import numpy as np
import pytest
import scipy.sparse
import sklearn
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import make_scorer, max_error, mean_squared_error
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, ShuffleSplit, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator

from sparktune import Trials, early_stop, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.sklearn import AllCandidatesFailedError, HyperoptSearchCV
from sparktune.sklearn.metrics import is_same_metric, own_scorer

ALPHA = {"alpha": hp.loguniform("alpha", -5, 5)}
X, Y = make_regression(60, 4, noise=3, random_state=0)
X_CLASS, Y_CLASS = make_classification(80, 5, random_state=0)
GROUPS = np.arange(60) % 4


def make_search(estimator=None, space=ALPHA, max_evals=4, **options):
    return HyperoptSearchCV(
        Ridge() if estimator is None else estimator,
        space,
        max_evals,
        **{"algo": rand.suggest, "random_state": 0, **options},
    )


def assert_same_results(search, reference):
    """Everything in cv_results_ but the times is that of scikit-learn's search, in the same order."""
    found, expected = search.cv_results_, reference.cv_results_
    assert list(found) == list(expected)
    for key in expected:
        if not key.endswith("_time"):
            np.testing.assert_array_equal(found[key], expected[key], key)
            assert getattr(found[key], "dtype", None) == getattr(expected[key], "dtype", None), key


def grid_of(search, **options):
    """scikit-learn's search over the candidates of a search over alpha."""
    return GridSearchCV(
        search.estimator, {"alpha": [params["alpha"] for params in search.cv_results_["params"]]}, **options
    )


class FailsOften(Ridge):
    """Cannot be fitted with an alpha above 1."""

    def fit(self, X, y, sample_weight=None):
        if self.alpha > 1:
            raise RuntimeError("alpha is too large")
        return super().fit(X, y, sample_weight)


def checks():
    """scikit-learn's checks, those of a classifier, which are nearly the same once more, as slow ones."""
    for estimator, marks in ((Ridge(), ()), (RidgeClassifier(), pytest.mark.slow)):
        search = HyperoptSearchCV(estimator, {"alpha": hp.uniform("alpha", 0, 1)}, 2, random_state=42)
        for checked, check in estimator_checks_generator(search):
            yield pytest.param(checked, check, id=f"{type(estimator).__name__}-{check.func.__name__}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("search", "check"), list(checks()))
def test_scikit_learns_checks_pass(search, check):
    """The search keeps every rule that scikit-learn has for estimators of its estimator's kind."""
    check(search)


def test_results_are_those_of_a_grid_search():
    """On the same candidates all attributes are those of GridSearchCV."""
    search = make_search(return_train_score=True, cv=3).fit(X, Y)
    reference = grid_of(search, return_train_score=True, cv=3).fit(X, Y)
    assert_same_results(search, reference)
    for name in ("best_index_", "best_params_", "best_score_", "n_splits_", "multimetric_", "n_features_in_"):
        assert getattr(search, name) == getattr(reference, name), name
    np.testing.assert_array_equal(search.predict(X), reference.predict(X))
    assert search.score(X, Y) == reference.score(X, Y)
    assert search.refit_time_ > 0


def test_losses_are_negative_scores():
    """The loss of a trial is the negative mean test score, and its result has the parameters and all scores."""
    search = make_search().fit(X, Y)
    np.testing.assert_array_equal(np.negative(search.trials_.losses()), search.cv_results_["mean_test_score"])
    assert search.best_params_ == search.trials_.best_trial["result"]["params"]
    result = search.trials_.trials[1]["result"]["cv_results"]
    assert result["split2_test_score"] == search.cv_results_["split2_test_score"][1]


def test_conditional_parameters_are_masked():
    """A parameter that a candidate does not have is masked in its column, as in GridSearchCV."""
    kernels = [{"kernel": "linear"}, {"kernel": "rbf", "gamma": hp.loguniform("gamma", -3, 0)}]
    search = make_search(SVC(), hp.choice("kernel", kernels), 8).fit(X_CLASS, Y_CLASS)
    is_linear = search.cv_results_["param_kernel"] == "linear"
    assert 0 < is_linear.sum() < 8
    np.testing.assert_array_equal(search.cv_results_["param_gamma"].mask, is_linear)
    grid = [{name: [value] for name, value in params.items()} for params in search.cv_results_["params"]]
    reference = GridSearchCV(SVC(), grid).fit(X_CLASS, Y_CLASS)
    np.testing.assert_array_equal(search.cv_results_["rank_test_score"], reference.cv_results_["rank_test_score"])


def test_parameters_may_be_estimators_and_lists():
    """Steps of a pipeline and sequences are values like others, and the fitted ones are clones."""
    steps = [PCA(2), "passthrough"]
    space = {"pca": hp.choice("step", steps), "ridge__alpha": hp.uniform("a", 0, 1), "ridge__positive": False}
    search = make_search(make_pipeline(PCA(), Ridge()), space, 6).fit(X, Y)
    assert {type(value) for value in search.cv_results_["param_pca"]} == {PCA, str}
    assert not hasattr(steps[0], "components_")


@pytest.mark.parametrize("refit", ["neg_mean_absolute_error", "r2"])
def test_refit_names_the_metric_to_optimise(refit):
    """With several metrics the loss is of the one that refit names, and the results are GridSearchCV's."""
    scoring = ["r2", "neg_mean_absolute_error"]
    search = make_search(scoring=scoring, refit=refit).fit(X, Y)
    reference = grid_of(search, scoring=scoring, refit=refit).fit(X, Y)
    assert_same_results(search, reference)
    np.testing.assert_array_equal(np.negative(search.trials_.losses()), search.cv_results_[f"mean_test_{refit}"])
    assert (search.best_index_, search.best_score_) == (reference.best_index_, reference.best_score_)
    assert search.score(X, Y) == reference.score(X, Y)
    assert set(search.scorer_) == set(scoring)


def test_several_metrics_without_a_chosen_one_are_all_optimised():
    """With refit=False there is no best candidate, and the Pareto front of all metrics."""
    search = make_search(scoring=["r2", "neg_median_absolute_error"], refit=False, max_evals=6).fit(X, Y)
    assert search.trials_.n_objectives == 2
    assert search.trials_.pareto_front
    assert not hasattr(search, "best_params_")


def test_refit_may_choose_by_a_function():
    """A function of cv_results_ returns the index of the best, and there is no best score."""
    search = make_search(
        scoring=["r2", "neg_median_absolute_error"], refit=lambda results: len(results["params"]) - 1
    ).fit(X, Y)
    assert search.best_index_ == 3
    assert search.best_estimator_.alpha == search.cv_results_["param_alpha"][3]
    assert not hasattr(search, "best_score_")


def test_a_scorer_of_several_metrics_needs_a_choice():
    """If scoring turns out to give several metrics, refit=True is an error that names them, at the first candidate."""

    def scoring(estimator, X, y):
        return {"a": estimator.score(X, y), "b": 0.0}

    assert make_search(scoring=scoring, refit="a").fit(X, Y).best_score_ > 0
    search = make_search(scoring=scoring, trials=Trials())
    with pytest.raises(ValueError, match=r"one of \['a', 'b'\]"):
        search.fit(X, Y)
    assert len(search.trials._dynamic_trials) == 1


@pytest.mark.parametrize(("names", "refit"), [("ab", "c"), ("a", True)])
def test_a_scorer_without_the_metric_to_optimise_ends_the_search(names, refit):
    """A refit that scoring does not give is an error at the first candidate, and not after the last."""
    options = {"scoring": lambda estimator, X, y: dict.fromkeys(names, 0.0), "refit": refit}
    search = make_search(trials=Trials(), **options)
    with pytest.raises(ValueError, match=f"refit names the metric .* got {refit!r}"):
        search.fit(X, Y)
    assert len(search.trials._dynamic_trials) == 1


def test_a_metric_may_be_called_score():
    """One metric in a dict is one of several, whatever its name, so that the search can score."""
    options = {"scoring": {"score": "r2"}, "refit": "score"}
    search = make_search(**options).fit(X, Y)
    reference = grid_of(search, **options).fit(X, Y)
    assert search.multimetric_ is reference.multimetric_
    assert search.score(X, Y) == reference.score(X, Y)


def test_all_candidates_have_the_same_splits():
    """A splitter that draws at random is asked once."""
    search = make_search(space={"alpha": hp.choice("alpha", [1.0])}, cv=ShuffleSplit(3), max_evals=3).fit(X, Y)
    assert len(set(search.cv_results_["mean_test_score"])) == 1


def test_groups_go_to_the_splitter():
    """Groups decide the splits, given by position as in hyperopt or by name."""
    search = make_search(cv=GroupKFold(4)).fit(X, Y, GROUPS)
    assert_same_results(search, grid_of(search, cv=GroupKFold(4)).fit(X, Y, groups=GROUPS))
    with pytest.raises(ValueError, match="groups"):
        make_search(cv=LeaveOneGroupOut()).fit(X, Y)


@pytest.mark.filterwarnings("ignore:The scoring:UserWarning")
def test_weights_are_split_along_with_the_data():
    """Fit parameters with one entry per sample are treated as GridSearchCV treats them, in the last fit as well."""
    weights = np.linspace(0.1, 2, 60)
    search = make_search().fit(X, Y, sample_weight=weights)
    reference = grid_of(search).fit(X, Y, sample_weight=weights)
    assert_same_results(search, reference)
    np.testing.assert_array_equal(search.best_estimator_.coef_, reference.best_estimator_.coef_)
    assert not np.array_equal(search.best_estimator_.coef_, make_search().fit(X, Y).best_estimator_.coef_)


def test_metadata_is_routed_to_who_requests_it():
    """With routing enabled, weights reach fit and score under the names asked for, and groups the splitter."""
    weights = np.linspace(0.1, 2, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = Ridge().set_fit_request(sample_weight="w").set_score_request(sample_weight=False)
        search = make_search(ridge, cv=GroupKFold(4)).fit(X, Y, groups=GROUPS, w=weights)
        assert_same_results(search, grid_of(search, cv=GroupKFold(4)).fit(X, Y, groups=GROUPS, w=weights))


@pytest.mark.parametrize("kind", ["csr", "list", "frame"])
def test_data_may_have_any_form(kind):
    """Sparse matrices, lists and data frames go to the estimator as they are."""
    if kind == "frame":
        data = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    else:
        data = scipy.sparse.csr_matrix(X) if kind == "csr" else X.tolist()
    search = make_search().fit(data, Y)
    assert search.best_score_ == pytest.approx(make_search().fit(X, Y).best_score_)
    assert hasattr(search, "feature_names_in_") == (kind == "frame")


def test_unsupervised_estimators_need_no_y():
    """fit(X) alone works where the estimator allows it, and is an error where it does not."""
    search = make_search(KMeans(n_init=1, random_state=0), {"n_clusters": hp.uniformint("k", 2, 5)}).fit(X)
    assert 2 <= search.best_params_["n_clusters"] <= 5
    assert search.transform(X).shape == (60, search.best_params_["n_clusters"])
    with pytest.raises(InvalidArgumentError, match="the target y is None"):
        make_search().fit(X)


def test_the_seed_decides_the_candidates():
    """The same random_state gives the same candidates; a Generator and a RandomState are taken too."""
    seeds = [0, 0, 1, np.random.RandomState(0), np.random.default_rng(0)]
    drawn = [tuple(make_search(random_state=seed).fit(X, Y).cv_results_["param_alpha"]) for seed in seeds]
    assert drawn[0] == drawn[1] == drawn[4]
    assert len(set(drawn)) == 3


def test_splits_may_be_evaluated_in_parallel():
    """n_jobs changes no result."""
    with parallel_config("threading"):  # processes take seconds to start
        search = make_search(n_jobs=2).fit(X, Y)
    assert_same_results(search, grid_of(search).fit(X, Y))


def test_candidates_may_be_evaluated_in_parallel():
    """Trials that run several at a time give the results that GridSearchCV has for their candidates."""
    search = make_search(trials=Trials(parallelism=2)).fit(X, Y)  # the next test has processes
    assert search.trials_ is search.trials
    assert_same_results(search, grid_of(search).fit(X, Y))


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_settings_of_scikit_learn_hold_wherever_trials_run(backend):
    """Its configuration, of which each thread has its own, is that of fit: metadata reach those that ask for them."""
    weights = np.linspace(0.1, 2, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = Ridge().set_fit_request(sample_weight="w").set_score_request(sample_weight="v")
        search = make_search(ridge, trials=Trials(parallelism=2, backend=backend)).fit(X, Y, w=weights, v=weights**2)
        assert search.trials_ is search.trials
        assert_same_results(search, grid_of(search).fit(X, Y, w=weights, v=weights**2))


def test_a_warm_start_goes_on():
    """With warm_start a second fit adds candidates, and the results are of all; without it begins anew."""
    search = make_search(warm_start=True, trials=Trials()).fit(X, Y)
    first = search.cv_results_["params"]
    search.set_params(max_evals=7).fit(X, Y)
    assert len(search.cv_results_["params"]) == len({params["alpha"] for params in search.cv_results_["params"]}) == 7
    assert search.cv_results_["params"][:4] == first
    assert search.trials_ is search.trials
    search.set_params(warm_start=False).fit(X, Y)
    assert len(search.trials) == 7
    assert search.cv_results_["params"][:4] == first


def other_spaces():
    """A space, and another one."""
    alpha, solver = hp.loguniform("alpha", -5, 5), hp.choice("solver", ["svd", "lsqr", "saga"])
    yield pytest.param({"alpha": alpha, "tol": 0.1}, {"alpha": alpha, "tol": 1e-9}, id="constant")
    yield pytest.param({"alpha": alpha, "solver": solver}, {"alpha": alpha}, id="fewer")
    yield pytest.param({"alpha": alpha}, {"alpha": alpha, "solver": solver}, id="more")
    yield pytest.param({"solver": solver}, {"solver": hp.choice("solver", ["svd"])}, id="options")


@pytest.mark.parametrize(("space", "other"), list(other_spaces()))
def test_a_warm_start_in_another_space_keeps_what_was_evaluated(space, other):
    """Candidates of an earlier space are listed with the parameters that their scores are of."""
    search = make_search(space=space, warm_start=True).fit(X, Y)
    first = search.cv_results_
    search.set_params(space=other, max_evals=6).fit(X, Y)
    found = search.cv_results_
    assert found["params"][:4] == first["params"]
    np.testing.assert_array_equal(found["mean_test_score"][:4], first["mean_test_score"])
    assert len(found["params"]) == 6


def test_a_warm_start_from_a_storage_has_estimators_inside_lists(tmp_path):
    """Parameters that a storage keeps as pickles, at any depth, are those of the space, and the best can be fitted."""
    options = [[("ridge", Ridge())], [("scale", StandardScaler()), ("ridge", Ridge(alpha=9))]]

    def fitted(max_evals):
        trials = Trials(storage=tmp_path / "study.jsonl")
        pipeline = Pipeline([("ridge", Ridge())])
        space = {"steps": hp.choice("steps", options)}
        return make_search(pipeline, space, max_evals, trials=trials, warm_start=True).fit(X, Y)

    fitted(4)
    search = fitted(5)
    assert len(search.cv_results_["params"]) == 5
    assert all(isinstance(step[1], BaseEstimator) for row in search.cv_results_["params"] for step in row["steps"])


@pytest.mark.parametrize("n_failed", [0, 1])
def test_no_scored_candidate_has_known_parameters(n_failed, tmp_path):
    """Where there is nothing to choose from the error says why, and what to do."""

    def search(low, high):
        trials = Trials(storage=tmp_path / "study.jsonl")
        space = {"steps": [("ridge", Ridge())], "ridge__alpha": hp.uniform("alpha", low, high)}
        return make_search(Pipeline([("ridge", Ridge())]), space, 2, trials=trials, warm_start=True)

    search(1, 2).fit(X, Y)
    again = search(5, 6)
    for document in again.trials._dynamic_trials[:n_failed]:
        document["result"] = {"status": "fail", "params": {"steps": [("ridge", Ridge())]}}
    with pytest.raises(AllCandidatesFailedError, match=r"got none among 2 .*: raise max_evals, keep the space"):
        again.fit(X, Y)


def test_a_failed_candidate_of_another_space_without_parameters_is_not_listed():
    """One that was lost where it ran has no parameters in its result, and gets none of the present space's."""
    solver = hp.choice("solver", ["saga", "svd", "lsqr"])
    search = make_search(space={"solver": solver}, max_evals=8, warm_start=True).fit(X, Y)
    solvers = [params["solver"] for params in search.cv_results_["params"]]
    lost = solvers.index("saga")
    document = search.trials_._dynamic_trials[lost]
    document["state"], document["result"] = 3, {"status": "fail"}
    search.trials_.refresh()
    search.set_params(space={"solver": hp.choice("solver", ["lsqr"])}, max_evals=9).fit(X, Y)
    del solvers[lost]
    assert [params["solver"] for params in search.cv_results_["params"]][:7] == solvers


def negative_error(estimator, X, y):
    return -float(np.abs(estimator.predict(X) - y).max())


def spread(estimator, X, y):
    return -float(np.std(estimator.predict(X) - y))


def two_scores(estimator, X, y):
    return {"a": negative_error(estimator, X, y), "b": spread(estimator, X, y)}


TWO = ["r2", "neg_max_error"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"scoring": TWO, "refit": "r2"}),
        ({"scoring": TWO, "refit": "r2"}, {"scoring": None, "refit": True}),
        ({"scoring": TWO, "refit": False}, {"scoring": ["r2"], "refit": False}),
        ({}, {"scoring": "neg_mean_squared_error"}),
        ({"scoring": "r2"}, {"scoring": "neg_mean_squared_error"}),
        ({"scoring": "r2"}, {"scoring": negative_error}),
        ({"scoring": negative_error}, {"scoring": spread}),
        ({"scoring": make_scorer(max_error)}, {"scoring": make_scorer(mean_squared_error)}),
        ({"scoring": {"m": "r2"}, "refit": "m"}, {"scoring": {"m": "neg_max_error"}, "refit": "m"}),
        ({"scoring": TWO, "refit": "r2"}, {"scoring": TWO, "refit": "neg_max_error"}),
        ({"scoring": TWO, "refit": "r2"}, {"scoring": TWO, "refit": False}),
        ({"scoring": TWO, "refit": False}, {"scoring": TWO, "refit": "r2"}),
        ({"scoring": TWO, "refit": False}, {"scoring": TWO[::-1], "refit": False}),
        ({"scoring": two_scores, "refit": "a"}, {"scoring": two_scores, "refit": "b"}),
        ({"scoring": two_scores, "refit": "a"}, {"scoring": two_scores, "refit": False}),
    ],
)
def test_a_warm_start_by_another_metric_is_refused(first, second):
    """Scores of other metrics cannot be compared, which is said before a candidate is evaluated."""
    search = make_search(warm_start=True, **first).fit(X, Y)
    search.set_params(max_evals=6, **second)
    with pytest.raises(InvalidArgumentError, match="keep scoring and refit as they were"):
        search.fit(X, Y)
    assert len(search.trials_) == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"scoring": "r2"}),
        ({"scoring": "r2"}, {}),
        ({"scoring": TWO, "refit": "r2"}, {"scoring": ["r2"], "refit": "r2"}),
        ({"scoring": "r2"}, {"scoring": {"score": "r2"}, "refit": "score"}),
        ({"scoring": two_scores, "refit": "a"}, {"scoring": two_scores, "refit": "a"}),
        ({"scoring": lambda e, X, y: e.score(X, y)}, {"scoring": lambda e, X, y: e.score(X, y)}),
        ({"scoring": make_scorer(max_error)}, {"scoring": make_scorer(max_error)}),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_a_warm_start_by_the_same_metric_goes_on(first, second, is_old, tmp_path):
    """What else is scored may change, from a storage and from trials that do not say what was optimised as well."""
    path = tmp_path / "study.jsonl"
    search = make_search(warm_start=True, trials=Trials(storage=path), **first).fit(X, Y)
    trials = Trials(storage=path)
    for document in trials._dynamic_trials if is_old else ():
        del document["result"]["optimized"]
    search = make_search(warm_start=True, trials=trials, max_evals=6, **second).fit(X, Y)
    assert len(search.cv_results_["params"]) == 6


class Judge(Ridge):
    """A regressor with a score of its own."""

    def score(self, X, y):
        return negative_error(self, X, y)


@pytest.mark.parametrize(
    ("estimator", "scoring", "is_same"),
    [
        (Ridge(), "r2", True),
        (RidgeClassifier(), "accuracy", True),
        (Pipeline([("scale", StandardScaler()), ("ridge", Pipeline([("ridge", Ridge())]))]), "r2", True),
        (RidgeClassifier(), "balanced_accuracy", False),
        (Judge(), "r2", False),
        (Pipeline([("ridge", "passthrough")]), "r2", False),
        (Pipeline([]), "r2", False),
    ],
)
def test_the_estimators_own_score_is_the_scorer_that_it_is(estimator, scoring, is_same):
    """scoring=None is "r2" of regressors and "accuracy" of classifiers, unless they have a score of their own."""
    own = own_scorer(estimator)
    assert is_same_metric(("score", "score"), ("score", scoring), own) is is_same
    assert is_same_metric(("score", scoring), ("score", "score"), own) is is_same


def test_an_own_score_that_may_be_weighted_is_no_scorer():
    """With metadata routing the two may be given different weights."""
    with sklearn.config_context(enable_metadata_routing=True):
        assert own_scorer(Ridge()) == "score"


def test_a_warm_start_may_have_other_columns():
    """Columns that only some fits have are there, and NaN for the candidates of the others."""
    search = make_search(warm_start=True, cv=3).fit(X, Y)
    search.set_params(max_evals=6, cv=4, return_train_score=True).fit(X, Y)
    for name in ("split3_test_score", "mean_train_score"):
        assert np.isnan(search.cv_results_[name]).tolist() == [True] * 4 + [False] * 2


def test_trials_of_other_origin_are_kept():
    """Without warm_start they are left as they are, with it they are gone on from but are no candidates."""
    trials = Trials()
    fmin(lambda params: params["alpha"], ALPHA, rand.suggest, 3, trials=trials, rstate=5, verbose=False)
    search = make_search(trials=trials).fit(X, Y)
    assert (len(trials), len(search.trials_), len(search.cv_results_["params"])) == (3, 4, 4)
    search = make_search(trials=trials, warm_start=True).fit(X, Y)
    assert search.trials_ is trials
    assert (len(trials), len(search.cv_results_["params"])) == (4, 1)


def test_empty_trials_are_filled():
    """A Trials that is given is the one that is used (in hyperopt an empty one is not)."""
    trials = Trials()
    assert make_search(trials=trials).fit(X, Y).trials_ is trials
    assert len(trials) == 4


def test_it_can_be_cloned_and_pickled():
    """A clone has the parameters and no results; a pickle has both; it works inside cross-validation."""
    search = make_search(trials=Trials()).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(loaded.predict(X), search.predict(X))
    assert loaded.trials_.losses() == search.trials_.losses()
    copy = clone(search)
    assert copy.get_params().keys() == search.get_params().keys()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert len(cross_val_score(search, X, Y, cv=3)) == 3


def test_a_candidate_that_fails_does_not_end_the_search():
    """It has error_score in the results and the lowest rank, and its trial has no loss."""
    search = make_search(FailsOften(), max_evals=8).fit(X, Y)
    has_failed = search.cv_results_["param_alpha"] > 1
    assert 0 < has_failed.sum() < 8
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), has_failed)
    assert set(search.cv_results_["rank_test_score"][has_failed]) == {8 - has_failed.sum() + 1}
    assert [loss is None for loss in search.trials_.losses()] == has_failed.tolist()
    assert "alpha is too large" in search.trials_.trials[int(np.argmax(has_failed))]["result"]["error"]
    search = make_search(FailsOften(), max_evals=8, error_score=-5.0).fit(X, Y)
    assert set(search.cv_results_["split0_test_score"][has_failed]) == {-5.0}


@pytest.mark.filterwarnings("ignore")
def test_a_candidate_that_fails_on_some_splits_has_no_loss():
    """A mean over NaN is nothing to learn from; with a number as error_score it is a score like others."""

    class NeedsTheFirstSample(Ridge):
        def fit(self, X, y):
            if self.alpha > 1 and X[0, 0] != X_FIRST:
                raise RuntimeError("the first sample is missing")
            return super().fit(X, y)

    X_FIRST = X[0, 0]  # missing from one training set of three
    search = make_search(NeedsTheFirstSample(), max_evals=8, cv=3).fit(X, Y)
    has_failed = search.cv_results_["param_alpha"] > 1
    assert np.isfinite(search.cv_results_["split1_test_score"]).all()
    np.testing.assert_array_equal(np.isnan(search.cv_results_["split0_test_score"]), has_failed)
    assert [loss is None for loss in search.trials_.losses()] == has_failed.tolist()
    search = make_search(NeedsTheFirstSample(), max_evals=8, cv=3, error_score=0.0).fit(X, Y)
    np.testing.assert_array_equal(np.negative(search.trials_.losses()), search.cv_results_["mean_test_score"])


def test_errors_can_be_raised():
    """error_score="raise" lets the estimator's own error out at once."""
    search = make_search(FailsOften(), max_evals=8, error_score="raise", trials=Trials())
    with pytest.raises(RuntimeError, match="alpha is too large"):
        search.fit(X, Y)
    assert len(search.trials._dynamic_trials) < 8


def test_if_all_fail_the_first_error_is_shown():
    """The message counts the candidates and has the traceback of the first."""
    search = make_search(FailsOften(), {"alpha": hp.uniform("alpha", 2, 3)})
    with pytest.raises(AllCandidatesFailedError, match=r"(?s)4 of 4 candidates .*alpha is too large") as error:
        search.fit(X, Y)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_evals": 0}, InvalidArgumentError, "max_evals is the number of candidates, at least 1, .* got 0"),
        ({"max_evals": None}, InvalidArgumentError, "or None with a timeout"),
        ({"max_evals": float("inf")}, InvalidArgumentError, "or None with a timeout, .* got inf"),
        ({"max_evals": "many"}, InvalidTypeError, "max_evals is a whole number"),
        ({"space": hp.uniform("x", 0, 1)}, InvalidTypeError, "the value of space is a dict"),
        ({"space": {"depth": hp.uniform("x", 0, 1)}}, ValueError, "Invalid parameter 'depth' for estimator Ridge"),
        ({"trials": 3}, InvalidTypeError, r"trials must be a Trials .* got 3: pass Trials\(\)"),
        ({"trials": Trials}, InvalidTypeError, r"pass Trials\(\)"),
        ({"algo": 3}, InvalidTypeError, "algo must be callable, got 3"),
        ({"scoring": "good"}, ValueError, "'scoring' parameter of HyperoptSearchCV .* Got 'good'"),
        ({"scoring": ["r2", "neg_median_absolute_error"]}, ValueError, "refit must be set to a scorer key"),
        ({"cv": 1}, ValueError, "'cv' parameter of HyperoptSearchCV"),
        ({"random_state": "x"}, InvalidTypeError, "rstate is a numpy Generator"),
    ],
)
def test_bad_arguments_are_errors(options, error, message):
    """The message says the rule and the value, before anything is fitted."""
    with pytest.raises(error, match=message):
        make_search(**options).fit(X, Y)


def test_the_search_can_stop_early():
    """A loss threshold, an early stop and a timeout end it before max_evals, and None stands for no number."""
    search = make_search(max_evals=None, loss_threshold=0.0).fit(X, Y)
    assert search.best_score_ > 0
    search = make_search(max_evals=100, early_stop_fn=early_stop.no_progress_loss(3)).fit(X, Y)
    assert 3 < len(search.trials_) < 100
    with pytest.raises(AllCandidatesFailedError, match="no candidate was evaluated to its end"):
        make_search(timeout=1e-9).fit(X, Y)


def test_it_is_silent(capfd):
    """Nothing is printed and nothing warned of unless verbose says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_search().fit(X, Y)
    assert capfd.readouterr() == ("", "")
    make_search(verbose=1).fit(X, Y)
    assert "4/4" in capfd.readouterr().err


class Shifted(BaseEstimator):
    """An estimator of the user's own, with no more than the methods that a search needs."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        return self

    def score(self, X, y):
        return -abs(self.shift - 0.5)


def test_estimators_need_only_fit_and_score():
    """The search maximises the estimator's own score."""
    space = {"shift": hp.uniform("shift", 0, 1)}
    search = HyperoptSearchCV(Shifted(), space, 40, random_state=0).fit(X, Y)
    assert search.best_params_["shift"] == pytest.approx(0.5, abs=0.05)  # random search: 0.025 in the mean


def test_workers_need_scikit_learn_only(tmp_path):
    """What is sent to evaluate a candidate can be loaded and run where there is no sparktune."""
    from sparktune.sklearn import _objective

    search = make_search(LogisticRegression(), {"C": 1.0})
    splits = [(np.arange(40), np.arange(40, 80))]
    objective = _objective(search._candidate_search(splits, {}), True, X_CLASS, Y_CLASS)
    path = tmp_path / "objective"
    path.write_bytes(cloudpickle.dumps(objective))
    code = (
        "import pickle, sys; sys.modules['sparktune'] = None; "
        f"print(pickle.load(open({str(path)!r}, 'rb'))({{'C': 0.5}})['loss'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = LogisticRegression(C=0.5).fit(X_CLASS[:40], Y_CLASS[:40]).score(X_CLASS[40:], Y_CLASS[40:])
    assert float(done.stdout) == -expected


def test_without_scikit_learn_the_error_says_what_to_install():
    """Importing the estimator without scikit-learn is an ImportError of ours, with the command to run."""
    code = "import sys; sys.modules['sklearn'] = None; import sparktune.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError" in run.stderr
    assert "pip install 'sparktune[sklearn]'" in run.stderr
