"""What is run for a claim: its explained runs and floors under every ablation and draw, each component alone, and the
no-op run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import ClaimError
from assay.explanations.base import NOOP, Explanation, Undefined
from assay.intervene.ablations import Workbench
from assay.intervene.plan import Plan
from assay.intervene.spec import RANDOM
from assay.measure.headline.parts import Parts, alone

EXPLAINED, FLOOR = "explained", "floor"


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


def systems(
    bench: Workbench, explanation: Explanation, ablations: Sequence[str], draws: int, without_parts: str | None = None
) -> Systems:
    """The systems of a claim.

    Args:
        without_parts: why no component is run alone; None: those of a claim of several are.

    Raises:
        ClaimError: when the claim names nothing that the ablation could take away.
    """
    plans: dict[str, Sequence[Plan]] = {}
    explained: dict[str, str] = {}
    once = explanation.once
    for ablation in ablations:
        numbers = range(draws if ablation in RANDOM else 1)
        name = EXPLAINED if once else f"{EXPLAINED}:{ablation}"
        explained[ablation] = name
        if name not in plans:
            plans[name] = [explanation.plan(bench, ablation, draw) for draw in (range(1) if once else numbers)]
        if explanation.floor_takes is not None:
            plans[f"{FLOOR}:{ablation}"] = [explanation.floor(bench, ablation, draw) for draw in numbers]
    parts = Parts({}, ablations[0], without_parts)
    if without_parts is None:
        parts, several = alone(bench, explanation, ablations[0], draws)
        plans |= several
    unedited = explanation.unedited(bench, ablations[0])
    if isinstance(unedited, Undefined):
        raise ClaimError(unedited.reason)
    return Systems({**plans, NOOP: [unedited]}, explained, parts)
