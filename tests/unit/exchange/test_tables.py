"""Trials to tables and back: nothing is lost on the way."""

import datetime
import math
import sys

import numpy as np
import pytest
from studies import told

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, MissingPackageError
from sparktune.exchange import from_csv, from_dataframe, from_parquet
from sparktune.exchange.export import Spaces, table_of
from sparktune.exchange.matching import Matcher
from sparktune.space.compile import Space

EVERY_KIND = {
    "uniform": hp.uniform("uniform", -5, 5),
    "loguniform": hp.loguniform("loguniform", -8, 0),
    "quniform": hp.quniform("quniform", 0, 1, 0.1),
    "uniformint": hp.uniformint("uniformint", 1, 9),
    "randint": hp.randint("randint", 7),
    "normal": hp.normal("normal", 0, 1),
    "qlognormal": hp.qlognormal("qlognormal", 1, 1, 1),
    "any": hp.choice("any", ["a", None, True, 3, 0.5, "", (1, 2), "3", "a,b\n"]),
    "numbers": hp.choice("numbers", [1, 2, 4]),
    "flags": hp.choice("flags", [True, False]),
    "nested": hp.choice(
        "nested",
        [{"kind": "linear"}, {"kind": "tree", "depth": hp.uniformint("depth", 1, 9)}, hp.uniform("bare", 0, 1)],
    ),
    "weighted": hp.pchoice("weighted", [(0.3, "u"), (0.7, hp.normal("inner", 0, 1))]),
}


def objective(point):
    if point["uniform"] > 3:
        return {"status": STATUS_FAIL}
    if point["uniform"] < -4:
        raise ValueError("too low")
    return {"status": STATUS_OK, "loss": point["uniform"] ** 2, "note": "x", "constraints": [point["uniform"] - 1]}


@pytest.fixture(scope="module")
def trials():
    """Trials of every kind of parameter, some of which failed."""
    trials = Trials()
    options = {"show_progressbar": False, "catch_eval_exceptions": True, "rstate": 0}
    fmin(objective, EVERY_KIND, rand.suggest, 60, trials=trials, **options)
    return trials


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_there_and_back(trials, tmp_path, suffix):
    """A warm start from an exported file has the same values, losses, failures and constraints."""
    path = tmp_path / f"trials.{suffix}"
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    getattr(trials, f"to_{suffix}")(path)
    assert told(Study(EVERY_KIND, warm_start=path).trials) == told(trials)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_options_that_begin_or_end_in_space_come_back(tmp_path, suffix):
    """As the ends of prompts do; beside options that are the same but for that, too."""
    space = hp.choice("prompt", ["Answer:", "Answer: ", "Answer:\n", " Answer:", "é\r\n"])
    path, trials = tmp_path / f"trials.{suffix}", Trials()
    fmin(len, space, rand.suggest, 30, trials=trials, rstate=0, show_progressbar=False)
    getattr(trials, f"to_{suffix}")(path)
    assert told(Study(space, warm_start=path).trials) == told(trials)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("options", [["nan", "NaN", None], [" ", "\t", "a", None], [float("nan"), 0, -1]])
def test_options_that_look_like_an_empty_cell_come_back(tmp_path, suffix, options):
    """They are not taken for None, nor left out."""
    space = {"c": hp.choice("c", options)}
    path, trials = tmp_path / f"trials.{suffix}", Trials()
    fmin(lambda point: 1.0, space, rand.suggest, 4, trials=trials, rstate=0, show_progressbar=False)
    getattr(trials, f"to_{suffix}")(path)
    assert told(Study(space, warm_start=path).trials) == told(trials)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "frame"])
def test_a_table_of_no_trials(tmp_path, suffix):
    """What a study that has not begun writes can be read: there is nothing in it."""
    pytest.importorskip("pyarrow")
    path = Trials().to_dataframe() if suffix == "frame" else tmp_path / f"trials.{suffix}"
    if suffix != "frame":
        getattr(Trials(), f"to_{suffix}")(path)
    assert len(Study(hp.uniform("x", 0, 1), warm_start=path).trials) == 0


