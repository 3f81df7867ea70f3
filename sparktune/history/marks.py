"""Marks of trials that say something to a search, and are no points of it: in the ``misc`` of their documents.

``misc["warm_start"]``: the trial is another study's. ``from`` names that, ``id`` is what the trial is called there,
``key`` the same for the same trial, and ``left_out`` has the values that there is no place for here.

``misc["other_space"]``: the trial is this study's, and was made when its space was another one. ``left_out`` as above,
``is_point`` says whether what is left is a whole point of the present space, ``is_outside`` whether a value is not
possible there: then the values are as they were, and nothing is learned from the trial. Either mark may have it.
``key`` is that of the trial with the values that it was made with.

``misc["space_of_run"]``, in storages alone: the number of the run in whose space the values are, where it is not the
one that the trial's place among them says; -1 if nobody knows. Trials that were written anew, as a whole, may have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sparktune.history.documents import Document, constraints_of, losses_of
from sparktune.history.reading import is_alike
from sparktune.history.trial import JOB_STATE_CANCEL

WARM_START, OTHER_SPACE, SPACE_OF_RUN = "warm_start", "other_space", "space_of_run"


def borrowed_from(document: Document) -> Mapping[str, Any] | None:
    """Where a trial of another study comes from; None if it is this study's."""
    mark: Mapping[str, Any] | None = document["misc"].get(WARM_START)
    return mark


def key_of(document: Document) -> Mapping[str, Any] | None:
    """The mark with the key of a trial whose values have changed since it was made; None if they have not."""
    mark: Mapping[str, Any] | None = document["misc"].get(OTHER_SPACE)
    return None if mark is None or "key" not in mark else {"key": mark["key"]}


def is_borrowed(document: Document) -> bool:
    """Whether a trial comes from another study, so that it does not count as one of this."""
    return document["misc"].get(WARM_START) is not None


def n_borrowed(found: Iterable[Document]) -> int:
    """How many trials come from other studies."""
    return sum(map(is_borrowed, found))


def count_unlike(found: Iterable[Document], n_losses: int, n_constraints: int) -> tuple[int, int]:
    """How many trials from other studies have other numbers of losses or constraints than a study's own results.

    Args:
        found: Documents.
        n_losses, n_constraints: How many the study's own results have.

    Returns:
        Those that say nothing in this study; and those that have constraints where it has none, which are dropped.
    """
    results = [(losses, constraints_of(d)) for d in found if is_borrowed(d) and (losses := losses_of(d))]
    alike = [result for result in results if is_alike(*result, n_losses, n_constraints)]
    n_dropped = 0 if n_constraints else sum(bool(constraints) for _, constraints in alike)
    return len(results) - len(alike), n_dropped


def is_outside(document: Document) -> bool:
    """Whether a trial has a value that is not possible in the present space."""
    misc = document["misc"]
    mark = misc.get(WARM_START) or misc.get(OTHER_SPACE)
    return mark is not None and bool(mark.get("is_outside"))


def set_aside(found: Iterable[Document]) -> dict[Any, Document]:
    """By id, the trials that are outside of the present space, as cancelled ones: these say nothing to a search."""
    return {d["tid"]: {**d, "state": JOB_STATE_CANCEL} for d in found if is_outside(d)}


#: A whole point of the present space, of this study; another trial of this study; one of another study.
POINT, NO_POINT, BORROWED = range(3)


def standing_of(document: Document) -> int:
    """What a trial may be in its study's results: only a ``POINT`` is the best while there is one with a result."""
    misc = document["misc"]
    if WARM_START not in misc and OTHER_SPACE not in misc:
        return POINT  # nearly always
    if is_borrowed(document):
        return BORROWED
    return POINT if is_point(document) else NO_POINT


def is_point(document: Document) -> bool:
    """Whether a trial has a value for all that is active in the present space, as far as anybody has looked."""
    mark = document["misc"].get(OTHER_SPACE)
    return mark is None or bool(mark["is_point"])
