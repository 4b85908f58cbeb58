"""What is run for a claim: its explained runs and floors under every ablation and draw, and the no-op run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import ClaimError
from assay.explanations.base import Explanation, Undefined
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.spec import is_random
from assay.intervene.plan import Plan
from assay.measure.headline.parts import PartSystems
from assay.score.ids import NOOP, SystemId


@dataclass(frozen=True)
class Systems:
    """What is run for a claim.

    Attributes:
        plans: every system's runs, one a draw.
        explained, floors: by ablation; an explained run that uses none is the same under all, and a claim that says
            what is lost without its parts has no floor.
        parts: each component alone.
    """

    plans: dict[SystemId, Sequence[Plan]]
    explained: dict[str, SystemId]
    floors: dict[str, SystemId]
    parts: PartSystems


def systems(
    workbench: PlanContext,
    explanation: Explanation,
    ablations: Sequence[str],
    draws: int,
) -> Systems:
    """The systems of a claim, of which no component is run alone yet.

    Raises:
        ClaimError: when the claim names nothing that the ablation could take away.
    """
    plans: dict[SystemId, Sequence[Plan]] = {}
    explained: dict[str, SystemId] = {}
    floors: dict[str, SystemId] = {}
    once = explanation.once
    for ablation in ablations:
        numbers = range(draws if is_random(ablation) else 1)
        own = explained[ablation] = SystemId("explained", None if once else ablation)
        if own not in plans:
            plans[own] = [explanation.plan(workbench, ablation, draw) for draw in (range(1) if once else numbers)]
        if not explanation.removal:
            floors[ablation] = SystemId("floor", ablation)
            plans[floors[ablation]] = [explanation.floor(workbench, ablation, draw) for draw in numbers]
    unedited = explanation.unedited(workbench, ablations[0])
    if isinstance(unedited, Undefined):
        raise ClaimError(unedited.reason)
    return Systems({**plans, NOOP: [unedited]}, explained, floors, PartSystems({}, ablations[0]))
