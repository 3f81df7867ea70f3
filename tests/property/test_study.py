"""Invariants of ``Study`` and of its documents, over random spaces and random orders of asking and telling."""

import copy
import json
import math
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, hp, rand, space_eval, tpe
from sparktune.exceptions import InvalidArgumentError, InvalidLoss
from sparktune.history import documents

OPTIONS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("abc", max_size=2), st.just([1, 2]))
FINITE = st.floats(-1e6, 1e6)


@st.composite
def spaces(draw, depth=2, prefix="p"):
    """A nest of dicts, lists, choices of parts and of plain options; all labels are different."""
    kind = draw(st.sampled_from(["uniform", "uniformint", "options"] + ["choice", "dict", "list"] * (depth > 0)))
    if kind in ("choice", "dict", "list"):
        parts = [draw(spaces(depth - 1, f"{prefix}{i}")) for i in range(draw(st.integers(1, 3)))]
        if kind == "choice":
            return hp.choice(prefix, parts)
        return dict(zip("abc", parts, strict=False)) if kind == "dict" else parts
    low = draw(st.integers(-5, 5))
    if kind == "options":
        return hp.choice(prefix, draw(st.lists(OPTIONS, min_size=1, max_size=4)))
    return hp.uniform(prefix, low, low + 2) if kind == "uniform" else hp.uniformint(prefix, low, low + 3)


@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31 - 1), losses=st.lists(FINITE, min_size=1, max_size=6))
def test_values_agree_wherever_they_are_read(space, seed, losses):
    """params, space_eval of the document, best_params, records and open_trials all say the same."""
    study = Study(space, algo=rand.suggest, rstate=seed)
    trials = study.ask(len(losses))
    for opened, trial, loss in zip(study.open_trials, trials, losses, strict=True):
        assert opened.params == trial.params == space_eval(space, documents.raw_values(trial.document))
        study.tell(trial, loss)
    best = min(trials, key=lambda trial: losses[trial.tid])
    assert study.best_params == best.params
    for record, trial in zip(study.trials.to_records(), trials, strict=True):
        assert {key[7:]: value for key, value in record.items() if key.startswith("params_")} == trial.named
        json.dumps(trial.named)


@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31 - 1))
def test_a_point_may_be_enqueued_again(space, seed):
    """The values of a document, given to enqueue, are the same point, in this study and in another."""
    study = Study(space, algo=rand.suggest, rstate=seed)
    other = Study(space, algo=rand.suggest, rstate=seed + 1)
    for trial in study.ask(3):
        other.enqueue(documents.raw_values(trial.document))
        assert other.ask().params == trial.params


@settings(max_examples=40, deadline=None)
@given(options=st.lists(OPTIONS, min_size=1, max_size=5), data=st.data())
def test_an_option_stands_for_itself(options, data):
    """An option given to enqueue is asked as that option, unless it is a number, which may be an index."""
    option = data.draw(st.sampled_from(options))
    study = Study(hp.choice("c", options), algo=rand.suggest, rstate=0)
    study.enqueue({"c": option})
    asked = study.ask().params
    is_index = type(option) is int and 0 <= option < len(options)
    expected = options[option] if is_index else option
    assert asked == (tuple(expected) if isinstance(expected, list) else expected)
    assert is_index or isinstance(option, list) or type(asked) is type(option)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_study_in_parts_is_the_study_in_one(seed, cuts):
    """With the same seed, studies one after another over the same pickled trials ask what a single one asks."""
    whole, trials = Study(hp.uniform("x", 0, 1), algo=rand.suggest, rstate=seed), Trials()
    for n in cuts:
        part = Study(hp.uniform("x", 0, 1), algo=rand.suggest, rstate=seed, trials=trials)
        for _ in range(n):
            trial = part.ask()
            assert trial.params == whole.ask().params
            part.tell(trial, trial.params)
        trials = pickle.loads(pickle.dumps(trials))


class AnyOrder(RuleBasedStateMachine):
    """Asks and tells in any order, and keeps its own books."""

    def __init__(self):
        super().__init__()
        self.study = Study([hp.choice("c", [0, 1, 2]), hp.uniform("x", -1, 1)], algo=tpe.suggest, rstate=0)
        self.open = {}
        self.ended = {}
        self.n_queued = 0

    @rule(n=st.integers(1, 3))
    def ask(self, n):
        """All that are asked are new."""
        for trial in self.study.ask(n):
            assert trial.tid not in self.open.keys() | self.ended.keys()
            self.open[trial.tid] = trial
            self.n_queued = max(0, self.n_queued - 1)

    @rule(x=st.floats(-1, 1))
    def enqueue(self, x):
        """A point waits until it is asked."""
        self.study.enqueue({"c": 1, "x": x})
        self.n_queued += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), loss=st.one_of(FINITE, st.just(math.nan)))
    def tell(self, data, loss):
        """A loss ends a trial."""
        self._end(data, loss, 2, loss)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def give_up(self, data):
        """None cancels it."""
        self._end(data, None, 4)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail(self, data):
        """An exception fails it, and so does a status, which is a result."""
        self._end(data, ValueError("x"), 3)
        if self.open:
            self._end(data, {"status": STATUS_FAIL}, 2)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), wrong=st.sampled_from(["text", {"status": STATUS_OK}, [1.0]]))
    def tell_what_is_no_result(self, data, wrong):
        """The trial stays open."""
        tid = data.draw(st.sampled_from(sorted(self.open)))
        try:
            self.study.tell(tid, wrong)
        except InvalidLoss:
            return
        raise AssertionError(f"{wrong!r} was taken")

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def tell_again(self, data):
        """An ended trial is refused."""
        tid = data.draw(st.sampled_from(sorted(self.ended)))
        try:
            self.study.tell(tid, 0.0)
        except InvalidArgumentError:
            return
        raise AssertionError(f"{tid} was told twice")

    @rule(make=st.sampled_from([lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy]))
    def go_on_elsewhere(self, make):
        """Another study over a copy of the trials takes the place of this one."""
        self.study = Study(
            [hp.choice("c", [0, 1, 2]), hp.uniform("x", -1, 1)], tpe.suggest, make(self.study.trials), rstate=0
        )

    def _end(self, data, result, state, loss=math.nan):
        tid = data.draw(st.sampled_from(sorted(self.open)))
        self.study.tell(self.open.pop(tid) if data.draw(st.booleans()) else (self.open.pop(tid).tid), result)
        self.ended[tid] = (state, loss)

    @invariant()
    def books_agree(self):
        """States, open trials, losses and the best are what was told."""
        found = {document["tid"]: document["state"] for document in self.study.trials._dynamic_trials}
        assert {tid: state for tid, state in found.items() if state > 1} == {t: s for t, (s, _) in self.ended.items()}
        assert sorted(trial.tid for trial in self.study.open_trials) == sorted(self.open)
        assert list(found.values()).count(0) == self.n_queued
        losses = {tid: loss for tid, (_, loss) in self.ended.items() if loss == loss}
        assert self.study.trials.best_loss == min(losses.values(), default=None)
        if losses:
            assert self.study.best_trial["tid"] == min(losses, key=lambda tid: (losses[tid], tid))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
