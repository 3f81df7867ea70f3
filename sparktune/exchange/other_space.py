"""A study that goes on over another space: its trials are brought into that, as far as they have a place there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparktune.exchange.matching import Fitted, Matcher
from sparktune.exchange.options import Option
from sparktune.exchange.source import Row, Source, row_of
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import OTHER_SPACE, SPACE_OF_RUN, WARM_START, is_borrowed, is_outside, is_point
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_RUNNING
from sparktune.space.choices import value_nodes
from sparktune.space.compile import Space

logger = logging.getLogger("sparktune")


@dataclass(frozen=True)
class Terms:
    """In which space the values in the documents of a study are.

    Attributes:
        space: Those of nearly all; None where nobody knows.
        made_in: By id, those of trials that are outside of it: what they have goes on meaning what it did there.
    """

    space: Space | None = None
    made_in: Mapping[Any, Space | None] = field(default_factory=dict)

    def of(self, document: Document) -> Space | None:
        """The space in which the values of a trial are; None where nobody knows."""
        return self.made_in.get(document["tid"], self.space)

    @classmethod
    def unknown(cls, found: Sequence[Document]) -> Terms:
        """Those of documents whose spaces nobody knows any more."""
        return cls(None, {document["tid"]: None for document in found if is_outside(document)})


def bring_into(
    found: Sequence[Document], space: Space, spaces: Callable[[int], Space | None], level: int | None = None
) -> tuple[Terms, list[Document]]:
    """Bring the trials of a study into its present space, where they are not.

    Args:
        found, space, spaces, level: See :func:`adapt`.

    Returns:
        In which space each is then; and the trials that are open, and are no points of the present one.
    """
    before = [spaces(position) for position in range(len(found))]
    misfits = adapt(found, space, before.__getitem__, level)
    for document in found:
        document["misc"].pop(SPACE_OF_RUN, None)  # of what was read: from now on that is known here
    made_in = {d["tid"]: old for d, old in zip(found, before, strict=True) if is_outside(d)}
    return Terms(space, made_in), misfits


def adapt(
    found: Sequence[Document], space: Space, spaces: Callable[[int], Space | None], level: int | None = None
) -> list[Document]:
    """Bring the trials of a study into its present space, where they are not.

    What there is no place for is left out of their values, and kept under their mark. Of a trial that is open, all has
    to have one: else its values stay as they are, and it is marked as outside.

    Args:
        found: The documents.
        space: The present space.
        spaces: Gives the space in which the values of a trial are, by its position, if that is known.
        level: Of the message that says so; None: a warning where something is lost.

    Returns:
        The trials that are open, and are no points of the present space.
    """
    is_same: dict[int, bool] = {}
    choices = {parameter.label for parameter in space.parameters if parameter.is_choice}
    candidates, rows = [], []
    for position, document in enumerate(found):
        old, is_done = spaces(position), document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)
        if old is not None and id(old) not in is_same:
            is_same[id(old)] = _signature(old) == _signature(space)
        if old is not None and is_same[id(old)] and not is_outside(document):
            continue
        raw = documents.raw_values(document)
        # Of what nobody knows the space, users say what is to be evaluated; and of what is outside of that, the numbers
        # of options mean nothing.
        if old is None and (not is_done or (is_outside(document) and not choices.isdisjoint(raw))):
            continue
        candidates.append(document)
        rows.append(Row(document["tid"], raw, space=old))
    if not candidates:  # of a large space the matcher looks at every option, as deep as it goes
        return []
    matcher = Matcher(space, Source("earlier trials", rows))
    all_fitted, misfits = matcher.fitted(rows), []
    for number, (document, fitted) in enumerate(zip(candidates, all_fitted, strict=True)):
        if document["state"] in (JOB_STATE_NEW, JOB_STATE_RUNNING) and not fitted.is_point:
            misfits.append(document)
            all_fitted[number] = replace(fitted, is_outside=True)
    is_changed = [_rewrite(document, fitted, space) for document, fitted in zip(candidates, all_fitted, strict=True)]
    if any(is_changed):
        text = "the study goes on in another space, with %d trials of before; %s"
        level = level or (logging.WARNING if matcher.has_loss else logging.INFO)
        logger.log(level, text, len(candidates), matcher.summary())
    return misfits


def _signature(space: Space) -> object:
    """What two spaces have in common if values mean the same in both."""
    nodes = value_nodes(space)
    return [
        (p.label, p.distribution, p.conditions, _text(Option.all_of(nodes[p.label])) if p.is_choice else None)
        for p in space.parameters
    ]


def _text(options: Sequence[Option]) -> object:
    try:
        return repr(options)
    except Exception:  # objects of any class
        return object()  # which is like no other


def _rewrite(document: Document, fitted: Fitted, space: Space) -> bool:
    """Write into a document what it is in the space; whether it was something else."""
    misc = document["misc"]
    is_moved = documents.raw_values(document) != fitted.raw and not fitted.is_outside
    is_known = is_outside(document) == fitted.is_outside and (
        is_borrowed(document) or is_point(document) == fitted.is_point
    )
    key = None if is_borrowed(document) else row_of(document, None).key  # by the values that it was made with
    if is_moved:
        new = documents.new_misc(document["tid"], fitted.raw, space.labels)
        misc["vals"], misc["idxs"] = new["vals"], new["idxs"]
    if is_moved or not is_known:
        kind = WARM_START if is_borrowed(document) else OTHER_SPACE
        mark = misc.get(kind) or {}
        left_out = {**mark.get("left_out", {}), **fitted.left_out}
        misc[kind] = {**mark, "left_out": left_out, "is_point": fitted.is_point, "is_outside": fitted.is_outside}
        if key is not None:
            misc[kind]["key"] = key
    return is_moved or not is_known
