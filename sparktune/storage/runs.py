"""The runs of a study as its storage has them, and what they say of the spaces in which its trials are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sparktune.exceptions import SerializationError
from sparktune.history import documents, events
from sparktune.history.documents import Document
from sparktune.history.events import Event
from sparktune.space.compile import Space
from sparktune.storage.encoding import encode
from sparktune.storage.graphs import encode_space

logger = logging.getLogger("sparktune")


class Run(NamedTuple):
    """A run of a study.

    Attributes:
        space: Its search space.
        algo: The algorithm, as it can be found again; None if it cannot.
        goal: What is optimised, in JSON's types; None for the lowest loss.
        n_trials: How many trials there were when it began.
    """

    space: Space
    algo: Any
    goal: Any
    n_trials: int


class InTerms(Protocol):
    """What a keeper needs to know of the spaces of trials, see :class:`sparktune.exchange.other_space.Terms`."""

    @property
    def space(self) -> Space | None:
        """That of nearly all; None where nobody knows."""

    def of(self, document: Document) -> Space | None:
        """That of one."""


class HasTerms(Protocol):
    """Knows the spaces of trials, see :class:`sparktune.exchange.past.Past`."""

    @property
    def terms(self) -> InTerms:
        """In which space the values of the trials are."""

    def without_terms(self) -> HasTerms:
        """The same, with documents that are as the storage has them."""


def runs_so_far(runs: Sequence[Event], begun: Run | None) -> list[Event]:
    """The ``run`` events of an object.

    Args:
        runs: Of the storage that it was read from, or is kept in.
        begun: Its last one in this process.
    """
    if begun is not None and not runs:
        begun = begun._replace(n_trials=0)  # all is in its space, but what is outside, which says so itself
    event = None if begun is None else run_event(begun, runs)
    return [*runs] if event is None else [*runs, event]


def in_terms_of_runs(found: Sequence[Document], terms: InTerms, runs: Sequence[Event]) -> list[Document]:
    """Documents that say in which run's space their values are, where their places say another."""
    if terms.space is None:
        return [*found]  # as they were read
    numbers = _RunNumbers(runs)
    return [
        events.in_space_of(document, numbers.of(terms.of(document)), events.run_of(runs, position))
        for position, document in enumerate(found)
    ]


class _RunNumbers:
    """The numbers of runs by their search spaces."""

    def __init__(self, runs: Sequence[Event]) -> None:
        self._runs = runs
        self._known: dict[int, int] = {}

    def of(self, space: Space | None) -> int:
        """The number of the last run in a space; -1 if there is none."""
        if id(space) not in self._known:
            nodes = None if space is None else _nodes(space)
            same = [n for n, run in enumerate(self._runs) if nodes is not None and run.get("space") == nodes]
            self._known[id(space)] = max(same, default=-1)
        return self._known[id(space)]


def _nodes(space: Space) -> Any:
    try:
        return encode_space(space)
    except SerializationError:
        return None


def run_event(run: Run, runs: Sequence[Event]) -> Event | None:
    """That a run has begun; None if the last one was of the same kind."""
    try:
        nodes, algo = encode_space(run.space), encode(run.algo)
    except SerializationError as error:
        logger.warning("the search space and the algorithm are left out of the storage: %s", error)
        nodes = algo = None
    same = {"event": "run", "space": nodes, "algo": algo, "goal": run.goal}
    if runs and {key: runs[-1].get(key) for key in same} == same:
        return None
    return {**same, "at": documents.utcnow(), "n_trials": run.n_trials}
