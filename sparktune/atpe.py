"""Self-tuning TPE: the study's own results choose how it searches.

hyperopt's ``atpe`` has its settings from models trained beforehand; nothing is shipped here. Each proposal is made in
one of a few ways: by TPE with its defaults, which stays close to the best trials; by TPE with a heavier prior, which
looks further away; or by TPE together with a Gaussian process, see ``auto.py``. Each way has a share of the proposals
that follows how often, of late, its trials were better than all before them (Thompson sampling of that chance). As long
as one way finds improvements it goes on; when none does, all are tried, until one improves on the best again.

Which way a trial was proposed is in its document, so a study that is loaded goes on as it would have. With several
losses or constraints, where no trial is simply better than all before it, only that credit counts.

Source:
    Thompson 1933; Chapelle and Li 2011, "An empirical evaluation of Thompson sampling", algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparktune import auto, tpe
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.proposals import proposal_record
from sparktune.history.reading import FAILED, OK
from sparktune.kernels.arrays import FloatArray
from sparktune.search.best import is_ordered_by_loss
from sparktune.search.suggestion import Propose, history_of, suggested
from sparktune.space.compile import Space

__all__ = ["propose", "suggest"]

WIDE = tpe.Settings(prior_weight=4.0)
#: The name of the way that :mod:`sparktune.auto` goes.
BY_PROCESS = "atpe, with a Gaussian process"
#: The ways to choose among, by the name that goes into the documents.
WAYS: dict[str, Propose[None]] = {
    "atpe, close": lambda space, history, rng, n, _: tpe.propose(space, history, rng, n),
    "atpe, wide": lambda space, history, rng, n, _: tpe.propose(space, history, rng, n, WIDE),
    BY_PROCESS: lambda space, history, rng, n, _: auto.propose(space, history, rng, n),
}
#: The name of what comes before there is anything to choose by: TPE's start-up.
START = "atpe, start-up"
#: So many of the last finished trials say how a way does: what helped early may not help now.
WINDOW = 40
#: Trials with and without success that each way is thought to have had before its first one; the last way, which does
#: best on most problems, is given one success more.
PRIORS = {"atpe, close": (1.0, 1.0), "atpe, wide": (1.0, 1.0), BY_PROCESS: (2.0, 1.0)}
#: Draws from the prior until this many trials have finished.
N_STARTUP = tpe.DEFAULTS.n_startup_jobs


def suggest(new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any) -> list[Document]:
    """A document per id, proposed in a way that did well in this study.

    Each proposal takes those before it in the batch for running trials; one batch is proposed in one way.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
    """
    way = choose(history_of(trials, domain), np.random.default_rng(seed))
    return suggested(way, WAYS.get(way, _start), None, new_ids, domain, trials, seed, N_STARTUP)


def propose(space: Space, history: History, rng: np.random.Generator, n: int, settings: object = None) -> FloatArray:
    """n points, shape (n, d), NaN where inactive, in a way that did well; ``settings`` is not looked at."""
    return WAYS.get(choose(history, rng), _start)(space, history, rng, n, None)


def _start(space: Space, history: History, rng: np.random.Generator, n: int, settings: None) -> FloatArray:
    return tpe.propose(space, history, rng, n)


def choose(history: History, rng: np.random.Generator) -> str:
    """The way of the next proposal."""
    if history.n_finished < N_STARTUP:
        return START
    counts = {name: list(prior) for name, prior in PRIORS.items()}
    if is_ordered_by_loss(history):
        losses = np.where(history.kinds == OK, history.losses, np.inf)
        best_before = np.minimum.accumulate(np.append(np.inf, losses))[:-1]
        finished = np.flatnonzero((history.kinds == OK) | (history.kinds == FAILED))
        for row in finished[-WINDOW:].tolist():
            record = proposal_record(history.documents[row])
            if record is not None and record["algo"] in counts:
                counts[record["algo"]][0 if losses[row] < best_before[row] else 1] += 1
    chances = {name: rng.beta(better, not_better) for name, (better, not_better) in counts.items()}
    return max(chances, key=lambda name: chances[name])
