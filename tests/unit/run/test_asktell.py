"""``AskTell``: seeds, proposals that are stored, results that fit the others."""

import copy

import numpy as np
import pytest

from sparktune import STATUS_OK, Trials, auto, fmin, hp, rand, tpe
from sparktune.exceptions import InvalidTrial
from sparktune.history import documents, proposals
from sparktune.history.trial import Outcome
from sparktune.run.asktell import AskTell
from sparktune.run.domain import Domain
from sparktune.storage.keeper import Keeper

X = hp.uniform("x", -5, 5)
RANDOM_STATES = {
    "int": lambda: 7,
    "numpy int": lambda: np.int64(7),
    "SeedSequence": lambda: np.random.SeedSequence(7),
    "RandomState": lambda: np.random.RandomState(7),
    "Generator": lambda: np.random.default_rng(7),
    "None": lambda: None,
}


def search_of(trials=None, algo=rand.suggest, rstate=0):
    """A search over X."""
    return AskTell(algo, Domain(lambda x: x, X), Trials() if trials is None else trials, rstate)


def run(trials, n, rstate, algo=rand.suggest, fn=lambda x: x**2):
    """fmin until there are n trials."""
    fmin(fn, X, algo, n, trials=trials, rstate=rstate, verbose=False, catch_eval_exceptions=True)


class Fixed:
    """A source of seeds that gives these."""

    def __init__(self, *seeds):
        self._seeds = iter(seeds)

    def integers(self, high):
        """The next one."""
        return next(self._seeds)


# -- seeds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rstate", RANDOM_STATES.values(), ids=RANDOM_STATES)
@pytest.mark.parametrize("algo", [rand.suggest, tpe.suggest, auto.suggest], ids=["rand", "tpe", "auto"])
def test_a_run_that_goes_on_has_new_points(algo, rstate):
    """A run resumed with the same seed, of every kind, goes on: no point comes twice, also if resumed twice."""
    trials = Trials()
    for n in (4, 8, 14):
        run(trials, n, rstate(), algo)
    assert len(set(trials.vals["x"])) == 14


@pytest.mark.parametrize("rstate", ["int", "SeedSequence", "RandomState"])
def test_a_run_in_two_parts_is_the_run_in_one(rstate):
    """By random search, a run resumed with the same seed has the points of one that was never interrupted."""
    parts, whole = Trials(), Trials()
    for n in (3, 8):
        run(parts, n, RANDOM_STATES[rstate]())
    run(whole, 8, RANDOM_STATES[rstate]())
    assert parts.vals == whole.vals


def test_failed_trials_count_for_the_seed():
    """Trials that failed have used their seeds as well."""

    def fn(x):
        raise ZeroDivisionError

    trials = Trials()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fmin(fn, X, rand.suggest, 1, trials=trials, rstate=0, verbose=False)
    assert len({document["misc"]["vals"]["x"][0] for document in trials._dynamic_trials}) == 3


def test_another_seed_is_another_stream():
    """A run resumed with another seed takes that seed's points, from its first."""
    trials, fresh = Trials(), Trials()
    run(trials, 3, 0)
    run(trials, 6, 1)
    run(fresh, 3, 1)
    assert trials.vals["x"][3:] == fresh.vals["x"]


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy])
def test_a_copy_goes_on_as_well(copied):
    """The seeds are in the documents, so that a copy of the trials goes on like the original."""
    trials = Trials()
    run(trials, 3, 0)
    other = copied(trials)
    run(other, 6, 0)
    assert len(set(other.vals["x"])) == 6


def test_seeds_that_were_used_are_passed_over():
    """A seed is given to the algorithm once; the next one is drawn in its place."""
    seeds = []

    def algo(ids, domain, trials, seed):
        seeds.append(seed)
        return rand.suggest(ids, domain, trials, seed)

    search = search_of(algo=algo)
    search._generator = Fixed(5, 5, 6, 5, 6, 7)
    for _ in range(3):
        search.ask(1)
    assert seeds == [5, 6, 7]
    again = search_of(search.trials, algo)
    again._generator = Fixed(6, 7, 5, 8)
    again.ask(1)
    assert seeds[-1] == 8


