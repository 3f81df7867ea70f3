"""Invariants of spaces over random expressions."""

import math
import pickle

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparktune import Trials, fmin, hp, rand, space_eval
from sparktune.exceptions import InvalidSpaceError
from sparktune.space.compile import Space
from sparktune.space.coordinates import Coordinates
from sparktune.space.distributions import LogUniform, Normal, QLogUniform, QNormal, QUniform, RandInt, Uniform
from sparktune.space.graph import clone, clone_merge, dfs
from sparktune.space.nodes import as_apply
from sparktune.space.scope import rec_eval, sample, scope

# Small bounds that are drawn here look like values in place of logarithms.
pytestmark = pytest.mark.filterwarnings("ignore:hp.loguniform:UserWarning")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = st.floats(-1e6, 1e6)
WIDTHS = st.floats(1e-6, 1e6)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def parameters(draw, label):
    """One parameter, of any kind."""
    low, width, q = draw(st.floats(-5, 5)), draw(st.floats(0.1, 4)), draw(st.sampled_from([0.05, 0.1]))
    sigma, n = draw(st.floats(0.01, 2)), draw(st.integers(1, 30))
    return draw(
        st.sampled_from(
            [
                hp.uniform(label, low, low + width),
                hp.quniform(label, low, low + width, q),
                hp.uniformint(label, math.floor(low), math.floor(low) + n),
                hp.loguniform(label, low, low + width),
                hp.qloguniform(label, 0, width, 0.2 * q),
                hp.normal(label, low, sigma),
                hp.qnormal(label, low, sigma, q),
                hp.lognormal(label, low, sigma),
                hp.qlognormal(label, low, sigma, q),
                hp.randint(label, n),
                hp.randint(label, -n, n),
                hp.choice(label, list(range(n))),
                hp.pchoice(label, [(1 / n, k) for k in range(n)]),
            ]
        )
    )


@st.composite
def spaces(draw):
    """An expression of containers, constants, arithmetic, and choices over parts built before, some of them shared."""
    parts = [draw(parameters(f"p{k}")) for k in range(draw(st.integers(1, 4)))]
    for k in range(draw(st.integers(0, 6))):
        some = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=3))
        kind = draw(st.sampled_from(["list", "dict", "choice", "choice", "pchoice", "switch", "constant"]))
        if kind == "list":
            parts.append(as_apply(some))
        elif kind == "dict":
            parts.append(as_apply({f"k{i}": part for i, part in enumerate(some)}))
        elif kind == "choice":
            parts.append(hp.choice(f"c{k}", [*some, None]))
        elif kind == "pchoice":
            parts.append(hp.pchoice(f"c{k}", [(0.25, some[0]), (0.75, some[-1])]))
        elif kind == "switch":
            parts.append(scope.switch((hp.randint(f"c{k}", 5) + 1) % (len(some) + 1), 0, *some))
        else:
            parts.append(as_apply({"constant": [k, some[0]]}))
    return Space(parts[-1])


@QUICK
@given(spaces(), SEEDS)
def test_exactly_the_active_values_are_needed(space, seed):
    """A drawn point evaluates, also through space_eval; without any one of its values it does not."""
    for row in space.sample(np.random.default_rng(seed), 4):
        raw = space.raw(row)
        value = space.evaluate(raw)
        assert space_eval(space.expr, raw) == value
        for label in raw:
            with pytest.raises(Exception, match=label):
                space.evaluate({key: raw[key] for key in raw if key != label})


@settings(QUICK, max_examples=25)
@given(spaces(), SEEDS)
def test_the_objective_receives_what_space_eval_gives(space, seed):
    """fmin calls the objective with the value of the space at each document's values."""
    received, trials = [], Trials()
    fmin(
        lambda value: float(len(received.append(value) or [])),
        space.expr,
        algo=rand.suggest,
        max_evals=3,
        trials=trials,
        rstate=seed,
        verbose=False,
    )
    assert received == [space_eval(space.expr, document["misc"]["vals"]) for document in trials.trials]


@QUICK
@given(spaces(), SEEDS)
def test_values_are_of_their_kind_and_within_bounds(space, seed):
    """An active value is a Python number, whole where integers are drawn, on its grid, and inside its bounds."""
    for row in space.sample(np.random.default_rng(seed), 6):
        for label, value in space.raw(row).items():
            parameter = space.parameters[space.index[label]]
            assert isinstance(value, int if parameter.is_integer else float)
            low, high = parameter.distribution.bounds
            # exp(log bound) is rounded
            assert low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high)
            assert np.isfinite(parameter.distribution.log_pdf(value))


@QUICK
@given(spaces(), SEEDS, st.sampled_from([pickle, cloudpickle]))
def test_nodes_survive_pickling(space, seed, module):
    """A pickled expression is the same graph, shared nodes shared, and draws the same."""
    copied = module.loads(module.dumps(space.expr))
    assert str(copied) == str(space.expr)
    assert sample(copied, seed) == sample(space.expr, seed)
    again = module.loads(module.dumps(space))
    assert again.labels == space.labels
    raw = space.raw(space.sample(np.random.default_rng(seed), 1)[0])
    assert again.evaluate(raw) == Space(copied).evaluate(raw) == space.evaluate(raw)


@QUICK
@given(spaces(), SEEDS)
def test_merging_equal_nodes_changes_no_value(space, seed):
    """clone_merge keeps every parameter, and what the space evaluates to."""
    merged = Space(clone_merge(space.expr, merge_literals=True))
    assert set(merged.labels) == set(space.labels)
    assert len(dfs(merged.expr)) <= len(dfs(space.expr))
    raw = space.raw(space.sample(np.random.default_rng(seed), 1)[0])
    assert merged.evaluate(raw) == space.evaluate(raw)


