"""Charts of a record: take the record (and the per-token table), give altair charts, and PNG or SVG files of them.

A function gives None where the record has nothing to draw. Colours are the page's light ones; the page maps them to
its dark ones by `DARK`. State is never in colour alone: kinds also differ in shape, and marks are labelled.
"""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any, Literal

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from assay.errors import UserError, nearest
from assay.record.measurement import MeasurementRecord
from assay.record.search import SearchRecord
from assay.report import search_words, verdict, words
from assay.report.charts import frontier
from assay.report.charts.intervals import controls, parts, recovered, slices
from assay.report.style import (
    CLAIM,
    FLOOR,
    FONT,
    INK,
    MODEL,
    MUTED,
    RIVAL,
    chart_of,
    finish,
    interval_tip,
    log_axis,
)
from assay.report.words import as_estimate
from assay.stats.estimate import Estimate


def scaling(record: MeasurementRecord) -> alt.LayerChart | None:
    """Loss against training compute: the family's members, the curve, and where model, explained run and floor lie."""
    compute = record.compute
    rows = [dict(vars(point)) for point in compute.points]
    if not rows:
        return None
    x = alt.X("flops:Q", title="training compute, FLOP (log)", scale=alt.Scale(type="log", nice=False, padding=18))
    x = x.axis(log_axis([row["flops"] for row in rows], "~e"))
    y = alt.Y("loss:Q", title="loss, nats a token", scale=alt.Scale(zero=False, padding=14))
    tip = [alt.Tooltip("model:N"), alt.Tooltip("flops:Q", format=".2e"), alt.Tooltip("loss:Q", format=".4f")]
    tip.append(alt.Tooltip("tokens:Q", format=",", title="training tokens"))
    layers: list[Any] = []
    curve = [dict(vars(point)) for point in compute.curve]
    if curve:
        layers.append(chart_of(curve).mark_line(color=MUTED, strokeWidth=1.5).encode(x=x, y=y))
    layers.append(
        chart_of(rows).mark_point(color=MUTED, size=34, filled=True, opacity=0.75).encode(x=x, y=y, tooltip=tip)
    )
    marks, beyond = [], []
    for name, loss, flops in marks_of(record):
        row = {"what": name, "loss": loss.value, "low": loss.low, "high": loss.high, "flops": flops}
        (marks if flops else beyond).append(row)
    colour = _colours({"model": MODEL, "explained": CLAIM, "floor": FLOOR})
    shape = alt.Shape("what:N", scale=alt.Scale(domain=["model", "explained", "floor"], range=_SHAPES[:3]), title=None)
    tip = [alt.Tooltip("what:N"), alt.Tooltip("flops:Q", format=".2e"), *interval_tip("loss", "loss", ".4f")]
    if beyond:  # outside the family's range there is a loss and no compute: a level line
        rule = chart_of(beyond).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(rule.encode(y=y, color=colour, tooltip=interval_tip("loss", "loss", ".4f")))
    if marks:
        ends = [row for row in marks if row["low"] is not None and row["high"] is not None]
        rule = chart_of(ends).mark_rule(strokeWidth=1.5)
        layers.append(rule.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour))
        dots = chart_of(marks).mark_point(size=150, filled=True, opacity=1, stroke=INK, strokeWidth=0.6)
        layers.append(dots.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip))
    return finish(alt.layer(*layers), height=260)


def marks_of(record: MeasurementRecord) -> list[tuple[str, Estimate, float | None]]:
    """Model, explained run and floor on the compute axis: name, loss with its interval, and FLOP (None: outside)."""
    losses, row = record.losses, record.headline_row
    known = {"model": losses.model, "explained": losses.explained, "floor": row and row.loss_floor}
    marks = record.compute.marks
    found = ((name, known[name], mark) for name, mark in marks.items())
    return [(name, loss if loss and loss.defined else as_estimate(mark.loss), mark.flops) for name, loss, mark in found]


