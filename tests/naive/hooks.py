"""Interventions as plain hooks on the transformers library's own model: one forward pass per run, nothing shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from assay.names import Site, parse_site


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


def run(model: nn.Module, tokens: Tensor, edits: dict[str, Tensor | Callable[[Tensor], Tensor]]) -> Tensor:
    """Logits with each named component given a value (z for a head, the output for an MLP, the activation for a neuron)."""
    with ExitStack() as stack:
        for name, value in edits.items():
            site = parse_site(name)
            output, mlp, down = _modules(_layers(model)[site.layer])

            def give(old: Tensor, value=value) -> Tensor:
                return value(old) if callable(value) else value.to(old).expand_as(old)

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
        with torch.no_grad():
            return model(tokens).logits


def values(model: nn.Module, tokens: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The components' own values in an unedited run."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def same(old: Tensor) -> Tensor:
            kept[name] = old.clone()
            return old

        return same

    run(model, tokens, {name: keep(name) for name in names})
    return kept


def all_parts(model: nn.Module, layers: int, heads: int, mlp: bool = True) -> list[str]:
    parts = []
    for layer in range(layers):
        parts += [str(Site("head", layer, head)) for head in range(heads)]
        parts += [f"m{layer}"] if mlp else []
    return parts
