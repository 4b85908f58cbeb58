"""Which distinctions of a claim cost nothing to merge."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from assay.explanations.base import Explanation
from assay.intervene.fill.ablations import PlanContext
from assay.measure.budget import SLACK, affordable, runs
from assay.model.meter import OverBudgetError
from assay.score.ids import SystemId
from assay.score.score import score
from assay.score.scores import Scored
from assay.stats.bootstrap import LEAST, Resamples
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
    claim without a floor. Under a random ablation both are of its first draw. On all documents, or on as many as are
    meant for it."""
    plans = explanation.coarser(workbench, ablation)
    if not plans or floor is None:
        return {}
    kept, rows, task = scored.count > 0, np.unique(scored.row), workbench.task
    most = SLACK * affordable(workbench, runs(workbench.model, plans.values()))
    if most < len(rows):
        kept &= _some(np.asarray(task.document)[rows], len(kept), most)
        rows = rows[kept[np.asarray(task.document)[rows]]]
        resamples = task.resamples(np.flatnonzero(kept), workbench.seed, scored.count[kept])
    more = score(workbench, plans, rows=rows)
    base, below = scored[explained].draw_kl[kept, 0], scored[floor].kl[kept]
    return {name: resamples.ratio(more[name].kl[kept] - base, below) for name in plans}


def _some(document: Int[np.ndarray, "rows"], documents: int, most: float) -> Bool[np.ndarray, "documents"]:
    """Documents, evenly spread, with at most so many rows.

    Raises:
        OverBudgetError: where there is room for fewer than an interval takes.
    """
    count = int(np.unique(document).size * most / len(document))
    if count < LEAST:
        raise OverBudgetError
    chosen = np.unique(document)[np.unique(np.linspace(0, np.unique(document).size - 1, count).round().astype(int))]
    return np.isin(np.arange(documents), chosen)