def test_results_with_numbers_by_the_names_of_losses(tmp_path):
    """The folds' losses in the results of a search are no losses of the search."""
    space, trials = {"x": hp.uniform("x", 0, 1)}, Trials()

    def folds(point):
        return {"status": STATUS_OK, "loss": point["x"], "loss_0": 7.0, "loss_1": 8.0}

    fmin(folds, space, rand.suggest, 3, trials=trials, show_progressbar=False)
    trials.to_csv(tmp_path / "t.csv")
    assert told(Study(space, warm_start=tmp_path / "t.csv").trials) == told(trials)
    assert told(Study(space, warm_start=trials.to_dataframe()).trials) == told(trials)


def test_failed_trials_with_a_loss(tmp_path):
    """As in tables of hyperopt's results: it says nothing."""
    (tmp_path / "t.csv").write_text("status,loss,x\nok,2.0,0.5\nfail,-1e9,0.7\n")
    found = told(Study({"x": hp.uniform("x", 0, 1)}, warm_start=tmp_path / "t.csv").trials)
    assert found == [({"x": 0.5}, 2.0, None), ({"x": 0.7}, None, None)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_of_odd_files_can_be_written(tmp_path, suffix):
    """Names that are not UTF-8 have halves of characters in Python; options with them come back, errors are shown."""

    def fail_at(name):
        if name != "a":
            raise FileNotFoundError(f"no {name}")
        return 1.0

    space, path, trials = hp.choice("name", ["a", "caf\udce9"]), tmp_path / f"trials.{suffix}", Trials()
    fmin(fail_at, space, rand.suggest, 9, trials=trials, rstate=0, verbose=False, catch_eval_exceptions=True)
    getattr(trials, f"to_{suffix}")(path)
    assert b"FileNotFoundError'>: no caf\\udce9" in path.read_bytes()
    back = Study(space, warm_start=path).trials
    assert [values for values, _, _ in told(back)] == [values for values, _, _ in told(trials)]


def test_space_around_a_cell_counts_for_nothing(tmp_path):
    """Where no option has it, as in tables that people write."""
    (tmp_path / "table.csv").write_text("tid,state,loss,params_kind,params_x\n 7 , done, 1.5, b , 0.5 \n8, new,,a,\n")
    space = {"kind": hp.choice("kind", ["a", "b"]), "x": hp.uniform("x", 0, 1)}
    trials = Study(space, warm_start=tmp_path / "table.csv").trials
    assert told(trials) == [({"kind": 1, "x": 0.5}, 1.5, None)]
    assert trials.trials[0]["misc"]["warm_start"]["id"] == "7"


def test_there_and_back_by_index(trials, tmp_path):
    """Without a space, choices are written as numbers of options, and read as such."""
    loaded = Trials()
    loaded._dynamic_trials = trials._dynamic_trials
    loaded.refresh()
    loaded.to_csv(tmp_path / "t.csv")
    assert told(Study(EVERY_KIND, warm_start=from_csv(tmp_path / "t.csv", choices="index")).trials) == told(trials)


def test_data_frames(trials):
    """to_dataframe leads back as well, with the constraints."""
    pytest.importorskip("pandas")
    assert told(Study(EVERY_KIND, warm_start=trials.to_dataframe()).trials) == told(trials)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "frame"])
def test_constraints_that_are_nan_come_back(tmp_path, suffix):
    """With those beside them, also where nearly all have one; a trial that gives no constraints has none."""
    pytest.importorskip("pyarrow")
    space, trials = hp.uniform("x", 0, 1), Trials()
    each = iter([[5.0, math.nan], [math.nan, -1.0], None, [-1.0, math.inf]])

    def constrained(x):
        found = next(each)
        return {"status": STATUS_OK, "loss": x, **({} if found is None else {"constraints": found})}

    points = [{"x": x} for x in (0.1, 0.2, 0.3, 0.4)]
    fmin(constrained, space, rand.suggest, 0, trials=trials, points_to_evaluate=points, show_progressbar=False)
    table = trials.to_dataframe() if suffix == "frame" else tmp_path / f"trials.{suffix}"
    if suffix != "frame":
        getattr(trials, f"to_{suffix}")(table)
    back = Study(space, warm_start=table).trials
    assert repr(told(back)) == repr(told(trials))  # in text, NaN is NaN
    assert np.isinf(back.history(("x",)).violations).all()


def test_constraints_in_cells_of_text(tmp_path):
    """NaN is one that is violated, an empty cell beside others too; a row of empty cells has none."""
    text = "x,loss,constraint_0,constraint_1\n0.1,1,nan,NaN\n0.2,1,,-1\n0.3,1, ,\n0.4,1,no,-1\n"
    (tmp_path / "t.csv").write_text(text)
    rows = from_csv(tmp_path / "t.csv").rows
    assert repr([row.constraints for row in rows]) == "[(nan, nan), (nan, -1.0), (), ()]"


