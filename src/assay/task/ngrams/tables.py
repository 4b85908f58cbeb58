"""Counts of n-grams as a progressive trie in sorted arrays: how often each token follows each run of tokens.
Also Kneser–Ney's discounts of them, and which to keep so that they fit a budget of bits.

The id of an n-gram of order k is its row in table k; its key there is (id of its first k - 1 tokens) * vocab + last
token, so a look-up is one binary search a level and what continues a context is one slice. Tables may be pruned, as
long as every n-gram that is kept keeps its prefix and its suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.special import gammaln

from assay.errors import TaskError

PRUNING_STEPS = 24


@dataclass(frozen=True, eq=False)
class Tables:
    """Raw counts of the n-grams of orders 1 to `order`; everything else is derived from them.

    Attributes:
        vocab: the number of token ids.
        keys: per order k = 1, 2, ..., sorted int64 keys [n_k]; order 1 holds every token, with keys 0 to vocab - 1.
        counts: per order, int64 occurrences [n_k].
        ends: per order below the last, int64 [n_k], occurrences that end a document (nothing follows them).
    """

    vocab: int
    keys: tuple[Integer[np.ndarray, "_"], ...]
    counts: tuple[Integer[np.ndarray, "_"], ...]
    ends: tuple[Integer[np.ndarray, "_"], ...]

    @property
    def order(self) -> int:
        """The longest n-gram that was counted."""
        return len(self.keys)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of n-grams of each order."""
        return tuple(len(keys) for keys in self.keys)

    def find(
        self, k: int, context: Integer[np.ndarray, "*shape"], token: Integer[np.ndarray, "*shape"]
    ) -> Integer[np.ndarray, "*shape"]:
        """Ids of the order-k n-grams made of a context (its id in order k - 1) and a token; -1 where there is none."""
        if k == 1:
            return token
        table = self.keys[k - 1]
        if not len(table):
            return np.full(token.shape, -1, dtype=np.int64)
        key = context * self.vocab + token
        row = np.minimum(np.searchsorted(table, key), len(table) - 1)
        return np.where((context >= 0) & (table[row] == key), row, -1)

    @cached_property
    def prefix(self) -> tuple[Integer[np.ndarray, "_"], ...]:
        """Per order, the id in the order below of an n-gram without its last token."""
        return tuple(keys // self.vocab for keys in self.keys)

    @cached_property
    def token(self) -> tuple[Integer[np.ndarray, "_"], ...]:
        """Per order, the last token of each n-gram."""
        return tuple(keys % self.vocab for keys in self.keys)

    @cached_property
    def suffix(self) -> tuple[Integer[np.ndarray, "_"], ...]:
        """Per order, the id in the order below of an n-gram without its first token."""
        found = [np.zeros(self.vocab, dtype=np.int64)]
        for k in range(2, self.order + 1):
            shorter = found[-1][self.prefix[k - 1]]
            found.append(self.find(k - 1, shorter, self.token[k - 1]))
        return tuple(found)

    @cached_property
    def first(self) -> tuple[Integer[np.ndarray, "_"], ...]:
        """Per order k >= 2 at index k - 1: [n_{k-1} + 1] bounds of the slices that continue each context."""
        bounds = [np.array([0, self.vocab], dtype=np.int64)]
        for k in range(2, self.order + 1):
            children = np.bincount(self.prefix[k - 1], minlength=self.sizes[k - 2])
            bounds.append(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(children)]))
        return tuple(bounds)

    @cached_property
    def adjusted(self) -> tuple[Integer[np.ndarray, "_"], ...]:
        """Per order, the counts that Kneser–Ney uses below the highest order.

        c(g) - sum over the kept v g of (c(v g) - 1): each kept longer n-gram that ends in g counts once, however often
        it occurs (Kneser–Ney's continuation counts). One that was pruned, or g at a document's start where nothing
        precedes it, counts as often as it occurs, because nothing longer accounts for it (revised Kneser pruning:
        Siivola, Hirsimäki and Virpioja 2007).
        """
        out = []
        for k in range(1, self.order):
            taken = np.bincount(self.suffix[k], weights=self.counts[k] - 1, minlength=self.sizes[k - 1])
            out.append(self.counts[k - 1] - taken.astype(np.int64))
        return (*out, self.counts[-1])

    @cached_property
    def totals(self) -> tuple[tuple[Integer[np.ndarray, "_"], Integer[np.ndarray, "_"]], ...]:
        """At index k - 1 for k >= 2: (raw, adjusted) counts [n_{k-1}] of all that follows a context, kept or pruned."""
        out = [(self.counts[0].sum()[None], self.adjusted[0].sum()[None])]
        for k in range(2, self.order + 1):
            raw = self.counts[k - 2] - self.ends[k - 2]
            less = self.counts[k - 1] - self.adjusted[k - 1]
            taken = np.bincount(self.prefix[k - 1], weights=less, minlength=self.sizes[k - 2])
            out.append((raw, raw - taken.astype(np.int64)))
        return tuple(out)

    def subset(self, keep: Sequence[Bool[np.ndarray, "_"]]) -> Tables:
        """The tables with only the marked n-grams, closed under prefix and suffix; order 1 stays whole."""
        keys, counts, ends = [self.keys[0]], [self.counts[0]], [self.ends[0]] if self.ends else []
        renumber = np.arange(self.vocab, dtype=np.int64)
        for k in range(2, self.order + 1):
            rows = np.flatnonzero(keep[k - 1])
            keys.append(renumber[self.prefix[k - 1][rows]] * self.vocab + self.token[k - 1][rows])
            counts.append(self.counts[k - 1][rows])
            if k < self.order:
                ends.append(self.ends[k - 1][rows])
            renumber = np.full(self.sizes[k - 1], -1, dtype=np.int64)
            renumber[rows] = np.arange(len(rows))
        return Tables(self.vocab, tuple(keys), tuple(counts), tuple(ends))

    @cached_property
    def bits(self) -> float:
        """The tables' length: per order log2 C(places, n) for which n-grams there are, and the coded counts.

        An n-gram can only continue a kept context with a token that continues the context's own suffix, so `places`
        counts those (vocab ** 2 for bigrams): log2 C(V ** n, k) of the definitions for nested tables, and shorter.
        """
        total = values_bits(self.counts[0])
        for k in range(2, self.order + 1):
            if k == 2:
                places = self.vocab**2
            else:
                children = np.diff(self.first[k - 2])
                places = int(children[self.suffix[k - 2]].sum())
            total += choose_bits(places, self.sizes[k - 1]) + values_bits(self.counts[k - 1])
        for ends in self.ends:
            some = ends[ends > 0]
            total += choose_bits(len(ends), len(some)) + values_bits(some)
        return total


