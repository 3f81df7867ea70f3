"""Trials to tables and back: nothing is lost on the way."""

import csv
import datetime
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from studies import told

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, MissingPackageError
from sparktune.exchange import from_csv, from_dataframe, from_parquet, tables
from sparktune.exchange.export import Spaces, spark_names, table_of
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


def test_parameters_are_the_last_columns():
    """Behind what later trials alone have, too."""
    study = Study({"x": hp.uniform("x", 0, 1)}, rand.suggest)
    for more in ({}, {"note": "n", "constraints": [0.0]}):
        study.tell(study.ask(), {"loss": 1.0, "status": STATUS_OK, **more})
    columns = list(table_of(study.trials.trials, Spaces(None)).kinds)
    assert columns[-1] == "params_x"
    assert {"note", "constraint_0"} < set(columns)


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


def test_a_table_that_others_have_saved(tmp_path):
    """With the mark that some put before UTF-8, rows longer than the header, and text beyond ASCII."""
    (tmp_path / "t.csv").write_bytes("\ufeffloss,x,kind\n1.0,0.5,größe\n2.0,0.25,é,more,still\n".encode())
    rows = from_csv(tmp_path / "t.csv").rows
    assert [row.losses for row in rows] == [(1.0,), (2.0,)]
    assert [row.values for row in rows] == [{"x": "0.5", "kind": "größe"}, {"x": "0.25", "kind": "é"}]


def test_several_losses_are_in_the_order_of_their_numbers(tmp_path):
    """Wherever their columns are, and where there is no column for one loss; so are constraints."""
    numbers = [10, 2, 0, 1, *range(3, 10)]
    for stem in ("loss", "constraint"):
        header = ",".join(f"{stem}_{n}" for n in numbers)
        extra = ("", "") if stem == "loss" else (",loss", ",0.5")
        cells = ",".join(str(n) for n in numbers)
        (tmp_path / f"{stem}.csv").write_text(f"{header},x{extra[0]}\n{cells},0.5{extra[1]}\n")
    assert from_csv(tmp_path / "loss.csv").rows[0].losses == tuple(map(float, range(11)))
    assert from_csv(tmp_path / "constraint.csv").rows[0].constraints == tuple(map(float, range(11)))


def test_a_loss_that_was_to_be_high_is_known_to_be(tmp_path):
    """By whichever name it is read; of our own column that is to be low, nobody knows what it was made of."""
    (tmp_path / "t.csv").write_text("loss,auc,x\n1.0,2.0,0.5\n")
    high = {name: from_csv(tmp_path / "t.csv", loss=name, direction="maximize") for name in ("loss", "auc")}
    assert [source.rows[0].losses for source in high.values()] == [(-1.0,), (-2.0,)]
    assert [source.goal.signs for source in high.values()] == [(-1.0,), (-1.0,)]
    assert from_csv(tmp_path / "t.csv", loss="loss").goal is None
    assert from_csv(tmp_path / "t.csv", loss="auc").goal.signs == (1.0,)


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


NO_NUMBERS = ["0,5", "95%", "0.5 ± 0.1", "1 234.5", "#DIV/0!", "0.5s"]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_loss_that_is_no_number_is_no_failure(tmp_path, caplog, cell):
    """Its row is left out, with a warning that shows the cell and says what to write."""
    (tmp_path / "t.csv").write_text(f'x,loss\n0.1,"{cell}"\n0.2,0.25\n0.3,\n', encoding="utf-8")
    source = from_csv(tmp_path / "t.csv")
    assert [(row.id, row.losses) for row in source.rows] == [(1, (0.25,)), (2, ())]
    assert source.unread == (repr(cell),)
    Study({"x": hp.uniform("x", 0, 1)}, warm_start=source)
    (record,) = [record for record in caplog.records if "warm start" in record.message]
    assert record.levelname == "WARNING"
    assert f"1 more left out, with losses that are no numbers, as {cell!r}: write plain numbers" in record.message


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_table_in_which_no_loss_can_be_read(tmp_path, cell):
    """It is an error, with a cell of it and what to do, and no table of failed trials."""
    (tmp_path / "t.csv").write_text(f'x,loss\n0.1,"{cell}"\n0.2,\n', encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"losses are numbers, .* CSV file .*write plain numbers") as caught:
        from_csv(tmp_path / "t.csv")
    assert repr(cell) in str(caught.value)


