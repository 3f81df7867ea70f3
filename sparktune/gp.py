"""Gaussian process search: propose where a surrogate of the objective expects the greatest improvement.

The losses are standardised and their tails drawn in; a Gaussian process is conditioned on them, with each running trial
taken to give what the process expects there, so that proposals keep away from it. Candidates are draws from the prior
and small moves of the points with the best predictions, refined in three rounds; the best by log expected improvement
is proposed.

Several losses become one by weights drawn anew for each proposal. Constraints have a process each, and so has whether
a trial fails: the improvement is weighted with the probability that all are met and it does not.

Sources:
    Jones et al. 1998 (expected improvement). Ginsbourger et al. 2010 (running trials at their expected value). Knowles
    2006 (ParEGO, several losses). Gardner et al. 2014 (constraints).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparktune.history.columns import History
from sparktune.history.documents import Document, constraints_of
from sparktune.history.reading import FAILED, OK
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.blas import single_threaded
from sparktune.kernels.gaussian_process import (
    GaussianProcess,
    LossScale,
    fit,
    log_expected_improvement,
    log_normal_cdf,
    scaled,
)
from sparktune.kernels.parzen import Points
from sparktune.search.even import even_points
from sparktune.search.failures import failure_targets, log_survival
from sparktune.search.options import AT_LEAST_0, check_options
from sparktune.search.state import SearchState
from sparktune.search.suggestion import suggested
from sparktune.space.compile import Space

__all__ = ["Settings", "propose", "suggest"]

Acquisition: TypeAlias = Callable[[Points], FloatArray]

#: Points that a process is conditioned on at most, and as many running ones; points its hyperparameters are fitted to.
MAX_POINTS, MAX_FITTED = 250, 96
#: Hyperparameters are fitted to the first of the finished trials, anew when their number grew by this share; up to
#: ``FIRST_FIT`` always. The steps of a fit, at most.
REFIT_GROWTH, FIRST_FIT, FIT_STEPS = 0.15, 10, 20
#: As soon as so many points without a missing value have a loss, the others are left out.
N_WHOLE = 5
#: Candidates: from the prior, moves of the best points, and moves in each round of refinement.
N_PRIOR, N_MOVES, N_REFINED = 120, 150, 100
#: How far candidates move, as a share of the range: at first, and in the rounds of refinement.
MOVE, REFINED_MOVES = 0.1, (0.05, 0.02, 0.005)
#: Points that candidates move from.
N_STARTS = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`.

    Attributes:
        n_startup_jobs: Take points that fill the space evenly until this many trials have finished, and as long as all
            have the same loss.
    """

    n_startup_jobs: int = 10

    def __post_init__(self) -> None:
        check_options("gp.suggest", self, {"n_startup_jobs": AT_LEAST_0})


DEFAULTS = Settings()


def suggest(
    new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any, n_startup_jobs: int = DEFAULTS.n_startup_jobs
) -> list[Document]:
    """A document per id, proposed by a Gaussian process.

    Each proposal takes those before it in the batch for running trials. On a discrete space one that was tried is
    passed over while another is left.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        n_startup_jobs: See :class:`Settings`.

    Raises:
        InvalidArgumentError: If an option is out of its rule.
    """
    return suggested("gp", propose, Settings(n_startup_jobs), new_ids, domain, trials, seed, n_startup_jobs)


@single_threaded()
def propose(
    space: Space, history: History, rng: np.random.Generator, n: int, settings: Settings | None = None
) -> FloatArray:
    """n points, shape (n, d), NaN where inactive; each takes those before it for running trials.

    Args:
        space: What may be tried.
        history: What has been tried, with the columns of ``space``.
        rng: Random stream.
        n: Number of points.
        settings: Options; the defaults if None.
    """
    settings = settings or DEFAULTS
    state = SearchState.of(space, history)
    if is_starting(history, settings.n_startup_jobs) or is_flat(history) or not len(space):
        return even_points(space, history, rng, n)
    rows = np.empty((n, len(space)))
    for i in range(n):
        surrogate = Surrogate(state, history, rows[:i], rng)
        rows[i] = best_candidate(state, surrogate, surrogate.acquisition, rows[:i], rng)
    return rows


