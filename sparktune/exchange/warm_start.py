"""Warm start: what earlier trials say is put before a search, though its space is another one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.exchange.matching import Fitted, Matcher
from sparktune.exchange.source import NUMBERS_ADVICE, Row, Source, from_documents, from_storage, from_trials
from sparktune.exchange.studies import from_optuna, is_optuna_study
from sparktune.exchange.tables import from_csv, from_dataframe, from_parquet, is_frame
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import WARM_START, borrowed_from
from sparktune.history.trial import (
    JOB_STATE_DONE,
    STATUS_FAIL,
    STATUS_OK,
)
from sparktune.run.domain import Domain
from sparktune.run.goal import Goal

logger = logging.getLogger("sparktune")


def sources_of(warm_start: Any) -> list[Source]:
    """The sources that an argument ``warm_start`` stands for.

    Args:
        warm_start: A source, or a list of them: a ``Trials`` object, a list of documents, a path or URL of a stored
            study, of a CSV or of a Parquet file, a pandas data frame, an Optuna study, or a :class:`Source`.

    Raises:
        InvalidTypeError: If one is none of these.
    """
    if isinstance(warm_start, (list, tuple)) and not (warm_start and all(map(_is_document, warm_start))):
        return [_source_of(item) for item in warm_start]
    return [_source_of(warm_start)]


def _is_document(item: Any) -> bool:
    return isinstance(item, Mapping) and "misc" in item


def _source_of(item: Any) -> Source:
    if isinstance(item, Source):
        return item
    if hasattr(item, "_dynamic_trials"):
        return from_trials(item)
    if isinstance(item, (str, os.PathLike)):
        suffix = os.path.splitext(os.fspath(item))[1].lower()
        read = {".csv": from_csv, ".parquet": from_parquet}.get(suffix, from_storage)
        return read(item)
    if isinstance(item, (list, tuple)) and item and all(map(_is_document, item)):
        return from_documents(item)
    if is_frame(item):
        return from_dataframe(item)
    if is_optuna_study(item):
        return from_optuna(item)
    raise InvalidTypeError(
        "warm_start takes Trials, documents, a path or URL of a stored study, of a .csv or of a .parquet file, a data "
        f"frame, an Optuna study, what sparktune.exchange or a bridge makes of others, or a list of these, got {item!r}"
    )


def borrow(trials: Any, warm_start: Any, domain: Domain) -> None:
    """Insert the trials of ``warm_start`` that are not there yet and can be used, marked.

    Args:
        trials: Receives the documents.
        warm_start: See :func:`sources_of`.
        domain: Gives the space, and how many losses a trial has, if that is known.

    Raises:
        InvalidArgumentError: If the trials of a source have another number of losses than those that are there, or
            were run for the same metrics in another direction. What only the first result will say is found then, see
            :class:`~sparktune.history.columns.History`.
    """
    known = {mark["key"] for document in trials._dynamic_trials if (mark := borrowed_from(document)) is not None}
    known.update(row.key for row in from_documents(trials.own_documents()).rows)  # a copy of it may be among them
    for source in sources_of(warm_start):
        rows = [row for row in source.rows if row.key not in known]
        matcher = Matcher(domain.space, source)
        used = [(row, fitted) for row, fitted in zip(rows, matcher.fitted(rows), strict=True) if not fitted.is_outside]
        # Of what is inserted alone: the rest is here again at each restart, when results may say how many there are.
        _check_losses(source, [row for row, _ in used], trials, domain)
        _check_goal(source, used, domain.goal)
        numbers = trials.history(domain.space.labels).numbers
        tids = trials.new_trial_ids(len(used))
        new = [_borrowed(*pair, source.name, tid, domain, trials) for pair, tid in zip(used, tids, strict=True)]
        trials.insert_trial_docs(new)
        trials.refresh()
        known.update(row.key for row, _ in used)
        _explain(source, rows, [row for row, _ in used], matcher, None if numbers is None else numbers[1], domain.goal)


def _explain(
    source: Source, rows: Sequence[Row], used: Sequence[Row], matcher: Matcher, n_constraints: int | None, goal: Goal
) -> None:
    """Log in one line what became of the rows of a source.

    Args:
        source: The source.
        rows: Those of its rows that are not here already.
        used: Those of them that were inserted.
        matcher: Has read them.
        n_constraints: How many constraints the study's own results have; None if there are none yet.
        goal: What the study optimises.
    """
    n_unlike = sum(len(row.constraints) not in (0, n_constraints) for row in used if row.losses)
    odd = next(iter(source.unread), "")
    fate = {None: "constraints, which count if results here have as many", 0: "constraints, which are dropped"}
    counts = [
        (sum(not row.losses for row in rows), "failed"),
        (n_unlike, f"with {fate.get(n_constraints, 'another number of constraints, of which nothing is learned')}"),
        (source.n_open, "more unfinished"),
        (len(source.unread), f"more left out, with losses that are no numbers, as {odd}: {NUMBERS_ADVICE}"),
        (len(source.rows) - len(rows), "more here already"),
    ]
    noted = ", ".join(f"{n} {what}" for n, what in counts if n)
    # People see warnings unasked: where something of theirs is not used, they should; once, not at each restart.
    is_known = not used and len(rows) < len(source.rows)
    turned = ""
    if used and source.goal is not None and not goal.goes_on(source.goal):
        turned = f"; with {source.goal} there and {goal} here, the best of both count as alike: leave the source out "
        turned += "if both optimise the same number"
    has_loss = matcher.has_loss or bool(source.unread) or (n_constraints is not None and n_unlike > 0) or bool(turned)
    logger.log(
        logging.WARNING if rows and has_loss and not is_known else logging.INFO,
        "warm start from %s: %d of %d trials%s; %s%s",
        source.name,
        len(used),
        len(rows),
        f" ({noted})" if noted else "",
        matcher.summary(),
        turned,
    )


def _check_goal(source: Source, used: Sequence[object], goal: Goal) -> None:
    """Refuse losses of the same metrics in another direction: the worst would be taken for the best."""
    if source.goal is None or goal.goes_on(source.goal) or not used or not goal.metrics:
        return  # without names, a number to be high may be the negative of one to be low
    if sorted(goal.metrics) == sorted(source.goal.metrics):
        raise InvalidArgumentError(
            "the same metrics are learned from in the direction, and in the order, in which they were optimised, got "
            f"{goal} after {source.goal} in {source.name}: pass that, or leave that source out"
        )


def _check_losses(source: Source, rows: Sequence[Row], trials: Any, domain: Domain) -> None:
    found = sorted({len(row.losses) for row in rows if row.losses})
    history = trials.history(domain.space.labels)
    expected = len(domain.goal.signs) if domain.goal.metrics else history.n_objectives if history.n_ok else None
    expected = expected or (found[0] if found else None)
    if found and found != [expected]:
        raise InvalidArgumentError(
            f"all trials of a study have the same number of losses, here {expected}, got {found} in {source.name}: "
            "name the losses to be read, or leave that source out"
        )


def _borrowed(row: Row, fitted: Fitted, name: str, tid: Any, domain: Domain, trials: Any) -> Document:
    misc = documents.new_misc(tid, fitted.raw, domain.space.labels, domain.cmd, domain.workdir)
    misc[WARM_START] = {"from": name, "id": row.id, **(row.mark or {}), "key": row.key, "left_out": fitted.left_out}
    document: Document = trials.new_trial_docs([tid], [None], [_result(row)], [misc])[0]
    document["state"] = JOB_STATE_DONE
    return document


def _result(row: Row) -> dict[str, Any]:
    if not row.losses:
        return {"status": STATUS_FAIL}
    result: dict[str, Any] = {"status": STATUS_OK}
    result.update({"loss": row.losses[0]} if len(row.losses) == 1 else {"losses": list(row.losses)})
    if row.constraints:
        result["constraints"] = list(row.constraints)
    return result
