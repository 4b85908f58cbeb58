"""A row a figure: value and interval as a dot on a line; an open end runs dashed to the edge, undefined is a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from assay.record.measurement import MeasurementRecord
from assay.report.plain import plain_text
from assay.report.style import CLAIM, MUTED, RIVAL, chart_of, finish
from assay.report.words import as_estimate, number, said
from assay.stats.estimate import Estimate

LEAST = -5.0  # shares below are drawn at the left edge, with their value


def dots(
    rows: Sequence[tuple[str, str, Estimate | None]],
    title: str,
    *,
    share: bool = True,
    kinds: tuple[str, str] = ("", ""),
) -> alt.LayerChart | None:
    """Figures with their intervals, one below the other; None where no figure is defined.

    Args:
        rows: name, which of the two kinds, and the figure.
        title: the axis's; share: 1 is the most there can be, and 0 is drawn as a line.
        kinds: the kind that stands out, and the other one; empty for no legend.
    """
    found = [(plain_text(name), kind, as_estimate(figure)) for name, kind, figure in rows]
    ends = [x for _, _, f in found for x in (f.value, f.low, f.high) if x is not None]
    if not ends:
        return None
    low, high = min([*ends, 0.0]), max([*ends, 1.0 if share else 0.0])
    if share:
        low = max(low, LEAST)
    pad = 0.04 * (high - low or 1.0)
    left, right = (low - pad if low < 0 else 0.0), (high if share and high <= 1 else high + pad)
    drawn: list[dict[str, Any]] = []
    open_ends: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    for place, (name, kind, figure) in enumerate(found):
        row = {"place": place, "name": name, "kind": kind, "text": said(figure)}
        value = figure.value
        if value is None:
            words.append(row | {"word": "undefined", "at": left})
            continue
        if value < left:
            words.append(row | {"word": f"◂ {number(value, 1)}", "at": left})
            continue
        both = {"low": figure.low, "high": figure.high}
        known = {end: max(left, value if x is None else x) for end, x in both.items()}
        drawn.append(row | {"value": value, **known})
        if figure.low is None:
            open_ends.append(row | {"from": left, "to": value})
        if figure.high is None:
            open_ends.append(row | {"from": value, "to": right})
    x = alt.X("value:Q", title=title, scale=alt.Scale(domain=[left, right], nice=False), axis=alt.Axis(tickCount=8))
    y = alt.Y("name:N", title=None, sort=[name for name, _, _ in found], axis=alt.Axis(labelLimit=260))
    y = y.scale(domain=[name for name, _, _ in found])
    scale = alt.Scale(domain=list(kinds), range=[CLAIM, RIVAL])
    legend = alt.Legend() if any(kinds) else None
    colour = alt.Color("kind:N", scale=scale, title=None, legend=legend)
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=list(kinds), range=["diamond", "circle"]), title=None)
    shape = shape.legend(legend)
    tip = [alt.Tooltip("name:N", title="what"), alt.Tooltip("text:N", title="figure")]
    layers: list[Any] = []
    if left < 0:
        layers.append(chart_of([{"at": 0.0}]).mark_rule(color=MUTED, strokeDash=[2, 3]).encode(x=alt.X("at:Q")))
    if drawn:
        rules = chart_of(drawn).mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
        marks = chart_of(drawn).mark_point(size=90, filled=True, opacity=1)
        layers += [rules, marks.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip)]
    if open_ends:
        dashed = chart_of(open_ends).mark_rule(strokeWidth=1.5, strokeDash=[3, 3])
        layers.append(dashed.encode(x=alt.X("from:Q"), x2="to:Q", y=y, color=colour, tooltip=tip))
    if words:
        text = chart_of(words).mark_text(align="left", dx=4, fontStyle="italic", fontSize=11, color=MUTED)
        layers.append(text.encode(x=alt.X("at:Q"), y=y, text="word:N", tooltip=tip))
    return finish(alt.layer(*layers), height=max(80, 28 * len(found)))


def recovered(record: MeasurementRecord) -> alt.LayerChart | None:
    """Recovered with its interval for every floor and ablation."""
    rows = []
    for row in record.table:
        option = f", {row.option}" if row.option else ""
        kind = "headline" if row.headline else "other"
        rows.append((f"{row.ablation}{option} · {row.floor}", kind, row.recovered))
    return dots(rows, "recovered (R_D)", kinds=("headline", "other"))


def parts(record: MeasurementRecord) -> alt.LayerChart | None:
    """Each component alone beside the compound of them all: recovered, or the KL of a remove claim."""
    remove, whole = record.removal, record.parts.compound
    rows = [(row, "one alone") for row in record.parts.components] + ([(whole, "all at once")] if whole else [])
    named = [(row.component, kind, row.kl_explained if remove else row.recovered) for row, kind in rows]
    title = "KL when removed, nats a token" if remove else "recovered (R_D)"
    return dots(named, title, share=not remove, kinds=("all at once", "one alone"))
