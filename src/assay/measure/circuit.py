"""What a circuit claim says beside its headline: sufficiency, necessity, completeness, minimality, and its drawing.

Gives the record's `circuit` block, the complement's run as the residual, and what the checks on parts look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from assay.explanations.base import order
from assay.explanations.circuit import Circuit, touched
from assay.intervene.ablations import RANDOM, Workbench
from assay.intervene.circuits import transformer_of
from assay.measure.circuit_trials import against, completeness, minimality, parts_of, resamples_of, restored, score_sets
from assay.measure.controls import control_rows
from assay.measure.knockouts import KNOCKED, MOST_PARTS, Knockouts, Use
from assay.measure.residual_signal import Signal
from assay.measure.score import Scored, System, score
from assay.model.edge_sets import EdgeSet
from assay.names import parse_site
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

TRIAL_ROWS = 16  # rows on which parts are left out and knocked out
USE_ROWS = 8  # rows on which the checks look at them
CONTEXTS = 2  # random knock-outs of a quarter of the other parts
DRAWS = 2  # of a random ablation, for the complement
MOST_RESTORED = 64  # nodes that are put back one by one
MOST_DRAWN = 400  # edges of the drawing


@dataclass(frozen=True, eq=False)
class CircuitBlock:
    """What is known of a circuit besides the headline.

    Attributes:
        block: as the record holds it; signal: the residual, which for a circuit is the complement's run.
        parts: the share of KL that closes when a node is put back; knockouts: for the checks on parts.
    """

    block: dict[str, Any]
    signal: Signal
    parts: list[dict[str, Any]]
    knockouts: Knockouts


def circuit_block(
    bench: Workbench,
    circuit: Circuit,
    scored: Scored,
    resamples: Resamples,
    *,
    ablation: str,
    floor: str,
) -> CircuitBlock:
    """Everything about a circuit claim under the headline's ablation.

    Args:
        scored: has "model", "explained:<ablation>" and the floor, on all rows; floor: its name there.
    """
    model = transformer_of(bench)
    found = circuit.resolve(model)
    edges, live = found.edges, model.edges.pruned(found.edges.anywhere)
    draws = range(DRAWS if ablation in RANDOM else 1)
    systems: dict[str, System | Sequence[System]] = {
        "complement": [circuit.complement(bench, ablation, draw) for draw in draws]
    }
    scored = scored.with_systems(score(bench, systems, rows=np.unique(scored.row)))
    used = scored.count > 0
    necessity = _figures(scored, resamples, "complement", floor)
    count = scored.count[used]
    rise = resamples.difference(scored["complement"].loss[used], scored["model"].loss[used], count)
    rows = control_rows(bench.task, TRIAL_ROWS)
    smallest = minimality(bench, edges, ablation, rows=rows)
    block = {
        "total": len(model.edges),
        "edges": int(edges.anywhere.sum()),
        "pairs": edges.count if edges.by_position else None,  # of an edge and a position
        "live": int(live.sum()),
        "nodes": len(touched(model, live)),
        "positions": edges.by_position,
        "ablation": ablation,
        "sufficiency": _figures(scored, resamples, f"explained:{ablation}", floor),
        "necessity": {**necessity, "nats": rise.to_json()},
        "completeness": completeness(bench, edges, ablation, rows=rows),
        "minimality": smallest,
        "trial_rows": len(rows),
        "drawing": drawing(bench, edges, _strengths(circuit, bench, smallest)),
        "notes": list(found.notes),
    }
    value = resamples.recovered(scored["complement"].kl[used], scored[floor].kl[used])
    none = Estimate.undefined("for a circuit the residual is the complement's own run")
    text = f"Every edge that was not kept, without those that were, recovers {value}."
    signal = Signal(value, none, none, none, none, text)
    return CircuitBlock(block, signal, _restored(bench, edges, ablation), uses(bench, edges, ablation))


def _figures(scored: Scored, resamples: Resamples, name: str, floor: str) -> dict[str, Any]:
    used = scored.count > 0
    count = scored.count[used]
    return {
        "kl": resamples.mean(scored[name].kl[used], count, least=0.0).to_json(),
        "loss": resamples.mean(scored[name].loss[used], count).to_json(),
        "recovered": resamples.recovered(scored[name].kl[used], scored[floor].kl[used]).to_json(),
    }


def _restored(bench: Workbench, edges: EdgeSet, ablation: str) -> list[dict[str, Any]]:
    """For each node the share of the circuit's KL that closes when its edges to and from the circuit are all there."""
    model = transformer_of(bench)
    sites = sorted((parse_site(name) for name in model.edges.writers[1:]), key=order)
    sets = {str(site): restored(model, edges, str(site)) for site in sites}
    sets = {name: one for name, one in sets.items() if not np.array_equal(one.anywhere, edges.anywhere)}
    if not sets:
        return []
    if len(sets) > MOST_RESTORED:
        reason = f"{len(sets)} nodes lack edges; at most {MOST_RESTORED} are put back one by one"
        return [{"part": "each", "closes": Estimate.undefined(reason).to_json()}]
    found = score_sets(bench, [edges, *sets.values()], ablation, rows=control_rows(bench.task, TRIAL_ROWS))
    resamples, here = resamples_of(bench, found.count)
    base = found.kl[0][here]
    return [
        {"part": name, "closes": resamples.recovered(found.kl[1 + i][here], base, found.count[here]).to_json()}
        for i, name in enumerate(sets)
    ]


