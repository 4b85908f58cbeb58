"""Rows with named columns: of CSV and JSONL files, of tables of datasets, pyarrow, pandas and polars, of plain lists.
Light: nothing heavy is imported to look at a file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.errors import TaskError
from assay.store import inputs

SEPARATORS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
ROWS = (*SEPARATORS, *LINES)
LARGEST = 1 << 25  # bytes of a file
MOST_ROWS, MOST_COLUMNS, MOST_CELLS = 200_000, 64, 2_000_000
TOO_WIDE = "the row has more cells than the header has columns"
LONE = re.compile("[\ud800-\udfff]")  # half a character, which JSON can write


def is_table(value: Any) -> bool:
    """Whether it is a table of another library, with named columns."""
    return hasattr(value, "column_names") or (hasattr(value, "columns") and hasattr(value, "to_dict"))


def table_rows(table: Any, what: str, only: str | None = None) -> Iterator[tuple[str, Any]]:
    """("row 3", row) for each row of a table or a list.

    Args:
        what: what it is, for messages.
        only: the one column that is wanted: a data set may hold pictures too, which would all be opened.

    Raises:
        TaskError: for several tables in one, and for one without an end.
    """
    if isinstance(table, Mapping):
        names = ", ".join(repr(str(name)) for name in table)
        raise TaskError(f"{what}: this is a {type(table).__name__} of {names}, not a list of rows; give one of them")
    if not hasattr(table, "__len__"):
        raise TaskError(f"{what}: a {type(table).__name__} has no length; give a list, such as list(it.take(1000))")
    if only is not None and hasattr(table, "select_columns") and only in table.column_names:
        table = table.select_columns([only])
    rows: Any = table
    if is_table(table) and hasattr(table, "to_pylist"):  # pyarrow
        rows = table.to_pylist()
    elif is_table(table) and hasattr(table, "to_dicts"):  # polars
        rows = table.to_dicts()
    elif hasattr(table, "columns") and hasattr(table, "to_dict"):  # pandas
        rows = table.to_dict("records")
    if len(rows) > MOST_ROWS:
        raise TaskError(f"{what}: there are {len(rows):,} rows, and at most {MOST_ROWS:,} are read; give fewer of them")
    return ((f"row {i}", row) for i, row in enumerate(rows))


def file_rows(path: Path, what: str, most: int | None = None) -> Iterator[tuple[str, Any]]:
    """("file:line", row) for each row of a file.

    Args:
        what: what the rows are, for messages, such as "prompts".
        most: bytes that the file may have; None: as many as a file of prompts.

    Raises:
        TaskError: for a file that cannot be read, and for what is no row of one.
    """
    suffix = inputs.suffix(path)
    if suffix not in ROWS:
        raise TaskError(f"the {what} {str(path)!r} must be a file that ends in " + ", ".join(ROWS))
    text = inputs.read_text(path, "the file", TaskError, most=LARGEST if most is None else most, like=ROWS)
    rows = json_rows(path, text) if suffix in LINES else csv_rows(path, text, SEPARATORS[suffix])
    cells = 0
    for number, (where, row) in enumerate(rows, 1):
        cells += len(row) if isinstance(row, dict) else 1
        for count, limit, unit in ((number, MOST_ROWS, "rows"), (cells, MOST_CELLS, "cells")):
            if count > limit:
                raise TaskError(f"{where}: a file of {what} has at most {limit:,} {unit}")
        yield where, row


def json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(io.StringIO(text), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line)
        except (ValueError, RecursionError) as problem:
            reason = "it is nested too deeply" if isinstance(problem, RecursionError) else problem
            raise TaskError(f"{path}:{number}: not a JSON object: {reason}") from problem


def csv_rows(path: Path, text: str, separator: str) -> Iterator[tuple[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if len(header) > MOST_COLUMNS:
                    raise TaskError(f"{where}: there are {len(header):,} columns, and a row has at most {MOST_COLUMNS}")
                for i, column in enumerate(header):
                    if not column or column in header[:i]:
                        raise TaskError(
                            f"{where}: the header names column {column!r} twice"
                            if column
                            else f"{where}: a column has no name"
                        )
                continue
            names: list[str | None] = [*header, *[None] * max(0, len(cells) - len(header))]
            yield where, dict(zip(names, [*cells, *[None] * max(0, len(header) - len(cells))], strict=True))
    except csv.Error as problem:
        raise TaskError(f"{path}:{line}: not a row of the file: {problem}") from problem
