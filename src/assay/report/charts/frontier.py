"""Charts of a frontier: figures against the realised size with their intervals, and the band of random circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from assay.record.search import MethodRecord, Point, SearchRecord
from assay.report.style import (
    CONTROL,
    MUTED,
    SERIES,
    SHAPES,
    chart_of,
    finish,
    log_axis,
)
from assay.report.words import count, number, percent, said
from assay.report.words import share as exact
from assay.stats.estimate import Estimate

LEAST = -0.5  # shares below are drawn at the lower edge, as a triangle
LEAST_KL = 1e-6  # nats a token: less is drawn there
MEASURES = {
    "recovered": "recovered (R_D)",
    "recovered_loss": "recovered (R_L)",
    "gap": "|1 − R_L|",
    "kl": "KL, nats a token (log)",
    "accuracy": "accuracy",
}


def methods_of(record: SearchRecord) -> list[MethodRecord]:
    """The methods, the one whose circuit was written first."""
    return sorted(record.methods, key=lambda method: method.method != record.circuit.method)


def overview(record: SearchRecord, measure: str = "recovered", height: int = 320) -> alt.LayerChart | None:
    """All methods against the number of edges; None where no figure of this kind is defined."""
    methods = methods_of(record)
    rows = [row for method in methods for row in _rows(method, measure)]
    return _chart(rows, [method.method for method in methods], measure, height, legend=measure == "recovered")


def band(record: SearchRecord, index: int, height: int = 230) -> alt.LayerChart | None:
    """One method beside random circuits of the same sizes: 5 % to 95 %, their median; None without controls."""
    methods = methods_of(record)
    if index >= len(methods):
        return None
    around = []
    for point in _sizes(methods[index]):
        if (control := point.control) is not None:
            text = f"median {number(control.median, 2)} [{number(control.low, 2)}, {number(control.high, 2)}]"
            ends = {key: max(LEAST, getattr(control, key)) for key in ("low", "high", "median")}
            around.append({"edges": point.edges, "controls": text, "n": control.n, **ends})
    if not around:
        return None
    x = _x([row["edges"] for row in around])
    tip = [alt.Tooltip("edges:Q", format=","), alt.Tooltip("controls:N", title="random circuits [5 %, 95 %]")]
    tip.append(alt.Tooltip("n:Q", title="how many", format=","))
    area = chart_of(around).mark_area(color=CONTROL, opacity=0.55, line=False)
    middle = chart_of(around).mark_line(color=MUTED, strokeWidth=1.2, strokeDash=[4, 3])
    rows = _rows(methods[index], "recovered", on_controls=True)
    y = _y("recovered", [*rows, *around])
    under = [
        area.encode(x=x, y=alt.Y("low:Q", title=MEASURES["recovered"], scale=y), y2="high:Q"),
        middle.encode(x=x, y=alt.Y("median:Q", scale=y)),
        # Wide and invisible rules, so that the band has a tooltip at each size.
        chart_of(around)
        .mark_rule(strokeWidth=9, opacity=0)
        .encode(x=x, y=alt.Y("low:Q", scale=y), y2="high:Q", tooltip=tip),
    ]
    name = methods[index].method
    return _chart(rows, [name], "recovered", height, legend=False, under=under, first=index, scale=y)


def _sizes(method: MethodRecord) -> list[Point]:
    """The sizes that a logarithmic axis has room for."""
    return [point for point in method.sizes if point.edges > 0]


def _rows(method: MethodRecord, measure: str, *, on_controls: bool = False) -> list[dict[str, Any]]:
    """A row a size whose figure is defined.

    Args:
        on_controls: a circuit beside controls as it is on theirs, which are fewer rows.
    """
    rows = []
    for point in _sizes(method):
        figure: Estimate = getattr(point, measure)
        if on_controls and point.control is not None:
            figure = point.control.own
        value = figure.value
        if value is None:
            continue
        text = percent(figure) if measure == "accuracy" else said(figure, 3 if measure == "kl" else 2)
        size = f"{count(point.edges)} ({exact(point.share)})" if point.share > 0 else count(point.edges)
        row = {"method": method.method, "edges": point.edges, "size": size, "figure": text}
        ends = {"value": value, "low": figure.low, "high": figure.high}
        ends = {key: value if end is None else end for key, end in ends.items()}
        if measure in ("recovered", "recovered_loss"):
            row["below"] = value < LEAST
            ends = {key: max(LEAST, end) for key, end in ends.items()}
        if measure == "kl":
            ends = {key: max(LEAST_KL, end) for key, end in ends.items()}
        line = None if row.get("below") else ends["value"]  # a line ends before what is not drawn where it is
        rows.append(row | ends | {"line": line})
    return rows


def _chart(
    rows: list[dict[str, Any]],
    names: Sequence[str],
    measure: str,
    height: int,
    *,
    legend: bool,
    under: Sequence[Any] = (),
    first: int = 0,
    scale: Any = None,
) -> alt.LayerChart | None:
    if not rows:
        return None
    x = _x([row["edges"] for row in rows])
    scale = scale or _y(measure, rows)
    y = alt.Y("value:Q", title=MEASURES[measure], scale=scale)
    if measure == "kl":
        y = y.axis(log_axis([row[end] for row in rows for end in ("low", "high")], "~g"))
    elif measure == "accuracy":
        y = y.axis(alt.Axis(format="%"))
    long = max(len(name) for name in names) > 22  # then fewer side by side, none of them cut
    columns = alt.expr(f"width < 420 ? 2 : {2 if long else 4}")
    limit = alt.expr(f"width < 420 ? 130 : {340 if long else 150}")
    shown = alt.Legend(columns=columns, labelLimit=limit) if legend and len(names) > 1 else None
    places = range(first, first + len(names))
    colours = [SERIES[i % len(SERIES)] for i in places]
    shapes = [SHAPES[i % len(SHAPES)] for i in places]
    dashes = [[1, 0] if i < len(SERIES) else [4, 2] for i in places]
    colour = alt.Color("method:N", title=None, legend=shown, scale=alt.Scale(domain=list(names), range=colours))
    shape = alt.Shape("method:N", title=None, legend=shown, scale=alt.Scale(domain=list(names), range=shapes))
    dash = alt.StrokeDash("method:N", legend=None, scale=alt.Scale(domain=list(names), range=dashes))
    tip = [alt.Tooltip("method:N"), alt.Tooltip("size:N", title="edges"), alt.Tooltip("figure:N", title=measure)]
    inside = [row for row in rows if not row.get("below")]
    line = chart_of(rows).mark_line(strokeWidth=1.6, opacity=0.75)
    rule = chart_of(inside).mark_rule(strokeWidth=1.4, opacity=0.8)
    dots = chart_of(inside).mark_point(size=44, filled=True, opacity=1)
    layers = [
        *under,
        line.encode(x=x, y=alt.Y("line:Q", title=MEASURES[measure], scale=scale), color=colour, strokeDash=dash),
        rule.encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour),
        dots.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip),
    ]
    low = [row for row in rows if row.get("below")]
    if low:
        marks = chart_of(low).mark_text(text="▾", fontSize=12, dy=-3).encode(x=x, y=y, color=colour, tooltip=tip)
        layers.append(marks)
    if measure in ("recovered", "recovered_loss"):
        level = chart_of([{"at": 0.0}, {"at": 1.0}]).mark_rule(color=MUTED, strokeDash=[2, 3])
        layers.insert(0, level.encode(y=alt.Y("at:Q", scale=scale)))
    return finish(alt.layer(*layers), height=height)


def _x(edges: Sequence[float | int]) -> Any:
    axis = log_axis([*edges], "~s")
    x = alt.X("edges:Q", title="edges kept (log)", scale=alt.Scale(type="log", nice=False, padding=12))
    return x.axis(axis)


def _y(measure: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    ends = [row[end] for row in rows for end in ("low", "high")]
    bottom = max(LEAST, min([0.0, *ends]) - 0.03)
    if measure == "recovered":
        return alt.Scale(domain=[bottom, 1.0], nice=False)
    if measure == "recovered_loss":
        return alt.Scale(domain=[bottom, max(1.1, min(2.0, max(ends, default=1.0)))], nice=False, clamp=True)
    if measure == "gap":
        return alt.Scale(domain=[0.0, max(0.2, min(2.0, max(ends, default=1.0)))], nice=False, clamp=True)
    if measure == "accuracy":
        return alt.Scale(domain=[0.0, 1.0])
    return alt.Scale(type="log", nice=False, padding=10)
