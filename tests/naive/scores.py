"""Scores of logits by their definitions, in float64, whole distributions at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def scores(metric: str, logits: Tensor, model: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, KL(model || logits), whether the first largest is the model's, and the correct one.

    Args:
        logits, model: [items, vocab] logits; answers: [items, 2] the correct and an incorrect one.
    """
    q, p = logits.double().log_softmax(-1), model.double().log_softmax(-1)
    kl = torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(-1)
    own, other = (q.gather(-1, answers[:, i : i + 1]).squeeze(-1) for i in range(2))
    first = torch.tensor([row.tolist().index(max(row.tolist())) for row in logits.double()])
    best = torch.tensor([row.tolist().index(max(row.tolist())) for row in model.double()])
    loss = {
        "loss": -own,
        "logit_diff": other - own,
        "kl": kl,
        "accuracy": (first != answers[:, 0]).double(),
        "probability": 1 - own.exp(),
    }[metric]
    return loss, kl, first == best, first == answers[:, 0]
