"""How much each parameter mattered for being among the best trials: PED-ANOVA.

A parameter matters if the best trials have other values of it than the rest of the search had. That is measured by the
Pearson divergence of its density among the best (the share ``top`` of the trials) from its density in a baseline (all
trials, or the best share ``baseline`` of them). Both come from the same search, so a parameter does not look important
only because the search tried some of its values more often.

Three rules go beyond the paper:

- What chance alone gives is subtracted, for a few points always look gathered somewhere, and what falls below 0 is 0.
- A parameter that is not always active is compared among the trials in which it is, and the divergence is multiplied by
  a'**2 / a, where a and a' are the shares of baseline and top trials in which it is active. By the law of total
  variance its values add this much to what is known from being active or not; that first part is in the divergence of
  the choice that switches it.
- Densities are over ranks among the baseline trials, so the scale of a parameter has no influence.

Sources:
    Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently quantifying hyperparameter importance in arbitrary
    subspaces", arXiv 2304.10255. Its factor (top / baseline)**2 is the same for all parameters and cancels here.
    Baba, Ozaki and Watanabe 2026, "Conditional PED-ANOVA", arXiv 2601.20800, on leaving to a choice what it switches.
"""

from __future__ import annotations

import math

import numpy as np

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.history.columns import History
from sparktune.history.reading import OK
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.divergence import excess_divergence, rank_cells, smoothing
from sparktune.space.compile import Parameter, Space
from sparktune.space.coordinates import n_categories
from sparktune.space.numbers import is_number

__all__ = ["importances"]

#: Fewer trials in the baseline say nothing.
MIN_BASELINE = 10
#: The top group is not smaller than this, whatever its share.
MIN_TOP = 5
#: A divergence below this is rounding.
NEGLIGIBLE = 1e-9


def importances(
    space: Space, history: History, *, top: float = 0.1, baseline: float = 1.0, objective: int = 0
) -> dict[str, float]:
    """The share of each parameter in what tells the best trials from the others, the most important first.

    The shares sum to one. All are 0 if nothing tells them apart, as when all losses are equal. Only the order of the
    losses counts; trials tied at the edge of the top group share the places that are left in it. Failed, cancelled and
    running trials are left out.

    Args:
        space: The space of the trials.
        history: The trials, with the columns of ``space``.
        top: Share of the trials in the top group, which has at least 5; 0 < top < baseline.
        baseline: Share of the trials to compare with: 1 for what leads to good trials, less for what tells the best
            from the merely good; at most 1.
        objective: Which loss, where trials have several; constraints are not looked at.

    Returns:
        Importance in [0, 1] by label.

    Raises:
        InvalidArgumentError: If a share or ``objective`` is out of its rule, too few trials have a loss, or none has a
            value of any parameter.
        InvalidTypeError: If ``objective`` is no integer.
    """
    _check_shares(top, baseline)
    values, losses = _finished(history, objective)
    n_top, n_baseline = _group_sizes(len(losses), top, baseline)
    in_baseline = losses <= np.sort(losses)[n_baseline - 1]
    values, weights = values[in_baseline], top_weights(losses[in_baseline], n_top)
    found = np.array([_divergence(p, values[:, column], weights) for column, p in enumerate(space.parameters)])
    found = np.where(found < NEGLIGIBLE, 0.0, found)
    found /= found.sum() or 1.0
    return {space.labels[column]: float(found[column]) for column in np.argsort(-found, kind="stable")}


def _finished(history: History, objective: int) -> tuple[FloatArray, FloatArray]:
    """Values (n, d) and losses (n,) of the trials that have a loss."""
    n_objectives = history.objectives.shape[1]
    rule = f"objective is the index of a loss, 0 to {n_objectives - 1} in these trials"
    if not isinstance(objective, (int, np.integer)) or isinstance(objective, bool):
        raise InvalidTypeError(f"{rule}, got objective={objective!r}: write objective=0")
    if objective not in range(n_objectives):
        raise InvalidArgumentError(f"{rule}, got objective={objective!r}")
    is_ok = history.kinds == OK
    values = history.values[is_ok]
    if values.size and np.isnan(values).all():
        raise InvalidArgumentError(
            f"importances needs the space of the trials, and none of them has a value for {', '.join(history.labels)}: "
            "give the space that was searched"
        )
    return values, history.objectives[is_ok, objective]


def top_weights(losses: FloatArray, n_top: int) -> FloatArray:
    """How much of each trial is in the top group, shape (n,), with sum ``n_top``; ties at its edge share alike."""
    edge = np.partition(losses, n_top - 1)[n_top - 1]
    is_better, is_tied = losses < edge, losses == edge
    n_left = n_top - np.count_nonzero(is_better)
    return np.asarray(is_better + is_tied * (n_left / np.count_nonzero(is_tied)))


def _divergence(parameter: Parameter, values: FloatArray, weights: FloatArray) -> float:
    """The divergence of one parameter, at least 0, from its values (n,) and the weights (n,) of the top group."""
    is_active = ~np.isnan(values)
    x, w = values[is_active], weights[is_active]
    if not w.any():
        return 0.0
    if n_categories(parameter):
        _, categories = np.unique(x, return_inverse=True)
        divergence = excess_divergence(categories, w)
    else:
        divergence = excess_divergence(rank_cells(x), w, smoothing(float(w.sum())))
    share, share_top = len(x) / len(values), w.sum() / weights.sum()
    return max(divergence, 0.0) * float(share_top**2 / share)


def _check_shares(top: float, baseline: float) -> None:
    if not (is_number(top) and is_number(baseline) and 0 < top < baseline <= 1):
        raise InvalidArgumentError(
            f"importances takes shares of the trials with 0 < top < baseline <= 1, got top={top!r}, "
            f"baseline={baseline!r}: the best tenth compared with all is top=0.1, baseline=1"
        )


def _group_sizes(n: int, top: float, baseline: float) -> tuple[int, int]:
    """Trials in the top group and in the baseline, of n with a loss."""
    # A share such as 0.07 of 100 may come out a bit beside the integer it is.
    n_top, n_baseline = max(MIN_TOP, math.ceil(top * n - 1e-9)), math.floor(baseline * n + 1e-9)
    if n_baseline < MIN_BASELINE:
        raise InvalidArgumentError(
            f"importances with baseline={baseline} needs at least {math.ceil(MIN_BASELINE / baseline)} trials with a "
            f"loss, got {n} (failed and running ones do not count): run more trials"
            + (", or use baseline=1" if n >= MIN_BASELINE else "")
        )
    if n_top >= n_baseline:
        raise InvalidArgumentError(
            f"importances needs a top group smaller than the baseline; with {n} trials, top={top} and "
            f"baseline={baseline} they have {n_top} and {n_baseline}: choose them further apart"
        )
    return n_top, n_baseline
