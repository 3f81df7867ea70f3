"""Pickles that hyperopt 0.3.0 has written; those beside this file are its own."""

import io
import pickle
import sys
import types
from pathlib import Path

import pytest

from sparktune import STATUS_FAIL, STATUS_OK, Domain, Trials, compat, fmin, rand, space_eval
from sparktune.space.nodes import Literal

PICKLES = Path(__file__).with_name("pickles")
BEST = {"depth": 6.0, "kind": 0, "x": 0.10136459083539151}


def test_trials_of_hyperopt_are_trials():
    """Losses, states, the best point and attachments are those that hyperopt saw."""
    trials = compat.load(PICKLES / "trials.pickle")
    assert type(trials) is Trials
    assert trials.losses() == [0.010274780275226337, None, None, None, 10.588280681611373, 1.0509528211114736]
    assert trials.statuses() == [STATUS_OK, *[STATUS_FAIL] * 3, STATUS_OK, STATUS_OK]
    assert trials.argmin == BEST
    assert trials.trial_attachments(trials.trials[0])["model"] == b"bytes"


def test_a_study_of_hyperopt_goes_on():
    """Trials that hyperopt began are added to, over the space that it pickled."""
    trials = compat.load(PICKLES / "trials.pickle")
    space = compat.load(PICKLES / "space.pickle")
    fmin(lambda value: value["x"] ** 2, space, max_evals=10, trials=trials, verbose=False, rstate=0)
    assert len(trials) == 10
    assert space_eval(space, BEST) == {"kind": {"depth": 6, "name": "a"}, "x": BEST["x"]}


def test_a_domain_of_hyperopt_evaluates():
    """The objective and the space come back; what hyperopt had prepared for them is made anew."""
    domain = compat.load(PICKLES / "domain.pickle")
    assert type(domain) is Domain
    assert domain.evaluate({"x": -2.0}, None) == {"loss": 2.0, "status": STATUS_OK}


def test_files_and_bytes_are_taken_too():
    """load() takes an open file, loads() what is in it."""
    data = (PICKLES / "trials.pickle").read_bytes()
    assert len(compat.load(io.BytesIO(data))) == len(compat.loads(data)) == 6


def test_loading_leaves_the_name_alone():
    """No alias is left behind."""
    compat.load(PICKLES / "trials.pickle")
    assert not compat.is_installed()
    assert "hyperopt" not in sys.modules


def test_it_loads_beside_a_hyperopt_that_is_imported(monkeypatch):
    """With hyperopt itself in the process, its pickles still become ours."""
    monkeypatch.setitem(sys.modules, "hyperopt", types.ModuleType("hyperopt"))
    assert type(compat.load(PICKLES / "trials.pickle")) is Trials


def test_under_the_alias_pickle_itself_reads_them():
    """Programs that unpickle by themselves get our Trials."""
    with compat.aliased(), open(PICKLES / "trials.pickle", "rb") as file:
        assert type(pickle.load(file)) is Trials


def test_under_the_alias_pickle_itself_reads_a_domain():
    """It is the same as by load()."""
    with compat.aliased(), open(PICKLES / "domain.pickle", "rb") as file:
        domain = pickle.load(file)
    assert type(domain) is Domain
    assert domain.evaluate({"x": -2.0}, None) == {"loss": 2.0, "status": STATUS_OK}


class OwnDomain(Domain):
    """A program's own."""


def test_a_domain_of_hyperopt_keeps_what_a_program_gave_it():
    """Attributes of a subclass, and another ``cmd``, come along; what hyperopt draws points by does not."""
    made_from = {"fn": abs, "expr": Literal(1), "workdir": None, "pass_expr_memo_ctrl": False, "name": "n"}
    of_hyperopt = {"loss_target": 0.5, "params": {}, "vh": object(), "s_rng": Literal("theirs"), "cmd": ("own", "cmd")}
    domain = OwnDomain.__new__(OwnDomain)
    domain.__setstate__({**made_from, **of_hyperopt, "extra": 3})
    assert (domain.name, domain.loss_target, domain.cmd, domain.extra) == ("n", 0.5, ("own", "cmd"), 3)
    assert domain.s_rng in domain.s_idxs_vals.inputs()[1].inputs()
    assert not hasattr(domain, "vh")


def test_our_own_pickles_are_read_as_well():
    """load() reads what sparktune has pickled."""
    trials = Trials()
    fmin(abs, 1.0, max_evals=1, trials=trials, algo=rand.suggest, verbose=False)
    assert compat.loads(pickle.dumps(trials)).losses() == [1.0]


def test_what_is_no_pickle_is_an_error():
    """Other bytes raise what pickle raises."""
    with pytest.raises(pickle.UnpicklingError):
        compat.loads(b"no pickle")