def is_starting(history: History, n_startup_jobs: int) -> bool:
    """Whether there is too little to learn from: fewer finished trials than wanted, or none with a loss."""
    return history.n_finished < n_startup_jobs or not history.n_ok


def is_flat(history: History) -> bool:
    """Whether all finished trials have the same loss, and nothing else: then a process would know of no slope.

    It would go to the corners and edges, where it is least sure, again and again.
    """
    if history.n_constraints or history.n_ok < history.n_finished:
        return False
    losses = history.objectives[history.kinds == OK]
    return bool((losses == losses[:1]).all())


class Surrogate:
    """What Gaussian processes make of a study at one moment.

    Args:
        state: What is kept between proposals.
        history: What has been tried; at least one trial has a loss.
        batch: Points proposed just now, shape (b, d); they count as running.
        rng: Random stream: for weights of several losses, and for a choice among many trials.
    """

    def __init__(self, state: SearchState, history: History, batch: FloatArray, rng: np.random.Generator) -> None:
        self._state = state
        kinds = history.kinds
        finished = whole_points(state, history, np.flatnonzero((kinds == OK) | (kinds == FAILED)))
        thetas = hyperparameters(state, history, finished[: n_fitted(len(finished))])
        losses, is_ok = single_losses(history, finished, rng)
        scale = LossScale(losses[is_ok])
        self._scale = scale if history.n_objectives == 1 and np.isfinite(losses).any() else None
        kept = representatives(losses, history.violations[finished], rng)
        rows, targets = finished[kept], scale(losses)[kept]
        self.x = state.inputs(state.points(history.values[rows]))
        running = np.vstack([history.values[history.running_rows], batch])[-MAX_POINTS:]
        self._running = state.inputs(state.points(running))
        is_ok = is_ok[kept]
        self._loss = self._process(targets, thetas[0], is_ok)
        violations = history.violations[rows[is_ok]]
        is_feasible = violations <= 0
        #: The lowest loss that was observed among the points that meet the constraints.
        self.incumbent = float(targets[is_ok][is_feasible].min()) if is_feasible.any() else None
        self._constraints = [
            self._process(column, theta, np.isfinite(column))
            for column, theta in zip(constraint_targets(history, rows), thetas[2:], strict=True)
            if np.isfinite(column).any()
        ]
        self._failures: GaussianProcess | None = None
        if not is_ok.all():
            everything = np.ones(len(rows), dtype=bool)
            self._failures = self._process(failure_targets(kinds[rows]), thetas[1], everything)
        order = np.lexsort((self._loss.known_means, violations))
        self.best = state.coordinates.encode(history.values[rows[is_ok][order[:N_STARTS]]])

    def _process(self, y: FloatArray, theta: FloatArray, is_known: NDArray[np.bool_]) -> GaussianProcess:
        """A process conditioned on values ``y`` at the points."""
        process = GaussianProcess(self._state.input_groups, theta)
        process.condition(self.x[is_known], y[is_known], self._running)
        return process

    def acquisition(self, points: Points) -> FloatArray:
        """Log expected improvement, weighed with the chances to meet the constraints and not to fail, shape (m,)."""
        x = self._state.inputs(points)
        total = np.zeros(len(points))
        if self.incumbent is not None:
            means, sds = self._loss.predict(x)
            # What would be observed is compared with what was: where noise hides the differences between points, those
            # with the best means are tried, not those of which least is known.
            total += log_expected_improvement(means, np.sqrt(sds**2 + self._loss.noise), self.incumbent)
        for process in self._constraints:
            means, sds = process.predict(x)
            total += log_normal_cdf(-means / sds)
        if self._failures is not None:
            total += log_survival(self._failures, x)
        return total

    def expected_loss(self, point: Points) -> tuple[float, float, float] | None:
        """Median loss expected at one point, bounds of the central 68 %; None without one finite loss per trial."""
        if self._scale is None:
            return None
        means, sds = self._loss.predict(self._state.inputs(point))
        median, low, high = self._scale.inverse(np.append(means, [means - sds, means + sds])).tolist()
        return median, low, high


