"""Interpolated modified Kneser–Ney in dictionaries, from Chen and Goodman (1998): the oracle of `assay.task.ngrams`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class KneserNey:
    """Counts documents; `probability(context, token)` with j tokens of context is a model of order j + 1."""

    def __init__(self, documents: Sequence[Sequence[int]], vocab: int, order: int, bos: int | None = None) -> None:
        self.vocab, self.order, self.bos = vocab, order, bos
        texts = [([bos] if bos is not None else []) + list(text) for text in documents]
        self.raw = {
            k: Counter(tuple(text[i : i + k]) for text in texts for i in range(len(text) - k + 1))
            for k in range(1, order + 1)
        }
        self.continuation: dict[int, Counter[tuple[int, ...]]] = {order: self.raw[order]}
        for k in range(1, order):
            # how many different tokens stand before it, and how often nothing does
            self.continuation[k] = Counter(gram[1:] for gram in self.raw[k + 1])
            self.continuation[k].update(tuple(text[:k]) for text in texts if len(text) >= k)
        if bos is not None:
            self.spoken_raw = Counter({g: c for g, c in self.raw[1].items() if g != (bos,)})
            self.spoken_continuation = Counter({g: c for g, c in self.continuation[1].items() if g != (bos,)})
        else:
            self.spoken_raw, self.spoken_continuation = self.raw[1], self.continuation[1]

    def counts(self, k: int, highest: bool) -> Counter[tuple[int, ...]]:
        """Counts that level k uses."""
        if k == 1:
            return self.spoken_raw if highest else self.spoken_continuation
        return self.raw[k] if highest else self.continuation[k]

    def discount(self, k: int, highest: bool, count: int) -> float:
        """What is taken from a count."""
        counts = self.counts(k, highest)
        n1, n2, n3, n4 = (sum(c == i for c in counts.values()) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2) if n1 else 0.5
        three = (
            (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3) if n1 and n2 and n3 and n4 else (y, y, y)
        )
        if count == 0:
            return 0.0
        i = min(count, 3)
        return min(max(three[i - 1], 0.01), 0.99 * i)

    def probability(self, context: Sequence[int], token: int, highest: bool = True) -> float:
        """P(token | context), interpolated down to the uniform distribution."""
        k = len(context) + 1
        counts = self.counts(k, highest)
        follow = {gram: c for gram, c in counts.items() if gram[:-1] == tuple(context)}
        lower = self.probability(context[1:], token, highest=False) if context else 1 / self.vocab
        total = sum(follow.values())
        if not total:
            return lower
        count = follow.get((*context, token), 0)
        taken = sum(self.discount(k, highest, c) for c in follow.values())
        return (count - self.discount(k, highest, count) + taken * lower) / total
