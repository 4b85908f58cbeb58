"""Each component of a claim alone, beside the compound of them all: what is run.

Programs and constants: only that component is explained, over a floor in which it alone is ablated. Remove: it alone is
ablated. They are scored on all rows with everything else, under the headline's ablation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from assay.explanations.base import Explanation, Undefined
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import is_random
from assay.intervene.plan import Plan
from assay.score.ids import SystemId
from assay.score.scores import Scored

Column = Float64[np.ndarray, " documents"]


@dataclass(frozen=True)
class PartSystems:
    """Which systems score each component alone.

    Attributes:
        systems: component -> (explained run, floor); no floor of its own for Remove.
        ablation: what fills them.
        reason: why no component is scored alone.
    """

    systems: dict[str, tuple[SystemId, SystemId | None]]
    ablation: str
    reason: str | None = None

    @property
    def ids(self) -> set[SystemId]:
        return {one for pair in self.systems.values() for one in pair if one is not None}


def alone(
    workbench: PlanContext, explanation: Explanation, ablation: str, draws: int
) -> tuple[PartSystems, dict[SystemId, Sequence[Plan]]]:
    """The systems in which each component is explained alone, and those in which it alone is ablated.

    What the claim's fits gave a component together with the others (strengths, optimal constants) stays as it is.
    """
    given = explanation.alone(workbench.model)
    found, reason = ({}, given.reason) if isinstance(given, Undefined) else (given, None)
    ids: dict[str, tuple[SystemId, SystemId | None]] = {}
    plans: dict[SystemId, Sequence[Plan]] = {}
    numbers = range(draws if is_random(ablation) else 1)
    remove = explanation.removal
    own_draws = () if remove or not found else range(1) if explanation.once else numbers
    drawn = [explanation.edits(workbench, ablation, draw) for draw in own_draws]
    for name, sites in found.items():
        ablated = [workbench.plan(workbench.ablate(sites, ablation, draw)) for draw in numbers]
        own, floor = SystemId("part", part=name), SystemId("part floor", part=name)
        ids[name] = own, None if remove else floor
        plans[own if remove else floor] = ablated
        if not remove:
            plans[own] = [workbench.plan(tuple(edit for edit in edits if edit.site in sites)) for edits in drawn]
    return PartSystems(ids, ablation, reason), plans


def sums(parts: PartSystems, scored: Scored[SystemId], floor: SystemId) -> dict[str, tuple[Column, Column]]:
    """Component -> (explained, floor) loss sums of the documents that were scored, as `compute` takes them.

    Args:
        floor: the one of components that have none of their own.
    """
    used = scored.count > 0
    return {
        name: (scored[explained].loss[used], scored[own or floor].loss[used])
        for name, (explained, own) in parts.systems.items()
    }
