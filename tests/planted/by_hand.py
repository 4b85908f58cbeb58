"""A GPT-2 with edges cut, written out from its weights in float64: every reader has a stream of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from assay.task.examples import Examples

Values = dict[str, Tensor]  # writer -> [rows, pos, d_model]


def run(network: Any, tokens: Tensor, cut: set[str], fills: Mapping[str, Tensor]) -> tuple[Tensor, Values]:
    """Probabilities, and what each writer adds to the stream. A reader takes the fill over every edge in `cut`."""
    weights = {name: value.double() for name, value in network.state_dict().items()}
    config, eps = network.config, network.config.layer_norm_epsilon
    heads, width = config.n_head, config.n_embd // config.n_head
    length = tokens.shape[1]
    position = weights["transformer.wpe.weight"][:length].expand(len(tokens), -1, -1)
    out: Values = {"input": weights["transformer.wte.weight"][tokens] + position}
    bias = torch.zeros(config.n_embd, dtype=torch.float64)

    def read(reader: str, norm: str) -> Tensor:
        parts = [fills[w].expand_as(v) if f"{w}->{reader}" in cut else v for w, v in out.items()]
        x = torch.stack(parts).sum(0) + bias
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
        return x * weights[f"transformer.{norm}.weight"] + weights[f"transformer.{norm}.bias"]

    for layer in range(config.n_layer):
        name = f"transformer.h.{layer}"[len("transformer.") :]
        c_attn, c_proj = (weights[f"transformer.{name}.attn.{m}.weight"] for m in ("c_attn", "c_proj"))
        c_bias = weights[f"transformer.{name}.attn.c_attn.bias"]
        made: Values = {}
        for head in range(heads):
            q, k, v = (
                read(f"a{layer}.h{head}<{part}>", f"{name}.ln_1") @ c_attn[:, columns] + c_bias[columns]
                for part, columns in (
                    (part, slice((i * heads + head) * width, (i * heads + head + 1) * width))
                    for i, part in enumerate("qkv")
                )
            )
            scores = q @ k.mT / width**0.5
            scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
            made[f"a{layer}.h{head}"] = scores.softmax(-1) @ v @ c_proj[head * width : (head + 1) * width]
        out |= made
        bias = bias + weights[f"transformer.{name}.attn.c_proj.bias"]
        mlp = {m: weights[f"transformer.{name}.mlp.{m}"] for m in ("c_fc.weight", "c_fc.bias", "c_proj.weight")}
        if mlp["c_proj.weight"].any():
            hidden = (read(f"m{layer}", f"{name}.ln_2") @ mlp["c_fc.weight"] + mlp["c_fc.bias"]).relu()
            out[f"m{layer}"] = hidden @ mlp["c_proj.weight"] + weights[f"transformer.{name}.mlp.c_proj.bias"]
    return (read("logits", "ln_f") @ weights["lm_head.weight"].T).softmax(-1), out


def fills(network: Any, ablation: str, task: Any, donors: int = 0) -> Values:
    """What every writer is filled with, for each scored row; `donors` numbers the draw."""
    if ablation == "counterfactual":
        return run(network, task.counterfactual, set(), {})[1]
    reference: Examples = task.reference
    clean = run(network, reference.tokens, set(), {})[1]
    out: Values = {}
    for place, (writer, value) in enumerate(clean.items()):
        real = reference.real
        match ablation:
            case "zero":
                out[writer] = torch.zeros_like(value[:1])
            case "mean" | "mean_position":
                rest = value[:, 1:][real[:, 1:]].mean(0)
                rows = [value[:, p][real[:, p]].mean(0) if bool(real[:, p].any()) else rest
                        for p in range(value.shape[1])]  # fmt: skip
                out[writer] = torch.stack(rows if ablation == "mean_position" else [rows[0], *[rest] * (len(rows) - 1)])
            case "resample_joint" | "resample_independent":
                key = donors if ablation == "resample_joint" else 1_000 * donors + place
                chosen = torch.randint(len(value), (len(task),), generator=torch.Generator().manual_seed(key))
                out[writer] = value[chosen]
    return out
