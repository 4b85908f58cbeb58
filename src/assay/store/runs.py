"""A run folder: takes the record, the per-token table and the page, and writes all of them or nothing; reads them back.

`measurement.json` is what makes a folder a measurement, `frontier.json` a search. Files are written into a hidden
sibling and moved into place by a rename, so a finished run is never damaged by one that fails or is interrupted.
Single files of a finished run (its page) are replaced one by one, each whole.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.errors import RunError, nearest
from assay.store import inputs, left_over
from assay.store.canonical import canonical_json
from assay.store.files import (
    MARK,
    check_writable,
    given_path,
    locked_folder,
    reason,
    scratch_mark,
    write_file,
    write_new,
)
from assay.store.tables import read_table

LARGEST_RECORD, LARGEST_SCORES = 1 << 26, 1 << 31  # bytes
READS = 20  # of a run that others replace
RECORD, EXAMPLES, PAGE, CLAIM, SCORES = (
    "measurement.json",
    "examples.parquet",
    "report.html",
    "claim.yaml",
    "scores.npz",
)


@dataclass(frozen=True)
class RunKind:
    """A kind of run folder.

    Attributes:
        record: the file that makes a folder a run of this kind; files: all that such a run may have.
        again: how to make one anew.
    """

    record: str
    files: frozenset[str]
    again: str


MEASUREMENT = RunKind(RECORD, frozenset({RECORD, EXAMPLES, PAGE, CLAIM, SCORES, "circuit.svg"}), "measure again")
SEARCH = RunKind(
    "frontier.json",
    frozenset(
        {"frontier.json", "scores.parquet", "circuit.json", "claim.yaml", "selection.json", PAGE, "circuit.svg"}
        | {"evaluation.jsonl", "selection.jsonl", "reference.jsonl"}  # of prompts
    ),
    "search again",
)
PLACES = RunKind(
    "places.json",
    frozenset({"places.json", "claim.yaml", "selection.json"})
    | frozenset({"evaluation.jsonl", "selection.jsonl", "reference.jsonl"}),  # of prompts
    "search again",
)
DICTIONARIES = RunKind(
    "dictionaries.json",
    frozenset({"dictionaries.json", "claim.yaml", "dictionary", "others", "controls"}),
    "search again",
)


def check_target(folder: str | Path, overwrite: bool = False, kind: RunKind = MEASUREMENT) -> Path:
    """The folder's path if a run may be written there; ask this before anything expensive starts.

    Raises:
        RunError: it exists (without `overwrite`), is not a run folder, or its parent cannot hold it.
    """
    target = given_path(folder, "the output folder", spare=MARK)
    try:
        left_over.restore(target)
        if os.path.lexists(target):
            if not overwrite:
                raise RunError(f"the output folder '{folder}' exists; choose another one, or give --overwrite")
            if not target.is_dir():
                raise RunError(f"the output folder '{folder}' is a file; choose another name")
            target = target.resolve()
            others = {entry.name for entry in target.iterdir()}
            if kind.record not in others and not others <= kind.files:
                raise RunError(f"'{folder}' is not a run folder (it has no {kind.record}), so it is not overwritten")
    except OSError as error:
        raise RunError(f"the output folder '{folder}' cannot be looked at: {reason(error)}") from error
    check_writable(target, f"the output folder '{folder}'")
    return target


def write_run(
    folder: str | Path,
    record: object,
    examples: pa.Table,
    html: str | None,
    overwrite: bool = False,
    extra: Mapping[str, str | bytes] | None = None,
) -> Path:
    """Write a run: `measurement.json`, `examples.parquet`, `report.html` and any further files.

    Args:
        folder: where the run goes; its parents are made.
        record: the measurement.
        examples: one row a scored token.
        html: the page; None: none is written, and one that is there is kept.
        overwrite: replace an existing run; whatever else lies in its folder is kept.
        extra: further files, name to content (for instance `claim.yaml`).

    Returns:
        The folder, absolute.

    Raises:
        RunError: the folder exists, is not a run, or cannot be written.
        ValueError: the record holds a NaN or an infinity.
    """
    files = {
        RECORD: canonical_json(record).encode(),
        EXAMPLES: parquet_bytes(examples),
    }
    if html is not None:
        files[PAGE] = html.encode("utf-8", "replace")
    for name, text in (extra or {}).items():
        if Path(name).name != name or name in {*files, PAGE, "", ".", ".."}:
            raise ValueError(f"{name!r} is not a free file name in a run folder")
        files[name] = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return write_folder(folder, files, overwrite)


def write_folder(
    folder: str | Path,
    files: Mapping[str, bytes],
    overwrite: bool = False,
    kind: RunKind = MEASUREMENT,
    folders: Mapping[str, Path] | None = None,
) -> Path:
    """Write these files or none of them; whatever else lies in an overwritten folder is kept.

    Args:
        folders: name -> a folder beside the run, which is moved into it.

    Raises:
        RunError: the folder exists, is not a run of this kind, or cannot be written.
    """
    target = check_target(folder, overwrite, kind)
    mark = scratch_mark()
    scratch = target.parent / f".{target.name}.{mark}.partial"
    old = target.parent / f".{target.name}.{mark}.old"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        for name, content in files.items():
            write_new(scratch / name, content)
        for name, path in (folders or {}).items():
            os.rename(path, scratch / name)
        with locked_folder(target.parent):  # what lies in the folder is kept by one at a time
            try:
                if overwrite and target.exists():
                    _keep_others(
                        target, scratch, {*files, *kind.files, SCORES} if folders else {*files, SCORES}
                    )  # those of an earlier run are its own
                    os.rename(target, old)
                os.rename(scratch, target)
            finally:  # also on Ctrl-C: the earlier run goes back to its place
                if not os.path.lexists(target):
                    with suppress(OSError):  # most often because there was none
                        os.rename(old, target)
                if os.path.lexists(target):
                    shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RunError(f"the run could not be written to '{folder}': {reason(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    left_over.clear(target)
    return target


def rewrite(folder: str | Path, files: Mapping[str, str], kind: RunKind = MEASUREMENT) -> None:
    """Replaces single files of a finished run, such as its page; each is written whole and never through a link.

    Raises:
        RunError: not a run of this kind, or not writable; files that were not replaced are as they were.
    """
    path = _run_folder(folder, kind)
    for name, text in files.items():
        assert name in kind.files - {kind.record}
        try:
            write_file(path / name, text.encode("utf-8", "replace"))
        except OSError as error:
            raise RunError(f"'{path / name}' cannot be written: {reason(error)}") from error


def kind_of(folder: str | Path) -> RunKind:
    """Whether a folder (or a file in it) is a search; everything else is taken for a measurement.

    Raises:
        RunError: a path that cannot be one, or that cannot be looked at.
    """
    path = _located(folder, SEARCH)
    return SEARCH if (path / SEARCH.record).is_file() and not (path / RECORD).is_file() else MEASUREMENT


def read_record(folder: str | Path, kind: RunKind = MEASUREMENT) -> Any:
    """The data in the record of a run folder (or of a file in it), of any schema: `record.read` makes a record of them.

    Raises:
        RunError: no such folder, not a run of this kind, or not JSON.
    """
    path = _run_folder(folder, kind) / kind.record
    try:
        return inputs.read_json(path, "the record", RunError, most=LARGEST_RECORD)
    except RunError as error:
        raise RunError(f"{error}; {kind.again} with --overwrite") from error


def read_run(folder: str | Path) -> tuple[Any, pa.Table]:
    """The record's data and the per-token table of a run folder (or of a file in it), both of one run.

    Raises:
        RunError: no such folder, not a run, a table that is missing or broken, or one process after
            another that puts another run in its place.
    """
    for _ in range(READS):
        found = _identity(folder)
        try:
            record, examples = _record_and_table(folder)
        except RunError:
            if _identity(folder) == found:
                raise
            continue
        if _identity(folder) == found:
            return record, examples
    raise RunError(f"the run '{folder}' is replaced while it is read; read it when what measures has ended")


def read_claim(folder: str | Path) -> str | None:
    """The text of a run's claim file; None where it was measured without one.

    Raises:
        RunError: as `read_run`, and for a claim file that cannot be read.
    """
    path = _run_folder(folder) / CLAIM
    if inputs.is_absent(path):
        return None
    return inputs.read_bytes(path, "the claim file", RunError, most=LARGEST_RECORD).decode("utf-8", "replace")


def read_scores(folder: str | Path) -> bytes | None:
    """The scores that a measurement is gone on from; None where it left nothing to be measured.

    Raises:
        RunError: as `read_run`, and for a file that cannot be read.
    """
    path = _run_folder(folder) / SCORES
    return None if inputs.is_absent(path) else inputs.read_bytes(path, "the scores", RunError, most=LARGEST_SCORES)


def _identity(folder: str | Path) -> tuple[int, ...] | None:
    """What is another for another folder at the same path."""
    try:
        found = os.stat(_located(folder, MEASUREMENT))
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _record_and_table(folder: str | Path) -> tuple[Any, pa.Table]:
    record = read_record(folder)
    path = _run_folder(folder) / EXAMPLES
    if not path.is_file():
        raise RunError(f"the run '{folder}' has no {EXAMPLES}; measure again with --overwrite")
    try:
        return record, read_table(path)
    except RunError as error:
        raise RunError(f"{error}; measure again with --overwrite") from error


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file; the same bytes for equal tables, however they are chunked in memory."""
    sink = io.BytesIO()
    table = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(table, sink, compression="zstd", row_group_size=1 << 20, store_schema=False)
    return sink.getvalue()


