"""Fits of loss against compute (lower envelope and power law, both invertible) and corrections of p-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Num
from scipy.interpolate import PchipInterpolator
from scipy.optimize import least_squares

from assay.stats.bootstrap import TAIL
from assay.stats.estimate import Estimate
from assay.stats.keyed import generator

TIE = 1e-6  # of a recovered share
HUBER = 1e-3  # residuals of log L beyond this count linearly (Hoffmann et al. 2022)
STEEPEST = 5.0  # bound on the exponent
LARGEST = 60.0  # bound on the log of a at the middle of the range
Where = Literal["inside", "below", "above"]


def lower_envelope(
    flops: Num[np.ndarray, " points"], losses: Num[np.ndarray, " points"]
) -> Bool[np.ndarray, " points"]:
    """Which points have a lower loss than everything that cost as much or less."""
    kept = np.zeros(len(flops), dtype=bool)
    best = np.inf
    for i in np.lexsort((losses, flops)):
        if losses[i] < best:
            kept[i], best = True, losses[i]
    return kept


@dataclass(frozen=True, eq=False)
class MonotoneCurve:
    """Compute as a function of loss: monotone (PCHIP) interpolation of log C over the lower envelope.

    Attributes:
        flops, losses: the envelope's points, cheapest first.
        tolerance: nats beyond either end that still count as the end. Losses of one model made in two ways differ
            by rounding, and the best member must not be "above" itself.

    Example:
        >>> curve = MonotoneCurve.fit(np.array([1e12, 1e13, 1e14]), np.array([5.0, 4.0, 3.5]))
        >>> curve.where(6.0), curve.where(4.0), curve.where(3.0)
        ('below', 'inside', 'above')
        >>> round(curve.flops_at(4.0) / 1e13, 6)
        1.0
    """

    flops: Float64[np.ndarray, " points"]
    losses: Float64[np.ndarray, " points"]
    tolerance: float = 0.0

    @classmethod
    def fit(
        cls, flops: Num[np.ndarray, " points"], losses: Num[np.ndarray, " points"], tolerance: float = 0.0
    ) -> MonotoneCurve:
        """The curve through the lower envelope of any points.

        Raises:
            ValueError: fewer than two points on the envelope, or a value that is not finite or compute not above 0.
        """
        flops, losses = np.asarray(flops, dtype=float), np.asarray(losses, dtype=float)
        if not (np.isfinite(flops).all() and np.isfinite(losses).all() and (flops > 0).all()):
            raise ValueError("compute must be above 0, and losses finite")
        kept = np.flatnonzero(lower_envelope(flops, losses))
        if len(kept) < 2:
            raise ValueError("fewer than two points on the lower envelope give no curve")
        kept = kept[np.argsort(flops[kept])]
        return cls(flops[kept], losses[kept], tolerance)

    @cached_property
    def _log_flops(self) -> PchipInterpolator:
        return PchipInterpolator(-self.losses, np.log(self.flops))

    def where(self, loss: float) -> Where:
        """Whether a loss lies on the curve, or is worse ("below") or better ("above") than all of it."""
        if loss > self.losses[0] + self.tolerance:
            return "below"
        return "above" if loss < self.losses[-1] - self.tolerance else "inside"

    def flops_at(self, loss: float, *, linear: bool = False) -> float:
        """C(L) in FLOPs; NaN outside of the range, which `where` tells apart.

        Args:
            linear: log C by straight lines between the points, to see how much the interpolation matters.
        """
        if self.where(loss) != "inside":
            return float("nan")
        clipped = min(max(loss, self.losses[-1]), self.losses[0])
        if linear:
            return float(np.exp(np.interp(-clipped, -self.losses, np.log(self.flops))))
        return float(np.exp(self._log_flops(-clipped)))

    def sampled(self, points: int = 60) -> list[tuple[float, float]]:
        """(FLOPs, loss) along the curve, cheapest first, its own points among them; for plots."""
        losses = np.unique(np.concatenate([np.linspace(self.losses[-1], self.losses[0], points), self.losses]))[::-1]
        return [(self.flops_at(float(loss)), float(loss)) for loss in losses]


@dataclass(frozen=True)
class PowerLaw:
    """L = linf + a · C^−b, fitted by Huber on log L with 0 ≤ linf < min L.

    Attributes:
        a, b, linf: nats · FLOPs^b, no unit, nats.
        intervals: one for each, by bootstrap over groups (runs), and over documents where loss draws were given.
    """

    a: float
    b: float
    linf: float
    intervals: dict[str, Estimate]

    def flops_at(self, loss: float) -> float | None:
        """C(L); None where no compute reaches the loss."""
        if loss <= self.linf or self.a <= 0 or self.b <= 0:
            return None
        found = -(np.log(loss - self.linf) - np.log(self.a)) / self.b
        return float(np.exp(found)) if found < 700 else None


def power_law(
    flops: Num[np.ndarray, " points"],
    losses: Num[np.ndarray, " points"],
    groups: Sequence[str | int] | np.ndarray | None = None,
    seed: int = 0,
    *,
    draws: int = 200,
    loss_draws: Num[np.ndarray, "draws points"] | None = None,
    envelope: bool = False,
) -> PowerLaw:
    """Fits the law, with intervals by resampling whole groups.

    Args:
        groups: the run of each point; default: each its own.
        draws: resamples of the groups.
        loss_draws: the losses on resampled documents, one row for each resample; resampled together with the groups.
        envelope: fit the lower envelope of the points, found again in each resample.

    Raises:
        ValueError: fewer than three points to fit, or a loss or compute that is not above 0.
    """
    flops, losses = np.asarray(flops, dtype=float), np.asarray(losses, dtype=float)
    if not ((flops > 0).all() and (losses > 0).all() and np.isfinite(flops).all() and np.isfinite(losses).all()):
        raise ValueError("a power law needs compute and losses above 0")

    def chosen(index: np.ndarray, of: np.ndarray) -> np.ndarray:
        return index[lower_envelope(flops[index], of[index])] if envelope else index

    points = chosen(np.arange(len(flops)), losses)
    if len(points) < 3:
        raise ValueError(f"a power law needs three points, not {len(points)}")
    best = _fit(flops[points], losses[points], starts=(0.0, 0.3, 0.6, 0.9))
    labels = np.asarray(list(range(len(flops)) if groups is None else groups))
    names = np.unique(labels)
    found = []
    for draw in range(draws):
        rng = generator(seed, "power_law", draw)
        picked = rng.choice(names, size=len(names))
        index = np.concatenate([np.flatnonzero(labels == name) for name in picked])
        of = losses if loss_draws is None else np.asarray(loss_draws, dtype=float)[draw % len(loss_draws)]
        index = chosen(index, of)
        if len(np.unique(flops[index])) >= 3:
            fraction = best[2] / losses[points].min()
            found.append(_fit(flops[index], of[index], starts=(fraction,), b=best[1], tolerance=1e-7))
    intervals = {}
    for i, name in enumerate(("a", "b", "linf")):
        if len(found) < 40:
            reason = f"only {len(found)} of {draws} resamples of {len(names)} runs keep three points"
            intervals[name] = Estimate(best[i], None, None, len(names), reason)
        else:
            low, high = np.quantile([f[i] for f in found], [TAIL, 1 - TAIL])
            intervals[name] = Estimate(best[i], float(low), float(high), len(names), method="percentile")
    return PowerLaw(*best, intervals)


def _fit(
    flops: np.ndarray, losses: np.ndarray, starts: Sequence[float], b: float | None = None, tolerance: float = 1e-12
) -> tuple[float, float, float]:
    """a, b, linf of the best fit from starts at these fractions of the lowest loss."""
    centre = float(np.log(flops).mean())  # a in units of the middle of the range: the parameters stay independent
    x, y = np.log(flops) - centre, np.log(losses)
    ceiling = float(losses.min()) * (1 - 1e-6)

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.log(p[2] + np.exp(p[0] - p[1] * x)) - y

    def jacobian(p: np.ndarray) -> np.ndarray:
        power = np.exp(p[0] - p[1] * x)
        return np.stack([power, -x * power, np.ones_like(x)], axis=1) / (p[2] + power)[:, None]

    best, cost = None, np.inf
    for fraction in starts:
        linf = min(max(fraction * losses.min(), 1e-9), ceiling * (1 - 1e-6))
        slope, level = np.polyfit(x, np.log(losses - linf), 1)
        start = [float(level), float(np.clip(-slope if b is None else b, 1e-6, STEEPEST - 1e-6)), linf]
        fit = least_squares(
            residuals,
            start,
            jac=jacobian,  # pyright: ignore[reportArgumentType]  (scipy's own stub knows its names alone)
            bounds=([-LARGEST, 0, 0], [LARGEST, STEEPEST, ceiling]),
            loss="huber",
            f_scale=HUBER,
            x_scale="jac",
            xtol=tolerance,
            ftol=tolerance,
            gtol=tolerance,
            max_nfev=300,
        )
        if fit.cost < cost:
            best, cost = fit.x, fit.cost
    assert best is not None
    return float(np.exp(best[0] + best[1] * centre)), float(best[1]), float(best[2])


def p_value(claim: float, controls: Num[np.ndarray, " controls"] | Sequence[float]) -> float:
    """(1 + number of controls at least as good) / (1 + number of controls); higher is better.

    A control within `TIE` is as good: equal runs differ by that much in float32.

    Example:
        >>> p_value(0.9, [0.1, 0.95, 0.2])
        0.5
    """
    values = np.asarray(controls, dtype=float)
    if np.isnan(values).any() or np.isnan(claim):
        raise ValueError("a p-value needs scores that are defined")
    return float((1 + (values >= claim - TIE).sum()) / (1 + len(values)))


def holm(p_values: Num[np.ndarray, " tests"] | Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value lies between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    out = np.empty(len(p))
    out[order] = np.minimum(steps, 1.0)
    return [float(x) for x in out]
