"""``Domain``: one point evaluated."""

import functools
import re

import numpy as np
import pytest

from sparktune import STATUS_OK, Ctrl, Domain, Trials, fmin, hp, rand
from sparktune.exceptions import BadSearchSpace, DuplicateLabel, InvalidTypeError
from sparktune.history.trial import Call
from sparktune.run.domain import failure_from, require_objective
from sparktune.run.executor import SerialExecutor
from sparktune.space.scope import GarbageCollected, UndrawnParameterError, rec_eval

SPACE = {"c": hp.choice("c", [hp.uniform("a", 0, 1), ("b", hp.randint("b", 4))])}


def test_evaluate_calls_the_objective_with_the_value_of_the_space():
    """Values by label become the shape of the space."""
    seen = []
    domain = Domain(lambda p: seen.append(p) or 1, SPACE)
    assert domain.evaluate({"c": 1, "b": 3}, Ctrl(Trials())) == {"loss": 1.0, "status": STATUS_OK}
    assert seen == [{"c": ("b", 3)}]


def test_attachments_stay_if_told_so():
    """With attach_attachments=False the attachments stay in the result."""
    domain = Domain(lambda p: {"loss": 0, "status": STATUS_OK, "attachments": {"a": 1}}, SPACE)
    assert domain.evaluate({"c": 0, "a": 0.5}, None, attach_attachments=False)["attachments"] == {"a": 1}


def test_a_live_ctrl_takes_the_place_of_its_class():
    """Ctrl in a space becomes the handle of the running trial."""
    seen = []
    domain = Domain(lambda p: seen.append(p) or 0, {"ctrl": Ctrl, "x": hp.uniform("x", 0, 1)})
    ctrl = Ctrl(Trials())
    domain.evaluate({"x": 0.5}, ctrl)
    assert seen == [{"ctrl": ctrl, "x": 0.5}]


def test_the_node_of_the_live_ctrl():
    """Domain.pyll_ctrl is an expression that has the running trial's handle for its value, in any space."""
    ctrl = Ctrl(Trials())
    domain = Domain(lambda p: p["ctrl"] is ctrl, {"ctrl": Domain.pyll_ctrl, "x": hp.uniform("x", 0, 1)})
    assert domain.evaluate({"x": 0.5}, ctrl)["loss"] == 1.0
    assert domain.pyll_ctrl is Domain.pyll_ctrl
    assert domain.pyll_ctrl.obj is Ctrl


def test_params_are_the_nodes_by_label():
    """params has the distribution node of each label."""
    domain = Domain(lambda p: 0, SPACE)
    assert {label: node.name for label, node in domain.params.items()} == {
        "c": "randint",
        "a": "uniform",
        "b": "randint",
    }


def test_a_memo_has_the_value_of_each_parameter():
    """Keys are the nodes that have the labels, of inactive parameters too; the expression has its value by them."""
    domain = Domain(lambda p: 0, SPACE)
    memo = domain.memo_from_config({"c": 0, "a": 0.5})
    assert {node.arg["label"].obj: value for node, value in memo.items()} == {"c": 0, "a": 0.5, "b": GarbageCollected}
    assert rec_eval(domain.expr, memo=memo) == {"c": 0.5}


def test_a_label_that_is_unknown_is_not_in_the_memo():
    """Documents may have values for further labels; they stand for no parameter, and so one is missed if needed."""
    domain = Domain(lambda p: 0, SPACE)
    assert domain.memo_from_config({"z": 1, "c": 0, "a": 0.5}) == domain.memo_from_config({"c": 0, "a": 0.5})
    with pytest.raises(UndrawnParameterError, match="uniform has no value"):
        rec_eval(domain.expr, memo=domain.memo_from_config({"c": 0, "z": 0.5}))


@pytest.mark.parametrize("further", [{}, {"z": 4}])
def test_an_objective_that_is_given_a_memo(further):
    """It has the values by label, and those of nodes that are no parameters: Ctrl is the live one there."""
    seen = []

    def objective(expr, memo, ctrl):
        seen.append({node.arg["label"].obj: value for node, value in memo.items() if node.name == "hyperopt_param"})
        seen.append(rec_eval(expr, memo=memo))
        return 0.0

    ctrl = Ctrl(Trials())
    domain = Domain(objective, {**SPACE, "ctrl": Ctrl}, pass_expr_memo_ctrl=True)
    domain.evaluate({"c": 1, "b": 3, **further}, ctrl)
    assert seen == [{"c": 1, "b": 3, "a": GarbageCollected}, {"c": ("b", 3), "ctrl": ctrl}]


def test_a_label_that_is_missing():
    """A value that the chosen branch needs is named."""
    with pytest.raises(BadSearchSpace, match="needs a value for 'b'"):
        Domain(lambda p: 0, SPACE).evaluate({"c": 1}, None)


def test_what_makes_no_domain():
    """The objective must be callable, and labels must be unique."""
    with pytest.raises(InvalidTypeError, match="the objective must be callable, got 5"):
        Domain(5, SPACE)
    with pytest.raises(DuplicateLabel, match="x"):
        Domain(lambda p: 0, [hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)])


def test_failures_come_back_as_data():
    """The serial executor gives a failed objective as an Outcome that names the error."""
    executor = SerialExecutor(Domain(lambda p: p["c"] / 0, SPACE))
    outcome = executor.submit(Call(tid=0, raw={"c": 0, "a": 0.5})).result()
    assert outcome.failure.type == "<class 'ZeroDivisionError'>"
    assert "test_domain.py" in outcome.failure.traceback
    assert outcome.state == 3


