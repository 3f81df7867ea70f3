"""Optuna's samplers behind ``fmin``: a study that knows what the trials do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from sparktune.bridges.optuna.units import TAKES_CONSTRAINTS, axis_of, constraints_by_name, contains, suggested
from sparktune.exceptions import InvalidTypeError
from sparktune.history import proposals
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.history.reading import FAILED, IGNORED, OK, PENDING
from sparktune.kernels.arrays import FloatArray
from sparktune.space.compile import Space

SamplerFactory: TypeAlias = Callable[[int], BaseSampler]


def suggest(sampler: BaseSampler | SamplerFactory) -> Callable[..., list[Document]]:
    """An algorithm for ``fmin`` that proposes what an Optuna sampler does.

    ``fmin(fn, space, algo=suggest(TPESampler()), max_evals=100)``. Each ``Trials`` object has a study and a copy of the
    sampler of its own. The study lives in memory: a run that goes on with loaded trials tells them to a new one.

    Args:
        sampler: A sampler, whose own seed then rules; or a function from a seed to a sampler, such as
            ``lambda seed: TPESampler(seed=seed)``, which is given one drawn from ``fmin``'s ``rstate``.

    Raises:
        InvalidTypeError: If ``sampler`` is neither.
    """
    if isinstance(sampler, BaseSampler):
        return _Suggest(sampler)
    if isinstance(sampler, type) or not callable(sampler):
        name = getattr(sampler, "__name__", "TPESampler")
        raise InvalidTypeError(
            f"suggest takes an Optuna sampler or a function from a seed to one, got {sampler!r}: "
            f"write suggest({name}()) or suggest(lambda seed: {name}(seed=seed))"
        )
    return _Suggest(sampler)


class _Suggest:
    """The algorithm that :func:`suggest` returns; pickled without its studies."""

    def __init__(self, sampler: BaseSampler | SamplerFactory) -> None:
        self._sampler = sampler
        self._mirrors: WeakKeyDictionary[Any, _StudyMirror] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Suggest, (self._sampler,)

    def __call__(self, new_ids: Sequence[Any], domain: Any, trials: Any, seed: int) -> list[Document]:
        """A document per id; none if the sampler says that there is nothing left to try."""
        space: Space = domain.space
        history = trials.history(space.labels)
        mirror = self._mirrors.get(trials)
        if mirror is None or not mirror.is_current(space, history):
            sampler = self._new_sampler(int(seed), is_first=mirror is None)
            mirror = self._mirrors[trials] = _StudyMirror(sampler, space, history.n_objectives)
        mirror.sync(history)
        if mirror.is_exhausted:
            return []
        values = np.array([mirror.ask(tid) for tid in new_ids]).reshape(len(new_ids), len(space))
        return proposals.proposal_documents(values, new_ids, domain, trials)

    def _new_sampler(self, seed: int, is_first: bool) -> BaseSampler:
        if not isinstance(self._sampler, BaseSampler):
            made = self._sampler(seed)
            if isinstance(made, BaseSampler):
                return made
            raise InvalidTypeError(f"the function given to suggest must return an Optuna sampler, got {made!r}")
        # A copy, since samplers keep what they know of a study, and two studies in memory look alike to them.
        sampler = copy.deepcopy(self._sampler)
        if not is_first:
            sampler.reseed_rng()  # else it would propose the points of the study before once more
        return sampler


class _StudyMirror:
    """An Optuna study that knows what a history does.

    Args:
        sampler: Proposes; belongs to this study alone.
        space: What may be tried.
        n_objectives: How many losses a trial has.

    Attributes:
        is_exhausted: Whether the sampler has stopped the study.
    """

    def __init__(self, sampler: BaseSampler, space: Space, n_objectives: int) -> None:
        with _quiet():
            self._study = optuna.create_study(sampler=sampler, directions=["minimize"] * n_objectives)
        # Grid and brute-force samplers stop the study when nothing is left, which Optuna allows in optimize() only.
        self._study.stop = self._stop  # type: ignore[method-assign]
        self.is_exhausted = False
        self._space = space
        self._signature = _signature(space)
        self._axes = [axis_of(parameter) for parameter in space.parameters]
        self._n_objectives = n_objectives
        self._asked: dict[Any, tuple[optuna.Trial, FloatArray]] = {}
        #: Per row the trial that runs: asked for here, or added, by its number; None: it has ended or is left out.
        self._rows: list[optuna.Trial | int | None] = []
        self._n_trials = 0  # of the study
        self._open: set[int] = set()
        self._seen: _Snapshot | None = None

    def _stop(self) -> None:
        self.is_exhausted = True

    def is_current(self, space: Space, history: History) -> bool:
        """Whether the study is of this space, and the history continues what was told to it."""
        is_same_question = self._signature == _signature(space) and self._n_objectives == history.n_objectives
        return is_same_question and (self._seen is None or self._seen.is_continued_by(history))

    def sync(self, history: History) -> None:
        """Tell the study what is new."""
        kinds, tids = history.kinds, history.tids
        for row in range(len(self._rows), len(history)):
            trial, values = self._asked.pop(tids[row], (None, np.empty(0)))
            if trial is not None and not np.array_equal(values, history.values[row], equal_nan=True):
                self._study.tell(trial, state=TrialState.FAIL)  # inserted with other values than were proposed
                trial = None
            self._rows.append(self._add(history, row) if trial is None else trial)
            if trial is not None or kinds[row] == PENDING:
                self._open.add(row)
        for row in sorted(self._open):
            if kinds[row] != PENDING:
                self._close(history, row)
                self._open.discard(row)
        for trial, _ in self._asked.values():  # proposed, and never inserted
            self._study.tell(trial, state=TrialState.FAIL)
        self._asked.clear()
        self._seen = _Snapshot(history)

    def ask(self, tid: Any) -> FloatArray:
        """One proposal, shape (d,), NaN where inactive: a parameter is asked for when it is known to be active."""
        trial = self._study.ask()
        self._n_trials += 1
        row = np.full(len(self._space), np.nan)
        n_known = -1
        while n_known != (n_known := int((~np.isnan(row)).sum())):
            for column, (label, axis) in enumerate(zip(self._space.labels, self._axes, strict=True)):
                if np.isnan(row[column]) and self._space.is_reached(column, row):
                    row[column] = axis.decode(suggested(trial, label, axis.distribution))
        self._asked[tid] = trial, row
        return row

    def _add(self, history: History, row: int) -> int | None:
        """Add a trial that was not asked for here; its number, or None if the study cannot hold it."""
        kind = history.kinds[row]
        active = [column for column, value in enumerate(history.values[row]) if value == value]
        values = {column: float(history.values[row, column]) for column in active}
        if kind == IGNORED or not all(contains(self._space.parameters[c], x) for c, x in values.items()):
            return None
        losses = self._losses(history, row)
        state = {PENDING: TrialState.RUNNING, FAILED: TrialState.FAIL}.get(kind, TrialState.COMPLETE)
        if state == TrialState.COMPLETE and losses is None:
            state = TrialState.FAIL
        constraints = constraints_by_name(history.constraints[row]) if state == TrialState.COMPLETE else {}
        # Named only where there are any: Optuna 4 has no such argument.
        extra: dict[str, Any] = {"constraints": constraints} if constraints else {}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=losses if state == TrialState.COMPLETE else None,
                params={self._space.labels[c]: self._axes[c].encode(x) for c, x in values.items()},
                distributions={self._space.labels[c]: self._axes[c].distribution for c in values},
                **extra,
            )
        )
        self._n_trials += 1
        return self._n_trials - 1

    def _close(self, history: History, row: int) -> None:
        """Tell the study how a trial ended. Optuna's samplers leave failed trials out, as we do cancelled ones."""
        trial, self._rows[row] = self._rows[row], None
        if trial is None:
            return
        if isinstance(trial, int):
            # Optuna takes constraints for a trial that was added only when it is added: once more, then.
            self._study.tell(trial, state=TrialState.FAIL)
            self._add(history, row)
            return
        losses = self._losses(history, row)
        if losses is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name, value in constraints_by_name(history.constraints[row]).items():
            trial.set_constraint(name, value)
        self._study.tell(trial, losses)

    def _losses(self, history: History, row: int) -> list[float] | None:
        """The losses of a finished trial, if it has as many as the study."""
        if history.kinds[row] != OK:
            return None
        losses = [loss for loss in history.objectives[row].tolist() if loss == loss]
        return losses if len(losses) == self._n_objectives else None


