"""Other circuits of the same size that have little in common with the claim's: how many do as well?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from assay.explanations.circuit.files import Resolved
from assay.explanations.circuit.path_sampled import different
from assay.explanations.circuit.trials import resamples_of
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.model.edge_sets import EdgeSet
from assay.model.edges import Edges
from assay.score.circuits import score_circuits
from assay.stats.counted import counted
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

OVERLAP = 0.25  # of its live edges, a rival has fewer in common with the claim
SHARED = 0.2  # of the claim's live edges, drawn at random, that a rival by score begins with
RIVALS, TRIED = 50, 4  # how many, and path-sampled circuits that are drawn for each


@dataclass(frozen=True)
class CircuitRivals:
    """Rivals on some rows.

    Attributes:
        own: the claim's R_D there; values: the rivals', the best first.
        within: how many lie within the claim's interval or above; share: of all.
        how: what they were drawn from, in words; overlap: the most that one has in common with the claim.
    """

    own: Estimate
    values: tuple[float, ...]
    within: int
    share: Estimate
    how: str
    overlap: float


def circuit_rivals(
    workbench: PlanContext, found: Resolved, ablation: str, rows: Int[np.ndarray, "rows"], most: int = RIVALS
) -> CircuitRivals:
    """Scores the claim and its rivals, all over the run in which every edge is ablated.

    Where the file scores every edge, a rival begins with a fifth of the claim's live edges and takes others, each with
    a chance by its score, until as many are live; else it is a path-sampled circuit.

    Raises:
        ComponentError: as `different`.
    """
    edges, kept = transformer_of(workbench).edges, found.edges
    if found.scores is None or kept.by_position:
        like = kept.kept if kept.by_position else kept.anywhere
        sets = [
            EdgeSet(mask, kept.positions) if kept.by_position else EdgeSet.whole(mask)
            for mask in different(edges, like, TRIED * most, workbench.seed)
        ]
        how = "unions of random paths"
    else:
        scores = np.abs(found.scores.astype(float))
        draws = (generator(workbench.seed, "rival circuits", draw) for draw in range(most))
        sets = [EdgeSet.whole(by_score(edges, kept.anywhere, scores, random)) for random in draws]
        how = "edges drawn with a chance by the file's own scores"
    mine = edges.pruned(kept.anywhere)
    shared = {id(one): float((edges.pruned(one.anywhere) & mine).sum() / max(mine.sum(), 1)) for one in sets}
    sets = [one for one in sets if shared[id(one)] < OVERLAP][:most]
    nothing = EdgeSet.whole(np.zeros(len(edges), dtype=bool))
    scored = score_circuits(workbench, [nothing, kept, *sets], ablation, rows=rows)
    resamples, here = resamples_of(workbench, scored.count)
    own = resamples.recovered(scored[1].kl[here], scored[0].kl[here], scored.count[here])
    floor = scored[0].kl.sum()
    values = sorted((float(1 - scored[2 + i].kl.sum() / floor) for i in range(len(sets))), reverse=True)
    within, share = counted(own, values)
    return CircuitRivals(own, tuple(values), within, share, how, max((shared[id(one)] for one in sets), default=0.0))


def by_score(
    edges: Edges,
    claim: Bool[np.ndarray, "edges"],
    scores: Float[np.ndarray, "edges"],
    random: np.random.Generator,
) -> Bool[np.ndarray, "edges"]:
    """A circuit with as many live edges as the claim has, or a few more, of which a fifth are the claim's.

    Others come in the order of log(u) / score, which draws without replacement by score (Efraimidis and Spirakis 2006).
    """
    live = edges.pruned(claim)
    own = np.flatnonzero(live)
    begun = np.zeros(len(claim), dtype=bool)
    begun[random.permutation(own)[: int(SHARED * len(own))]] = True
    others = np.flatnonzero(~live & (scores > 0))
    order = others[np.argsort(-np.log(random.random(len(others))) / scores[others], kind="stable")]

    def with_first(count: int) -> np.ndarray:
        out = begun.copy()
        out[order[:count]] = True
        return edges.pruned(out)

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if with_first(middle).sum() >= len(own) else (middle + 1, high)
    return with_first(low)