def length(record: MeasurementRecord) -> alt.LayerChart | None:
    """Stand-alone bits against KL: the claim and its rivals; lower left is better."""
    rows = []
    for point in record.bits.points:
        kl = point.kl
        if kl.value is None or point.bits <= 0:
            continue
        row = {"name": point.name, "kind": point.kind, "bits": point.bits}
        ends = {"kl": kl.value, "low": kl.low or kl.value, "high": kl.high or kl.value}
        rows.append(row | {name: max(end, 1e-9) for name, end in ends.items()})
    if not rows:
        return None
    x = alt.X("bits:Q", title="stand-alone bits (log)", scale=alt.Scale(type="log", nice=False, padding=SIDE))
    x = x.axis(log_axis([row["bits"] for row in rows], "~s"))
    y = alt.Y("kl:Q", title="KL to the model, nats a token (log)", scale=alt.Scale(type="log", nice=False, padding=18))
    y = y.axis(log_axis([row[end] for row in rows for end in ("low", "high")], "~g"))
    colour = _colours({"claim": CLAIM, "rival": RIVAL})
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=["claim", "rival"], range=["diamond", "circle"]), title=None)
    tip = [alt.Tooltip("name:N"), alt.Tooltip("bits:Q", format=",.0f"), *interval_tip("kl", "KL", ".4f")]
    bars = chart_of(rows).mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    dots = (
        chart_of(rows)
        .mark_point(size=110, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tip)
    )
    layers: list[Any] = [bars, dots]
    for width, shown in ((NARROW, f"width + {SIDES} < {BROAD}"), (BROAD, f"width + {SIDES} >= {BROAD}")):
        for (dx, dy, align), names in _places(rows, width).items():
            opacity = alt.expr(f"{shown} ? 1 : 0")
            text = chart_of(names).mark_text(align=align, dx=dx, dy=dy, opacity=opacity, fontSize=11, color=INK)
            layers.append(text.encode(x=x, y=y, text="name:N"))
    return finish(alt.layer(*layers), height=320)


def tokens(examples: pa.Table | None, ablation: str | None) -> alt.LayerChart | None:
    """The share of tokens whose KL is at most so much, for the explained run and the floor, from the token table."""
    names = set(examples.column_names) if examples is not None else set()
    rows = []
    for what in ("explained", "floor"):
        column = f"kl_{what}_{ablation}"
        if examples is None or column not in names or examples.num_rows < 20:
            return None
        shares = [i / 60 for i in range(61)]
        found = pc.quantile(examples[column].drop_null().cast(pa.float64()), q=shares).to_pylist()  # pyright: ignore
        rows += [
            {"run": what, "share": s, "kl": max(v, 1e-6)} for s, v in zip(shares, found, strict=True) if v is not None
        ]
    x = alt.X("kl:Q", title="KL on a token, nats (log)", scale=alt.Scale(type="log", nice=False))
    x = x.axis(log_axis([row["kl"] for row in rows], "~g"))
    y = alt.Y("share:Q", title="share of tokens at most", axis=alt.Axis(format="%"))
    dash = alt.StrokeDash("run:N", scale=alt.Scale(domain=["explained", "floor"], range=[[1, 0], [5, 3]]), title=None)
    tip = [alt.Tooltip("run:N"), alt.Tooltip("kl:Q", format=".3g"), alt.Tooltip("share:Q", format=".0%")]
    line = chart_of(rows).mark_line(strokeWidth=2.2, interpolate="step-after")
    colour = _colours({"explained": CLAIM, "floor": FLOOR})
    return finish(alt.layer(line.encode(x=x, y=y, color=colour, strokeDash=dash, tooltip=tip)), height=220)


PICTURES = {
    "recovered": recovered,
    "parts": parts,
    "controls": controls,
    "scaling": scaling,
    "length": length,
    "slices": slices,
}


def picture(record: MeasurementRecord, name: str = "recovered") -> alt.LayerChart:
    """A chart of the record by name, at a fixed width: what `.plot()` shows.

    Raises:
        UserError: no such chart, or the record has nothing to draw in it.
    """
    if name not in PICTURES:
        raise UserError(f"there is no chart '{name}'" + nearest(name, PICTURES))
    chart = PICTURES[name](record)
    if chart is None:
        raise UserError(f"this record has nothing to draw as '{name}'")
    return chart.properties(width=560)


def card(record: MeasurementRecord | SearchRecord) -> dict[str, Any]:
    """The verdict's title over the figures that decide most: recovered by floor and the controls, of a search the
    frontier. A Vega-Lite spec of a fixed width, which `save` and `drawn` take.

    Raises:
        UserError: the record has nothing to draw.
    """
    if isinstance(record, SearchRecord):
        title, said, found = search_words.short(record), search_words.title(record), [frontier.overview(record)]
    else:
        title, said = verdict.verdict(record).title, words.claim_line(record)
        found = [recovered(record), controls(record)]
    specs = [chart.properties(width=560).to_dict() for chart in found if chart is not None]
    if not specs:
        raise UserError("this record has nothing to draw")
    top = {key: specs[0][key] for key in ("$schema", "config") if key in specs[0]}
    data = {name: rows for spec in specs for name, rows in spec.pop("datasets", {}).items()}
    for spec in specs:
        spec.pop("config", None)
        spec.pop("background", None)
    heading = {"text": title, "subtitle": textwrap.wrap(said, 92), "anchor": "start", "fontSize": 16, "offset": 12}
    heading |= {"color": INK, "subtitleColor": MUTED, "font": FONT, "subtitleFont": FONT}
    apart = {"scale": dict.fromkeys(("color", "shape", "size"), "independent")}  # kinds of rows are each chart's own
    return {**top, "title": heading, "vconcat": specs, "resolve": apart, "spacing": 24, "datasets": data}


