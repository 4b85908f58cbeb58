"""What only a circuit claim says: completeness, minimality, whether each of its parts matters, and its drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int

from assay.errors import ComponentError
from assay.explanations.answers import KNOCKED, MOST_USES, Use, Uses
from assay.explanations.circuit.files import Resolved
from assay.explanations.circuit.nodes import touched
from assay.explanations.circuit.rivals import circuit_rivals
from assay.explanations.circuit.trials import SHARE, Completeness, Minimality, completeness, minimality, parts_of
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.model import meter
from assay.model.edge_sets import EdgeSet
from assay.record.graph import SCORES, Drawing, EdgeRecord, Graph
from assay.record.headline import RunScores
from assay.record.pieces import Pieces, Sentence, TablePiece
from assay.score.circuits import score_circuits
from assay.stats.keyed import generator

CONTEXTS = 2  # random knock-outs of a quarter of the other parts
SHOWN = 3  # rivals
MOST_DRAWN = 400  # edges of the drawing
RISE = "KL rise"
TERMS = {
    "completeness": "Whether the circuit still behaves as the model does when parts of it are knocked out in both: a "
    "circuit that leaves out a backup fails here.",
    "minimality": "By how much KL rises when one part of the circuit is left out; where it does not, the part is idle.",
}

Rows = Int[np.ndarray, "rows"]
Sides = Callable[[], tuple[RunScores, RunScores] | None]


def circuit_block(workbench: PlanContext, found: Resolved, ablation: str, rows: Rows, sides: Sides) -> Pieces:
    """What only a circuit claim says.

    Args:
        rows: on which parts are left out and knocked out.
        sides: gives what the run and its complement recover.
    """
    model, edges = transformer_of(workbench), found.edges
    live = model.edges.pruned(edges.anywhere)
    smallest = minimality(workbench, edges, ablation, rows=rows)
    name, note, strengths = _strengths(found, workbench, smallest)
    graph = Graph(
        total=len(model.edges),
        edges=int(edges.anywhere.sum()),
        pairs=edges.count if edges.by_position else None,
        live=int(live.sum()),
        nodes=len(touched(model, live)),
        strength=name,
        note=note,
        strengths={row.part: row.increase for row in smallest.rows} if name == RISE else {},
        drawing=drawing(workbench, edges, strengths),
    )
    complete = _complete(completeness(workbench, edges, ablation, rows=rows), len(rows))
    rivals = _rivals(workbench, found, ablation, rows)
    pieces = (graph, *_sides(sides()), complete, _minimal(smallest, len(rows)), rivals)
    return Pieces(block="circuit", title="The circuit", pieces=pieces, notes=tuple(found.notes), terms=TERMS)


def _sides(both: tuple[RunScores, RunScores] | None) -> Iterator[TablePiece]:
    whats = ("the circuit alone: every edge that it lacks is ablated",
             "everything but the circuit: its edges are ablated, the others kept")  # fmt: skip
    if both is not None:
        rows = tuple((what, its.recovered, its.kl, its.loss, its.nats) for what, its in zip(whats, both, strict=True))
        columns = ("what runs", "recovered", "KL", "loss", "loss less the model's")
        yield TablePiece(title="Sufficiency and necessity", columns=columns, rows=rows)


def _complete(found: Completeness, tried_on: int) -> TablePiece:
    text = f"Undefined, because {found.reason}."
    if found.rows:
        text = (
            f"{len(found.rows)} times, {100 * SHARE:.0f} % of the circuit's nodes, drawn at random, are knocked out of "
            f"the circuit and of the model alike, on {tried_on} rows; KL between the two is what the circuit lacks "
            f"there. Median of the draws: {found.median:.3g}."
        )
    ordered = sorted(found.rows, key=lambda row: -(row.kl.value or 0.0))
    rows = tuple((", ".join(row.names), row.kl, row.loss_gap) for row in ordered)
    return TablePiece(title="Completeness", text=text, columns=("knocked out", "KL", "loss gap"), rows=rows)


def _minimal(found: Minimality, tried_on: int) -> TablePiece:
    """The largest rise first."""
    rises = [row.increase for row in found.rows]
    idle = sum(rise.defined and (rise.low is None or rise.low <= 0) for rise in rises)
    text = f"{len(rises)} of {found.of} {found.parts} are left out one at a time, on {tried_on} rows. "
    text += f"For {idle} of them the rise in KL cannot be distinguished from 0." if idle else ""
    text = text if idle else f"{text}Without any one of them KL rises."
    text = text if rises else "No part was left out."
    rows = tuple((row.part, row.increase) for row in found.rows)
    return TablePiece(title="Minimality", text=text, columns=("left out", "KL rises by"), rows=rows)


def _rivals(workbench: PlanContext, found: Resolved, ablation: str, rows: Rows) -> TablePiece | Sentence:
    """Where nothing limits what is run: it takes as many circuits as all the rest of this block, and more."""
    if not math.isinf(meter.meant()):
        return Sentence(text="How many other circuits of this size do as well was not asked: --thorough asks.")
    try:
        its = circuit_rivals(workbench, found, ablation, rows)
    except ComponentError as problem:
        return Sentence(text=f"Rivals: none, because {problem}.")
    if not its.values:
        return Sentence(text="Rivals: none, because no other circuit of this size was found with so little in common.")
    text = (
        f"{its.within} of {len(its.values)} other circuits of this size ({its.how}; at most {100 * its.overlap:.0f} % "
        f"of the live edges the same) lie within the claim's interval or above, on {len(rows)} rows: a share of "
        f"{its.share}."
    )
    lines = [("the claim", its.own), *((f"rival {place + 1}", value) for place, value in enumerate(its.values[:SHOWN]))]
    return TablePiece(title="Rivals counted", text=text, columns=("circuit", "recovered"), rows=tuple(lines))


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


def _strengths(found: Resolved, workbench: PlanContext, smallest: Minimality) -> tuple[str, str, np.ndarray | None]:
    """What an edge's strength is called, what there is to say of it, and a number for each edge: the file's scores, or
    by how much KL rises without it; None where neither is known."""
    model = transformer_of(workbench)
    if found.scores is not None:
        return "score", SCORES, found.scores.astype(float)
    if smallest.parts != "edges":
        return "strength", "No strengths are known, so all edges are drawn alike.", None
    out = np.full(len(model.edges), np.nan)
    for row in smallest.rows:
        value = row.increase.value
        out[model.edges.number(row.part)[0]] = np.nan if value is None else value
    return RISE, "Edges are as wide as KL rises, in nats a token, when each is left out.", out


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
