"""Circuits of given sizes from scores: the best edges, ties in the declared order, less what dangles.

Pruning keeps inclusion, so the circuits of one ranking are nested. Under a fill that is one run of the model on other
examples an edge out of a node that `input` does not reach carries nothing; under constants it may carry something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from assay.errors import ComponentError
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges

COUNT = 24
CHUNK = 1 << 26  # bytes of masks as [readers, writers] that are pruned together


@dataclass(frozen=True, eq=False)
class SizedCircuits:
    """Nested circuits of one ranking, smallest first.

    Attributes:
        masks: without dangling edges; realised: how many edges each has.
        asked: the size that was asked for; taken: how many of the best edges it was pruned from.
    """

    masks: Bool[np.ndarray, "circuits edges"]
    asked: Int[np.ndarray, "circuits"]
    taken: Int[np.ndarray, "circuits"]
    realised: Int[np.ndarray, "circuits"]


def log_sizes(edges: int, count: int = COUNT) -> Int[np.ndarray, "sizes"]:
    """From 1 to all edges, `count` of them or just over, evenly spaced in the logarithm as far as they are whole.

    Example:
        >>> log_sizes(1000, 4).tolist(), log_sizes(3, 4).tolist()
        ([1, 10, 100, 1000], [1, 2, 3])
    """
    if count >= edges:
        return np.arange(1, edges + 1)
    out, points = np.zeros(0, dtype=np.int64), count
    while len(out) < count:  # small ones fall together
        out = np.unique(np.rint(np.geomspace(1, edges, points)).astype(np.int64))
        points += max(1, count // 20)
    return out


def sized_circuits(
    edges: Edges, scores: EdgeScores, sizes: Int[np.ndarray, "sizes"] | None = None, *, fill_up: bool = False
) -> SizedCircuits:
    """The circuits that scores give.

    Args:
        sizes: numbers of edges (default: `log_sizes`).
        fill_up: go down the ranking until so many edges are left after pruning, or the next number that can be had:
            then rankings that begin with dangling edges are compared at equal realised size.

    Raises:
        ComponentError: for scores of another model, or a size that it does not have.
    """
    total = len(edges)
    if len(scores.scores) != total:
        raise ComponentError(f"{scores.method!r} scores {len(scores.scores)} edges; this model has {total}")
    sizes = log_sizes(total) if sizes is None else np.sort(sizes)
    if len(sizes) and not 0 <= sizes[0] <= sizes[-1] <= total:
        bad = int(sizes[0] if sizes[0] < 0 else sizes[-1])
        raise ComponentError(f"a circuit of {bad} edges cannot be had; this model has {total}")
    rank = np.empty(total, dtype=np.int64)
    rank[scores.best_first()] = np.arange(total)

    def circuits(taken: np.ndarray) -> np.ndarray:
        step = max(1, CHUNK // (len(edges.readers) * len(edges.writers)))
        parts = [edges.pruned(rank < taken[i : i + step, None]) for i in range(0, len(taken), step)]
        return np.concatenate([np.zeros((0, total), dtype=bool), *parts])

    taken = sizes.astype(np.int64)
    if fill_up:  # the realised size never falls with the number taken: bisection, all sizes together
        whole = int(circuits(np.array([total])).sum())
        low, high = np.minimum(sizes, whole), np.full(len(sizes), total)
        while (low < high).any():
            middle = (low + high) // 2
            enough = circuits(middle).sum(1) >= np.minimum(sizes, whole)
            low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
        taken = low
    masks = circuits(taken)
    return SizedCircuits(masks, sizes.astype(np.int64), taken, masks.sum(1))