@QUICK
@given(parameters("twin"), spaces(), SEEDS)
def test_a_label_in_two_options_is_one_parameter(twin, space, seed):
    """A copy of a parameter in another option of a choice needs no other label; its value goes where it is active."""
    node = twin.pos_args[0] if twin.name == "switch" else twin  # the index of a choice, without its options
    expr = hp.choice("root", [scope.float(node), {"other": space.expr, "copy": scope.float(clone(node))}])
    both = Space(expr)
    assert set(both.labels) == {"root", "twin", *space.labels}
    for row in both.sample(np.random.default_rng(seed), 4):
        raw = both.raw(row)
        value = both.evaluate(raw)
        copied = value["copy"] if raw["root"] else value
        assert copied == raw["twin"]


@QUICK
@given(spaces(), SEEDS)
def test_masking_twice_is_masking_once(space, seed):
    """Which parameters are active hangs on the values of active ones alone."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([p.distribution.sample(rng, 8) for p in space.parameters]).astype(float)
    masked = space.mask(values)
    other = np.column_stack([p.distribution.sample(rng, 8) for p in space.parameters]).astype(float)
    np.testing.assert_array_equal(space.mask(np.where(np.isnan(masked), other, masked)), masked)


@QUICK
@given(spaces(), SEEDS)
def test_coordinates_round_trip(space, seed):
    """decode(encode(values)) is values where active, and within the bounds everywhere."""
    coordinates, values = Coordinates(space), space.sample(np.random.default_rng(seed), 8)
    z = coordinates.encode(values)
    np.testing.assert_array_equal(np.isnan(z), np.isnan(values))
    np.testing.assert_allclose(coordinates.decode(z), values, rtol=1e-9, atol=1e-9)
    drawn = coordinates.decode(coordinates.sample_prior(np.random.default_rng(seed), 8))
    for column, parameter in enumerate(space.parameters):
        assert np.isfinite(parameter.distribution.log_pdf(drawn[:, column])).all()


@QUICK
@given(spaces(), SEEDS)
def test_a_clone_is_the_same_space(space, seed):
    """A copied graph has the same labels and values, and no node in common."""
    copied = Space(clone(space.expr))
    assert copied.labels == space.labels
    assert not set(dfs(copied.expr)) & set(dfs(space.expr))
    raw = space.raw(space.sample(np.random.default_rng(seed), 1)[0])
    assert copied.evaluate(raw) == space.evaluate(raw)
    assert sample(copied.expr, seed) == sample(space.expr, seed)


@QUICK
@given(NUMBERS, WIDTHS, st.floats(1e-3, 1e3), SEEDS)
def test_quantised_values_are_multiples_within_bounds(low, width, q, seed):
    """A quantised uniform is refused for want of a multiple, or draws multiples of q inside its bounds."""
    try:
        distribution = QUniform(low, low + width, q)
    except InvalidSpaceError:
        assert math.floor((low + width) / q) < math.ceil(low / q)
        return
    drawn = distribution.sample(np.random.default_rng(seed), 20)
    assert ((drawn >= low) & (drawn <= low + width)).all()
    np.testing.assert_allclose(drawn / q, np.round(drawn / q), atol=1e-6)
    assert np.isfinite(distribution.log_pdf(drawn)).all()


@QUICK
@given(st.floats(-30, 30), st.floats(1e-3, 30), st.floats(1e-3, 1e3), SEEDS)
def test_quantised_log_values_are_positive_multiples(low, width, q, seed):
    """A quantised loguniform is refused, or draws positive multiples of q inside its bounds."""
    try:
        distribution = QLogUniform(low, low + width, q)
    except InvalidSpaceError:
        return
    drawn = distribution.sample(np.random.default_rng(seed), 20)
    slack = 1e-8 * q
    assert ((drawn > 0) & (drawn >= math.exp(low) - slack) & (drawn <= math.exp(low + width) + slack)).all()
    assert np.isfinite(distribution.log_pdf(drawn)).all()


@QUICK
@given(
    st.one_of(
        st.builds(lambda low, width: Uniform(low, low + width), NUMBERS, WIDTHS),
        st.builds(lambda low, width: LogUniform(low, low + width), st.floats(-600, 600), st.floats(1e-3, 90)),
        st.builds(Normal, NUMBERS, WIDTHS),
        st.builds(QNormal, NUMBERS, WIDTHS, st.floats(1e-3, 1e3)),
        st.builds(lambda low, n: RandInt(low, low + n), st.integers(-(10**9), 10**9), st.integers(1, 10**9)),
    ),
    SEEDS,
)
def test_draws_are_possible(distribution, seed):
    """Whatever the arguments, draws are finite numbers of positive density."""
    drawn = distribution.sample(np.random.default_rng(seed), 50)
    assert np.isfinite(drawn).all()
    assert np.isfinite(distribution.log_pdf(drawn)).all()


@QUICK
@given(st.recursive(st.integers() | st.text() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=10))
def test_constants_come_back_with_lists_as_tuples(value):
    """A space of constants evaluates to them."""

    def frozen(item):
        return tuple(map(frozen, item)) if isinstance(item, list) else item

    assert rec_eval(value) == frozen(value)


@QUICK
@given(st.dictionaries(st.text() | st.integers(), st.integers(), max_size=5))
def test_dicts_keep_their_keys(value):
    """Keys of any kind, the empty string included."""
    assert rec_eval(value) == value
