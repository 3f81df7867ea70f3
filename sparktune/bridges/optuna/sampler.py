"""Our search as a sampler of Optuna: trials that know what a study does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sparktune import tpe
from sparktune.bridges.optuna.units import from_optuna, is_within, node_of, to_optuna, widest
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError
from sparktune.exchange.studies import constraint_names, constraints_by_column
from sparktune.history import documents, proposals, returned
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK, Outcome
from sparktune.run.domain import Domain
from sparktune.space.compile import Space
from sparktune.trials import Trials

#: Of one study, so many mirrors are kept: one per bracket of a pruner that splits it.
MAX_MIRRORS = 32


class Sampler(BaseSampler):
    """sparktune's search as a sampler: ``optuna.create_study(sampler=Sampler(seed=0))``.

    The search is over all parameters that some trial of the study has had; a parameter that a trial did not ask for
    counts as inactive in it. A parameter that is new, or has wider bounds than ever before, is drawn from its prior.
    Running trials are taken into account, failed and pruned ones are learned from as bad. A constraint that a trial
    does not set counts as met in it.

    Args:
        algo: An algorithm of ``fmin``; None for ``tpe.suggest``.
        seed: Whatever ``numpy.random.default_rng`` takes.
        **options: Further arguments of ``algo``, such as ``n_startup_jobs=20``.

    Raises:
        InvalidTypeError: If ``algo`` cannot be called, or ``seed`` is no seed.
        InvalidArgumentError: If ``seed`` is negative.
    """

    def __init__(self, algo: Callable[..., list[Document]] | None = None, *, seed: Any = None, **options: Any) -> None:
        if algo is not None and not callable(algo):
            raise InvalidTypeError(f"Sampler takes an algorithm such as tpe.suggest, got {algo!r}")
        self._algo = tpe.suggest if algo is None else algo
        self._options = options
        self._rng = _generator(seed)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # study.optimize(n_jobs=2) calls from two threads
        #: By study; of one that a pruner splits several, the one used last at the end.
        self._mirrors: WeakKeyDictionary[Study, list[_TrialsMirror]] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_mirrors")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def reseed_rng(self) -> None:
        """Go on with fresh entropy."""
        with self._lock:
            self._rng = np.random.default_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter seen so far, with the widest bounds it had."""
        with self._lock:
            return dict(self._synced(study, trial).distributions)

    def _synced(self, study: Study, trial: FrozenTrial) -> _TrialsMirror:
        trials = study.get_trials(deepcopy=False)
        # A pruner that splits the study hands in another view of it each time, which is no key: its study is.
        mirrors = self._mirrors.setdefault(getattr(study, "_study", study), [])
        numbers = [each.number for each in trials]
        fitting = [mirror for mirror in mirrors if mirror.is_continued_by(numbers)]
        mirror = max(fitting, key=len, default=None)
        if mirror is None:
            mirror = _TrialsMirror()
        else:
            mirrors.remove(mirror)
        mirrors.append(mirror)
        del mirrors[:-MAX_MIRRORS]
        mirror.sync(trials, study.directions, trial.number)
        return mirror

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One proposal of the algorithm, by parameter."""
        if not search_space:
            return {}
        with self._lock:
            seed = int(self._rng.integers(2**31 - 1))
            # Once more, since Optuna 4 hands in another view of the study here where a pruner splits it.
            proposal = self._synced(study, trial).propose(self._algo, seed, self._options, trial.number)
        # Another thread may have brought in a parameter since the search space was inferred.
        return {name: value for name, value in proposal.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A draw from the prior."""
        space = Space(node_of(param_name, param_distribution))
        with self._lock:
            value = space.sample(self._rng, 1)[0, 0]
        return to_optuna(param_distribution, value)


def _generator(seed: Any) -> np.random.Generator:
    rule = "Sampler takes for seed an int >= 0, a list of these, a numpy Generator, a SeedSequence or None"
    try:
        return np.random.default_rng(seed)
    except ValueError:
        raise InvalidArgumentError(f"{rule}, got seed={seed!r}: write Sampler(seed=0)") from None
    except TypeError:
        raise InvalidTypeError(f"{rule}, got seed={seed!r}: write Sampler(seed=0)") from None


