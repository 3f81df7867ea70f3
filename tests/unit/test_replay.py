"""Replaying stored studies, and the command line."""

import copy
import json
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from studies import Gift

from sparktune import STATUS_OK, Study, Trials, auto, fmin, gp, hp, mix, rand, tpe
from sparktune.cli import main
from sparktune.exceptions import InvalidArgumentError, InvalidStorage
from sparktune.history import documents, proposals
from sparktune.history.columns import History
from sparktune.history.events import Replica
from sparktune.history.marks import set_aside
from sparktune.history.trial import JOB_STATE_DONE
from sparktune.replay import _Seen, replay
from sparktune.run.algos import stored_algo
from sparktune.storage.places import storage_at

SPACE = {"x": hp.uniform("x", -5, 5), "k": hp.choice("k", ["a", {"c": hp.uniform("c", 0, 1)}])}


def objective(point):
    """Takes its time, another one each time."""
    time.sleep(random.SystemRandom().random() * 0.01)
    if point["x"] > 4.5:
        raise ValueError("too large")
    return point["x"] ** 2 + (point["k"] != "a")


def run(path, trials=None, algo=tpe.suggest, **options):
    """A study of 25 trials kept in ``path``."""
    fmin(
        objective,
        SPACE,
        trials=trials,
        storage=path,
        algo=algo,
        **{"max_evals": 25, "rstate": 0, "verbose": False, "catch_eval_exceptions": True, **options},
    )


@pytest.mark.parametrize(
    "algo",
    [
        rand.suggest,
        tpe.suggest,
        auto.suggest,
        gp.suggest,
        partial(tpe.suggest, gamma=0.3, n_startup_jobs=4),
        partial(tpe.suggest, hyperopt_rules=True),
        partial(mix.suggest, p_suggest=[(0.5, rand.suggest), (0.5, partial(tpe.suggest, n_startup_jobs=4))]),
    ],
    ids=["rand", "tpe", "auto", "gp", "options", "hyperopt_rules", "mix"],
)
@pytest.mark.parametrize("parallelism", [1, 4])
def test_every_proposal_comes_out_the_same(tmp_path, algo, parallelism):
    """A study, run in parallel and without reproducible, has what is needed to make each proposal again."""
    run(tmp_path / "study", Trials(parallelism=parallelism), algo)
    result = replay(tmp_path / "study")
    assert result.difference is None
    assert (result.n_repeated, result.n_without_record) == (result.n_trials, 0)
    assert result.n_trials >= 25


def test_a_proposal_that_was_changed_is_named(tmp_path):
    """The first trial whose values are not what its proposal gives is reported, with both."""
    run(tmp_path / "study")
    trials = Trials.load(tmp_path / "study")
    document = trials._dynamic_trials[17]
    before = document["misc"]["vals"]["x"][0]
    document["misc"]["vals"]["x"] = [0.125]
    trials.save(tmp_path / "forged")
    result = replay(tmp_path / "forged", algo=tpe.suggest)
    assert result.difference.tid == document["tid"]
    assert result.difference.recorded["x"] == 0.125
    assert result.difference.repeated["x"] == before
    assert f"x: 0.125 -> {before!r}" in str(result)


def test_another_algorithm_comes_out_another_way(tmp_path):
    """Replaying with other options than the study was run with shows the first proposal they change."""
    run(tmp_path / "study")
    assert replay(tmp_path / "study", algo=partial(tpe.suggest, gamma=0.5)).difference is not None


def test_resumed_and_rebuilt_studies(tmp_path):
    """Runs with other algorithms on one study are told apart, and so are points that the user gave."""
    run(tmp_path / "study", points_to_evaluate=[{"x": 1.0, "k": 0}], max_evals=12)
    run(tmp_path / "study", algo=auto.suggest, max_evals=24)
    result = replay(tmp_path / "study")
    assert result.difference is None
    assert result.n_without_record == 1
    assert result.n_repeated == result.n_trials - 1


