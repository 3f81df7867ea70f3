"""hp.*: what a parameter may look like, and what is refused where it is made."""

import math
import warnings

import numpy as np
import pytest

from sparktune import hp
from sparktune.exceptions import InvalidSpaceError, InvalidTypeError, SparktuneError
from sparktune.space.compile import Space
from sparktune.space.distributions import Categorical, LogUniform, QUniform, RandInt, Uniform
from sparktune.space.nodes import Literal, as_apply
from sparktune.space.scope import sample

INF, NAN = math.inf, math.nan
OTHER = hp.uniform("other", 0, 1)


def distribution(node):
    return Space(node).parameters[0].distribution


BAD_BOUNDS = [
    # In words what the rule is about, and what was received.
    (hp.uniform, (0, -1), "low should be less than high", "low=0, high=-1"),
    (hp.uniform, (1, 0), "low should be less than high", "low=1, high=0"),
    (hp.uniform, (0, 0), "low should be less than high", "low=0, high=0"),
    (hp.uniform, (NAN, 1), "finite number", "low=nan"),
    (hp.uniform, (0, INF), "finite number", "high=inf"),
    (hp.uniform, ("0", 1), "finite number", "low='0'"),
    (hp.uniform, (None, 1), "finite number", "low=None"),
    (hp.uniform, (True, 2), "finite number", "low=True"),
    (hp.uniform, (0, 10**400), "finite number", "high=1000"),
    (hp.uniform, (0, 1j), "finite number", "high=1j"),
    (hp.uniform, (-1e308, 1e308), "narrow the bounds", "high=1e+308"),
    (hp.quniform, (0, -1, 1), "low should be less than high", "high=-1"),
    (hp.quniform, (0, 1, 0), "q > 0", "q=0"),
    (hp.quniform, (0, 1, -1), "q > 0", "q=-1"),
    (hp.quniform, (0, 1, NAN), "finite number", "q=nan"),
    (hp.quniform, (0, 1e20, 1), "larger q", "high=1e+20"),
    (hp.loguniform, (0, -1), "math.log(1e-4)", "low=0, high=-1"),
    (hp.loguniform, (1e-4, 1000), "math.log(1000)", "high=1000"),
    (hp.loguniform, (-INF, 0), "finite number", "low=-inf"),
    (hp.qloguniform, (0, -1, 1), "math.log(1e-4)", "high=-1"),
    (hp.qloguniform, (0, 1, 0), "q > 0", "q=0"),
    (hp.qloguniform, (1, 1000, 1), "math.log(1000)", "high=1000"),
    (hp.normal, (0, 0), "sigma > 0", "sigma=0"),
    (hp.normal, (0, -1), "sigma > 0", "sigma=-1"),
    (hp.normal, (NAN, 1), "finite number", "mu=nan"),
    (hp.qnormal, (0, 0, 1), "sigma > 0", "sigma=0"),
    (hp.qnormal, (0, 1, 0), "q > 0", "q=0"),
    (hp.lognormal, (0, 0), "sigma > 0", "sigma=0"),
    (hp.lognormal, (1000, 1), "math.log(1000)", "1000"),
    (hp.qlognormal, (0, 0, 1), "sigma > 0", "sigma=0"),
    (hp.qlognormal, (0, 1, -2), "q > 0", "q=-2"),
    (hp.randint, (0,), "needs low < high", "high=0"),
    (hp.randint, (-3,), "needs low < high", "high=-3"),
    (hp.randint, (5, 5), "needs low < high", "low=5, high=5"),
    (hp.randint, (0, -1), "needs low < high", "low=0, high=-1"),
    (hp.randint, (2.5,), "an integer for high", "high=2.5"),
    (hp.randint, (0.5, 3), "an integer for low", "low=0.5"),
    (hp.randint, (NAN,), "an integer for high", "high=nan"),
    (hp.randint, (INF,), "an integer for high", "high=inf"),
    (hp.randint, ("5",), "an integer for high", "high='5'"),
    (hp.randint, (10**400,), "an integer for high", "high=1000"),
    (hp.randint, (2**60,), "2**53", "high=1152921504606846976"),
    (hp.uniformint, (0.5, 3), "an integer for low", "0.5"),
    (hp.uniformint, (0, 2.5), "an integer for high", "2.5"),
    (hp.uniformint, (3, 1), "uniformint: low should be less than high", "low=3, high=1"),
    (hp.uniformint, (0, INF), "finite number", "high=inf"),
    (hp.uniformint, (0, 10**400), "finite number", "high=1000"),
    (hp.uniformint, (0, 2**60), "narrow the bounds", "high=1152921504606846976"),
    (hp.uniformint, (-1e300, 0), "narrow the bounds", "low=-1e+300"),
    (hp.pchoice, ([(0.5, "a"), (0.4, "b")],), "sum to 1", "0.9"),
    (hp.pchoice, ([(-0.5, "a"), (1.5, "b")],), "from 0 to 1", "-0.5"),
    (hp.pchoice, ([(NAN, "a")],), "from 0 to 1", "nan"),
    (hp.pchoice, ([("a", 0.5), ("b", 0.5)],), "(probability, option)", "'a'"),
    (hp.pchoice, (["a", "b"],), "(probability, option)", "['a', 'b']"),
    (hp.pchoice, ([(0.5, "a"), 0.5],), "(probability, option)", "0.5"),
]