def drawn(chart: alt.LayerChart | dict[str, Any], form: str) -> bytes:
    """A chart as a picture, without any network.

    Args:
        chart: of this module, or a spec that `card` gave.
        form: "png" (twice the size in points) or "svg".
    """
    import vl_convert

    spec = {**(chart if isinstance(chart, dict) else chart.to_dict()), "background": "white"}
    if spec.get("width") == "container":
        spec["width"] = 560
    return vl_convert.vegalite_to_svg(spec).encode() if form == "svg" else vl_convert.vegalite_to_png(spec, scale=2)


def save(chart: alt.LayerChart | dict[str, Any], path: str | Path) -> Path:
    """Write a chart as PNG or SVG, by the path's ending.

    Raises:
        UserError: another ending.
    """
    path = Path(path)
    if path.suffix not in {".png", ".svg"}:
        raise UserError(f"a picture is written as .png or .svg, not as '{path.suffix or path.name}'")
    path.write_bytes(drawn(chart, path.suffix[1:]))
    return path


_SHAPES = ["square", "diamond", "triangle-up"]


def _colours(colours: dict[str, str]) -> Any:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    field = {"model": "what", "claim": "kind", "headline": "kind", "explained": "run"}[next(iter(colours))]
    return alt.Color(f"{field}:N", scale=scale, title=None)


NARROW, BROAD, SIDES = 330, 600, 60  # least widths of a chart whose names are placed apart, and what its axes take
HIGH, SIDE = 256, 30  # of the plot, and between its sides and the points, pixels
_LETTER = 6.0
Align = Literal["left", "right", "center"]
LabelPlace = tuple[int, int, Align]  # dx, dy, alignment
Box = tuple[float, float, float, float]
_AROUND: tuple[LabelPlace, ...] = (
    *((10, 0, "left"), (-10, 0, "right"), (0, -13, "center"), (0, 14, "center")),
    *((8, -11, "left"), (8, 12, "left"), (-8, -11, "right"), (-8, 12, "right")),
)


def _places(rows: list[dict[str, Any]], width: int) -> dict[LabelPlace, list[dict[str, Any]]]:
    """The points whose names lie on nothing else in a chart of at least this width, by where their names stand.

    The claim's comes first, then those on the frontier. Any other name is left to the tooltip and the table.
    """
    xs, ys = ([math.log(row[key]) for row in rows] for key in ("bits", "kl"))
    tops, bottoms = ([math.log(row[key]) for row in rows] for key in ("high", "low"))
    plot = float(width - SIDES - 2 * SIDE)
    across, down = plot / ((max(xs) - min(xs)) or 1.0), HIGH / ((max(tops) - min(bottoms)) or 1.0)
    at = [(across * (x - min(xs)), down * (max(tops) - y)) for x, y in zip(xs, ys, strict=True)]
    bars = [(down * (max(tops) - top), down * (max(tops) - end)) for top, end in zip(tops, bottoms, strict=True)]
    taken = [(x - 6, min(y - 6, top), x + 6, max(y + 6, end)) for (x, y), (top, end) in zip(at, bars, strict=True)]
    best, frontier = math.inf, set[int]()
    for i in sorted(range(len(rows)), key=lambda i: (xs[i], ys[i])):
        frontier |= {i} if ys[i] < best else set()
        best = min(best, ys[i])
    found: dict[LabelPlace, list[dict[str, Any]]] = {}
    for i in sorted(range(len(rows)), key=lambda i: (rows[i]["kind"] != "claim", i not in frontier, ys[i])):
        others = [box for j, box in enumerate(taken) if j != i]
        boxes = ((place, _box(at[i], _LETTER * len(rows[i]["name"]), place)) for place in _AROUND)
        kept = next(((place, box) for place, box in boxes if _free(box, plot, others)), None)
        if kept is not None:
            found.setdefault(kept[0], []).append(rows[i])
            taken.append(kept[1])
    return found


def _box(at: tuple[float, float], size: float, place: LabelPlace) -> Box:
    x, y = at[0] + place[0], at[1] + place[1]
    left = x - {"left": 0.0, "right": size, "center": size / 2}[place[2]]
    return left, y - 7, left + size, y + 7


def _free(box: Box, plot: float, taken: list[Box]) -> bool:
    inside = box[0] >= -SIDE and box[2] <= plot + SIDE and box[1] >= -16 and box[3] <= HIGH + 16
    return inside and not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
