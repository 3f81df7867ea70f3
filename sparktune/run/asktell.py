"""Asking an algorithm for points and telling it what came of them: what every way of running trials shares."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from sparktune.exceptions import InvalidLoss
from sparktune.history import documents, proposals
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.marks import count_unlike, n_borrowed
from sparktune.history.trial import Outcome
from sparktune.run.arguments import as_generator
from sparktune.run.domain import Domain, failure_from
from sparktune.storage.keeper import Keeper

logger = logging.getLogger("sparktune")

#: hyperopt's algorithm form: (new_ids, domain, trials, seed) -> one document per id; an empty list ends the run.
Algo: TypeAlias = Callable[..., list[Document]]


class AskTell:
    """A search: gives points, takes results, keeps the documents of both in ``trials``.

    Args:
        algo: Proposes points.
        domain: The space.
        trials: Receives the documents.
        rstate: Source of one seed per round of proposals, see :func:`~sparktune.run.arguments.as_generator`.

    Attributes:
        seen: What the algorithm is shown; ``trials``, if nobody has put something else there.
    """

    def __init__(self, algo: Algo, domain: Domain, trials: Any, rstate: Any) -> None:
        self.algo = algo
        self.domain = domain
        self.trials = trials
        self.seen = trials
        self._generator = as_generator(rstate)
        self.rstate = self._generator if rstate is None else rstate
        # With the seed of an earlier run, the stream goes on after what that run has used of it.
        self._used_seeds = {proposals.seed_of(document) for document in trials._dynamic_trials}

    def pull(self) -> tuple[list[Document], int]:
        """Take in what other drivers of the study have done, where it has several.

        Returns:
            Trials of drivers that are dead, which are for this one to evaluate now; and how many of the same
            ``exp_key`` others have proposed, those of a warm start not among them.
        """
        if self._keeper is None or not self._keeper.is_shared:
            return [], 0
        n_known = len(self.trials._dynamic_trials)
        adopted = self._keeper.pull()
        new = self.trials._dynamic_trials[n_known:]
        self._used_seeds.update(map(proposals.seed_of, new))
        self.trials.refresh()
        key = self.trials._exp_key
        own = [document for document in new if key in (None, document["exp_key"])]
        return adopted, len(own) - n_borrowed(own)

    def can_ask(self, n: int) -> bool:
        """Whether :meth:`ask` gives n proposals at once; where several drivers share a database, that may be away.

        Raises:
            OSError: If it has been away for ten minutes.
        """
        return self._keeper is None or self._keeper.has_ids(n)

    def ask(self, n: int) -> list[Document]:
        """New documents for up to n proposals, inserted into ``trials``; none if the algorithm has no more."""
        new_ids = self.trials.new_trial_ids(n)
        self.trials.refresh()
        seed = self._own_seed()
        proposed = self.algo(new_ids, self.domain, self.seen, seed)
        if not proposed:
            return []
        tids = set(self.trials.insert_trial_docs(proposed))
        self.trials.refresh()
        # The trials object may store copies (subclasses do); the stored ones are the ones to run.
        newest = self.trials._dynamic_trials[-len(tids) :]
        stored = [document for document in newest if document["tid"] in tids]
        for document in stored:
            proposals.note_seed(document, seed)
        if self._keeper is not None:
            self._keeper.note_new()
        return stored

    def start(self, document: Document) -> None:
        """Mark a trial as running; it is in the storage, if there is one, when this returns."""
        documents.start(document)
        if self._keeper is not None:
            self._keeper.note_start(document)
            self._keeper.flush()

    def flush(self) -> None:
        """Have all that happened in the storage, if the study has one."""
        if self._keeper is not None:
            self._keeper.flush()

    @property
    def _keeper(self) -> Keeper | None:
        keeper: Keeper | None = getattr(self.trials, "_keeper", None)
        return keeper

    def tell(self, document: Document, outcome: Outcome) -> Outcome:
        """Write what became of a trial into its document; returns that, or why it cannot be accepted."""
        outcome, known = self.checked(outcome), self._history.numbers
        for name, attachment in outcome.attachments.items():
            self.trials.trial_attachments(document)[name] = attachment
        error_is_traceback = getattr(self.trials, "error_is_traceback", False)
        documents.finish(document, outcome, error_is_traceback=error_is_traceback)
        if self._keeper is not None:
            self._keeper.note_end(document)
        self.trials.refresh()
        if (numbers := self._history.numbers) is not None and numbers != known:
            self._warn_of_unlike(*numbers)
        return outcome

    def checked(self, outcome: Outcome) -> Outcome:
        """The outcome, or a failed one if its result is not of the kind that the study's other results are."""
        numbers = self._history.numbers
        if outcome.result is None or numbers is None:
            return outcome
        text = documents.mismatch(outcome.result, *numbers)
        if text is None:
            return outcome
        return replace(outcome, result=None, failure=failure_from(InvalidLoss(outcome.result, text)))

    @property
    def _history(self) -> History:
        history: History = self.trials.history(self.domain.space.labels)
        return history

    def _warn_of_unlike(self, n_losses: int, n_constraints: int) -> None:
        """Say which trials of a warm start are unlike the study's first result, which has just come in."""
        n_unlike, n_dropped = count_unlike(self._history.documents, n_losses, n_constraints)
        if n_unlike:
            logger.warning(
                "warm_start: all trials of a study have the same numbers of losses and constraints, in its first "
                "result %d and %d, got %d earlier trials with others: nothing is learned from these any more; give "
                "warm_start trials with the losses that are returned here, or leave them out",
                n_losses,
                n_constraints,
                n_unlike,
            )
        if n_dropped:
            logger.warning(
                "warm_start: a study has the constraints that its own results have, the first of which has none, got "
                "%d earlier trials with constraints: these are dropped; return 'constraints' here too if they count",
                n_dropped,
            )

    def _own_seed(self) -> int:
        """A new seed; of the drivers of one study with the same ``rstate``, each gets others."""
        slot = 0 if self._keeper is None else self._keeper.slot
        if slot == 0:
            return self._next_seed()
        while (seed := _of_slot(self._next_seed(), slot)) in self._used_seeds:
            pass
        self._used_seeds.add(seed)
        return seed

    def _next_seed(self) -> int:
        while (seed := int(self._generator.integers(2**31 - 1))) in self._used_seeds:
            pass
        self._used_seeds.add(seed)
        return seed


def _of_slot(seed: int, slot: int) -> int:
    return int(np.random.SeedSequence([seed, slot]).generate_state(1)[0] >> 1)
