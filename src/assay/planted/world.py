"""What a network with a known mechanism offers, whether it was compiled, trained or written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol, runtime_checkable

from assay.errors import PluginError
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.promises import held, hints
from assay.stats.estimate import Undefined
from assay.task.task import Task


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """What is right of a world's edges under one ablation.

    Attributes:
        edges: the right ones, by name: with all others cut, the model does what it did.
        neutral: those that count neither way, as it is not known whether they are right.
    """

    edges: tuple[str, ...]
    neutral: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The components that the right edges come from, but for `input`, in order."""
        return tuple(dict.fromkeys(w for w in (edge.split("->")[0] for edge in self.edges) if w != "input"))


@runtime_checkable
class World(Protocol):
    """A model, what it does, and what is right of it."""

    @property
    def name(self) -> str:
        """What stands after "planted:"."""
        ...

    @property
    def model(self) -> Model | ModuleModel:
        """The network, opened and proved."""
        ...

    def task(self, n: int = 64, seed: int = 0, *, metric: str = "loss") -> Task:
        """`n` rows of what it was made for, drawn by `seed`, with a reference that shares none of them.

        Raises:
            TaskError: when there are not so many different rows; for an unknown metric.
        """
        ...

    def truth(self, ablation: str) -> Truth | Undefined:
        """What is right under an ablation, or why that is not known."""
        ...


@dataclass(frozen=True, eq=False)
class HeldWorld:
    """A world whose every answer was, or is when it is given, held against what `World` promises."""

    name: str
    model: Model | ModuleModel
    task: Callable[..., Task]
    truth: Callable[..., Truth | Undefined]


def held_world(world: World, name: str) -> HeldWorld:
    """A world from outside of assay.

    Raises:
        PluginError: here for its name and its model; at each call for a task and a truth that are none.
    """

    def holding(function: Callable[..., Any], promised: Any) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            found = function(*arguments, **named)
            return held(found, hints(promised)["return"], f"{promised.__name__!r} of the world {name!r}")

        return call

    if held(world.name, str, f"'name' of the world {name!r}") != name:
        raise PluginError(f"the world {name!r} calls itself {world.name!r}; records must know it by one name")
    model = held(world.model, Model | ModuleModel, f"'model' of the world {name!r}")
    return HeldWorld(name, model, holding(world.task, World.task), holding(world.truth, World.truth))
