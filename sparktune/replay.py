"""Making the proposals of a stored study once more, to see that they come out the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sparktune.exceptions import InvalidArgumentError
from sparktune.exchange.other_space import adapt
from sparktune.exchange.source import spaces_of_runs
from sparktune.history import documents, proposals
from sparktune.history.documents import Document
from sparktune.history.events import Event, Replica
from sparktune.history.marks import set_aside
from sparktune.run.algos import stored_algo
from sparktune.run.domain import Domain
from sparktune.space.compile import Space
from sparktune.storage.graphs import decode_space
from sparktune.storage.places import no_study, storage_at
from sparktune.trials import Trials

__all__ = ["Difference", "Replay", "replay"]


@dataclass(frozen=True)
class Difference:
    """A proposal that came out another way.

    Attributes:
        tid: Its trial.
        recorded, repeated: The values by label, in the study and now.
    """

    tid: Any
    recorded: dict[str, Any]
    repeated: dict[str, Any]

    def __str__(self) -> str:
        labels = sorted({*self.recorded, *self.repeated})
        changed = [label for label in labels if self.recorded.get(label) != self.repeated.get(label)]
        what = ", ".join(f"{label}: {self.recorded.get(label)!r} -> {self.repeated.get(label)!r}" for label in changed)
        return f"trial {self.tid} comes out another way: {what}"


@dataclass(frozen=True)
class Replay:
    """What became of repeating the proposals of a study.

    Attributes:
        n_trials: Trials in the study.
        n_repeated: Proposals that were made again.
        n_without_record: Trials that were not, as nobody wrote down what their proposal saw: points that the user gave,
            and those of algorithms that are not ours.
        difference: The first that differs, where it ended; None if all came out the same.
    """

    n_trials: int
    n_repeated: int
    n_without_record: int
    difference: Difference | None

    def __str__(self) -> str:
        text = f"{self.n_repeated} of {self.n_trials} proposals were made again"
        if self.n_without_record:
            text += f", {self.n_without_record} have no record of what they saw"
        same = "all came out the same" if self.n_repeated else "nothing was compared"
        return f"{text}: {self.difference or same}"


def replay(storage: Any, *, space: Any = None, algo: Callable[..., Any] | None = None, trust: bool = False) -> Replay:
    """Each proposal of a stored study made again, from what it had seen, up to the first that differs.

    Args:
        storage: A path or URL, as for ``fmin``.
        space: The search space; None: the stored one.
        algo: The algorithm with its options; None: the stored one, if it is one of sparktune's.
        trust: Whether to open pickles in the study, which can run code of whoever wrote them.

    Raises:
        InvalidStorage: If there is no study.
        InvalidArgumentError: If the space or the algorithm is not stored, and not given.
    """
    place = storage_at(storage)
    replica = Replica(place.read(trust))
    if not replica.runs and not replica.documents:
        raise no_study(place)
    stored = list(replica.documents.values())
    history = _InTheirSpaces(stored, replica.runs, space, trust)
    n_repeated = n_without_record = position = 0
    for _, documents_of_round in groupby(stored, lambda document: (document["exp_key"], proposals.round_of(document))):
        group = list(documents_of_round)
        number, position = _run_of(position, replica.runs), position + len(group)
        if proposals.proposal_record(group[0]) is None:
            n_without_record += len(group)
            continue
        domain, seen = history.at(number, group[0]["exp_key"])
        chosen = algo or stored_algo(replica.runs[number] if number >= 0 else {}, "replay", trust)
        for document, raw in zip(group, _repeated(group, domain, seen, chosen), strict=True):
            recorded = documents.raw_values(document)
            if recorded != raw:
                difference = Difference(document["tid"], recorded, raw)
                return Replay(len(stored), n_repeated, n_without_record, difference)
            n_repeated += 1
    return Replay(len(stored), n_repeated, n_without_record, None)


class _InTheirSpaces:
    """The documents as each run had them: those of before in its space, as :meth:`Trials._begin` brings them there.

    Args:
        stored: All documents.
        runs: The ``run`` events of the study.
        space: In place of the stored ones; None: these.
        trust: Whether to open pickles.
    """

    def __init__(self, stored: Sequence[Document], runs: Sequence[Event], space: Any, trust: bool) -> None:
        self._stored = stored
        self._runs = runs
        self._space = space
        self._trust = trust
        self._number: int | None = None

    def at(self, number: int, exp_key: Any) -> tuple[Domain, _Seen]:
        """The space of a run, and what its proposals saw of the documents.

        Args:
            number: Of the run; -1: of a study without runs.
            exp_key: Of the ``Trials`` object that proposed, which saw the documents with that; None: it saw all.
        """
        if number != self._number:
            self._number = number
            run = self._runs[number] if number >= 0 else {}
            known, found = _space_of(run, self._space, self._trust), list(self._stored)
            if number > 0 and self._space is None:
                before = copy.deepcopy(found[: run.get("n_trials", 0)])
                adapt(before, known, spaces_of_runs(self._runs[:number], before, self._trust))
                found[: len(before)] = before
            self._domain, self._found, self._seen = Domain(None, known.expr), found, dict[str, _Seen]()
        key = repr(exp_key)  # it may be a list, which is no key of a dictionary
        if key not in self._seen:
            own = [document for document in self._found if exp_key in (None, document["exp_key"])]
            self._seen[key] = _Seen(own)
        return self._domain, self._seen[key]


class _Seen:
    """What the proposals of one run saw of the trials, as :func:`~sparktune.history.proposals.as_it_was` has it.

    It is brought forward from one proposal to the next: trials are added, and running ones get their results. Where a
    proposal saw less than the one before it, as that of another driver may have, it is made anew.

    Args:
        stored: All documents that its ``Trials`` object had, in the space of the run.
    """

    def __init__(self, stored: Sequence[Document]) -> None:
        self._stored = stored
        self._positions = {document["tid"]: position for position, document in enumerate(stored)}
        self._begin()

    def _begin(self) -> None:
        self._trials, self._n, self._running = Trials(), 0, set[int]()

    def at(self, record: Mapping[str, Any]) -> Trials:
        """The trials as the proposal with this record saw them; they change with the next call."""
        n = min(record["n_trials"], len(self._stored))
        running = {self._positions[tid] for tid in record["running"] if tid in self._positions}
        if n < self._n or any(position < self._n for position in running - self._running):
            self._begin()
        shown = self._trials._dynamic_trials
        for position in self._running - running:
            shown[position].update(self._stored[position])  # in place, where the columns look for results
        later = sorted(position for position in running if position >= n)
        new = [*self._stored[self._n : n], *(self._stored[position] for position in later)]
        new = proposals.as_it_was(new, {**record, "n_trials": len(new)})
        shown.extend(new)
        if outside := set_aside(new):
            self._trials._set_aside = {**self._trials._set_aside, **outside}
        self._trials.refresh()
        # Later trials stand in the places of those between: after them, there is no going on.
        self._n, self._running = (len(self._stored) + 1 if later else n), running
        return self._trials


def _repeated(group: list[Document], domain: Domain, seen: _Seen, algo: Any) -> Iterator[dict[str, Any]]:
    record = proposals.proposal_record(group[0]) or {}
    made = algo([document["tid"] for document in group], domain, seen.at(record), proposals.seed_of(group[0]))
    made += [None] * (len(group) - len(made))
    for document in made:
        yield {} if document is None else documents.raw_values(document)


def _run_of(position: int, runs: Sequence[Event]) -> int:
    """The number of the run that proposed the trial at a position; -1 if none did."""
    return max((number for number, run in enumerate(runs) if run.get("n_trials", 0) <= position), default=-1)


def _space_of(run: Event, given: Any, trust: bool) -> Space:
    if given is not None:
        return Space.of(given)
    if not run.get("space"):
        raise InvalidArgumentError("replay needs the search space, which this study has not: call replay(..., space=)")
    return decode_space(run["space"], trust)
