"""The file of an n-gram model: one xz stream of small numbers, no pickle.

An n-gram is named by its prefix and by the rank of its last token among those that follow the prefix's suffix (the most
frequent first); ranks are gap-coded. Both are small numbers, so the file is near the tables' own length.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from assay.task.ngrams.tables import Tables

MAGIC = b"assay-ngrams-1\n"
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 1, "lp": 0, "pb": 0}]


def write(path: Path, tables: Tables, header: dict[str, Any]) -> None:
    """Writes tables and a JSON header to one file."""
    planes: list[bytes] = []
    planes += numbers(tables.counts[0])
    for k in range(2, tables.order + 1):
        position, _ = rank_order(tables, k - 1)
        rank = position[tables.suffix[k - 1]]
        sequence = np.lexsort((rank, tables.prefix[k - 1]))
        rank, prefix = rank[sequence], tables.prefix[k - 1][sequence]
        starts_group = np.diff(prefix, prepend=-1) != 0
        gap = np.where(starts_group, rank, np.diff(rank, prepend=0) - 1)
        planes += numbers(np.diff(tables.first[k - 1])) + numbers(gap) + numbers(tables.counts[k - 1][sequence] - 1)
    for ends in tables.ends:
        planes += numbers(ends)
    head = {**header, "vocab": tables.vocab, "order": tables.order, "sizes": tables.sizes}
    head["planes"] = [len(plane) for plane in planes]
    text = json.dumps(head, sort_keys=True).encode() + b"\n"
    packed = lzma.compress(b"".join(planes), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=FILTERS)
    path.write_bytes(MAGIC + text + packed)


def read(path: Path) -> tuple[Tables, dict[str, Any]]:
    """Reads tables and header back.

    Raises:
        ValueError: when the file is not one that `write` made.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"{path} is not a file of n-grams")
    line = data.index(b"\n", len(MAGIC))
    head = json.loads(data[len(MAGIC) : line])
    planes = cut(lzma.decompress(data[line + 1 :]), head["planes"])
    vocab, order = head["vocab"], head["order"]
    keys, counts = [np.arange(vocab, dtype=np.int64)], [whole(planes)]
    for k in range(2, order + 1):
        children, gap, often = whole(planes), whole(planes), whole(planes) + 1
        prefix = np.repeat(np.arange(len(children)), children)
        running = np.cumsum(gap + 1)
        group = np.cumsum(children) - children
        before = np.where(group > 0, running[np.maximum(group - 1, 0)], 0) if len(running) else group
        rank = running - before[prefix] - 1
        known = Tables(vocab, tuple(keys), tuple(counts), ())
        _, below = rank_order(known, k - 1)
        context = known.suffix[k - 2][prefix] if k > 2 else np.zeros(len(prefix), dtype=np.int64)
        row = below[known.first[k - 2][context] + rank]
        token = known.token[k - 2][row]
        key = prefix * vocab + token
        sequence = np.argsort(key, kind="stable")
        keys.append(key[sequence])
        counts.append(often[sequence])
    ends = tuple(whole(planes) for _ in range(order - 1))
    return Tables(vocab, tuple(keys), tuple(counts), ends), head


def rank_order(tables: Tables, k: int) -> tuple[Integer[np.ndarray, "_"], Integer[np.ndarray, "_"]]:
    """Each order-k n-gram's rank among those of its context, the most frequent first, and the rows in that order."""
    context = tables.prefix[k - 1] if k > 1 else np.zeros(tables.vocab, dtype=np.int64)
    rows = np.lexsort((tables.keys[k - 1], -tables.counts[k - 1], context))
    rank = np.empty_like(rows)
    rank[rows] = np.arange(len(rows)) - tables.first[k - 1][context[rows]]
    return rank, rows


def numbers(values: Integer[np.ndarray, "_"]) -> list[bytes]:
    """Numbers as one byte each; those of 255 and more say 255 and follow in a second plane."""
    large = values[values >= 255]
    return [np.minimum(values, 255).astype(np.uint8).tobytes(), (large - 255).astype("<u4").tobytes()]


def whole(planes: Iterator[bytes]) -> Integer[np.ndarray, "_"]:
    """Takes the two planes of `numbers` and puts them together."""
    values = np.frombuffer(next(planes), dtype=np.uint8).astype(np.int64)
    values[values == 255] += np.frombuffer(next(planes), dtype="<u4").astype(np.int64)
    return values


def cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    """Cuts a byte string into pieces of the given lengths."""
    start = 0
    for length in lengths:
        yield data[start : start + length]
        start += length
