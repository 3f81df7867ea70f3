"""``Study``: a search that is asked for points and told results, for loops of one's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from sparktune import auto
from sparktune.exceptions import InvalidArgumentError, InvalidResultStatus, InvalidTypeError, SearchExhausted
from sparktune.exchange.warm_start import borrow
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.events import n_renewed
from sparktune.history.marks import OTHER_SPACE
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK, Outcome
from sparktune.run.algos import algo_description, stored_algo
from sparktune.run.arguments import require_algo
from sparktune.run.asktell import AskTell
from sparktune.run.domain import Domain, failure_from
from sparktune.run.goal import Goal
from sparktune.run.points import point_documents
from sparktune.space.choices import named_values, native, value_nodes
from sparktune.storage.places import storage_at
from sparktune.trials import Trials


@dataclass(frozen=True, eq=False)
class Trial:
    """A point to be evaluated.

    Attributes:
        tid: The trial's id.
        params: The value of the space at the point: what an objective would be called with.
        named: The value of each active parameter by label, of a choice the option.
        document: The trial's document.
    """

    tid: Any
    params: Any
    named: dict[str, Any]
    document: Document


class Study:
    """A search over a space, asked for points and told what came of them; nothing runs by itself.

    >>> study = Study(hp.uniform("x", -5, 5), rstate=0)
    >>> for _ in range(20):
    ...     trial = study.ask()
    ...     study.tell(trial, (trial.params - 1) ** 2)

    Any number of trials may be open, and results come in any order; points that are open are not proposed again. It may
    be asked and told from several threads. Trials that are open when a kept study is closed can be told to the next
    ``Study`` of its storage, see :attr:`open_trials`. A pickled study is a copy in memory, kept nowhere.

    Args:
        space: The search space, as for ``fmin``.
        algo: ``auto.suggest`` (None), ``tpe.suggest``, or any callable of that form.
        trials: Where the documents go; what is in there already is known. None: a new :class:`Trials`.
        rstate: Random state, as for ``fmin``.
        storage: Where the study is kept, as for ``fmin``; what is there already is taken up. Held until :meth:`close`.
        warm_start: Earlier trials to learn from, as for ``fmin``.
        direction, metric: What is optimised, as for ``fmin``.

    Attributes:
        trials: The documents, see :class:`Trials`.

    Raises:
        BadSearchSpace, InvalidArgumentError, InvalidTypeError: If an argument is out of its rule.
    """

    def __init__(
        self,
        space: Any,
        algo: Callable[..., Any] | None = None,
        trials: Trials | None = None,
        rstate: Any = None,
        *,
        storage: Any = None,
        warm_start: Any = None,
        direction: str | Sequence[str] = "minimize",
        metric: str | Sequence[str] | None = None,
    ) -> None:
        if isinstance(space, str) and space == "annotated":
            raise InvalidArgumentError(
                'a Study has no objective whose annotations could be the space, got space="annotated": pass the space'
            )
        self._domain = Domain(None, space, goal=Goal.of(direction, metric))
        self.trials = Trials() if trials is None else trials
        if not isinstance(self.trials, Trials):
            raise InvalidTypeError(f"trials is a Trials object, or None for a new one, got {trials!r}: pass Trials()")
        if storage is not None:
            self.trials.keep_in(storage)
        algo = auto.suggest if algo is None else require_algo(algo)
        self._domain.warn_if_constant()
        self._asked: set[Any] = set()
        self._nodes = value_nodes(self._domain.space)
        self._lock = threading.RLock()
        is_first = not self.trials._is_open
        try:
            self.trials._begin(self._domain, algo_description(algo), evaluates=False)
            self._search = AskTell(algo, self._domain, self.trials, rstate)
            if warm_start is not None:
                borrow(self.trials, warm_start, self._domain)
                self._search.flush()
        except BaseException:
            if is_first:
                self.trials._end()  # nobody has the study, to close it
            raise

    @classmethod
    def load(
        cls,
        storage: Any,
        *,
        space: Any = None,
        algo: Callable[..., Any] | None = None,
        rstate: Any = None,
        direction: str | Sequence[str] | None = None,
        metric: str | Sequence[str] | None = None,
        trust: bool = False,
    ) -> Study:
        """The study in a storage, to go on with: what is told from now on is kept there, too.

        Args:
            storage: A path or URL, as for ``fmin``.
            space: The search space; None: the stored one.
            algo: The algorithm with its options; None: the stored one, if it is one of sparktune's.
            rstate: As for a new study; it is not stored.
            direction, metric: As for a new study; None: as stored, the direction if no metric is given. It must be the
                one that is stored.
            trust: Whether to open pickles in it, which can run code of whoever wrote them.

        Raises:
            InvalidStorage: If there is no study, or it cannot be written.
            InvalidArgumentError: If the space or the algorithm is not stored, and not given.
        """
        place = storage_at(storage)
        stored = Trials.load(place, trust=trust)
        if space is None and stored._past.space is None:
            raise InvalidArgumentError(f"the study in {place} has no search space: call Study.load(..., space=space)")
        runs = stored._past.read
        if algo is None and runs:
            algo = stored_algo(runs[-1], "Study.load", trust)
        if metric is None:
            words = (Goal.of_runs(runs) or Goal()).words or {}
            metric = words.get("metric")
            direction = words.get("direction") if direction is None else direction
        trials = Trials()
        trials.keep_in(place, trust=trust)
        known = stored._past.space.expr if space is None and stored._past.space is not None else space
        return cls(known, algo, trials, rstate, direction="minimize" if direction is None else direction, metric=metric)

    @overload
    def ask(self, n: None = None) -> Trial: ...

    @overload
    def ask(self, n: int) -> list[Trial]: ...

    def ask(self, n: int | None = None) -> Trial | list[Trial]:
        """A point to evaluate; of a number n, a list of n different ones, shorter if the search has no more.

        Points given to :meth:`enqueue`, and new trials that were in ``trials`` before, come first.

        Raises:
            SearchExhausted: If one point was asked for and the algorithm has none left.
            InvalidArgumentError: If n is not a whole number above 0.
        """
        if n is not None and (not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1):
            raise InvalidArgumentError(f"ask takes a number of points, at least 1, or nothing for one, got {n!r}")
        with self._lock:
            self._search.pull()
            asked = self._waiting()[: n or 1]
            # Some algorithms propose fewer points than they are asked for, one at a time.
            while len(asked) < (n or 1) and (proposed := self._search.ask((n or 1) - len(asked))):
                asked += proposed
            for document in asked:
                self._search.start(document)
                self._asked.add(document["tid"])
            self.trials.refresh()
            trials = [self._trial(document) for document in asked]
        if n is not None:
            return trials
        if not trials:
            raise SearchExhausted("the algorithm has no point left to propose: the search is at its end")
        return trials[0]

    def tell(self, trial: Trial | Any, result: Any) -> None:
        """Take the result of a trial. One that is to be evaluated again, as its driver has died, may come late as well.

        Args:
            trial: What :meth:`ask` gave, or its ``tid``.
            result: What an objective would return: a number, or a dict with ``status``, ok or fail, and ``loss``. An
                exception for a trial that failed. None for one that was given up: it counts as cancelled.

        Raises:
            InvalidLoss, InvalidResultStatus: If it is no result; the trial stays open.
            InvalidArgumentError: If there is no such trial, or it is not open.
        """
        with self._lock:
            document = self._open_document(trial)
            outcome = self._outcome(result)
            refused = self._search.checked(outcome).failure if outcome.result is not None else None
            if refused is not None and refused.exception is not None:
                raise refused.exception
            if document["state"] == JOB_STATE_NEW:
                self._search.start(document)
            self._search.tell(document, outcome)
            self._asked.discard(document["tid"])
            self._search.flush()

    def enqueue(self, *points: Mapping[str, Any]) -> None:
        """Have points ``{label: value}`` asked first, in this order; see ``points_to_evaluate`` of ``fmin``.

        Raises:
            InvalidArgumentError, InvalidTypeError: If a point does not lie in the space.
        """
        for point in points:
            if not isinstance(point, Mapping):
                is_list = isinstance(point, (list, tuple)) and all(isinstance(item, Mapping) for item in point)
                fix = "put a * before the list, enqueue(*points)" if is_list else "write enqueue({'x': 0.5})"
                raise InvalidTypeError(f"enqueue takes points {{label: value}}, each by itself, got {point!r}: {fix}")
        with self._lock:
            found = point_documents(points, self._domain, self.trials, "point {} given to enqueue")
            self.trials.insert_trial_docs(found)
            self.trials.refresh()
            self._search.flush()

    @property
    def open_trials(self) -> list[Trial]:
        """Trials that were asked and of which nothing was told yet, also those that a closed study has left open."""
        with self._lock:
            self.trials.refresh()
            return [self._trial(document) for document in self._unfinished() if document["state"] == JOB_STATE_RUNNING]

    @property
    def best_params(self) -> Any:
        """The value of the space at the best trial, see :attr:`Trials.best_params`."""
        return self.trials.best_params

    @property
    def best_trial(self) -> Document:
        """The document of the best trial, see :attr:`Trials.best_trial`."""
        return self.trials.best_trial

    def close(self) -> None:
        """Let others write the study's storage. What is told afterwards stays in memory.

        Trials that are open stay so: to the next ``Study`` of the storage they can be told. ``fmin`` evaluates them.
        """
        self._close(leaves_open=True)

    def _close(self, leaves_open: bool) -> None:
        with self._lock:
            keeper = self.trials._keeper
            if keeper is not None and keeper.is_open and leaves_open:
                for document in self._unfinished():
                    if document["tid"] in self._asked and document["state"] == JOB_STATE_RUNNING:
                        keeper.note_left(document)
            self.trials._end()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        """Close. Where an error ends the block, whatever was open is to be evaluated again, as after a crash."""
        self._close(leaves_open=error is None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())
        # Which pickled trials do not have.
        algo = algo_description(self._search.algo)
        self.trials._past = self.trials._past.restored(self._domain.space, algo, self._domain.goal)

    def __len__(self) -> int:
        return len(self.trials)

    def _waiting(self) -> list[Document]:
        self.trials.refresh()
        return [document for document in self._unfinished() if document["state"] == JOB_STATE_NEW]

    def _unfinished(self) -> list[Document]:
        return self.trials.history(self._domain.space.labels).open_documents

    def _trial(self, document: Document) -> Trial:
        space, raw = self._domain.space, documents.raw_values(document)
        return Trial(document["tid"], native(space.evaluate(raw)), named_values(space, raw, self._nodes), document)

    def _open_document(self, trial: Trial | Any) -> Document:
        tid = trial.tid if isinstance(trial, Trial) else trial
        for document in reversed(self.trials.own_documents()):  # most often one of the last
            if document["tid"] == tid:
                is_late = document["state"] == JOB_STATE_NEW and n_renewed(document) > 0
                if document["state"] != JOB_STATE_RUNNING and not is_late:
                    state = documents.STATE_NAMES[document["state"]]
                    raise InvalidArgumentError(
                        f"tell takes a trial that is open, got {tid!r}, which is {state} already"
                    )
                is_moved = OTHER_SPACE in document["misc"]  # its values are others since it was asked for
                if (
                    isinstance(trial, Trial)
                    and not is_moved
                    and documents.raw_values(trial.document) != documents.raw_values(document)
                ):
                    raise InvalidArgumentError(
                        f"tell takes a trial that this study gave, got {tid!r} of another study: tell the one that was "
                        "asked"
                    )
                return document
        raise InvalidArgumentError(f"tell takes a trial that ask gave, or its tid, got {trial!r}")

    def _outcome(self, result: Any) -> Outcome:
        if result is None:
            return Outcome()
        if isinstance(result, BaseException):
            return Outcome(failure=failure_from(result))
        read = self._domain.result_of(result)
        if read["status"] not in (STATUS_OK, STATUS_FAIL):
            raise InvalidResultStatus(
                result,
                f"tell takes the result of a trial that has ended, its status {STATUS_OK!r} or {STATUS_FAIL!r}, got "
                f"{read['status']!r}: tell it when it has ended (None if it was given up); it is open until then",
            )
        return Outcome.of(read)
