"""A model's nodes one by one, for variants side by side, each from an input of its own.

Narrow nodes are computed at the few scored items of each row alone, in the place of its positions.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.intervene.circuits.rows import ScoredItems
from assay.model.layer import Norm
from assay.model.transformer import Model


class Nodes:
    """Nodes of a model on some rows.

    Args:
        like: a stream of these rows.

    Attributes:
        scales: (norm, layer) -> the divisors [rows, pos, 1] that stand in place of a norm's own: the clean run's, where
            norms are frozen. Norms go by the names of the taps that see their scales.
    """

    def __init__(self, model: Model, items: ScoredItems, like: Float[Tensor, "rows pos d_model"]):
        self.model, self.items, self.layers = model, items, model.weights.layers
        self.rotation = model.weights.rotation(like)
        self.scales: dict[tuple[str, int], Tensor] = {}

    def norm_of(self, layer: int, which: str) -> Norm:
        """The norm whose divisor ("scale1", "scale2" or "scale", layer) is."""
        if which == "scale":
            return self.model.weights.final_norm
        return self.layers[layer].norm1 if which == "scale1" else self.layers[layer].norm2

    def normed(self, x: Tensor, layer: int, which: str, narrow: bool = False) -> Tensor:
        """Streams [readers, ..., rows, pos, d_model] behind a norm; those that all readers share are normed once."""
        if len(x) > 1 and x.stride(0) == 0:
            return self.normed(x[:1], layer, which, narrow).expand(x.shape)
        norm, scale = self.norm_of(layer, which), self.scales.get((which, layer))
        if scale is None:
            return norm.quick(x)
        return norm.over(x, self.items.by_row(scale[self.items.where]) if narrow else scale)

    def inputs(
        self,
        x: Float[Tensor, "some variants rows pos d_model"],
        layer: int,
        part: str,
        index: Int[np.ndarray, "some"],
        narrow: bool = False,
    ) -> Float[Tensor, "some variants rows pos d_head"]:
        """Queries, keys or values of some heads or groups as attention uses them, of their normed streams."""
        weights, rotation = self.layers[layer], self.rotation
        out = weights.project_heads(x.flatten(1, 3), part, index).unflatten(1, x.shape[1:4])
        if narrow and rotation is not None:
            rotation = rotation.at(self.items.columns)
        return weights.attended(out, part, rotation)

    def all_inputs(self, x: Float[Tensor, "rows pos d_model"], layer: int) -> list[Tensor]:
        """Queries, keys and values of all heads, which read one normed stream: [heads or groups, rows, pos, d_head]."""
        weights = self.layers[layer]
        parts = zip("qkv", weights.project(x), strict=True)
        return [weights.attended(value.permute(2, 0, 1, 3), part, self.rotation) for part, value in parts]

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, heads: Int[np.ndarray, "heads"], narrow: bool = False
    ) -> Float[Tensor, "heads variants rows pos d_head"]:
        """z of some heads; keys and values may come as those of the same heads' groups."""
        weights = self.layers[layer]
        if len(k) != len(q):
            share = self.model.config.heads // self.model.config.kv_heads
            at = torch.from_numpy(heads // share)
            k, v = k[at], v[at]
        seen = self.items.seen if narrow else "causal"
        return weights.attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), seen).unflatten(0, q.shape[:2])

    def written(
        self,
        z: Float[Tensor, "heads *some d_head"],
        layer: int,
        heads: Int[np.ndarray, "heads"],
        room: Tensor | None = None,
    ) -> Float[Tensor, "heads *some d_model"]:
        """What these heads write, put into `room` where that is given."""
        room = None if room is None else room.flatten(1, -2)
        return self.layers[layer].head_outputs(z.flatten(1, -2), heads, room).unflatten(1, z.shape[1:-1])

    def mlp(
        self, x: Float[Tensor, "*some d_model"], layer: int, narrow: bool = False
    ) -> Float[Tensor, "*some d_model"]:
        """What a layer's MLP writes when it reads these streams."""
        return self.layers[layer].mlp(self.normed(x, layer, "scale2", narrow))

    def unembedded(self, x: Float[Tensor, "*some items d_model"]) -> Float[Tensor, "*some items vocab"]:
        """Logits of last streams at the scored items."""
        layers = self.model.config.layers
        norm, scale = self.norm_of(layers, "scale"), self.scales.get(("scale", layers))
        return self.model.unembed(norm(x) if scale is None else norm.over(x, scale[self.items.where]))
