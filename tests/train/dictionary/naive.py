"""A training step's loss by its definition, for autograd: every feature in sight, nothing sparse."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from assay.train.dictionary.losses import prefixes
from assay.train.dictionary.parameters import CodeParameters


def features_of(own: CodeParameters, x: Tensor) -> Tensor:
    settings = own.settings
    active = functional.linear(x - own.before, own.encoder, own.encoder_bias).clamp(min=0)
    if settings.architecture == "topk":
        value, column = active.topk(settings.k)
        return torch.zeros_like(active).scatter(1, column, value)
    least = active.flatten().topk(settings.k * len(x)).values[-1]
    return active * (active >= least)


def loss(own: CodeParameters, x: Tensor, y: Tensor, dead: Tensor | None) -> Tensor:
    settings, features = own.settings, features_of(own, x)
    there = own.decoder_bias + (0.0 if own.skip is None else x @ own.skip.T)
    variance = (y - y.mean(0)).square().sum()

    def error(upto: int) -> Tensor:
        return (y - there - features[:, :upto] @ own.decoder[:upto]).square().sum() / variance

    ends = prefixes(settings.width) if settings.architecture == "matryoshka" else [settings.width]
    out = torch.stack([error(end) for end in ends]).mean()
    if dead is None or not dead.any():
        return out
    left = (y - there - features @ own.decoder).detach()
    columns = dead.nonzero().flatten()
    pre = functional.linear(x - own.before, own.encoder, own.encoder_bias).clamp(min=0)
    value, place = pre[:, columns].topk(min(left.shape[-1] // 2, len(columns)))
    some = torch.zeros_like(pre).scatter(1, columns[place], value)
    return out + settings.revival * (some @ own.decoder - left).square().sum() / left.square().sum()
