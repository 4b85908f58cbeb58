"""How many of several figures lie within an estimate's interval or above, and their share."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from assay.stats.estimate import Estimate


def counted(own: Estimate, values: Sequence[float]) -> tuple[int, Estimate]:
    """How many are at least the interval's lower end, and their share with Clopper and Pearson's interval."""
    low = own.value if own.low is None else own.low
    if low is None or not values:
        return 0, Estimate.undefined(own.reason or "there are none")
    within = sum(value >= low for value in values)
    ends = stats.binomtest(within, len(values)).proportion_ci(0.95, "exact")
    return within, Estimate(within / len(values), float(ends.low), float(ends.high), len(values), method="exact")