def choose_bits(places: int, chosen: int) -> float:
    """log2 of the number of ways to choose: the length of naming a set of known size; plus the size itself."""
    ways = gammaln(places + 1.0) - gammaln(chosen + 1.0) - gammaln(places - chosen + 1.0)
    return float(ways / np.log(2)) + integer_bits(chosen)


def integer_bits(value: int) -> int:
    """The length of Elias' gamma code of value + 1."""
    return 2 * int(value + 1).bit_length() - 1


def values_bits(values: Integer[np.ndarray, "_"]) -> float:
    """The length of a list of whole numbers: their histogram (gamma codes), then which of its arrangements it is."""
    if not len(values):
        return 1.0
    value, often = np.unique(values, return_counts=True)
    gaps = np.diff(value, prepend=-1)
    lengths = 2 * np.floor(np.log2(np.concatenate([gaps, often]).astype(np.float64))) + 1
    arrangements = (gammaln(len(values) + 1.0) - gammaln(often + 1.0).sum()) / np.log(2)
    return float(lengths.sum() + arrangements) + integer_bits(len(value))


def count(documents: Sequence[Integer[np.ndarray, "_"]], vocab: int, order: int) -> Tables:
    """Counts every n-gram of orders 1 to `order` that lies within one document."""
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    lengths = lengths[lengths > 0]
    flat = (
        np.concatenate([np.asarray(d, dtype=np.int64) for d in documents if len(d)])
        if len(lengths)
        else np.zeros(0, dtype=np.int64)
    )
    begin = np.repeat(np.cumsum(lengths) - lengths, lengths)
    before = np.arange(len(flat)) - begin
    last = np.cumsum(lengths) - 1
    keys, counts = [np.arange(vocab, dtype=np.int64)], [np.bincount(flat, minlength=vocab).astype(np.int64)]
    ends = [np.bincount(flat[last], minlength=vocab).astype(np.int64)]
    ids = flat
    for k in range(2, order + 1):
        here = np.flatnonzero(before >= k - 1)
        key, inverse, often = np.unique(ids[here - 1] * vocab + flat[here], return_inverse=True, return_counts=True)
        keys.append(key)
        counts.append(often.astype(np.int64))
        ids = np.full(len(flat), -1, dtype=np.int64)
        ids[here] = inverse
        final = ids[last]
        ends.append(np.bincount(final[final >= 0], minlength=len(key)).astype(np.int64))
    return Tables(vocab, tuple(keys), tuple(counts), tuple(ends[: order - 1]))


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


def prune(tables: Tables, gains: Sequence[Float[np.ndarray, "_"]], bits: float | int, whole: int) -> Tables:
    """The tables with the n-grams that gain most, at most `bits` long; orders up to `whole` are kept entirely.

    Raises:
        TaskError: when the orders to keep entirely are longer than the budget.
    """
    value = inherited(tables, gains, whole)

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
        if high - low < len(ladder) >> PRUNING_STEPS:
            break
    return best


def inherited(tables: Tables, gains: Sequence[Float[np.ndarray, "_"]], whole: int) -> list[Float[np.ndarray, "_"]]:
    """The most gained among an n-gram and all that need it as prefix or suffix: any threshold leaves closed tables."""
    value = [each.copy() for each in gains]
    for k in range(tables.order, 1, -1):
        if k <= whole:
            value[k - 1][:] = np.inf
        np.maximum.at(value[k - 2], tables.prefix[k - 1], value[k - 1])
        np.maximum.at(value[k - 2], tables.suffix[k - 1], value[k - 1])
    value[0][:] = np.inf
    return value
