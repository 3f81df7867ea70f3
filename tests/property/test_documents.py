"""Invariants of runs and documents over random spaces, losses and interruptions."""

import contextlib
import copy
import json
import math
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from sparktune import STATUS_FAIL, STATUS_OK, Trials, fmin, hp, rand, space_eval, tpe
from sparktune.exceptions import InvalidLoss, InvalidResultStatus
from sparktune.history import documents, returned

FINITE = st.floats(-1e6, 1e6)


@st.composite
def spaces(draw, depth=2, prefix="p"):
    """A nest of dicts, lists and choices whose labels are all different."""
    kind = draw(
        st.sampled_from(["uniform", "quniform", "randint", "normal"] + ["choice", "dict", "list"] * (depth > 0))
    )
    if kind in ("choice", "dict", "list"):
        parts = [draw(spaces(depth - 1, f"{prefix}{i}")) for i in range(draw(st.integers(1, 3)))]
        return {
            "choice": lambda: hp.choice(prefix, parts),
            "dict": lambda: dict(zip("abc", parts, strict=False)),
            "list": lambda: parts,
        }[kind]()
    low = draw(st.integers(-5, 5))
    return {
        "uniform": lambda: hp.uniform(prefix, low, low + 2),
        "quniform": lambda: hp.quniform(prefix, low, low + 4, 0.5),
        "randint": lambda: hp.randint(prefix, low, low + 3),
        "normal": lambda: hp.normal(prefix, low, 2),
    }[kind]()


RESULTS = st.one_of(
    FINITE,
    st.integers(-5, 5),
    st.just(math.nan),
    st.just({"status": STATUS_FAIL}),
    st.just(ValueError("an error")),
    FINITE.map(lambda loss: {"status": STATUS_OK, "loss": loss, "extra": [1]}),
)


def objective(results, seen):
    """Plays the results back, and keeps what it was called with."""
    rest = iter(results)

    def fn(params):
        seen.append(params)
        result = next(rest)
        if isinstance(result, Exception):
            raise result
        return result

    return fn


@settings(max_examples=40, deadline=None)
@given(
    space=spaces(),
    results=st.lists(RESULTS, min_size=1, max_size=15),
    queue=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_every_run_leaves_documents_that_agree(space, results, queue, seed):
    """Whatever the space and the results: documents are valid and final, and say what the objective was given."""
    trials, seen = Trials(), []
    options = {"algo": tpe.suggest if seed % 2 else rand.suggest, "max_evals": len(results), "rstate": seed}
    best = fmin(
        objective(results, seen),
        space,
        trials=trials,
        verbose=False,
        catch_eval_exceptions=True,
        return_argmin=False,
        max_queue_len=queue,
        **options,
    )
    all_documents = trials._dynamic_trials
    assert len(all_documents) == len(seen) == len(results)
    losses = []
    for document, params, result in zip(all_documents, seen, results, strict=True):
        documents.validate(document)
        assert document["state"] == (3 if isinstance(result, Exception) else 2)
        assert space_eval(space, documents.raw_values(document)) == params
        json.dumps(document["misc"]["vals"])
        losses.append(documents.loss_of(document))
    assert len({document["tid"] for document in all_documents}) == len(results)
    usable = [loss for loss in losses if loss == loss]
    assert trials.best_loss == (min(usable) if usable else None)
    assert best == (seen[losses.index(min(usable))] if usable else None)


@settings(max_examples=25, deadline=None)
@given(results=st.lists(RESULTS, min_size=2, max_size=12), data=st.data(), queue=st.integers(1, 4))
def test_interrupted_runs_go_on(results, data, queue):
    """A run that is interrupted, pickled and resumed evaluates what is missing, and loses no result."""
    at = data.draw(st.integers(0, len(results) - 1))
    first, second = results[:at], results[at:]
    trials, seen = Trials(), []
    options = {"algo": rand.suggest, "verbose": False, "catch_eval_exceptions": True, "return_argmin": False}

    def interrupted(params):
        if len(seen) == at:
            raise KeyboardInterrupt
        return objective([first[len(seen)]], seen)(params)

    with contextlib.suppress(KeyboardInterrupt):
        fmin(
            interrupted,
            hp.uniform("x", 0, 1),
            trials=trials,
            max_evals=len(results),
            max_queue_len=queue,
            **options,
        )
    kept = copy.deepcopy(trials.trials)
    trials = pickle.loads(pickle.dumps(trials))
    n_visible = len(trials)
    fmin(
        objective(second, seen),
        hp.uniform("x", 0, 1),
        trials=trials,
        max_evals=n_visible + len(second),
        **options,
    )
    assert len(seen) == len(results)
    assert all(document["state"] in (2, 3, 4) for document in trials._dynamic_trials)
    assert [document["tid"] for document in kept] == trials.tids[:n_visible]


@given(
    value=st.recursive(
        st.none() | st.booleans() | FINITE | st.text(max_size=3),
        lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["loss", "status", "x"]), s),
        max_leaves=5,
    )
)
def test_results_are_taken_or_refused_but_never_break(value):
    """Anything an objective may return becomes a result with a float loss, or one of the two errors for it."""
    before = copy.deepcopy(value)
    try:
        result = returned.as_result(value)
    except (InvalidLoss, InvalidResultStatus) as error:
        assert error.result is value
        assert str(error)
        assert type(pickle.loads(pickle.dumps(error))) is type(error)
    else:
        assert result["status"] in ("new", "running", "suspended", "ok", "fail")
        assert result["status"] != "ok" or type(result["loss"]) is float
    assert value == before


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abc"), FINITE), min_size=1, max_size=8),
    tids=st.lists(st.integers() | st.text(), min_size=8, max_size=8, unique=True),
)
def test_idxs_and_vals_lose_nothing(rows, tids):
    """Values by label, put back into miscs, are the values the miscs had."""
    miscs = [documents.new_misc(tid, raw, "abc") for tid, raw in zip(tids, rows, strict=False)]
    again = [{"tid": misc["tid"]} for misc in miscs]
    documents.miscs_update_idxs_vals(again, *documents.miscs_to_idxs_vals(miscs))
    assert [documents.spec_from_misc(misc) for misc in again] == rows


@given(
    tids=st.lists(st.integers(-3, 12) | st.text(max_size=2) | st.floats(0, 5), unique=True),
    n=st.lists(st.integers(0, 4), max_size=4),
)
def test_new_ids_never_collide(tids, n):
    """Ids are new, whatever ids documents have and however often one asks."""
    trials = Trials()
    misc = [documents.new_misc(tid, {}, []) for tid in tids]
    trials.insert_trial_docs(trials.new_trial_docs(tids, [None] * len(tids), [{}] * len(tids), misc))
    given_out = [tid for count in n for tid in trials.new_trial_ids(count)]
    assert len({*given_out, *tids}) == sum(n) + len(tids)
