"""Which distinctions of a claim cost nothing to merge."""

from __future__ import annotations

import numpy as np

from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.score.ids import SystemId
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate


def merges(
    workbench: PlanContext,
    explanation: Explanation,
    scored: Scored[SystemId],
    resamples: Resamples,
    *,
    explained: SystemId,
    floor: SystemId | None,
    ablation: str,
) -> dict[str, Estimate]:
    """What each merge costs, (KL(M‖merged) − KL(M‖E)) / KL(M‖F), paired; empty where nothing can be merged, and for a
    claim without a floor. Under a random ablation both are of its first draw."""
    plans = {name: workbench.plan(edits) for name, edits in explanation.coarser(workbench, ablation).items()}
    if not plans or floor is None:
        return {}
    more = score(workbench, plans, rows=np.unique(scored.row))
    kept = scored.count > 0
    base, below = scored[explained].draw_kl[kept, 0], scored[floor].kl[kept]
    return {name: resamples.ratio(more[name].kl[kept] - base, below) for name in plans}
