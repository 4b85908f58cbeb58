"""What only a circuit claim says: completeness, minimality, whether each of its parts matters, and its drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from assay.explanations.answers import KNOCKED, MOST_USES, Use, Uses
from assay.explanations.circuit.files import Resolved
from assay.explanations.circuit.nodes import touched
from assay.explanations.circuit.trials import completeness, minimality, parts_of
from assay.intervene.ablations import PlanContext
from assay.intervene.circuits import transformer_of
from assay.model.edge_sets import EdgeSet
from assay.record.circuit import CircuitRecord, Drawing, EdgeRecord, Minimality, RunScores
from assay.score.circuits import score_circuits
from assay.stats.keyed import generator

CONTEXTS = 2  # random knock-outs of a quarter of the other parts
MOST_DRAWN = 400  # edges of the drawing

Rows = Int[np.ndarray, "rows"]
Sides = Callable[[], tuple[RunScores, RunScores] | None]


def circuit_block(workbench: PlanContext, found: Resolved, ablation: str, rows: Rows, sides: Sides) -> CircuitRecord:
    """What only a circuit claim says.

    Args:
        rows: on which parts are left out and knocked out.
        sides: gives what the run and its complement recover.
    """
    model, edges = transformer_of(workbench), found.edges
    live = model.edges.pruned(edges.anywhere)
    smallest, both = minimality(workbench, edges, ablation, rows=rows), sides()
    return CircuitRecord(
        total=len(model.edges),
        edges=int(edges.anywhere.sum()),
        pairs=edges.count if edges.by_position else None,
        live=int(live.sum()),
        nodes=len(touched(model, live)),
        positions=edges.by_position,
        ablation=ablation,
        completeness=completeness(workbench, edges, ablation, rows=rows),
        minimality=smallest,
        trial_rows=len(rows),
        drawing=drawing(workbench, edges, _strengths(found, workbench, smallest)),
        notes=tuple(found.notes),
        sufficiency=both and both[0],
        necessity=both and both[1],
    )


def circuit_uses(workbench: PlanContext, edges: EdgeSet, ablation: str, rows: Rows) -> Uses:
    """Whether each part of the circuit matters in it, in the whole model, and when other parts are knocked out.

    Parts are edges where the circuit has few, else nodes.
    """
    model = transformer_of(workbench)
    parts = parts_of(workbench, edges, most_edges=MOST_USES, most_nodes=MOST_USES)
    if parts.of > len(parts.names):
        return Uses((), 0.0, f"{parts.of} nodes; at most {MOST_USES} are knocked out one by one")
    nothing = EdgeSet.whole(np.zeros(len(model.edges), dtype=bool))
    everything = EdgeSet.whole(np.ones(len(model.edges), dtype=bool))
    left = [edges.without(mask) for mask in parts.masks]
    inside = score_circuits(workbench, [nothing, *left], ablation, rows=rows, base=edges)
    contexts = [dict[str, float]() for _ in parts.names]

    def add(name: str, base: EdgeSet, places: list[int]) -> None:
        variants = [base.without(parts.masks[place]) for place in places]
        found = score_circuits(workbench, variants, ablation, rows=rows, base=base)
        for index, place in enumerate(places):
            contexts[place][name] = found.mean_kl(index)

    every = list(range(len(parts.names)))
    add("in the whole model", everything, every)
    for index in range(CONTEXTS):
        chance = generator(workbench.seed, "circuit uses", index).permutation(len(every))
        knocked = [int(place) for place in chance[: max(1, round(KNOCKED * len(every)))]]
        others = [place for place in every if place not in knocked]
        if others:
            add(f"under knock-out {index + 1}", edges.without(np.any([parts.masks[p] for p in knocked], 0)), others)
    uses = (Use(name, inside.mean_kl(1 + i), contexts[i]) for i, name in enumerate(parts.names))
    return Uses(tuple(uses), inside.mean_kl(0), ablation=ablation)


def _strengths(found: Resolved, workbench: PlanContext, smallest: Minimality) -> np.ndarray | None:
    """A number for each edge: the file's scores, or by how much KL rises without it; None where neither is known."""
    model = transformer_of(workbench)
    if found.scores is not None:
        return found.scores.astype(float)
    if smallest.parts != "edges":
        return None
    out = np.full(len(model.edges), np.nan)
    for row in smallest.rows:
        value = row.increase.value
        out[model.edges.number(row.part)[0]] = np.nan if value is None else value
    return out


def drawing(workbench: PlanContext, edges: EdgeSet, strengths: np.ndarray | None) -> Drawing:
    """What a picture of the circuit needs: its live edges, the strongest first, at most 400."""
    model = transformer_of(workbench)
    shape = model.config
    live = np.flatnonzero(model.edges.pruned(edges.anywhere))
    if strengths is not None:
        live = live[np.argsort(-np.abs(np.nan_to_num(strengths[live])), kind="stable")]
    readers, writers = model.edges.ends(live[:MOST_DRAWN])
    rows = []
    for number, reader, writer in zip(live[:MOST_DRAWN], readers, writers, strict=True):
        to = model.edges.readers[reader]
        known = strengths is not None and np.isfinite(strengths[number])
        strength = float(strengths[number]) if strengths is not None and known else None
        part, node = to.part if to.part in ("q", "k", "v") else None, to.name.partition("<")[0]
        rows.append(EdgeRecord(writer=model.edges.writers[writer], reader=node, part=part, strength=strength))
    sizes = {"layers": shape.layers, "heads": shape.heads, "kv_heads": shape.kv_heads}
    mlps = tuple(width is not None for width in shape.d_mlp)
    return Drawing(**sizes, mlps=mlps, edges=tuple(rows), left_out=len(live) - len(rows))
