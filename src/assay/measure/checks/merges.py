"""Which distinctions of a claim cost nothing to merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.explanations.base import Explanation
from assay.intervene.ablations import Workbench
from assay.measure.score import Scored, System, score
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate


def merges(
    bench: Workbench,
    explanation: Explanation,
    scored: Scored,
    resamples: Resamples,
    *,
    explained: str = "explained:mean",
    floor: str = "floor:mean",
) -> dict[str, Estimate]:
    """What each merge costs, (KL(M‖merged) − KL(M‖E)) / KL(M‖F), paired; empty where nothing can be merged."""
    plans: dict[str, System | Sequence[System]] = {
        name: bench.plan(edits) for name, edits in explanation.coarser(bench).items()
    }
    if not plans:
        return {}
    more = score(bench, plans, rows=np.unique(scored.row))
    kept = scored.count > 0
    base, below = scored[explained].kl[kept], scored[floor].kl[kept]
    return {name: resamples.ratio(more[name].kl[kept] - base, below) for name in plans}
