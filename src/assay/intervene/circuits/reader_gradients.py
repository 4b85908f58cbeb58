"""Gradients of a loss at every reader's own input, from one fused forward and backward pass of the model.

No reader has a copy of the stream: gradients are taken where a layer's queries, keys and values leave their maps, and
go back through each head's weights and the norm analytically, after the steps of a path were added up in head space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.intervene.circuits import softened
from assay.intervene.circuits.engine import CircuitBatch
from assay.model.layer import PARTS, Layer, rotate

Start = tuple[int, int]  # layer, and 0 before its attention or 1 after it; (n_layers, 0) after the last layer


@dataclass(eq=False)
class Attended:
    """A layer's attention: the stream it read, and queries, keys and values as they leave their maps."""

    stream: Float[Tensor, "steps rows pos d_model"]
    q: Float[Tensor, "steps rows pos heads d_head"]
    k: Float[Tensor, "steps rows pos kv_heads d_head"]
    v: Float[Tensor, "steps rows pos kv_heads d_head"]


@dataclass(eq=False)
class Pass:
    """A run of the model from a stream on, several steps of a path side by side; every node computes from its inputs.

    Attributes:
        streams: what leaves each stage, by where a run can start; z, mlp: what heads and MLPs gave.
        attended, mlp_read, final: what readers read (the last one at the scored items).
        apart: whether gradients and outputs are kept by step.
    """

    batch: CircuitBatch
    logits: Float[Tensor, "steps items vocab"]
    final: Float[Tensor, "steps items d_model"]
    streams: dict[Start, Tensor] = field(default_factory=dict)
    attended: dict[int, Attended] = field(default_factory=dict)
    mlp_read: dict[int, Tensor] = field(default_factory=dict)
    z: dict[int, Tensor] = field(default_factory=dict)
    mlp: dict[int, Tensor] = field(default_factory=dict)
    share: float = 1.0  # of a whole forward pass
    apart: bool = False


def forward(
    batch: CircuitBatch,
    stream: Float[Tensor, "steps rows pos d_model"],
    start: Start = (0, 0),
    carried: Float[Tensor, "steps"] | None = None,
    soft: bool = False,
) -> Pass:
    """Runs the model from this stream on; differentiable in the stream where gradients are enabled.

    Args:
        carried: how much of its writer's value every edge carries in each step, the rest is fill; for whole runs.
        soft: gradients as GIM changes them, for one step: a softer softmax, shares of products, norms frozen here.
    """
    model, shape, nodes = batch.model, batch.model.config, batch.nodes
    x = stream.requires_grad_() if torch.is_grad_enabled() else stream
    run = Pass(batch, x.new_zeros(0, 0, 0), x.new_zeros(0, 0, 0), apart=carried is not None)
    places, (rows, positions) = batch.edges.places, (index.to(x.device) for index in batch.items.where)

    def mixed(x: Tensor, reader: int | np.integer) -> Tensor:
        if carried is None:
            return x
        fill = batch.fills.streams[batch.edges.readers[reader].writers]
        return torch.lerp(fill.expand_as(x), x, carried.view(-1, 1, 1, 1))

    def freeze(x: Tensor, which: str, layer: int) -> None:
        if soft:
            nodes.scales[which, layer] = nodes.norm_of(layer, which).scale(x.detach()[0])

    for layer in range(start[0], shape.layers):
        weights, before = model.weights.layers[layer], x
        if (layer, 0) >= start:
            run.streams[layer, 0] = x
            read = mixed(x, places[layer]["q"][0])
            freeze(read, "scale1", layer)
            q, k, v = weights.project(nodes.normed(read, layer, "scale1"))
            run.attended[layer] = Attended(read, q, k, v)
            run.z[layer] = _attend(batch, weights, q, k, v, soft)
            x = x + weights.out(run.z[layer].flatten(-2))
        run.streams[layer, 1] = x
        if weights.has_mlp:
            read = mixed(before if shape.parallel else x, places[layer]["mlp"][0])
            read = run.mlp_read[layer] = read.view_as(read)  # a branch of its own, at which a gradient can be asked for
            freeze(read, "scale2", layer)
            run.mlp[layer] = nodes.mlp(read, layer)
            x = x + run.mlp[layer]
    run.streams[shape.layers, 0] = x
    run.final = mixed(x, -1)[:, rows, positions]
    freeze(x, "scale", shape.layers)
    run.logits = nodes.unembedded(run.final)
    run.share = 1 - (start[0] + start[1] / 2) / shape.layers
    batch.runner.count(x.shape[0] * x.shape[1] * run.share)
    return run


def start_after(batch: CircuitBatch, layer: int, mlp: bool) -> Start:
    """Where a run starts that has the outputs of this layer's heads (or of its MLP) in its stream."""
    return (layer + 1, 0) if mlp or batch.model.config.parallel else (layer, 1)


