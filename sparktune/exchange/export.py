"""Trials as a table with typed columns: for CSV and Parquet files, and for Spark."""

from __future__ import annotations

import csv
import datetime
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sparktune.exceptions import InvalidTypeError
from sparktune.exchange.options import Option, as_json, as_text, texts_of
from sparktune.exchange.tables import PREFIX, pandas_for
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import borrowed_from
from sparktune.space.choices import named_values, native, value_nodes
from sparktune.space.compile import Space
from sparktune.storage.encoding import Pickled

logger = logging.getLogger("sparktune")

#: Spark's types.
SPARK_TYPES = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "text": "STRING", "time": "TIMESTAMP"}
#: pandas' types that have a missing value.
PANDAS_TYPES = {
    "integer": "Int64",
    "number": "float64",
    "boolean": "boolean",
    "text": "string",
    "time": "datetime64[us, UTC]",
}
FIXED = {
    "state": "text",
    "status": "text",
    "loss": "number",
    "start": "time",
    "end": "time",
    "duration": "number",
    "error": "text",
}
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Table:
    """Columns of one type each, and rows.

    Attributes:
        kinds: By column, in order: "integer", "number", "boolean", "text" or "time".
        rows: Values by column; None where there is none.
    """

    kinds: dict[str, str]
    rows: list[dict[str, Any]]


class Spaces:
    """The search spaces of trials: that of nearly all, and those of the ones that were set aside.

    Args:
        present: Of nearly all, by which choices become options; None: they stay the numbers of these.
        made_in: Of those whose values are in another one, by id.
    """

    def __init__(self, present: Space | None, made_in: Mapping[Any, Space | None] | None = None) -> None:
        self._present, self._made_in = present, made_in or {}
        self._known: dict[int, _Writer] = {}

    def named(self, document: Document) -> dict[str, Any]:
        """The value of each active parameter by label, options for choices."""
        raw, writer = documents.raw_values(document), self._writer(document)
        return {label: native(value) for label, value in raw.items()} | ({} if writer is None else writer.named(raw))

    def cells(self, document: Document) -> dict[str, Any]:
        """The cell of each active parameter in a table, by label."""
        raw, writer = documents.raw_values(document), self._writer(document)
        return {label: native(value) for label, value in raw.items()} | ({} if writer is None else writer.cells(raw))

    def _writer(self, document: Document) -> _Writer | None:
        space = self._made_in.get(document["tid"], self._present)
        if space is None:
            return None
        if id(space) not in self._known:
            self._known[id(space)] = _Writer(space)
        return self._known[id(space)]


