"""What losses are worth on a family's curve, which is rebuilt on every resample of the documents measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from assay.measure.family import Endpoint
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.fits import MonotoneCurve

TOLERANCE = 1e-3  # nats beyond an end of the curve: one model's loss, measured in two places


@dataclass(frozen=True)
class Mark:
    """Where a system lies on the curve.

    Attributes:
        loss: nats a token.
        flops: C(L); None out of range.
        where: "inside", or "below" or "above" the family.
        nearest: the member whose loss is nearest.
    """

    loss: float
    flops: float | None
    where: str
    nearest: str

    def to_json(self) -> dict[str, Any]:
        return {"loss": self.loss, "flops": self.flops, "where": self.where, "nearest": self.nearest}


@dataclass(frozen=True)
class Figures:
    """The figures of one explained run.

    Attributes:
        recovered: (C(L_E) − C(L_F)) / (C(L_M) − C(L_F)).
        share_explained, share_floor: C(L_E) / C(L_M) and C(L_F) / C(L_M).
    """

    recovered: Estimate
    share_explained: Estimate
    share_floor: Estimate

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_json() for name in ("recovered", "share_explained", "share_floor")}


class Calculator:
    """The curve on the documents and on their resamples, and what losses are worth on it."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        sums: np.ndarray,
        sizes: np.ndarray,
        counts: np.ndarray,
        resamples: Resamples,
        draws: int,
    ) -> None:
        self.endpoints, self.sums, self.sizes, self.counts = endpoints, sums, sizes, counts
        self.resamples, self.draws = resamples, min(draws, resamples.draws)
        self.rebuilt: dict[bytes, list[MonotoneCurve | None]] = {}
        self.flops = np.array([e.flops for e in endpoints], dtype=float)
        self.losses = sums.sum(1) / sizes.sum(1)
        self.curve = self._curve(self.losses)

    def _curve(self, losses: np.ndarray) -> MonotoneCurve | None:
        try:
            return MonotoneCurve.fit(self.flops, losses, TOLERANCE)
        except ValueError:  # one member is best and cheapest
            return None

    def loss_draws(self) -> Float64[np.ndarray, "draws points"]:
        tops, bottoms = (self.resamples.totals(*x, draws=self.draws) for x in (self.sums, self.sizes))
        return (tops / bottoms).T

    def mark(self, column: np.ndarray) -> Mark:
        assert self.curve is not None
        loss = float(column.sum() / self.counts.sum())
        where, flops = self.curve.where(loss), self.curve.flops_at(loss)
        member = self.endpoints[int(np.abs(self.losses - loss).argmin())]
        name = f"{member.model} at {_big(member.tokens)} tokens"
        return Mark(loss, flops if where == "inside" else None, where, name)

    def figures(self, model: np.ndarray, explained: np.ndarray, floor: np.ndarray | None, whole: bool) -> Figures:
        share = self.share(explained, model, "the explained run")
        n = share.n
        if floor is None:
            none = Estimate.undefined("there is no floor", n)
            return Figures(Estimate.undefined("a whole-model claim: its share is the figure", n), share, none)
        floor_share = self.share(floor, model, "the floor")
        if whole:
            return Figures(Estimate.undefined("a whole-model claim: its share is the figure", n), share, floor_share)
        return Figures(self.recovered(model, explained, floor), share, floor_share)

    def share(self, top: np.ndarray, bottom: np.ndarray | None, what: str) -> Estimate:
        """C(top) / C(bottom), or over the compute of the best member."""
        outside = self._outside((what, top), ("the model", bottom))
        if outside:
            return outside

        def f(curve: MonotoneCurve, losses: np.ndarray) -> float:
            below = _worth(curve, losses[1]) if bottom is not None else curve.flops[-1]
            return float(np.divide(_worth(curve, losses[0]), below))  # 0 / 0 and inf / inf have no value

        return self._estimate(f, [top] if bottom is None else [top, bottom])

    def recovered(self, model: np.ndarray, explained: np.ndarray, floor: np.ndarray) -> Estimate:
        outside = self._outside(("the model", model), ("the floor", floor), ("the explained run", explained))
        if outside:
            return outside

        def gap(curve: MonotoneCurve, losses: np.ndarray) -> float:
            return curve.flops_at(losses[0]) - _worth(curve, losses[1])

        between = self._estimate(gap, [model, floor])
        if between.low is None or between.low <= 0:
            if between.high is not None and between.high < 0:
                reason = "harmful scope: the floor is worth more compute than the model"
            else:
                reason = "gap not resolved: the compute that the model is worth is not told from the floor's"
            return Estimate.undefined(reason, between.n)

        def f(curve: MonotoneCurve, losses: np.ndarray) -> float:
            model_flops, floor_flops = _worth(curve, losses[0]), curve.flops_at(losses[1])
            found = (_worth(curve, losses[2]) - floor_flops) / (model_flops - floor_flops)
            return found if model_flops > floor_flops else float("nan")

        return self._estimate(f, [model, floor, explained])

    def place(self, name: str, column: np.ndarray, model: np.ndarray) -> dict[str, Any]:
        """Where a system lies: its loss, and what that is worth as a share of the model's compute."""
        mark = self.mark(column)
        loss = self.resamples.mean(column, self.counts).to_json()
        share = self.share(column, model, name).to_json()
        return {"name": name, "loss": loss, "share": share, "where": mark.where, "nearest": mark.nearest}

    def rung(self, floor_name: str, recovered: float, model: np.ndarray, floor: np.ndarray) -> dict[str, Any]:
        """What a run that recovers this share of the floor's gap in loss is worth."""
        column = floor - recovered * (floor - model)
        share = self.share(column, model, f"{100 * recovered:g} % recovered over {floor_name}").to_json()
        loss = self.resamples.mean(column, self.counts).to_json()
        return {"floor": floor_name, "recovered": recovered, "loss": loss, "share": share}

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

    def _estimate(self, f: Any, columns: list[np.ndarray]) -> Estimate:
        """The estimate of f(curve, losses), the curve rebuilt on every resample."""
        members = len(self.endpoints)

        def g(*totals: np.ndarray) -> np.ndarray:
            found = np.array(totals)
            curves = (found[:members] / found[members : 2 * members]).T
            losses = (found[2 * members + 1 :] / found[2 * members]).T
            key = curves.tobytes()  # every figure rebuilds the curve on the same resamples
            if key not in self.rebuilt:
                self.rebuilt[key] = [self._curve(points) for points in curves]
            out = np.full(len(losses), np.nan)
            for i, (curve, own) in enumerate(zip(self.rebuilt[key], losses, strict=True)):
                out[i] = np.nan if curve is None else f(curve, own)
            return out

        data = [*self.sums, *self.sizes, self.counts, *columns]
        return self.resamples.function(g, *data, counts=self.counts, draws=self.draws)


def _worth(curve: MonotoneCurve, loss: float) -> float:
    """C(L); in resamples where L leaves the range: nothing below it, no bound above it, so that what is shared with
    such a model is only known to be at least 0."""
    return {"below": 0.0, "above": math.inf}.get(curve.where(loss), curve.flops_at(loss))


def _big(number: int | float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
