"""A figure with its 95 % interval, or the reason why there is none: what every number of a report is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, SupportsFloat

from assay.errors import FigureError

LARGEST = 1e300  # of any number of a record: differences and percentages of such are still numbers
TENS = 1e-4, 1e6  # outside of these a figure is printed in powers of ten


@dataclass(frozen=True)
class Undefined:
    """Something that is not there, or not known: "undefined, because ..."."""

    reason: str


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval.

    As a number it is its value alone: `float(figure)`, `f"{figure:.1%}"`, `figure >= 0.9`; of two figures the larger
    value is the larger one (`assay compare` says whether the difference is real). Where a number is needed, and in
    comparisons, an undefined figure raises `FigureError` with its reason: False would let it pass for a small one. It
    prints its reason in every format. `==` compares everything, interval and reason too.

    Attributes:
        value: the figure; None where it is undefined, and then `reason` says why.
        low, high: the interval's ends; None for an end that is open, and then `reason` says why.
        n: the number of clusters (documents) it rests on.
        reason: why the value is undefined or an end is open.
        method: how the interval was made: "jackknife_t", "fieller", "percentile", "newcombe" or "exact".

    Raises:
        ValueError: a NaN or an infinity; something missing without a reason; ends that do not enclose the value.

    Example:
        >>> found = Estimate(0.62, 0.59, 0.65, 200)
        >>> print(found, f"{found:.1%}", found > 0.5)
        0.62 [0.59, 0.65] 62.0% True
        >>> print(Estimate.undefined("the gap is not resolved"))
        undefined, because the gap is not resolved
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # as a field of records

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is None:
                if not self.reason:
                    raise ValueError(f"an estimate without {name} needs a reason")
                continue
            if not abs(number) <= LARGEST:
                raise ValueError(f"an estimate's {name} is {number}: what is undefined is None with a reason")
            object.__setattr__(self, name, float(number))
        object.__setattr__(self, "n", int(self.n))
        if self.value is None and not (self.low is None and self.high is None):
            raise ValueError("an undefined estimate has no interval")
        # A percentile interval may miss its own value where resamples are skewed; a reversed one is a mistake.
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"an interval from {self.low} to {self.high}")

    @classmethod
    def undefined(cls, reason: str, n: int = 0) -> Estimate:
        """No value, and why."""
        return cls(None, None, None, n, reason)

    @classmethod
    def exact(cls, value: float, n: int) -> Estimate:
        """A value without sampling error: everything there is was enumerated."""
        return cls(value, value, value, n, method="exact")

    @property
    def defined(self) -> bool:
        return self.value is not None

    def __float__(self) -> float:
        if self.value is None:
            raise FigureError(f"the figure is undefined, because {self.reason}, so it is no number")
        return self.value

    def __format__(self, spec: str) -> str:
        return str(self) if self.value is None or not spec else format(self.value, spec)

    def __lt__(self, other: SupportsFloat) -> bool:
        return float(self) < float(other) if isinstance(other, Real | Estimate) else NotImplemented

    def __le__(self, other: SupportsFloat) -> bool:
        return float(self) <= float(other) if isinstance(other, Real | Estimate) else NotImplemented

    def __gt__(self, other: SupportsFloat) -> bool:
        return float(self) > float(other) if isinstance(other, Real | Estimate) else NotImplemented

    def __ge__(self, other: SupportsFloat) -> bool:
        return float(self) >= float(other) if isinstance(other, Real | Estimate) else NotImplemented

    def map(self, f: Callable[[float], float], *, decreasing: bool = False) -> Estimate:
        """The estimate of a monotone function of this value; the ends change places where it decreases."""
        value, low, high = (None if x is None else f(x) for x in (self.value, self.low, self.high))
        low, high = (high, low) if decreasing else (low, high)
        return Estimate(value, low, high, self.n, self.reason, self.method)

    def within(self, least: float | None, most: float | None) -> Estimate:
        """The interval cut to the range that the figure has by what it is; the value's own rounding is left alone."""
        low, high = self.low, self.high
        if least is not None and low is not None and self.value is not None and low < least:
            low = min(least, self.value)
        if most is not None and high is not None and self.value is not None and high > most:
            high = max(most, self.value)
        return Estimate(self.value, low, high, self.n, self.reason, self.method)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the record holds them."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "reason": self.reason,
            "method": self.method,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The estimate that `to_json` wrote.

        Raises:
            KeyError: when one of value, low, high or n is missing.
        """
        return cls(data["value"], data["low"], data["high"], data["n"], data.get("reason"), data.get("method"))

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined, because {self.reason}"
        show = _format(self.value, self.low, self.high)
        if self.low is None and self.high is None:
            return f"{show(self.value)} (no interval: {self.reason})"
        low, high = ("open" if end is None else show(end) for end in (self.low, self.high))
        return f"{show(self.value)} [{low}, {high}]"


def _format(value: float, low: float | None, high: float | None) -> Callable[[float], str]:
    """A printer with as many digits as the interval's width bears."""
    ends = [x for x in (value, low, high) if x is not None]
    largest = max(abs(x) for x in ends)
    if largest and not TENS[0] <= largest < TENS[1]:
        return lambda x: f"{x:.3g}"
    half = (max(ends) - min(ends)) / 2
    places = -math.floor(math.log10(half)) if half > 0 else 3
    places = min(max(places, 2 if largest < 10 else 0), 8)

    def show(x: float) -> str:
        text = f"{x:.{places}f}"
        return text.lstrip("-") if not float(text) else text  # never "-0.00"

    return show
