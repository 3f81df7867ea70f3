"""hyperopt's import paths pyll, pyll.base, pyll.stochastic and vectorize."""

import numpy as np
import pytest

from sparktune import Domain, hp, pyll, vectorize
from sparktune.exceptions import SparktuneError
from sparktune.pyll import base, stochastic
from sparktune.space.nodes import Literal
from sparktune.space.scope import UndrawnParameterError, rec_eval, scope


@pytest.mark.parametrize(
    "name",
    "Apply Literal SymbolTable SymbolTableEntry Lambda p0 p1 p2 p3 p4 MissingArgument GarbageCollected UndefinedValue "
    "PyllImportError DEFAULT_MAX_PROGRAM_LEN apply as_apply scope rec_eval clone clone_merge dfs toposort bincount "
    "switch pos_args call partial callpipe1 array_union array_union1 asarray str_join Raise".split(),
)
def test_hyperopts_names_are_in_base(name):
    """What hyperopt programs import from pyll.base can be imported."""
    assert getattr(base, name) is not None


def test_what_has_no_value_in_a_memo():
    """The memo of an objective marks inactive parameters by the GarbageCollected that programs compare with."""
    domain = Domain(lambda _: 0.0, hp.choice("c", [0, hp.uniform("x", 0, 1)]))
    memo = domain.memo_from_config({"c": 0})
    assert [node.arg["label"].obj for node, value in memo.items() if value is base.GarbageCollected] == ["x"]


def test_functions_in_base_compute_at_once():
    """The functions themselves, not their builders."""
    assert base.bincount([1, 1]).tolist() == [0, 2]
    assert base.str_join("-", ["a", "b"]) == "a-b"
    with pytest.raises(AttributeError, match="no_such"):
        _ = base.no_such


def test_pyll_offers_what_its_parts_do():
    """The names that hyperopt has in pyll itself are those of base."""
    for name in set(pyll.__all__) - {"base", "stochastic"}:
        assert getattr(pyll, name) is getattr(base, name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("uniform", (0, 1)),
        ("quniform", (0, 9, 2)),
        ("loguniform", (0, 1)),
        ("qloguniform", (0, 3, 1)),
        ("normal", (0, 1)),
        ("qnormal", (0, 9, 2)),
        ("lognormal", (0, 1)),
        ("qlognormal", (0, 2, 1)),
        ("randint", (5,)),
        ("randint", (5, 15)),
        ("categorical", ([0.1, 0.9],)),
        ("randint_via_categorical", ([0.1, 0.9],)),
    ],
)
def test_functions_in_stochastic_draw_at_once(name, arguments):
    """Each takes rng and size, and draws what its node draws."""
    draw = getattr(stochastic, name)
    drawn = draw(*arguments, rng=np.random.default_rng(0), size=(2, 3))
    assert drawn.shape == (2, 3)
    node = getattr(scope, name)(*arguments, rng=np.random.default_rng(0), size=(2, 3))
    np.testing.assert_array_equal(rec_eval(node), drawn)


def test_a_function_of_the_user_can_draw():
    """implicit_stochastic gives a registered function the generator, and refuses to evaluate it without."""

    @stochastic.implicit_stochastic
    @scope.define
    def two_coins(rng=None, size=()):
        return int(rng.binomial(2, 0.5))

    try:
        assert "two_coins" in stochastic.implicit_stochastic_symbols
        assert {stochastic.sample(scope.two_coins(), seed) for seed in range(30)} == {0, 1, 2}
        with pytest.raises(UndrawnParameterError, match="two_coins"):
            rec_eval(scope.two_coins())
    finally:
        scope.undefine(two_coins)
        stochastic.implicit_stochastic_symbols.discard("two_coins")


def test_stochastic_has_no_other_functions():
    """A function that does not draw is none of its attributes."""
    with pytest.raises(AttributeError, match="sqrt"):
        _ = stochastic.sqrt


def test_options_drawn_without_a_label():
    """choice and one_of build nodes, rng_from_seed a generator."""
    assert stochastic.sample(stochastic.choice([Literal("a")]), 0) == "a"
    assert stochastic.sample(stochastic.one_of("a", "a"), 0) == "a"
    assert stochastic.rng_from_seed(3).random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("name", [*vectorize.__all__[:1], "replace_repeat_stochastic", "vectorize_stochastic", "uniq"])
def test_vectorize_says_what_stands_for_it(name):
    """The names can be imported; using one is an error that names the replacement."""
    with pytest.raises(SparktuneError, match=rf"vectorize\.{name} .*Space\(space\)\.sample\(rng, n\)") as caught:
        getattr(vectorize, name)(Literal(1), None)
    assert isinstance(caught.value, NotImplementedError)


def test_a_seed_gives_the_sample_that_it_gives_in_hyperopt():
    """Arguments are drawn from the last to the first, as hyperopt does."""
    space = {
        "a": hp.uniform("a", 0, 1),
        "b": hp.choice("b", ["x", {"n": hp.normal("n", 0, 1)}]),
        "c": hp.randint("c", 9),
    }
    # What hyperopt 0.3.0 gives for this space and seed.
    expected = {"a": 0.9762437057077041, "b": {"n": -0.17471729232577715}, "c": 6}
    assert stochastic.sample(space, np.random.default_rng(4)) == expected
