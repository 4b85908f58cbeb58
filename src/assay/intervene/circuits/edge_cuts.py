"""Single edges cut from the model's own run: the reader's node anew, then the plain layers above it.

With every other edge whole, all readers of a layer read one stream, so no reader has an input of its own to be mixed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.intervene.circuits.engine import CircuitBatch
from assay.model.transformer import NOWHERE


class EdgeCuts:
    """Edges of one batch of rows, each cut alone from the model."""

    def __init__(self, batch: CircuitBatch):
        self.batch, self.model = batch, batch.model
        layers = self.model.config.layers
        self._kept: dict[tuple[str, int], Tensor] = {}
        keys = [(kind, layer) for kind in ("stream", "attention", "z", "mlp") for layer in range(layers)]
        with torch.no_grad():
            self._run(self.batch.tokens, {key: self._keep(key) for key in [*keys, ("stream", layers)]})

    def _keep(self, key: tuple[str, int]) -> Callable[[Tensor], None]:
        return lambda value: self._kept.__setitem__(key, value)

    def _run(self, tokens: Tensor, taps: dict, stream: Tensor | None = None, start: int = 0) -> None:
        self.batch.runner.forwards += (len(tokens) if stream is None else len(stream)) * (
            1 - start / self.model.config.layers
        )
        self.model.forward(tokens, taps, stream=stream, start=start, positions=NOWHERE)

    @torch.no_grad()
    def logits(self, reader: int, writers: Int[np.ndarray, "variants"]) -> Float[Tensor, "variants items vocab"]:
        """Logits of the scored items with the edge from each of these writers to the reader cut."""
        at = self.batch.edges.readers[reader]
        layers, delta = self.model.config.layers, self.batch.clean.delta[torch.from_numpy(writers)]
        if at.part == "logits":
            return self.batch.nodes.unembedded((self._kept["stream", layers] - delta)[:, *self.batch.items.where])
        after = self._mlp(at.layer, delta) if at.part == "mlp" else self._attention(at.layer, at.part, at.index, delta)
        return self.batch.nodes.unembedded(self._above(after, at.layer + 1)[:, *self.batch.items.where])

    def _mlp(self, layer: int, delta: Tensor) -> Float[Tensor, "variants rows pos d_model"]:
        """The stream after a layer whose MLP reads less."""
        stream = self._kept["stream", layer]
        whole = stream + self._kept["attention", layer]
        return whole + self.batch.nodes.mlp((stream if self.model.config.parallel else whole) - delta, layer)

    def _attention(
        self, layer: int, part: str, index: int, delta: Tensor
    ) -> Float[Tensor, "variants rows pos d_model"]:
        """The stream after a layer one of whose heads (or groups) has other queries, keys or values."""
        shape, nodes, stream = self.model.config, self.batch.nodes, self._kept["stream", layer]
        share = shape.heads // shape.kv_heads
        heads = np.array([index]) if part == "q" else np.arange(index * share, (index + 1) * share)
        group, chosen = int(heads[0]) // share, torch.from_numpy(heads)
        read = nodes.normed(stream - delta, layer, "scale1").unsqueeze(0)
        new = nodes.inputs(read, layer, part, np.array([index]))
        state, size = self.batch.clean, (len(heads), len(delta), -1, -1, -1)
        old = {
            "q": state.q[layer][chosen].unsqueeze(1),
            "k": state.k[layer][group : group + 1].unsqueeze(1),
            "v": state.v[layer][group : group + 1].unsqueeze(1),
        }
        q, k, v = ((new if name == part else old[name]).expand(size) for name in "qkv")
        z = nodes.attend(q, k, v, layer, heads) - self._kept["z", layer].permute(2, 0, 1, 3)[chosen].unsqueeze(1)
        after = stream + self._kept["attention", layer] + nodes.written(z, layer, heads).sum(0)
        if shape.d_mlp[layer] is None:
            return after
        return after + (self._kept["mlp", layer] if shape.parallel else nodes.mlp(after, layer))

    def _above(self, stream: Tensor, start: int) -> Float[Tensor, "variants rows pos d_model"]:
        """The stream after the last layer, from the one entering a layer."""
        layers, variants = self.model.config.layers, len(stream)
        if start == layers:
            return stream
        out: list[Tensor] = []
        taps: dict[tuple[str, int], Callable[[Tensor], Tensor | None]] = {("stream", layers): out.append}
        for (kind, layer), scale in self.batch.nodes.scales.items():
            if start <= layer < layers:
                taps[kind, layer] = lambda _, scale=scale: scale.repeat(variants, 1, 1)
        self._run(self.batch.tokens, taps, stream.flatten(0, 1), start)
        return out[0].unflatten(0, (variants, -1))
