"""Earlier trials in tables: CSV and Parquet files, and pandas data frames."""

from __future__ import annotations

import csv
import math
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, MissingPackageError
from sparktune.exchange.matching import is_missing, is_nan_text
from sparktune.exchange.source import NUMBERS_ADVICE, Row, Source, losses_from
from sparktune.history.documents import as_floats
from sparktune.history.trial import STATUS_FAIL
from sparktune.run.goal import Goal

PREFIX = "params_"
#: Columns that tables written by sparktune, or made from ``to_dataframe``, have beside the parameters.
OTHER_COLUMNS = frozenset("tid state status loss start end duration error source".split())
#: What stands between columns in tables that are not separated by commas, as some programs write them.
SEPARATORS = (";", "\t", "|")
#: Text that stands for an empty cell, as pandas reads it too.
NOTHING = frozenset(["", "nan", "-nan", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "null", "none", "nat"])
#: The most characters of a cell that Python's ``csv`` can be told to read, on all systems.
LONGEST_CELL = 2**31 - 1
#: Held while that is another one than before, for else another thread would take it for that of before.
_reading = threading.Lock()
#: States, in words, of trials that have no end yet, or none that says anything.
OPEN = frozenset(["new", "running", "cancelled"])


def from_csv(
    path: str | os.PathLike[str],
    *,
    loss: str | Sequence[str] | None = None,
    direction: str | Sequence[str] = "minimize",
    params: Mapping[str, str] | Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
    choices: str = "either",
    name: str | None = None,
) -> Source:
    """The trials in a CSV file, one a row, with a header; those without a loss, or of status "fail", have failed.

    Rows with something else than numbers for losses are left out, and a warm start warns of them.

    Args:
        path: Of the file, in UTF-8.
        loss: Column of the loss, or a list of columns for several. None: ``loss``; if that is not there or empty,
            ``loss_0``, ``loss_1``, ...
        direction: "minimize" or "maximize", or one of these for each loss.
        params: Columns by label, ``{label: column}``, or a list of columns that have the label as their name. None: all
            columns ``params_<label>``; in a table that has none of these, all that are left. A column ``tid``,
            ``state`` or ``status`` that is named here is a parameter's and says nothing of the trial.
        constraints: Columns of constraints, at most 0 where they are met. None: ``constraint_0``, ... One without a
            number, beside others that have one, counts as violated.
        choices: What cells of a choice hold: "value", the option, as text or JSON; "index", its number; "either": the
            option, or the number if the column can be nothing else. An empty cell is the option None, or else NaN, if
            the choice has one of them.
        name: Says where the trials are from; None: the path.

    Raises:
        InvalidArgumentError: If a column is missing, no row has a loss that is a number though some have one that is
            none, the file is no CSV in UTF-8, or an argument out of its rule.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file, _cells_of_any_length():
            reader = csv.DictReader(file)
            rows: list[dict[str, Any]] = [
                {column: _cell(cell) for column, cell in row.items() if isinstance(column, str)} for row in reader
            ]
            columns = [column for column in reader.fieldnames or () if column]
    except csv.Error as error:
        raise InvalidArgumentError(
            f"a CSV file of trials is one that Python's csv can read, and {os.fspath(path)} is none after line "
            f"{reader.line_num} ({error}): write it anew, or give what pandas.read_csv(path) reads"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"a CSV file of trials is in UTF-8, and {os.fspath(path)} has the byte 0x{error.object[error.start]:02x}, "
            "which is not: save it as UTF-8, or give what pandas.read_csv(path, encoding=...) reads"
        ) from error
    text = name or f"CSV file {os.fspath(path)}"
    return _source(text, "from_csv(path", columns, rows, loss, direction, params, constraints, choices)


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Python's csv, which stops at cells of 131,072 characters, reads longer ones, as results and errors may be.

    That limit is one for the whole process: it is as before afterwards, unless somebody else has set it meanwhile.
    """
    with _reading:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            if csv.field_size_limit() == LONGEST_CELL:
                csv.field_size_limit(before)


def _cell(cell: Any) -> Any:
    return None if cell is None or not cell.strip() else cell  # an option may end in a space


