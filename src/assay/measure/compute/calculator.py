"""What losses are worth on a family's curve, which is rebuilt for every set of documents that an interval looks at.

In a set in which a loss leaves the curve's range its compute is known within bounds only (below the family:
between nothing and the cheapest member's; above it: the best member's or more), and so is every figure made of it. The
lower end of an interval is that of the lower bounds, the upper end that of the upper ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from assay.measure.compute.family import Endpoint
from assay.record.compute import ComputeFigures, LinearShares, Mark, Placed, Rung
from assay.score.ids import SystemId
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.fits import MonotoneCurve

TOLERANCE = 1e-3  # nats beyond an end of the curve: one model's loss, measured in two places
SAME = 1e-4  # nats a token by which the losses of a member, by document, may differ from its endpoint's
OWN = "it is a member of the family, read off its own curve"
OUTSIDE = "there is no {end} end, because without some of the documents a loss lies {side} the family"


class Known(NamedTuple):
    """Losses on every set of documents, and bounds of the compute that they are worth there."""

    loss: np.ndarray
    low: np.ndarray
    high: np.ndarray


Bounds = Callable[..., tuple[np.ndarray, np.ndarray]]  # of a figure, from the compute that it is made of


class Calculator:
    """The curve on the documents and on their resamples, and what losses are worth on it."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        sums: np.ndarray,
        sizes: np.ndarray,
        counts: np.ndarray,
        resamples: Resamples,
    ) -> None:
        self.endpoints, self.sums, self.sizes, self.counts = endpoints, sums, sizes, counts
        self.resamples = resamples
        self.rebuilt: dict[bytes, list[MonotoneCurve | None]] = {}
        self.known: dict[tuple[bytes, bytes], Known] = {}
        self.flops = np.array([e.flops for e in endpoints], dtype=float)
        self.losses = sums.sum(1) / sizes.sum(1)
        self.curve = self._curve(self.losses)

    def _curve(self, losses: np.ndarray) -> MonotoneCurve | None:
        try:
            return MonotoneCurve.fit(self.flops, losses, TOLERANCE)
        except ValueError:  # one member is best and cheapest
            return None

    def loss_draws(self, draws: int) -> Float64[np.ndarray, "draws points"]:
        tops, bottoms = (self.resamples.totals(*x)[:, :draws] for x in (self.sums, self.sizes))
        return (tops / bottoms).T

    def mark(self, column: np.ndarray) -> Mark:
        assert self.curve is not None
        loss = float(column.sum() / self.counts.sum())
        where, flops = self.curve.where(loss), self.curve.flops_at(loss)
        member = self.endpoints[int(np.abs(self.losses - loss).argmin())]
        name = f"{member.model} at {_big(member.tokens)} tokens"
        return Mark(loss=loss, flops=flops if where == "inside" else None, where=where, nearest=name)

    def shares(self, model: np.ndarray, explained: np.ndarray, floor: np.ndarray | None, whole: bool) -> ComputeFigures:
        share = self.share(explained, model, "the explained run")
        top, bottom, between = self._linear(share, explained, model), None, None
        recovered = Estimate.undefined("a whole-model claim: its share is the figure", share.n)
        floor_share = Estimate.undefined("there is no floor", share.n)
        if floor is not None:
            floor_share = self.share(floor, model, "the floor")
            bottom = self._linear(floor_share, floor, model)
        if floor is not None and not whole:
            recovered = self.recovered(model, explained, floor)
            if recovered.value is not None and top is not None and bottom is not None and bottom < 1:
                between = (top - bottom) / (1 - bottom)
        linear = LinearShares(recovered=between, share_explained=top, share_floor=bottom)
        return ComputeFigures(recovered=recovered, share_explained=share, share_floor=floor_share, linear=linear)

    def share(self, top: np.ndarray, bottom: np.ndarray | None, what: str, *, own: bool = False) -> Estimate:
        """C(top) / C(bottom), or over the compute of the best member.

        Args:
            own: whether a member's own compute over another's, or the best one's, is a figure without an interval.
        """
        outside = self._outside((what, top), ("the model", bottom))
        if outside:
            return outside
        columns = [top] if bottom is None else [top, bottom]
        logs = self._estimate(_logs(_share), columns, over_best=bottom is None)
        found = logs.map(lambda log: float(np.exp(log)))  # a loss is about linear in the log of its compute
        if found.low is None and found.method is not None:  # it has an interval, and nothing is worth less than nothing
            found = replace(found, low=0.0, reason=None if found.high is not None else found.reason)
        if own and all(self._member(column) for column in columns):
            return Estimate(found.value, None, None, found.n, OWN)
        return found

    def recovered(self, model: np.ndarray, explained: np.ndarray, floor: np.ndarray) -> Estimate:
        outside = self._outside(("the model", model), ("the floor", floor), ("the explained run", explained))
        if outside:
            return outside
        between = self._estimate(_gap, [model, floor])
        if between.low is None or between.low <= 0:
            if between.high is not None and between.high < 0:
                reason = "harmful scope: the floor is worth more compute than the model"
            else:
                reason = "gap not resolved: the model's compute cannot be distinguished from the floor's"
            return Estimate.undefined(reason, between.n)
        columns = [model, explained, floor]
        logs = self._estimate(_logs(_recovered), columns)  # as a share's; only where it is told from 0
        found = logs.map(lambda log: float(np.exp(log)))
        return self._estimate(_recovered, columns) if found.low is None or found.high is None else found

    def place(self, system: SystemId, column: np.ndarray, model: np.ndarray) -> Placed:
        """Where a system lies: its loss, and what that is worth as a share of the model's compute."""
        mark, share = self.mark(column), self.share(column, model, str(system), own=True)
        loss, linear = self.resamples.mean(column, self.counts), self._linear(share, column, model)
        at = {"linear": linear, "where": mark.where, "nearest": mark.nearest}
        return Placed(role=system.role, name=system.label, loss=loss, share=share, **at)

    def rung(self, over: SystemId, recovered: float, model: np.ndarray, floor: np.ndarray) -> Rung:
        """What a run that recovers this share of the floor's gap in loss is worth."""
        column = floor - recovered * (floor - model)
        share = self.share(column, model, f"{100 * recovered:g} % recovered over {over}")
        if share.high is not None and share.high > 1 and floor.sum() >= model.sum():
            share = replace(share, high=1.0)  # its loss is not below the model's, which the interval does not know
        loss, linear = self.resamples.mean(column, self.counts), self._linear(share, column, model)
        return Rung(
            floor=over.label, own=over.role == "floor", recovered=recovered, loss=loss, share=share, linear=linear
        )

    def _linear(self, share: Estimate, top: np.ndarray, bottom: np.ndarray) -> float | None:
        """A share that is defined by log-linear interpolation."""
        assert self.curve is not None
        if share.value is None:
            return None
        total = float(self.counts.sum())
        above, below = (self.curve.flops_at(float(c.sum()) / total, linear=True) for c in (top, bottom))
        return above / below

    def _member(self, column: np.ndarray) -> bool:
        """Whether these are the losses of a member on the envelope."""
        assert self.curve is not None
        apart = np.abs(self.sums - column).sum(1) / self.counts.sum()
        return bool(np.isin(self.flops[apart <= SAME], self.curve.flops).any())

    def _outside(self, *systems: tuple[str, np.ndarray | None]) -> Estimate | None:
        for what, column in systems:
            if column is None:
                continue
            mark = self.mark(column)
            if mark.where != "inside":
                n = int((self.counts > 0).sum())
                loss = f"{what}, at {mark.loss:.3f} nats, is {mark.where} the family"
                return Estimate.undefined(f"{loss} (nearest: {mark.nearest})", n)
        return None

    def _estimate(self, bounds: Bounds, columns: list[np.ndarray], *, over_best: bool = False) -> Estimate:
        """The estimate of a figure of these columns' compute (and the best member's).

        The curve is rebuilt for every set of documents.
        """
        members = len(self.endpoints)
        left: set[str] = set()

        def end(which: int, *totals: np.ndarray) -> np.ndarray:
            found = np.array(totals)
            curves = (found[:members] / found[members : 2 * members]).T
            losses = found[2 * members + 1 :] / found[2 * members]
            known = [self._compute_of(curves, own) for own in losses]
            if any((one.low == 0).any() for one in known):
                left.add("below")
            if any(np.isinf(one.high).any() for one in known):
                left.add("above")
            if over_best:
                known.append(self._compute_of(curves, curves.min(1)))
            with np.errstate(all="ignore"):
                return bounds(*known)[which]

        data = [*self.sums, *self.sizes, self.counts, *columns]
        low = self.resamples.function(partial(end, 0), *data, counts=self.counts)
        if low.value is None or not left:
            return low
        high = self.resamples.function(partial(end, 1), *data, counts=self.counts)
        if low.low is not None and high.high is not None:
            return Estimate(low.value, low.low, high.high, low.n, method=low.method)
        side = " and ".join(sorted(left))
        if low.low is None and high.high is None and low.method is None:
            reason = low.reason
        elif low.low is None and high.high is None:
            reason = f"without some of the documents a loss lies {side} the family, and nothing bounds the figure"
        else:
            reason = OUTSIDE.format(end="lower" if low.low is None else "upper", side=side)
        return Estimate(low.value, low.low, high.high, low.n, reason, low.method)

    def _compute_of(self, curves: np.ndarray, losses: np.ndarray) -> Known:
        """Of losses [k] on the curves through points [k, members]; kept, since every figure sees the same resamples."""
        key = curves.tobytes()
        if key not in self.rebuilt:
            self.rebuilt[key] = [self._curve(points) for points in curves]
        both = key, losses.tobytes()
        if both not in self.known:
            ends = np.array([_bounds(curve, loss) for curve, loss in zip(self.rebuilt[key], losses, strict=True)])
            self.known[both] = Known(losses, ends[:, 0], ends[:, 1])
        return self.known[both]