@pytest.mark.parametrize("suffix", ["frame", "parquet"])
def test_losses_of_other_types_than_numbers(tmp_path, suffix):
    """Times in data frames, and text in Parquet files, are left out as text in CSV files is."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    times = pandas.DataFrame({"x": [0.1, 0.2], "loss": pandas.to_timedelta(["3s", None])})
    mixed = pandas.DataFrame({"x": [0.1, 0.2], "loss": ["95%", "0.5"]})
    if suffix == "frame":
        mixed["loss"] = pandas.Series([1 + 0j, 0.5], dtype=object)
        with pytest.raises(InvalidArgumentError, match="Timedelta"):
            from_dataframe(times)
        found = from_dataframe(mixed)
    else:
        mixed.to_parquet(tmp_path / "t.parquet")
        found = from_parquet(tmp_path / "t.parquet")
    assert ([row.losses for row in found.rows], len(found.unread)) == ([(0.5,)], 1)


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "#N/A", "<NA>", "NULL", "None"])
def test_a_row_without_a_loss_has_failed(tmp_path, cell):
    """However tables say that there is none."""
    (tmp_path / "t.csv").write_text(f"x,loss\n0.1,{cell}\n")
    source = from_csv(tmp_path / "t.csv")
    assert ([row.losses for row in source.rows], source.unread) == ([()], ())


def test_missing_values_of_pandas_are_no_losses():
    """A row with one has failed, whatever the type of the column."""
    pandas = pytest.importorskip("pandas")
    columns = [pandas.array([None, 1], "Int64"), pandas.array([None, "1"], "string"), [pandas.NaT, 1], [None, 1]]
    for column in columns:
        source = from_dataframe(pandas.DataFrame({"x": [0.1, 0.2], "loss": column}))
        assert ([row.losses for row in source.rows], source.unread) == ([(), (1.0,)], ())


def test_a_failed_trial_may_have_anything_for_a_loss(tmp_path):
    """It is not read."""
    (tmp_path / "t.csv").write_text("status,x,loss\nfail,0.1,diverged\n")
    source = from_csv(tmp_path / "t.csv")
    assert ([row.losses for row in source.rows], source.unread) == ([()], ())


def test_a_loss_that_is_no_number_beside_those_of_folds(tmp_path):
    """Numbers of the result by the names of several losses are not taken in its place."""
    (tmp_path / "t.csv").write_text('x,loss,loss_0,loss_1\n0.1,"0,5",0.4,0.6\n')
    with pytest.raises(InvalidArgumentError, match=r"what is in \['loss'\] of CSV file .* is none, as '0,5'"):
        from_csv(tmp_path / "t.csv")


def test_long_text_in_a_csv_file_comes_back(tmp_path):
    """A result and an error of more characters than Python's csv reads unasked; its limit is as before afterwards."""

    def objective(x):
        if x > 0.5:
            raise ValueError("w" * 150_000)
        return {"status": STATUS_OK, "loss": x, "report": "z" * 200_000}

    space, trials, limit = hp.uniform("x", 0, 1), Trials(), csv.field_size_limit()
    fmin(objective, space, rand.suggest, 6, trials=trials, rstate=0, verbose=False, catch_eval_exceptions=True)
    trials.to_csv(tmp_path / "t.csv")
    assert told(Study(space, warm_start=tmp_path / "t.csv").trials) == told(trials)
    assert csv.field_size_limit() == limit


def test_files_are_read_in_threads_with_one_limit(tmp_path):
    """Each reads its long cells, and none leaves the limit of another behind."""
    (tmp_path / "t.csv").write_text(f"x,loss,note\n0.1,1,{'z' * 140_000}\n")
    limit = csv.field_size_limit()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(from_csv, [tmp_path / "t.csv"] * 40))
    assert [len(source) for source in found] == [1] * 40
    assert csv.field_size_limit() == limit


def test_a_limit_that_somebody_sets_meanwhile_stays(tmp_path):
    """It is not ours to take back."""
    before = csv.field_size_limit()
    try:
        with tables._cells_of_any_length():
            csv.field_size_limit(200_000)
        assert csv.field_size_limit() == 200_000
    finally:
        csv.field_size_limit(before)


def test_what_csv_cannot_read_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    """And the line; nothing of the module's own comes through."""
    (tmp_path / "t.csv").write_text(f"x,loss\n0.1,1\n0.2,{'z' * 100}\n")
    monkeypatch.setattr(tables, "LONGEST_CELL", 50)
    with pytest.raises(InvalidArgumentError, match=r"t\.csv is none after line 2 \(field larger.*write it anew"):
        from_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["tid", "loss", "Loss"], ["tid", "loss", "Loss_2"]),
        (["Loss", "loss"], ["Loss_2", "loss"]),
        (["params_C", "params_c"], ["params_C_2", "params_c"]),
        (["params_c", "params_C"], ["params_c", "params_C_2"]),
        (["F1", "f1", "f1_2", "F1_3"], ["F1_4", "f1", "f1_2", "F1_3"]),
        (["ab", "aB", "Ab", "AB"], ["ab", "aB_2", "Ab_3", "AB_4"]),
        (["A", "b"], ["A", "b"]),
    ],
)
def test_names_of_columns_in_spark(columns, names):
    """They differ in more than case; those in lower case stay, wherever they are, and no other name is taken."""
    found = spark_names(columns)
    assert [found[column] for column in columns] == names
    assert len({name.lower() for name in found.values()}) == len(columns)
