"""Which reference example fills which scored one: keyed by (seed, purpose, document, draw, site), not by order."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Int, UInt64

from assay.task.task import Task

POOL = 64  # reference rows a draw's donors come from


def hashed(*key: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")


def _mix(x: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """splitmix64: a keyed hash of many numbers at once."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def full_rows(task: Task) -> Int[np.ndarray, "rows"]:
    """Reference rows that are as long as any scored row, so that every column has a donor."""
    assert task.reference is not None
    lengths = task.reference.real.sum(1).numpy()
    needed = int(task.real.sum(1).max())
    long = np.flatnonzero(lengths >= needed)
    return long if len(long) else np.flatnonzero(lengths == lengths.max())


def pool(task: Task, seed: int, draw: int) -> Int[np.ndarray, "rows"]:
    """The reference rows of one draw: up to 64, without replacement, another set for every draw."""
    rows = full_rows(task)
    order = np.argsort(_mix(rows.astype(np.uint64) ^ np.uint64(hashed(seed, "pool", draw))), kind="stable")
    return np.sort(rows[order[:POOL]])


def donors(task: Task, seed: int, draw: int, site: str = "") -> Int[np.ndarray, "rows"]:
    """For each scored row its donor among the draw's pool; `site` is empty where all sites share one donor."""
    rows = pool(task, seed, draw)
    names = [hashed(task.documents[d].name) for d in task.document]
    offsets = np.asarray(task.offset, dtype=np.uint64)
    keys = np.array(names, dtype=np.uint64) ^ _mix(offsets) ^ np.uint64(hashed(seed, "donor", draw, site))
    return rows[(_mix(keys) % np.uint64(len(rows))).astype(np.int64)]


def matched_donors(task: Task, seed: int, draw: int, site: str = "") -> float:
    """The share of scored rows whose donor is the row itself: 0 unless reference and scored data overlap."""
    assert task.reference is not None
    same = (task.reference.tokens[donors(task, seed, draw, site)] == task.tokens).flatten(1).all(1)
    return float(same.double().mean())