class _Writer:
    """Writes the values of one space."""

    def __init__(self, space: Space) -> None:
        self._space, self._nodes = space, value_nodes(space)

    def named(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return named_values(self._space, raw, self._nodes)

    def cells(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        found = self.named(raw)
        for label in found.keys() & self._texts.keys():
            found[label] = self._texts[label][int(raw[label])] or as_json(found[label])
        return found

    @cached_property
    def _texts(self) -> dict[str, list[str | None]]:
        """By label the texts of a choice's options, where these are not all of one plain type."""
        found = {}
        for label, node in self._nodes.items():
            if node.name == "switch":
                options = Option.all_of(node)
                is_plain = not any(option.labels for option in options) and _kind(o.value for o in options) != "text"
                if not (is_plain and all(option.value is not None for option in options)):
                    found[label] = texts_of(options)
        return found


def table_of(found: Sequence[Document], spaces: Spaces) -> Table:
    """Trials as a table: a row for each, failed and cancelled ones and those of a warm start too.

    Args:
        found: The documents.
        spaces: Theirs.

    Returns:
        ``tid``, ``state``, ``status``, ``loss``, or ``loss_0``, ... where there are several, ``constraint_0``, ...,
        ``start``, ``end`` (UTC), ``duration`` (seconds), ``error``; ``source``, if some trials come from another study,
        for these; numbers and text of the results under their own names, as far as these are free; and
        ``params_<label>``, empty where a parameter is inactive. Options that are neither numbers nor text are JSON.
        Of no trials, the columns that all have.
    """
    if not found:
        return Table({"tid": "integer", **FIXED}, [])
    rows = [_row(document, spaces) for document in found]
    columns = dict.fromkeys(column for row in rows for column in row)
    kinds = {column: FIXED.get(column) or _kind(row.get(column) for row in rows) for column in columns}
    ordered = sorted(kinds, key=lambda column: column.startswith(PREFIX))  # stable: parameters last
    return Table(
        {column: kinds[column] for column in ordered},
        [{column: _as(kinds[column], row.get(column)) for column in ordered} for row in rows],
    )


def _row(document: Document, spaces: Spaces) -> dict[str, Any]:
    row = _summary(document)
    mark = borrowed_from(document)
    if mark is not None:
        row["source"] = mark["from"]
    _add_result(row, document)
    row.update({f"{PREFIX}{label}": value for label, value in spaces.cells(document).items()})
    return row


def _summary(document: Document) -> dict[str, Any]:
    """What is to say of a trial besides its parameters and its result, with its constraints."""
    row = documents.summary(document)
    row.update({f"constraint_{n}": constraint for n, constraint in enumerate(documents.constraints_of(document))})
    return row


def _add_result(row: dict[str, Any], document: Document) -> None:
    """Put numbers and text of a result into a row, under their own names as far as these are free."""
    for key, value in document["result"].items():
        if isinstance(value := native(value), (bool, int, float, str)):
            row.setdefault(str(key), value)


def records_of(found: Sequence[Document], spaces: Spaces) -> list[dict[str, Any]]:
    """A flat dictionary for each trial, see :meth:`sparktune.Trials.to_records`.

    Args:
        found: The documents.
        spaces: Theirs.
    """
    records = []
    for document in found:
        record = _summary(document)
        _add_result(record, document)
        record.update({f"{PREFIX}{label}": value for label, value in spaces.named(document).items()})
        records.append(record)
    return records


def text_params(found: Iterable[Document], spaces: Spaces) -> list[dict[str, str]]:
    """The parameters of each trial as text, by label: what a store of text gets."""
    return [{label: as_text(cell) for label, cell in spaces.cells(document).items()} for document in found]


def _kind(values: Iterable[Any]) -> str:
    """The narrowest kind of column for some values."""
    found = [native(value) for value in values if value is not None]
    types = set(map(type, found))
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer" if all(abs(value) <= LARGEST for value in found) else "text"
    if types and types <= {int, float}:
        return "text" if any(type(value) is int and abs(value) > sys.float_info.max for value in found) else "number"
    return "time" if types == {datetime.datetime} else "text"


def _as(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "number":
        return float(value)
    if kind == "time":
        return value.replace(tzinfo=datetime.timezone.utc) if value.tzinfo is None else value
    return as_text(value) if kind == "text" and not isinstance(value, Pickled) else native(value)


# -- files and frames -------------------------------------------------------------------------------------------------


def to_csv(found: Sequence[Document], spaces: Spaces, path: str | os.PathLike[str]) -> None:
    """Write trials as a CSV file in UTF-8, with a header; a cell without a value is empty."""
    table = table_of(found, spaces)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table.kinds))
        writer.writeheader()
        for row in table.rows:
            writer.writerow({column: _csv_cell(value) for column, value in row.items()})


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else as_json(value) if isinstance(value, bool) else value


def to_parquet(found: Sequence[Document], spaces: Spaces, path: str | os.PathLike[str]) -> None:
    """Write trials as a Parquet file.

    Raises:
        MissingPackageError: If pandas or pyarrow is not installed.
    """
    pandas = pandas_for("to_parquet")
    table = table_of(found, spaces)
    frame = pandas.DataFrame(table.rows, columns=list(table.kinds))
    frame = frame.astype({column: PANDAS_TYPES[kind] for column, kind in table.kinds.items()})
    frame.to_parquet(path, engine="pyarrow", index=False)


def to_spark(found: Sequence[Document], spaces: Spaces, session: Any) -> Any:
    """Trials as a Spark data frame, with columns that Spark can tell apart, see :func:`spark_names`.

    Args:
        found: The documents.
        spaces: Theirs.
        session: A session, classic or Connect.

    Raises:
        InvalidTypeError: If it is none.
    """
    if isinstance(session, type) or not hasattr(session, "createDataFrame"):
        raise InvalidTypeError(
            f"to_spark takes a Spark session, classic or Connect, got {session!r}: pass spark, or what "
            "sparktune.spark.get_session() gives"
        )
    table = table_of(found, spaces)
    names = spark_names(table.kinds)
    if renamed := [f"{column!r} is {name!r}" for column in table.kinds if (name := names[column]) != column]:
        text = "Spark takes names of columns that differ only in case for one, so %s in the data frame"
        logger.warning(text, ", ".join(renamed))
    quoted = {column: f"`{name.replace('`', '``')}`" for column, name in names.items()}
    schema = ", ".join(f"{quoted[column]} {SPARK_TYPES[kind]}" for column, kind in table.kinds.items())
    return session.createDataFrame([tuple(row.values()) for row in table.rows], schema)


def spark_names(columns: Iterable[str]) -> dict[str, str]:
    """What columns are called in Spark, by their names; there, names that differ only in case are one.

    Of such, that in lower case keeps its name, as all columns of ours do, and the others get a number: ``params_c`` and
    ``params_C_2``. In which order they come, which may be another one in the next study, changes nothing.

    Args:
        columns: Their names.
    """
    ordered = sorted(columns, key=str.swapcase)
    taken, kept = {column.lower() for column in ordered}, set[str]()
    names: dict[str, str] = {}
    for column in ordered:
        name, number = column, 2
        while column.lower() in kept and name.lower() in taken:
            name, number = f"{column}_{number}", number + 1
        kept.add(column.lower())
        taken.add(name.lower())
        names[column] = name
    return names
