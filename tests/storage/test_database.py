"""A study in a database: what every storage does, the tables that people query, and what cannot be used."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import sqlalchemy as sa

from sparktune import STATUS_OK, Domain, Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, InvalidStorage, MissingPackageError
from sparktune.exchange.warm_start import borrow
from sparktune.history import documents, events
from sparktune.history.events import Replica
from sparktune.history.trial import Failure, Outcome
from sparktune.storage.database import Database
from sparktune.storage.encoding import Pickled, encode
from sparktune.storage.places import storage_at

SPACE = {"x": hp.uniform("x", -1, 1), "kind": hp.choice("kind", ["a", {"b": hp.randint("n", 5)}])}


@pytest.fixture
def database(url):
    """An open study."""
    with contextlib.closing(Database(url)) as storage:
        storage.open()
        yield storage


def rows_of(url, statement, **values):
    """What a query says, asked by somebody who knows nothing of sparktune."""
    engine = sa.create_engine(url.partition("?")[0])
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        rows = result.all() if result.returns_rows else []
    engine.dispose()
    return rows


def new_document(tid, x=0.5):
    return documents.new_document(tid, None, documents.new_result(), documents.new_misc(tid, {"x": x}, ["x"]), None)


def course(tid, loss=1.0, x=0.5):
    """The events of one trial, from its proposal to its end."""
    document = new_document(tid, x)
    course = [encode(events.new_event(document))]
    documents.start(document)
    course.append(encode(events.start_event(document)))
    documents.finish(document, Outcome(result={"loss": loss, "status": STATUS_OK}))
    return [*course, encode(events.end_event(document, {}))]


def square(params):
    return params["x"] ** 2


def minimise(url, n, **options):
    options = {"algo": rand.suggest, "rstate": 0, "verbose": False, **options}
    return fmin(square, SPACE, max_evals=n, storage=url, **options)


# -- what every storage does -------------------------------------------------------------------------------------------


def test_a_study_that_nobody_has_written_is_empty_and_looking_makes_nothing(url, tmp_path):
    """Reading where there is no study yet gives no events, and leaves neither file nor table."""
    assert Database(url).read() == []
    assert Database(url).revision == Database(url).revision
    assert list(tmp_path.iterdir()) == []
    if "postgresql" in url:
        assert rows_of(url, "select tablename from pg_tables where schemaname = 'public'") == []


def test_events_are_read_as_they_were_written(database, url):
    """What was appended is read again, in its order, by any other object."""
    written = [*course(0), *course(1)]
    database.append(written[:2])
    database.append(written[2:], sync=False)
    assert [encode(event) for event in Database(url).read()] == written


def test_the_revision_changes_when_somebody_writes_and_only_then(database, url):
    """Whether there is news can be told from the revision."""
    reader = Database(url)
    before = reader.revision
    assert reader.revision == before
    database.append(course(0))
    assert reader.revision != before


def test_a_storage_that_is_not_open_takes_nothing(url):
    """Writing before open, or after close, is an error that says so."""
    storage = Database(url)
    storage.open()
    storage.close()
    with pytest.raises(InvalidStorage, match="open it first"):
        storage.append(course(0))


def test_replacing_puts_new_events_in_place_of_all(database, url):
    """After a replacement, the study is what the new events say, and goes on from there."""
    database.append([*course(0), *course(1)])
    database.replace(course(7, loss=0.1))
    database.append(course(8, loss=0.2))
    replica = Replica(Database(url).read())
    assert [(tid, document["result"]["loss"]) for tid, document in replica.documents.items()] == [(7, 0.1), (8, 0.2)]
    assert rows_of(url, "select number from trials order by number") == [(7,), (8,)]


def test_writing_the_same_twice_does_nothing(database, url):
    """An append whose answer was lost can be repeated: the events are there once."""
    for _ in range(2):
        database.append(course(0))
        database.append(course(1)[:2])
    assert len(Database(url).read()) == 5


def test_of_two_results_for_one_trial_the_first_counts(database, url):
    """A driver that was taken for dead, and comes back with a result, does not change the one that is there."""
    database.append(course(0, loss=1.0))
    database.append(course(0, loss=2.0)[2:])
    assert rows_of(url, "select loss from trials") == [(1.0,)]
    assert [event["result"]["loss"] for event in Database(url).read() if event["event"] == "end"] == [1.0]


def test_a_trial_with_an_id_that_another_one_has_is_refused(database):
    """Two trials of one id, with different parameters, are an error and do not mix."""
    database.append(course(0))
    with pytest.raises(InvalidStorage, match="new_trial_ids"):
        database.append(course(0, x=0.25))


@pytest.mark.parametrize("tid", ["a", -1, True, 2**63])
def test_ids_of_trials_are_whole_numbers(database, tid):
    """Other ids cannot be numbers in a table, which the error says."""
    with pytest.raises(InvalidStorage, match="whole numbers from 0"):
        database.append(course(tid))


def test_a_large_batch_is_written_whole(database, url):
    """More trials than a statement takes parameters go into the database at once."""
    many = [event for tid in range(1200) for event in course(tid)]
    database.append(many)
    assert len(Database(url).read()) == 3600
    assert rows_of(url, "select count(*) from trials where state = 'done'") == [(1200,)]


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_ids_and_sequence_numbers_have_neither_gaps_nor_doubles_under_concurrency(url):
    """Four writers at once: each event has a number of its own, from 1 on, and each trial an id."""
    n_trials = 15

    def write(storage):
        for _ in range(n_trials):
            (tid,) = storage.new_ids(1)
            storage.append(course(tid)[:2], sync=False)
            storage.append(course(tid)[2:], sync=False)

    writers = [Database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.open, writers))  # the tables, too, are made by four at once
        assert sorted(writer.slot for writer in writers) == [0, 1, 2, 3]
        list(pool.map(write, writers))
    for writer in writers:
        writer.close()
    sequences = [row.sequence for row in rows_of(url, "select sequence from events order by sequence")]
    assert sequences == list(range(1, 4 * 3 * n_trials + 1))
    numbers = [row.number for row in rows_of(url, "select number from trials order by number")]
    assert numbers == list(range(4 * n_trials))


def test_ids_go_on_behind_those_that_users_gave(database):
    """An id is never one that an inserted trial has."""
    database.append(course(41))
    assert database.new_ids(2) == [42, 43]


def test_a_trial_takes_as_many_statements_late_as_early(database):
    """What is sent to the database for a trial does not grow with the study, and no statement looks at all rows."""
    statements = []
    sa.event.listen(database._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))

    def statements_of_a_trial():
        statements.clear()
        (tid,) = database.new_ids(1)
        for events_of_a_step in (course(tid)[:2], course(tid)[2:]):
            database.append(events_of_a_step)
            database.news()
        return list(statements)

    statements_of_a_trial()
    early = statements_of_a_trial()
    database.append([event for tid in range(100, 1100) for event in course(tid)])
    assert statements_of_a_trial() == early
    assert all("WHERE" in text for text in early if text.startswith(("SELECT", "UPDATE")))


# -- the tables that people query --------------------------------------------------------------------------------------


def test_the_trials_table_has_a_row_for_each_trial_kept_current(url):
    """State, loss, parameters, times and error of each trial are in columns, ordered by whoever asks."""
    with Study(SPACE, algo=rand.suggest, rstate=0, storage=url) as study:
        good, bad, late = study.ask(3)
        study.tell(good, 0.25)
        study.tell(bad, ZeroDivisionError("by\0zero"))
        rows = rows_of(url, "select * from trials order by number")
    assert [row.state for row in rows] == ["done", "error", "running"]
    assert [row.loss for row in rows] == [0.25, None, None]
    params = rows[0].params if isinstance(rows[0].params, dict) else json.loads(rows[0].params)
    assert params == documents.raw_values(good.document)
    assert "ZeroDivisionError" in rows[1].error
    assert rows[0].started is not None and rows[0].ended is not None and rows[2].ended is None
    assert json.loads(rows[2].document)["tid"] == late.tid


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_losses_that_are_no_numbers_are_kept(url, loss):
    """A NaN or infinite loss is the same after it was stored; in the table NaN is none."""
    with Study(SPACE, algo=rand.suggest, storage=url) as study:
        study.tell(study.ask(), loss)
    np.testing.assert_equal(Trials.load(url).losses(), [loss])
    assert rows_of(url, "select loss from trials") == [(None if np.isnan(loss) else loss,)]


def test_two_studies_in_one_database_know_nothing_of_each_other(url):
    """``?study=`` names the study; each has ids and events of its own."""
    minimise(url, 3)
    minimise(f"{url}?study=other", 2)
    assert Trials.load(url).tids == [0, 1, 2]
    assert Trials.load(f"{url}?study=other").tids == [0, 1]
    assert rows_of(url, "select name from studies order by name") == [("default",), ("other",)]


# -- users -------------------------------------------------------------------------------------------------------------


def test_fmin_goes_on_where_it_was(url):
    """The same call with a larger total evaluates what is missing, and proposes the points that one run would have."""
    minimise(url, 4)
    minimise(url, 9)
    whole = Trials()
    fmin(square, SPACE, algo=rand.suggest, max_evals=9, rstate=0, trials=whole, verbose=False)
    resumed = Trials.load(url)
    assert resumed.vals == whole.vals
    assert resumed.losses() == whole.losses()


def test_one_trials_object_runs_twice_on_its_storage(url):
    """After a first fmin the same object goes on, with what others have added meanwhile."""
    trials = Trials(storage=url)
    fmin(square, SPACE, algo=rand.suggest, max_evals=3, rstate=0, trials=trials, verbose=False)
    minimise(url, 5, rstate=1)
    fmin(square, SPACE, algo=rand.suggest, max_evals=6, rstate=0, trials=trials, verbose=False)
    assert trials.tids == list(range(6))
    assert Trials.load(url).losses() == trials.losses()


def test_trials_of_another_key_use_up_nothing_of_max_evals(url):
    """Of two drivers with an ``exp_key`` each, one runs while the other does: both make as many as were asked for."""

    def with_another(params):
        if not other.tids:
            fmin(square, SPACE, algo=rand.suggest, max_evals=4, rstate=0, trials=other, verbose=False)
        return square(params)

    mine, other = Trials(exp_key="mine", storage=url), Trials(exp_key="other", storage=url)
    fmin(with_another, SPACE, algo=rand.suggest, max_evals=5, rstate=1, trials=mine, verbose=False)
    assert (len(mine), len(other), len(Trials.load(url))) == (5, 4, 9)


def test_saved_trials_are_loaded_with_attachments(url):
    """``save`` writes a study that was made without a storage, and ``load`` gives it back."""
    trials = Trials()

    def objective(params):
        return {"status": STATUS_OK, "loss": square(params), "attachments": {"blob": b"\0\1"}, "tags": ("a", 1)}

    fmin(objective, SPACE, algo=rand.suggest, max_evals=3, rstate=0, trials=trials, verbose=False)
    trials.save(url)
    loaded = Trials.load(url)
    assert loaded.results == trials.results
    assert dict(loaded.trial_attachments(loaded.trials[1]).items()) == {"blob": b"\0\1"}


def write_to(path):
    open(path, "w").close()


class Touch:
    """Its pickle writes a file when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return write_to, (self.path,)


