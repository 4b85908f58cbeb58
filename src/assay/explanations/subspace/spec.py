"""The ways to say which subspace of a site matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from assay.explanations.levels import Level

LEVEL: Level = "what"


@dataclass(frozen=True)
class Pca:
    """The k directions along which the site varies most on the reference, the first position left out."""

    k: int

    @property
    def block(self) -> dict[str, Any]:
        return {"pca": self.k}

    @property
    def words(self) -> str:
        return f"the {self.k} directions of most variance" if self.k > 1 else "the direction of most variance"


@dataclass(frozen=True)
class Random:
    """k random directions."""

    k: int
    seed: int = 0

    @property
    def block(self) -> dict[str, Any]:
        return {"random": self.k, "seed": self.seed}

    @property
    def words(self) -> str:
        return f"{self.k} random direction{'s' * (self.k > 1)} (seed {self.seed})"


@dataclass(frozen=True)
class Unembed:
    """The span of the differences of some tokens' unembeddings: texts of one token each, or ids."""

    tokens: tuple[str | int, ...]

    @property
    def k(self) -> int:
        return len(self.tokens) - 1

    @property
    def block(self) -> dict[str, Any]:
        return {"unembed": list(self.tokens)}

    @property
    def words(self) -> str:
        what = "the differences of the unembeddings" if self.k > 1 else "the difference of the unembeddings"
        *first, last = map(repr, self.tokens)
        return f"{what} of {', '.join(first)} and {last}"


@dataclass(frozen=True)
class Given:
    """A basis that somebody gave.

    Attributes:
        basis: [width, k], a numpy array of float64, orthonormal.
        digest: of what was given; file, tensor: where it came from; changed: it was not orthonormal.
    """

    basis: Any = field(compare=False, repr=False)
    digest: str
    file: str | None = None
    tensor: str | None = None
    changed: bool = False

    @property
    def k(self) -> int:
        return self.basis.shape[1]

    @property
    def block(self) -> dict[str, Any]:
        return {"file": self.file} | ({} if self.tensor is None else {"tensor": self.tensor})

    @property
    def words(self) -> str:
        count, directions = ("", "direction") if self.k == 1 else (f"{self.k} ", "directions")
        where = f"{directions} in {self.file!r}" if self.file is not None else f"given {directions}"
        return f"the {count}{where}" + " (orthonormalised)" * self.changed


Spec = Pca | Random | Unembed | Given
