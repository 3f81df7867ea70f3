"""What is left out on purpose can be imported, and says what to use when it is used."""

import pytest

from sparktune import Trials, ipy, main, mongoexp
from sparktune.compat.replaced import ReplacedError

CALLS = [
    (mongoexp, "MongoTrials", ("mongo://localhost:1234/db/jobs",), "SparkTrials"),
    (mongoexp, "MongoJobs", (), 'backend="processes"'),
    (mongoexp, "MongoWorker", (None,), "SparkTrials"),
    (mongoexp, "MongoCtrl", (None, None, None), "hyperopt.Ctrl"),
    (mongoexp, "main_worker", (), "no process of yours has to be started"),
    (mongoexp, "main_worker_helper", (None, None), "SparkTrials"),
    (mongoexp, "main", (), "SparkTrials"),
    (mongoexp, "parse_url", ("mongo://x",), "SparkTrials"),
    (mongoexp, "connection_from_string", ("mongo://x",), "SparkTrials"),
    (mongoexp, "connection_with_tunnel", ("mongo",), "SparkTrials"),
    (mongoexp, "exec_import", ("os", "path"), "importlib.import_module"),
    (mongoexp, "read_pw", (), "SparkTrials"),
    (mongoexp, "number_of_jobs_in_db", (None,), "count_by_state_synced"),
    (ipy, "IPythonTrials", (None,), 'backend="processes"'),
    (ipy, "IPYAsync", (), "SparkTrials"),
    (ipy, "call_domain", (None, None), "Domain.evaluate"),
    (main, "main", (), "calls fmin"),
    (main, "main_search", (), "trials_save_file="),
    (main, "main_show", (), "hyperopt.plotting"),
]


@pytest.mark.parametrize(
    ("module", "name", "arguments", "instead"), CALLS, ids=[f"{module.__name__}.{name}" for module, name, *_ in CALLS]
)
def test_using_it_says_what_to_use_instead(module, name, arguments, instead):
    """The error names the alternative, and is a NotImplementedError."""
    with pytest.raises(ReplacedError, match="not part of sparktune, on purpose: use") as caught:
        getattr(module, name)(*arguments)
    assert instead in str(caught.value)
    assert isinstance(caught.value, NotImplementedError)


def test_every_name_is_accounted_for():
    """What can be called is refused, an exception, or works."""
    works = {"as_mongo_str"}
    for module in (mongoexp, ipy, main):
        refused = {name for used, name, *_ in CALLS if used is module}
        errors = {
            n
            for n in module.__all__
            if isinstance(getattr(module, n), type) and issubclass(getattr(module, n), Exception)
        }
        assert set(module.__all__) <= refused | errors | works


def test_trials_can_be_asked_whether_they_are_mongos():
    """isinstance works, as programs use it to choose a way."""
    assert issubclass(mongoexp.MongoTrials, Trials)
    assert not isinstance(Trials(), (mongoexp.MongoTrials, ipy.IPythonTrials))


def test_jobs_from_a_connection_string_are_refused_too():
    """The other way to make MongoJobs says the same."""
    with pytest.raises(ReplacedError, match="SparkTrials"):
        mongoexp.MongoJobs.new_from_connection_str("mongo://x")


def test_an_address_gets_its_scheme():
    """as_mongo_str works: programs call it before they make anything."""
    assert (
        mongoexp.as_mongo_str("localhost/db") == mongoexp.as_mongo_str("mongo://localhost/db") == "mongo://localhost/db"
    )
