"""What a loss is worth in training compute (DEFINITIONS §4): the family's curve, rebuilt on the documents measured.

Takes endpoints with each document's loss and per-document float64 sums of the systems; gives shares with intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64

from assay.measure.family import Endpoint, problem
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.fits import MonotoneCurve, PowerLaw, power_law

Column = Float64[np.ndarray, " documents"]
DRAWS = 200  # resamples of the documents on which the curve is rebuilt
TOLERANCE = 1e-3  # nats beyond an end of the curve: one model's loss, measured in two places
LAW_DRAWS = 100  # fits of the power law beside it, on as many resamples of runs and documents
DIFFERENCE = 0.2  # between curve and power law, at which a warning is given


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


@dataclass(frozen=True)
class Compute:
    """The record's `compute` block.

    Attributes:
        family: its name; reason: why there is no figure at all.
        figures: of the whole claim; of one with several components, the compound.
        share_model: C(L_M) over the compute of the family's best member.
        points: every endpoint's loss on these documents; curve: (FLOPs, loss) for a plot.
        law: the power law beside the curve, and its warning.
        marks: model, explained and floor on the curve.
        parts: the same figures for each component alone.
        text: the figures in words.
    """

    family: str | None
    reason: str | None
    figures: Figures
    share_model: Estimate
    points: tuple[dict[str, Any], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    law: PowerLaw | None = None
    warning: str | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    parts: dict[str, Figures] = field(default_factory=dict)
    text: str = ""

    @property
    def recovered(self) -> Estimate:
        return self.figures.recovered

    @property
    def share_explained(self) -> Estimate:
        return self.figures.share_explained

    @property
    def share_floor(self) -> Estimate:
        return self.figures.share_floor

    @classmethod
    def undefined(cls, reason: str, family: str | None = None, n: int = 0) -> Compute:
        """No family, or none that can be used, and why."""
        none = Estimate.undefined(reason, n)
        return cls(family, reason, Figures(none, none, none), none, text=f"undefined, because {reason}")

    def to_json(self) -> dict[str, Any]:
        law = self.law
        return {
            "family": self.family,
            "reason": self.reason,
            **self.figures.to_json(),
            "share_model": self.share_model.to_json(),
            "points": [dict(point) for point in self.points],
            "curve": [{"flops": flops, "loss": loss} for flops, loss in self.curve],
            "power_law": None
            if law is None
            else {
                "a": law.a,
                "b": law.b,
                "linf": law.linf,
                "intervals": {name: interval.to_json() for name, interval in law.intervals.items()},
                "warning": self.warning,
            },
            "marks": {name: mark.to_json() for name, mark in self.marks.items()},
            "parts": {name: figures.to_json() for name, figures in self.parts.items()},
            "text": self.text,
        }


def compute(
    endpoints: Sequence[Endpoint],
    documents: Sequence[str],
    counts: Column,
    resamples: Resamples,
    *,
    loss_model: Column,
    loss_explained: Column,
    loss_floor: Column | None,
    family: str,
    parts: Mapping[str, tuple[Column, Column]] | None = None,
    whole_model: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Compute:
    """The compute that the explained run is worth, against the model's and the floor's.

    Args:
        endpoints: the family; each stores the loss of every document that may be measured.
        documents: names of the documents measured, in the order of the columns; counts: their scored tokens
            (or bytes, where the endpoints' counts are bytes: other tokenizers are compared per byte).
        loss_model, loss_explained, loss_floor: [documents] sums; no floor only for a whole-model claim.
        parts: component -> its own (explained, floor) sums, each explained alone.
        whole_model: the program is the model: its share is the figure, nothing is "recovered".
        draws: resamples of the documents on which the curve is rebuilt.
    """
    n = int((counts > 0).sum())
    reason = problem(endpoints, documents, counts)
    if reason:
        return Compute.undefined(reason, family, n)
    used = [i for i, count in enumerate(counts) if count > 0]
    sums, sizes = np.zeros((2, len(endpoints), len(documents)))
    for row, endpoint in enumerate(endpoints):
        for i in used:
            sums[row, i], sizes[row, i] = endpoint.documents[documents[i]]
    calculator = _Calculator(endpoints, sums, sizes, np.asarray(counts, dtype=float), resamples, draws)
    if calculator.curve is None:
        return Compute.undefined("the family's lower envelope on these documents is a single member", family, n)
    floors = {} if loss_floor is None else {"floor": loss_floor}
    marks = {
        name: calculator.mark(column)
        for name, column in {"model": loss_model, "explained": loss_explained, **floors}.items()
    }
    figures = calculator.figures(loss_model, loss_explained, loss_floor, whole_model)
    law, warning = _law(endpoints, calculator, marks, seed)
    points = tuple(
        {"model": e.model, "tokens": e.tokens, "flops": e.flops, "loss": float(loss)}
        for e, loss in zip(endpoints, calculator.losses, strict=True)
    )
    return Compute(
        family=family,
        reason=None,
        figures=figures,
        share_model=calculator.share(loss_model, None, "the model"),
        points=points,
        curve=tuple(calculator.curve.sampled()),
        law=law,
        warning=warning,
        marks=marks,
        parts={name: calculator.figures(loss_model, e, f, False) for name, (e, f) in (parts or {}).items()},
        text=_text(figures, marks, calculator.curve, len(parts or {}), whole_model),
    )


class _Calculator:
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
            below = curve.flops_at(losses[1]) if bottom is not None else curve.flops[-1]
            return _worth(curve, losses[0]) / below

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
            model_flops, floor_flops = (curve.flops_at(loss) for loss in losses[:2])
            found = (_worth(curve, losses[2]) - floor_flops) / (model_flops - floor_flops)
            return found if model_flops > floor_flops else float("nan")

        return self._estimate(f, [model, floor, explained])

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
    """C(L), in resamples where L leaves the range: nothing below it, no bound above it."""
    return {"below": 0.0, "above": math.inf}.get(curve.where(loss), curve.flops_at(loss))


def _law(
    endpoints: Sequence[Endpoint], calculator: _Calculator, marks: Mapping[str, Mark], seed: int
) -> tuple[PowerLaw | None, str | None]:
    """The power law on the envelope, and a warning where it differs from the curve at a mark."""
    runs = np.array([e.model for e in endpoints])
    try:
        law = power_law(
            calculator.flops,
            calculator.losses,
            runs,
            seed,
            draws=LAW_DRAWS,
            loss_draws=calculator.loss_draws(),
            envelope=True,
        )
    except ValueError as problem:
        return None, str(problem)
    worst, text = DIFFERENCE, None
    for name, mark in marks.items():
        if mark.flops is None:
            continue
        by_law = law.flops_at(mark.loss)
        apart = math.inf if by_law is None else abs(by_law / mark.flops - 1)
        if apart > worst:
            worst = apart
            other = "reaches it with no compute" if by_law is None else f"gives {by_law:.2g}"
            much = "" if by_law is None else f" ({100 * apart:.0f} % apart)"
            text = f"for the {name}'s loss the curve gives {mark.flops:.2g} FLOPs, the power law {other}{much}"
    return law, text


def _text(figures: Figures, marks: Mapping[str, Mark], curve: MonotoneCurve, parts: int, whole: bool) -> str:
    """The figures in one or two sentences."""
    mark, out = marks["explained"], []
    if mark.flops is None:
        out.append(f"the explained run is {mark.where} the family (nearest: {mark.nearest})")
    else:
        out.append(
            f"the explained run is worth {mark.flops:.2g} FLOPs, {_percent(figures.share_explained)} of the model's"
        )
    if not whole:
        of = f", the compound of {parts} components" if parts > 1 else ""
        out.append(f"compute recovered{of}: {_percent(figures.recovered)}")
    floor, model = marks.get("floor"), marks["model"]
    if floor is not None and floor.where == "below" and model.flops is not None:
        out.append(f"the floor alone is below the family, worth less than {100 * curve.flops[0] / model.flops:.2g} %")
    elif floor is not None:
        out.append(f"the floor alone is worth {_percent(figures.share_floor)}")
    return "; ".join(out)


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return str(estimate)
    ends = ["open" if end is None else f"{100 * end:.3g}" for end in (estimate.low, estimate.high)]
    return f"{100 * estimate.value:.3g} % [{', '.join(ends)}]"


def _big(number: int | float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
