"""What scoring gives: sums by document of every system, each document carrying the mean of its draws."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int

K = TypeVar("K", bound=Hashable)
ByDraw = Float64[np.ndarray, "documents draws"]
Column = Float64[np.ndarray, "documents"]


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Per scored token, in the order of `Scored`'s index; the mean over draws."""

    loss: Float32[np.ndarray, "tokens"]
    kl: Float32[np.ndarray, "tokens"]
    agree: Float32[np.ndarray, "tokens"]
    correct: Float32[np.ndarray, "tokens"]


@dataclass(frozen=True, eq=False)
class Scores:
    """One system's scores: float64 sums over each document's scored tokens, draw by draw.

    Attributes:
        draw_loss, draw_kl: in the metric's unit; in nats, from the system's target (see `score`).
        draw_agree, draw_correct: how many top tokens are the target's, and how many the correct answer.
        tokens: per scored token, where it was asked to be kept.
        logits: of the tokens (or classes) that were chosen, the mean over draws, in the order of `Scored`'s index.
    """

    draw_loss: ByDraw
    draw_kl: ByDraw
    draw_agree: ByDraw
    draw_correct: ByDraw
    tokens: TokenTable | None = None
    logits: Float64[np.ndarray, "tokens chosen"] | None = None

    @cached_property
    def loss(self) -> Column:
        """The mean over draws, as `kl`, `agree` and `correct`."""
        return self.draw_loss.mean(1)

    @cached_property
    def kl(self) -> Column:
        return self.draw_kl.mean(1)

    @cached_property
    def agree(self) -> Column:
        return self.draw_agree.mean(1)

    @cached_property
    def correct(self) -> Column:
        return self.draw_correct.mean(1)

    @property
    def table(self) -> TokenTable:
        """The per-token scores.

        Raises:
            ValueError: when they were not kept.
        """
        if self.tokens is None:
            raise ValueError("the per-token scores of this system were not kept; name it in keep=")
        return self.tokens


@dataclass(frozen=True, eq=False)
class Scored(Generic[K]):
    """Every system on the same tokens.

    Attributes:
        count: [documents] scored tokens of each document (0 where none of its rows was scored).
        row, position, document: [tokens] where each scored token stands.
        model: the model itself, whose KL is 0 but where the claim has a target of its own; all 0 where every system had
            another target.
    """

    count: Column
    row: Int[np.ndarray, "tokens"]
    position: Int[np.ndarray, "tokens"]
    document: Int[np.ndarray, "tokens"]
    model: Scores
    systems: dict[K, Scores] = field(default_factory=dict)

    def __getitem__(self, key: K) -> Scores:
        return self.systems[key]

    def with_systems(self, other: Scored[K]) -> Scored[K]:
        """These systems and those of another scoring of the same tokens.

        Raises:
            ValueError: when the tokens differ.
        """
        if not (np.array_equal(self.row, other.row) and np.array_equal(self.position, other.position)):
            raise ValueError("the two scorings are of different tokens")
        tokens = self.count, self.row, self.position, self.document
        return Scored(*tokens, self.model, {**self.systems, **other.systems})

    def stacked(self, column: str, keys: Iterable[K] | None = None) -> Float64[np.ndarray, "systems documents *draws"]:
        """A column (`kl`, or `draw_kl`, ...) of these systems, or of all in their order."""
        return np.stack([getattr(self[key], column) for key in (self.systems if keys is None else keys)])

    def mean_kl(self, key: K) -> float:
        """Nats for each scored token."""
        return float(self[key].kl.sum() / max(self.count.sum(), 1.0))
