"""What a loss is worth in training compute (docs/definitions.md#worth-in-training-compute).

The family's curve is rebuilt on the documents measured: this takes its endpoints with each document's loss, and
per-document float64 sums of the systems, and gives shares with intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from assay.measure.compute.calculator import Calculator
from assay.measure.compute.family import Endpoint, problem
from assay.record.compute import Compute, ComputeFigures, CurvePoint, LinearShares, Mark, Member, Place, PowerLawRecord
from assay.score.ids import SystemId
from assay.stats.bootstrap import Resamples
from assay.stats.estimate import Estimate
from assay.stats.fits import MonotoneCurve, power_law

Column = Float64[np.ndarray, " documents"]
LAW_DRAWS = 100  # fits of the power law beside it, on as many resamples of runs and documents
DIFFERENCE = 0.2  # between curve and power law, at which a warning is given
LADDER = (0.5, 0.9, 0.99, 0.999)  # shares of a floor's loss whose worth is given


@dataclass(frozen=True, eq=False)
class LossSums:
    """Sums of the loss in nats by document, [documents] each.

    Attributes:
        documents: their names; counts: their scored tokens (or bytes, where the endpoints' counts are bytes: other
            tokenizers are compared per byte).
        model, explained, floor: of the headline; no floor only for a whole-model claim.
        parts: component -> its own (explained, floor), each explained alone.
        others: systems whose place on the curve is given: rivals, smaller members.
        floors: floors over which the worth of 50, 90, 99 and 99.9 % recovered is given.
    """

    documents: Sequence[str]
    counts: Column
    model: Column
    explained: Column
    floor: Column | None
    parts: Mapping[str, tuple[Column, Column]] = field(default_factory=dict)
    others: Mapping[SystemId, Column] = field(default_factory=dict)
    floors: Mapping[SystemId, Column] = field(default_factory=dict)


def compute(
    family: str,
    endpoints: Sequence[Endpoint],
    loss: LossSums,
    resamples: Resamples,
    *,
    whole_model: bool = False,
    seed: int = 0,
) -> Compute:
    """The compute that the explained run is worth, against the model's and the floor's.

    Args:
        family: its name; endpoints: its members: each stores the loss of every document that may be measured.
        loss: what was measured.
        whole_model: the program is the model: its share is the figure, nothing is "recovered".
    """
    documents, counts = loss.documents, loss.counts
    n = int((counts > 0).sum())
    reason = problem(endpoints, documents, counts)
    if reason:
        return Compute.undefined(reason, family, n)
    used = [i for i, count in enumerate(counts) if count > 0]
    sums, sizes = np.zeros((2, len(endpoints), len(documents)))
    for row, endpoint in enumerate(endpoints):
        for i in used:
            sums[row, i], sizes[row, i] = endpoint.documents[documents[i]]
    calculator = Calculator(endpoints, sums, sizes, np.asarray(counts, dtype=float), resamples)
    if calculator.curve is None:
        return Compute.undefined("the family's lower envelope on these documents is a single member", family, n)
    columns: dict[Place, Column] = {"model": loss.model, "explained": loss.explained}
    columns |= {} if loss.floor is None else {"floor": loss.floor}
    marks: dict[Place, Mark] = {name: calculator.mark(column) for name, column in columns.items()}
    figures = calculator.shares(loss.model, loss.explained, loss.floor, whole_model)
    points = (
        Member(model=e.model, tokens=e.tokens, flops=e.flops, loss=float(own))
        for e, own in zip(endpoints, calculator.losses, strict=True)
    )
    return Compute(
        **vars(figures),
        family=family,
        reason=None,
        share_model=calculator.share(loss.model, None, "the model", own=True),
        points=tuple(points),
        curve=tuple(CurvePoint(flops=flops, loss=level) for flops, level in calculator.curve.sampled()),
        power_law=_law(endpoints, calculator, marks, seed),
        marks=marks,
        parts={name: calculator.shares(loss.model, e, f, False) for name, (e, f) in loss.parts.items()},
        systems=tuple(calculator.place(one, column, loss.model) for one, column in loss.others.items()),
        ladder=tuple(
            calculator.rung(one, share, loss.model, floor) for one, floor in loss.floors.items() for share in LADDER
        ),
        text=_text(figures, marks, calculator.curve, len(loss.parts), whole_model),
    )


def _law(
    endpoints: Sequence[Endpoint], calculator: Calculator, marks: Mapping[Place, Mark], seed: int
) -> PowerLawRecord | None:
    """The power law on the envelope, with a warning where it differs from the curve at a mark."""
    runs = np.array([e.model for e in endpoints])
    try:
        law = power_law(
            calculator.flops,
            calculator.losses,
            runs,
            seed,
            draws=LAW_DRAWS,
            loss_draws=calculator.loss_draws(LAW_DRAWS),
            envelope=True,
        )
    except ValueError:
        return None
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
    return PowerLawRecord(a=law.a, b=law.b, linf=law.linf, intervals=dict(law.intervals), warning=text)


def _text(figures: ComputeFigures, marks: Mapping[Place, Mark], curve: MonotoneCurve, parts: int, whole: bool) -> str:
    """The figures in one or two sentences."""
    mark, model, linear, out = marks["explained"], marks["model"], figures.linear or LinearShares(), list[str]()
    if model.flops is None:
        where = f"{model.where} the family (nearest: {model.nearest})"
        return f"undefined, because the model itself, at {model.loss:.3f} nats, is {where}"
    if mark.flops is None:
        out.append(f"the explained run is {mark.where} the family (nearest: {mark.nearest})")
    else:
        out.append(
            f"the explained run is worth {mark.flops:.2g} FLOPs, "
            f"{_percent(figures.share_explained, linear.share_explained)} of the model's"
        )
    if not whole:
        of = f", the compound of {parts} components" if parts > 1 else ""
        out.append(f"compute recovered{of}: {_percent(figures.recovered, linear.recovered)}")
    floor = marks.get("floor")
    if floor is not None and floor.where == "below":
        out.append(f"the floor alone is below the family, worth less than {100 * curve.flops[0] / model.flops:.2g} %")
    elif floor is not None:
        out.append(f"the floor alone is worth {_percent(figures.share_floor, linear.share_floor)}")
    return "; ".join(out)


def _percent(estimate: Estimate, linear: float | None = None) -> str:
    """A share, and the same by log-linear interpolation."""
    if estimate.value is None:
        return str(estimate)
    other = "" if linear is None else f" ({100 * linear:.3g} % by log-linear interpolation)"
    if estimate.low is None and estimate.high is None:
        return f"{100 * estimate.value:.3g} % (no interval: {estimate.reason}){other}"
    ends = ["open" if end is None else f"{100 * end:.3g}" for end in (estimate.low, estimate.high)]
    return f"{100 * estimate.value:.3g} % [{', '.join(ends)}]{other}"
