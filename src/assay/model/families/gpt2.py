"""GPT-2: LayerNorm, learned positions, fused queries, keys and values in three blocks, `Conv1D` weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from assay.model.families.common import activation, is_zero, layer_norm, linear, refuse_features
from assay.model.layer import Layer
from assay.model.proof import Library
from assay.model.weights import Shape, Weights


def read(config: Any, network: nn.Module) -> tuple[Shape, Weights, int | None]:
    """Shape and weights (as views) of a `GPT2LMHeadModel`; it has no window."""
    refuse_features(config)
    inner: Any = network.transformer
    act = activation(config.activation_function)
    layers = tuple(_layer(block, act, config.n_head) for block in inner.h)
    shape = Shape(
        layers=len(layers),
        d_model=config.n_embd,
        heads=config.n_head,
        kv_heads=config.n_head,
        d_head=config.n_embd // config.n_head,
        d_mlp=tuple(None if layer.up is None else layer.up.weight.shape[0] for layer in layers),
        vocab=inner.wte.weight.shape[0],
        context=inner.wpe.weight.shape[0],
        parallel=False,
        norm="layer",
    )
    weights = Weights(
        embedding=inner.wte.weight.detach(),
        layers=layers,
        final_norm=layer_norm(inner.ln_f),
        unembedding=linear(network.get_submodule("lm_head")),
        positions=inner.wpe.weight.detach(),
    )
    return shape, weights, None


def library(network: Any) -> Library:
    return Library(network.transformer.h, "attn", network.transformer.ln_f, network.lm_head)


def _layer(block: Any, act: Callable[[Tensor], Tensor], heads: int) -> Layer:
    down = linear(block.mlp.c_proj)
    silent = is_zero(down)
    return Layer(
        norm1=layer_norm(block.ln_1),
        qkv=(linear(block.attn.c_attn),),
        out=linear(block.attn.c_proj),
        scaling=float(block.attn.scaling),  # scale_attn_weights and scale_attn_by_inverse_layer_idx are in it
        norm2=layer_norm(block.ln_2),
        up=None if silent else linear(block.mlp.c_fc),
        down=None if silent else down,
        act=act,
        heads=heads,
        d_head=block.ln_1.weight.shape[0] // heads,
        fused="blocks",
    )
