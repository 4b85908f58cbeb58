"""Trials of a circuit: sets of edges scored against the model, and pairs of sets against each other, by document.

Completeness, minimality and the uses of parts are made of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.explanations.circuit.nodes import touched
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.score.circuits import BASE, score_circuits
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

EDGES_TRIED = 48  # a circuit of so many edges is left out edge by edge, a larger one node by node
NODES_TRIED = 48  # of more nodes a keyed sample is left out
DRAWS, SHARE = 8, 0.5  # random knock-outs, and the share of the circuit's nodes that each takes

Rows = Int[np.ndarray, "rows"]


@dataclass(frozen=True)
class KnockedOut:
    """KL(model less these nodes || circuit less them), and their difference in loss."""

    names: tuple[str, ...]
    kl: Estimate
    loss_gap: Estimate


@dataclass(frozen=True)
class Completeness:
    """Random halves of the circuit's nodes knocked out of it and of the model alike; `reason`: why none were."""

    rows: tuple[KnockedOut, ...] = ()
    median: float | None = None
    worst: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Rise:
    """By how much KL(model || circuit) rises when this part alone is left out."""

    part: str
    increase: Estimate


@dataclass(frozen=True)
class Minimality:
    """Parts left out one at a time, the largest rise first; `parts`: edges or nodes, `of` so many in the circuit."""

    parts: Literal["edges", "nodes"]
    rows: tuple[Rise, ...]
    of: int


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
class LeftOut:
    """What is left out of a circuit, one at a time.

    Attributes:
        kind: "edges" or "nodes"; names, masks: those of the parts that are tried; of: how many parts the circuit has.
    """

    kind: Literal["edges", "nodes"]
    names: tuple[str, ...]
    masks: tuple[Bool[np.ndarray, "edges"], ...]
    of: int


def parts_of(
    workbench: PlanContext, edges: EdgeSet, most_edges: int = EDGES_TRIED, most_nodes: int = NODES_TRIED
) -> LeftOut:
    """The circuit's live edges where they are few, else its nodes, and of many nodes a keyed sample."""
    model = transformer_of(workbench)
    live = np.flatnonzero(model.edges.pruned(edges.anywhere))
    if len(live) <= most_edges:
        masks = tuple(np.arange(len(model.edges)) == number for number in live)
        return LeftOut("edges", tuple(model.edges[int(number)] for number in live), masks, len(live))
    nodes = touched(model, model.edges.pruned(edges.anywhere))
    chosen = nodes
    if len(nodes) > most_nodes:
        places = generator(workbench.seed, "circuit parts").permutation(len(nodes))[:most_nodes]
        chosen = [nodes[int(place)] for place in np.sort(places)]
    return LeftOut("nodes", tuple(chosen), tuple(node_out(model, name) for name in chosen), len(nodes))


def knocked_out(workbench: PlanContext, edges: EdgeSet) -> list[list[str]]:
    """Random sets of the circuit's nodes, each different; of one node that node, of none nothing."""
    model = transformer_of(workbench)
    nodes = touched(model, model.edges.pruned(edges.anywhere))
    size = max(1, round(SHARE * len(nodes)))
    if not nodes:
        return []
    out: dict[tuple[str, ...], None] = {}
    for draw in range(4 * DRAWS):
        if len(out) >= min(DRAWS, math.comb(len(nodes), size)):
            break
        places = generator(workbench.seed, "circuit knock-outs", draw).permutation(len(nodes))[:size]
        out.setdefault(tuple(nodes[int(place)] for place in np.sort(places)))
    return [list(names) for names in out]


def resamples_of(workbench: PlanContext, count: Float64[np.ndarray, "documents"]) -> tuple[Resamples, np.ndarray]:
    """Resamples of the documents that have scored tokens, and which they are."""
    here = np.flatnonzero(count > 0)
    return workbench.task.resamples(here, workbench.seed, count[here]), here


def completeness(workbench: PlanContext, edges: EdgeSet, ablation: str, *, rows: Rows) -> Completeness:
    """KL(model less K || circuit less K), and their difference in loss, for random halves K of the circuit's nodes.

    A circuit that leaves out a backup of its own nodes is right as a whole and wrong under knock-outs (Wang et al.
    2023, section 4).
    """
    model = transformer_of(workbench)
    draws = knocked_out(workbench, edges)
    if not draws:
        return Completeness(reason="the circuit has no node that could be knocked out")
    everything = EdgeSet.whole(np.ones(len(model.edges), dtype=bool))
    knocked: list[KnockedOut] = []
    values = []
    for names in draws:
        cut = np.any([node_out(model, name) for name in names], 0)
        base, variant = everything.without(cut), edges.without(cut)
        found = score_circuits(workbench, [variant], ablation, rows=rows, base=base)
        resamples, here = resamples_of(workbench, found.count)
        count = found.count[here]
        estimate = resamples.mean(found[0].kl[here], count, least=0.0)
        gap = resamples.difference(found[0].loss[here], found[BASE].loss[here], count)
        knocked.append(KnockedOut(tuple(names), estimate, gap))
        values.append(found.mean_kl(0))
    return Completeness(tuple(knocked), float(np.median(values)), float(np.max(values)))


def minimality(workbench: PlanContext, edges: EdgeSet, ablation: str, *, rows: Rows) -> Minimality:
    """By how much KL(model || circuit) rises when each part alone is left out; the largest rise first."""
    parts = parts_of(workbench, edges)
    found = score_circuits(workbench, [edges, *(edges.without(mask) for mask in parts.masks)], ablation, rows=rows)
    resamples, here = resamples_of(workbench, found.count)
    count = found.count[here]
    kl = found.stacked("kl")
    rises = [resamples.difference(its[here], kl[0][here], count) for its in kl[1:]]
    order = np.argsort(-kl[1:].sum(1), kind="stable")  # also where an interval, and so a figure, is undefined
    return Minimality(parts.kind, tuple(Rise(parts.names[i], rises[i]) for i in order), parts.of)
