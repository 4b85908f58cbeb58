"""The worlds: models whose mechanism is known, by name. Light: none is imported before it is opened.

Other packages add worlds by the entry-point group `assay.worlds`: a function without arguments that gives a `World`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from assay import plugins
from assay.errors import ModelError, nearest

if TYPE_CHECKING:
    from assay.planted.world import World

PREFIX = "planted:"


@dataclass(frozen=True)
class WorldEntry:
    """A world of our own.

    Attributes:
        layers, heads: how many its network has.
        function: its file in this package, and its name there; arguments: what it is called with.
    """

    layers: int
    heads: int
    function: str
    arguments: tuple[int, ...] = ()


WORLDS = {
    "reversal": WorldEntry(1, 2, "library.reversal"),
    "proportion": WorldEntry(1, 2, "library.proportion"),
    "sort": WorldEntry(1, 2, "library.sort"),
    "induction": WorldEntry(2, 2, "library.induction"),
    "and_gate": WorldEntry(1, 3, "library.and_gate"),
    "or_gate": WorldEntry(1, 3, "library.or_gate"),
    "cancelling": WorldEntry(1, 4, "library.cancelling"),
    "backup": WorldEntry(2, 2, "library.backup"),
    **{f"sums_{seed}": WorldEntry(2, 4, "trained.sums", (seed,)) for seed in range(3)},
}


def names() -> tuple[str, ...]:
    """Names of all worlds, ours first."""
    return (*WORLDS, *plugins.names(plugins.WORLDS, WORLDS))


def is_world(model: str) -> bool:
    """Whether a model's name is one of a world; that there is such a world is another question."""
    return model.startswith(PREFIX)


def problem(model: str) -> str | None:
    """One clause on a name such as "planted:induction" that is no world's, or more than one's; or None."""
    if model.removeprefix(PREFIX) in names():
        return plugins.problem(plugins.WORLDS, model.removeprefix(PREFIX), WORLDS)
    return f"unknown model {model!r}" + nearest(model, [PREFIX + name for name in names()])


def shape(model: str) -> tuple[int, int] | None:
    """Layers and heads of a world's network; None for a plug-in, which has to be opened."""
    entry = WORLDS.get(model.removeprefix(PREFIX))
    return None if entry is None else (entry.layers, entry.heads)


def world(name: str) -> World:
    """The world of this name, with "planted:" before it or without; opened once.

    Raises:
        ModelError: for a name that no world has, or more than one.
        PluginError: for a plug-in that gives none, or no task or truth when it is asked for them.

    Example:
        >>> found = world("reversal")
        >>> found.task(n=8).tokens.shape, found.model.config.layers
        (torch.Size([8, 10]), 1)
        >>> found.truth("resample_joint").edges
        ('input->a0.h0<v>', 'a0.h0->logits')
    """
    return _world(name.removeprefix(PREFIX))


@cache
def _world(name: str) -> World:
    if clause := problem(PREFIX + name):
        raise ModelError(clause)
    if name in WORLDS:
        module, function = WORLDS[name].function.split(".")
        return getattr(import_module(f"assay.planted.{module}"), function)(*WORLDS[name].arguments)
    from assay.planted import world

    return world.held_world(plugins.call(plugins.WORLDS, name, world.World), name)
