"""``HyperoptSearchCV``: hyperparameter search as a scikit-learn estimator."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, check_cv

# No public name leads there; searches outside scikit-learn derive from it all the same.
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from sparktune.exceptions import (
    AllTrialsFailed,
    BadSearchSpace,
    InvalidArgumentError,
    InvalidTypeError,
    ObjectiveError,
)
from sparktune.fmin import fmin
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import is_outside
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR, STATUS_FAIL, STATUS_OK
from sparktune.run.arguments import as_max_evals
from sparktune.run.stopping import EarlyStop
from sparktune.space.compile import Space
from sparktune.storage.encoding import Pickled
from sparktune.trials import Trials

__all__ = ["AllCandidatesFailedError", "HyperoptSearchCV"]

TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


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
        self.multimetric_ = _metrics(self.cv_results_) != ["score"] or isinstance(self.scorer_, dict)
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
        if as_max_evals(self.max_evals) < 1 or (self.max_evals is None and not has_end):
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
        single, several = _scorer_names(self.scoring)
        for document in trials._dynamic_trials:
            found = _metrics(document["result"].get("cv_results") or {})
            # What a callable will give is not known yet: what it gave, if it is the same one.
            metrics = found if callable(self.scoring) else list(getattr(scorers, "_scorers", ["score"]))
            wanted = [(name, several.get(name, single)) for name in _optimized(metrics, self.refit)]
            before = [(name, scorer) for name, scorer in document["result"].get("optimized") or ()]
            if before:
                is_same = len(before) == len(wanted) and all(map(_is_same_metric, before, wanted))
            else:  # by an older version, which did not say
                is_same = self.refit in found if self.refit in metrics else set(metrics) == set(found)
            if found and not is_same:
                raise InvalidArgumentError(
                    "with warm_start candidates are compared by the metric of the earlier ones, got "
                    f"{_metric_texts(wanted)} to optimise after trials with "
                    f"{_metric_texts(before) or found}: keep scoring and refit as they were, or set warm_start=False"
                )

    # -- results --------------------------------------------------------------------------------------------------

    def _gather(self, space: Space) -> dict[str, Any]:
        """``cv_results_`` from the documents.

        Raises:
            AllCandidatesFailedError: If no candidate has scores.
            ObjectiveError: If a candidate failed on Spark and ``error_score`` is "raise".
        """
        ended = [
            document
            for document in self.trials_._dynamic_trials
            if document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR) and not _is_foreign(document)
        ]
        failed = [document for document in ended if "cv_results" not in document["result"]]
        if failed and (self.error_score == "raise" or len(failed) == len(ended)):
            kind = ObjectiveError if self.error_score == "raise" else AllCandidatesFailedError
            raise kind(
                f"{len(failed)} of {len(ended)} candidates could not be fitted and scored: check the data, the "
                f"estimator and the space. The first failure:\n{_failure(failed[0])}"
            )
        if not ended:
            raise AllCandidatesFailedError(
                "no candidate was evaluated to its end: allow more time, or more max_evals than the trials hold already"
            )
        candidates = [(_candidate(document, space), document["result"].get("cv_results")) for document in ended]
        known = [(params, found) for params, found in candidates if params is not None]
        return _cv_results([params for params, _ in known], [found for _, found in known], self.error_score)

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
    single, several = _scorer_names(search.scoring)
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


def _is_foreign(document: Document) -> bool:
    """Whether a trial is one of another objective, in trials that were filled before."""
    result = document["result"]
    return result.get("status") == STATUS_OK and "cv_results" not in result


def _metrics(found: Mapping[str, Any]) -> list[str]:
    return [key.removeprefix("mean_test_") for key in found if key.startswith("mean_test_")]


def _optimized(metrics: list[str], refit: Any) -> list[str]:
    """The metrics that losses are of: the one that ``refit`` names, or all."""
    return [refit] if isinstance(refit, str) and refit in metrics else metrics


def _scorer_names(scoring: Any) -> tuple[str | None, dict[str, str | None]]:
    """What the scorer is called, and if there are several, what each is by its metric; None: it has no name."""
    if isinstance(scoring, Mapping):
        return None, {metric: _scorer_name(scorer) for metric, scorer in scoring.items()}
    if scoring is None or isinstance(scoring, str) or callable(scoring):
        return _scorer_name(scoring), {}
    return None, {metric: metric for metric in scoring}


def _scorer_name(scorer: Any) -> str | None:
    if scorer is None or isinstance(scorer, str):
        return scorer or "score"  # the estimator's own
    name = getattr(scorer, "__name__", None) or repr(scorer)  # those of make_scorer have a repr with the function's
    return None if "<" in name else str(name)  # a lambda, an address: they say nothing in another process


def _is_same_metric(before: tuple[str, str | None], wanted: tuple[str, str | None]) -> bool:
    return before[0] == wanted[0] and (before[1] == wanted[1] or None in (before[1], wanted[1]))


def _metric_texts(pairs: Sequence[tuple[str, str | None]]) -> list[str]:
    return [name if scorer in (name, None) else f"{name} ({scorer})" for name, scorer in pairs]


def _candidate(document: Document, space: Space) -> Mapping[str, Any] | None:
    """The parameters that a trial was evaluated with; None if it failed in another space, and nobody knows."""
    # With a warm start the space may have other constants and options than it had then.
    params = document["result"].get("params")
    if isinstance(params, Mapping) and not _has_pickles(params):
        return params
    if is_outside(document):
        return None
    try:
        found: Mapping[str, Any] = space.evaluate(documents.raw_values(document))
    except BadSearchSpace:
        return None
    return found


def _has_pickles(value: Any) -> bool:
    """Whether a value that was read from a storage has parts that nobody has said may be trusted."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, Pickled) or any(map(_has_pickles, parts))


