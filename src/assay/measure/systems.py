"""What is run for a claim: its explained runs and floors under every ablation and draw, each component alone, and the
no-op run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import ClaimError
from assay.explanations.base import Explanation
from assay.explanations.circuit import Circuit
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.components import complement
from assay.intervene.plan import Edit, Own, Plan, Run
from assay.measure.parts import Parts, alone

ONCE = ("program", "constant")  # kinds whose explained run does not depend on the ablation
EXPLAINED, FLOOR, NOOP = "explained", "floor", "noop"


@dataclass(frozen=True)
class Systems:
    """What is run for a claim.

    Attributes:
        plans: by system name ("explained:mean", "floor:mean", "part:a1.h3", "noop").
        explained: ablation -> the explained system that it uses.
        parts: each component alone.
    """

    plans: dict[str, Sequence[Plan]]
    explained: dict[str, str]
    parts: Parts

    def floor(self, ablation: str) -> str:
        return f"{FLOOR}:{ablation}"


def systems(bench: Workbench, explanation: Explanation, ablations: Sequence[str], draws: int) -> Systems:
    """The systems of a claim.

    Raises:
        ClaimError: when the claim names nothing that the ablation could take away.
    """
    plans: dict[str, Sequence[Plan]] = {}
    explained: dict[str, str] = {}
    once = explanation.kind in ONCE
    for ablation in ablations:
        numbers = range(draws if ablation in RANDOM else 1)
        name = EXPLAINED if once else f"{EXPLAINED}:{ablation}"
        explained[ablation] = name
        if name not in plans:
            plans[name] = [explanation.plan(bench, ablation, draw) for draw in (range(1) if once else numbers)]
        if explanation.kind != "remove":
            plans[f"{FLOOR}:{ablation}"] = [explanation.floor(bench, ablation, draw) for draw in numbers]
    parts, several = alone(bench, explanation, ablations[0], draws)
    plans |= several
    if isinstance(explanation, Circuit):  # the engine's own noise
        plans[NOOP] = [explanation.whole(bench, ablations[0])]
        return Systems(plans, explained, parts)
    touched = [edit.site for edit in plans[next(iter(explained.values()))][0].final.edits]
    touched = touched or complement([], bench.model)
    if not touched:
        raise ClaimError("the claim keeps every part of a model that has no other, so there is nothing to measure")
    sites = dict.fromkeys(site.at(None) for site in touched)
    own = tuple(Edit(site, Own()) for site in sites)  # never refitted: it measures the meter
    plans[NOOP] = [Plan((Run(NOOP, edits=own, frozen_norm=bench.frozen_norm),))]
    return Systems(plans, explained, parts)
