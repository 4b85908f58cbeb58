"""Sufficient statistics: float64 sums by document, made from per-token scores; the sums of two shards add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Num


@dataclass(frozen=True, eq=False)
class Sums:
    """Per-document sums of some columns.

    Attributes:
        documents: names, each once.
        count: [documents] scored tokens.
        columns: name -> [documents] sums over the scored tokens.

    Example:
        >>> one = Sums.of(["a"], np.array([0, 0]), loss=np.array([1.0, 2.0]))
        >>> two = Sums.of(["b", "a"], np.array([0, 1]), loss=np.array([4.0, 5.0]))
        >>> both = one.merge(two)
        >>> both.documents, both.columns["loss"].tolist(), both.count.tolist()
        (('a', 'b'), [8.0, 4.0], [3.0, 1.0])
    """

    documents: tuple[str, ...]
    count: Float64[np.ndarray, " documents"]
    columns: dict[str, Float64[np.ndarray, " documents"]]

    @classmethod
    def of(
        cls, documents: Sequence[str], document: Int[np.ndarray, " tokens"], **columns: Num[np.ndarray, " tokens"]
    ) -> Sums:
        """Sums of per-token columns; `document` says which of `documents` each token is of."""
        size = len(documents)
        count = np.bincount(document, minlength=size).astype(np.float64)
        sums = {
            name: np.bincount(document, weights=np.asarray(c, dtype=np.float64), minlength=size)
            for name, c in columns.items()
        }
        return cls(tuple(documents), count, sums)

    def merge(self, other: Sums) -> Sums:
        """The sums over the tokens of both; documents in the order in which they first appear.

        Raises:
            ValueError: when the columns are not the same.
        """
        if set(self.columns) != set(other.columns):
            raise ValueError(f"columns {sorted(self.columns)} and {sorted(other.columns)} cannot be merged")
        documents = tuple(dict.fromkeys(self.documents + other.documents))
        place = {name: i for i, name in enumerate(documents)}

        def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            out = np.zeros(len(documents))
            out[[place[d] for d in self.documents]] += a
            out[[place[d] for d in other.documents]] += b
            return out

        columns = {name: joined(column, other.columns[name]) for name, column in self.columns.items()}
        return Sums(documents, joined(self.count, other.count), columns)