def test_reading_without_trust_runs_no_pickle(url, tmp_path):
    """A pickle in a study from elsewhere stays closed until it is asked for."""
    with Study(SPACE, algo=rand.suggest, storage=url) as study:
        study.tell(study.ask(), {"status": STATUS_OK, "loss": 1.0, "model": Touch(tmp_path / "ran")})
    (result,) = Trials.load(url).results
    assert isinstance(result["model"], Pickled)
    assert not (tmp_path / "ran").exists()
    Trials.load(url, trust=True)
    assert (tmp_path / "ran").exists()


def test_loading_where_no_study_is_says_so(url):
    """A study that is not in the database is an error that names it."""
    minimise(url, 1)
    with pytest.raises(InvalidStorage, match="'lost'"):
        Trials.load(f"{url}?study=lost")


# -- two drivers in one process ----------------------------------------------------------------------------------------


def test_a_proposal_sees_the_results_of_other_drivers(url):
    """What one driver was told, the other's algorithm has before it proposes, and never asks for the same id."""
    seen = []

    def spy(new_ids, domain, trials, seed):
        seen.append({document["tid"]: document["result"].get("loss") for document in trials.trials})
        return rand.suggest(new_ids, domain, trials, seed)

    with Study(SPACE, spy, rstate=0, storage=url) as one, Study(SPACE, spy, rstate=0, storage=url) as two:
        first = one.ask()
        one.tell(first, 0.5)
        second, third = two.ask(), one.ask()
        two.tell(second, 0.25)
        fourth = one.ask()
    assert [trial.tid for trial in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert seen == [{}, {0: 0.5}, {0: 0.5, 1: None}, {0: 0.5, 1: 0.25, 2: None}]


def test_drivers_that_begin_at_once_learn_from_earlier_trials_once(url):
    """Each brings the same ones: they say something once, and use up nothing of max_evals."""
    earlier, space, fn = Trials(), hp.uniform("x", 0, 1), float
    fmin(fn, space, algo=rand.suggest, max_evals=8, trials=earlier, verbose=False, rstate=0)
    first, second = Trials(storage=url), Study(space, rand.suggest, storage=url)

    class Late:
        """The other driver has its warm start when this one has begun."""

        def on_trial_start(self, trials, trial):
            if not any("warm_start" in document["misc"] for document in second.trials._dynamic_trials):
                borrow(second.trials, earlier, Domain(fn, space))
                second.trials._keeper.flush()

    options = {"max_evals": 6, "warm_start": earlier, "callbacks": [Late()], "rstate": 1, "verbose": False}
    fmin(fn, space, algo=rand.suggest, trials=first, **options)
    second.close()
    for trials in (first, Trials.load(url)):
        n_borrowed = sum("warm_start" in document["misc"] for document in trials.trials)
        assert (n_borrowed, len(trials.trials) - n_borrowed) == (16, 6)
        assert trials.n_finished == 8 + 6


def test_drivers_with_the_same_seed_propose_different_points(url):
    """The same program started twice at once does not do the same work twice."""
    with (
        Study(SPACE, rand.suggest, rstate=0, storage=url) as one,
        Study(SPACE, rand.suggest, rstate=0, storage=url) as two,
    ):
        points = [study.ask().named["x"] for study in (one, two, one, two)]
    assert len(set(points)) == 4


def test_a_trial_that_another_driver_has_waiting_is_left_to_it(url):
    """New trials of a living driver count as running elsewhere; those of one that has ended are there for all."""
    with Study(SPACE, rand.suggest, storage=url) as two:
        one = Study(SPACE, rand.suggest, storage=url)
        one.enqueue({"x": 0.125, "kind": 0})
        assert two.ask().tid == 1
        one.close()
        two.trials._keeper.storage._beat()  # what the heartbeat does
        waiting = two.ask()
        assert (waiting.tid, waiting.named["x"]) == (0, 0.125)
        two.tell(waiting, 1.0)
    assert "again" not in [event["event"] for event in Database(url).read()]


@pytest.mark.parametrize("silence, is_dead", [(59.0, False), (61.0, True)])
def test_a_driver_on_another_machine_is_dead_after_sixty_seconds_of_silence(url, silence, is_dead):
    """Without a sign of life for six heartbeats a driver's trials are adopted, and not before."""
    one = Study(SPACE, rand.suggest, storage=url)
    with Study(SPACE, rand.suggest, storage=url) as two:
        asked = one.ask()
        one.trials._keeper.storage._presence.stop()
        rows_of(url, "update writers set machine = 'elsewhere', seen = seen - :s where slot = 0", s=silence)
        two.trials._keeper.storage._beat()
        adopted = two.ask()
        assert (adopted.tid == asked.tid) == is_dead
    one.close()


def test_a_trial_whose_drivers_died_twice_has_failed(url):
    """A trial that kills its driver is evaluated again once, and then counts as failed."""
    for _ in range(2):
        study = Study(SPACE, rand.suggest, storage=url)
        assert study.ask().tid == 0
        study.trials._end()  # with the trial open, as a crash leaves it
    with Study(SPACE, rand.suggest, storage=url) as study:
        assert study.ask().tid == 1
        (failed,) = [d for d in study.trials._dynamic_trials if d["tid"] == 0]
    assert documents.STATE_NAMES[failed["state"]] == "error"
    assert rows_of(url, "select state from trials where number = 0") == [("error",)]


def test_a_trial_that_was_left_open_is_told_by_another_driver(url):
    """A study that is closed in order leaves what was asked open, for a result that comes in elsewhere."""
    with Study(SPACE, rand.suggest, storage=url) as study:
        study.ask()
    with Study(SPACE, rand.suggest, storage=url) as study:
        assert [trial.tid for trial in study.open_trials] == [0]
        assert study.ask().tid == 1
        study.tell(0, 0.5)
    assert rows_of(url, "select state, loss from trials where number = 0") == [("done", 0.5)]


def test_a_study_on_read_only_media_can_be_loaded(tmp_path, passable):
    """Where SQLite may write nothing beside the file, the file is read as it is."""
    url = f"sqlite:///{tmp_path}/study.db"
    with Study(SPACE, rand.suggest, storage=url) as study:
        study.tell(study.ask(), 0.5)
    code = (
        "import os, sparktune.storage.database\nstorage = sparktune.storage.database.Database(sys.argv[1])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(len(storage.read()))"
    )
    tmp_path.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}", url], capture_output=True, text=True)
    assert done.stdout == f"{len(Database(url).read())}\n", done.stderr