class _TrialsMirror:
    """A ``Trials`` object that knows what an Optuna study does, or one part of it; its length is the trials seen.

    Attributes:
        distributions: Every parameter seen so far that has more than one value.
        constraints: Names of all constraints seen so far, in the order of their columns.
    """

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}
        self.constraints: list[str] = []
        self._numbers: list[int] = []  # of the trials seen
        self._open: dict[int, set[str]] = {}  # by place, of those that had not ended: their parameters seen
        #: By number of the trial: the seed of its proposal, its record, and the numbers of those that ran.
        self._proposed: dict[int, tuple[int, Document | None, list[int]]] = {}
        self._start()

    def __len__(self) -> int:
        return len(self._numbers)

    def is_continued_by(self, numbers: Sequence[int]) -> bool:
        """Whether the trials seen are the first of those with these numbers."""
        return self._numbers == numbers[: len(self._numbers)]

    def _start(self) -> None:
        """Begin anew: the documents are in the units of the space, and have a number for each constraint."""
        expr = {name: node_of(name, distribution) for name, distribution in self.distributions.items()}
        self._domain = Domain(None, expr)
        self._trials = Trials()
        self._documents: dict[int, Document] = {}

    def sync(self, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], current: int) -> None:
        """Take in what is new: of trials that had not ended, and all of those not seen.

        Args:
            trials: All that there are; the first are those seen.
            directions: Of the study.
            current: The number of the trial to propose for.
        """
        known = self._open
        places = [*known, *range(len(self), len(trials))]
        news = [trials[place] for place in places]
        # Of each trial a parameter counts once: bounds without a common grid would replace one another each time.
        asked = [
            (name, distribution)
            for place, trial in zip(places, news, strict=True)
            for name, distribution in trial.distributions.items()
            if name not in known.get(place, ())
        ]
        if any([self._widen(asked), self._name_constraints(news)]):  # a list: both are to take in what is new
            self._start()
            news = list(trials)
        signs = [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in directions]
        for trial in news:
            if trial.number != current and trial.state != TrialState.WAITING:
                self._take(trial, signs)
        self._numbers += [trial.number for trial in trials[len(self) :]]
        still_open = [place for place in places if not trials[place].state.is_finished()]
        self._open = {place: set(trials[place].distributions) for place in still_open}
        self._trials.refresh()

    def _widen(self, asked: Sequence[tuple[str, BaseDistribution]]) -> bool:
        """Take in new parameters and bounds; whether there were any."""
        before = dict(self.distributions)
        for name, distribution in asked:
            if not distribution.single():
                known = self.distributions.get(name)
                self.distributions[name] = widest(known, distribution) if known else distribution
        return self.distributions != before

    def _name_constraints(self, trials: Sequence[FrozenTrial]) -> bool:
        """Take in constraints of new names; whether there were any."""
        before = self.constraints
        self.constraints = constraint_names(trials, before)
        return self.constraints != before

    def _take(self, trial: FrozenTrial, signs: Sequence[int]) -> None:
        raw = self._raw_values(trial)
        document = self._documents.get(trial.number)
        if document is not None and documents.raw_values(document) != raw:
            # A running trial asks for one parameter after another; values of a document do not change.
            documents.finish(document, Outcome())
            document = None
            del self._documents[trial.number]
        if raw is None or not (raw or trial.state.is_finished()):
            return  # it is elsewhere, or has not asked for anything yet
        if document is None:
            document = self._documents[trial.number] = self._insert(trial.number, raw)
        if trial.state.is_finished() and document["state"] == JOB_STATE_RUNNING:
            documents.finish(document, Outcome(result=_result_of(trial, signs, self.constraints)))

    def _raw_values(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """Our value of each parameter that is searched; None where one is outside of the bounds searched.

        It was fixed there, or had another grid. Bounds as wide as that may be so wide that hardly a proposal is of use,
        and a model takes a trial that only lacks the value for one that is like no other.
        """
        searched = {name: value for name, value in trial.params.items() if name in self.distributions}
        if not all(is_within(self.distributions[name], value) for name, value in searched.items()):
            return None
        return {name: from_optuna(self.distributions[name], value) for name, value in searched.items()}

    def _insert(self, number: int, raw: Mapping[str, Any]) -> Document:
        tid = self._trials.new_trial_ids(1)[0]
        misc = documents.new_misc(tid, raw, self._domain.space.labels)
        document = documents.new_document(tid, None, documents.new_result(), misc, None)
        if number in self._proposed:
            self._note_proposal(document, *self._proposed[number])
        documents.start(document)
        self._trials.insert_trial_doc(document)
        return document

    def _note_proposal(self, document: Document, seed: int, record: Document | None, running: Sequence[int]) -> None:
        """Write down how a trial was proposed, as searches go on from what the documents of their trials say of it."""
        if record is not None:
            # By number, for the ids are others when the documents were made anew.
            tids = [self._documents[other]["tid"] for other in running if other in self._documents]
            proposals.note_record(document, {**record, "running": tids})
        proposals.note_seed(document, seed)

    def propose(
        self, algo: Callable[..., list[Document]], seed: int, options: Mapping[str, Any], number: int
    ) -> dict[str, Any]:
        """Optuna's value by parameter, for the trial of a number; none if the algorithm has nothing to propose."""
        proposed = algo(self._trials.new_trial_ids(1), self._domain, self._trials, seed, **options)
        if not proposed:
            return {}
        running = [self._numbers[place] for place in self._open if self._numbers[place] in self._documents]
        self._proposed[number] = seed, proposals.proposal_record(proposed[0]), running
        raw = documents.raw_values(proposed[0])
        return {name: to_optuna(self.distributions[name], value) for name, value in raw.items()}


def _result_of(trial: FrozenTrial, signs: Sequence[int], constraints: Sequence[str]) -> dict[str, Any]:
    """The result of a finished trial; a pruned one counts as failed, for its value is not comparable."""
    if trial.state != TrialState.COMPLETE:
        return returned.as_result({"status": STATUS_FAIL})
    losses = [sign * value for sign, value in zip(signs, trial.values, strict=True)]
    result: dict[str, Any] = {"status": STATUS_OK, "loss": losses[0]}
    if len(losses) > 1:
        result = {"status": STATUS_OK, "losses": losses}
    if constraints:
        result["constraints"] = list(constraints_by_column(trial, constraints))
    return returned.as_result(result)
