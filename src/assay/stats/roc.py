"""How well scores tell right items from others: the ROC curve, and the area under it with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.stats import norm, rankdata

from assay.stats.estimate import Estimate

POINTS = 200  # of a curve at most


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve: a point for every threshold that the scores give (of many, 200 evenly over the sizes).

    Attributes:
        size: how many items score at least the threshold; true: the share of the right ones among them, of all right
            ones; false: likewise of the others.
        area: the probability that a right item scores above another one, ties counting half. 0.5 is chance.
    """

    size: Int[np.ndarray, "points"]
    true: Float64[np.ndarray, "points"]
    false: Float64[np.ndarray, "points"]
    area: Estimate


def roc(scores: Float64[np.ndarray, "items"], right: Bool[np.ndarray, "items"]) -> Roc:
    """The curve and its area; the area is undefined where there are no right items, or no others.

    Example:
        >>> found = roc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
        >>> found.size.tolist(), found.true.tolist(), found.false.tolist(), found.area.value
        ([1, 3, 4], [0.5, 1.0, 1.0], [0.0, 0.5, 1.0], 0.875)
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(scores) else np.zeros(0, dtype=np.int64)
    last = last[np.unique(np.linspace(0, len(last) - 1, min(len(last), POINTS)).round().astype(np.int64))]
    positive, negative = int(right.sum()), int((~right).sum())
    found = np.cumsum(right[order])[last]
    true, false = found / max(positive, 1), (last + 1 - found) / max(negative, 1)
    return Roc(last + 1, true, false, area_under(scores, right, positive, negative))


def area_under(
    scores: Float64[np.ndarray, "items"], right: Bool[np.ndarray, "items"], positive: int, negative: int
) -> Estimate:
    """The area, by ranks, with Newcombe's interval."""
    if not positive or not negative:
        return Estimate.undefined("nothing is right" if not positive else "everything is right", len(right))
    area = (rankdata(scores)[right].sum() - positive * (positive + 1) / 2) / (positive * negative)
    low, high = newcombe(float(area), positive, negative)
    return Estimate(float(area), low, high, len(right), method="newcombe")


def newcombe(area: float, positive: int, negative: int) -> tuple[float, float]:
    """The 95 % interval of an area from so many right and other items, if others of their kind had been there.

    The areas whose own standard error (Hanley and McNeil 1982, both numbers replaced by their mean) reaches the one
    that was found: method 5 of Newcombe (2006, Statistics in Medicine 25:559). Unlike DeLong's it has a length where
    the two kinds do not overlap at all.
    """
    z, half = norm.ppf(0.975), (positive + negative) / 2 - 1

    def reaches(other: float) -> bool:
        spread = other * (1 - other) * (1 + half * (1 - other) / (2 - other) + half * other / (1 + other))
        return bool(abs(area - other) <= z * (spread / (positive * negative)) ** 0.5)

    def end(inside: float, outside: float) -> float:
        if reaches(outside):
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if reaches(middle) else (inside, middle)
        return inside

    return end(area, 0.0), end(area, 1.0)
