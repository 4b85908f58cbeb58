"""Reads rows of prompts from a file or a table, and checks their form; it knows nothing of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import TaskError, nearest
from assay.task.row_files import LONE, MOST_COLUMNS, TOO_WIDE, file_rows, table_rows

KNOWN = ("clean", "corrupted", "correct", "incorrect", "group")
NEEDED = ("clean", "correct")
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


def read_rows(source: Any) -> tuple[list[PromptRow], str]:
    """Rows that all have the same columns, and a name for them.

    Raises:
        TaskError: for a missing or unreadable file, a missing column, and a row that is not like the others.
    """
    if isinstance(source, (str, Path)):
        name, raw = str(source), file_rows(Path(source), "prompts")
    else:
        name, raw = f"{len(source)} prompts", table_rows(source, "the prompts")
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
            raise TaskError(f"{where}: {TOO_WIDE}")
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