def written(batch: CircuitBatch, run: Pass, *, less_fill: bool) -> Float[Tensor, "writers *steps rows pos d_model"]:
    """What every writer put into the stream in a whole run (by step where kept apart), or that less its fill."""
    shape, heads = batch.model.config, np.arange(batch.model.config.heads)
    with torch.no_grad():
        own = run.streams[0, 0].detach()
        parts = [(own - batch.fills.input if less_fill else own).unsqueeze(0)]
        for layer in range(shape.layers):
            z = run.z[layer].detach().permute(3, 0, 1, 2, 4)
            z = z - batch.fills.z[layer].unsqueeze(1) if less_fill else z
            parts.append(batch.nodes.written(z, layer, heads))
            fill = batch.fills.mlp[layer]
            if fill is not None:
                out = run.mlp[layer].detach()
                parts.append((out - fill if less_fill else out).unsqueeze(0))
        found = torch.cat([part.expand(-1, *own.shape) for part in parts])
    return found if run.apart else found[:, 0]


def reader_gradients(
    run: Pass, loss: Float[Tensor, ""]
) -> Iterator[tuple[Int[np.ndarray, "some"], Float[Tensor, "some *where d_model"]]]:
    """Places of readers, and the gradient at the input of each (before its norm), summed over steps or by step.

    Every reader after the run's start is given once: a layer's queries, keys, values and MLP at every row and position,
    `logits` at the scored items.
    """
    batch, shape = run.batch, run.batch.model.config
    places = batch.edges.places
    inputs = [getattr(at, part) for at in run.attended.values() for part in PARTS]
    inputs += [*run.mlp_read.values(), run.final]
    gradients = iter(torch.autograd.grad(loss, inputs))
    steps, rows = run.streams[shape.layers, 0].shape[:2]
    batch.runner.count(steps * rows * run.share)
    for layer, attended in run.attended.items():
        for part in PARTS:
            yield places[layer][part], _back(batch, layer, part, attended, next(gradients), run.apart)
    for place in [*(places[layer]["mlp"] for layer in run.mlp_read), np.array([len(batch.edges.readers) - 1])]:
        found = next(gradients)
        yield place, found.unsqueeze(0) if run.apart else found.sum(0, keepdim=True)


def _attend(batch: CircuitBatch, weights: Layer, q: Tensor, k: Tensor, v: Tensor, soft: bool) -> Tensor:
    """z [steps, rows, pos, heads, d_head]."""
    steps = len(q)
    if soft:
        q, k, v = (softened.share_of_gradient(x, part) for x, part in zip((q, k, v), PARTS, strict=True))
    frozen = torch.detach if soft else None
    q, k = weights.head_normed(q, "q", frozen), weights.head_normed(k, "k", frozen)
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))
    q, k = rotate(q, batch.nodes.rotation), rotate(k, batch.nodes.rotation)
    z = softened.attention(q, k, v, weights.scaling) if soft else weights.attend(q, k, v)
    return z.transpose(1, 2).unflatten(0, (steps, -1))


def _back(
    batch: CircuitBatch,
    layer: int,
    part: str,
    at: Attended,
    gradient: Float[Tensor, "steps rows pos some d_head"],
    apart: bool,
) -> Float[Tensor, "some *steps rows pos d_model"]:
    """From a gradient at queries, keys or values to one at the stream that each head or group reads, over all steps.

    With x̂ the stream over its scale s, g the norm's gain and W a head's map, y = W'(g x̂) + const and
    dL/dx = (u − mean(u) − x̂ (dL/dy · (y − const)) / d) / s, u = g W dL/dy; no mean in an RMS norm. The first terms are
    linear in (dL/dy) / s, so steps are added before W is applied.
    """
    weights, stream = batch.model.weights.layers[layer], at.stream.detach()
    norm, frozen = weights.norm1, batch.nodes.scales.get(("scale1", layer))
    scale = norm.scale(stream) if frozen is None else frozen
    over = gradient / scale.unsqueeze(-1)
    steps = "s" if apart else ""
    out = torch.einsum(f"{steps}rphe,hde->h{steps}rpd", over if apart else over.sum(0), weights.W_in(part))
    out = out * norm.weight
    if norm.centred:
        out = out - out.mean(-1, keepdim=True)
    if frozen is None:
        none = stream.new_zeros(stream.shape[-1])
        constant = weights.project(none if norm.bias is None else norm.bias)[PARTS.index(part)]
        along = (over * (getattr(at, part).detach() - constant)).sum(-1) / stream.shape[-1]
        out = out - torch.einsum(f"srph,srpd->h{steps}rpd", along, norm.centre(stream) / scale)
    return out