def test_a_study_that_others_work_on_is_not_replaced(url):
    """save into a study that a driver is writing is refused."""
    with Study(SPACE, rand.suggest, storage=url) as study:
        study.ask()
        with pytest.raises(InvalidStorage, match="other drivers"):
            Trials().save(url)


def test_the_heartbeat_ends_with_the_storage(url):
    """Closing a study ends its thread."""
    study = Study(SPACE, rand.suggest, storage=url)
    thread = study.trials._keeper.storage._presence._thread
    assert thread.is_alive()
    study.close()
    assert not thread.is_alive()


# -- what cannot be used -----------------------------------------------------------------------------------------------


def test_a_study_of_a_newer_version_is_refused(url):
    """A format that this version does not know is neither read nor written."""
    minimise(url, 1)
    rows_of(url, "update studies set format = 99, sparktune = '9.0'")
    with pytest.raises(InvalidStorage, match="upgrade sparktune"):
        Trials.load(url)
    with pytest.raises(InvalidStorage, match="format 99"):
        Database(url).open()


def test_tables_of_somebody_else_are_left_alone(url):
    """A database in which ``trials`` is another program's table is refused before anything is made."""
    rows_of(url, "create table trials (trial_id integer)")
    with pytest.raises(InvalidStorage, match="'trials' that is not sparktune's"):
        minimise(url, 1)
    assert rows_of(url, "select * from trials") == []


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    """A foreign file is an error, and stays as it was."""
    path = tmp_path / "study.db"
    path.write_text("x = 1\n" * 1000)
    with pytest.raises(InvalidStorage, match="not a database"):
        minimise(f"sqlite:///{path}", 1)
    assert path.read_text() == "x = 1\n" * 1000


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "mysql://h/db",
        "sqlite:///a?study=b&study=c",
        "sqlite",
        "sqlite:///a\0.db",
        "sqlite:///a\udce9.db",
        "sqlite:///a.db?study=%00",
        "postgresql://h/db?study=\udce9",
    ],
)
def test_urls_that_keep_nothing_are_refused(url):
    """A database in memory, one that we do not know, two names for a study, and names that are no text, are errors."""
    with pytest.raises(InvalidStorage):
        Database(url)