def whole_points(state: SearchState, history: History, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the rows of finished trials that lack no value, as soon as there are enough of them; else all.

    Trials of another space may lack one. The process would take what it did for noise, and find no slope any more. Nor
    would it among whole ones that all have the same loss.
    """
    if not history.standings.any():
        return rows
    values = history.values[rows]
    has_value = values == values  # not NaN
    whole = rows[(has_value | ~state.space.activity(values)).all(axis=1)]
    losses = history.objectives[whole[history.kinds[whole] == OK]]
    return whole if len(losses) >= N_WHOLE and (losses != losses[:1]).any() else rows


def n_fitted(n: int) -> int:
    """To how many of n finished trials the hyperparameters are fitted: a step function of n alone."""
    fitted = min(n, FIRST_FIT)
    while (step := max(1, int(REFIT_GROWTH * fitted))) <= n - fitted:
        fitted += step
    return fitted


def hyperparameters(state: SearchState, history: History, rows: NDArray[np.intp]) -> list[FloatArray]:
    """Those of the loss, of failing and of each constraint, fitted to finished trials.

    They are a function of these trials alone, so a study that is loaded goes on as it would have; they are kept as long
    as the trials are the same.

    Args:
        state, history: The study.
        rows: The trials' rows.
    """
    losses, is_ok = single_losses(history, rows)
    # Without a failure there is nothing to fit: the hyperparameters are the modes of their priors.
    failures = np.full(len(rows), np.nan) if is_ok.all() else failure_targets(history.kinds[rows])
    columns = failures, *constraint_targets(history, rows)
    key = hash((rows.tobytes(), losses.tobytes(), *(column.tobytes() for column in columns)))
    if state.fitted is not None and state.fitted[0] == key:
        return state.fitted[1]
    kept = representatives(losses, history.violations[rows], np.random.default_rng(len(rows)))[:MAX_FITTED]
    values = history.values[rows[kept]]
    x = state.inputs(state.points(values))
    prior = state.process_prior(values)
    thetas = []
    for y in (np.where(is_ok, LossScale(losses[is_ok])(losses), np.nan), *columns):
        is_known = np.isfinite(y[kept])
        thetas.append(fit(state.input_groups, x[is_known], y[kept][is_known], prior, FIT_STEPS))
    state.fitted = key, thetas
    return thetas


def constraint_targets(history: History, rows: NDArray[np.intp]) -> list[FloatArray]:
    """Constraints of finished trials on the scale of a process, shape (n,) each; NaN where a trial does not say."""
    constraints = history.constraints[rows]
    for i in np.flatnonzero(np.isnan(constraints).any(axis=1) & (history.kinds[rows] == OK)).tolist():
        # A constraint that is not a number counts as violated; a trial without any says nothing.
        if constraints_of(history.documents[rows[i]]):
            constraints[i, np.isnan(constraints[i])] = np.inf
    return [scaled(column) for column in constraints.T]


def best_candidate(
    state: SearchState,
    surrogate: Surrogate,
    acquisition: Acquisition,
    batch: FloatArray,
    rng: np.random.Generator,
    extra: FloatArray | None = None,
) -> FloatArray:
    """The candidate with the highest acquisition that was not tried, shape (d,).

    Args:
        state, surrogate: The study.
        acquisition: What to maximise.
        batch: Points proposed just now, shape (b, d).
        rng: Random stream.
        extra: Values of further candidates, shape (m, d).
    """
    prior = state.on_grid(state.coordinates.sample_prior(rng, N_PRIOR))
    moved = moves(state, surrogate.best, N_MOVES, MOVE, rng)
    values = np.vstack([prior, moved] if extra is None else [prior, moved, extra])
    scores = acquisition(state.points(values))
    for scale in REFINED_MOVES:
        best = values[np.argsort(-scores, kind="stable")[:N_STARTS]]
        moved = moves(state, state.coordinates.encode(best), N_REFINED, scale, rng)
        values, scores = np.vstack([values, moved]), np.append(scores, acquisition(state.points(moved)))
    values = values[np.argsort(-scores, kind="stable")]
    return state.tried.first_new(values, batch, rng, copies=True)


def moves(state: SearchState, starts: FloatArray, n: int, scale: float, rng: np.random.Generator) -> FloatArray:
    """Values of n points near some of ``starts`` (k, d), shape (n, d), each changed in a few parameters.

    Numbers move by normal steps, reflected at the bounds, and by one grid step at least; categories are drawn anew, and
    so is what becomes active.
    """
    layout, d = state.layout, starts.shape[1]
    start = starts[rng.integers(len(starts), size=n)]
    drawn = state.coordinates.sample_prior(rng, n)
    start = np.where(np.isnan(start), drawn, start)
    is_changed = rng.random((n, d)) < (max(2.0 / d, 0.15) if d > 2 else 1.0)
    is_changed[np.arange(n), rng.integers(d, size=n)] = True
    # Steps of many sizes, for nobody knows how narrow the valley is.
    steps = scale * np.exp(rng.standard_normal((n, 1))) * rng.standard_normal((n, d))
    widths = layout.widths
    steps = np.where(np.abs(steps) < 0.6 * widths, np.where(steps < 0, -widths, widths), steps)
    moved = start + steps
    reflected = 1.0 - np.abs(1.0 - np.abs(moved))
    moved = np.where(layout.is_unbounded, moved, np.clip(reflected, 0.0, 1.0))
    moved[:, layout.categorical] = drawn[:, layout.categorical]
    return state.on_grid(np.where(is_changed, moved, start))


def single_losses(
    history: History, rows: NDArray[np.intp], rng: np.random.Generator | None = None
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """One loss per row of finished trials, infinite for one that failed; and which rows have losses; shapes (n,)."""
    is_ok = history.kinds[rows] == OK
    losses = np.full(len(rows), np.inf)
    if is_ok.any():
        losses[is_ok] = scalarised(history.objectives[rows[is_ok]], rng)
    return losses, is_ok


def scalarised(objectives: FloatArray, rng: np.random.Generator | None = None) -> FloatArray:
    """One loss per trial, shape (n,): the only one, or an augmented Chebyshev sum with random weights.

    Args:
        objectives: Losses, shape (n, m).
        rng: Draws the weights; equal ones if None.

    Source:
        Knowles 2006, equation 2.
    """
    m = objectives.shape[1]
    if m == 1:
        return np.asarray(objectives[:, 0])
    weights = np.full(m, 1.0 / m) if rng is None else rng.dirichlet(np.ones(m))
    scaled_losses = np.column_stack([LossScale(column)(column) for column in objectives.T])
    scaled_losses -= scaled_losses.min(axis=0)
    weighted = weights * scaled_losses
    return np.asarray(weighted.max(axis=1) + 0.05 * weighted.sum(axis=1))


def representatives(losses: FloatArray, violations: FloatArray, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of at most ``MAX_POINTS`` trials, in random order: half are the best, half any."""
    n = len(losses)
    if n <= MAX_POINTS:
        return rng.permutation(n) if n > MAX_FITTED else np.arange(n)
    order = np.lexsort((losses, violations))
    n_best = MAX_POINTS // 2
    others = rng.choice(order[n_best:], MAX_POINTS - n_best, replace=False)
    return np.asarray(rng.permutation(np.append(order[:n_best], others)))
