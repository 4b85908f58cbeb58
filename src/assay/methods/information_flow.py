"""Information flow routes (Ferrando and Voita 2024), as scores of edges."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from assay.intervene.circuits.engine import Circuits
from assay.intervene.circuits.reader_gradients import written
from assay.methods.activation_norm import Rows, own_runs, streams_read
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges


def information_flow(circuits: Circuits, *, rows: Rows | None = None) -> EdgeScores:
    """Information flow routes (Ferrando and Voita 2024) over edges; its thresholds are the scores.

    How close what a writer gave, v, is to what a reader reads, y: max(0, |y|₁ − |y − v|₁), divided by the sum of that
    over all writers, and averaged over real tokens (scored items for `logits`). An edge belongs to the routes at a
    threshold t when its share is at least t and its reader's node is `logits` or has an edge in the routes; its score
    is the largest such t. Positions share one graph, and queries and keys are followed like values.
    """
    edges, before = circuits.edges, circuits.runner.forwards
    shares = np.zeros((len(edges.readers), len(edges.writers)))
    tokens, items = 0, 0
    for batch, run, real in own_runs(circuits, rows):
        values = written(batch, run, less_fill=False)
        tokens, items = tokens + int(real.sum()), items + len(batch.items)
        for places, stream, at in streams_read(batch, run, real):
            count = edges.readers[places[0]].writers
            shares[places, :count] += _proximity(stream, values[:count, *at]).cpu().numpy()
    shares[:-1] /= max(tokens, 1)
    shares[-1] /= max(items, 1)
    scores = edges.flat(_top_down(edges, shares))
    return EdgeScores(scores, "information_flow", {}, circuits.runner.forwards - before)


def _proximity(
    y: Float[Tensor, "where d_model"], values: Float[Tensor, "some_writers where d_model"]
) -> Float64[Tensor, "some_writers"]:
    """Each writer's share of what is near y, summed over places."""
    near = (y.abs().sum(-1) - (y - values).abs().sum(-1)).clamp(min=0).double()
    return (near / near.sum(0).clamp(min=torch.finfo(torch.float64).tiny)).sum(1)


def _top_down(edges: Edges, shares: Float64[np.ndarray, "readers writers"]) -> Float64[np.ndarray, "readers writers"]:
    """The largest threshold at which each edge is reached from `logits`: the weakest share on its strongest route."""
    reach = np.zeros(len(edges.readers))
    reach[-1] = np.inf
    for writer in reversed(range(len(edges.writers))):  # whoever reads a writer comes after it
        own = edges.node_of[:, writer]
        reach[own] = np.maximum(reach[own], np.minimum(shares[:, writer], reach).max())
    return np.minimum(shares, reach[:, None])