def test_what_a_url_of_sqlite_may_say_is_named():
    """A misspelt study in the URL is an error that has the right spelling, and says nothing of files."""
    for url in ("sqlite:///two.db?name=x", "sqlite:///two.db?study=x&name=y"):
        with pytest.raises(InvalidStorage, match=r"study=.*got 'name' in .*: write sqlite:///two\.db\?study=name$"):
            Database(url)


def test_a_server_that_is_not_there_is_an_error_before_any_trial():
    """No connection at the start: nothing is evaluated."""
    with pytest.raises(InvalidStorage, match="cannot be used"):
        minimise("postgresql+psycopg://nobody@127.0.0.1:1/none", 1)


def test_a_folder_that_is_not_there_is_an_error_before_any_trial(tmp_path):
    """SQLite makes no folders."""
    with pytest.raises(InvalidStorage, match="the folder exists"):
        minimise(f"sqlite:///{tmp_path}/none/study.db", 1)


def test_a_driver_that_is_not_installed_is_named():
    """A URL whose driver is missing says what to install."""
    with pytest.raises(MissingPackageError, match="psycopg"):
        Database("postgresql+nosuchdriver://host/db")
    with pytest.raises(MissingPackageError, match="write sqlite:///"):
        Database("sqlite+nosuchdriver:///study.db")


