"""Why a point was proposed: what the densities and the surrogate said of it, given what had been seen by then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparktune import atpe, gp, tpe
from sparktune.exceptions import InvalidArgumentError
from sparktune.history.columns import History
from sparktune.history.documents import Document, raw_values
from sparktune.history.proposals import as_it_was, is_as_seen, proposal_record
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.blas import single_threaded
from sparktune.search import classic_tpe
from sparktune.search.state import SearchState
from sparktune.space.compile import Space

#: Algorithms that go on with the points of the start as long as all losses are the same.
EVEN_WHERE_FLAT = {"auto", "gp", atpe.BY_PROCESS}


@dataclass(frozen=True)
class Explanation:
    """Why a trial's point was proposed. ``print`` it for a summary in words.

    Attributes:
        tid: The trial.
        algo: The algorithm, such as ``"auto"``.
        params: Value of each active parameter; a choice's is the option's number.
        n_finished, n_running: Trials whose results were in, and trials that ran, when it was proposed.
        running: The tids of the latter; with the trials inserted before this one, that is the history it saw.
        best_loss: The lowest loss seen by then; None if there was none, or each trial has several.
        is_startup: Whether there was too little to learn from: the point is one of the algorithm's start, a draw from
            the prior or of a sequence.
        log_good, log_bad: Log density of the point among the good trials and among the others (relative to the prior's
            scale: uniform on a bounded parameter); None in the start-up.
        log_ratios: For each active parameter, log of its density among the good trials over that among the others: what
            spoke for its value (above 0) or against it, each parameter by itself. They do not add up to
            ``log_good - log_bad``, which is of all parameters together, and may contradict it. Empty in the start-up.
        log_rank_improvement: Log of the improvement that the ranks of the trials promise at the point, in normal
            scores; ``tpe.suggest`` adds it to the densities. None in the start-up, with several losses or constraints.
        expected_loss: What a Gaussian process expected at the point: median, and the bounds of its central 68 %, noise
            left out. None in the start-up, and where each trial has several losses.
        log_expected_improvement: Log of the expected improvement there, weighed with the chances to meet the
            constraints and not to fail; on a scale of its own, to compare points of one study with. None in the
            start-up.
    """

    tid: Any
    algo: str
    params: Mapping[str, Any]
    n_finished: int
    n_running: int
    running: Sequence[Any]
    best_loss: float | None
    is_startup: bool
    log_good: float | None
    log_bad: float | None
    log_ratios: Mapping[str, float]
    log_rank_improvement: float | None
    expected_loss: tuple[float, float, float] | None
    log_expected_improvement: float | None

    def __str__(self) -> str:
        best = "" if self.best_loss is None else f", the best loss was {self.best_loss:.6g}"
        lines = [
            f"trial {self.tid}, proposed by {self.algo}: {dict(self.params)}",
            f"  seen: {self.n_finished} finished trials, {self.n_running} running{best}",
        ]
        if self.is_startup:
            return "\n".join([*lines, "  a point of the start: there was too little to learn from"])
        if self.log_good is not None and self.log_bad is not None:
            times = math.exp(min(self.log_good - self.log_bad, 700.0))
            lines.append(f"  density: {times:.3g} times as high among the good trials as among the others")
        if self.log_ratios:
            ordered = sorted(self.log_ratios.items(), key=lambda item: -item[1])
            lines.append("  each parameter by itself (log): " + ", ".join(f"{k} {v:+.2f}" for k, v in ordered))
        if self.log_rank_improvement is not None:
            lines.append(f"  ranks: {self.log_rank_improvement:+.2f} (log of the improvement they promise)")
        if self.expected_loss is not None:
            median, low, high = self.expected_loss
            lines.append(f"  expected loss: {median:.6g}, between {low:.6g} and {high:.6g} in 68 of 100 cases")
        return "\n".join(lines)


@single_threaded()
def explain(space: Space, documents: Sequence[Document], tid: Any) -> Explanation:
    """Why trial ``tid`` was proposed, worked out again from the history that it saw.

    The densities and ranks are those of ``tpe.suggest`` with its default options, and the surrogate that of
    ``gp.suggest``, whichever algorithm proposed the point: so trials of any algorithm can be compared.

    Args:
        space: The search space.
        documents: The study's documents, in the order they were inserted.
        tid: The trial.

    Raises:
        InvalidArgumentError: If there is no such trial, it has no record of what it saw or no value of any parameter of
            the space, or trials that it saw are not among the documents.
    """
    own = next((document["exp_key"] for document in documents if document["tid"] == tid), None)
    documents = [document for document in documents if own in (None, document["exp_key"])]  # without a key: saw all
    record, values = _seen(space, documents, tid)
    history = History(space.labels)
    history.sync(as_it_was(documents, record))
    # By hyperopt's rules those that run count toward the start-up as well.
    n_counted_running = len(history.running_rows) if record["algo"] == classic_tpe.ALGO else 0
    is_startup = gp.is_starting(history, record["n_startup"] - n_counted_running) or not len(space)
    if record["algo"] in EVEN_WHERE_FLAT:
        is_startup = is_startup or gp.is_flat(history)
    expected: tuple[float, float, float] | None = None
    log_good = log_bad = log_improvement = log_ranks = None
    log_ratios: dict[str, float] = {}
    if not is_startup:
        state = SearchState.of(space, history)
        point = state.points(values[None])
        settings = tpe.Settings()
        densities = tpe.Densities(state, history, settings)
        log_good, log_bad = densities.log_joint(point)
        ratios = densities.log_ratios(point)[0]
        log_ratios = {
            space.labels[column]: float(ratio)
            for column, ratio in zip(state.layout.columns, ratios, strict=True)
            if not np.isnan(values[column])
        }
        if ranks := tpe.ranks_of(state, history, settings.prior_weight):
            log_ranks = float(ranks.log_improvement(point)[0])
        surrogate = gp.Surrogate(state, history, np.empty((0, len(space))), np.random.default_rng(0))
        log_improvement = float(surrogate.acquisition(point)[0])
        expected = surrogate.expected_loss(point)
    return Explanation(
        tid=tid,
        algo=record["algo"],
        params=space.raw(values),
        n_finished=history.n_finished,
        n_running=len(record["running"]),
        running=tuple(record["running"]),
        best_loss=None if history.best_row is None else float(history.losses[history.best_row]),
        is_startup=is_startup,
        log_good=log_good,
        log_bad=log_bad,
        log_ratios=log_ratios,
        log_rank_improvement=log_ranks,
        expected_loss=expected,
        log_expected_improvement=log_improvement,
    )


def _seen(space: Space, documents: Sequence[Document], tid: Any) -> tuple[Document, FloatArray]:
    """What a trial's proposal saw, and its values, shape (d,); arguments and errors of :func:`explain`."""
    found = [document for document in documents if document["tid"] == tid]
    if not found:
        raise InvalidArgumentError(f"explain takes the tid of a trial of this study, got {tid!r}")
    record = proposal_record(found[0])
    if record is None:
        raise InvalidArgumentError(
            f"explain needs a trial that one of sparktune's algorithms proposed, and trial {tid!r} has no record of "
            "what its proposal saw: it is a point of the user's, or was made elsewhere"
        )
    values = space.row(raw_values(found[0]))
    if values.size and np.isnan(values).all():
        raise InvalidArgumentError(
            f"explain needs the space of the trials, and trial {tid!r} has no value for {', '.join(space.labels)}: "
            "give the space that was searched"
        )
    if not is_as_seen(documents, found[0]):
        raise InvalidArgumentError(
            f"explain needs all trials that the proposal of trial {tid!r} saw, which were {record['n_trials']} with "
            f"{record['running']} running, and some of them are missing here: call it on the trials as they were "
            "before any were removed"
        )
    return record, values