def from_parquet(
    path: str | os.PathLike[str],
    *,
    loss: str | Sequence[str] | None = None,
    direction: str | Sequence[str] = "minimize",
    params: Mapping[str, str] | Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
    choices: str = "either",
    name: str | None = None,
) -> Source:
    """The trials in a Parquet file; arguments as for :func:`from_csv`.

    Raises:
        MissingPackageError: If pandas or pyarrow is not installed.
        InvalidArgumentError: If a column is missing, losses are no numbers, or an argument out of its rule.
    """
    frame = pandas_for("a Parquet file").read_parquet(path, engine="pyarrow")
    columns, rows = _table_of(frame, loss, params, constraints)
    text = name or f"Parquet file {os.fspath(path)}"
    return _source(text, "from_parquet(path", columns, rows, loss, direction, params, constraints, choices)


def from_dataframe(
    frame: Any,
    *,
    loss: str | Sequence[str] | None = None,
    direction: str | Sequence[str] = "minimize",
    params: Mapping[str, str] | Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
    choices: str = "either",
    name: str | None = None,
) -> Source:
    """The trials in a pandas data frame, one a row; arguments as for :func:`from_csv`.

    Raises:
        InvalidTypeError: If it is no data frame.
        InvalidArgumentError: If a column is missing, losses are no numbers, or an argument out of its rule.
    """
    if not is_frame(frame):
        raise InvalidTypeError(f"from_dataframe takes a pandas data frame, got {type(frame).__name__}")
    columns, rows = _table_of(frame, loss, params, constraints)
    text = name or "a data frame"
    source = _source(text, "from_dataframe(frame", columns, rows, loss, direction, params, constraints, choices)
    return replace(source, is_text=False)  # in the other tables, text holds options of other types as JSON


