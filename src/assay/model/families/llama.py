"""Llama, Mistral, Qwen2 and Qwen3: RMSNorm, RoPE, grouped heads, gated MLP, with or without biases and q/k norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from assay.model.families.common import activation, frequencies, is_zero, linear, refuse_features, rms_norm, window
from assay.model.layer import Layer
from assay.model.proof import Library
from assay.model.weights import Shape, Weights


def read(config: Any, network: nn.Module) -> tuple[Shape, Weights, int | None]:
    """Shape, weights (as views) and the longest input, of a `*ForCausalLM` of these kinds."""
    refuse_features(config)
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    inner: Any = network.model  # untyped: the library's classes are alike in these names only
    act = activation(config.hidden_act)
    layers = tuple(_layer(block, act, config.num_attention_heads, d_head) for block in inner.layers)
    limit = window(config, config.max_position_embeddings)
    shape = Shape(
        layers=len(layers),
        d_model=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        d_head=d_head,
        d_mlp=tuple(None if layer.up is None else layer.up.weight.shape[0] for layer in layers),
        vocab=inner.embed_tokens.weight.shape[0],
        context=limit or config.max_position_embeddings,
        parallel=False,
        norm="rms",
    )
    inverse, factor = frequencies(config, inner.rotary_emb, d_head)
    weights = Weights(
        embedding=inner.embed_tokens.weight.detach(),
        layers=layers,
        final_norm=rms_norm(inner.norm),
        unembedding=linear(network.get_submodule("lm_head")),
        frequencies=inverse,
        rope_scaling=factor,
    )
    return shape, weights, limit


def library(network: Any) -> Library:
    return Library(network.model.layers, "self_attn", network.model.norm, network.lm_head)


def _layer(block: Any, act: Callable[[Tensor], Tensor], heads: int, d_head: int) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    down = linear(mlp.down_proj)
    silent = is_zero(down)
    normed = hasattr(attention, "q_norm")
    return Layer(
        norm1=rms_norm(block.input_layernorm),
        qkv=(linear(attention.q_proj), linear(attention.k_proj), linear(attention.v_proj)),
        out=linear(attention.o_proj),
        scaling=d_head**-0.5,
        norm2=rms_norm(block.post_attention_layernorm),
        up=None if silent else linear(mlp.up_proj),
        down=None if silent else down,
        act=act,
        heads=heads,
        d_head=d_head,
        gate=None if silent else linear(mlp.gate_proj),
        q_norm=rms_norm(attention.q_norm) if normed else None,
        k_norm=rms_norm(attention.k_norm) if normed else None,
    )
