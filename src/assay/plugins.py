"""What other packages add by entry points: kinds of explanations, programs, searches for circuits, ablations, metrics,
worlds."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from assay.errors import PluginError, UserError, said
from assay.promises import held

KINDS, PROGRAMS, METHODS = "assay.kinds", "assay.programs", "assay.methods"
ABLATIONS, METRICS, WORLDS = "assay.ablations", "assay.metrics", "assay.worlds"


@lru_cache(maxsize=32)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """A group's entry points in what is installed in these folders, which are looked through once."""
    return entry_points(group=group)


def _points(group: str, name: str) -> tuple[EntryPoint, ...]:
    """What has a name; a package that is found twice counts once."""
    points = _installed(group, tuple(sys.path)).select(name=name)
    return tuple({point.value: point for point in points}.values())


def names(group: str, ours: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of a group that are not ours, in order."""
    return tuple(sorted(_installed(group, tuple(sys.path)).names - set(ours)))


def problem(group: str, name: str, ours: Collection[str] = ()) -> str | None:
    """One clause on a name that more than one thing has, or None.

    Args:
        ours: the names that assay itself gives, or keeps for later.
    """
    points = _points(group, name)
    theirs = " and ".join(
        f"the plug-in {point.value!r}" + (f" of the package {point.dist.name!r}" if point.dist else "")
        for point in points
    )
    if points and name in ours:
        return f"{name!r} is assay's own name, and {theirs} has it too in {group!r}; rename or uninstall that"
    return f"{theirs} have the same name {name!r} in {group!r}; uninstall one" if len(points) > 1 else None


def load(group: str, name: str) -> Any:
    """What a plug-in is, by its name.

    Raises:
        PluginError: when it cannot be loaded, or two have this name.
    """
    if clause := problem(group, name):
        raise PluginError(clause)
    (point,) = _points(group, name)
    try:
        return point.load()
    except Exception as wrong:  # another package's code
        raise PluginError(
            f"the plug-in {point.value!r} ({name!r} of {group}) cannot be loaded: {said(wrong)}"
        ) from wrong


def call(group: str, name: str, wanted: Any, *arguments: Any, **named: Any) -> Any:
    """What a plug-in that is a function gives.

    Args:
        wanted: its type; arguments, named: what it is called with.

    Raises:
        PluginError: as `load`; for what does not take these arguments, fails, or gives something else.
    """
    made = load(group, name)
    who = f"the plug-in {name!r} of {group}"
    try:
        inspect.signature(made).bind(*arguments, **named)
    except (TypeError, ValueError) as wrong:
        raise PluginError(f"{who} is {made!r}, which cannot be called as assay does: {wrong}") from wrong
    try:
        found = made(*arguments, **named)
    except UserError:
        raise
    except Exception as wrong:
        raise PluginError(f"{who} fails: {said(wrong)}") from wrong
    return held(found, wanted, who)