@pytest.mark.parametrize(("function", "arguments", "rule", "received"), BAD_BOUNDS)
def test_arguments_that_make_no_sense_are_refused(function, arguments, rule, received):
    """Where the parameter is made, an InvalidSpaceError says the parameter, the rule, and the value received."""
    with pytest.raises(InvalidSpaceError) as caught:
        function("the label", *arguments)
    assert isinstance(caught.value, (ValueError, SparktuneError))
    for part in ("'the label'", rule, received):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (hp.uniform, (0, OTHER)),
        (hp.uniform, (OTHER, 2)),
        (hp.quniform, (0, 1, OTHER)),
        (hp.loguniform, (OTHER - 5, 2)),
        (hp.normal, (OTHER, 1)),
        (hp.lognormal, (0, OTHER)),
        (hp.randint, (hp.randint("other", 1, 5),)),
        (hp.uniformint, (0, hp.randint("other", 1, 5))),
        (hp.pchoice, ([(OTHER, "a"), (1 - OTHER, "b")],)),
    ],
)
def test_bounds_cannot_depend_on_other_parameters(function, arguments):
    """An expression as an argument is refused, with the way to scale inside the space."""
    with pytest.raises(InvalidSpaceError, match=r"(?s)'x'.*got an expression.*hp\.uniform\(label, 0, 1\)"):
        function("x", *arguments)


@pytest.mark.parametrize("label", [5, None, 0.5, ("x",)])
def test_labels_are_strings(label):
    """A label that is not text is refused with hyperopt's words and an example."""
    with pytest.raises(InvalidTypeError, match="require string label") as caught:
        hp.uniform(label, 0, 1)
    assert repr(label) in str(caught.value)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: hp.choice(3, ["a", "b"]), "choice"),
        (lambda: hp.pchoice(3, [(0.5, "a"), (0.5, "b")]), "pchoice"),
        (lambda: hp.uniformint(3, 0, 4), "uniformint"),
        (lambda: hp.qnormal(3, 0, 4, 1), "qnormal"),
    ],
)
def test_the_example_for_a_label_is_the_function_that_was_called(make, name):
    """Not the distribution that is behind it."""
    with pytest.raises(InvalidTypeError, match=rf"hp\.{name}\('name'"):
        make()


