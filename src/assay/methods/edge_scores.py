"""Scores over all edges of a model, one form for every search: what a method found, how, and in how many passes.

A search's scores rank edges, choose circuits (`edge_sizes`), and give another search its order (`seeded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from assay.errors import ComponentError, shown


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """How important a method holds every edge to be.

    Attributes:
        scores: higher means more important to keep; numbers of different methods have no common unit.
        method: its name; settings: everything that it was called with, for the record.
        passes: forward passes of one row that it took; a backward pass counts as one, as weights get no gradients.
        signed: where the method knows it, how much the loss is thought to rise when the edge alone takes its fill.
        completeness: part -> (sum of the signed scores of the edges out of it, what theory says that the sum tends to:
            the rise of the loss when the part is filled). The gap is the error of the path's sum.

    Raises:
        ComponentError: for scores that are no such array, or not all finite: they rank nothing.
    """

    scores: Float64[np.ndarray, "edges"]
    method: str
    settings: Mapping[str, Any]
    passes: float
    signed: Float64[np.ndarray, "edges"] | None = None
    completeness: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores: Any = self.scores
        if not isinstance(scores, np.ndarray) or scores.ndim != 1 or scores.dtype.kind != "f":
            raise ComponentError(
                f"{self.method!r} gave the scores {shown(scores)}; wanted: an array of a float an edge"
            )
        bad = int((~np.isfinite(self.scores)).sum())
        if bad:
            raise ComponentError(f"{self.method!r} gave {bad} of {len(self.scores)} edges a score that is not finite")

    def best_first(self) -> Int[np.ndarray, "edges"]:
        """Numbers of the edges by falling score; equal ones in the declared order."""
        return np.argsort(-self.scores, kind="stable")

    def worst_first(self) -> Int[np.ndarray, "edges"]:
        """The order in which a search that removes edges should try them: exactly the reverse of `best_first`."""
        return self.best_first()[::-1].copy()

    def top(self, count: int) -> Bool[np.ndarray, "edges"]:
        """The mask of the `count` best edges; those of a smaller count are among them."""
        mask = np.zeros(len(self.scores), dtype=bool)
        mask[self.best_first()[:count]] = True
        return mask

    def ranks(self) -> Float64[np.ndarray, "edges"]:
        """Each edge's rank scaled to lie between 0 (worst) and 1 (best); equal scores share the mean of their ranks."""
        _, group, sizes = np.unique(self.scores, return_inverse=True, return_counts=True)
        middle = np.cumsum(sizes) - (sizes + 1) / 2
        return middle[group] / max(len(self.scores) - 1, 1)

    def strengths(self, mask: Bool[np.ndarray, "edges"]) -> Float64[np.ndarray, "edges"]:
        """How strong to draw the edges of a circuit, not below 0: the scores, or ranks where its scores are negative.

        Logarithms of odds and depths, for instance, order edges; that they are below 0 says nothing against an edge.
        """
        kept = self.scores[mask]
        if len(kept) and kept.min() < -1e-6 * np.abs(kept).max():
            return self.ranks()
        return np.maximum(self.scores, 0)

    @property
    def summary(self) -> dict[str, Any]:
        """What the record keeps beside the scores."""
        out = {"method": self.method, "settings": dict(self.settings), "passes": self.passes}
        if self.completeness:
            out["completeness"] = {part: list(pair) for part, pair in self.completeness.items()}
        return out


Search = Callable[[Int[np.ndarray, "edges"]], EdgeScores]


def seeded(search: Search, by: EdgeScores) -> EdgeScores:
    """A search that goes through the edges in the order of another method's scores, worst first.

    Args:
        search: takes the order in which edges are tried for removal, gives its own scores.
    """
    found = search(by.worst_first())
    return replace(
        found,
        method=f"{found.method}, seeded by {by.method}",
        settings={**found.settings, "seeded_by": by.summary},
        passes=found.passes + by.passes,
    )
