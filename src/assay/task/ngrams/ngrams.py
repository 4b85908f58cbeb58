"""N-gram models: interpolated modified Kneser–Ney of orders 1 to 5, the floors and rivals of every claim.

`NGram.fit` counts documents; `log_prob` and `distribution` score windows of tokens. A model can be pruned to a budget
of bits and mixed with an in-context cache. A position that has j tokens of context (a window's start or a BOS hides
what came before) is predicted by the model of order min(order, j + 1): its highest level uses raw counts, every level
below continuation counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache as memoise
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from assay.errors import TaskError, nearest
from assay.task.documents import Windows
from assay.task.ngrams import store as ngram_store
from assay.task.ngrams.cache import Cache, fit_cache
from assay.task.ngrams.tables import Tables, count, discount, estimate_discounts, prune, spoken

WEAK = 20  # fewer training tokens than this for each vocabulary entry: a weak floor
FOLDER = Path(__file__).parents[2] / "zoo"
DISCOUNT_BITS = 16
Levels = tuple[tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]], ...]


@dataclass(frozen=True, eq=False)
class NGram:
    """A fitted n-gram model. Make one with `NGram.fit`, `NGram.load` or `zoo`.

    Attributes:
        tables: counts of the n-grams that are kept.
        discounts: [order, 2, 3] taken from counts of 1, 2 and 3 or more; second axis: raw counts, adjusted counts.
        tokens: how many tokens it was fitted on.
        bos: the id that stands at a window's start and is never predicted, or None.
        starts: what a BOS says. "document": a document begins here (BOS was counted before each document, as context).
            "cut": only that nothing before is known, as where windows start in the middle of a long work.
        cache: mixed in when given.
    """

    tables: Tables
    discounts: Float[np.ndarray, "order 2 3"]
    tokens: int
    bos: int | None = None
    starts: Literal["document", "cut"] = "document"
    cache: Cache | None = None

    @classmethod
    def fit(
        cls,
        documents: Sequence[Integer[np.ndarray, "_"]],
        vocab: int,
        order: int = 5,
        bos: int | None = None,
        *,
        starts: Literal["document", "cut"] = "document",
    ) -> NGram:
        """Counts documents; contexts never cross from one into the next.

        Args:
            documents: token ids of each document, with or without a BOS at the front.
            vocab: number of token ids.
            order: longest n-gram, 1 or more.
            bos: the tokenizer's BOS, if windows start with it.
            starts: "document" where windows start with documents, "cut" where they start anywhere; see the class.

        Raises:
            TaskError: for an id outside the vocabulary, an order below 1, or no tokens at all.
        """
        if order < 1:
            raise TaskError(f"an n-gram of order {order} does not exist; the least is 1")
        texts = [np.asarray(document, dtype=np.int64) for document in documents]
        if bos is not None:
            texts = [text[1:] if len(text) and text[0] == bos else text for text in texts]
        texts = [text for text in texts if len(text)]
        if not texts:
            raise TaskError("an n-gram cannot be fitted on no tokens at all")
        largest, least = max(int(text.max()) for text in texts), min(int(text.min()) for text in texts)
        if least < 0 or largest >= vocab:
            raise TaskError(f"token id {largest if largest >= vocab else least} is outside the vocabulary of {vocab}")
        total = sum(len(text) for text in texts)
        if bos is not None and starts == "document":
            texts = [np.concatenate([np.array([bos]), text]) for text in texts]
        tables = count(texts, vocab, order)
        return cls(tables, estimate_discounts(tables, bos), total, bos, starts)

    @property
    def order(self) -> int:
        """The longest n-gram."""
        return self.tables.order

    @property
    def vocab(self) -> int:
        """The number of token ids."""
        return self.tables.vocab

    @property
    def weak(self) -> bool:
        """Whether it saw fewer than 20 tokens for each vocabulary entry."""
        return self.tokens < WEAK * self.vocab

    @cached_property
    def bits(self) -> float:
        """Stand-alone length: which n-grams are kept, their coded counts, discounts, and cache weights."""
        numbers = self.discounts.size + (0 if self.cache is None else 1 + 4 * 3)
        return self.tables.bits + DISCOUNT_BITS * numbers

    @cached_property
    def unigram(self) -> tuple[Float[np.ndarray, "vocab"], Float[np.ndarray, "vocab"]]:
        """Probabilities without context, from raw and from adjusted counts; what is discounted is spread evenly."""
        found = []
        for kind, counts in enumerate((self.tables.counts[0], self.tables.adjusted[0])):
            counts = spoken(counts, self.bos)
            kept = counts - discount(counts, self.discounts[0, kind])
            found.append((kept + (counts.sum() - kept.sum()) / self.vocab) / counts.sum())
        return found[0], found[1]

    @cached_property
    def _left(self) -> Levels:
        """At index k - 1 for k >= 2: (raw, adjusted) share [n_{k-1}] of a context's mass for the order below."""
        found = [(np.ones(1), np.ones(1))]
        for k in range(2, self.order + 1):
            pair = []
            for kind, counts in enumerate((self.tables.counts[k - 1], self.tables.adjusted[k - 1])):
                kept = np.bincount(
                    self.tables.prefix[k - 1],
                    weights=counts - discount(counts, self.discounts[k - 1, kind]),
                    minlength=self.tables.sizes[k - 2],
                )
                total = self.tables.totals[k - 1][kind]
                pair.append(1 - np.divide(kept, total, out=np.zeros(len(kept)), where=total > 0))
            found.append((pair[0], pair[1]))
        return tuple(found)

    def _share(self, k: int, row: Integer[np.ndarray, "n"], raw: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """The discounted share of their contexts' mass that order-k n-grams (by id) keep for themselves."""
        prefix = self.tables.prefix[k - 1][row]
        out = np.empty(len(row))
        for kind, where in enumerate((raw, ~raw)):
            counts = (self.tables.counts if kind == 0 else self.tables.adjusted)[k - 1][row[where]]
            out[where] = (counts - discount(counts, self.discounts[k - 1, kind])) / self.tables.totals[k - 1][kind][
                prefix[where]
            ]
        return out

    def _segments(self, tokens: Integer[np.ndarray, "batch pos"]) -> Integer[np.ndarray, "batch pos"]:
        """A number for each run of tokens that may be one another's context: a BOS starts a new one."""
        return np.cumsum(tokens == self.bos, axis=1) if self.bos is not None else np.zeros(tokens.shape, dtype=np.int64)

    def _contexts(
        self, tokens: Integer[np.ndarray, "batch pos"], order: int
    ) -> tuple[Integer[np.ndarray, "batch pos"], list[Integer[np.ndarray, "batch pos"]]]:
        """What is known after each token.

        Returns:
            [batch, pos] the order m of the model that predicts the next token, and per length 0, 1, ... order - 1
            the id of the context of that length that ends here (-1: never seen, or longer than what is known).
        """
        segment = self._segments(tokens)
        position = np.arange(tokens.shape[1])
        new = np.diff(segment, axis=1, prepend=segment[:, :1] - 1) != 0
        known = position - np.maximum.accumulate(np.where(new, position, 0), axis=1) + 1
        if self.bos is not None and self.starts == "cut":
            known = known - (segment > 0)  # the BOS itself is no context
        ids = [np.zeros(tokens.shape, dtype=np.int64)]
        for k in range(1, order):
            before = ids[-1] if k == 1 else np.pad(ids[-1][:, :-1], ((0, 0), (1, 0)), constant_values=-1)
            ids.append(np.where(known >= k, self.tables.find(k, before, tokens), -1))
        return np.minimum(known + 1, order), ids

    def log_prob(
        self,
        tokens: Integer[Tensor, "batch pos"] | Integer[np.ndarray, "batch pos"],
        order: int | None = None,
    ) -> Float[np.ndarray, "batch pos"]:
        """Natural log of the probability of each token given the ones before it; position 0 has no context: unigram.

        Args:
            tokens: [batch, pos] ids. What follows a window's end (padding) is scored as well: mask it.
            order: use n-grams up to this order only; default all.
        """
        ids = self._ids(tokens)
        order = self._order(order)
        predictor, contexts = self._contexts(ids, order)
        target, model = ids[:, 1:], predictor[:, :-1].ravel()
        probability = np.where(model == 1, self.unigram[0][target].ravel(), self.unigram[1][target].ravel())
        for k in range(2, order + 1):
            context = contexts[k - 1][:, :-1].ravel()
            at = np.flatnonzero((model >= k) & (context >= 0))
            raw = model[at] == k
            left = self._left[k - 1]
            probability[at] *= np.where(raw, left[0][context[at]], left[1][context[at]])
            row = self.tables.find(k, context[at], target.ravel()[at])
            seen = row >= 0
            probability[at[seen]] += self._share(k, row[seen], raw[seen])
        out = np.concatenate([self.unigram[0][ids[:, :1]], probability.reshape(target.shape)], axis=1)
        if self.cache is not None:
            segment = self._segments(ids)
            for start in range(0, len(ids), 8):
                rows = slice(start, start + 8)
                weights, keep = self.cache.attention(ids[rows, :-1], segment[rows, :-1], self.bos)
                hit = ids[rows, 1:, None] == ids[rows, None, :-1]
                out[rows, 1:] = out[rows, 1:] * keep + (weights * hit).sum(-1)
        return np.log(out)

    def distribution(
        self,
        tokens: Integer[Tensor, "batch pos"] | Integer[np.ndarray, "batch pos"],
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Probabilities of the next token after each position, summing to 1; on the CPU.

        Entry [b, t, tokens[b, t + 1]] is exp(log_prob(tokens)[b, t + 1]).
        """
        ids = self._ids(tokens)
        order = self._order(order)
        predictor, contexts = self._contexts(ids, order)
        model = predictor.ravel()
        # p = u * left_2 * left_3 ... + share_2 * left_3 ... + ...: the dense vector is touched once, the rest sparse.
        after = np.ones((order + 1, len(model)))
        for k in range(order, 1, -1):
            context = contexts[k - 1].ravel()
            left = self._left[k - 1]
            factor = np.where(model == k, left[0][context], left[1][context]) if len(left[0]) else np.ones(len(model))
            after[k - 1] = after[k] * np.where((model >= k) & (context >= 0), factor, 1.0)
        precision = torch.empty(0, dtype=dtype).numpy().dtype
        base = np.stack(self.unigram[::-1]).astype(precision)
        out = base[(model == 1).astype(np.int64)]
        out *= after[1].astype(precision)[:, None]
        flat = out.reshape(-1)
        for k in range(2, order + 1):
            context = contexts[k - 1].ravel()
            at = np.flatnonzero((model >= k) & (context >= 0))
            begin = self.tables.first[k - 1][context[at]]
            length = self.tables.first[k - 1][context[at] + 1] - begin
            row = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length - begin, length)
            owner = np.repeat(at, length)
            share = self._share(k, row, model[owner] == k) * after[k][owner]
            flat[owner * self.vocab + self.tables.token[k - 1][row]] += share
        result = torch.from_numpy(out.reshape(*ids.shape, self.vocab))
        if self.cache is not None:
            weights, keep = self.cache.attention(ids, self._segments(ids), self.bos)
            result *= torch.from_numpy(keep).to(dtype)[..., None]
            source = torch.from_numpy(ids)[:, None, :].expand(-1, ids.shape[1], -1)
            result.scatter_add_(2, source, torch.from_numpy(weights).to(dtype))
        return result

    def loss(self, windows: Windows, order: int | None = None) -> float:
        """Mean nats per scored token."""
        return -float(self.log_prob(windows.tokens, order)[windows.scored].mean())

    def with_cache(self, cache: Cache | float | int | Windows) -> NGram:
        """The model mixed with a cache of each window's own earlier tokens.

        Args:
            cache: fitted weights, one weight for the whole cache, or windows that the model was NOT fitted on, on which
                the weights are fitted.
        """
        if isinstance(cache, Windows):
            plain = replace(self, cache=None)
            probability = np.exp(plain.log_prob(cache.tokens))
            cache = fit_cache(probability, cache.tokens, cache.scored, self._segments(cache.tokens), self.bos)
        elif not isinstance(cache, Cache):
            cache = Cache.of(float(cache))
        return replace(self, cache=cache)

    def pruned(self, bits: float | int, *, whole: int = 1) -> NGram:
        """The model with the n-grams that matter most, in at most `bits` stand-alone bits.

        What an n-gram gains is its discounted count times the log-ratio of its probability to the one that the order
        below
        gives (Seymore and Rosenfeld's weighted difference), an estimate of the nats that it saves. The best are kept,
        with their prefixes and suffixes.

        Args:
            bits: the budget.
            whole: orders up to this one are kept entirely; at least 1.

        Raises:
            TaskError: when what must be kept alone is over the budget.
        """
        extra = self.bits - self.tables.bits
        tables = prune(self.tables, self._gains(), bits - extra, max(whole, 1))
        return replace(self, tables=tables)

    def _gains(self) -> list[Float[np.ndarray, "_"]]:
        """Per order, the nats on the training text that each n-gram is estimated to save."""
        tables = self.tables
        gains, lower, low = [np.zeros(self.vocab)], self.unigram[0], self.unigram[1]
        for k in range(2, self.order + 1):
            prefix, suffix = tables.prefix[k - 1], tables.suffix[k - 1]
            everything, raw = np.arange(tables.sizes[k - 1]), np.ones(tables.sizes[k - 1], dtype=bool)
            here = self._share(k, everything, raw) + self._left[k - 1][0][prefix] * low[suffix]
            counts = tables.counts[k - 1]
            gains.append((counts - discount(counts, self.discounts[k - 1, 0])) * np.log(here / lower[suffix]))
            low = self._share(k, everything, ~raw) + self._left[k - 1][1][prefix] * low[suffix]
            lower = here
        return gains

    @classmethod
    def learning_curve(
        cls,
        documents: Sequence[Integer[np.ndarray, "_"]],
        held_out: Windows,
        fractions: Sequence[float],
        vocab: int,
        order: int = 5,
        bos: int | None = None,
        *,
        starts: Literal["document", "cut"] = "document",
        seed: int = 0,
        block: int = 2_000,
    ) -> list[tuple[int, float]]:
        """Held-out loss of models fitted on growing shares of the documents' blocks: (training tokens, nats)."""
        pieces = [d[s : s + block] for d in documents for s in range(0, len(d), block)]
        pieces = [pieces[i] for i in np.random.default_rng(seed).permutation(len(pieces))]
        curve = []
        for fraction in fractions:
            some = pieces[: max(1, round(fraction * len(pieces)))]
            model = cls.fit(some, vocab, order, bos, starts=starts)
            curve.append((model.tokens, model.loss(held_out)))
        return curve

    def save(self, path: Path) -> None:
        """Writes the model to one file; see `assay.task.ngrams.store`."""
        header = {
            "discounts": self.discounts.tolist(),
            "tokens": self.tokens,
            "bos": self.bos,
            "starts": self.starts,
            "cache": None if self.cache is None else [self.cache.half_life, self.cache.weights.tolist()],
        }
        ngram_store.write(path, self.tables, header)

    @classmethod
    def load(cls, path: Path) -> NGram:
        """Reads a model that `save` wrote.

        Raises:
            TaskError: when the file does not exist or is something else.
        """
        try:
            tables, head = ngram_store.read(path)
        except (OSError, ValueError) as error:
            raise TaskError(f"{path} cannot be read as n-grams: {error}") from error
        cache = None if head["cache"] is None else Cache(float(head["cache"][0]), np.array(head["cache"][1]))
        return cls(tables, np.array(head["discounts"]), head["tokens"], head["bos"], head["starts"], cache)

    def _ids(self, tokens: Tensor | np.ndarray) -> Integer[np.ndarray, "batch pos"]:
        ids = (tokens.cpu().numpy() if isinstance(tokens, Tensor) else tokens).astype(np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab):
            raise TaskError(
                f"token ids from {ids.min()} to {ids.max()} do not fit the n-gram's vocabulary of {self.vocab}"
            )
        return ids

    def _order(self, order: int | None) -> int:
        if order is not None and not 1 <= order <= self.order:
            raise TaskError(f"the n-gram has no order {order}{nearest(order, range(1, self.order + 1))}")
        return self.order if order is None else order


@memoise
def zoo(name: str, *, cache: bool = False) -> NGram:
    """The n-gram that ships with a family of the zoo ("novel"), pruned to fit; `cache`: with its fitted cache.

    Raises:
        TaskError: when the family ships none (fit one on the task's reference).
    """
    shipped = sorted(path.parent.name for path in FOLDER.glob("*/ngrams.xz"))
    if name not in shipped:
        raise TaskError(f"no n-grams ship for {name!r}{nearest(name, shipped)}")
    if not cache:
        return replace(zoo(name, cache=True), cache=None)
    return NGram.load(FOLDER / name / "ngrams.xz")
