"""The axis of strength: the claim with what it says nothing about at its mean, resampled, and at its worst.

All rows stand over one floor, that of the mean, so that what differs is the explained run
(docs/definitions.md#strength).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import FITTED
from assay.intervene.plan import Plan
from assay.measure.headline.systems import Systems
from assay.record.compute import Compute
from assay.record.strength import StrengthRow, Strengths
from assay.score.ids import SystemId
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples

ROLE = "strength"
NAMES = {"resample_independent": "resampled", "shared_adversarial": "shared adversarial"}
FLOOR = "mean"


@dataclass(frozen=True)
class StrengthSystems:
    """Which system is the explained run at each strength (by ablation), and the floor; `reason`: why there are none."""

    systems: Mapping[str, SystemId] = field(default_factory=dict)
    floor: SystemId | None = None
    reason: str | None = None


def strength_systems(
    workbench: PlanContext, explanation: Explanation, plans: Systems, *, thorough: bool
) -> tuple[StrengthSystems, dict[SystemId, Plan]]:
    """The runs of every strength, one draw each; what the headline has run is taken from there.

    Args:
        thorough: the ones that are fitted by gradient too.
    """
    wanted = [name for name in explanation.at_strengths if thorough or name not in FITTED]
    new: dict[SystemId, Plan] = {}
    systems: dict[str, SystemId] = {}
    for name in wanted:
        systems[name] = plans.explained.get(name, SystemId(ROLE, name))
        if name not in plans.explained:
            new[systems[name]] = explanation.plan(workbench, name)
    floor = plans.floors.get(FLOOR, SystemId(ROLE, FLOOR, part="floor"))
    if FLOOR not in plans.floors:
        new[floor] = explanation.floor(workbench, FLOOR)
    return StrengthSystems(systems, floor), new


def strengths(
    found: StrengthSystems, explanation: Explanation, scored: Scored[SystemId], resamples: Resamples, computed: Compute
) -> Strengths | None:
    """The record's block; None for a claim that leaves nothing unsaid that could be ablated."""
    if not explanation.at_strengths:
        return None
    if found.floor is None:
        return Strengths(floor=FLOOR, rows=(), reason=found.reason)
    used = scored.count > 0
    count = scored.count[used]
    worth = {(one.role, one.name): one.share for one in computed.systems}
    below = scored[found.floor].kl[used]
    return Strengths(
        floor=FLOOR,
        rows=tuple(
            StrengthRow(
                strength=NAMES.get(ablation, ablation),
                ablation=ablation,
                recovered=resamples.recovered(scored[one].kl[used], below, count),
                kl=resamples.mean(scored[one].kl[used], count, least=0.0),
                loss=resamples.mean(scored[one].loss[used], count),
                compute=worth.get((ROLE, ablation)),
            )
            for ablation, one in found.systems.items()
        ),
    )
