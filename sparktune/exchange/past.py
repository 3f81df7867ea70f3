"""The runs of a study so far, as its ``Trials`` object knows them: their spaces, and what they optimised."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.exchange.other_space import Terms, bring_into
from sparktune.exchange.source import are_whole, spaces_of_runs
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import Event
from sparktune.history.marks import is_borrowed
from sparktune.run.goal import Goal
from sparktune.space.compile import Space
from sparktune.storage.keeper import Keeper
from sparktune.storage.runs import Run, in_terms_of_runs, runs_so_far


@dataclass(frozen=True)
class Past:
    """What is known of the runs of a study so far.

    Attributes:
        space: The search space of the last one; None: nobody knows.
        terms: In which spaces the values in the documents are.
        goal: What the last one optimised; None: nobody knows.
        begun: The last one in this process; None if there was none.
        read: The ``run`` events of the storage that the documents were read from.
        trusts: Whether pickles in these are opened.
    """

    space: Space | None = None
    terms: Terms = field(default_factory=Terms)
    goal: Goal | None = None
    begun: Run | None = None
    read: Sequence[Event] = ()
    trusts: bool = False

    @classmethod
    def of_storage(cls, keeper: Keeper) -> Past:
        """Of documents that were just read."""
        return cls(keeper.space(), goal=Goal.of_runs(keeper.runs), read=keeper.runs, trusts=keeper.trust)

    @property
    def has_whole_spaces(self) -> bool:
        """Whether the spaces of all runs in the storage can be read."""
        return are_whole(self.read, self.trusts)

    @property
    def runs(self) -> list[Event]:
        """The ``run`` events: of the storage that was read, and of the last run here."""
        return runs_so_far(self.read, self.begun)

    # -- spaces ---------------------------------------------------------------------------------------------------

    def spaces(
        self, found: Sequence[Document], kept: Keeper | None = None, n_known: int = sys.maxsize
    ) -> Callable[[int], Space | None]:
        """Gives the space in which a trial was made, or brought into, by its position; None where nobody knows.

        Args:
            found: The documents.
            kept: Keeps the study now, if somebody does.
            n_known: Of the trials that this object has had; later ones are as the storage has them.
        """
        runs, trust = (self.read, self.trusts) if kept is None else (kept.runs, kept.trust)
        stored = spaces_of_runs(runs, found, trust)
        if self.terms.space is None and runs:
            return stored
        return lambda position: self.terms.of(found[position]) if position < n_known else stored(position)

    def brought_into(
        self,
        space: Space,
        found: Sequence[Document],
        kept: Keeper | None = None,
        *,
        n_known: int = sys.maxsize,
        level: int | None = None,
    ) -> tuple[Past, list[Document]]:
        """Bring the documents into terms of a space, as far as they have a place there.

        Args:
            space: The space.
            found, kept, n_known: See :meth:`spaces`.
            level: See :func:`~sparktune.exchange.other_space.adapt`.

        Returns:
            What is known then; and the trials that are open, and are no points of the space.
        """
        terms, misfits = bring_into(found, space, self.spaces(found, kept, n_known), level)
        return replace(self, space=space, terms=terms), misfits

    def without_terms(self) -> Past:
        """With documents that are as some storage has them."""
        return replace(self, terms=Terms())

    # -- what was optimised ---------------------------------------------------------------------------------------

    def goal_so_far(self, kept: Keeper | None = None) -> Goal | None:
        """What the trials that there are were run for; None where nobody knows.

        Args:
            kept: Keeps the study now, if somebody does; it goes first, for another program may have begun anew there.
        """
        return Goal.of_runs(kept.runs) if kept is not None and kept.runs else self.goal

    def require_goal(self, goal: Goal, found: Sequence[Document], kept: Keeper | None = None) -> None:
        """Losses of a number to be high and of one to be low must not meet: the worst would be taken for the best.

        Raises:
            InvalidArgumentError: If trials have losses of another goal.
        """
        before = self.goal_so_far(kept)
        if before is None or goal.goes_on(before):
            return
        if any(documents.losses_of(document) for document in found if not is_borrowed(document)):
            raise InvalidArgumentError(
                f"a study goes on with what it optimises, got {goal} for trials that were run with {before}: pass "
                "that, or begin another study"
            )

    # -- pickles --------------------------------------------------------------------------------------------------

    def pickled(self, found: list[Document]) -> tuple[Past, list[Document]]:
        """What a pickle has of this, and of the documents: no space, for it may hold what cannot be pickled."""
        if self.read:  # of which the values of what was loaded are in terms
            found = in_terms_of_runs(found, self.terms, self.read)
        return Past(goal=self.goal, read=self.read, trusts=self.trusts), found

    def unpickled(self, found: Sequence[Document]) -> Past:
        """With documents whose spaces nobody knows any more."""
        return replace(self, terms=Terms.unknown(found))

    def restored(self, space: Space, algo: Any, goal: Goal) -> Past:
        """With what somebody knows who has a pickle of the trials, and what it does not have.

        Args:
            space, algo, goal: Those of the last run.
        """
        begun = Run(space, algo, goal.words, 0)
        return replace(self, space=space, terms=Terms(space, self.terms.made_in), begun=begun)
