"""What every kind of explanation offers: a scope, a level, and the plans of its explained run and of its floors."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from assay.intervene.ablations import Workbench
from assay.intervene.plan import Plan
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site

Level = Literal["where", "what", "how"]


@runtime_checkable
class Explanation(Protocol):
    """A claim about some components.

    Attributes:
        kind: `program`, `keep`, `remove`, `constant` or `circuit`.
        level: which question it answers: where, what or how.
        headline_floor: the floor that its recovered share is given over.
    """

    @property
    def kind(self) -> str: ...

    @property
    def level(self) -> Level: ...

    @property
    def headline_floor(self) -> str: ...

    def scope(self, model: Model | ModuleModel) -> list[Site]:
        """The parts that the claim names, expanded and checked against the model."""
        ...

    def plan(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        """The explained run under an ablation and draw."""
        ...

    def floor(self, bench: Workbench, ablation: str, draw: int = 0) -> Plan:
        """The run in which nothing of the claim's scope is explained."""
        ...

    def sentence(self, model_name: str) -> str:
        """The claim in words."""
        ...


def listed(names: list[str], most: int = 6) -> str:
    """`a, b and 3 more`: for sentences."""
    return ", ".join(names) if len(names) <= most else ", ".join(names[:most]) + f" and {len(names) - most} more"