def test_without_sqlalchemy_the_error_names_the_extra():
    """A database's URL without SQLAlchemy is an error with the line to type, and import sparktune needs none."""
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from sparktune import Trials; Trials(storage='sqlite:///a.db')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert "MissingPackageError" in done.stderr
    assert "pip install 'sparktune[sql]'" in done.stderr


def test_the_name_of_a_storage_hides_the_password():
    """What is logged and shown of a URL has no password in it."""
    storage = storage_at("postgresql+psycopg://me:secret@host/db?study=s")
    assert "secret" not in str(storage)
    assert "'s'" in str(storage)


@pytest.mark.parametrize("heartbeat", [0, -1.0, float("nan")])
def test_a_heartbeat_is_above_zero(heartbeat):
    """An interval that is none is refused."""
    with pytest.raises(InvalidArgumentError, match="above 0"):
        Database("sqlite:///study.db", heartbeat=heartbeat)


# -- while the study goes on -------------------------------------------------------------------------------------------


def test_a_removed_file_is_written_anew(tmp_path, caplog):
    """SQLite's file is removed in mid-run: the whole study is in a new one in the end."""
    path = tmp_path / "study.db"

    def remove_at_three(params):
        n_called[0] += 1
        if n_called[0] == 3:
            for file in tmp_path.iterdir():
                file.unlink()
        return square(params)

    n_called = [0]
    fmin(remove_at_three, SPACE, algo=rand.suggest, max_evals=5, rstate=0, storage=f"sqlite:///{path}", verbose=False)
    loaded = Trials.load(f"sqlite:///{path}")
    assert loaded.tids == [0, 1, 2, 3, 4]
    assert None not in loaded.losses()


