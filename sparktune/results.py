"""What trials have come to: the best of them, tables, and what the search knows."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparktune.exceptions import AllTrialsFailed, InvalidArgumentError, MissingPackageError, SparktuneError
from sparktune.exchange import export
from sparktune.exchange.past import Past
from sparktune.history import documents
from sparktune.history.collection import Collection
from sparktune.history.documents import Document
from sparktune.history.marks import BORROWED, POINT, is_borrowed, is_point, n_borrowed
from sparktune.history.reading import OK
from sparktune.history.trial import STATUS_OK
from sparktune.kernels import pareto
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.sampling import pmin_sampled
from sparktune.run.arguments import as_reference
from sparktune.run.domain import Domain
from sparktune.search.explanation import Explanation, explain
from sparktune.search.importances import importances
from sparktune.space.choices import native
from sparktune.space.compile import Space

#: The beginning of the message when there is nothing to return; programs look for this text.
NOTHING_TO_RETURN = "There are no evaluation tasks, cannot return argmin of task losses."


class SeveralLossesError(SparktuneError, ValueError):
    """One best trial was asked for where trials have several losses, and none of them stands for all."""

    def __init__(self) -> None:
        super().__init__(
            "the trials have several losses and no scalar one, so that none is the best: take trials.pareto_front, or "
            "return a 'loss' beside the 'losses'"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class NoLossError(AllTrialsFailed, ValueError):
    """There is no loss to average, which is a ValueError in hyperopt."""


class Results(Collection):
    """What can be read of trials besides their documents; a part of :class:`sparktune.Trials`."""

    _past = Past()

    def __repr__(self) -> str:
        best = "" if self.best_loss is None else f"; best loss {self.best_loss:g}"
        return f"<{type(self).__name__} of {self.counted()}{best}>"

    def counted(self) -> str:
        """How many trials there are, and in which states, in words."""
        found = self._dynamic_trials  # failed and cancelled ones too
        counts = Counter(documents.STATE_NAMES[document["state"]] for document in found)
        states = ", ".join(f"{n} {name}" for name, n in counts.items())
        return f"{len(found)} trial{'s' * (len(found) != 1)}" + (f": {states}" if states else "")

    # -- the best -------------------------------------------------------------------------------------------------

    @property
    def n_finished(self) -> int:
        """How many trials have ended with a loss or failed; cancelled ones do not count."""
        return self._history.n_finished

    @property
    def best_loss(self) -> float | None:
        """The lowest loss so far among the points of this study that meet the constraints, or None.

        Trials of a warm start, and those of another space that are no points of this one, do not count.
        """
        history, row = self._history, self._history.best_row
        if row is None or history.standings[row] != POINT or not history.is_feasible(row):
            return None
        return history.loss(row)

    @property
    def best_trial(self) -> Document:
        """The document with the lowest loss, the first of equals, among those that meet the constraints.

        If none does, the one that violates them least. Trials of a warm start are not among them: another objective
        may have given their losses.

        Raises:
            AllTrialsFailed: If no trial has a loss; the message shows the first failure.
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        candidates = self._candidates()
        if not candidates:
            raise AllTrialsFailed(self._nothing_to_return())
        return min(candidates, key=lambda candidate: candidate[:2])[2]

    @property
    def best_feasible(self) -> Document | None:
        """The document with the lowest loss, the first of equals, among those that meet all constraints; None if none.

        Raises:
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        candidates = [candidate for candidate in self._candidates() if candidate[0] <= 0]
        return min(candidates, key=lambda candidate: candidate[1])[2] if candidates else None

    def _candidates(self) -> list[tuple[float, float, Document]]:
        """Violation, loss and document of each trial that has a loss and may be the best, as the documents are now."""
        n_constraints = self._history.n_constraints
        candidates = [
            (documents.violation_of(document, n_constraints), loss, document)
            for document in self._trials
            if (loss := documents.loss_of(document)) == loss
            and documents.losses_of(document)  # none of which is NaN
            and not is_borrowed(document)
        ]
        # Trials of another space that are no points of this one are the best only if there are no others.
        candidates = [candidate for candidate in candidates if is_point(candidate[2])] or candidates
        if not candidates and self._has_only_several_losses:
            raise SeveralLossesError
        return candidates

    @property
    def _has_only_several_losses(self) -> bool:
        history = self._history
        if history.n_objectives == 1 or history.best_row is not None:
            return False
        return bool(((history.kinds == OK) & (history.standings != BORROWED)).any())

    @property
    def argmin(self) -> dict[str, Any]:
        """The values of the best trial by label: ``hp.choice`` as an index, inactive labels left out.

        Raises:
            AllTrialsFailed: If no trial has a loss.
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        return documents.raw_values(self.best_trial)

    @property
    def best_params(self) -> Any:
        """What the objective was called with at the best trial: options and not indices, in Python's own types.

        Raises:
            AllTrialsFailed: If no trial that is a point of the present space has a loss.
            SeveralLossesError: If the trials have several losses and no scalar one.
            InvalidArgumentError: If these trials have run no ``fmin`` since they were made or loaded.
        """
        best = self.best_trial
        if self._past.space is None:
            raise InvalidArgumentError(
                "best_params needs the search space, and this Trials object has run no fmin since it was made or "
                "loaded: call sparktune.space_eval(space, trials.argmin)"
            )
        self._require_point(best)
        return native(self._past.space.evaluate(documents.raw_values(best)))

    def _require_point(self, best: Document) -> None:
        """Refuse to answer with a trial that is no point of the present space."""
        if not is_point(best):
            raise AllTrialsFailed(
                "the best point is that of a trial with a loss in the present space, got only trials of an earlier "
                f"one, the best of which has {documents.raw_values(best)}: run more (max_evals counts the {len(self)} "
                "that are there), search the space of before, or begin with new Trials and give these as warm_start="
            )

    # -- several losses -------------------------------------------------------------------------------------------

    @property
    def n_objectives(self) -> int:
        """How many losses each trial has; 1 as long as none has any."""
        return self._history.n_objectives

    @property
    def n_constraints(self) -> int:
        """How many constraints the trials have."""
        return self._history.n_constraints

    @property
    def pareto_front(self) -> list[Document]:
        """Documents of the trials that meet the constraints and that no other such trial dominates, by the first loss.

        A trial dominates another if none of its losses is higher and one is lower. Of trials with the same losses the
        first one is listed. With one loss, the list has the best trial; it is empty if no trial meets the constraints.
        """
        self._history.check_all()
        return [self._history.documents[row] for row in self._history.front_rows]

    @property
    def front_losses(self) -> FloatArray:
        """Losses of the Pareto front, shape (number of trials in it, number of losses), as of the last refresh."""
        return self._history.objectives[self._history.front_rows]

    def hypervolume(self, reference: Sequence[float] | FloatArray | None = None) -> float:
        """The volume between the Pareto front and a reference point: the larger, the better the front.

        Args:
            reference: One number per loss; trials that are not below all of them add nothing. None: the highest finite
                value that each loss has had in this study, in trials that violate constraints too. That point moves as
                trials come in: to compare studies, or times, give one.

        Returns:
            The volume, in the product of the losses' units; 0.0 if no trial has a result or meets the constraints.

        Raises:
            InvalidArgumentError: If ``reference`` has another length than the losses, or is not finite.
            InvalidTypeError: If ``reference`` is no list of numbers.
        """
        self._history.check_all()
        history = self._history
        objectives = history.objectives[(history.kinds == OK) & (history.standings != BORROWED)]
        if reference is None:
            point = np.max(objectives, axis=0, initial=-np.inf, where=np.isfinite(objectives))
        else:
            point = as_reference(reference, objectives.shape[1] if len(objectives) else None)
        return pareto.hypervolume(self.front_losses, point) if len(objectives) else 0.0

    # -- hyperopt's estimate --------------------------------------------------------------------------------------

    def average_best_error(self, bandit: Any = None) -> float:
        """The true loss of the best trial; over trials whose loss has a variance, weighted by the chance to be best.

        Raises:
            NoLossError: If no trial has a finite loss, an AllTrialsFailed and a ValueError.
            SeveralLossesError: If the trials have several losses and no scalar one.
        """
        if self._has_only_several_losses:
            raise SeveralLossesError
        done = [
            document["result"]
            for document, status in zip(self._trials, self.statuses(bandit), strict=True)
            if status == STATUS_OK and not is_borrowed(document)
        ]
        read = bandit if bandit is not None else Domain(None, {})
        rows = [(float(read.loss(r)), float(read.loss_variance(r) or 0.0), float(read.true_loss(r))) for r in done]
        finite = [row for row in rows if np.isfinite(row).all()]
        if not finite and self._candidates():
            raise NoLossError(
                "average_best_error needs a trial whose loss, true loss and variance are finite, and none of the "
                f"{len(rows)} trials with status ok is one: take trials.best_trial"
            )
        if not finite:
            raise NoLossError(self._nothing_to_return())
        losses, variances, true_losses = np.asarray(finite).T
        if np.all(variances == 0):
            return float(true_losses[np.argmin(losses)])
        return float(pmin_sampled(losses, variances, rng=np.random.default_rng(123)) @ true_losses)

    def _nothing_to_return(self) -> str:
        reasons = [text for document in self.own_documents() if (text := documents.failure_text(document))]
        if not reasons:
            n = len(self._dynamic_trials) - n_borrowed(self._dynamic_trials)
            return f"{NOTHING_TO_RETURN} " + (
                "No trial was run: give max_evals >= 1, and time." if not n else f"None of the {n} trials has finished."
            )
        return f"{NOTHING_TO_RETURN} {len(reasons)} trials ended without a loss; the first one:\n{reasons[0]}"

    # -- tables ---------------------------------------------------------------------------------------------------

    def to_records(self, space: Any = None) -> list[dict[str, Any]]:
        """A flat dictionary for each trial, failed and cancelled ones too, in Python's own types.

        Args:
            space: The search space; None: that of this object's last ``fmin``. It turns the indices of choices into
                options. If no space is known, they stay what documents have.

        Returns:
            ``tid``, ``state`` (a name), ``status``, ``loss`` (with several ``loss_0``, ``loss_1``), ``start`` and
            ``end`` (UTC), ``duration`` (seconds), ``error``; ``constraint_0``, ... if there are any; a number of the
            result under its own name, as far as it is free; and the value of each active parameter as
            ``params_<label>``.
        """
        return export.records_of(self.own_documents(), self._spaces(space))

    def to_dataframe(self, space: Any = None) -> Any:
        """The rows of :meth:`to_records` as a pandas data frame, ``tid`` as its index.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError(
                "to_dataframe needs pandas, which is not installed: pip install pandas, or take trials.to_records()"
            ) from error
        records = self.to_records(space)
        return _frame_of(records, pandas).set_index("tid") if records else pandas.DataFrame()

    def to_csv(self, path: str | os.PathLike[str], space: Any = None) -> None:
        """Write a row for each trial into a CSV file, which ``warm_start=`` can read.

        Args:
            path: Of the file, which is overwritten.
            space: The search space; None: that of this object's last ``fmin``. Choices are written as options if one
                is known, else as their numbers. Columns: :func:`sparktune.exchange.export.table_of`.
        """
        export.to_csv(self.own_documents(), self._spaces(space), path)

    def to_parquet(self, path: str | os.PathLike[str], space: Any = None) -> None:
        """Write a row for each trial into a Parquet file, see :meth:`to_csv`.

        Raises:
            MissingPackageError: If pandas or pyarrow is not installed.
        """
        export.to_parquet(self.own_documents(), self._spaces(space), path)

    def to_spark(self, session: Any, space: Any = None) -> Any:
        """A Spark data frame with a row for each trial and columns of fixed types, see :meth:`to_csv`.

        Names that differ only in case are one to Spark: of such, one keeps its name and the others get a number, as
        ``params_C_2`` beside ``params_c``, with a warning.

        Args:
            session: A Spark session, classic or Connect.
            space: The search space; None: that of this object's last ``fmin``.
        """
        return export.to_spark(self.own_documents(), self._spaces(space), session)

    def _spaces(self, space: Any = None) -> export.Spaces:
        """The search spaces of the trials, to write them.

        Args:
            space: Of nearly all; None: that of this object's last ``fmin``, if it has run one. Trials that are outside
                of it have the one that they were made in, as long as that is known.
        """
        present = self._past.space if space is None else self._known_space(space, "")
        return export.Spaces(present, self._past.terms.made_in)

    # -- what the search knows ------------------------------------------------------------------------------------

    def logs(self, tid: Any) -> str:
        """What trial ``tid`` printed and logged, the last 8 KiB of each attempt, and the traceback if it raised.

        Raises:
            InvalidArgumentError: If there is no such trial.
        """
        for document in self.own_documents():
            if document["tid"] == tid:
                return documents.log_text(document)
        raise InvalidArgumentError(f"logs takes the id of a trial of these, got {tid!r}: see trials.tids")

    def importances(
        self, space: Any = None, *, top: float = 0.1, baseline: float = 1.0, objective: int = 0
    ) -> dict[str, float]:
        """How much each parameter mattered for being among the best trials, the most important first.

        Shares of one by label; see :func:`sparktune.search.importances.importances` for the method and other arguments.

        Args:
            space: The search space; None: that of this object's last ``fmin``, which a pickle does not keep.

        Raises:
            InvalidArgumentError: If no space is known, an argument is out of its rule, or too few trials have a loss.
            InvalidTypeError: If ``objective`` is no integer.
        """
        known = self._known_space(space, "importances(space)")
        return importances(known, self.history(known.labels), top=top, baseline=baseline, objective=objective)

    def explain(self, tid: Any, space: Any = None) -> Explanation:
        """Why trial ``tid`` was proposed: what its algorithm had seen, and what that said of the point.

        ``print`` it for a summary in words.

        Args:
            tid: The trial's id.
            space: The search space; None: that of this object's last ``fmin``, which a pickle does not keep.

        Raises:
            InvalidArgumentError: If no space is known or the trial is of another one, there is no such trial, its
                proposal was not recorded, or trials that it saw were removed.
        """
        return explain(self._known_space(space, f"explain({tid!r}, space)"), self.own_documents(), tid)

    def _known_space(self, space: Any, call: str) -> Space:
        known = self._past.space if space is None else Space.of(space)
        if known is None:
            raise InvalidArgumentError(
                f"{call.partition('(')[0]} needs the search space, and this Trials object has run no fmin since it was "
                f"made or loaded: call trials.{call}"
            )
        return known


def _frame_of(records: Sequence[Mapping[str, Any]], pandas: Any) -> Any:
    """A data frame of records; a column in which a whole number is beyond the largest float keeps Python's numbers."""
    huge = {
        column
        for record in records
        for column, value in record.items()
        if isinstance(value, int) and abs(value) > sys.float_info.max
    }
    # pandas tries to make floats of them, and fails: they are put in when the other columns have their types.
    frame = pandas.DataFrame([{key: None if key in huge else value for key, value in r.items()} for r in records])
    for column in huge:
        values = [record.get(column, math.nan) for record in records]
        frame[column] = pandas.Series(values, dtype=object)
    return frame
