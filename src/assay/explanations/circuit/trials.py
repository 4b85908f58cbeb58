"""Trials of a circuit: sets of edges scored against the model, and pairs of sets against each other, by document.

Completeness, minimality and the uses of parts are made of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from assay.explanations.circuit.nodes import touched
from assay.intervene.ablations import Workbench
from assay.intervene.circuit_groups import MEMORY, budget, grouped
from assay.intervene.circuit_runs import row_masks
from assay.intervene.circuit_scores import CircuitScores, circuit_scores, run_group
from assay.intervene.circuits import CircuitBatch, Circuits, transformer_of
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.stats.bootstrap import Resamples
from assay.stats.keyed import generator
from assay.task.metrics import Metric, log_probabilities, token_scores

EDGES_TRIED = 48  # a circuit of so many edges is left out edge by edge, a larger one node by node
NODES_TRIED = 48  # of more nodes a keyed sample is left out
DRAWS, SHARE = 8, 0.5  # random knock-outs, and the share of the circuit's nodes that each takes

Rows = Int[np.ndarray, "rows"]


def score_sets(
    bench: Workbench, sets: Sequence[EdgeSet], ablation: str, *, rows: Rows, draws: Sequence[int] = (0,)
) -> CircuitScores:
    """`circuit_scores` of sets of edges, also of those kept at named positions."""
    total: CircuitScores | None = None
    for some, masks in row_masks(bench.task, sets, rows):
        found = circuit_scores(bench, masks, ablation, draws=draws, rows=some)
        total = found if total is None else _added(total, found)
    assert total is not None
    return total


def _added(a: CircuitScores, b: CircuitScores) -> CircuitScores:
    return CircuitScores(
        a.count + b.count,
        a.draw_loss + b.draw_loss,
        a.draw_kl + b.draw_kl,
        a.draw_agree + b.draw_agree,
        a.draw_correct + b.draw_correct,
        a.forwards + b.forwards,
    )


@dataclass(frozen=True, eq=False)
class Against:
    """Sums by document: KL(base || variant) of every variant, in nats; the loss of every variant, and of the base.

    Attributes:
        near: how many tokens have a KL of at most the `epsilon` that `against` was given.
    """

    count: Float64[np.ndarray, "documents"]
    kl: Float64[np.ndarray, "variants documents"]
    loss: Float64[np.ndarray, "variants documents"]
    base_loss: Float64[np.ndarray, "documents"]
    near: Float64[np.ndarray, "variants documents"]


@torch.no_grad()
def against(
    bench: Workbench, base: EdgeSet, variants: Sequence[EdgeSet], ablation: str, *, rows: Rows, epsilon: float = 0.0
) -> Against:
    """How far circuits are from another circuit, under one draw."""
    circuits, task = Circuits(bench, ablation), bench.task
    size = len(task.documents)
    kl, loss, near = np.zeros((3, len(variants), size))
    count, base_loss = np.zeros(size), np.zeros(size)
    for some, masks in row_masks(task, [base, *variants], rows):
        calls = budget(circuits, len(some), MEMORY)
        plan = grouped(circuits, masks[1:], calls.rows, calls.variants)
        (first,) = grouped(circuits, masks[:1], calls.rows, 1)
        for start in range(0, len(some), calls.rows):
            batch = CircuitBatch(circuits, some[start : start + calls.rows])
            items = task.items(batch.rows)
            targets, document = task.targets(batch.rows, items), np.asarray(task.document)[batch.rows[items.row]]
            logits = run_group(batch, masks[:1], first)[0]
            own = log_probabilities(logits)
            sums = partial(_sums, task.metric, own, own.exp(), targets, document, size, epsilon)
            count += np.bincount(document, minlength=size)
            base_loss += sums(logits)[1]
            for group in plan:
                for variant, its in zip(group.members, run_group(batch, masks[1:], group), strict=True):
                    more = sums(its)
                    kl[variant] += more[0]
                    loss[variant] += more[1]
                    near[variant] += more[2]
    return Against(count, kl, loss, base_loss, near)


def _sums(
    metric: Metric,
    own: Tensor,
    probabilities: Tensor,
    targets: Tensor,
    document: np.ndarray,
    size: int,
    epsilon: float,
    logits: Tensor,
) -> tuple[np.ndarray, ...]:
    """KL(own || logits), the loss of logits [items, vocab], and KLs of at most epsilon, summed by document."""
    found = token_scores(metric, logits, own, targets, given="logits", probabilities=probabilities)
    columns = (found.kl, found.loss, found.kl <= epsilon)
    return tuple(np.bincount(document, column.double().cpu().numpy(), size) for column in columns)


def node_out(model: Model, name: str) -> Bool[np.ndarray, "edges"]:
    """All edges out of a node: cut, the node is ablated."""
    _, writers = model.edges.ends(np.arange(len(model.edges)))
    return writers == model.edges.writers.index(name)


def restored(model: Model, edges: EdgeSet, name: str) -> EdgeSet:
    """The set with a node put back: its edges from and to `input`, `logits` and the nodes that have kept edges."""
    nodes = touched(model, edges.anywhere)
    among = model.edges.node_edges([*nodes, *([] if name in nodes else [name])])
    readers, _ = model.edges.ends(np.arange(len(model.edges)))
    mine = model.edges.node_of[:, model.edges.writers.index(name)][readers]
    return edges.adding(among & (node_out(model, name) | mine))


@dataclass(frozen=True, eq=False)
class Parts:
    """What is left out of a circuit, one at a time.

    Attributes:
        kind: "edges" or "nodes"; names, masks: those of the parts that are tried; of: how many parts the circuit has.
    """

    kind: str
    names: tuple[str, ...]
    masks: tuple[Bool[np.ndarray, "edges"], ...]
    of: int


def parts_of(bench: Workbench, edges: EdgeSet, most_edges: int = EDGES_TRIED, most_nodes: int = NODES_TRIED) -> Parts:
    """The circuit's live edges where they are few, else its nodes, and of many nodes a keyed sample."""
    model = transformer_of(bench)
    live = np.flatnonzero(model.edges.pruned(edges.anywhere))
    if len(live) <= most_edges:
        masks = tuple(np.arange(len(model.edges)) == number for number in live)
        return Parts("edges", tuple(model.edges[int(number)] for number in live), masks, len(live))
    nodes = touched(model, model.edges.pruned(edges.anywhere))
    chosen = nodes
    if len(nodes) > most_nodes:
        places = generator(bench.seed, "circuit parts").permutation(len(nodes))[:most_nodes]
        chosen = [nodes[int(place)] for place in np.sort(places)]
    return Parts("nodes", tuple(chosen), tuple(node_out(model, name) for name in chosen), len(nodes))


