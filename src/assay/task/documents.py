"""Documents, their works (the clusters of every interval), and how they are cut into windows that a model can read.

A long work is cut into blocks of 2,000 tokens; windows never cross a document, never overlap, each starts with BOS.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from assay.stats.keyed import generator

BLOCK = 2_000
SHORTEST_WINDOW = 16


@dataclass(frozen=True)
class Document:
    """Scored tokens that belong together: a story, a module, a prompt group, or a block of a long work.

    `whole`: whether it is no piece of anything, however its name ends.
    """

    name: str
    source: str
    tokens: np.ndarray  # [length], token ids without BOS
    whole: bool = False

    @property
    def work(self) -> str:
        """What it is a piece of: its name without the number of the block or the place of the stretch.

        Example:
            >>> Document("en/emma#3", "en", np.zeros(4)).work, Document("python/ast#0:2", "python", np.zeros(4)).work
            ('en/emma', 'python/ast')
        """
        return self.name if self.whole else re.sub(r"[#@][0-9:]+$", "", self.name)


def blocks(name: str, source: str, tokens: np.ndarray, block: int = BLOCK) -> list[Document]:
    """Cuts a long work into documents of `block` tokens (the last one may be shorter), named `name#0`, `name#1`, ..."""
    starts = range(0, len(tokens), block)
    return [Document(f"{name}#{i}", source, tokens[s : s + block]) for i, s in enumerate(starts)]


@dataclass(frozen=True)
class Windows:
    """Documents cut into rows of equal length, padded on the right.

    Attributes:
        tokens: [n, pos] ids, each row starting with BOS where the tokenizer has one.
        scored: [n, pos] True where the token is predicted and counted (never BOS, never padding).
        document: [n] index of the row's document.
        offset: [n] where in the document the row's first real token lies.
    """

    tokens: np.ndarray
    scored: np.ndarray
    document: np.ndarray
    offset: np.ndarray


def windows(
    documents: Sequence[Document] | Iterable[Document],
    context: int,
    bos: int | None,
    *,
    padding: int = 0,
) -> Windows:
    """Cuts documents into windows of `context` ids including BOS; windows of fewer than 16 real tokens are dropped.

    Without a BOS the first token of a window is context only and is not scored.
    """
    head = [] if bos is None else [bos]
    body = context - len(head)
    rows, lengths, owners, offsets = [], [], [], []
    for index, document in enumerate(documents):
        for start in range(0, len(document.tokens), body):
            piece = document.tokens[start : start + body]
            if len(piece) < SHORTEST_WINDOW:
                continue
            row = np.full(context, padding, dtype=np.int64)
            row[: len(head)] = head
            row[len(head) : len(head) + len(piece)] = piece
            rows.append(row)
            lengths.append(len(head) + len(piece))
            owners.append(index)
            offsets.append(start)
    tokens = np.stack(rows) if rows else np.zeros((0, context), dtype=np.int64)
    position = np.arange(context)
    scored = (position[None] >= 1) & (position[None] < np.asarray(lengths, dtype=np.int64).reshape(-1, 1))
    return Windows(tokens, scored, np.asarray(owners, dtype=np.int64), np.asarray(offsets, dtype=np.int64))


def spread(sources: Sequence[str], works: Sequence[Hashable], most: int, seed: int) -> list[int]:
    """At most so many documents, enough of every source, spread over its works: their indices, in order."""
    chosen: list[int] = []
    for source, count in allocate(Counter(sources), min(most, len(sources))).items():
        places = [i for i, one in enumerate(sources) if one == source]
        rng = generator(seed, "documents", source)
        here = dict.fromkeys(works[i] for i in places)
        order = dict(zip(here, rng.permutation(len(here)).tolist(), strict=True))
        places.sort(key=lambda i: order[works[i]])  # stable: the pieces of a work stay together
        steps = (np.arange(count) + rng.random()) * (len(places) / max(count, 1))
        chosen += [places[int(step)] for step in steps]
    return sorted(chosen)


def allocate(sizes: dict[str, int], count: int) -> dict[str, int]:
    """`count` shared out in proportion to sizes (largest remainders), to each at least half of an equal share.

    An interval needs several documents of every source, as one source may hold most of what is measured.
    """
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    half = max(-(-count // (2 * len(sizes))), 2 * (count >= 2 * len(sizes)))
    least = {name: min(half if count >= len(sizes) else 0, size) for name, size in sizes.items()}
    share = {name: max(min(int(value), sizes[name]), least[name]) for name, value in exact.items()}
    while sum(share.values()) > count:
        spare = [name for name in share if share[name] > least[name]]
        share[max(spare, key=lambda name: share[name] - exact[name])] -= 1
    while sum(share.values()) < count:
        open_ = [name for name in share if share[name] < sizes[name]]
        share[max(open_, key=lambda name: exact[name] - share[name])] += 1
    return share
