"""What there is to see in each of the five figures that decide: a sentence each, with the record's own numbers."""

from __future__ import annotations

from assay.record.measurement import MeasurementRecord
from assay.report import floors, slices, verdict, words
from assay.report.plain import plain_text

MOST = 3  # rivals that are named


def headline(record: MeasurementRecord) -> str:
    """Of recovered by floor, or of a removal by ablation."""
    if record.removal:
        return (
            f"The longer a bar, the more the model's predictions change without these parts: KL in "
            f"{words.per(record)}. The headline (►) is the ablation that changes them least."
        )
    known = [row for row in record.table if row.recovered.defined]
    if not known:
        return "No figure is defined."
    what = "" if verdict.led(record) is None else ", and is the share of the KL"
    text = f"Each bar runs from its floor (0) towards the model (1){what}; the headline's is marked ►"
    if any((row.recovered.value or 0.0) < 0 for row in known):
        text += "; one to the left of 0 is further from the model than its floor is"
    low, high = (f(known, key=lambda row: row.recovered.value or 0.0) for f in (min, max))
    if low is high:
        return f"{text}."
    return (
        f"{text}. They range from {words.value_text(low.recovered)} over {floors.over(low)} to "
        f"{words.value_text(high.recovered)} over {floors.over(high)}."
    )


def controls(record: MeasurementRecord) -> str:
    """Of the controls with the claim's mark."""
    groups = [group for group in record.controls.groups if group.known and not verdict.near(group)]
    n, good = sum(len(group.known) for group in groups), sum(verdict.good(group) or 0 for group in groups)
    cost = "cost as much as the claim does" if record.removal else "do as well as the claim"
    text = f"Each dot is a control, which should not {cost}; the line is the claim on the same rows"
    if not n:
        return f"{text}."
    return (
        f"{text}. {words.count(good) if good else 'None'} of {words.count(n)} {'reach' if good != 1 else 'reaches'} it."
    )


def worst(record: MeasurementRecord) -> str:
    """Of the worst examples."""
    line = slices.telling_line(record)
    rest = (
        f"Pick a row to see its {'tokens' if words.item(record) != 'example' else 'classes'}, one run beside the other."
    )
    return f"{line}. {rest}" if line else rest


def length(record: MeasurementRecord) -> str:
    """Of length against what is still missing."""
    text = "Further down and to the left is better: shorter, and closer to the model"
    points = [point for point in record.bits.points if point.kl.defined]
    mine = next((point for point in points if point.kind == "claim"), None)
    if mine is None:
        return f"{text}."
    better = [
        p for p in points if p.kind != "claim" and p.bits <= mine.bits and (p.kl.value or 0) <= (mine.kl.value or 0)
    ]
    if not better:
        return f"{text}. No rival is both shorter and closer than the claim."
    names = ", ".join(plain_text(p.name) for p in better[:MOST])
    more = f" and {len(better) - MOST} more" if len(better) > MOST else ""
    return f"{text}. Both shorter and closer than the claim: {names}{more}."


def compute(record: MeasurementRecord) -> str:
    """Of the loss against training compute."""
    found = record.compute
    text = "The line is the best loss that training compute buys in this family of models"
    if not found.recovered.defined:
        more = words.tidy(found.text)
        return f"{text}: {more}." if more else f"{text}."
    own, floor = (words.percent(share) for share in (found.share_explained, found.share_floor))
    return (
        f"{text}. The {'model without these parts' if record.removal else 'explained run'} is worth {own} of what the "
        f"model is, its floor {floor}: the claim recovers {words.percent(found.recovered)} of the difference."
    )
