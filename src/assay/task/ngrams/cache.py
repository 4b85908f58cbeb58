"""A cache of the window's own earlier tokens, mixed into an n-gram: what a window has said, it tends to say again.

Three distributions over the earlier tokens: all of them, those that followed the present token, and those that followed
the present two. The mixing weights depend on the longest match that there is; EM fits them on text that the n-gram was
not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from jaxtyping import Bool, Float, Integer

PARTS = 3
HALF_LIVES = (32.0, 64.0, 128.0, 256.0, inf)


@dataclass(frozen=True, eq=False)
class Cache:
    """Mixing weights of an n-gram with the cache.

    Attributes:
        half_life: positions after which an earlier token counts half (inf: never).
        weights: [4, 4]; row r applies where the longest match is r (0: nothing before, 1: some token before, 2: the
            present token occurred before, 3: the present two did); columns: the n-gram, the three distributions. Rows
            sum to 1.
    """

    half_life: float
    weights: Float[np.ndarray, "4 4"]

    @classmethod
    def of(cls, weight: float, half_life: float = inf) -> Cache:
        """A cache of the given total weight, shared equally by the distributions that exist at a position."""
        weights = np.zeros((PARTS + 1, PARTS + 1))
        weights[0, 0] = 1.0
        for row in range(1, PARTS + 1):
            weights[row, 0] = 1 - weight
            weights[row, 1 : row + 1] = weight / row
        return cls(half_life, weights)

    def attention(
        self, tokens: Integer[np.ndarray, "batch pos"], segment: Integer[np.ndarray, "batch pos"], bos: int | None
    ) -> tuple[Float[np.ndarray, "batch pos pos"], Float[np.ndarray, "batch pos"]]:
        """Weights of the mixture at each position for predicting the next token.

        Returns:
            [batch, pos, source] weight of each source token, and [batch, pos] weight of the n-gram; they sum to 1.
        """
        parts, match = matches(tokens, segment, bos, self.half_life)
        mix = self.weights[match]  # [batch, pos, 4]
        sources = np.einsum("nbps,bpn->bps", parts, mix[..., 1:])
        return sources, mix[..., 0]


def matches(
    tokens: Integer[np.ndarray, "batch pos"],
    segment: Integer[np.ndarray, "batch pos"],
    bos: int | None,
    half_life: float,
) -> tuple[Float[np.ndarray, "3 batch pos pos"], Integer[np.ndarray, "batch pos"]]:
    """The three distributions over source positions (rows sum to 1; 0 without a match) and the longest match."""
    position = np.arange(tokens.shape[1])
    age = position[:, None] - position[None, :]
    usable = (age >= 0) & (segment[:, :, None] == segment[:, None, :])
    if bos is not None:
        usable &= (tokens != bos)[:, None, :]
    same = (tokens[:, :, None] == tokens[:, None, :]) & (segment[:, :, None] == segment[:, None, :])
    bigram = usable & shift(same, source=1)
    trigram = bigram & shift(same, source=2, query=1)
    decay = np.where(age >= 0, 0.5 ** (np.maximum(age, 0) / half_life), 0.0)
    parts = np.stack([usable, bigram, trigram]) * decay
    total = parts.sum(-1, keepdims=True)
    match = (total[..., 0] > 0).sum(0)
    return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0), match


def shift(
    pairs: Bool[np.ndarray, "batch pos pos"], *, source: int = 0, query: int = 0
) -> Bool[np.ndarray, "batch pos pos"]:
    """out[t, s] = pairs[t - query, s - source]; False outside."""
    out = np.zeros_like(pairs)
    pos = pairs.shape[1]
    out[:, query:, source:] = pairs[:, : pos - query, : pos - source]
    return out


def components(
    tokens: Integer[np.ndarray, "batch pos"],
    segment: Integer[np.ndarray, "batch pos"],
    bos: int | None,
    half_life: float,
    batch: int = 8,
) -> tuple[Float[np.ndarray, "batch pos 3"], Integer[np.ndarray, "batch pos"]]:
    """Each distribution's probability of the token at t, predicted from t - 1 (0 at entry 0), and the match there."""
    probability = np.zeros((*tokens.shape, PARTS))
    match = np.zeros(tokens.shape, dtype=np.int64)
    for start in range(0, len(tokens), batch):
        rows = slice(start, start + batch)
        parts, longest = matches(tokens[rows], segment[rows], bos, half_life)
        hit = tokens[rows, 1:, None] == tokens[rows, None, :]
        probability[rows, 1:] = np.einsum("nbps,bps->bpn", parts[:, :, :-1], hit.astype(parts.dtype))
        match[rows, 1:] = longest[:, :-1]
    return probability, match


def fit_cache(
    ngram: Float[np.ndarray, "batch pos"],
    tokens: Integer[np.ndarray, "batch pos"],
    scored: Bool[np.ndarray, "batch pos"],
    segment: Integer[np.ndarray, "batch pos"],
    bos: int | None,
    steps: int = 40,
) -> Cache:
    """The half-life and weights of the highest likelihood, given the n-gram's probability of every observed token."""
    best: tuple[float, Cache] | None = None
    for half_life in HALF_LIVES:
        part, match = components(tokens, segment, bos, half_life)
        each = np.concatenate([ngram[..., None], part], axis=-1)[scored]
        where = match[scored]
        weights = Cache.of(0.1).weights.copy()
        for _ in range(steps):
            for row in range(1, PARTS + 1):
                joint = each[where == row] * weights[row]
                if len(joint):
                    weights[row] = (joint / joint.sum(1, keepdims=True)).mean(0)
        likelihood = float(np.log((each * weights[where]).sum(1)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, Cache(half_life, weights)
    assert best is not None
    return best[1]
