"""Which metrics a search optimises, and whether two searches optimise the same ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn import get_config
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.pipeline import Pipeline

#: The scorer that is the estimator's own ``score``.
OWN = "score"


def metrics_of(found: Mapping[str, Any]) -> list[str]:
    """The metrics that a table of results, or one candidate's row of it, has test scores of."""
    return [key.removeprefix("mean_test_") for key in found if key.startswith("mean_test_")]


def optimized_metrics(metrics: list[str], refit: Any) -> list[str]:
    """The metrics that losses are of: the one that ``refit`` names, or all."""
    return [refit] if isinstance(refit, str) and refit in metrics else metrics


def scorer_names(scoring: Any) -> tuple[str | None, dict[str, str | None]]:
    """What the scorer is called, and if there are several, what each is by its metric; None: it has no name."""
    if isinstance(scoring, Mapping):
        return None, {metric: _scorer_name(scorer) for metric, scorer in scoring.items()}
    if scoring is None or isinstance(scoring, str) or callable(scoring):
        return _scorer_name(scoring), {}
    return None, {metric: metric for metric in scoring}


def _scorer_name(scorer: Any) -> str | None:
    if scorer is None or isinstance(scorer, str):
        return scorer or OWN
    name = getattr(scorer, "__name__", None) or repr(scorer)  # those of make_scorer have a repr with the function's
    return None if "<" in name else str(name)  # a lambda, an address: they say nothing in another process


def own_scorer(estimator: Any) -> str:
    """The name under which scikit-learn has the scorer that an estimator's own ``score`` is; ``OWN`` if it has none."""
    if get_config()["enable_metadata_routing"]:
        return OWN  # score may be given weights that the scorer does not get, or the other way round
    method = inspect.getattr_static(type(estimator), "score", None)
    if method is inspect.getattr_static(Pipeline, "score"):
        return own_scorer(estimator.steps[-1][1]) if estimator.steps else OWN
    names = {RegressorMixin.score: "r2", ClassifierMixin.score: "accuracy"}
    return next((name for function, name in names.items() if method is function), OWN)


def is_same_metric(before: tuple[str, str | None], wanted: tuple[str, str | None], own: str) -> bool:
    """Whether two metrics, each with its scorer's name, are one; a scorer without a name may be any.

    Args:
        before, wanted: The metrics.
        own: What the estimator's own score is, see :func:`own_scorer`.
    """
    first, second = (own if scorer == OWN else scorer for _, scorer in (before, wanted))
    return before[0] == wanted[0] and (first == second or None in (first, second))


def metric_texts(pairs: Sequence[tuple[str, str | None]]) -> list[str]:
    """Metrics, each with its scorer's name, as errors say them."""
    return [name if scorer in (name, None) else f"{name} ({scorer})" for name, scorer in pairs]
