"""GPT-NeoX (Pythia): LayerNorm, partial RoPE, queries, keys, values interleaved by head, parallel residual or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from assay.model.families.common import activation, frequencies, is_zero, layer_norm, linear, refuse_features
from assay.model.layer import Layer
from assay.model.proof import Library
from assay.model.weights import Shape, Weights


def read(config: Any, network: nn.Module) -> tuple[Shape, Weights, int | None]:
    """Shape and weights (as views) of a `GPTNeoXForCausalLM`; it has no window."""
    refuse_features(config)
    inner: Any = network.gpt_neox
    d_head = config.hidden_size // config.num_attention_heads
    act = activation(config.hidden_act)
    layers = tuple(_layer(block, act, config.num_attention_heads, d_head) for block in inner.layers)
    shape = Shape(
        layers=len(layers),
        d_model=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_attention_heads,
        d_head=d_head,
        d_mlp=tuple(None if layer.up is None else layer.up.weight.shape[0] for layer in layers),
        vocab=inner.embed_in.weight.shape[0],
        context=config.max_position_embeddings,
        parallel=bool(config.use_parallel_residual),
        norm="layer",
    )
    turned = int(d_head * config.rope_parameters.get("partial_rotary_factor", 1.0))
    inverse, factor = frequencies(config, inner.rotary_emb, turned)
    weights = Weights(
        embedding=inner.embed_in.weight.detach(),
        layers=layers,
        final_norm=layer_norm(inner.final_layer_norm),
        unembedding=linear(network.get_submodule("lm_head")),
        frequencies=inverse,
        rope_scaling=factor,
    )
    return shape, weights, None


def library(network: Any) -> Library:
    return Library(network.gpt_neox.layers, "attention", network.gpt_neox.final_layer_norm, network.lm_head)


def _layer(block: Any, act: Callable[[Tensor], Tensor], heads: int, d_head: int) -> Layer:
    down = linear(block.mlp.dense_4h_to_h)
    silent = is_zero(down)
    return Layer(
        norm1=layer_norm(block.input_layernorm),
        qkv=(linear(block.attention.query_key_value),),
        out=linear(block.attention.dense),
        scaling=d_head**-0.5,
        norm2=layer_norm(block.post_attention_layernorm),
        up=None if silent else linear(block.mlp.dense_h_to_4h),
        down=None if silent else down,
        act=act,
        heads=heads,
        d_head=d_head,
        fused="interleaved",
    )
