"""Exact edge patching: what cutting each edge alone from the model costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from assay.intervene.circuits.edge_cuts import EdgeCuts
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.circuits.groups import MEMORY, budget
from assay.intervene.fill.ablations import PlanContext
from assay.methods.edge_scores import EdgeScores
from assay.score.circuits import circuit_targets, draws_of
from assay.score.score import Advance

MOST = 32  # edges of a reader that are cut side by side


def exact_edges(
    workbench: PlanContext,
    ablation: str,
    *,
    loss: Literal["kl", "task"] = "kl",
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> EdgeScores:
    """Scores of all edges: how much the loss rises when an edge alone is cut, as a mean over scored items and draws.

    Args:
        loss: "kl", from the model; or "task", the metric's: below 0 for an edge that does harm.
        draws: the numbers of a random ablation's draws; with any other the first counts.
        rows: the task's rows to search on (default: all).
        seed: nothing here is random; every search takes one.
        advance: called with the number of edges that are done, once for each batch of rows.
    """
    before, edges = workbench.runner.forwards, transformer_of(workbench).edges
    total, items = np.zeros(len(edges)), 0
    for target in circuit_targets(workbench, ablation, draws=draws, rows=rows, memory=memory, variants=MOST // 2):
        batch = target.batch
        most = min(MOST, budget(batch.circuits, len(batch.rows), memory).variants)
        cuts = EdgeCuts(batch)
        idle = (batch.clean.delta == 0).flatten(1).all(1).cpu().numpy()  # writers whose fill is their own value
        for place, reader in enumerate(edges.readers):
            writers = np.flatnonzero(~idle[: reader.writers])
            for start in range(0, len(writers), most):
                part = writers[start : start + most]
                logits = cuts.logits(place, part)
                found = target.kl(logits) if loss == "kl" else target.loss(logits) - target.own_loss
                total[edges.offsets[place] + part] += found.sum(1)
            if advance:
                advance(reader.writers)
        items += target.items
    settings = {
        "ablation": ablation,
        "loss": loss,
        "draws": draws_of(ablation, draws),
        "rows": len(workbench.task.tokens) if rows is None else len(rows),
        "seed": seed,
    }
    return EdgeScores(total / items, "exact", settings, workbench.runner.forwards - before, total / items)
