"""Interventions as plain hooks on the transformers library's own model: one forward pass per run, nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from assay.names import Site, parse_site

Given = Tensor | Callable[[Tensor], Tensor]


def _layers(model: nn.Module) -> nn.ModuleList:
    if hasattr(model, "transformer"):
        return model.transformer.h
    return model.gpt_neox.layers if hasattr(model, "gpt_neox") else model.model.layers


def _modules(layer: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """(attention's output matrix, MLP, MLP's output matrix)."""
    if hasattr(layer, "attn"):
        return layer.attn.c_proj, layer.mlp, layer.mlp.c_proj
    if hasattr(layer, "attention"):
        return layer.attention.dense, layer.mlp, layer.mlp.dense_4h_to_h
    return layer.self_attn.o_proj, layer.mlp, layer.mlp.down_proj


def _norms(model: nn.Module) -> list[nn.Module]:
    """Two a layer, and the last one. Norms of queries and keys are not among them."""
    names = ("ln_1", "ln_2", "input_layernorm", "post_attention_layernorm")
    out = [getattr(layer, name) for layer in _layers(model) for name in names if hasattr(layer, name)]
    return [*out, _last_norm(model)]


def _last_norm(model: nn.Module) -> nn.Module:
    if hasattr(model, "transformer"):
        return model.transformer.ln_f
    return model.gpt_neox.final_layer_norm if hasattr(model, "gpt_neox") else model.model.norm


def run(
    model: nn.Module,
    tokens: Tensor,
    edits: Mapping[str, Given],
    *,
    added: Mapping[int, Tensor] | None = None,
    streams: Mapping[int, Given] | None = None,
    frozen: bool = False,
    gradients: bool = False,
) -> Tensor:
    """Logits with each named component given a value: z for a head, the output for an MLP, a neuron's activation.

    A name may end in a column ("a0.h1@3"), and only that column is then given; a callable is given the whole old value.

    Args:
        added: layer -> what is added to its attention's output; streams: layer -> a new stream entering it.
        frozen: every norm divides by its scale of the unedited run. gradients: of what is given.
    """
    with ExitStack() as stack:
        if frozen:
            _freeze(model, tokens, stack)
        for layer, more in (added or {}).items():
            output = _modules(_layers(model)[layer])[0]
            stack.callback(output.register_forward_hook(lambda m, args, out, more=more: out + more.to(out)).remove)
        for layer, value in (streams or {}).items():
            reader = _layers(model)[layer] if layer < len(_layers(model)) else _last_norm(model)

            def enter(module, args, value=value):
                return (value(args[0]) if callable(value) else value.to(args[0]), *args[1:])

            stack.callback(reader.register_forward_pre_hook(enter).remove)
        for name, value in edits.items():
            site = parse_site(name)
            output, mlp, down = _modules(_layers(model)[site.layer])

            def give(old: Tensor, value=value, column=site.position) -> Tensor:
                new = (value(old) if callable(value) else value.to(old)).expand_as(old)
                if column is None:
                    return new
                out = old.clone()
                out[:, column] = new[:, column]
                return out

            def before(module, args, site=site, give=give):
                x = args[0].clone()
                if site.kind == "head":
                    width = x.shape[-1] // model.config.num_attention_heads
                    part = slice(site.index * width, (site.index + 1) * width)
                else:
                    part = slice(site.index, site.index + 1)
                x[..., part] = give(x[..., part])
                return (x, *args[1:])

            def after(module, args, out, give=give):
                return give(out)

            if site.kind == "mlp":
                handle = mlp.register_forward_hook(after)
            else:
                handle = (output if site.kind == "head" else down).register_forward_pre_hook(before)
            stack.callback(handle.remove)
        with torch.set_grad_enabled(gradients):
            return model(tokens).logits


def _freeze(model: nn.Module, tokens: Tensor, stack: ExitStack) -> None:
    scales: dict[nn.Module, Tensor] = {}
    norms = _norms(model)
    with ExitStack() as first:
        for norm in norms:
            handle = norm.register_forward_hook(lambda m, args, out: scales.__setitem__(m, _scale(m, args[0])))
            first.callback(handle.remove)
        with torch.no_grad():
            model(tokens)

    def after(module, args, out):
        x = args[0]
        bias = getattr(module, "bias", None)
        if isinstance(module, nn.LayerNorm):
            x = x - x.mean(-1, keepdim=True)
        return x / scales[module] * module.weight + (0 if bias is None else bias)

    for norm in norms:
        stack.callback(norm.register_forward_hook(after).remove)


def _scale(norm: nn.Module, x: Tensor) -> Tensor:
    if isinstance(norm, nn.LayerNorm):
        return (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()


def values(
    model: nn.Module, tokens: Tensor, names: list[str], edits: Mapping[str, Given] | None = None
) -> dict[str, Tensor]:
    """The components' or streams' own values in an unedited run, or in one where others are edited."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def same(old: Tensor) -> Tensor:
            kept[name] = old.clone()
            return old

        return same

    layers = {name: 0 if name == "input" else int(name[1:]) for name in names if name[0] in "ir"}
    parts = {name: keep(name) for name in names if name not in layers}
    run(model, tokens, {**parts, **(edits or {})}, streams={layer: keep(name) for name, layer in layers.items()})
    return kept


def stream(model: nn.Module, tokens: Tensor, layer: int, edits: Mapping[str, Given] | None = None) -> Tensor:
    """The stream entering a layer (or the last norm)."""
    kept: list[Tensor] = []

    def keep(old: Tensor) -> Tensor:
        kept.append(old.clone())
        return old

    run(model, tokens, edits or {}, streams={layer: keep})
    return kept[0]


def attention_values(model: Any, layer: int, x: Tensor) -> Tensor:
    """The values [batch, pos, head, d_head] that a layer's heads read of a stream; shared ones are repeated."""
    block = _layers(model)[layer]
    heads = model.config.num_attention_heads
    with torch.no_grad():
        if hasattr(block, "attn"):
            return block.attn.c_attn(block.ln_1(x)).chunk(3, -1)[2].unflatten(-1, (heads, -1))
        if hasattr(block, "attention"):
            return block.attention.query_key_value(block.input_layernorm(x)).unflatten(-1, (heads, 3, -1))[..., 2, :]
        groups = model.config.num_key_value_heads
        v = block.self_attn.v_proj(block.input_layernorm(x)).unflatten(-1, (groups, -1))
        return v.repeat_interleave(heads // groups, 2)


def all_parts(model: nn.Module, layers: int, heads: int, mlp: bool = True) -> list[str]:
    parts = []
    for layer in range(layers):
        parts += [str(Site("head", layer, head)) for head in range(heads)]
        parts += [f"m{layer}"] if mlp else []
    return parts