def test_a_file_that_somebody_has_put_in_place_of_ours_is_left_to_them(tmp_path):
    """SQLite's file is another study's in mid-run: nothing goes into it, nor into the one that was removed."""
    url = f"sqlite:///{tmp_path}/study.db"
    study = Study(SPACE, rand.suggest, storage=url)
    trial = study.ask()
    for file in tmp_path.iterdir():
        file.unlink()
    minimise(url, 2)
    with pytest.raises(InvalidStorage, match="made anew by somebody else"):
        study.tell(trial, 0.5)
    assert len(Trials.load(url)) == 2
    study.trials._keeper.storage.close()


def test_rows_that_a_deleted_study_has_left_are_no_part_of_the_next(url):
    """A study that somebody deleted from one table only begins anew, with ids from 0."""
    minimise(url, 3)
    rows_of(url, "delete from studies")
    minimise(url, 2)
    assert Trials.load(url).tids == [0, 1]


def test_results_wait_in_memory_while_another_program_holds_the_file(tmp_path, monkeypatch, caplog):
    """A file that is locked for longer than we wait: results are written when it is free, with a warning."""
    monkeypatch.setattr("sparktune.storage.engine.PATIENCE", 0.05)
    url = f"sqlite:///{tmp_path}/study.db"
    blocker = sa.create_engine(url)
    sa.event.listen(blocker, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    with Study(SPACE, rand.suggest, storage=url) as study:
        one, two = study.ask(2)
        with blocker.connect() as connection:
            connection.exec_driver_sql("begin immediate")
            study.tell(one, 1.0)
            assert rows_of(url, "select loss from trials order by number") == [(None,), (None,)]
            connection.exec_driver_sql("rollback")
        study.tell(two, 2.0)
    blocker.dispose()
    assert rows_of(url, "select loss from trials order by number") == [(1.0,), (2.0,)]
    assert "results are kept in memory" in caplog.text


def test_a_run_goes_on_while_another_program_holds_the_file(tmp_path, monkeypatch):
    """Nothing new is proposed, as nobody gives ids; what runs is recorded when it ends, and the timeout is kept."""
    monkeypatch.setattr("sparktune.storage.engine.PATIENCE", 0.05)
    url = f"sqlite:///{tmp_path}/study.db"
    blocker = sa.create_engine(url)
    sa.event.listen(blocker, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    is_held, may_end = threading.Event(), threading.Event()

    def hold():
        with blocker.connect() as connection:
            connection.exec_driver_sql("begin immediate")
            is_held.set()
            may_end.wait(120)
            connection.exec_driver_sql("rollback")

    holder = threading.Thread(target=hold)

    class Holder:
        def on_trial_start(self, trials, trial):
            if trial["tid"] == 1:
                holder.start()

        def on_trial_end(self, trials, trial):
            if trial["tid"] == 0:
                first_is_recorded.set()

    first_is_recorded = threading.Event()

    def objective(params):
        assert is_held.wait(60)
        if params["x"] == 0.0:
            assert first_is_recorded.wait(60)
        return params["x"]

    trials = Trials(parallelism=2, storage=url)
    run = partial(fmin, objective, {"x": hp.uniform("x", 0, 1)}, rand.suggest, trials=trials, rstate=0, verbose=False)
    try:
        points = [{"x": 1.0}, {"x": 0.0}]
        run(max_evals=50, points_to_evaluate=points, timeout=6, callbacks=[Holder()])
        assert trials.losses() == [1.0, 0.0]
    finally:
        may_end.set()
        if holder.ident is not None:
            holder.join()
    blocker.dispose()
    run(max_evals=3)
    assert Trials.load(url).losses()[:2] == [1.0, 0.0]


def test_failure_is_stored_with_its_text(database, url):
    """A failed trial's error is in its row."""
    document = new_document(0)
    database.append([encode(events.new_event(document))])
    documents.start(document)
    database.append([encode(events.start_event(document))])
    documents.finish(document, Outcome(failure=Failure("<class 'ValueError'>", "no")))
    database.append([encode(events.end_event(document, {}))])
    assert rows_of(url, "select state, error from trials") == [("error", "<class 'ValueError'>: no")]


def test_a_failure_with_the_name_of_an_odd_file_is_stored(url, caplog):
    """Names that are not UTF-8 have halves of characters in Python, which databases do not take as text."""

    def fail(_):
        raise FileNotFoundError("no caf\udce9\0")

    options = {"catch_eval_exceptions": True, "return_argmin": False, "rstate": 0, "verbose": False}
    fmin(fail, SPACE, rand.suggest, 2, storage=url, **options)
    trials = Trials.load(url)
    assert [trial["misc"]["error"][1] for trial in trials._dynamic_trials] == ["no caf\udce9\0"] * 2
    assert rows_of(url, "select error from trials") == [("<class 'FileNotFoundError'>: no caf\\udce9",)] * 2
    assert "no caf\\udce9" in caplog.text  # a stream would not take the half either


@pytest.mark.parametrize("body", ['{"event": "new", "tri', "é", ""])
def test_a_damaged_event_is_named(url, body):
    """An event that is no JSON is an error of ours, for who reads the study and for who is at work on it."""
    with contextlib.closing(Database(url)) as working, contextlib.closing(Database(url)) as other:
        working.open()
        other.open()
        other.append(course(0))
        rows_of(url, "update events set body = :body where sequence = 2", body=body)
        with pytest.raises(InvalidStorage, match=r"damaged.*restore"):
            working.news()
    with pytest.raises(InvalidStorage, match=r"damaged.*restore"):
        Trials.load(url)


def test_a_schema_that_is_no_text_is_named(tmp_path):
    """What SQLite says of its file may itself be damaged."""
    path = tmp_path / "study.db"
    minimise(f"sqlite:///{path}", 2)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE events", b"CREATE TABL\xcb \xff\xfeents"))
    assert path.read_bytes() != data
    with pytest.raises(InvalidStorage, match="damaged"):
        Trials.load(f"sqlite:///{path}")


def test_a_storage_can_be_used_from_several_threads(url):
    """A study is asked and told from threads, while its heartbeat writes, too."""
    with Study(SPACE, rand.suggest, storage=Database(url, heartbeat=0.01)) as study:
        barrier = threading.Barrier(4)

        def work(_):
            barrier.wait(60)
            for _ in range(5):
                trial = study.ask()
                study.tell(trial, 1.0)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    assert len(Trials.load(url)) == 20