def test_numbers_beyond_floats_are_text_among_floats(tmp_path):
    """A column of results with both, which no type of numbers takes, is text, and keeps all digits."""
    trials, each = Trials(), iter([10**400, 0.5])
    fmin(
        lambda x: {"status": STATUS_OK, "loss": x, "n": next(each)},
        hp.uniform("x", 0, 1),
        rand.suggest,
        2,
        trials=trials,
    )
    assert table_of(trials._dynamic_trials, Spaces(None)).kinds["n"] == "text"
    trials.to_csv(tmp_path / "t.csv")
    assert str(10**400) in (tmp_path / "t.csv").read_text()


def test_columns_have_one_type_each(trials):
    """Numbers are numbers, flags flags, and options of several types text; parameters come last."""
    table = table_of(trials._dynamic_trials, Spaces(Space(EVERY_KIND)))
    kinds = {column: kind for column, kind in table.kinds.items() if column.startswith("params_")}
    assert list(table.kinds)[-len(kinds) :] == list(kinds)
    assert kinds["params_numbers"] == kinds["params_randint"] == "integer"
    assert kinds["params_flags"] == "boolean"
    assert kinds["params_uniform"] == "number"
    assert kinds["params_any"] == kinds["params_nested"] == "text"
    assert {type(row["start"]) for row in table.rows} == {datetime.datetime}
    assert table.kinds["constraint_0"] == "number"


def test_tables_of_other_programs(tmp_path):
    """Columns are labels, chosen by name or by a mapping; rows without a loss have failed; empty cells are None."""
    path = tmp_path / "runs.csv"
    path.write_text("lr,max_depth,rmse,when\n0.1,3,2.5,now\n0.2,,,then\n0.3,5,nan,later\n")
    space = {"lr": hp.uniform("lr", 0, 1), "depth": hp.choice("depth", [None, 3, 5])}
    source = from_csv(path, loss="rmse", params={"lr": "lr", "depth": "max_depth"})
    found = told(Study(space, warm_start=source).trials)
    assert found == [({"lr": 0.1, "depth": 1}, 2.5, None), ({"lr": 0.2, "depth": 0}, None, None), (
        {"lr": 0.3, "depth": 2}, None, None)]  # fmt: skip
    summary = Matcher(Space(space), named := from_csv(path, loss="rmse", params=["lr"]))
    assert [fitted.raw for fitted in summary.fitted(named.rows)] == [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    assert set(from_csv(path, loss="rmse").rows[0].values) == {"lr", "max_depth", "when"}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"loss": "mae"}, InvalidArgumentError, r"has no \['mae'\]"),
        ({"loss": "rmse", "params": {"x": "y"}}, InvalidArgumentError, r"has no \['y'\]"),
        ({"loss": "rmse", "params": "x"}, InvalidTypeError, r"write \['x'\]"),
        ({"loss": "rmse", "constraints": "size"}, InvalidTypeError, r"write \['size'\]"),
        ({"loss": "rmse", "choices": "name"}, InvalidArgumentError, "choices is one of"),
        ({"loss": "rmse", "direction": "up"}, InvalidArgumentError, "direction is"),
    ],
)
def test_arguments_out_of_their_rule(tmp_path, options, error, text):
    """An argument that does not fit the table is an error that names it."""
    (tmp_path / "t.csv").write_text("x,rmse\n1,2\n")
    with pytest.raises(error, match=text):
        from_csv(tmp_path / "t.csv", **options)


def test_a_file_that_is_not_in_utf_8(tmp_path):
    """As spreadsheets save it: the error names the file, and what to do."""
    (tmp_path / "t.csv").write_text("größe,loss\n1,2\n", encoding="cp1252")
    with pytest.raises(InvalidArgumentError, match=r"UTF-8, and .*t\.csv has the byte 0xf6, .* pandas\.read_csv"):
        from_csv(tmp_path / "t.csv")


