"""Documents of proposed trials, and what they keep of their proposal: enough to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparktune.history.documents import Document, new_misc, new_result
from sparktune.history.trial import JOB_STATE_RUNNING


def proposal_documents(
    values: Any, new_ids: Sequence[Any], domain: Any, trials: Any, record: Mapping[str, Any] | None = None
) -> list[Document]:
    """New documents for proposed points.

    Args:
        values: Points, shape (n, d), NaN where inactive.
        new_ids: n ids.
        domain: Gives ``space``, ``cmd`` and ``workdir``.
        trials: Makes the documents.
        record: What the proposals saw, from :func:`record_of`; goes into ``misc["search"]``.
    """
    space = domain.space
    miscs = [
        new_misc(tid, space.raw(row), space.labels, domain.cmd, domain.workdir)
        for tid, row in zip(new_ids, values, strict=True)
    ]
    if record is not None:
        for position, misc in enumerate(miscs):
            # Each takes those before it in the batch for running.
            misc["search"] = {**record, "running": [*record["running"], *new_ids[:position]]}
    docs: list[Document] = trials.new_trial_docs(
        list(new_ids), [None] * len(miscs), [new_result() for _ in miscs], miscs
    )
    return docs


def record_of(algo: str, seed: Any, n_startup: float, n_trials: int, running: Sequence[Any]) -> dict[str, Any]:
    """What a proposal saw, for ``misc["search"]``: enough to see it again.

    Args:
        algo: The algorithm's name.
        seed: Its seed; kept if it is an integer.
        n_startup: Finished trials until which it does not learn.
        n_trials: How many documents there were.
        running: The tids of those without a result.
    """
    return {
        "algo": algo,
        "seed": int(seed) if hasattr(seed, "__index__") else None,
        "n_startup": n_startup,
        "n_trials": n_trials,
        "running": list(running),
    }


def note_seed(document: Document, seed: int) -> None:
    """Write down the seed that a trial was proposed with, unless its algorithm has; one that it gave on is another."""
    if seed_of(document) != seed:
        document["misc"]["seed"] = seed


def seed_of(document: Document) -> int | None:
    """The seed that a trial was proposed with; None if nobody wrote it down."""
    misc = document["misc"]
    seed: int | None = misc["seed"] if "seed" in misc else (misc.get("search") or {}).get("seed")
    return seed


def proposal_record(document: Document) -> Document | None:
    """What the proposal of a trial saw; None if nobody wrote it down."""
    record: Document | None = document["misc"].get("search")
    return record


def note_record(document: Document, record: Mapping[str, Any]) -> None:
    """Write down what the proposal of a trial saw."""
    document["misc"]["search"] = dict(record)


def is_as_seen(documents: Sequence[Document], document: Document) -> bool:
    """Whether all that the proposal of a trial saw is still there: before it, and before the others of its round.

    Args:
        documents: All that there are, in the order they were inserted.
        document: One of them, with a record.
    """
    record = document["misc"]["search"]
    # Where a round proposed several, those before it in the round fill the places of trials that were removed.
    first = next(k for k, other in enumerate(documents) if other is document or round_of(other) == round_of(document))
    return first >= record["n_trials"] and {other["tid"] for other in documents} >= set(record["running"])


def round_of(document: Document) -> tuple[Any, ...] | None:
    """The round of proposals that a trial comes from, whose trials have one random stream; None if nobody knows."""
    record = proposal_record(document)
    return None if record is None else (record["algo"], seed_of(document), record["n_trials"])


def as_it_was(documents: Sequence[Document], record: Mapping[str, Any]) -> list[Document]:
    """The documents that a proposal saw, those without a result by then as running ones."""
    running = set(record["running"])
    seen = list(documents[: record["n_trials"]])
    known = {document["tid"] for document in seen}
    seen += [document for document in documents[record["n_trials"] :] if document["tid"] in running - known]
    return [
        {**document, "state": JOB_STATE_RUNNING, "result": new_result()} if document["tid"] in running else document
        for document in seen
    ]
