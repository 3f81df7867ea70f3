"""A study in a database that somebody has removed while no driver worked on it, and one that nobody has asked yet."""

import contextlib

import pytest
import sqlalchemy as sa

from sparktune import Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidStorage
from sparktune.replay import replay
from sparktune.storage.database import Database

SPACE = {"x": hp.uniform("x", -1, 1)}


def minimise(n, **options):
    fmin(lambda p: p["x"] ** 2, SPACE, rand.suggest, n, rstate=0, verbose=False, **options)


@pytest.fixture
def remove(url, tmp_path):
    """Removes the study: the file where it is one, else its row, as its rows elsewhere may be forgotten."""

    def remove():
        if url.startswith("sqlite"):
            for file in tmp_path.iterdir():
                file.unlink()
            return
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("delete from studies"))
        engine.dispose()

    return remove


def test_a_study_removed_between_runs_is_written_anew(url, remove):
    """Documents and attachments of the object are all there again, and the next run of it goes on as ever."""
    trials = Trials(storage=url)
    objective = {"status": "ok", "loss": 1.0, "attachments": {"a": b"a"}}
    for n in (4, 6):
        fmin(lambda _: objective, SPACE, rand.suggest, n, trials=trials, rstate=0, verbose=False)
        if n == 4:
            remove()
    minimise(8, trials=trials)
    loaded = Trials.load(url)
    assert loaded.tids == list(range(8))
    assert loaded._dynamic_trials == trials._dynamic_trials
    assert loaded.attachments == trials.attachments
    assert loaded.best_params == trials.best_params


def test_what_is_written_anew_has_all_runs(url, remove):
    """Trials of the first run are outside of the space of the second: whoever takes up the study finds theirs."""
    trials = Trials(storage=url)
    minimise(8, trials=trials)
    narrow = {"x": hp.uniform("x", -0.2, 0.2)}
    fmin(lambda p: p["x"] ** 2, narrow, rand.suggest, 12, trials=trials, rstate=0, verbose=False)
    remove()
    minimise(14, trials=trials)
    assert replay(url).n_repeated == 14
    loaded = Trials.load(url)
    assert loaded._dynamic_trials == trials._dynamic_trials
    assert all(len(document["misc"]["vals"]["x"]) == 1 for document in loaded._dynamic_trials)


def test_a_study_that_was_read_and_then_removed_is_written_anew(url, remove):
    """Also if the object has not written it itself."""
    minimise(3, storage=url)
    trials = Trials(storage=url)
    remove()
    minimise(5, trials=trials)
    assert Trials.load(url)._dynamic_trials == trials._dynamic_trials


def test_a_study_removed_and_made_anew_by_another_driver_is_left_to_it(url, remove):
    """However often the first one tries: its trials do not get among those of the other."""
    trials = Trials(storage=url)
    minimise(4, trials=trials)
    remove()
    minimise(2, storage=url)
    for _ in range(2):
        with pytest.raises(InvalidStorage, match="made anew by somebody else"):
            minimise(8, trials=trials)
    assert len(Trials.load(url)) == 2


def test_what_others_do_in_a_study_that_was_written_anew_is_seen(url, remove):
    """Its events are counted from the first, however many the removed one had."""
    trials = Trials(storage=url)
    minimise(10, trials=trials)
    remove()
    with contextlib.closing(Study(SPACE, rand.suggest, trials)) as study:
        minimise(12, storage=url)
        study.ask()
        assert [document["tid"] for document in trials._dynamic_trials] == [*range(13)]


def test_a_driver_that_could_not_go_on_after_it_had_made_the_study_may_try_again(url, remove, monkeypatch):
    """That it was removed is remembered until the study has been written."""
    trials = Trials(storage=url)
    minimise(3, trials=trials)
    remove()
    with monkeypatch.context() as patch:
        patch.setattr(Database, "_locked", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(InvalidStorage, match="Input/output error"):
            minimise(4, trials=trials)
    minimise(4, trials=trials)
    assert Trials.load(url)._dynamic_trials == trials._dynamic_trials


def test_a_new_study_is_found_before_it_is_asked_anything(url):
    """Workers on other machines may load it as soon as it has been made, and be asked for its first trial."""
    with contextlib.closing(Study(SPACE, rand.suggest, storage=url)) as study:
        with contextlib.closing(Study.load(url)) as worker:
            worker.tell(worker.ask(), 0.5)
        assert study.ask().tid == 1
