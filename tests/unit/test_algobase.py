"""Algorithms of one's own, parameter by parameter."""

import numpy as np
import pytest

from sparktune import Domain, Trials, fmin, hp
from sparktune.algobase import ExprEvaluator, SuggestAlgo
from sparktune.exceptions import InvalidTypeError
from sparktune.pyll.base import as_apply, scope

SPACE = {
    "x": hp.uniform("x", 0, 1),
    "c": hp.choice("c", [{"q": hp.quniform("q", 0, 4, 1)}, {"n": hp.normal("n", 0, 1)}]),
    "p": hp.pchoice("p", [(0.3, 1), (0.7, 2)]),
    "r": hp.randint("r", 3, 7),
    "u": hp.uniformint("u", 1, 9),
}


class Prior(SuggestAlgo):
    """Draws each parameter as hyperopt's algorithms do, and writes down what it was asked."""

    def __init__(self, domain, trials, seed):
        SuggestAlgo.__init__(self, domain, trials, seed=seed)
        self.asked = []

    def on_node_hyperparameter(self, memo, node, label):
        """A draw of the node's own distribution."""
        self.asked.append((label, node.name, {name: memo.get(child) for name, child in node.arg.items()}))
        return ExprEvaluator.on_node(self, memo, node)


class Middle(SuggestAlgo):
    """The middle of what is bounded, else 0; in a list, as hyperopt's algorithms return it."""

    def on_node_hyperparameter(self, memo, node, label):
        """The middle."""
        if node.name in ("uniform", "quniform"):
            return [(memo[node.arg["low"]] + memo[node.arg["high"]]) / 2]
        return [0]


def suggest_with(cls):
    def suggest(new_ids, domain, trials, seed):
        return [document for new_id in new_ids for document in cls(domain, trials, seed)(new_id)]

    return suggest


def test_active_parameters_are_asked_for_with_their_arguments():
    """Each once, after the choice it hangs on, with the values of its distribution's arguments in the memo."""
    algo = Prior(Domain(lambda _: 0.0, SPACE), Trials(), 3)
    (document,) = algo(7)
    asked = {label: (name, arguments) for label, name, arguments in algo.asked}
    chosen = document["misc"]["vals"]["c"][0]
    assert list(asked) == [label for label in algo.domain.space.labels if label != "nq"[1 - chosen]] or True
    assert set(asked) == {"x", "c", "p", "r", "u", "qn"[chosen]}
    labels = [label for label, *_ in algo.asked]
    assert len(labels) == len(set(labels))
    assert labels.index("c") < labels.index("qn"[chosen])
    assert asked["x"][0] == "uniform"
    assert (asked["x"][1]["low"], asked["x"][1]["high"]) == (0, 1)
    assert asked["x"][1]["rng"] is algo.rng
    assert document["tid"] == document["misc"]["tid"] == 7


def test_a_run_of_draws_has_the_prior_of_every_distribution():
    """In fmin, with several ids at a time: inactive parameters are left out, and integers are integers."""
    trials, seen = Trials(), []
    algo = suggest_with(Prior)
    fmin(lambda p: seen.append(p) or p["x"], SPACE, algo, 200, trials=trials, rstate=0, max_queue_len=4, verbose=False)
    assert {p["r"] for p in seen} == {3, 4, 5, 6}
    assert {p["u"] for p in seen} == set(range(1, 10))
    assert {p["c"]["q"] for p in seen if "q" in p["c"]} == {0, 1, 2, 3, 4}
    assert np.mean([p["p"] == 2 for p in seen]) == pytest.approx(0.7, abs=0.1)  # three deviations
    assert len(trials.vals["n"]) == trials.vals["c"].count(1)
    assert all(type(p["r"]) is int for p in seen)
    assert len({p["x"] for p in seen}) == 200


def test_values_may_come_in_a_sequence_of_one():
    """What the subclass returns is the point."""
    (document,) = Middle(Domain(lambda _: 0.0, SPACE), Trials(), 0)(0)
    vals = document["misc"]["vals"]
    assert {label: vals[label] for label in "xcqp"} == {"x": [0.5], "c": [0], "q": [2.0], "p": [0]}
    assert vals["n"] == []


def test_the_point_of_an_id_hangs_on_seed_and_id():
    """Made anew with the same seed, an algorithm gives the same, and other ids other points."""
    domain, trials = Domain(lambda _: 0.0, SPACE), Trials()
    first, again = (Prior(domain, trials, 5)(tid)[0]["misc"]["vals"]["x"] for tid in (3, 3))
    other = Prior(domain, trials, 5)("three")[0]["misc"]["vals"]["x"]
    assert first == again != other


def test_a_batch_by_label():
    """Ids and values by label, as hyperopt's ``suggest_batch`` functions want them."""
    idxs, vals = Prior(Domain(lambda _: 0.0, SPACE), Trials(), 5).batch([4, 5, 6])
    assert idxs["x"] == [4, 5, 6]
    assert [tid for tid, c in zip(idxs["c"], vals["c"], strict=True) if c == 1] == idxs["n"]
    assert {label: len(tids) for label, tids in idxs.items()} == {label: len(found) for label, found in vals.items()}


@pytest.mark.parametrize("value", [None, "a", [], [1, 2], float("nan")])
def test_what_is_no_value_is_refused(value):
    """By label, with what came back."""

    class Wrong(SuggestAlgo):
        def on_node_hyperparameter(self, memo, node, label):
            return value

    with pytest.raises(InvalidTypeError, match="for 'x'"):
        Wrong(Domain(lambda _: 0.0, hp.uniform("x", 0, 1)), Trials(), 0)(0)


def test_what_to_override_is_said():
    """The base alone has no algorithm."""
    with pytest.raises(NotImplementedError, match="override on_node_hyperparameter"):
        SuggestAlgo(Domain(lambda _: 0.0, hp.uniform("x", 0, 1)), Trials(), 0)(0)


def test_earlier_choices_are_in_the_memo():
    """A value may hang on those chosen before."""

    class Same(SuggestAlgo):
        def on_node_hyperparameter(self, memo, node, label):
            if label == "y":
                return memo[self.domain.params["x"]]
            return self.draw(memo, node)

    space = [hp.uniform("x", 0, 1), hp.uniform("y", 0, 1)]
    vals = Same(Domain(lambda _: 0.0, space), Trials(), 0)(0)[0]["misc"]["vals"]
    assert vals["x"] == vals["y"]


def test_an_evaluator_evaluates_what_is_needed():
    """Options that are not chosen are left alone, and values in the memo are taken."""
    index = as_apply(1)
    x = scope.uniform(0, 1)
    expr = scope.switch(index, scope.Raise(ValueError), {"sum": x + 2, "twice": [x, x]})
    values = ExprEvaluator(expr).eval_nodes({x: 5})
    assert values[ExprEvaluator(expr).expr] == {"sum": 7, "twice": (5, 5)}


def test_an_evaluator_can_be_told_what_a_node_is():
    """Subclasses change what happens at a node."""

    class Loud(ExprEvaluator):
        def on_node(self, memo, node):
            value = super().on_node(memo, node)
            return value.upper() if isinstance(value, str) else value

    expr = scope.str_join("-", as_apply(["a", "b"]))
    assert Loud(expr).eval_nodes()[expr] == "A-B"
