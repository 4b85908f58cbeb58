"""Sets of edges, each kept at every position or at some: what a circuit is, without a task and without names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

Position = int | str | None  # a column number (negative from the end), a named column of the prompts, or every position


@dataclass(frozen=True, eq=False)
class EdgeSet:
    """Edges by number, and where each is kept.

    Attributes:
        kept: [edges, positions] whether the edge is kept at that position.
        positions: what the columns of `kept` mean; None: at every position.
        inverted: the set is everything but this.

    Example:
        >>> some = EdgeSet.whole(np.array([True, False, False]))
        >>> some.count, some.complement().anywhere.tolist()
        (1, [False, True, True])
    """

    kept: Bool[np.ndarray, "edges positions"]
    positions: tuple[Position, ...] = (None,)
    inverted: bool = False

    @classmethod
    def whole(cls, mask: Bool[np.ndarray, "edges"]) -> EdgeSet:
        """Edges that are kept at every position."""
        return cls(mask[:, None])

    @property
    def by_position(self) -> bool:
        """Whether some edge is kept at some positions only."""
        return any(position is not None for position in self.positions)

    @property
    def anywhere(self) -> Bool[np.ndarray, "edges"]:
        """Edges that are in the set at some position at least."""
        return ~self._everywhere() if self.inverted else np.any(self.kept, axis=1)

    @property
    def count(self) -> int:
        """How many edges (with positions: pairs of an edge and a position) are named."""
        return int(self.kept.sum())

    def complement(self) -> EdgeSet:
        """Every edge, at every position, that is not in the set."""
        if not self.by_position:
            return EdgeSet.whole(np.any(self.kept, axis=1) ^ (not self.inverted))
        return replace(self, inverted=not self.inverted)

    def without(self, edges: Bool[np.ndarray, "edges"]) -> EdgeSet:
        """The set less these edges, at every position."""
        return self._plus(edges) if self.inverted else self._minus(edges)

    def adding(self, edges: Bool[np.ndarray, "edges"]) -> EdgeSet:
        """The set and these edges, at every position."""
        return self._minus(edges) if self.inverted else self._plus(edges)

    def _everywhere(self) -> Bool[np.ndarray, "edges"]:
        return np.any(self.kept[:, [position is None for position in self.positions]], axis=1)

    def _minus(self, edges: Bool[np.ndarray, "edges"]) -> EdgeSet:
        return replace(self, kept=self.kept & ~edges[:, None])

    def _plus(self, edges: Bool[np.ndarray, "edges"]) -> EdgeSet:
        if None not in self.positions:
            kept = np.concatenate([edges[:, None], self.kept], 1)
            return replace(self, kept=kept, positions=(None, *self.positions))
        kept = self.kept.copy()
        kept[:, self.positions.index(None)] |= edges
        return replace(self, kept=kept)

    def mask(self, columns: Mapping[Position, int], width: int) -> Bool[np.ndarray, "edges *pos"]:
        """The set as a mask: [edges], or [edges, pos] where positions differ.

        Args:
            columns: the column that each named position means; width: how many columns there are.
        """
        if not self.by_position:
            return np.any(self.kept, axis=1) ^ self.inverted
        out = np.zeros((len(self.kept), width), dtype=bool)
        for place, position in enumerate(self.positions):
            where = slice(None) if position is None else slice(columns[position], columns[position] + 1)
            out[:, where] |= self.kept[:, place : place + 1]
        return out ^ self.inverted


def shared_columns(columns: Mapping[Position, Int[np.ndarray, "rows"]], rows: int) -> list[Int[np.ndarray, "some"]]:
    """Rows (their places) for which every position means the same column, together."""
    if not columns:
        return [np.arange(rows)]
    _, group = np.unique(np.stack([*columns.values()], 1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return [np.flatnonzero(group == value) for value in range(int(group.max()) + 1)]