def _failure(document: Document) -> str:
    return str(document["result"].get("error") or documents.failure_text(document))


def _cv_results(
    candidates: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, float] | None], error_score: Any
) -> dict[str, Any]:
    """The table of all candidates, in the form and order of ``GridSearchCV.cv_results_``.

    Args:
        candidates: Parameters of each.
        found: Numbers of each by column; None for one that failed. At least one has not.
        error_score: Score of those that failed, in all splits.
    """
    columns = dict.fromkeys(key for row in found if row is not None for key in row)  # earlier fits may have had others
    table: dict[str, Any] = {}

    def add(key: str) -> None:
        missing = np.nan if key in TIMES else 0.0 * error_score if key.startswith("std_") else error_score
        table[key] = np.array([missing if row is None else row.get(key, np.nan) for row in found], dtype=float)

    for key in TIMES:
        add(key)
    for name in dict.fromkeys(name for candidate in candidates for name in candidate):
        table[f"param_{name}"] = _parameter_column(candidates, name)
    table["params"] = [dict(candidate) for candidate in candidates]
    for key in columns:
        if key not in TIMES:
            add(key)
        if key.startswith("std_test_"):
            metric = key.removeprefix("std_test_")
            table[f"rank_test_{metric}"] = _ranks(table[f"mean_test_{metric}"])
    return table


def _parameter_column(candidates: Sequence[Mapping[str, Any]], name: str) -> Any:
    """One parameter's values, masked where a candidate does not have it."""
    values = [candidate[name] for candidate in candidates if name in candidate]
    try:
        inferred = np.array(values)
    except ValueError:  # lists of different lengths
        inferred = np.empty(0, dtype=object)
    is_plain = inferred.ndim == 1 and inferred.dtype.kind != "U"
    empty = np.empty(len(candidates), dtype=inferred.dtype if is_plain else object)
    column: Any = np.ma.MaskedArray(empty, mask=True)
    for row, candidate in enumerate(candidates):
        if name in candidate:
            column[row] = candidate[name]
    return column


def _ranks(means: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rank of each mean score, the highest 1; equal ones share the better rank, NaN is the lowest."""
    descending = np.where(np.isnan(means), np.inf, -means)
    return (1 + np.searchsorted(np.sort(descending), descending, side="left")).astype(np.int32)
