"""The component view of a decoder-only transformer: one forward pass over loaded weights, with taps at named places.

A family file turns the library's weights into `Weights` (shared, not copied); the rest is the same for all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.errors import ModelError, nearest
from assay.model import meter
from assay.model.edges import Edges
from assay.model.fingerprint import fingerprint
from assay.model.layer import Layer, Rotation, Tap, per_head, rotate
from assay.model.proof import Proof
from assay.model.views import WeightViews
from assay.model.weights import Shape, Weights

Taps = Mapping[tuple[str, int], Tap]

# in the order in which they fire within a layer; "input" comes before the first, "scale" and "logits" after the last
LAYER_KINDS = ("stream", "scale1", "q", "k", "v", "pattern", "z", "attention", "scale2", "neurons", "mlp")
LAST_KINDS = ("stream", "scale", "logits")
MLP_KINDS = ("scale2", "neurons", "mlp")  # of a layer, what its MLP has
NOWHERE = slice(0, 0)  # positions of a pass whose logits nobody reads


@dataclass(frozen=True, eq=False)
class Model(WeightViews):
    """A transformer whose parts can be seen and replaced. It shares the library model's weights and never changes them.

    Attributes:
        name: what it was loaded as; family: "gpt2", "llama", "mistral", "qwen2", "qwen3" or "gpt_neox".
        config: the sizes; bos: the id that begins every sequence, or None.
        tokenizer: the transformers tokenizer, or None where the model came without one.
        source: the library's model, whose weights these are.
        window: the longest input where a sliding window limits it.
        proof: what the check on load found.
    """

    name: str
    family: str
    config: Shape
    weights: Weights
    source: nn.Module
    tokenizer: Any = None
    bos: int | None = None
    window: int | None = None
    proof: Proof = field(default_factory=Proof)

    def __repr__(self) -> str:
        shape = self.config
        layers = f"{shape.layers} layer{'s' * (shape.layers != 1)}"
        sizes = f"{layers}, {shape.heads} heads, d_model {shape.d_model}, vocabulary {shape.vocab:,}"
        return f"<Model {self.name}: {self.family}, {sizes}, {str(self.dtype).removeprefix('torch.')} on {self.device}>"

    def __call__(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        return self.forward(tokens)

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        taps: Taps | None = None,
        *,
        stream: Float[Tensor, "rows pos d_model"] | None = None,
        start: int = 0,
        positions: slice | Int[Tensor, "some"] | None = None,
        unread: Collection[tuple[str, int]] = (),
    ) -> Float[Tensor, "out_rows some_pos vocab"]:
        """Logits; differentiable in every value that a tap gives, never in the weights.

        Args:
            tokens: ids, with BOS where the model uses one. Unused but for their shape when `stream` is given.
            taps: (kind, layer) -> function of the value there, which may give a replacement. Kinds and shapes:
                ("input", 0), ("stream", l) entering layer l or leaving the last, ("attention", l) and ("mlp", l) as
                they are added to the stream: [batch, pos, d_model]; ("scale1", l) and ("scale2", l), the divisors of
                the norms before attention and MLP, and ("scale", n_layers): [batch, pos, 1]; ("q", l), ("z", l):
                [batch, pos, heads, d_head]; ("k", l), ("v", l): [batch, pos, kv_heads, d_head] (queries and keys before
                RoPE); ("pattern", l): [batch, heads, pos, pos]; ("neurons", l): [batch, pos, d_mlp], what the MLP's
                output matrix reads; ("logits", n_layers).
            stream: begin with this stream at layer `start` (n_layers: only the final norm and the unembedding are run).
            positions: unembed only these positions. With `NOWHERE` the pass ends with the last layer that has a tap
                (`depth`); of a stream, the one before it.
            unread: ("z", l) and ("mlp", l) whose taps do not look at the value that they replace: they are given zeros,
                and it is not computed.

        Raises:
            ModelError: for an input longer than the model can take, an id outside the vocabulary, or an unknown tap.
        """
        taps = taps or {}
        x = self.normed(tokens, taps, stream=stream, start=start, positions=positions, unread=unread)
        return self._seen(taps, "logits", self.config.layers, self.unembed(x))

    def normed(
        self,
        tokens: Int[Tensor, "batch pos"],
        taps: Taps | None = None,
        *,
        stream: Float[Tensor, "rows pos d_model"] | None = None,
        start: int = 0,
        positions: slice | Int[Tensor, "some"] | None = None,
        unread: Collection[tuple[str, int]] = (),
    ) -> Float[Tensor, "out_rows some_pos d_model"]:
        """What `forward` unembeds: the last stream behind the final norm. Logits of chosen items are made of it."""
        taps = taps or {}
        self._check(tokens, taps, embeds=stream is None)
        layers = self.config.layers
        x = self._seen(taps, "input", 0, self.embed(tokens)) if stream is None else stream
        rotation = self.weights.rotation(x) if start < layers else None
        end = self.depth(taps) if isinstance(positions, slice) and positions == NOWHERE else layers
        if end < layers and not any(key in taps for key in (("stream", end), *((k, end - 1) for k in MLP_KINDS))):
            unread = {*unread, ("mlp", end - 1)}
        for index in range(start, end):
            x = self._seen(taps, "stream", index, x)
            x = self.run_layer(x, index, taps, rotation, unread)
        x = self._seen(taps, "stream", end, x)
        if positions is not None:
            x = x[:, positions]
        return self.weights.final_norm(self._near(x, self.weights.final_norm.weight), taps.get(("scale", layers)))

    def unembed(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of what `normed` gives, at any places of it."""
        meter.unembedded(normed.shape[:-1].numel())
        return self.weights.unembedding(self._near(normed, self.weights.unembedding.weight))

    def depth(self, taps: Taps) -> int:
        """How many layers a pass without logits runs: through the last one with a tap, or up to the one that a tapped
        stream enters; all for a tap behind them."""
        ends = ({"input": 0, "stream": layer}.get(kind, layer + 1) for kind, layer in taps)
        return min(self.config.layers, max(ends, default=0))

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The value of `input`: token embedding plus learned position embedding, where there is one."""
        return self.weights.embed(tokens)

    def layer(self, x: Tensor, index: int, taps: Taps, *, like: torch.dtype) -> Tensor:
        """The stream behind one layer, from the stream before it; RoPE's angles are rounded as in type `like`."""
        rotation = self.weights.rotation(x.to(like))
        return self.run_layer(x, index, taps, None if rotation is None else rotation.to(x.dtype), ())

    def run_layer(
        self, x: Tensor, index: int, taps: Taps, rotation: Rotation | None, unread: Collection[tuple[str, int]]
    ) -> Tensor:
        """As `layer`, with RoPE's angles given; heads that nothing reads (`unread`) are not computed."""
        meter.passed(x.shape[0] * x.shape[1] / self.config.layers, x.requires_grad)
        layer = self.weights.layers[index]
        x = self._near(x, layer.norm1.weight)
        if ("z", index) in unread:
            z = x.new_zeros(*x.shape[:2], layer.heads, layer.d_head)
        else:
            z = self._attended(layer.norm1(x, taps.get(("scale1", index))), layer, index, taps, rotation)
        attention = layer.out(self._seen(taps, "z", index, z).flatten(2))
        after = x + self._seen(taps, "attention", index, attention)
        if layer.down is None:
            return after
        if ("mlp", index) in unread:
            return after + self._seen(taps, "mlp", index, torch.zeros_like(after))
        read = layer.norm2(x if self.config.parallel else after, taps.get(("scale2", index)))
        mlp = layer.down(self._seen(taps, "neurons", index, layer.neurons(read)))
        return after + self._seen(taps, "mlp", index, mlp)

    def _attended(self, x: Tensor, layer: Layer, index: int, taps: Taps, rotation: Rotation | None) -> Tensor:
        """z [batch, pos, heads, d_head] of the normed stream."""
        values = zip("qkv", layer.project(x), strict=True)
        q, k, v = (self._seen(taps, p, index, layer.head_normed(value, p)).transpose(1, 2) for p, value in values)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if ("pattern", index) not in taps:
            return layer.attend(q, k, v).transpose(1, 2)
        pattern = self._seen(taps, "pattern", index, layer.pattern(q, k))
        return (pattern @ per_head(v, layer.heads)).transpose(1, 2)

    @staticmethod
    def _seen(taps: Taps, kind: str, layer: int, value: Tensor) -> Tensor:
        tap = taps.get((kind, layer))
        new = tap(value) if tap is not None else None
        return value if new is None else new

    @staticmethod
    def _near(x: Tensor, weight: Tensor) -> Tensor:
        """On the weight's device (the same object unless the model is spread over several)."""
        return x if x.device == weight.device else x.to(weight.device)

    def _check(self, tokens: Tensor, taps: Taps, *, embeds: bool) -> None:
        layers, length, name = self.config.layers, tokens.shape[1], self.name
        for kind, layer in taps:
            known = (kind in LAYER_KINDS and layer < layers) or (kind in LAST_KINDS and layer == layers)
            if not (known and layer >= 0) and (kind, layer) != ("input", 0):
                valid = sorted({"input", *LAYER_KINDS, *LAST_KINDS})
                tail = f" (layer {layers}: after the last)" if kind in valid else nearest(kind, valid)
                raise ModelError(f"{name} has no place {kind!r} at layer {layer} to tap{tail}")
        if length == 0:
            raise ModelError(f"{name} was given an input of no tokens")
        if self.window is not None and length > self.window:
            raise ModelError(
                f"the input has {length} tokens and {name} attends through a sliding window of {self.window}, "
                f"which is not supported; give at most {self.window} tokens"
            )
        if self.weights.positions is not None and length > self.config.context:
            raise ModelError(f"the input has {length} tokens; {name} has positions for {self.config.context}")
        low, high = (int(tokens.min()), int(tokens.max())) if embeds and tokens.numel() else (0, 0)
        if low < 0 or high >= self.config.vocab:
            worst = low if low < 0 else high
            raise ModelError(f"token id {worst} is outside the vocabulary of {name} (0 to {self.config.vocab - 1})")

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of what writes to the stream, in order: input, then each layer's heads and its MLP where it has one."""
        names = ["input"]
        for layer, width in enumerate(self.config.d_mlp):
            names += [f"a{layer}.h{head}" for head in range(self.config.heads)]
            names += [f"m{layer}"] if width is not None else []
        return tuple(names)

    @cached_property
    def edges(self) -> Edges:
        """Every edge from a writer to a reader, in order; a lazy sequence of names."""
        return Edges(self.config)

    @property
    def device(self) -> torch.device:
        return self.weights.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.embedding.dtype

    @cached_property
    def parameters(self) -> int:
        """How many parameters the library's model has (tied ones once)."""
        return sum(parameter.numel() for parameter in self.source.parameters())

    @property
    def scale(self) -> float:
        """Bytes of values that a byte stands for where memory is shared out: of a sketch more than one."""
        return 1.0

    @property
    def noise(self) -> float:
        """Nats: the largest KL or change of a token's log-probability in the no-op run of the proof."""
        return self.proof.noise

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the configuration and the weights' bytes (as loaded: another dtype is another fingerprint)."""
        return fingerprint(self.source)
