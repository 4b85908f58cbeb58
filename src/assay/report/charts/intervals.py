"""Figures of a record as rows of marks: recovered by floor, controls beside the claim, each component alone, slices."""

from __future__ import annotations

from collections import Counter

import altair as alt

from assay.record.controls import ControlGroup
from assay.record.measurement import MeasurementRecord
from assay.report import floors as floor_names
from assay.report import words
from assay.report.charts.strips import Look, StripMark, StripRow, strips
from assay.report.plain import plain_text
from assay.report.slices import PARTITIONS, phrase
from assay.report.style import CLAIM, CONTROL, FLOOR, INK, RIVAL
from assay.report.verdict import led, many, near
from assay.stats.estimate import Estimate

_LEADS, _OTHER = Look(CLAIM, "diamond", 130, bar=True), Look(RIVAL, "circle", 70, bar=True)
_MOST = 40  # slices that are drawn


def recovered(record: MeasurementRecord) -> alt.LayerChart | None:
    """Recovered with its interval for every floor and ablation; of a removal the KL under every ablation."""
    rows, floors = [], Counter(row.floor for row in record.table)
    for row in record.table:
        figure = row.kl_explained if record.removal else row.recovered
        shown = words.value_text(figure, 3 if record.removal else 2)
        text = f"{shown} {words.interval_text(figure, 3 if record.removal else 2)}".rstrip()
        name = row.ablation if record.removal else f"over {floor_names.over(row)}"
        name += f", {row.ablation}" if row.ablation not in name and floors[row.floor] > 1 else ""
        name += f", {row.option}" if row.option else ""
        name = f"► {name}" if row.headline else name
        rows.append(StripRow(name, [StripMark(name, figure)], text, "headline" if row.headline else "other"))
    looks = {"headline": _LEADS, "other": _OTHER}
    return strips(rows, _title(record, record.removal), looks, share=not record.removal)


def _title(record: MeasurementRecord, kl: bool) -> str:
    """An axis's; where a metric of the task's own leads it says that the share is another one."""
    if kl:
        return f"KL when removed, {words.per(record)}"
    return "recovered (R_D)" if led(record) is None else "recovered of the KL (R_D)"


def parts(record: MeasurementRecord) -> alt.LayerChart | None:
    """Each component alone beside the compound of them all: recovered, or the KL of a removal."""
    remove, whole = record.removal, record.parts.compound
    rows = [(row, "one alone") for row in record.parts.components] + ([(whole, "all at once")] if whole else [])
    named = [(row.component, kind, row.kl_explained if remove else row.recovered) for row, kind in rows]
    title = _title(record, remove)
    drawn = [
        StripRow(name, [StripMark(name, figure)], words.value_text(figure, 3 if remove else 2), kind)
        for name, kind, figure in named
    ]
    return strips(drawn, title, {"all at once": _LEADS, "one alone": _OTHER}, share=not remove)


def controls(record: MeasurementRecord) -> alt.LayerChart | None:
    """Every control as a dot that names itself, a row a group; the claim on the same rows is the line across them."""
    kl = any(group.measure == "kl" for group in record.controls.groups)
    rows = []
    for group in record.controls.groups:
        if not group.known:
            continue
        dots = [
            StripMark(plain_text(name), Estimate(value, None, None, 0, words.BARE))
            for name, value in sorted(named(group), key=lambda one: one[1])
        ]
        best = dots[-1]
        said = f"{'most' if kl else 'best'} {words.number(best.figure.value or 0.0, 3 if kl else 2)}"
        said += f" · p {words.p_text(group.p)}" if group.p is not None else ""
        kind = "near" if near(group) else "control"
        rows.append(StripRow(group_name(group), dots, said, kind, group.claim))
    looks = {"control": Look(INK, "circle", 50, heap=True), "near": Look(CONTROL, "circle", 50, heap=True)}
    title = _title(record, kl)
    return strips(rows, title, looks, share=not kl, line="the claim, on the same rows")


def named(group: ControlGroup) -> list[tuple[str, float]]:
    """Every control of a group that has a figure: its name and the figure."""
    names = [*group.names, *[""] * len(group.values)]
    return [(name or group.name, value) for name, value in zip(names, group.values, strict=False) if value is not None]


def group_name(group: ControlGroup) -> str:
    """How many controls of which name, as "19 other heads"; a single one goes by what it is."""
    n = len(group.known)
    if n == 1 and group.names and plain_text(group.names[0]) not in group.name:
        return f"{plain_text(group.name)}: {words.few_names(plain_text(group.names[0]), 3)}"
    return many(group) if n > 1 else plain_text(group.name)


def slices(record: MeasurementRecord, by: str = "source") -> alt.LayerChart | None:
    """KL of the explained run by slice (`source`, `position`, `token_class`, `document`, ...), with intervals."""
    rows = []
    for part in record.residual.slices.get(by, ())[:_MOST]:
        name = phrase(by, part.slice, words.item(record)) if by in PARTITIONS else plain_text(part.slice)
        text = f"{words.value_text(part.kl, 3)} {words.interval_text(part.kl, 3)}".rstrip()
        rows.append(StripRow(name, [StripMark(name, part.kl)], text, "slice"))
    look = Look(FLOOR, "circle", 60, bar=True)
    return strips(rows, f"KL to {words.target(record)}, {words.per(record)}", {"slice": look}, share=False)
