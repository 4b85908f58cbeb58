"""A user's texts, one document each: of text files, of rows of CSV and JSONL files and tables, and of plain lists.
Light: nothing heavy is imported to look at a file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from assay.errors import TaskError, nearest
from assay.store import inputs
from assay.task.row_files import LONE, ROWS, TOO_WIDE, file_rows, is_table, table_rows

LARGEST = 1 << 24  # bytes of a text file, which is one document
TOGETHER = 1 << 26  # bytes of a file of rows, and characters of all texts
MOST_FILES = 100_000  # that are looked at in a folder or for a glob, whether they hold texts or not
TAKEN = (".txt", ".text", ".md", *ROWS)  # files of a folder that are read
COLUMN = "text"  # where no other is named


class Text(NamedTuple):
    """A text, what it is called, whether it was given by itself (of rows and folders short ones are left out), and
    whether it is of a row."""

    text: str
    name: str
    single: bool = False
    row: bool = False


def expand(entry: str | Path) -> list[str]:
    """The files that an entry names: itself, those of a folder (and its folders) that hold texts, or those of a glob.

    Raises:
        TaskError: for a folder or a glob with no such file, and where too many would have to be looked at.
    """
    place = inputs.place(entry)
    if inputs.is_folder(place):
        found = [file for file in _few(_walk(str(place)), entry) if inputs.suffix(file) in TAKEN]
        none = f"the folder {inputs.shown(entry)} holds no file of texts ({', '.join(TAKEN)})"
    elif glob.has_magic(str(entry)) and inputs.is_absent(place):
        found = [file for file in _few(glob.iglob(str(place), recursive=True), entry) if inputs.is_file(file)]
        none = f"no file matches {inputs.shown(entry)}{inputs.similar_files(place)}"
    else:
        return [str(entry)]
    if not found:
        raise TaskError(none)
    return sorted(found)


def _few(files: Iterator[str], entry: str | Path) -> list[str]:
    """All of these, before any is looked into."""
    found = list(islice(files, MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise TaskError(
            f"{inputs.shown(entry)} names more than {MOST_FILES:,} files; name a folder or a glob that holds fewer"
        )
    return found


def _walk(folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if not name.startswith("."))


def read_texts(files: Sequence[str | Path], column: str | None = None) -> list[Text]:
    """The texts of files, folders and globs: a row of a CSV or JSONL file is one, and any other file is.

    Args:
        column: that of the texts in rows; None: "text".

    Raises:
        TaskError: for a file that is not there, not a regular one, not UTF-8 text, or too large; for rows without that
            column.
    """
    found: list[Text] = []
    size, seen = 0, set[str]()
    for entry in files:
        for file in expand(entry):
            if (real := os.path.realpath(inputs.place(file))) in seen:
                continue
            seen.add(real)
            if inputs.suffix(file) in ROWS:
                new = _column(file_rows(Path(file), "texts", TOGETHER), column)
            else:
                text = inputs.read_text(file, "the file", TaskError, most=LARGEST)
                new = [Text(text, LONE.sub("?", file), file == str(entry))]
            found += new
            size += sum(len(one.text) for one in new)
            if size > TOGETHER:
                raise TaskError(
                    f"the texts up to {inputs.shown(file)} have {size:,} characters, and at most {TOGETHER:,} are read "
                    "together"
                )
    if not found:
        raise TaskError(f"there are no rows in {', '.join(inputs.shown(entry) for entry in files[:3])}")
    return found


def texts_of(given: Any, what: str, column: str | None = None) -> list[Text]:
    """Texts in whatever form they are given: a list of them, rows with a column of them, or paths.

    Raises:
        TaskError: for what is none of these; see `read_texts`.
    """
    if isinstance(given, Path):
        return read_texts([given], column)
    if isinstance(given, str):
        raise TaskError(
            f"{what} must be a list of texts, one document each, not one string; paths are given as 'files'"
        )
    if is_table(given) or isinstance(given, Mapping) or not hasattr(given, "__len__"):
        return _column(table_rows(given, what, COLUMN if column is None else column), column, what)
    listed = list(given)
    if not listed:
        raise TaskError(f"{what} is an empty list; give at least one text")
    for kind, make in (
        (Text, lambda: listed),
        (Path, lambda: read_texts(listed, column)),
        (Mapping, lambda: _column(table_rows(listed, what), column, what)),
    ):
        if all(isinstance(one, kind) for one in listed):
            return make()
    names = [f"{what}[{i}]" for i in range(len(listed))]
    for name, text in zip(names, listed, strict=True):
        if not isinstance(text, str):
            raise TaskError(f"{name} is {type(text).__name__}, not a text")
    return [Text(text, name, isinstance(given, list | tuple)) for text, name in zip(listed, names, strict=True)]


def _column(rows: Iterator[tuple[str, Any]], column: str | None, what: str | None = None) -> list[Text]:
    """The texts in a column of some rows."""
    found, name = [], COLUMN if column is None else column
    for place, row in rows:
        where = place if what is None else f"{what}, {place}"
        if isinstance(row, Mapping) and None in row:
            raise TaskError(f"{where}: {TOO_WIDE}")
        if not isinstance(row, Mapping) or name not in row:
            tail = nearest(name, row) if isinstance(row, Mapping) else ""
            raise TaskError(
                f"{where}: there is no column {name!r}{tail}" + ("" if column else "; 'column' names another")
            )
        if not isinstance(row[name], str):
            raise TaskError(f"{where}: {name!r} must be a text, not {str(row[name])[:40]!r}")
        found.append(
            Text(row[name], LONE.sub("?", place if what is None else f"{what}[{place.split()[-1]}]"), row=True)
        )
    return found
