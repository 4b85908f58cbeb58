"""Pruning: which n-grams to keep so that the tables fit a budget of bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from assay.errors import TaskError
from assay.task.ngram_tables import Tables

STEPS = 24


def prune(tables: Tables, worth: Sequence[Float[np.ndarray, "_"]], bits: float | int, whole: int) -> Tables:
    """The tables with the n-grams of most worth, at most `bits` long; orders up to `whole` are kept entirely.

    Raises:
        TaskError: when the orders to keep entirely are longer than the budget.
    """
    value = inherited(tables, worth, whole)

    def kept(threshold: float) -> Tables:
        return tables.subset([each >= threshold for each in value])

    if tables.bits <= bits:
        return tables
    least = kept(np.finfo(np.float64).max)
    if least.bits > bits:
        raise TaskError(
            f"{bits:.0f} bits are left for tables, under the {least.bits:.0f} bits of orders up to {whole} alone"
        )
    finite = np.concatenate([each[np.isfinite(each)] for each in value])
    ladder = np.unique(finite[finite > 0])
    # keep everything from ladder[high] on; the fewer are kept the shorter, so bisect
    low, high, best = 0, len(ladder), least
    while low < high:
        middle = (low + high) // 2
        trial = kept(ladder[middle])
        if trial.bits <= bits:
            high, best = middle, trial
        else:
            low = middle + 1
        if high - low < len(ladder) >> STEPS:
            break
    return best


def inherited(tables: Tables, worth: Sequence[Float[np.ndarray, "_"]], whole: int) -> list[Float[np.ndarray, "_"]]:
    """The best worth among an n-gram and all that need it as prefix or suffix: any threshold leaves closed tables."""
    value = [each.copy() for each in worth]
    for k in range(tables.order, 1, -1):
        if k <= whole:
            value[k - 1][:] = np.inf
        np.maximum.at(value[k - 2], tables.prefix[k - 1], value[k - 1])
        np.maximum.at(value[k - 2], tables.suffix[k - 1], value[k - 1])
    value[0][:] = np.inf
    return value
