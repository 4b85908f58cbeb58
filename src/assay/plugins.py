"""What other packages add by entry points: kinds of explanations, programs, searches for circuits, metrics, worlds."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from assay.errors import UserError

KINDS, PROGRAMS, METHODS = "assay.kinds", "assay.programs", "assay.methods"
METRICS, WORLDS = "assay.metrics", "assay.worlds"


def names(group: str, ours: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of a group that are not ours, in order."""
    return tuple(sorted({point.name for point in entry_points(group=group)} - set(ours)))


def load(group: str, name: str) -> Any:
    """What a plug-in is, by its name.

    Raises:
        UserError: when it cannot be loaded.
    """
    (point, *_) = entry_points(group=group, name=name)
    try:
        return point.load()
    except Exception as problem:  # another package's code
        said = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise UserError(f"the plug-in {point.value!r} ({name!r} of {group}) cannot be loaded: {said}") from problem
