"""Where earlier results come from, in one form: a :class:`Source` of :class:`Row`."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidStorage, InvalidTypeError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import Replica, run_of
from sparktune.history.marks import SPACE_OF_RUN, borrowed_from, key_of
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.run.goal import Goal
from sparktune.space.choices import native
from sparktune.space.compile import Space
from sparktune.storage.graphs import decode_space, is_whole
from sparktune.storage.places import no_study, storage_at

#: How values of choices are given: as the option's number, as the option, or as whichever of them fits the column.
CHOICES = ("index", "value", "either")
#: What to do about losses that are none, as "0,5", "95%" and "0.5 s".
NUMBERS_ADVICE = "write plain numbers, as 0.5, or give a data frame that has such (pandas.read_csv(path, decimal=','))"


@dataclass(frozen=True, slots=True)
class Row:
    """An earlier trial.

    Attributes:
        id: What it is called in its source.
        values: By label, as the source has them.
        losses: What it minimised; empty if it failed.
        constraints: At most 0 where they are met.
        space: Its search space, if that is known: the numbers of options are meant in there.
        mark: Where it came from before it was in this source.
    """

    id: Any
    values: Mapping[str, Any]
    losses: tuple[float, ...] = ()
    constraints: tuple[float, ...] = ()
    space: Space | None = None
    mark: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """The same for the same trial, wherever and whenever it is read."""
        if self.mark is not None:
            return str(self.mark["key"])
        values = sorted((label, _plain(value)) for label, value in self.values.items())
        text = repr((str(self.id), values, self.losses, self.constraints))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Earlier trials, with what is needed to read them.

    Attributes:
        name: Says where they are from, for people.
        rows: The trials that have ended.
        choices: What values of choices are: see ``CHOICES``.
        is_text: Whether values are text, to be read.
        n_open: Trials that were left out, for they had not ended or were cancelled.
        goal: What the losses were made of, and in which direction it was optimised; None: nobody knows.
        has_none: Whether None and NaN are values; in tables they say that there is none.
        by_index: Choices whose values are numbers of options whatever ``choices`` says, with what these look like.
        unread: Losses that are no numbers, one of each row that was left out for it.
    """

    name: str
    rows: Sequence[Row]
    choices: str = "index"
    is_text: bool = False
    n_open: int = 0
    goal: Goal | None = None
    has_none: bool = False
    by_index: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.choices not in CHOICES:
            raise InvalidArgumentError(f"choices is one of {', '.join(map(repr, CHOICES))}, got {self.choices!r}")

    def with_values(self, **values: Any) -> Source:
        """The same trials with values for labels that they do not have: what a new parameter was before there was one.

        Args:
            **values: By label; of a choice as this source has them.
        """
        return replace(self, rows=[replace(row, values={**values, **row.values}) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)


def _plain(value: Any) -> str:
    return repr(native(value))


# -- trials and documents ---------------------------------------------------------------------------------------------


def from_documents(
    found: Iterable[Document],
    space: Any = None,
    *,
    name: str = "documents",
    spaces: Callable[[int], Space | None] | None = None,
    goal: Goal | None = None,
) -> Source:
    """The trials of documents, sparktune's or hyperopt's.

    Args:
        found: Documents.
        space: The space they were searched in, by which options of choices are recognised; None: by their index.
        name: Says where they are from.
        spaces: Gives the space of each document by its position, where they have several.
        goal: What they were run for, if that is known.

    Raises:
        InvalidTrial: If one is no document.
        BadSearchSpace: If ``space`` is not one.
    """
    known = None if space is None else Space.of(space)
    rows, n_open = [], 0
    for position, document in enumerate(found):
        documents.validate(document)
        if document["state"] not in (JOB_STATE_DONE, JOB_STATE_ERROR):
            n_open += 1
            continue
        row_space = known if spaces is None else spaces(position)
        rows.append(row_of(document, row_space))
    return Source(name, rows, n_open=n_open, goal=goal)


def row_of(document: Document, space: Space | None) -> Row:
    """A trial as a row.

    Args:
        document: Of the trial.
        space: That in which its values are, if that is known.
    """
    return Row(
        document["tid"],
        documents.raw_values(document),
        documents.losses_of(document),
        documents.constraints_of(document),
        space,
        borrowed_from(document) or key_of(document),
    )


def from_trials(trials: Any, space: Any = None, *, name: str | None = None) -> Source:
    """The trials of a ``Trials`` object, failed ones too.

    Args:
        trials: Of this package, or read from a pickle of hyperopt's with ``sparktune.compat.load``.
        space: The space they were searched in; None: that of the object's last ``fmin``, if it knows it.
        name: Says where they are from.

    Raises:
        InvalidTypeError: If it is no such object.
    """
    if not hasattr(trials, "_dynamic_trials"):
        raise InvalidTypeError(f"from_trials takes a Trials object, got {trials!r}")
    found, name = list(trials._dynamic_trials), name or f"{type(trials).__name__} object"
    past = getattr(trials, "_past", None)
    if past is None:  # hyperopt's
        return from_documents(found, space, name=name)
    kept = trials._keeper
    spaces = past.spaces(found, kept) if space is None else None
    return from_documents(found, space, name=name, spaces=spaces, goal=past.goal_so_far(kept))


def from_storage(where: Any, *, trust: bool = False) -> Source:
    """The trials of a stored study.

    Args:
        where: A path or URL, as for ``storage=``.
        trust: Whether to open pickles in it, which can run code of whoever wrote them.

    Raises:
        InvalidStorage: If there is no study.
        InvalidArgumentError: If it is a pickle.
    """
    _refuse_pickle(where)
    place = storage_at(where)
    replica = Replica(place.read(trust))
    if not replica.documents and not replica.runs:
        raise no_study(place)
    found = list(replica.documents.values())
    return from_documents(
        found,
        name=f"study {place}",
        spaces=spaces_of_runs(replica.runs, found, trust),
        goal=Goal.of_runs(replica.runs),
    )


def spaces_of_runs(
    runs: Sequence[Mapping[str, Any]], found: Sequence[Document], trust: bool = False
) -> Callable[[int], Space | None]:
    """The space in which the values of a stored trial are, by its position; None where nobody knows.

    Args:
        runs: The ``run`` events of the study.
        found: Its documents.
        trust: Whether to open pickles in spaces.
    """
    known: dict[int, Space | None] = {-1: None}

    def space_at(position: int) -> Space | None:
        said = found[position]["misc"].get(SPACE_OF_RUN)
        number = run_of(runs, position) if said is None else int(said)
        if number not in known:
            # One that the trial was brought into later: of the runs so far nobody knows.
            known[number] = _space_of(runs[number].get("space"), trust) if number < len(runs) else None
        return known[number]

    return space_at


def are_whole(runs: Sequence[Mapping[str, Any]], trust: bool = False) -> bool:
    """Whether the spaces of all runs can be read."""
    return all(_space_of(run["space"], trust) is not None for run in runs if run.get("space"))


def _space_of(nodes: Any, trust: bool) -> Space | None:
    try:
        space = decode_space(nodes, trust)
    except InvalidStorage:  # it calls functions of which nobody has said that they may be trusted
        return None
    return space if is_whole(space) else None


def _refuse_pickle(where: Any) -> None:
    if not isinstance(where, (str, os.PathLike)) or not os.path.isfile(where):
        return
    with open(where, "rb") as file:
        if file.read(1) == b"\x80":
            raise InvalidArgumentError(
                f"a pickle can run code of whoever wrote it, and is not opened unasked, got {os.fspath(where)!r}: if "
                "you trust it, write from sparktune import compat, and pass compat.load(path), which reads hyperopt's "
                "as well"
            )


def losses_from(numbers: Sequence[Any], signs: Sequence[float]) -> tuple[float, ...]:
    """What to minimise; empty if any of the numbers is missing or none.

    Args:
        numbers: One per objective.
        signs: -1 for those to be maximised.
    """
    try:
        losses = tuple(sign * float(number) for number, sign in zip(numbers, signs, strict=True))
    except (TypeError, ValueError, OverflowError):
        return ()
    return () if any(map(math.isnan, losses)) else losses
