"""Trials as a table with typed columns: for CSV and Parquet files, and for Spark."""

from __future__ import annotations

import csv
import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparktune.exchange.options import as_json, as_text, options_of, texts_of
from sparktune.exchange.tables import PREFIX, pandas_for
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.marks import borrowed_from
from sparktune.space.choices import named_values, native, value_nodes
from sparktune.space.compile import Space
from sparktune.space.nodes import Apply
from sparktune.storage.encoding import Pickled

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


def table_of(found: Sequence[Document], space: Space | None) -> Table:
    """Trials as a table: a row for each, failed and cancelled ones and those of a warm start too.

    Args:
        found: The documents.
        space: Their space, by which choices become options; None: they stay the numbers of these.

    Returns:
        ``tid``, ``state``, ``status``, ``loss``, or ``loss_0``, ... where there are several, ``constraint_0``, ...,
        ``start``, ``end`` (UTC), ``duration`` (seconds), ``error``; ``source``, if some trials come from another study,
        for these; numbers and text of the results under their own names, as far as these are free; and
        ``params_<label>``, empty where a parameter is inactive. Options that are neither numbers nor text are JSON.
        Of no trials, the columns that all have.
    """
    if not found:
        return Table({"tid": "integer", **FIXED}, [])
    cells = _cells(space)
    rows = [_row(document, space, cells) for document in found]
    columns = dict.fromkeys(column for row in rows for column in row)
    kinds = {column: FIXED.get(column) or _kind(row.get(column) for row in rows) for column in columns}
    ordered = sorted(kinds, key=lambda column: column.startswith(PREFIX))  # stable: parameters last
    return Table(
        {column: kinds[column] for column in ordered},
        [{column: _as(kinds[column], row.get(column)) for column in ordered} for row in rows],
    )


def _cells(space: Space | None) -> dict[str, tuple[Apply, list[str | None] | None]]:
    """By label its node, and the texts of its options where they are not all of one plain type."""
    if space is None:
        return {}
    found: dict[str, tuple[Apply, list[str | None] | None]] = {}
    for label, node in value_nodes(space).items():
        texts = None
        if node.name == "switch":
            options = options_of(node)
            is_plain = not any(option.labels for option in options) and _kind(o.value for o in options) != "text"
            texts = None if is_plain and all(option.value is not None for option in options) else texts_of(options)
        found[label] = node, texts
    return found


def _row(
    document: Document, space: Space | None, cells: Mapping[str, tuple[Apply, list[str | None] | None]]
) -> dict[str, Any]:
    row = _summary(document)
    mark = borrowed_from(document)
    if mark is not None:
        row["source"] = mark["from"]
    _add_result(row, document)
    raw = documents.raw_values(document)
    row.update({f"{PREFIX}{label}": value for label, value in param_cells(raw, space, cells).items()})
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


def records_of(found: Sequence[Document], space: Space | None) -> list[dict[str, Any]]:
    """A flat dictionary for each trial, see :meth:`sparktune.Trials.to_records`; options are those of the space.

    Args:
        found: The documents.
        space: Their space; None: choices stay numbers.
    """
    nodes = {} if space is None else value_nodes(space)
    records = []
    for document in found:
        record = _summary(document)
        _add_result(record, document)
        raw = documents.raw_values(document)
        values = {label: native(value) for label, value in raw.items()}
        if space is not None:
            values.update(named_values(space, raw, nodes))
        record.update({f"{PREFIX}{label}": value for label, value in values.items()})
        records.append(record)
    return records


def param_cells(
    raw: Mapping[str, Any], space: Space | None, cells: Mapping[str, tuple[Apply, list[str | None] | None]]
) -> dict[str, Any]:
    """The cell of each active parameter, by label."""
    found = {label: native(value) for label, value in raw.items()}
    if space is not None:
        named = named_values(space, raw, {label: node for label, (node, _) in cells.items()})
        for label, value in named.items():
            texts = cells[label][1]
            index = int(raw[label]) if texts is not None else 0
            found[label] = value if texts is None else texts[index] or as_json(value)
    return found


def text_params(found: Iterable[Document], space: Space | None) -> list[dict[str, str]]:
    """The parameters of each trial as text, by label: what a store of text gets."""
    cells = _cells(space)
    return [
        {label: as_text(cell) for label, cell in param_cells(documents.raw_values(document), space, cells).items()}
        for document in found
    ]


def _kind(values: Iterable[Any]) -> str:
    """The narrowest kind of column for some values."""
    found = [native(value) for value in values if value is not None]
    types = set(map(type, found))
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer" if all(abs(value) <= LARGEST for value in found) else "text"
    if types and types <= {int, float}:
        return "number"
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


def to_csv(found: Sequence[Document], space: Space | None, path: str | os.PathLike[str]) -> None:
    """Write trials as a CSV file in UTF-8, with a header; a cell without a value is empty."""
    table = table_of(found, space)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table.kinds))
        writer.writeheader()
        for row in table.rows:
            writer.writerow({column: _csv_cell(value) for column, value in row.items()})


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else as_json(value) if isinstance(value, bool) else value


def to_parquet(found: Sequence[Document], space: Space | None, path: str | os.PathLike[str]) -> None:
    """Write trials as a Parquet file.

    Raises:
        MissingPackageError: If pandas or pyarrow is not installed.
    """
    pandas = pandas_for("to_parquet")
    table = table_of(found, space)
    frame = pandas.DataFrame(table.rows, columns=list(table.kinds))
    frame = frame.astype({column: PANDAS_TYPES[kind] for column, kind in table.kinds.items()})
    frame.to_parquet(path, engine="pyarrow", index=False)


def to_spark(found: Sequence[Document], space: Space | None, session: Any) -> Any:
    """Trials as a Spark data frame.

    Args:
        found: The documents.
        space: Their space.
        session: A session, classic or Connect.
    """
    table = table_of(found, space)
    schema = ", ".join(f"`{column.replace('`', '``')}` {SPARK_TYPES[kind]}" for column, kind in table.kinds.items())
    return session.createDataFrame([tuple(row.values()) for row in table.rows], schema)
