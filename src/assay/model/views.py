"""Weights of a transformer by their usual names (W_E, W_Q, ..., norms, biases), as views of the library's tensors."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from assay.model.weights import Shape, Weights


class WeightViews:
    """What `Model` offers of its weights; shared, never copied."""

    config: Shape
    weights: Weights

    def norm(
        self,
        stream: Float[Tensor, "*batch d_model"],
        layer: int,
        which: Literal["attention", "mlp", "final"] = "attention",
    ) -> Float[Tensor, "*batch d_model"]:
        """The stream after the norm before a layer's attention or MLP, or after the final one (any layer)."""
        if which == "final":
            return self.weights.final_norm(stream)
        norms = self.weights.layers[layer]
        return norms.norm1(stream) if which == "attention" else norms.norm2(stream)

    def values(
        self, stream: Float[Tensor, "batch pos d_model"], layer: int
    ) -> Float[Tensor, "batch pos kv_heads d_head"]:
        """A layer's values (norm, W_V, b_V) of any stream."""
        weights, read = self.weights.layers[layer], self.norm(stream, layer)
        return weights.project_part(read, "v") if weights.fused == "no" else weights.project(read)[2]

    def W_O(self, layer: int) -> Float[Tensor, "heads d_head d_model"]:
        """Each head's output matrix, as a view: `z @ W_O`."""
        return self.weights.layers[layer].W_out

    def W_Q(self, layer: int) -> Float[Tensor, "heads d_model d_head"]:
        """Each head's query matrix, as a view: `norm(stream) @ W_Q` (before bias, q-norm and RoPE)."""
        return self.weights.layers[layer].W_in("q")

    def W_K(self, layer: int) -> Float[Tensor, "kv_heads d_model d_head"]:
        return self.weights.layers[layer].W_in("k")

    def W_V(self, layer: int) -> Float[Tensor, "kv_heads d_model d_head"]:
        return self.weights.layers[layer].W_in("v")

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        return self.weights.unembedding.weight.T

    @property
    def W_E(self) -> Float[Tensor, "vocab d_model"]:
        return self.weights.embedding

    def attention_bias(self, layer: int) -> Float[Tensor, "d_model"]:
        """The constant part of a layer's attention (`a1.bias`); zeros where the family has none."""
        out = self.weights.layers[layer].out
        return out.weight.new_zeros(self.config.d_model) if out.bias is None else out.bias