def test_batches_of_a_study(tmp_path):
    """Points that were asked for together are proposed together again."""
    with Study(SPACE, tpe.suggest, rstate=1, storage=tmp_path / "study") as study:
        for _ in range(6):
            for trial in study.ask(4):
                study.tell(trial, objective({"x": 0.0, "k": "a"}) + trial.params["x"])
    result = replay(tmp_path / "study")
    assert (result.difference, result.n_repeated) == (None, 24)


def test_a_study_that_went_on_in_another_space_is_replayed(tmp_path):
    """Proposals of a later run saw the earlier trials as they are in its space, and do so again."""
    run(tmp_path / "study")
    narrower = SPACE | {"x": hp.uniform("x", -2, 2), "new": hp.uniform("new", 0, 1)}
    fmin(objective, narrower, tpe.suggest, 35, storage=tmp_path / "study", rstate=0, verbose=False)
    result = replay(tmp_path / "study")
    assert (result.difference, result.n_repeated) == (None, 35)


def test_a_copy_is_replayed(tmp_path):
    """What was saved from a loaded study, or from trials that are kept nowhere, says by what they were proposed."""
    run(tmp_path / "study")
    Trials.load(tmp_path / "study").save(tmp_path / "copy")
    trials = Trials()
    run(None, trials)
    trials.save(tmp_path / "other")
    assert [replay(tmp_path / name).n_repeated for name in ("copy", "other")] == [25, 25]


def outside_or_not(tid):
    """The document of a finished trial, of which one in four is outside of the present space."""
    misc = documents.new_misc(tid, {"x": float(tid)}, ["x"])
    if tid % 4 == 3:
        misc["other_space"] = {"is_point": False, "is_outside": True}
    return documents.new_document(tid, None, {"status": STATUS_OK, "loss": float(-tid)}, misc, None) | {
        "state": JOB_STATE_DONE
    }


