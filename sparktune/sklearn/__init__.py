"""``HyperoptSearchCV``: hyperparameter search as a scikit-learn estimator."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import (
    AllTrialsFailed,
    InvalidArgumentError,
    InvalidTypeError,
    MissingPackageError,
    ObjectiveError,
)

try:
    from sklearn import get_config
except ImportError as error:
    raise MissingPackageError(
        "sparktune.sklearn needs scikit-learn, which is not installed: pip install 'sparktune[sklearn]'"
    ) from error

from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, check_cv

# No public name leads there; searches outside scikit-learn derive from it all the same.
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from sparktune.fmin import fmin
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR, STATUS_FAIL, STATUS_OK
from sparktune.run.arguments import as_max_evals
from sparktune.run.stopping import EarlyStop
from sparktune.sklearn.metrics import (
    is_same_metric,
    metric_texts,
    metrics_of,
    optimized_metrics,
    own_scorer,
    scorer_names,
)
from sparktune.sklearn.results import candidate_of, cv_results, failure_of, is_foreign
from sparktune.space.compile import Space
from sparktune.trials import Trials

__all__ = ["AllCandidatesFailedError", "HyperoptSearchCV"]


class AllCandidatesFailedError(AllTrialsFailed, ValueError):
    """No candidate could be fitted and scored on any split; the message shows the first failure."""


class HyperoptSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Search for the parameters of an estimator that are best in cross-validation.

    Each trial is the cross-validation of one candidate, and its loss is the negative mean test score. All candidates
    are evaluated on the same splits. Where they are evaluated is up to ``trials``.

    With several metrics the one that ``refit`` names is optimised; if ``refit`` is False or a callable, all are
    optimised at once, and ``trials_.pareto_front`` has the candidates that no other dominates.

    A candidate whose fits fail on all splits does not end the search, unless ``error_score="raise"``: it gets
    ``error_score`` in ``cv_results_``, and the search algorithm learns that it failed.

    Args:
        estimator: Cloned for each candidate and split.
        space: A dict ``{parameter name: hp expression or constant}``, or an expression with such dicts as its values.
            Names are those of ``estimator.get_params()``, nested ones as ``"step__parameter"``.
        max_evals: Candidates in all; with ``warm_start`` those of earlier fits included. None: no limit.
        trials: Where candidates are evaluated and kept: a ``Trials``, or a ``SparkTrials`` to have them on executors.
            It is filled by ``fit``; if it has trials of other origin already, and ``warm_start`` is False, it is left
            as it is, and an empty copy takes its place. None: a new ``Trials`` in this process.
        algo: As in :func:`sparktune.fmin`; None: ``auto.suggest``.
        warm_start: Whether ``fit`` goes on from the trials that there are; their scores should be of the same data and
            scoring. Those of another space keep the parameters that they were evaluated with.
        scoring: As in ``GridSearchCV``: None, a name, a callable, or several of them in a list or dict.
        n_jobs: Splits of one candidate evaluated at the same time; None: 1, -1: all cores.
        refit: Whether to fit the best parameters on all data; the name of a metric if there are several; or a function
            of ``cv_results_`` that returns the index of the best candidate.
        cv: As in ``GridSearchCV``: None, number of folds, splitter, or iterable of (train, test) indices.
        verbose: 1 shows a progress bar, more also what scikit-learn prints of each candidate.
        pre_dispatch: As in ``GridSearchCV``.
        random_state: Seed of the search: an int, a ``RandomState``, a ``Generator``, or None.
        error_score: Score of a split on which the estimator fails: a number, or ``"raise"``. On Spark the error is
            raised when the search has ended.
        return_train_score: Whether ``cv_results_`` has the scores on the training data as well.
        timeout: Seconds after which no candidate is started, and those that run on Spark are cancelled.
        loss_threshold: The search ends when the best loss, which is a negative score, is below this.
        early_stop_fn: As in :func:`sparktune.fmin`.

    Attributes:
        trials_: The trials; documents have the scores of each split in ``result["cv_results"]``, and in
            ``result["optimized"]`` what the loss is of: ``[metric, scorer]``, or several.
        cv_results_, best_index_, best_params_, best_score_, best_estimator_, refit_time_, scorer_, multimetric_,
        n_splits_, n_features_in_, feature_names_in_, classes_: As in ``GridSearchCV``. ``cv_results_`` has a row for
            each finished trial in the order of their ids, trials of earlier fits included if ``warm_start``; but not
            for one of another space of which nobody knows the parameters, such as one lost with its Spark task.
    """

    def __init__(
        self,
        estimator: Any,
        space: Any,
        max_evals: int | None,
        trials: Any = None,
        algo: Callable[..., Any] | None = None,
        warm_start: bool = False,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[[Mapping[str, Any]], int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        *,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        early_stop_fn: EarlyStop | None = None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.max_evals = max_evals
        self.trials = trials
        self.algo = algo
        self.warm_start = warm_start
        self.random_state = random_state
        self.timeout = timeout
        self.loss_threshold = loss_threshold
        self.early_stop_fn = early_stop_fn

    def fit(self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any) -> HyperoptSearchCV:
        """Search, then fit the best candidate on all data, unless ``refit`` is False; returns this object.

        Args:
            X: Training data, shape (n_samples, n_features): array, data frame, sparse matrix.
            y: Targets, shape (n_samples,) or (n_samples, n_outputs); None for unsupervised estimators.
            groups: Groups of the samples for ``cv``, shape (n_samples,).
            **fit_params: Passed to the estimator's ``fit``, such as ``sample_weight``; what has one entry per sample is
                split along. With metadata routing enabled, to whoever requests it.

        Raises:
            AllCandidatesFailedError: If no candidate could be fitted and scored.
            InvalidArgumentError, InvalidTypeError, ValueError: If an argument is out of its rule.
        """
        self._validate_params()
        space = self._check_space()
        max_evals = self._check_max_evals()
        scorers, refit_metric = self._get_scorers()
        if y is None and get_tags(self.estimator).target_tags.required:
            raise InvalidArgumentError(
                f"{type(self.estimator).__name__} requires y to be passed, but the target y is None: call fit(X, y)"
            )
        X, y = indexable(X, y)
        params = fit_params if groups is None else {**fit_params, "groups": groups}
        split_params, refit_params = self._route(params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **split_params))

        trials = self._trials_to_fill()
        self._check_metrics(trials, scorers)
        fmin(
            _objective(self._candidate_search(splits, params), self.refit, X, y),
            self.space,
            algo=self.algo,
            max_evals=max_evals,
            trials=trials,
            rstate=self.random_state,
            timeout=self.timeout,
            loss_threshold=self.loss_threshold,
            early_stop_fn=self.early_stop_fn,
            verbose=self.verbose > 0,
            show_progressbar=self.verbose > 0,
            return_argmin=False,
        )
        self.trials_ = trials
        self.n_splits_ = len(splits)
        self.scorer_ = getattr(scorers, "_scorers", scorers)  # several are kept as a dict, as GridSearchCV does
        self.cv_results_ = self._gather(space)
        self.multimetric_ = metrics_of(self.cv_results_) != ["score"] or isinstance(self.scorer_, dict)
        self._choose(self.refit if self.multimetric_ else refit_metric)
        if self.refit:
            self._refit(X, y, refit_params)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags = copy.deepcopy(get_tags(self.estimator).target_tags)  # several outputs, y or no y
        return tags

    def _run_search(self, evaluate_candidates: Any) -> None:
        raise NotImplementedError("the search is fmin's, see fit")

    # -- arguments ------------------------------------------------------------------------------------------------

    def _check_space(self) -> Space:
        """The space, if a point drawn from it is a dict of parameters that the estimator has."""
        space = Space(self.space)
        point = space.evaluate(space.raw(space.sample(np.random.default_rng(0), 1)[0]))
        if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
            raise InvalidTypeError(
                f"the value of space is a dict {{parameter name: value}}, got {point!r} at one of its points: write "
                'space={"C": hp.loguniform("C", -5, 5)}'
            )
        clone(self.estimator).set_params(**clone(dict(point), safe=False))
        return space

    def _check_max_evals(self) -> int | None:
        has_end = self.timeout is not None or self.early_stop_fn is not None or self.loss_threshold is not None
        n_evals = as_max_evals(self.max_evals)
        if n_evals < 1 or (n_evals == as_max_evals(None) and not has_end):
            raise InvalidArgumentError(
                "max_evals is the number of candidates, at least 1, or None with a timeout, a loss_threshold or an "
                f"early_stop_fn, got {self.max_evals!r}: pass max_evals=50"
            )
        return self.max_evals

    def _route(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the splitter gets, and what the estimator gets in the last fit."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **params)
            return dict(routed.splitter.split), dict(routed.estimator.fit)
        rest = dict(params)
        return {"groups": rest.pop("groups", None)}, rest

    def _candidate_search(
        self, splits: Sequence[Any], params: Mapping[str, Any]
    ) -> tuple[GridSearchCV, dict[str, Any]]:
        """A search that will evaluate one candidate, and what its ``fit`` gets beside the data."""
        search = GridSearchCV(
            clone(self.estimator),
            {},
            scoring=self.scoring,
            n_jobs=self.n_jobs,
            refit=False,
            cv=splits,
            verbose=max(0, self.verbose - 1),
            pre_dispatch=self.pre_dispatch,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        if get_config()["enable_metadata_routing"]:
            names = get_routing_for_object(search).consumes("fit", params)  # groups are used up: splits are made
        else:
            names = set(params) - {"groups"}
        return search, {name: params[name] for name in params if name in names}

    def _trials_to_fill(self) -> Any:
        before = getattr(self, "trials_", None)
        if self.warm_start and before is not None:
            return before
        if self.trials is None:
            return Trials()
        if isinstance(self.trials, type) or not hasattr(self.trials, "_dynamic_trials"):
            raise InvalidTypeError(
                f"trials must be a Trials or SparkTrials object, or None, got {self.trials!r}: pass Trials()"
            )
        if self.warm_start or not len(self.trials._dynamic_trials):
            return self.trials
        # Another fit, from scratch. What this object has put there may go; what came from elsewhere may not.
        trials: Any = self.trials if self.trials is before else copy.deepcopy(self.trials)
        trials.delete_all()
        return trials

    def _check_metrics(self, trials: Any, scorers: Any) -> None:
        """Refuse to go on from trials of which another metric was optimised."""
        single, several = scorer_names(self.scoring)
        own = own_scorer(self.estimator)
        for document in trials._dynamic_trials:
            found = metrics_of(document["result"].get("cv_results") or {})
            # What a callable will give is not known yet: what it gave, if it is the same one.
            metrics = found if callable(self.scoring) else list(getattr(scorers, "_scorers", ["score"]))
            wanted = [(name, several.get(name, single)) for name in optimized_metrics(metrics, self.refit)]
            before = [(name, scorer) for name, scorer in document["result"].get("optimized") or ()]
            if before:
                is_same = len(before) == len(wanted) and all(
                    is_same_metric(*pair, own) for pair in zip(before, wanted, strict=True)
                )
            else:  # by an older version, which did not say
                is_same = self.refit in found if self.refit in metrics else set(metrics) == set(found)
            if found and not is_same:
                raise InvalidArgumentError(
                    "with warm_start candidates are compared by the metric of the earlier ones, got "
                    f"{metric_texts(wanted)} to optimise after trials with "
                    f"{metric_texts(before) or found}: keep scoring and refit as they were, or set warm_start=False"
                )

    # -- results --------------------------------------------------------------------------------------------------

    def _gather(self, space: Space) -> dict[str, Any]:
        """``cv_results_`` from the documents.

        Raises:
            AllCandidatesFailedError: If no candidate has scores, or only ones whose parameters nobody knows.
            ObjectiveError: If a candidate failed on Spark and ``error_score`` is "raise".
        """
        ended = [
            document
            for document in self.trials_._dynamic_trials
            if document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR) and not is_foreign(document)
        ]
        failed = [document for document in ended if "cv_results" not in document["result"]]
        if failed and (self.error_score == "raise" or len(failed) == len(ended)):
            kind = ObjectiveError if self.error_score == "raise" else AllCandidatesFailedError
            raise kind(
                f"{len(failed)} of {len(ended)} candidates could not be fitted and scored: check the data, the "
                f"estimator and the space. The first failure:\n{failure_of(failed[0])}"
            )
        if not ended:
            raise AllCandidatesFailedError(
                "no candidate was evaluated to its end: allow more time, or more max_evals than the trials hold already"
            )
        candidates = [(candidate_of(document, space), document["result"].get("cv_results")) for document in ended]
        known = [(params, found) for params, found in candidates if params is not None]
        if all(found is None for _, found in known):
            raise AllCandidatesFailedError(
                "the best candidate is one that was scored and whose parameters are known, got none among "
                f"{len(ended)} earlier ones, for another space is searched now: raise max_evals, keep the space as it "
                "was, or set warm_start=False"
            )
        return cv_results([params for params, _ in known], [found for _, found in known], self.error_score)

    def _choose(self, refit_metric: Any) -> None:
        """Set what tells of the best candidate, where there is a way to tell."""
        for name in ("best_index_", "best_params_", "best_score_", "best_estimator_", "refit_time_"):
            self.__dict__.pop(name, None)  # of an earlier fit with another refit
        if self.multimetric_ and not self.refit:
            return
        self.best_index_ = self._select_best_index(self.refit, refit_metric, self.cv_results_)
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        if not callable(self.refit):
            self.best_score_ = self.cv_results_[f"mean_test_{refit_metric}"][self.best_index_]

    def _refit(self, X: Any, y: Any, fit_params: Mapping[str, Any]) -> None:
        estimator = clone(self.estimator).set_params(**clone(dict(self.best_params_), safe=False))
        start = time.perf_counter()
        estimator.fit(*((X,) if y is None else (X, y)), **fit_params)
        self.refit_time_ = time.perf_counter() - start
        self.best_estimator_ = estimator
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(estimator, "feature_names_in_"):
            self.feature_names_in_ = estimator.feature_names_in_


def _objective(
    candidate_search: tuple[GridSearchCV, dict[str, Any]], refit: Any, X: Any, y: Any
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The cross-validation of one candidate as a function of its parameters.

    It uses nothing of ours when it runs, for Spark's workers need not have sparktune.
    """
    search, fit_params = candidate_search
    target = refit if isinstance(refit, str) else None
    needs_target = refit is not False and not callable(refit)
    single, several = scorer_names(search.scoring)
    ok, fail = STATUS_OK, STATUS_FAIL
    config = get_config()

    def cross_validation(params: Mapping[str, Any]) -> dict[str, Any]:
        from sklearn import config_context, get_config

        # It is a setting of one thread, and trials may run in others, and elsewhere.
        with config_context(**{name: value for name, value in config.items() if name in get_config()}):
            return scored(params)

    def scored(params: Mapping[str, Any]) -> dict[str, Any]:
        import math

        from sklearn.base import clone

        trial = clone(search).set_params(param_grid={name: [value] for name, value in params.items()})
        clone(search.estimator).set_params(**clone(dict(params), safe=False))  # an unknown name ends the search
        try:
            trial.fit(X, y, **fit_params)
        except Exception as error:  # raised if all splits fail; a few that fail get error_score
            if search.error_score == "raise":
                raise
            return {"status": fail, "params": params, "error": str(error)}
        found = {
            key: float(column[0])
            for key, column in trial.cv_results_.items()
            if key != "params" and not key.startswith(("param_", "rank_"))
        }
        means = {key.removeprefix("mean_test_"): value for key, value in found.items() if key.startswith("mean_test_")}
        if trial.multimetric_ and needs_target and target not in means:
            raise ValueError(
                f"refit names the metric to optimise where there are several, one of {sorted(means)}, or "
                f"is False or a callable, got {target or True!r}: pass refit='...'"
            )
        optimized: list[Any] = [target] if target in means else list(means)
        losses = [-means[name] for name in optimized]
        scorers = [[name, several.get(name, single)] for name in optimized]  # pairs: their order is that of the losses
        result = {"status": ok, "params": params, "cv_results": found, "optimized": scorers}
        if any(map(math.isnan, losses)):
            return {**result, "status": fail}
        return {**result, "loss": losses[0]} if len(losses) == 1 else {**result, "losses": losses}

    return cross_validation