def test_a_label_may_be_bytes():
    """Bytes are decoded."""
    assert Space(hp.uniform(b"x", 0, 1)).labels == ("x",)


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((5,), {}, RandInt(0, 5)),
        ((), {"upper": 5}, RandInt(0, 5)),
        ((2, 5), {}, RandInt(2, 5)),
        ((2,), {"high": 5}, RandInt(2, 5)),
        ((), {"low": 2, "high": 5}, RandInt(2, 5)),
        ((), {"high": 5}, RandInt(0, 5)),
        ((-5, 0), {}, RandInt(-5, 0)),
        ((np.int64(5),), {}, RandInt(0, 5)),
        ((5.0,), {}, RandInt(0, 5)),
    ],
)
def test_randint_in_every_form(args, kwargs, expected):
    """Upper alone, or low and high, by position or by keyword."""
    assert distribution(hp.randint("x", *args, **kwargs)) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, 2, 3), {}),
        ((), {"low": 1}),
        ((5,), {"low": 1}),
        ((5,), {"upper": 7}),
        ((1, 5), {"low": 0}),
        ((1, 5), {"high": 9}),
        ((1, 2, 3), {"high": 9}),
        ((), {"low": 1, "upper": 5}),
        ((), {"n": 5}),
        ((5,), {"q": 2}),
    ],
)
def test_randint_refuses_other_forms(args, kwargs):
    """Too few, too many, a bound given twice, and unknown names are refused."""
    with pytest.raises(InvalidTypeError, match=r"hp\.randint"):
        hp.randint("x", *args, **kwargs)


@pytest.mark.parametrize(
    ("options", "n"),
    [
        (["a", "b"], 2),
        (("a",), 1),
        (range(3), 3),
        ((option for option in "ab"), 2),
        (np.array([1, 2, 3]), 3),
        (as_apply(["a", "b"]), 2),
        ([[]], 1),
        ([None, None], 2),
    ],
)
def test_options_of_a_choice(options, n):
    """Any iterable of options, and any object as an option."""
    node = hp.choice("x", options)
    assert (distribution(node), len(node.pos_args)) == (RandInt(0, n), n + 1)


@pytest.mark.parametrize(
    ("function", "arguments", "plain"),
    [(hp.quniform, (0.5, 1, 100), Uniform(0.5, 1)), (hp.qloguniform, (-5, -3, 1), LogUniform(-5, -3))],
)
def test_bounds_without_a_multiple_of_q(function, arguments, plain):
    """Values are drawn unrounded, and a warning says the parameter and the rule; hyperopt leaves the bounds."""
    with pytest.warns(UserWarning, match=rf"'x'.*no multiple of q={arguments[2]}.*not rounded"):
        node = function("x", *arguments)
    assert distribution(node) == plain


def test_a_choice_of_a_dict_is_one_of_its_keys():
    """As in hyperopt, a dict of options stands for its keys."""
    assert [node.obj for node in hp.choice("x", {"a": 1, "b": 2}).pos_args[1:]] == ["a", "b"]


@pytest.mark.parametrize(
    ("function", "options"),
    [(hp.pchoice, {"a": 1})]
    + [(kind, wrong) for kind in (hp.choice, hp.pchoice) for wrong in ("abc", b"abc", 5, None)],
)
def test_options_must_come_in_a_list(function, options):
    """Text and what cannot be iterated are no lists of options; a dict has no probabilities."""
    with pytest.raises(InvalidTypeError, match=rf"'x'.*needs a list of options, got {type(options).__name__}"):
        function("x", options)


@pytest.mark.parametrize("kind", ["choice", "pchoice"])
def test_a_choice_without_options_is_refused_where_it_is_searched(kind):
    """It can be made and thrown away; a space with it cannot be compiled, and the error names the parameter."""
    space = {"x": getattr(hp, kind)("the label", [])}
    with pytest.raises(InvalidSpaceError, match=rf"hp\.{kind}\('the label', \.\.\.\) needs at least one option"):
        Space(space)


def test_pchoice_keeps_probabilities():
    """The distribution has the probabilities, in order; rounded ones are made to sum to 1."""
    assert distribution(hp.pchoice("x", [(0.2, "a"), (0.8, "b")])) == Categorical((0.2, 0.8))
    thirds = distribution(hp.pchoice("x", [(0.33, "a"), (0.33, "b"), (0.33, "c")]))
    np.testing.assert_allclose(np.exp(thirds.log_pdf([0, 1, 2])), [0.33, 0.33, 0.34])  # the rest is the last one's
    halves = distribution(hp.pchoice("x", [(0.5, "a"), (0.5, "b"), (0.01, "c")]))
    np.testing.assert_allclose(np.exp(halves.log_pdf([0, 1, 2])), np.array([0.5, 0.5, 0.01]) / 1.01)


