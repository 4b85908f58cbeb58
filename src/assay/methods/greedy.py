"""A circuit of a given size: the best edges by some scores, of which the least needed are dropped in blocks.

What cutting an edge costs is run exactly: once for all edges at the start, then again for those that are next to go,
as they may have become needed since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.errors import ClaimError
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.circuits.groups import MEMORY
from assay.intervene.fill.ablations import PlanContext
from assay.methods.circuit_states import CircuitStates
from assay.methods.edge_scores import EdgeScores
from assay.score.circuits import draws_of
from assay.score.score import Advance

MOST = 64  # cuts that are run side by side at most


@dataclass(frozen=True, eq=False)
class Greedy:
    """What the search kept.

    Attributes:
        mask: the circuit; dropped: the other edges that it began with, first the one that went first.
        kl: KL(model || circuit) in nats, mean over items and draws.
        start: the same of the circuit of this size that the given scores rank best.
        scores: edges that went late or stayed are above those that went early; below these all that never were in.
    """

    mask: Bool[np.ndarray, "edges"]
    dropped: Int[np.ndarray, "some"]
    kl: float
    start: float
    scores: EdgeScores


def greedy(
    workbench: PlanContext,
    ablation: str,
    size: int,
    *,
    begin: EdgeScores,
    over: float = 4.0,
    share: float = 0.5,
    uncertain: float = 2.0,
    draws: Sequence[int] = (0,),
    rows: Int[np.ndarray, "rows"] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    advance: Advance | None = None,
) -> Greedy:
    """Drops edges from a larger circuit until `size` are left.

    Args:
        begin: another method's scores, whose `over * size` best edges it begins with.
        share: how much of the edges that still have to go a block drops.
        uncertain: before a block goes, this many times as many edges are run again: those that cost least when last
            they were.
        seed: nothing here is random; every search takes one.
        advance: called with how many edges were dropped, after each block.

    Raises:
        ClaimError: for a size that the model has not, or options that would never end.
    """
    edges = transformer_of(workbench).edges
    if not 0 < size <= len(edges):
        raise ClaimError(f"a circuit of {size} edges was asked for; {workbench.model.name} has 1 to {len(edges)}")
    if not (over >= 1 and 0 < share <= 1 and uncertain >= 1):
        raise ClaimError(f"greedy needs over >= 1, 0 < share <= 1, uncertain >= 1, not {over}, {share}, {uncertain}")
    before = workbench.runner.forwards
    mask = begin.top(min(len(edges), ceil(over * size)))
    states = CircuitStates(workbench, ablation, mask, draws=draws, rows=rows, memory=memory, most=MOST)
    place = np.argsort(begin.worst_first(), kind="stable")
    start = float(states.trial(edges.matrix(begin.top(size)[None])).kl[0])
    cost = np.full(len(edges), np.nan)
    cost[mask] = costs(states, np.flatnonzero(mask))
    fresh, dropped = True, []
    while (excess := int(mask.sum()) - size) > 0:
        block = ceil(share * excess)
        inside = np.flatnonzero(mask)
        ranked = inside[np.lexsort((place[inside], cost[inside]))]
        if not fresh:
            again = ranked[: ceil(uncertain * block)]
            cost[again] = costs(states, again)
            ranked = inside[np.lexsort((place[inside], cost[inside]))]
        gone = ranked[:block]
        mask[gone] = False
        dropped.append(gone)
        states.move(edges.matrix(mask))
        fresh = False
        if advance:
            advance(block)
    order = np.concatenate([np.zeros(0, dtype=int), *dropped])
    inside = np.flatnonzero(mask)
    kept = inside[np.lexsort((place[inside], cost[inside]))]
    never = np.ones(len(edges), dtype=bool)
    never[order] = never[kept] = False
    final = np.zeros(len(edges))
    ranked = np.flatnonzero(never)
    final[ranked[np.argsort(place[ranked], kind="stable")]] = np.arange(len(ranked))
    final[order] = len(ranked) + np.arange(len(order))
    final[kept] = len(ranked) + len(order) + np.arange(len(kept))
    settings: dict[str, Any] = {
        "ablation": ablation,
        "size": size,
        "over": over,
        "share": share,
        "uncertain": uncertain,
        "draws": draws_of(ablation, draws),
        "rows": len(workbench.task.tokens) if rows is None else len(rows),
        "seed": seed,
        "seeded_by": begin.summary,
    }
    passes = begin.passes + workbench.runner.forwards - before
    return Greedy(mask, order, states.kl, start, EdgeScores(final, "greedy", settings, passes))


def costs(states: CircuitStates, chosen: Int[np.ndarray, "some"]) -> Float64[np.ndarray, "some"]:
    """How much KL(model || circuit) rises when each of these edges of the circuit is cut alone.

    Edges into readers of one layer share a call, as the same is downstream of them.
    """
    edges, out = states.edges, np.zeros(len(chosen))
    readers, writers = edges.ends(chosen)
    layer = np.array([2 * reader.layer + (reader.part == "mlp") for reader in edges.readers])[readers]
    leads = states.leading()[readers]
    for stage in np.unique(layer):
        places = np.flatnonzero((layer == stage) & leads)  # elsewhere the cost is exactly 0
        for start in range(0, len(places), states.most):
            part = places[start : start + states.most]
            matrices = np.repeat(states.matrix[None], len(part), axis=0)
            matrices[np.arange(len(part)), readers[part], writers[part]] = False
            out[part] = states.trial(matrices).kl - states.kl
    return out
