"""Attention whose gradient is another function's: GIM's three changes to the backward pass (Edin et al. 2025).

A softmax hides what its inputs do where one key already has all the weight, and a product of two factors counts an
effect once for each. Forwards nothing changes.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.model.layer import causal_scores, per_head

TEMPERATURE = 2.0  # of the softmax that the gradient goes through
SHARES = {"q": 0.25, "k": 0.25, "v": 0.5}  # of the gradient: two factors, and of the pattern two factors again


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.save_for_backward(scores)
        return scores.softmax(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # as in the authors' code there is no factor 1 / TEMPERATURE
        (scores,), (gradient,) = ctx.saved_tensors, gradients
        soft = (scores / TEMPERATURE).softmax(-1)
        return soft * (gradient - (gradient * soft).sum(-1, keepdim=True))


def share_of_gradient(x: Tensor, part: str) -> Tensor:
    """The queries, keys or values themselves, through which only a share of the gradient goes back."""
    share = SHARES[part]
    return x * share + (x * (1 - share)).detach()


def attention(
    q: Float[Tensor, "rows heads pos d_head"],
    k: Float[Tensor, "rows groups pos d_head"],
    v: Float[Tensor, "rows groups pos d_head"],
    scaling: float,
) -> Float[Tensor, "rows heads pos d_head"]:
    """Causal attention whose gradient goes through a softer softmax."""
    heads = q.shape[1]
    return _Softmax.apply(causal_scores(q, per_head(k, heads), scaling)) @ per_head(v, heads)
