"""Runs a transformer from a changed stream on: the layers above, the positions from the change on, all else kept.

Takes a kept run (`Trace`), groups of patches that begin at one column, and the new streams layer by layer; gives the
last stream where it is read. Patches of all layers and columns share one flat batch of tokens; only attention sees the
groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.model.layer import Layer, Rotation, rotate
from assay.model.transformer import NOWHERE, Model

Entering = Callable[[int, Int[Tensor, "points"], Int[Tensor, "points"]], Tensor | None]
"""(layer, rows, columns) -> what patches put into the stream there, [points, patches, d_model]; None: no patch."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A run of some rows with everything that a changed run takes from it.

    Attributes:
        streams: entering each layer and leaving the last; after: with each layer's attention: [rows, pos, d_model].
        z, q: per layer [rows, pos, heads, d_head]; k, v: [rows, kv_heads, pos, d_head]. Queries and keys are as
            attention uses them (after norms and RoPE).
        rotation: RoPE's cosines and sines, or None.
    """

    streams: list[Tensor]
    after: list[Tensor]
    z: list[Tensor]
    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    rotation: Rotation | None


@dataclass(frozen=True, eq=False)
class PatchGroup:
    """Patches of some rows whose first changed column is the same.

    Attributes:
        rows: [rows] of the trace. stop: one past the last column that is computed.
        dense: the patches change every column from `start` on; else only `start` itself.
        reads: [rows, reads] columns where the last stream is wanted, ascending; short rows repeat their last.
        whole: the reads are the computed columns in order (but for repeats). every: the rows are the trace's, in order.
    """

    rows: Int[Tensor, "rows"]
    start: int
    stop: int
    dense: bool
    reads: Int[Tensor, "rows reads"]
    whole: bool
    every: bool

    @property
    def width(self) -> int:
        return self.stop - self.start


def trace(model: Model, tokens: Int[Tensor, "rows pos"]) -> Trace:
    """The unedited run of these tokens."""
    layers = range(model.config.layers)
    found: dict[tuple[str, int], Tensor] = {}
    keys = [(kind, layer) for kind in ("stream", "q", "k", "v", "z", "attention") for layer in layers]

    def keep(key: tuple[str, int]) -> Callable[[Tensor], None]:
        return lambda value: found.__setitem__(key, value)

    keys.append(("stream", len(layers)))
    model.forward(tokens, {key: keep(key) for key in keys}, positions=NOWHERE)
    rotation = model.weights.rotation(found["stream", 0])
    q, k, v = ([found[part, layer].transpose(1, 2) for layer in layers] for part in "qkv")
    q, k = ([rotate(x, rotation) for x in several] for several in (q, k))
    return Trace(
        [found["stream", layer] for layer in range(len(layers) + 1)],
        [found["stream", layer] + found["attention", layer] for layer in layers],
        [found["z", layer] for layer in layers],
        [x.transpose(1, 2).contiguous() for x in q],
        [x.contiguous() for x in k],
        [x.contiguous() for x in v],
        rotation,
    )


def suffix(model: Model, kept: Trace, groups: Sequence[PatchGroup], entering: Entering) -> list[Tensor]:
    """The last stream of every patch where it is read: [rows, reads, patches, d_model] of each group.

    Patches come in the order of their layer. `entering` is asked for every layer but the last stream, where a patch
    needs no suffix.
    """
    last = model.config.layers - 1
    rows = torch.cat([g.rows.repeat_interleave(g.width) if g.dense else g.rows for g in groups])
    columns = torch.cat([_columns(g).repeat(len(g.rows)) if g.dense else g.rows.new_full((len(g.rows),), g.start)
                         for g in groups])  # fmt: skip
    points = [len(g.rows) * (g.width if g.dense else 1) for g in groups]
    d = model.config.d_model
    running = [kept.streams[0].new_empty(len(g.rows), 0, g.width, d) for g in groups]
    for layer in range(last + 1):
        entered = entering(layer, rows, columns)
        if entered is None and not running[0].shape[1]:
            continue
        new = [kept.streams[0].new_empty(len(g.rows), 0, d) for g in groups]  # of patches that changed one column
        if entered is not None:
            for at, (group, own) in enumerate(zip(groups, entered.split(points), strict=True)):
                if group.dense:
                    spread = own.unflatten(0, (len(group.rows), group.width)).transpose(1, 2)
                    running[at] = torch.cat([running[at], spread], 1)
                else:
                    new[at] = own
        running = _layer(model, kept, layer, groups, running, new, only_reads=layer == last)
    return [x.transpose(1, 2) for x in running]


def _columns(group: PatchGroup) -> Int[Tensor, "width"]:
    return torch.arange(group.start, group.stop, device=group.rows.device)


def _layer(
    model: Model,
    kept: Trace,
    layer: int,
    groups: Sequence[PatchGroup],
    running: list[Tensor],
    new: list[Tensor],
    *,
    only_reads: bool,
) -> list[Tensor]:
    """One layer of all groups.

    Args:
        running: [rows, patches, width, d_model] of each group; new: [rows, more, d_model], at its first column.

    Returns:
        [rows, patches + more, width (or reads), d_model] of each group.
    """
    weights, d = model.weights.layers[layer], model.config.d_model
    flat = torch.cat([*(x.reshape(-1, d) for x in running), *(x.reshape(-1, d) for x in new)])
    normed = weights.norm1(flat)
    sizes = [x.shape[:-1] for x in (*running, *new)]
    at, entered = None, []  # columns, for RoPE
    if kept.rotation is not None:
        entered = [x.new_full((x.shape[0] * x.shape[1],), g.start, dtype=torch.long)
                   for g, x in zip(groups, new, strict=True)]  # fmt: skip
        spots = [_columns(g).repeat(x.shape[0] * x.shape[1]) for g, x in zip(groups, running, strict=True)]
        at = torch.cat([*spots, *entered])
    gathered = only_reads and not all(group.whole for group in groups)
    count = len(groups)
    if not gathered:
        parts = zip("qkv", weights.project(normed), strict=True)
        q, k, v = (_split(_attended(weights, kept, x, part, at), sizes) for part, x in parts)
        heads = q[:count]
    else:
        k, v = (_split(_attended(weights, kept, weights.project_part(normed, p), p, at), sizes) for p in "kv")
        inner = _split(normed, sizes)
        chosen = [_at_reads(x, g) for x, g in zip(inner[:count], groups, strict=True)]
        read = torch.cat([*(x.reshape(-1, d) for x in chosen), *(x.reshape(-1, d) for x in inner[count:])])
        if at is not None:
            spots = [g.reads[:, None].expand(-1, x.shape[1], -1).flatten() for g, x in zip(groups, chosen, strict=True)]
            at = torch.cat([*spots, *entered])
        q = _attended(weights, kept, weights.project_part(read, "q"), "q", at)
        q = _split(q, [x.shape[:-1] for x in (*chosen, *inner[count:])])
        heads = q[:count]
        running = [_at_reads(x, g) for x, g in zip(running, groups, strict=True)]
    shapes = [(x.shape[0], x.shape[1] + y.shape[1], x.shape[2]) for x, y in zip(running, new, strict=True)]
    ends = [rows * patches * width for rows, patches, width in shapes]
    stream, z = flat.new_empty(sum(ends), d), flat.new_empty(sum(ends), model.config.heads * model.config.d_head)
    pieces = zip(groups, stream.split(ends), z.split(ends), shapes, strict=True)
    for index, (group, x_out, z_out, shape) in enumerate(pieces):
        more = index + count
        _joined(x_out.view(*shape, d), running[index], new[index], kept.streams[layer], group, gathered)
        query = heads[index]
        if new[index].shape[1]:
            query = query.new_empty(*shape, *query.shape[3:])
            _joined(query, heads[index], q[more], kept.q[layer], group, gathered)
        key = _with_kept(k[index], k[more], kept.k[layer], group)
        value = _with_kept(v[index], v[more], kept.v[layer], group)
        past_k, past_v = (x[:, :, : group.start] for x in (kept.k[layer], kept.v[layer]))
        if not group.every:
            past_k, past_v = past_k[group.rows], past_v[group.rows]
        attended = weights.attend_windows(query, key, value, past_k, past_v, _visible(group, gathered))
        z_out.view(attended.shape).copy_(attended)
    attention = weights.out(z)
    read = stream if model.config.parallel else stream.add_(attention)
    written = weights.mlp(weights.norm2(read), quick=True) if weights.has_mlp else None
    if model.config.parallel:
        stream = stream.add_(attention)
    if written is not None:
        stream = stream.add_(written)
    return [x.view(*shape, d) for x, shape in zip(stream.split(ends), shapes, strict=True)]


def _split(flat: Tensor, sizes: Sequence[torch.Size]) -> list[Tensor]:
    parts = flat.split([size.numel() for size in sizes])
    return [part.view(*size, *flat.shape[1:]) for part, size in zip(parts, sizes, strict=True)]


def _attended(weights: Layer, kept: Trace, x: Tensor, part: str, at: Tensor | None) -> Tensor:
    """Queries, keys or values [tokens, heads, d_head] as attention uses them, at their columns."""
    rotation = None if kept.rotation is None or at is None else kept.rotation.at(at.unsqueeze(1))
    return weights.attended(x, part, rotation)


def _at_reads(x: Float[Tensor, "rows patches width d"], group: PatchGroup) -> Float[Tensor, "rows patches reads d"]:
    if group.whole:
        return x
    index = (group.reads - group.start)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1])
    return x.gather(2, index)


def _joined(
    out: Float[Tensor, "rows all width *inner"],
    running: Float[Tensor, "rows patches width *inner"],
    new: Float[Tensor, "rows more *inner"],
    kept: Float[Tensor, "kept_rows pos *inner"],
    group: PatchGroup,
    gathered: bool,
) -> None:
    """Fills `out` with the running patches, then the new ones: the kept run with one column replaced."""
    patches = running.shape[1]
    out[:, :patches] = running
    if new.shape[1]:
        if gathered:
            clean = kept[group.rows.unsqueeze(1), group.reads]
            first = (group.reads == group.start)[:, None]
            first = first.reshape(*first.shape, *[1] * (clean.ndim - 2))
            out[:, patches:] = torch.where(first, new.unsqueeze(2), clean.unsqueeze(1))
        else:
            out[:, patches:, 0] = new
            out[:, patches:, 1:] = kept[group.rows, group.start + 1 : group.stop].unsqueeze(1)


def _with_kept(
    running: Tensor, new: Tensor, kept: Tensor, group: PatchGroup
) -> Float[Tensor, "rows all width heads inner"]:
    """Keys or values of all patches in the window; those that just entered differ from the kept run at one column."""
    if not new.shape[1]:
        return running
    rows, patches, width, *inner = running.shape
    out = running.new_empty(rows, patches + new.shape[1], width, *inner)
    out[:, :patches] = running
    out[:, patches:, 0] = new
    out[:, patches:, 1:] = kept[group.rows, :, group.start + 1 : group.stop].transpose(1, 2).unsqueeze(1)
    return out


def _visible(group: PatchGroup, gathered: bool) -> Bool[Tensor, "some queries keys"] | None:
    """Which keys of the window each query sees; None: causal, all columns of the window are queries."""
    if not gathered or group.whole:
        return None
    return _columns(group) <= group.reads.unsqueeze(-1)
