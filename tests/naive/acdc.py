"""ACDC as published: one edge at a time, each time the whole circuit anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from assay.intervene.circuits import CircuitBatch


def kl(batch: CircuitBatch, mask: np.ndarray) -> float:
    """Sum over items of KL(model || circuit), by the definition."""
    whole = np.ones((1, len(mask)), dtype=bool)
    with torch.no_grad():
        p, q = (batch.logits(m)[0].double().log_softmax(-1) for m in (whole, mask[None]))
    return float((p.exp() * (p - q)).sum())


def acdc(batches: Sequence[CircuitBatch], tau: float, order: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(the circuit, the increase of the mean KL at each edge's turn).

    Args:
        order: all edges, in the order in which those of one reader are tried.
    """
    edges = batches[0].edges
    items = sum(len(batch.items) for batch in batches)
    mask, increase, now = np.ones(len(edges), dtype=bool), np.zeros(len(edges)), 0.0
    for reader in reversed(range(len(edges.readers))):
        turn = np.arange(edges.offsets[reader], edges.offsets[reader + 1])
        for edge in turn if order is None else [e for e in order if e in turn]:
            mask[edge] = False
            new = sum(kl(batch, mask) for batch in batches) / items
            increase[edge] = new - now
            if new - now < tau:
                now = new
            else:
                mask[edge] = True
    return mask, increase