def knocked_out(bench: Workbench, edges: EdgeSet, draws: int = DRAWS, share: float = SHARE) -> list[list[str]]:
    """Random sets of the circuit's nodes, each different; of one node that node, of none nothing."""
    model = transformer_of(bench)
    nodes = touched(model, model.edges.pruned(edges.anywhere))
    size = max(1, round(share * len(nodes)))
    if not nodes:
        return []
    out: dict[tuple[str, ...], None] = {}
    for draw in range(4 * draws):
        if len(out) >= min(draws, math.comb(len(nodes), size)):
            break
        places = generator(bench.seed, "circuit knock-outs", draw).permutation(len(nodes))[:size]
        out.setdefault(tuple(nodes[int(place)] for place in np.sort(places)))
    return [list(names) for names in out]


def resamples_of(bench: Workbench, count: Float64[np.ndarray, "documents"]) -> tuple[Resamples, np.ndarray]:
    """Resamples of the documents that have scored tokens, and which they are."""
    here = np.flatnonzero(count > 0)
    return bench.task.resamples(here, bench.seed, count[here]), here


def completeness(bench: Workbench, edges: EdgeSet, ablation: str, *, rows: Rows) -> dict:
    """KL(model less K || circuit less K), and their difference in loss, for random halves K of the circuit's nodes.

    A circuit that leaves out a backup of its own nodes is right as a whole and wrong under knock-outs (Wang et al.
    2023, section 4).
    """
    model = transformer_of(bench)
    draws = knocked_out(bench, edges)
    out: dict = {"n": len(draws), "share": SHARE, "of": "nodes", "rows": [], "median": None, "worst": None}
    if not draws:
        return out | {"reason": "the circuit has no node that could be knocked out"}
    everything = EdgeSet.whole(np.ones(len(model.edges), dtype=bool))
    values = []
    for names in draws:
        cut = np.any([node_out(model, name) for name in names], 0)
        base, variant = everything.without(cut), edges.without(cut)
        found = against(bench, base, [variant], ablation, rows=rows)
        resamples, here = resamples_of(bench, found.count)
        count = found.count[here]
        estimate = resamples.mean(found.kl[0][here], count, least=0.0)
        gap = resamples.difference(found.loss[0][here], found.base_loss[here], count)
        row = {"knocked": len(names), "names": names, "kl": estimate.to_json(), "loss_gap": gap.to_json()}
        out["rows"].append(row)
        values.append(float(found.kl[0].sum() / found.count.sum()))
    return out | {"median": float(np.median(values)), "worst": float(np.max(values))}


def minimality(bench: Workbench, edges: EdgeSet, ablation: str, *, rows: Rows) -> dict:
    """By how much KL(model || circuit) rises when each part alone is left out; the largest rise first."""
    parts = parts_of(bench, edges)
    found = score_sets(bench, [edges, *(edges.without(mask) for mask in parts.masks)], ablation, rows=rows)
    resamples, here = resamples_of(bench, found.count)
    count = found.count[here]
    rises = [resamples.difference(found.kl[1 + i][here], found.kl[0][here], count) for i in range(len(parts.names))]
    order = np.argsort(-(found.kl[1:].sum(1)), kind="stable")  # also where an interval, and so a figure, is undefined
    out = [{"part": parts.names[i], "increase": rises[i].to_json()} for i in order]
    return {"parts": parts.kind, "rows": out, "tried": len(parts.names), "of": parts.of}
