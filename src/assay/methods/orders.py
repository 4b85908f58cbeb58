"""Edges in an order that no data gives: at random, and early layers first."""

from __future__ import annotations

import numpy as np

from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges
from assay.names import parse_site
from assay.stats.keyed import generator


def random_scores(edges: Edges, *, seed: int = 0, draw: int = 0) -> EdgeScores:
    """A random order of all edges, keyed by seed and draw."""
    order = generator(seed, "random edges", draw).permutation(len(edges))
    return EdgeScores(order.astype(np.float64), "random", {"seed": seed, "draw": draw}, 0.0)


def first_layers(edges: Edges) -> EdgeScores:
    """The earliest layers first: an edge comes as late as the later of its two ends, attention before MLP.

    An edge to `logits` counts by its writer alone, so that the first so many layers and what they tell the logits are
    always a prefix of the ranking.
    """
    stage = {"head": 0, "mlp": 1}
    sites = [parse_site(name) for name in edges.writers]
    writers = np.array([-1 if site.layer is None else 2 * site.layer + stage[site.kind] for site in sites])
    readers = np.array([-1 if r.part == "logits" else 2 * r.layer + (r.part == "mlp") for r in edges.readers])
    reader, writer = edges.ends(np.arange(len(edges)))
    depth = np.maximum(readers[reader], writers[writer])
    return EdgeScores(-depth.astype(np.float64), "first_layers", {}, 0.0)