@pytest.mark.parametrize("is_in_order", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_what_is_brought_forward_is_what_each_proposal_saw(seed, is_in_order):
    """Whatever proposals saw, in order or not, trials that were removed and later ones: documents and columns."""
    rng = random.Random(seed)
    stored = [outside_or_not(tid) for tid in range(40)]
    copies, seen = copy.deepcopy(stored), _Seen(stored)
    n, running = 0, []
    for _ in range(60):
        if is_in_order:
            more = rng.randrange(3)
            running = [tid for tid in [*running, *range(n, n + more)] if rng.random() < 0.7]
            n += more
        else:
            n, running = rng.randrange(45), rng.sample(range(45), rng.randrange(6))
        record = {"n_trials": n, "running": running}
        expected = Trials()
        expected._dynamic_trials.extend(proposals.as_it_was(stored, record))
        expected._set_aside = set_aside(expected._dynamic_trials)
        expected.refresh()
        found = seen.at(record)
        assert found.trials == expected.trials
        for name in ("tids", "running_tids", "n_finished", "best_row"):
            assert getattr(found.history(["x"]), name) == getattr(expected.history(["x"]), name)
        for name in ("values", "losses", "kinds", "standings", "ignored_rows"):
            np.testing.assert_array_equal(
                getattr(found.history(["x"]), name), getattr(expected.history(["x"]), name), err_msg=name
            )
    assert stored == copies


@pytest.mark.parametrize("parallelism", [1, 3])
def test_the_columns_are_read_once(tmp_path, monkeypatch, parallelism):
    """A study is replayed with as many readings of documents as it was run with, about, and not all in each round."""
    path, appended = tmp_path / "study", []
    fmin(
        lambda point: point["x"],
        SPACE,
        rand.suggest,
        120,
        trials=Trials(parallelism=parallelism),
        storage=path,
        rstate=0,
        verbose=False,
    )
    append = History._append
    monkeypatch.setattr(History, "_append", lambda *args: appended.append(args[1]) or append(*args))
    assert replay(path).n_repeated == 120
    # A proposal sees all but the last; the columns are those of no labels at first, and then those of the space.
    assert len(appended) <= 120 + 1


@pytest.mark.parametrize("keys", ["ABAB", "AB", ["A", None, "A"], [["A"], ["B"], ["A"]]])
def test_a_study_with_several_keys_is_replayed(tmp_path, keys):
    """Each proposal saw the trials with the key of its own object, and all if that had none."""
    for key in keys:
        trials = Trials(exp_key=key, storage=tmp_path / "study")
        fmin(
            lambda point: point["x"] ** 2,
            SPACE,
            tpe.suggest,
            len(trials) + 15,
            trials=trials,
            rstate=2,
            verbose=False,
        )
    result = replay(tmp_path / "study")
    assert (result.difference, result.n_repeated) == (None, result.n_trials)
    assert result.n_trials == 15 * len(keys)


@pytest.mark.parametrize("gamma", [np.float32(0.3), np.float16(0.3), np.float64(0.3)])
def test_options_that_are_numbers_of_numpy_come_back(tmp_path, gamma):
    """As they were, not as Python's, which lead elsewhere."""
    algo = partial(tpe.suggest, n_startup_jobs=np.int64(5), gamma=gamma)
    run(tmp_path / "study", algo=algo)
    assert replay(tmp_path / "study").difference is None
    run(tmp_path / "study", algo=algo, max_evals=27)
    runs = Replica(storage_at(tmp_path / "study").read()).runs
    assert len(runs) == 1  # it is the same algorithm
    options = stored_algo(runs[0], "replay").keywords
    assert {name: (type(value), value) for name, value in options.items()} == {
        "gamma": (type(gamma), gamma),
        "n_startup_jobs": (np.int64, 5),
    }


def own_suggest(new_ids, domain, trials, seed):
    """An algorithm that a study can have as a pickle only."""
    return rand.suggest(new_ids, domain, trials, seed)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_an_own_algorithm_in_a_mixture_is_opened_if_it_is_trusted(tmp_path, capsys, is_compacted):
    """By Study.load, replay and the command alike; untrusted it is refused before anything is asked."""
    pairs = [(0.5, own_suggest), (0.5, partial(tpe.suggest, n_startup_jobs=4))]
    path = tmp_path / "study"
    run(path, algo=partial(mix.suggest, p_suggest=pairs), max_evals=10)
    if is_compacted:
        Trials.load(path).save(path := tmp_path / "copy")
    for read in (Study.load, replay):
        with pytest.raises(InvalidArgumentError, match=r"stored as a pickle.*pass trust=True \(--trust.*, algo=\)"):
            read(path)
    assert main(["replay", str(path)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert replay(path, trust=True).difference is None
    assert main(["replay", "--trust", str(path)]) == 0
    assert "10 of 10 proposals were made again: all came out the same" in capsys.readouterr().out
    with Study.load(path, trust=True, rstate=0) as study:
        assert len(study.ask(8)) == 8


def test_a_pickle_that_cannot_be_opened_is_no_algorithm(tmp_path, monkeypatch):
    """As its module is not there: trusted or not, the algorithm has to be given."""
    path = tmp_path / "study"
    run(path, algo=partial(mix.suggest, p_suggest=[(1.0, own_suggest)]), max_evals=3)
    monkeypatch.delattr(sys.modules[__name__], "own_suggest")
    with pytest.raises(InvalidArgumentError, match=r"cannot be opened here: call replay\(\.\.\., algo=\)"):
        replay(path, trust=True)


def test_what_cannot_be_replayed(tmp_path):
    """No study, no space and no algorithm are each an error that says so."""
    with pytest.raises(InvalidStorage, match="has no study"):
        replay(tmp_path / "nothing")
    run(tmp_path / "study", algo=lambda *args: rand.suggest(*args), max_evals=3)
    with pytest.raises(InvalidArgumentError, match=r"algorithm.*call replay\(\.\.\., algo=\)"):
        replay(tmp_path / "study")
    assert replay(tmp_path / "study", algo=rand.suggest).n_repeated == 3


def test_the_space_that_is_given_counts(tmp_path):
    """In place of the stored one: proposals in a wider space are others from the first."""
    run(tmp_path / "study", max_evals=3)
    wider = SPACE | {"x": hp.uniform("x", -6, 6)}
    assert replay(tmp_path / "study", space=SPACE).difference is None
    assert replay(tmp_path / "study", space=wider).difference.tid == 0


def test_a_hostile_study_runs_no_code(tmp_path):
    """Pickles in a study are opened by those alone who say that they trust it."""
    fmin(
        lambda _: {"status": STATUS_OK, "loss": 0.0, "gift": Gift()},
        SPACE,
        rand.suggest,
        3,
        storage=tmp_path / "study",
        verbose=False,
    )
    Gift.n_opened = 0
    assert replay(tmp_path / "study").n_repeated == 3
    assert Gift.n_opened == 0
    replay(tmp_path / "study", trust=True)
    assert Gift.n_opened == 3


def test_a_study_without_trials_is_one(tmp_path):
    """Where a run ended before its first proposal, there is nothing to compare, and no error."""
    Study(SPACE, rand.suggest, storage=tmp_path / "study").close()
    result = replay(tmp_path / "study")
    assert (result.n_trials, str(result)) == (0, "0 of 0 proposals were made again: nothing was compared")


@pytest.mark.parametrize("named", ["os:system", "sparktune.compat:load", "sparktune.__main__:suggest"])
def test_a_study_from_somebody_else_says_not_what_is_imported(tmp_path, named):
    """What is not an algorithm of sparktune's is never loaded because a study names it."""
    run(tmp_path / "study", max_evals=3)
    text = (tmp_path / "study").read_text().replace("sparktune.tpe:suggest", named)
    lines = [json.loads(line) for line in text.splitlines()]
    from sparktune.storage.lines import to_line

    data = b"".join(to_line({key: value for key, value in line.items() if key != "crc"}) for line in lines)
    (tmp_path / "study").write_bytes(data)
    with pytest.raises(InvalidArgumentError, match=f"only algorithms of sparktune.*{named}"):
        replay(tmp_path / "study")


def test_the_command(tmp_path, capsys):
    """``sparktune show`` and ``sparktune replay`` say what is in a study; their exit codes say whether it is well."""
    path = str(tmp_path / "study")
    run(path)
    assert main(["show", path]) == 0
    shown = capsys.readouterr().out
    assert "25 trials: 25 done" in shown or "done" in shown
    assert f"best loss: {Trials.load(path).best_loss}" in shown
    assert main(["replay", path]) == 0
    assert "all came out the same" in capsys.readouterr().out
    assert main(["replay", str(tmp_path / "none")]) == 2
    assert "has no study" in capsys.readouterr().err


def test_the_module_is_the_command():
    """``python -m sparktune`` is the same command."""
    command = [sys.executable, "-m", "sparktune", "--version"]
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "0.1.0"


def test_proposals_without_a_record_are_not_said_to_be_the_same(tmp_path, capsys):
    """Of an algorithm of one's own nothing is made again, and the command says no more than that."""

    def suggest(new_ids, domain, trials, seed):
        made = rand.suggest(new_ids, domain, trials, seed)
        for document in made:
            del document["misc"]["search"]
        return made

    fmin(abs, hp.uniform("x", 0, 1), algo=suggest, max_evals=3, storage=tmp_path / "study", verbose=False)
    assert main(["replay", str(tmp_path / "study")]) == 0
    shown = capsys.readouterr().out
    assert shown == "0 of 3 proposals were made again, 3 have no record of what they saw: nothing was compared\n"
