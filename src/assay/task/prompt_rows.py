"""Reads rows of prompts from a CSV or JSONL file, or from mappings, and checks their form; it knows nothing of
tokens."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import TaskError, nearest
from assay.store import inputs
from assay.task.encode import LONE

KNOWN = ("clean", "corrupted", "correct", "incorrect", "group")
NEEDED = ("clean", "correct")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
LARGEST = 1 << 25  # bytes of a file
MOST_ROWS, MOST_COLUMNS, MOST_CELLS = 200_000, 64, 2_000_000
LONGEST = 100_000  # characters of a cell
SHOWN = 10  # rows that a message names

One = TypeVar("One")
Made = TypeVar("Made")


@dataclass(frozen=True)
class PromptRow:
    """One prompt as written.

    Attributes:
        where: "file:line" or "row 3", for messages.
        values: column -> text, without `group`.
        group: what the prompt belongs to, where that is said.
    """

    where: str
    values: dict[str, str]
    group: str | None


def read_rows(source: str | Path | Sequence[Mapping[str, Any]]) -> tuple[list[PromptRow], str]:
    """Rows that all have the same columns, and a name for them.

    Raises:
        TaskError: for a missing or unreadable file, a missing column, and a row that is not like the others.
    """
    if isinstance(source, (str, Path)):
        path, name = Path(source), str(source)
        raw = file_rows(path)
    else:
        name = f"{len(source)} prompts"
        raw = ((f"row {i}", values) for i, values in enumerate(source))
    rows = each(raw, lambda one: checked(*one))
    if not rows:
        raise TaskError(
            f"{name} has no rows; prompts have columns {', '.join(NEEDED)} and, where there are any, corrupted, "
            f"incorrect, group"
        )
    first = rows[0]
    for column in NEEDED:
        if column not in first.values:
            raise TaskError(f"{first.where}: there is no column {column!r}" + nearest(column, first.values))
    for column in first.values:
        absent = [known for known in KNOWN if known not in (*first.values, "group" if first.group else "")]
        if column not in KNOWN and get_close_matches(column, absent, cutoff=0.85):
            raise TaskError(f"{first.where}: unknown column {column!r}" + nearest(column, absent))
    for row in rows:
        for column in (*first.values, *row.values):
            if (column in first.values) != (column in row.values):
                lacking, other = (row, first) if column in first.values else (first, row)
                raise TaskError(f"{lacking.where}: there is no {column!r}, which {other.where} has")
        if (row.group is None) != (first.group is None):
            lacking, other = (row, first) if row.group is None else (first, row)
            raise TaskError(f"{lacking.where}: there is no 'group', which {other.where} has")
    return rows, name


def each(rows: Iterable[One], make: Callable[[One], Made]) -> list[Made]:
    """What is made of every row.

    Raises:
        TaskError: for all rows that are refused together, the first ten of them by their lines.
    """
    made, problems = [], []
    for row in rows:
        try:
            made.append(make(row))
        except TaskError as problem:
            problems.append(str(problem))
    if len(problems) == 1:
        raise TaskError(problems[0])
    if problems:
        shown = "; ".join(problem.partition("; ")[0] for problem in problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise TaskError(f"{len(problems):,} of {len(made) + len(problems):,} prompts cannot be scored: {shown}{more}")
    return made


def checked(where: str, values: Any) -> PromptRow:
    """A row whose values are texts (whole numbers are allowed for positions and groups)."""
    if not isinstance(values, Mapping):
        raise TaskError(f"{where}: a row must be an object with named columns, not {type(values).__name__}")
    if len(values) > MOST_COLUMNS:
        raise TaskError(f"{where}: a row has {len(values):,} columns, and prompts have at most {MOST_COLUMNS}")
    found: dict[str, str] = {}
    for column, value in values.items():
        if column is None:
            raise TaskError(f"{where}: the row has more cells than the header has columns")
        if value is None:
            if column == "group":
                continue
            raise TaskError(f"{where}: column {column!r} has no value")
        number = (
            isinstance(value, int)
            and not isinstance(value, bool)
            and column not in ("clean", "corrupted", "correct", "incorrect")
        )
        if not isinstance(value, str) and not number:
            raise TaskError(f"{where}: {column!r} must be a text, not {value!r}")
        if (isinstance(value, str) and len(value) > LONGEST) or (isinstance(value, int) and abs(value) >= 10**18):
            raise TaskError(f"{where}: column {column!r} is too long: {str(value)[:40]!r}...")
        if column == "group" and (lone := LONE.search(str(value))):
            raise TaskError(f"{where}: column 'group' holds {lone[0]!r}, which is half a character")
        if column != "group" and not str(value):
            raise TaskError(f"{where}: column {column!r} is empty")
        found[str(column)] = str(value)
    return PromptRow(where, found, found.pop("group", None) or None)


def file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """("file:line", row) for each row of a file."""
    suffix = path.suffix.lower()
    if suffix not in (*SEPARATORS, *LINES):
        raise TaskError(f"the prompts {str(path)!r} must be a file that ends in " + ", ".join((*SEPARATORS, *LINES)))
    text = inputs.read_text(path, "the file", TaskError, most=LARGEST, like=(*SEPARATORS, *LINES))
    rows = json_rows(path, text) if suffix in LINES else csv_rows(path, text, SEPARATORS[suffix])
    cells = 0
    for number, (where, row) in enumerate(rows, 1):
        cells += len(row) if isinstance(row, dict) else 1
        for count, most, what in ((number, MOST_ROWS, "rows"), (cells, MOST_CELLS, "cells")):
            if count > most:
                raise TaskError(f"{where}: a file of prompts has at most {most:,} {what}")
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
                    raise TaskError(
                        f"{where}: there are {len(header):,} columns, and prompts have at most {MOST_COLUMNS}"
                    )
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
