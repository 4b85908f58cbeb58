"""Simple scores of edges, which any search has to beat: chance, order, sizes of activations, information flow.

What needs no data (norms of weights) is in `edge_weights`; saliency is in `attribution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from assay.errors import ComponentError, nearest
from assay.intervene.circuits import CircuitBatch, Circuits
from assay.intervene.reader_gradients import Pass, forward, written
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges
from assay.model.layer import Linear
from assay.names import parse_site
from assay.stats.keyed import generator

ROWS = 8  # of a batch
Rows = Int[np.ndarray, "rows"]
SIZES = ("written", "read")


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


def activation_norm(circuits: Circuits, *, of: str = "read", rows: Rows | None = None) -> EdgeScores:
    """The size of what an edge carries: its writer's difference from its fill, root mean square over real tokens.

    Args:
        of: "written", in the stream, the same for all readers of a writer; "read", after the norm (its scale as in the
            model's run) and the reader's weights, which for `logits` are the unembedding at the scored items.

    Raises:
        ComponentError: for another `of`.
    """
    if of not in SIZES:
        raise ComponentError(f"unknown size {of!r}" + nearest(of, SIZES))
    edges, before = circuits.edges, circuits.runner.forwards
    squares = np.zeros((len(edges.readers), len(edges.writers)))
    tokens, items, roots = 0, 0, dict[int, Tensor]()
    for batch, run, real in _runs(circuits, rows):
        deltas = written(batch, run, less_fill=True)
        tokens, items = tokens + int(real.sum()), items + len(batch.items)
        if of == "written":
            squares += deltas[:, real].double().square().sum((1, 2)).cpu().numpy()
            continue
        for places, sizes in _read(batch, run, deltas, real, roots):
            squares[places, : len(sizes)] += sizes.T.cpu().numpy()
    counts = np.full((len(edges.readers), 1), tokens)
    if of == "read":
        counts[-1] = items
    settings = {"ablation": circuits.ablation, "of": of}
    scores = edges.flat(np.sqrt(squares / np.maximum(counts, 1)))
    return EdgeScores(scores, f"activation_norm_{of}", settings, circuits.runner.forwards - before)


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
    for batch, run, real in _runs(circuits, rows):
        values = written(batch, run, less_fill=False)
        tokens, items = tokens + int(real.sum()), items + len(batch.items)
        for places, stream, at in _streams(batch, run, real):
            count = edges.readers[places[0]].writers
            shares[places, :count] += _proximity(stream, values[:count, *at]).cpu().numpy()
    shares[:-1] /= max(tokens, 1)
    shares[-1] /= max(items, 1)
    scores = edges.flat(_top_down(edges, shares))
    return EdgeScores(scores, "information_flow", {}, circuits.runner.forwards - before)


def _runs(circuits: Circuits, rows: Rows | None) -> Iterator[tuple[CircuitBatch, Pass, Bool[Tensor, "rows pos"]]]:
    """The model's own run of rows in batches, and which tokens are real."""
    task = circuits.task
    rows = np.arange(len(task.tokens)) if rows is None else rows
    for start in range(0, len(rows), ROWS):
        batch = circuits.batch(rows[start : start + ROWS])
        with torch.no_grad():
            run = forward(batch, batch.model.embed(batch.tokens).unsqueeze(0))
        yield batch, run, task.real[torch.from_numpy(batch.rows)].to(run.logits.device)


def _streams(
    batch: CircuitBatch, run: Pass, real: Bool[Tensor, "rows pos"]
) -> Iterator[tuple[np.ndarray, Tensor, tuple[Tensor, ...]]]:
    """Readers that read the same stream, that stream [where, d_model], and the rows and positions that count."""
    at = torch.nonzero(real, as_tuple=True)
    places_of = batch.edges.places
    for layer, places in enumerate(places_of):
        yield np.concatenate([places[part] for part in "qkv"]), run.streams[layer, 0][0][at], at
        if "mlp" in places:
            yield places["mlp"], run.mlp_read[layer][0][at], at
    yield np.array([len(batch.edges.readers) - 1]), run.final[0], batch.items.where


def _read(
    batch: CircuitBatch,
    run: Pass,
    deltas: Float[Tensor, "writers rows pos d_model"],
    real: Bool[Tensor, "rows pos"],
    roots: dict[int, Tensor],
) -> Iterator[tuple[np.ndarray, Float64[Tensor, "some_writers readers"]]]:
    """Sums of squares of what readers get of each difference through norm and weights.

    Args:
        roots: of the weights of MLPs and the unembedding, by reader; kept from batch to batch.
    """
    model, nodes = batch.model, batch.nodes
    for places, stream, at in _streams(batch, run, real):
        reader = batch.edges.readers[places[0]]
        difference = deltas[: reader.writers, *at]
        which = {"logits": "scale", "mlp": "scale2"}.get(reader.part, "scale1")
        norm, frozen = nodes.norm_of(reader.layer, which), nodes.scales.get((which, reader.layer))
        scale = norm.scale(stream) if frozen is None else frozen[at]
        x = norm.centre(difference) / scale * norm.weight
        if reader.part == "q":
            for part in "qkv":
                W = model.weights.layers[reader.layer].W_in(part)
                sizes = [(x @ head).double().square().sum((1, 2)) for head in W]
                yield batch.edges.places[reader.layer][part], torch.stack(sizes, 1)
            continue
        maps = [model.weights.unembedding]
        if reader.part == "mlp":
            weights = model.weights.layers[reader.layer]
            maps = [linear for linear in (weights.up, weights.gate) if linear is not None]
        if places[0] not in roots:
            roots[places[0]] = _root(maps).to(x.dtype)
        yield places, torch.stack([(one @ roots[places[0]]).double().square().sum() for one in x]).unsqueeze(1)


def _root(maps: Sequence[Linear]) -> Float64[Tensor, "width width"]:
    """A root of the sum of the maps' WᵀW: what it makes of x has the squares of all that they make, and is as wide as x
    and not as a vocabulary."""
    gram = torch.stack([linear.weight.double().T @ linear.weight.double() for linear in maps]).sum(0)
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp(min=0).sqrt()


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