def test_drivers_that_propose_at_the_same_moment_have_their_own_seeds(tmp_path, monkeypatch):
    """With one ``rstate``, and before they see each other's trials; the first has those of a run on its own."""

    def seeds(slot):
        monkeypatch.setattr(Keeper, "slot", slot)
        search = search_of(Trials(storage=tmp_path / "study"))
        return [proposals.seed_of(search.ask(1)[0]) for _ in range(5)]

    alone = search_of()
    assert seeds(0) == [proposals.seed_of(alone.ask(1)[0]) for _ in range(5)]
    assert seeds(1) == seeds(1)
    assert len({seed for slot in range(4) for seed in seeds(slot)}) == 20


def test_documents_have_their_seed():
    """The seed of an algorithm that notes none is noted for it; what an algorithm notes is left alone."""

    def algo(ids, domain, trials, seed):
        docs = rand.suggest(ids, domain, trials, seed)
        del docs[0]["misc"]["search"]
        return docs

    search = search_of(algo=algo)
    search._generator = Fixed(5, 6)
    [document] = search.ask(1)
    assert document["misc"]["seed"] == proposals.seed_of(document) == 5
    search.algo = rand.suggest
    [document] = search.ask(1)
    assert "seed" not in document["misc"]
    assert proposals.seed_of(document) == 6


# -- proposals ---------------------------------------------------------------------------------------------------------


def test_proposals_are_stored():
    """What ask gives are the documents in the trials, new, in the order of their ids."""
    search = search_of()
    asked = search.ask(3)
    assert [document["tid"] for document in asked] == [0, 1, 2]
    assert all(one is other for one, other in zip(asked, search.trials.trials, strict=True))
    assert {document["state"] for document in asked} == {0}


@pytest.mark.parametrize("nothing", [[], None, ()])
def test_no_proposals_are_an_empty_list(nothing):
    """An algorithm that returns nothing gives nothing to do."""
    search = search_of(algo=lambda *_: nothing)
    assert search.ask(3) == []
    assert search.trials.trials == []


def test_an_algorithm_may_name_its_own_ids():
    """Ids that an algorithm makes up are kept, and not given again."""

    def algo(ids, domain, trials, seed):
        return rand.suggest([f"t{len(trials)}"], domain, trials, seed)

    search = search_of(algo=algo)
    assert [search.ask(1)[0]["tid"], search.ask(1)[0]["tid"]] == ["t0", "t1"]


def test_documents_that_are_none_are_refused():
    """An algorithm that returns no documents is told so, and nothing is stored."""
    search = search_of(algo=lambda *_: [{"x": 1.0}])
    with pytest.raises(InvalidTrial, match="without 'tid'"):
        search.ask(1)
    assert search.trials._dynamic_trials == []


# -- results -----------------------------------------------------------------------------------------------------------


def told(search, **result):
    """What becomes of a result of the next trial."""
    [document] = search.ask(1)
    documents.start(document)
    return document, search.tell(document, Outcome({"status": STATUS_OK, **result}, attachments={"a": 1}))


def test_a_result_that_fits():
    """A result is written into its document, with its attachments, and seen at once."""
    search = search_of()
    document, outcome = told(search, loss=1.0)
    assert outcome.failure is None
    assert document["state"] == 2
    assert search.trials.losses() == [1.0]
    assert search.trials.trial_attachments(document)["a"] == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"loss": 1.0}, {"losses": [1.0, 2.0]}),
        ({"losses": [1.0, 2.0]}, {"loss": 1.0}),
        ({"loss": 1.0, "constraints": [0.0]}, {"loss": 1.0, "constraints": [0.0, 1.0]}),
    ],
)
def test_a_result_of_another_kind_fails(first, other):
    """A result with another number of losses or constraints than the first fails its trial."""
    search = search_of()
    told(search, **first)
    document, outcome = told(search, **other)
    assert document["state"] == 3
    assert "the same number of" in outcome.failure.message
    assert document["misc"]["error"][1] == outcome.failure.message
