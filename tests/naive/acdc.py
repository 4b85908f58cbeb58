"""ACDC as published: one edge at a time, each time the whole circuit anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from assay.intervene.circuits.engine import CircuitBatch


def log_probabilities(batch: CircuitBatch, mask: np.ndarray) -> Tensor:
    with torch.no_grad():
        return batch.logits(mask[None])[0].double().log_softmax(-1)


def kl(batch: CircuitBatch, mask: np.ndarray, model: Tensor | None = None) -> float:
    """Sum over items of KL(model || circuit), by the definition; `model`: its log-probabilities, where known."""
    p = log_probabilities(batch, np.ones_like(mask)) if model is None else model
    return float((p.exp() * (p - log_probabilities(batch, mask))).sum())


def acdc(batches: Sequence[CircuitBatch], tau: float, order: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(the circuit, the increase of the mean KL at each edge's turn).

    Args:
        order: all edges, in the order in which those of one reader are tried.
    """
    edges = batches[0].edges
    items = sum(len(batch.items) for batch in batches)
    mask, increase, now = np.ones(len(edges), dtype=bool), np.zeros(len(edges)), 0.0
    models = [log_probabilities(batch, mask) for batch in batches]
    for reader in reversed(range(len(edges.readers))):
        turn = np.arange(edges.offsets[reader], edges.offsets[reader + 1])
        for edge in turn if order is None else [e for e in order if e in turn]:
            mask[edge] = False
            new = sum(kl(batch, mask, model) for batch, model in zip(batches, models, strict=True)) / items
            increase[edge] = new - now
            if new - now < tau:
                now = new
            else:
                mask[edge] = True
    return mask, increase