def _table_of(
    frame: Any, *named: str | Mapping[str, str] | Sequence[str] | None
) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and the rows of a data frame.

    Args:
        frame: The data frame.
        *named: What names columns: loss, params and constraints, as for :func:`from_csv`.
    """
    if "tid" not in frame.columns and frame.index.name == "tid":
        frame = frame.reset_index()
    rows = [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]
    columns = [str(column) for column in frame.columns]
    if not rows and not columns:  # what to_dataframe gives where there are no trials
        loss, *others = named
        columns = _named("loss" if loss is None else loss, *others)
    return columns, rows


def _named(*given: str | Mapping[str, str] | Sequence[str] | None) -> list[str]:
    """The columns that arguments name, in any of their forms."""
    listed = [[names] if isinstance(names, str) else names for names in given if names is not None]
    return [column for names in listed for column in (names.values() if isinstance(names, Mapping) else names)]


def is_frame(item: Any) -> bool:
    """Whether something is a pandas data frame; pandas is not imported for that."""
    return hasattr(item, "to_dict") and hasattr(item, "columns") and hasattr(item, "index")


def pandas_for(what: str) -> Any:
    """pandas, with pyarrow behind it.

    Args:
        what: Needs them.

    Raises:
        MissingPackageError: If one of them is not installed.
    """
    from importlib.util import find_spec

    missing = [package for package in ("pandas", "pyarrow") if find_spec(package) is None]
    if missing:
        raise MissingPackageError(
            f"{what} needs pandas and pyarrow, and {' and '.join(missing)} cannot be found: pip install "
            f"{' '.join(missing)}, or use a CSV file"
        )
    import pandas

    return pandas


def _source(
    name: str,
    call: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    loss: str | Sequence[str] | None,
    direction: str | Sequence[str],
    params: Mapping[str, str] | Sequence[str] | None,
    constraints: Sequence[str] | None,
    choices: str,
) -> Source:
    losses = _loss_columns(columns, rows, loss, name, call)
    goal = Goal.of(direction, losses)
    signs = goal.signs
    if isinstance(constraints, str):
        raise InvalidTypeError(f"constraints is a list of columns, got {constraints!r}: write [{constraints!r}]")
    limits = _numbered("constraint", columns) if constraints is None else list(constraints)
    by_label = _param_columns(columns, params, {*losses, *limits})
    _require(columns, [*losses, *limits, *by_label.values()], name)
    is_ours = {column: column not in by_label.values() for column in ("tid", "state", "status")}
    ended = [(number, row) for number, row in enumerate(rows) if not (is_ours["state"] and _is_open(row))]
    n_open = len(rows) - len(ended)
    found, unread = [], list[str]()
    for number, row in ended:
        cells = [] if is_ours["status"] and _has_failed(row) else [row[column] for column in losses]
        if odd := [cell for cell in cells if _is_no_number(cell)]:
            unread.append(repr(_trimmed(odd[0])))
            continue
        found.append(
            Row(
                _id(row, number) if is_ours["tid"] else number,
                {label: row[column] for label, column in by_label.items()},
                losses_from(cells, signs) if cells else (),
                _constraints([row[column] for column in limits]),
            )
        )
    if unread and not any(row.losses for row in found):
        raise InvalidArgumentError(
            f"losses are numbers, and what is in {losses} of {name} is none, as {unread[0]}: {NUMBERS_ADVICE}, or "
            f"name another column of {list(columns)}: sparktune.exchange.{call}, loss=...)"
        )
    # A column "loss" is as in our own tables, where it is to be low whatever it was made of.
    known = None if loss is None or (losses == ["loss"] and goal.signs == (1.0,)) else goal
    return Source(name, found, choices=choices, is_text=True, n_open=n_open, goal=known, unread=tuple(unread))


def _id(row: Mapping[str, Any], number: int) -> Any:
    tid = _trimmed(row.get("tid"))
    return number if is_missing(tid) or is_nan_text(tid) else tid


def _is_open(row: Mapping[str, Any]) -> bool:
    state = row.get("state")
    return isinstance(state, str) and state.strip() in OPEN


def _has_failed(row: Mapping[str, Any]) -> bool:
    status = row.get("status")
    return isinstance(status, str) and status.strip() == STATUS_FAIL


def _is_no_number(cell: Any) -> bool:
    """Whether there is something in a cell, and it is no number."""
    if _is_nothing(cell):
        return False
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def _is_nothing(cell: Any) -> bool:
    """Whether a cell is empty, in any of the ways that tables have for it."""
    if isinstance(cell, str):
        return cell.strip().lower() in NOTHING
    return is_missing(cell) or type(cell).__name__ in ("NAType", "NaTType")  # pandas', which need not be there


def _constraints(cells: Sequence[Any]) -> tuple[float, ...]:
    """The constraints of a row; empty if it has none, or one is no number.

    A cell without a number beside others that have one is NaN, which is violated: of data frames and Parquet files, NaN
    and an empty cell are the same.
    """
    if all(map(is_missing, cells)):
        return ()
    return as_floats([math.nan if is_missing(cell) else cell for cell in cells]) or ()


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _loss_columns(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], loss: str | Sequence[str] | None, name: str, call: str
) -> list[str]:
    if loss is not None:
        return [loss] if isinstance(loss, str) else list(loss)
    several = _numbered("loss", columns)
    if "loss" not in columns and not several:
        raise InvalidArgumentError(
            f"a table of trials has a column with their loss, and {name} has none of the name 'loss', only "
            f"{list(columns)}: "
            + (_separated(columns) or f"name it, as in sparktune.exchange.{call}, loss={_example(columns)!r})")
        )
    # Results may have numbers of their own by such names, of the folds of a cross-validation, say.
    has_loss = any(not _is_nothing(row.get("loss")) for row in rows)
    return several if several and not has_loss else ["loss"]


def _separated(columns: Sequence[str]) -> str:
    """What to do if all columns were read as one, for they are separated by something else; empty if they were not."""
    found = [mark for mark in SEPARATORS if mark in columns[0]] if len(columns) == 1 else []
    if not found:
        return ""
    return (
        f"are its columns separated by {found[0]!r}? Separate them by commas, or give what "
        f"pandas.read_csv(path, sep={found[0]!r}) reads"
    )


def _example(columns: Sequence[str]) -> str:
    return columns[-1] if columns else "rmse"


def _numbered(stem: str, columns: Iterable[str]) -> list[str]:
    found = [column for column in columns if re.fullmatch(rf"{stem}_\d+", column)]
    return sorted(found, key=lambda column: int(column.rpartition("_")[2]))


def _param_columns(
    columns: Sequence[str], params: Mapping[str, str] | Sequence[str] | None, taken: set[str]
) -> dict[str, str]:
    if isinstance(params, Mapping):
        return dict(params)
    if isinstance(params, str):
        raise InvalidTypeError(f"params is a list of columns, or {{label: column}}, got {params!r}: write [{params!r}]")
    if params is not None:
        return {column: column for column in params}
    marked = {column[len(PREFIX) :]: column for column in columns if column.startswith(PREFIX)}
    return marked or {column: column for column in columns if column not in taken | OTHER_COLUMNS}


def _require(columns: Sequence[str], wanted: Iterable[str], name: str) -> None:
    missing = sorted({column for column in wanted if column not in columns})
    if missing:
        raise InvalidArgumentError(
            f"the columns that are named must be in the table, and {name} has no {missing}: it has {list(columns)}"
            + (f"; {advice}" if (advice := _separated(columns)) else "")
        )