def _located(folder: str | Path, kind: RunKind) -> Path:
    """Where the run of a folder, or of a file in it, should lie; a run that a killed process hid is put back first."""
    path = given_path(folder, "the run")
    if path.name in kind.files:
        left_over.restore(path.parent)
    try:
        if path.is_file() and path.name in kind.files:
            return path.parent
        left_over.restore(path)
        (path / kind.record).is_file()  # a folder that may not be entered says so here
    except OSError as error:
        raise RunError(f"the run '{folder}' cannot be looked at: {reason(error)}") from error
    return path


def _run_folder(folder: str | Path, kind: RunKind = MEASUREMENT) -> Path:
    path, asked = _located(folder, kind), Path(folder).expanduser()  # names are suggested as they are written
    if not path.exists():
        runs = sorted(str(found.parent) for found in _glob(asked.parent))
        raise RunError(f"there is no run '{folder}'" + nearest(folder, runs))
    if not (path / kind.record).is_file():
        if kind is MEASUREMENT and any((path / one.record).is_file() for one in (SEARCH, PLACES)):
            raise RunError(f"'{folder}' is a search; what it found is measured with: assay measure {folder}/claim.yaml")
        inside = sorted(str(found.parent) for found in _glob(asked)) if path.is_dir() else []
        raise RunError(f"'{folder}' is not a run folder: it has no {kind.record}" + nearest(folder, inside))
    return path


def _glob(parent: Path) -> list[Path]:
    """Records of the runs in a folder, for suggestions; none where there is no looking."""
    try:
        names = (RECORD, SEARCH.record) if parent.is_dir() else ()
        return [path for name in names for path in parent.glob(f"*/{name}") if not path.parent.name.startswith(".")]
    except OSError:  # a path that with another part behind it is too long for the system
        return []


def _keep_others(source: Path, scratch: Path, written: set[str]) -> None:
    for entry in sorted(source.iterdir()):
        if entry.name in written:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, scratch / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, scratch / entry.name, follow_symlinks=False)