def _signature(space: Space) -> object:
    """What a study cannot outlive a change of."""
    return [(p.label, p.distribution, p.is_choice) for p in space.parameters]


class _Snapshot:
    """The rows of a history, to see whether a later one only has more."""

    def __init__(self, history: History) -> None:
        self._tids = history.tids
        self._kinds = history.kinds.copy()
        self._values = history.values.copy()
        self._objectives = history.objectives.copy()
        self._constraints = history.constraints.copy()

    def is_continued_by(self, history: History) -> bool:
        """Whether all trials are still there, and the finished ones as they were."""
        n, ended = len(self._tids), self._kinds != PENDING
        if len(history) < n or history.tids[:n] != self._tids:
            return False
        # The columns of constraints appear with the first trial that has any, and then those before it violate them,
        # which Optuna does not take of a trial that has ended.
        n_told = self._constraints.shape[1]
        if TAKES_CONSTRAINTS and n_told != history.n_constraints and (self._kinds == OK).any():
            return False
        known = np.full((n, history.n_constraints), np.nan)
        known[:, :n_told] = self._constraints[:, : history.n_constraints]
        pairs = [
            (self._values, history.values[:n]),
            (self._kinds[ended], history.kinds[:n][ended]),
            (self._objectives[ended], history.objectives[:n][ended]),
            (known[ended], history.constraints[:n][ended]),
        ]
        return all(np.array_equal(then, now, equal_nan=True) for then, now in pairs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line on each study that is made: nobody has asked for one."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
