"""The axis of strength as a table: what the terminal and the page show of it."""

from __future__ import annotations

from collections.abc import Callable

from assay.record.headline import OWN_FLOORS
from assay.record.measurement import MeasurementRecord
from assay.record.strength import StrengthRow, Strengths
from assay.report import words
from assay.report.plain import plain_text
from assay.stats.estimate import Estimate

HOLDS = 0.5  # of the floor: above it with the whole interval a claim explains more than it leaves
_IS = {
    "mean": "at its mean",
    "resampled": "resampled, each part from a row of its own",
    "shared adversarial": "at the worst constants that it could take (shared adversarial)",
}


def columns(found: Strengths, loss: str) -> tuple[str, ...]:
    """The heads of its table; `loss`: what the task's own metric is called."""
    worth = ("compute",) if any(one.compute is not None and one.compute.defined for one in found.rows) else ()
    return ("the rest is", "recovered", "KL", loss, *worth)


def rows(found: Strengths, figure: Callable[[float], float] | None = None) -> list[tuple[str | Estimate, ...]]:
    """A row a strength; `figure`: of a loss that of the task's own metric, which falls as it rises."""
    wide = len(columns(found, "")) > 4
    return [
        (
            _is(one),
            one.recovered,
            one.kl,
            one.loss if figure is None else one.loss.map(figure, decreasing=True),
            *([one.compute or ""] if wide else []),
        )
        for one in found.rows
    ]


def sees(record: MeasurementRecord) -> str:
    """What there is to see."""
    found = record.strength
    if found is None or not found.rows:
        return "" if found is None else f"Not measured, because {plain_text(found.reason or 'there are no rows')}."
    known = [one for one in found.rows if one.recovered.defined]
    what = "recovered is over one floor in all rows, that in which everything is at its mean"
    if len(known) < 2:
        return f"How hard everything else is ablated: {what}."
    most, least = max(known, key=_value), min(known, key=_value)
    said = f"From {words.said(most.recovered)} where the rest is {_is(most)} to {words.said(least.recovered)} "
    said += f"where it is {_is(least)}: {what}."
    return f"{said} Were the rest left as it is, this would be the model itself."


def line(record: MeasurementRecord) -> str:
    """A sentence for the verdict, of a claim that holds only where the rest is left alone or at its mean."""
    found = record.strength
    if found is None or record.headline.floor not in OWN_FLOORS:
        return ""
    known = [one for one in found.rows if one.recovered.defined]
    good = [one for one in known if (one.recovered.low or 0.0) > HOLDS]
    bad = [one for one in known if one.recovered.high is not None and one.recovered.high < HOLDS]
    if not good or not bad:
        return ""
    worst = min(bad, key=_value)
    where = " or ".join(_is(one) for one in good)
    return (
        f"It holds only where everything else is {where}: {_is(worst)}, "
        f"{words.said(worst.recovered)} of the same floor is recovered."
    )


def _is(one: StrengthRow) -> str:
    """What everything else is at, in words."""
    return _IS.get(one.strength) or f"filled by {plain_text(one.ablation)}"


def _value(one: StrengthRow) -> float:
    return one.recovered.value or 0.0
