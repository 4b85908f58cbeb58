"""Kneser–Ney's discounts: how much is taken from each count and given to the order below."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

from assay.task.ngram_tables import Tables


def discount(counts: Integer[np.ndarray, "n"], three: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n"]:
    """What is taken from each count: nothing from 0, then by whether it is 1, 2, or more."""
    return np.concatenate([np.zeros(1), three])[np.clip(counts, 0, 3)]


def spoken(counts: Integer[np.ndarray, "vocab"], bos: int | None) -> Integer[np.ndarray, "vocab"]:
    """Counts of what is predicted: BOS is only ever a context."""
    if bos is None:
        return counts
    counts = counts.copy()
    counts[bos] = 0
    return counts


def estimate_discounts(tables: Tables, bos: int | None) -> Float[np.ndarray, "order 2 3"]:
    """Chen and Goodman's (1998, eq. 26) estimates from the counts of counts n1 to n4.

    D_i = i - (i + 1) Y n_{i+1} / n_i with Y = n1 / (n1 + 2 n2). Where one of n1 to n4 is 0, all three are
    Y, or 1/2 if n1 is 0. Each is held within [0.01, 0.99 i].
    """
    out = np.empty((tables.order, 2, 3))
    for k in range(1, tables.order + 1):
        for kind, counts in enumerate((tables.counts[k - 1], tables.adjusted[k - 1])):
            counts = spoken(counts, bos) if k == 1 else counts
            n = np.bincount(np.clip(counts, 0, 5), minlength=6)[1:5].astype(np.float64)
            y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
            i = np.arange(1, 4)
            estimate = i - (i + 1) * y * n[1:] / n[:-1] if n.all() else np.full(3, y)
            out[k - 1, kind] = np.clip(estimate, 0.01, 0.99 * i)
    return out