def test_failure_of_a_class_without_a_text():
    """A class whose metaclass fails to describe it fails its trial, and has its usual name."""

    class Meta(type):
        def __repr__(cls):
            raise RuntimeError("no repr")

    class OddError(Exception, metaclass=Meta):
        pass

    failure = failure_from(OddError("weird"))
    assert failure.type == f"<class '{__name__}.{OddError.__qualname__}'>"
    assert failure.message == "weird"


class Waits:
    async def __call__(self, x):
        return x


class Yields:
    def __call__(self, x):
        yield x


class YieldsAndWaits:
    async def __call__(self, x):
        yield x


@pytest.mark.parametrize(("fn", "fix"), [(Waits(), "asyncio.run"), (Yields(), "yield"), (YieldsAndWaits(), "yield")])
def test_an_object_that_returns_no_result_when_called(fn, fix):
    """An object whose class says that calling it waits or yields is refused as functions are, as a partial too."""
    for objective in (fn, functools.partial(functools.partial(fn)), fn.__call__):
        with pytest.raises(InvalidTypeError, match=f"must return its result, got .*{type(fn).__name__}.*{fix}"):
            require_objective(objective)


@pytest.mark.parametrize("fn", [Waits, functools.partial(max, 1), len, "".join])
def test_what_returns_a_result_when_called(fn):
    """Classes, whatever their objects do, built-in functions and partials are objectives."""
    assert require_objective(fn) is fn


def test_readers_of_results():
    """loss, true_loss, variances and status have hyperopt's defaults."""
    domain = Domain(lambda p: 0, SPACE, name="bowl")
    result = {"loss": 2.0, "status": "ok"}
    assert (domain.loss(result), domain.true_loss(result), domain.loss_variance(result)) == (2.0, 2.0, 0.0)
    assert domain.true_loss({**result, "true_loss": 1.0}) == 1.0
    assert domain.status(result) == "ok"
    assert domain.new_result() == {"status": "new"}
    assert "bowl" in domain.short_str()
    with pytest.raises(NotImplementedError):
        domain.true_loss_variance()


def test_the_expression_that_draws_points():
    """hyperopt's rand.suggest written out, as programs have it, draws what ours does; also from a RandomState."""
    domain, trials = Domain(lambda p: 0, SPACE), Trials()
    memo = {domain.s_new_ids: [7], domain.s_rng: np.random.default_rng(3)}
    idxs, vals = rec_eval(domain.s_idxs_vals, memo=memo)
    again = rand.suggest_batch([7], domain, trials, 3)
    assert [{label: array.tolist() for label, array in part.items()} for part in (idxs, vals)] == [
        {label: array.tolist() for label, array in part.items()} for part in again
    ]
    idxs, vals = rec_eval(domain.s_idxs_vals, memo={**memo, domain.s_rng: np.random.RandomState(3)})
    assert idxs["c"] == [7]
    assert len(vals["a"]) + len(vals["b"]) == 1


def test_points_are_drawn_as_arrays():
    """Programs take means and masks of what they have drawn."""
    domain = Domain(lambda p: 0, SPACE)
    idxs, vals = rec_eval(domain.s_idxs_vals, memo={domain.s_new_ids: range(6), domain.s_rng: np.random.default_rng(3)})
    assert {label: array.dtype for label, array in vals.items()} == {"c": np.int64, "a": np.float64, "b": np.int64}
    assert idxs["a"].tolist() == np.arange(6)[vals["c"] == 0].tolist()
    assert 0 < vals["a"].mean() < 1


def test_an_evaluation_in_two_parts():
    """evaluate_async gives what to call, evaluate_async2 takes what it returned."""
    domain = Domain(lambda p: {"loss": p["c"][1], "status": STATUS_OK, "attachments": {"a": 1}}, SPACE)
    fn, argument = domain.evaluate_async({"c": 1, "b": 3}, None)
    assert argument == {"c": ("b", 3)}
    result = domain.evaluate_async2(fn(argument), None, attach_attachments=False)
    assert result == {"loss": 3.0, "status": STATUS_OK, "attachments": {"a": 1}}


def test_what_is_left_out_of_a_domain():
    """vh says what to use instead, and is not there for those who ask whether it is."""
    domain = Domain(lambda p: 0, SPACE)
    assert not hasattr(domain, "vh")
    with pytest.raises(AttributeError, match="s_idxs_vals"):
        _ = domain.vh


@pytest.mark.parametrize(
    ("space", "fix"),
    [
        ({"n": [10, 50, 100], "lr": (1e-4, 0.1)}, r"write hp\.choice\('n', \[10, 50, 100\]\)"),
        ({"lr": (1e-4, 0.1), "n": [10, 50, 100]}, r"write hp\.uniform\('lr', 0\.0001, 0\.1\)"),
        ({"n": ("a", "b")}, r"hp\.choice\('n', \['a', 'b'\]\)"),
        ("anotated", "space=\"annotated\".*got 'anotated'"),
        (hp.uniform, r"as in hp\.uniform\('x', 0, 1\), got the function"),
        ({}, "functions of hp"),
    ],
)
def test_a_space_without_parameters_is_noticed_once_in_a_run(caplog, space, fix):
    """Trials that are all the same are run, as in hyperopt, and the log says what to write."""
    for _ in range(2):
        caplog.clear()
        fmin(lambda _: 1.0, space, max_evals=4, verbose=False)
        (record,) = caplog.records
        assert re.search(f"no parameter, so that all trials are the same: .*{fix}", record.getMessage())


def test_one_trial_needs_no_parameter(caplog):
    """One evaluation of a constant is what was asked for; and a space with a parameter has one."""
    fmin(lambda _: 1.0, {"n": [10]}, max_evals=1, verbose=False)
    fmin(lambda _: 1.0, {"n": [10], "x": hp.uniform("x", 0, 1)}, max_evals=3, verbose=False)
    assert not caplog.records
