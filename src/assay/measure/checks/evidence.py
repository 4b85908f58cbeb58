"""What the checks look at, and their verdicts. What is expensive to gather (knock-outs, merges, the off-manifold
classifier) is gathered by the functions in the files of those names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from assay.explanations.answers import Uses
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.fill.donors import matched_donors
from assay.measure.checks.off_manifold import OffManifold
from assay.names import Site
from assay.record.controls import Nearest
from assay.record.interchange import Interchange
from assay.score.ids import SystemId
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.task.overlap import Overlap

RESAMPLING = ("resample_joint", "resample_independent")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at; what was not gathered stays None, and its check is unknown.

    Attributes:
        removal, floor_takes, parts_matter: as the claim's kind has them.
        recovered, recovered_loss: ablation -> R_D (for `Remove`: N), R_L, over the headline floor.
        ablation: the headline's.
        gap: L less L_M, in nats per token, of the run in which the scope is ablated: the headline's floor; for `Remove`
            the explained run.
        equal: how many scored documents have the tokens of another one before them.
        scored, resamples: for tiny scope; scope: the system whose only edit is that the scope is ablated; noise: the
            no-op run's difference in loss, nats a token.
        nearest: the rival or control that is nearest to the explained run, token by token.
        self_match: ablation -> the share of donors that are the row itself (`self_match`); matched_alone: of a claim
            that draws from scored rows, condition -> the share of rows that agree with no other.
        swapped: of a claim that names variables: what swaps of them do, and what coarser claims say of them.
        ngram_tokens: reference tokens a vocabulary entry that the n-gram floors were fitted on.
        found_on: whether the claim says what it was found on; overlap: that data against the scored.
        tried: (this, of how many) tries on this split, from the register.
        knockouts, merges, off_manifold: see the functions of those names; `merges` is empty when nothing can be merged.
    """

    ablation: str
    recovered: Mapping[str, Estimate]
    removal: bool = False
    floor_takes: Literal["parts", "everything"] = "parts"
    parts_matter: bool = True
    recovered_loss: Mapping[str, Estimate] = field(default_factory=dict)
    gap: Estimate | None = None
    scored: Scored[SystemId] | None = None
    resamples: Resamples | None = None
    equal: int = 0
    scope: SystemId | None = None
    noise: float = 0.0
    nearest: Nearest | None = None
    self_match: Mapping[str, float] | None = None
    matched_alone: Mapping[str, float] = field(default_factory=dict)
    swapped: Interchange | None = None
    ngram_tokens: float | None = None
    found_on: str | None = None
    overlap: Overlap | None = None
    tried: tuple[int, int] | None = None
    knockouts: Uses | None = None
    merges: Mapping[str, Estimate] | None = None
    off_manifold: Mapping[str, OffManifold] | None = None


def self_match(
    workbench: PlanContext, ablations: tuple[str, ...], draws: int, sites: Sequence[Site]
) -> dict[str, float]:
    """For each resampling ablation the share of donors that are the scored row itself, over all draws.

    Args:
        sites: what is resampled: each has donors of its own where they are drawn independently.
    """
    out: dict[str, float] = {}
    for ablation in ablations:
        if ablation in RESAMPLING and workbench.task.reference is not None:
            names = [""] if ablation == "resample_joint" else sorted({str(site.at(None)) for site in sites}) or [""]
            shares = [
                matched_donors(workbench.task, workbench.seed, draw, name) for draw in range(draws) for name in names
            ]
            out[ablation] = float(np.mean(shares))
    return out
