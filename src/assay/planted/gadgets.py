"""Pieces that programs are made of: tables of matches and values, and piecewise-linear units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from assay.planted.program import Match, Matrix

# what units read [size, units], their biases [units], and what they write [units, size]
GadgetWeights = tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]


def pick(words: Sequence[str], chosen: Iterable[str]) -> Matrix:
    """[words, chosen] one-hot of the chosen words; the others give nothing."""
    chosen = list(chosen)
    return np.array([[float(word == other) for other in chosen] for word in words])


def at(context: int, position: int, key: str = "position") -> Match:
    """Attention to one position, from everywhere."""
    table = np.zeros((1, context))
    table[0, position] = 1
    return Match(None, key, table)


def moved(context: int, source: Mapping[int, int]) -> Match:
    """Attention from each of these positions to the one given for it."""
    table = np.zeros((context, context))
    for query, key in source.items():
        table[query, key] = 1
    return Match("position", "position", table)


def fuzzy(left: str, right: str, to: str, kind: str) -> GadgetWeights:
    """Two numbers from 0 to 1 into (g, 1 - g): g is the smaller ("and") or the larger ("or").

    min(x, y) = relu(x) - relu(x - y), and max(x, y) = relu(y) + relu(x - y).
    """
    reads = {left: np.array([[1.0, 1.0, 0.0, 0.0]]), right: np.array([[0.0, -1.0, 1.0, 0.0]])}
    gate = np.array([1.0, -1.0, 0.0, 0.0]) if kind == "and" else np.array([0.0, 1.0, 1.0, 0.0])
    return reads, np.array([0.0, 0.0, 0.0, 1.0]), {to: np.stack([gate, np.array([0, 0, 0, 1.0]) - gate], axis=1)}


def hats(number: str, to: str, knots: Sequence[float]) -> GadgetWeights:
    """A number into a one-hot over increasing knots, the first of them 0; between two knots both get their share."""
    x = np.asarray(knots, dtype=float)
    gaps = np.diff(x)
    units = np.concatenate([np.eye(len(x)), np.zeros((1, len(x)))]).T  # [knots, units]: relu(z - x), and a 1
    rise = [(units[i] - units[i + 1]) / gaps[i] for i in range(len(gaps))]  # from 0 at x_i to 1 at x_(i+1)
    last = np.eye(len(x) + 1)[-1]
    steps = [last, *rise, np.zeros(len(x) + 1)]
    writes = np.stack([steps[i] - steps[i + 1] for i in range(len(x))], axis=1)
    reads = {number: np.concatenate([np.ones((1, len(x))), np.zeros((1, 1))], axis=1)}
    return reads, np.concatenate([-x, [1.0]]), {to: writes}


def smallest(shares: str, to: str, *, values: int, count: int, context: int, first: int) -> GadgetWeights:
    """At position first + k - 1 the k-th smallest of `count` values, from the share of each among them.

    Value v is the k-th smallest where count * cumulative(v) >= k and count * cumulative(v - 1) < k. A step from 0 to 1
    is relu(a) - relu(a - 1); away from its position a unit is held down by more than it can reach.
    """
    units = 2 * values * count
    read, place = np.zeros((values, units)), np.zeros((context, units))
    bias, write = np.zeros(units), np.zeros((units, values))
    for k in range(1, count + 1):
        for v in range(values):
            for step in (0, 1):
                unit = 2 * ((k - 1) * values + v) + step
                read[: v + 1, unit] = count
                place[first + k - 1, unit] = count + 2
                bias[unit] = 1 - k - step - (count + 2)
                write[unit, v] += 1 - 2 * step
                if v + 1 < values:
                    write[unit, v + 1] -= 1 - 2 * step
    return {shares: read, "position": place}, bias, {to: write}
