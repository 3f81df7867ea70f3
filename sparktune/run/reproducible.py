"""Runs in parallel that can be repeated: a proposal sees the results of the same trials, whatever the timing."""

from __future__ import annotations

from typing import Any

from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING

OPEN = (JOB_STATE_NEW, JOB_STATE_RUNNING)


class Lagged:
    """The trials as the next proposal may see them: that of number k sees the results of those up to k - ``lag``.

    The last ``lag`` - 1 before it count as running, whether they are or not.

    Args:
        trials: All trials.
        seen: An empty object of the same kind, which becomes what a proposal sees.
        lag: How many trials may run at a time; 1 or more.
    """

    def __init__(self, trials: Any, seen: Any, lag: int) -> None:
        self._trials = trials
        self._lag = lag
        self._n_told = 0
        self.seen = seen

    @property
    def is_ready(self) -> bool:
        """Whether the results that the next proposal sees are in."""
        own = self._trials.own_documents()
        return all(document["state"] not in OPEN for document in own[self._n_told : len(own) - self._lag + 1])

    def advance(self) -> bool:
        """Show what the next proposal sees; whether there is a result that the last one did not see."""
        own = self._trials.own_documents()
        shown = self.seen._dynamic_trials
        shown.extend(_as_running(document) for document in own[len(shown) :])
        n_told = max(self._n_told, len(own) - self._lag + 1)
        for position in range(self._n_told, n_told):
            shown[position].update(own[position])
        has_result, self._n_told = n_told > self._n_told, n_told
        self.seen.refresh()
        return has_result


def _as_running(document: Document) -> Document:
    return {**document, "state": JOB_STATE_RUNNING, "result": documents.new_result()}
