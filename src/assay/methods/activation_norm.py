"""How large what an edge carries is, as a score of edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from assay.errors import ComponentError, nearest
from assay.intervene.circuits.engine import CircuitBatch, Circuits
from assay.intervene.circuits.reader_gradients import Pass, forward, written
from assay.methods.edge_scores import EdgeScores
from assay.model.layer import Linear

ROWS = 8  # of a batch
Rows = Int[np.ndarray, "rows"]
SIZES = ("written", "read")


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
    for batch, run, real in own_runs(circuits, rows):
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


def own_runs(circuits: Circuits, rows: Rows | None) -> Iterator[tuple[CircuitBatch, Pass, Bool[Tensor, "rows pos"]]]:
    """The model's own run of rows in batches, and which tokens are real."""
    task = circuits.task
    rows = np.arange(len(task.tokens)) if rows is None else rows
    for start in range(0, len(rows), ROWS):
        batch = circuits.batch(rows[start : start + ROWS])
        with torch.no_grad():
            run = forward(batch, batch.model.embed(batch.tokens).unsqueeze(0))
        yield batch, run, task.real[torch.from_numpy(batch.rows)].to(run.logits.device)


def streams_read(
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
    for places, stream, at in streams_read(batch, run, real):
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