def uses(bench: Workbench, edges: EdgeSet, ablation: str, rows: Int[np.ndarray, "rows"] | None = None) -> Knockouts:
    """Whether each part of the circuit matters in it, in the whole model, and when other parts are knocked out.

    Parts are edges where the circuit has few, else nodes.
    """
    model = transformer_of(bench)
    rows = control_rows(bench.task, USE_ROWS) if rows is None else rows
    parts = parts_of(bench, edges, most_edges=MOST_PARTS, most_nodes=MOST_PARTS)
    if parts.of > len(parts.names):
        return Knockouts((), 0.0, f"{parts.of} nodes; at most {MOST_PARTS} are knocked out one by one")
    nothing = EdgeSet.whole(np.zeros(len(model.edges), dtype=bool))
    everything = EdgeSet.whole(np.ones(len(model.edges), dtype=bool))
    left = [edges.without(mask) for mask in parts.masks]
    inside = against(bench, edges, [nothing, *left], ablation, rows=rows)
    total = float(inside.count.sum())
    contexts = [dict[str, float]() for _ in parts.names]

    def add(name: str, base: EdgeSet, places: list[int]) -> None:
        variants = [base.without(parts.masks[place]) for place in places]
        values = against(bench, base, variants, ablation, rows=rows).kl.sum(1) / total
        for place, value in zip(places, values, strict=True):
            contexts[place][name] = float(value)

    every = list(range(len(parts.names)))
    add("in the whole model", everything, every)
    for index in range(CONTEXTS):
        chance = generator(bench.seed, "circuit uses", index).permutation(len(every))
        knocked = [int(place) for place in chance[: max(1, round(KNOCKED * len(every)))]]
        others = [place for place in every if place not in knocked]
        if others:
            add(f"under knock-out {index + 1}", edges.without(np.any([parts.masks[p] for p in knocked], 0)), others)
    scale = float(inside.kl[0].sum() / total)
    values = inside.kl[1:].sum(1) / total
    found = (Use(name, float(v), c) for name, v, c in zip(parts.names, values, contexts, strict=True))
    return Knockouts(tuple(found), scale, ablation=ablation)


def _strengths(circuit: Circuit, bench: Workbench, smallest: dict[str, Any]) -> np.ndarray | None:
    """A number for each edge: the file's scores, or by how much KL rises without it; None where neither is known."""
    model = transformer_of(bench)
    scores = circuit.resolve(model).scores
    if scores is not None:
        return scores.astype(float)
    if smallest["parts"] != "edges":
        return None
    out = np.full(len(model.edges), np.nan)
    for row in smallest["rows"]:
        value = row["increase"]["value"]
        out[model.edges.number(row["part"])[0]] = np.nan if value is None else value
    return out


def drawing(bench: Workbench, edges: EdgeSet, strengths: np.ndarray | None) -> dict[str, Any]:
    """What a picture of the circuit needs: its live edges, the strongest first, at most 400."""
    model = transformer_of(bench)
    shape = model.config
    live = np.flatnonzero(model.edges.pruned(edges.anywhere))
    if strengths is not None:
        live = live[np.argsort(-np.abs(np.nan_to_num(strengths[live])), kind="stable")]
    readers, writers = model.edges.ends(live[:MOST_DRAWN])
    rows = []
    for number, reader, writer in zip(live[:MOST_DRAWN], readers, writers, strict=True):
        to = model.edges.readers[reader]
        known = strengths is not None and np.isfinite(strengths[number])
        rows.append(
            {
                "writer": model.edges.writers[writer],
                "reader": to.name.partition("<")[0],
                "part": to.part if to.part in ("q", "k", "v") else None,
                "strength": float(strengths[number]) if strengths is not None and known else None,
            }
        )
    mlps = [width is not None for width in shape.d_mlp]
    left = len(live) - len(rows)
    sizes = {"layers": shape.layers, "heads": shape.heads, "kv_heads": shape.kv_heads, "mlps": mlps}
    return {**sizes, "edges": rows, "left_out": left}