def _bounds(curve: MonotoneCurve | None, loss: float) -> tuple[float, float]:
    """Between what and what C(L) lies."""
    if curve is None:
        return 0.0, np.inf
    match curve.where(loss):
        case "below":
            return 0.0, float(curve.flops[0])
        case "above":
            return float(curve.flops[-1]), np.inf
    flops = curve.flops_at(loss)
    return flops, flops


def _share(top: Known, bottom: Known) -> tuple[np.ndarray, np.ndarray]:
    """C(top) / C(bottom). The worse loss is never worth more."""
    low = np.where(np.isinf(bottom.high), 0.0, top.low / bottom.high)
    high = np.where(bottom.low > 0, top.high / bottom.low, np.inf)
    low = np.where(top.loss <= bottom.loss, np.maximum(low, 1.0), low)
    return low, np.where(top.loss >= bottom.loss, np.minimum(high, 1.0), high)


def _logs(bounds: Bounds) -> Bounds:
    """The same figure's logarithm."""
    return lambda *known: tuple(np.log(end) for end in bounds(*known))  # type: ignore[return-value]


def _gap(model: Known, floor: Known) -> tuple[np.ndarray, np.ndarray]:
    return model.low - floor.high, model.high - floor.low


def _recovered(model: Known, explained: Known, floor: Known) -> tuple[np.ndarray, np.ndarray]:
    """(C_E − C_F) / (C_M − C_F): monotone in each, so its extremes are at their ends; 1 at most for a run that is no
    better than the model, 0 at least for one that is no worse than the floor."""
    low, high = np.full(len(model.loss), np.inf), np.full(len(model.loss), -np.inf)
    for m, e, f in product(model[1:], explained[1:], floor[1:]):
        ratio = np.where(np.isinf(m), np.where(np.isinf(e), np.nan, 0.0), (e - f) / (m - f))
        ratio = np.where(m > f, ratio, np.nan)
        low = np.minimum(low, np.where(np.isnan(ratio), -np.inf, ratio))
        high = np.maximum(high, np.where(np.isnan(ratio), np.inf, ratio))
    told = floor.loss > model.loss
    low = np.where(told & (explained.loss <= floor.loss), np.maximum(low, 0.0), np.where(told, low, -np.inf))
    high = np.where(told & (explained.loss >= model.loss), np.minimum(high, 1.0), np.where(told, high, np.inf))
    return low, high


def _big(number: int | float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
