"""What a killed process leaves beside a run folder: an earlier run under a hidden name, which goes back to its place,
and scratch folders, which go.

A run is replaced in two renames, `RUN` to `.RUN.MARK.old` and `.RUN.MARK.partial` to `RUN`. A process that is killed
between them leaves no `RUN`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from assay.errors import RunError
from assay.store.files import MARKS, reason

PATIENCE = 1.0  # seconds that a process which is at work has for its second rename
_MARK = re.compile(r"\.(\d+-[0-9a-f]{8})\.(old|partial)")


def restore(target: Path) -> bool:
    """Moves the newest earlier run back to `target` where nothing is there; whether it did.

    Raises:
        RunError: when it is there and cannot be moved.
    """
    target = Path(os.path.realpath(target))  # a link to a run stays; what it leads to was moved
    try:
        if os.path.lexists(target):
            return False
        found = sorted((path for path, _ in _siblings(target, "old")), key=lambda path: path.stat().st_mtime_ns)
        if not found:
            return False
        end = time.monotonic() + PATIENCE
        while any(_alive(mark) for _, mark in _siblings(target, "old")) and time.monotonic() < end:
            time.sleep(0.02)
            if os.path.lexists(target):
                return False
        os.rename(found[-1], target)
        return True
    except OSError as error:
        if os.path.lexists(target):
            return False  # another process put it back
        hidden = _siblings(target, "old")
        if not hidden:
            return False
        where = f"'{hidden[0][0]}', where a process that was killed left it"
        raise RunError(f"the run '{target}' cannot be moved back from {where}: {reason(error)}") from error


def clear(target: Path) -> None:
    """Removes what processes that are gone left beside a run that is in its place."""
    for kind in ("old", "partial"):
        for path, mark in _siblings(target, kind):
            if not _alive(mark):
                shutil.rmtree(path, ignore_errors=True)


def _siblings(target: Path, kind: str) -> list[tuple[Path, str]]:
    """Hidden folders of a run with the marks of the processes that made them; none where there is no looking."""
    found = []
    head = f".{target.name}"
    try:
        entries = sorted(os.scandir(target.parent), key=lambda entry: entry.name)
    except OSError:
        return []
    for entry in entries:
        match = _MARK.fullmatch(entry.name[len(head) :]) if entry.name.startswith(head) else None
        if match and match[2] == kind and entry.is_dir(follow_symlinks=False):
            found.append((Path(entry.path), match[1]))
    return found


def _alive(mark: str) -> bool:
    """Whether the process that made a mark is there.

    A mark with this process's number that it did not make is that of an older one with the same number.
    """
    pid = int(mark.partition("-")[0])
    if pid == os.getpid():
        return mark in MARKS
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
