"""What a transformer is made of: its sizes, and all of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from assay.model.layer import Layer, Linear, Norm, Rotation


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer.

    Attributes:
        d_mlp: the MLP's width in each layer; None where a layer has no MLP.
        context: the longest input, in tokens (a sliding window shorter than the model's positions is the limit).
        parallel: attention and MLP of a layer read the same stream.
        norm: "layer" (LayerNorm) or "rms" (RMSNorm).
    """

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_head: int
    d_mlp: tuple[int | None, ...]
    vocab: int
    context: int
    parallel: bool
    norm: Literal["layer", "rms"]


@dataclass(frozen=True)
class Weights:
    """All weights of a model, as views of the library's tensors.

    Attributes:
        positions: learned position embeddings [context, d_model], or None.
        frequencies: RoPE's inverse frequencies [rotated dims / 2] in float32, or None; `rope_scaling` multiplies the
            cosines and sines (YaRN).
    """

    embedding: Float[Tensor, "vocab d_model"]
    layers: tuple[Layer, ...]
    final_norm: Norm
    unembedding: Linear
    positions: Float[Tensor, "context d_model"] | None = None
    frequencies: Float[Tensor, "half"] | None = None
    rope_scaling: float = 1.0

    def embed(self, tokens: Int[Tensor, "*batch pos"]) -> Float[Tensor, "*batch pos d_model"]:
        """Token embedding plus learned position embedding, where there is one."""
        x = functional.embedding(tokens.to(self.embedding.device), self.embedding)
        return x if self.positions is None else x + self.positions[: tokens.shape[-1]]

    def rotation(self, stream: Float[Tensor, "*batch pos d_model"]) -> Rotation | None:
        """RoPE's cosines and sines for the columns of a stream, computed in float32 as the library does."""
        if self.frequencies is None:
            return None
        steps = torch.arange(stream.shape[-2], dtype=torch.float32, device=stream.device)
        half = torch.outer(steps, self.frequencies.to(stream.device))
        angle = torch.cat([half, half], dim=-1)
        return Rotation(angle.cos() * self.rope_scaling, angle.sin() * self.rope_scaling).to(stream.dtype)