def test_uniformint_includes_both_ends():
    """uniformint draws integers from low to high; its q is 1 whatever is given."""
    node = hp.uniformint("x", 1, 3, q=2.0)
    assert distribution(node) == QUniform(1, 3, 1.0)
    drawn = [sample(node, seed) for seed in range(50)]
    assert set(drawn) == {1, 2, 3}
    assert {type(value) for value in drawn} == {int}


@pytest.mark.parametrize(("low", "high"), [(1e-5, 0.1), (0.01, 0.5), (1e-3, 100), (Literal(1e-4), 1)])
@pytest.mark.parametrize("kind", ["loguniform", "qloguniform"])
def test_bounds_that_look_like_values_are_remarked_on(kind, low, high):
    """A log-uniform parameter from 1e-5 to 0.1 is meant to have those values: a warning says what it has."""
    with pytest.warns(
        UserWarning, match=rf"hp\.{kind}\('x', .* draws values from 1\S* to .* write math\.log\("
    ) as caught:
        getattr(hp, kind)("x", low, high, *[0.01] * (kind == "qloguniform"))
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 0), (0.5, 2), (0.1, 5), (0.2, 1.5), (1, 20), (-0.1, 0.9)])
def test_bounds_that_may_well_be_logarithms_are_not(low, high, recwarn):
    """No warning where logarithms make sense."""
    hp.loguniform("x", low, high)
    assert len(recwarn) == 0


def test_loguniform_has_no_q():
    """A third argument is refused with the function that takes it; hyperopt's users mix them up."""
    with pytest.raises(InvalidTypeError, match=r"got 1 more: hp\.qloguniform"):
        hp.loguniform("x", 0, 1, 1)
    with pytest.raises(InvalidSpaceError, match="low should be less than high"):
        hp.loguniform("x", 1, 1, 1)


def test_bounds_by_keyword_and_as_literals():
    """Arguments have hyperopt's names; literal nodes and numpy numbers are numbers."""
    assert distribution(hp.quniform("x", low=0, high=4, q=2)) == QUniform(0, 4, 2)
    assert distribution(hp.quniform("x", Literal(0), np.float64(4), np.int32(2))) == QUniform(0, 4, 2)
    assert distribution(hp.uniformint("x", Literal(0), 4)) == QUniform(0, 4, 1)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (hp.uniform("x", 0, 1), float),
        (hp.quniform("x", 0, 9, 1), float),
        (hp.loguniform("x", 0, 1), float),
        (hp.qloguniform("x", 0, 3, 1), float),
        (hp.normal("x", 0, 1), float),
        (hp.qnormal("x", 0, 9, 1), float),
        (hp.lognormal("x", 0, 1), float),
        (hp.qlognormal("x", 0, 1, 1), float),
        (hp.randint("x", 9), int),
        (hp.uniformint("x", 0, 9), int),
    ],
)
def test_the_objective_sees_python_numbers(node, kind):
    """float or int, not numpy's."""
    assert type(sample(node, 0)) is kind
    space = Space(node)
    assert type(space.evaluate(space.raw(space.sample(np.random.default_rng(0), 1)[0]))) is kind


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_of_options_has_no_order(kind):
    """Options are stored by their number, so a set of texts gives a warning; what has an order gives none."""
    with pytest.warns(UserWarning, match=rf"hp\.choice\('c', ...\) got a {kind.__name__}.*write a list") as caught:
        hp.choice("c", kind(["adam", "sgd"]))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"hp\.pchoice\('c', ...\) got a"):
        hp.pchoice("c", kind([(0.5, "a"), (0.5, "b")]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hp.choice("c", kind([1, 2]))
        hp.choice("c", {"adam": 1, "sgd": 2})
