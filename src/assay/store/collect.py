"""The runs in a folder: takes its path, gives the run folders under it and what else lies there, each with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.errors import RunError
from assay.store.files import given_path, reason
from assay.store.register import REGISTER
from assay.store.runs import RECORD, SEARCH

INDEX = "index.html"
DEEPEST = 4  # folders within one another that are looked into


@dataclass(frozen=True)
class Found:
    """What lies in a folder, in order of name; paths are relative to it.

    Attributes:
        runs: run folders; skipped: what is no run, and why.
    """

    runs: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a record."""
    return any((folder / name).is_file() for name in (RECORD, SEARCH.record))


def is_collection(folder: str | Path) -> bool:
    """Whether a path is a folder that is no run and has runs in it."""
    path = given_path(folder, "the run")
    try:
        return path.is_dir() and not is_run(path) and bool(collect(path).runs)
    except OSError:
        return False


def collect(folder: str | Path) -> Found:
    """The runs in a folder and in its folders; links are not followed, and hidden names are passed over.

    Raises:
        RunError: when it cannot be looked at.
    """
    path = given_path(folder, "the folder of runs")
    runs: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    try:
        _collect(path, path, runs, skipped)
    except OSError as error:
        raise RunError(f"the folder '{folder}' cannot be looked at: {reason(error)}") from error
    return Found(tuple(runs), tuple(skipped))


def _collect(top: Path, folder: Path, runs: list[Path], skipped: list[tuple[Path, str]]) -> None:
    for entry in sorted(folder.iterdir()):
        name = entry.relative_to(top)
        if entry.name.startswith(".") or (folder == top and entry.name in (INDEX, REGISTER)):
            continue
        if entry.is_symlink():
            skipped.append((name, "a link"))
        elif not entry.is_dir():
            skipped.append((name, "a file, and no run folder"))
        elif is_run(entry):
            runs.append(name)
        elif len(name.parts) < DEEPEST:
            before = len(runs)
            inside: list[tuple[Path, str]] = []
            _collect(top, entry, runs, inside)
            skipped += inside if len(runs) > before else [(name, "a folder without runs")]
        else:
            skipped.append((name, "a folder too deep to be looked into"))