def test_without_pandas(trials, tmp_path, monkeypatch):
    """Parquet without pandas is an error that says what to install; CSV needs nothing."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install pandas pyarrow"):
        trials.to_parquet(tmp_path / "t.parquet")
    trials.to_csv(tmp_path / "t.csv")


def test_trials_of_a_warm_start_say_so(trials, tmp_path):
    """An exported table has a column that names the source of trials that are another study's."""
    study = Study(EVERY_KIND, warm_start=trials)
    study.tell(study.ask(), 1.0)
    study.trials.to_csv(tmp_path / "t.csv")
    rows = (tmp_path / "t.csv").read_text().count("Trials object")
    assert rows == 60


def test_several_losses(tmp_path):
    """Several losses have a column each, and come back."""
    study = Study(hp.uniform("x", 0, 1), rand.suggest, rstate=0, metric=["a", "b"])
    for trial in study.ask(3):
        study.tell(trial, {"a": trial.params, "b": 1.0})
    study.trials.to_csv(tmp_path / "t.csv")
    found = Study(hp.uniform("x", 0, 1), warm_start=tmp_path / "t.csv").trials
    assert [t["result"]["losses"] for t in found.trials] == [t["result"]["losses"] for t in study.trials.trials]


@pytest.mark.parametrize(
    ("column", "options"),
    [("status", ["fail", " fail "]), ("state", ["running", "new"]), ("tid", [7, 7]), ("status", [[1, 2], [3, 4]])],
)
@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_parameter_by_the_name_of_a_column_of_ours(column, options, is_renamed):
    """Its values say nothing of the trial: neither that it failed, nor that it has no end, nor which it is."""
    frame = pytest.importorskip("pandas").DataFrame({column: options, "loss": [1.0, 2.0]})
    source = from_dataframe(frame, params={"a": column} if is_renamed else [column])
    assert [(row.id, row.losses, *row.values.values()) for row in source.rows] == [
        (0, (1.0,), options[0]),
        (1, (2.0,), options[1]),
    ]


@pytest.mark.parametrize("column", ["status", "state"])
def test_arrays_in_a_column_of_ours(column):
    """What is no text says nothing of the trial, whether it is a parameter's or not."""
    array = np.array([1, 2])
    frame = pytest.importorskip("pandas").DataFrame({column: [array], "loss": [1.0], "x": [0.5]})
    for params in (None, [column]):
        (row,) = from_dataframe(frame, params=params).rows
        assert (row.losses, next(iter(row.values.values())) is array) == ((1.0,), params is not None)


@pytest.mark.parametrize(
    "options",
    [
        {"params": ["c"]},
        {"params": {"c": "column"}},
        {"constraints": ["c"]},
        {"loss": ["a", "b"], "params": ["c"], "constraints": ["d"]},
    ],
)
def test_a_frame_without_columns_has_none_that_are_missing(options):
    """What to_dataframe gives where there are no trials is read with any columns named."""
    frame = pytest.importorskip("pandas").DataFrame()
    assert not from_dataframe(frame, direction="minimize", **options).rows


def test_a_frame_that_is_none():
    """from_dataframe takes data frames."""
    with pytest.raises(InvalidTypeError, match="pandas data frame, got dict"):
        from_dataframe({})


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("loss", [None, "loss"])
def test_columns_that_are_separated_by_something_else(tmp_path, mark, loss):
    """A table that was read as one column is asked for what separates its columns, and the answer reads it."""
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "table.csv"
    path.write_text("x,c,loss\n1,a,0.5\n".replace(",", mark))
    with pytest.raises(InvalidArgumentError) as caught:
        from_csv(path, loss=loss)
    message = str(caught.value)
    assert f"separated by {mark!r}?" in message
    assert f"pandas.read_csv(path, sep={mark!r})" in message
    assert "name it" not in message
    assert from_dataframe(pandas.read_csv(path, sep=mark), loss=loss).rows[0].losses == (0.5,)


def test_the_loss_is_named_in_the_function_that_reads_the_table(tmp_path):
    """Without a column "loss", the error has the call that names one, for each kind of table."""
    frame = pytest.importorskip("pandas").DataFrame({"x": [0.5], "rmse": [1.0]})
    with pytest.raises(InvalidArgumentError, match=r"exchange\.from_dataframe\(frame, loss='rmse'\)"):
        from_dataframe(frame)
    frame.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InvalidArgumentError, match=r"exchange\.from_csv\(path, loss='rmse'\)"):
        from_csv(tmp_path / "table.csv")
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InvalidArgumentError, match=r"exchange\.from_parquet\(path, loss='rmse'\)"):
        from_parquet(tmp_path / "table.parquet")
