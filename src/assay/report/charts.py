"""Charts of a record: take the record (and the per-token table), give altair charts, and PNG or SVG files of them.

A function gives None where the record has nothing to draw. Colours are the page's light ones; the page maps them to
its dark ones by `DARK`. State is never in colour alone: kinds also differ in shape, and marks are labelled.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from assay.errors import UserError, nearest
from assay.record.measurement import MeasurementRecord
from assay.report.intervals import parts, recovered
from assay.report.style import (
    CLAIM,
    CONTROL,
    FLOOR,
    INK,
    MODEL,
    MUTED,
    RIVAL,
    chart_of,
    finish,
    interval_tip,
    log_axis,
    nice_step,
)
from assay.report.words import as_estimate
from assay.stats.estimate import Estimate


def controls(record: MeasurementRecord, index: int = 0) -> alt.LayerChart | None:
    """Histogram of one group of controls, R_D (KL for a remove claim), and the claim's figure on the same rows, marked.

    The headline is on other rows (all of them) and is not drawn among them.
    """
    groups = record.controls.groups
    if index >= len(groups) or not groups[index].known:
        return None
    values, claim, kl = groups[index].known, groups[index].claim, groups[index].measure == "kl"
    what = "KL" if kl else "recovered"
    ends = [v for v in (claim.value, claim.low, claim.high) if v is not None]
    low, high = min(values + ends + [0.0]), max(values + ends + ([] if kl else [1.0]))
    high = high if high > low else low + 1e-3
    if low < -1.0:  # one disastrous control must not squeeze all others into one bar
        low = max(low, min([values[len(values) // 10] - 0.5, *ends]))
    # The bins are ours, so that equal records give equal pictures at every width.
    step = nice_step((high - low) / 30)
    counts: dict[int, int] = {}
    for value in values:
        place = math.floor(max(value, low) / step + 1e-9)
        counts[place] = counts.get(place, 0) + 1
    bins = [{"from": round(k * step, 9), "to": round((k + 1) * step, 9), "n": n} for k, n in sorted(counts.items())]
    edges = [math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step]
    x = alt.X(
        "from:Q",
        bin="binned",
        title="KL, nats a token" if kl else "recovered (R_D)",
        scale=alt.Scale(domain=[round(e, 9) for e in edges], nice=False),
    )
    most = max(counts.values())
    every = max(1, round(nice_step(most / 5)))
    ticks = alt.Axis(values=list(range(0, most + 1, every)), format=",d")
    y = alt.Y("n:Q", title="controls", axis=ticks, scale=alt.Scale(domain=[0, 1.25 * most]))  # the name stands above
    tip = [alt.Tooltip("from:Q"), alt.Tooltip("to:Q"), alt.Tooltip("n:Q", title="controls")]
    x = x.axis(alt.Axis(labelFlush=False, labelOverlap="greedy", labelSeparation=8, tickCount=7, format="~g"))
    bars = chart_of(bins).mark_bar(color=CONTROL, binSpacing=1)
    bars = bars.encode(x=x, x2="to:Q", y=y, tooltip=tip)
    layers: list[Any] = [bars]
    if claim.value is not None:
        known = claim.low is not None and claim.high is not None
        mark = [{"value": claim.value, "low": claim.low, "high": claim.high, "name": "the claim, same rows"}]
        if known:
            band = chart_of(mark).mark_rect(color=CLAIM, opacity=0.18)
            layers.append(band.encode(x="low:Q", x2="high:Q", tooltip=interval_tip("value", what)))
        rule = chart_of(mark).mark_rule(color=CLAIM, strokeWidth=2.5)
        layers.append(rule.encode(x="value:Q", tooltip=interval_tip("value", what)))
        side = "right" if (claim.value - edges[0]) > 0.5 * (edges[1] - edges[0]) else "left"
        text = chart_of(mark).mark_text(color=CLAIM, align=side, dx=-6 if side == "right" else 6, y=9, fontWeight=600)
        layers.append(text.encode(x="value:Q", text="name:N"))
    return finish(alt.layer(*layers), height=150)


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
    return finish(alt.layer(*layers), height=280)


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
    x = alt.X("bits:Q", title="stand-alone bits (log)", scale=alt.Scale(type="log", nice=False, padding=30))
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
    for row, (dx, dy, align) in zip(rows, _places(rows), strict=True):
        # Too narrow for names: the table below the chart has them, and so has the tooltip.
        style: dict[str, Any] = {"align": align, "dx": dx, "dy": dy, "opacity": alt.expr("width < 420 ? 0 : 1")}
        text = chart_of([row]).mark_text(**style, fontSize=11, color=INK, limit=150)
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


def slices(record: MeasurementRecord, by: str = "source") -> alt.LayerChart | None:
    """KL of the explained run by slice (`source`, `position`, `token_class`, `document`), with intervals."""
    rows = []
    for part in record.residual.slices.get(by, ())[:40]:
        kl = part.kl
        if kl.value is not None:
            ends = {"low": kl.value if kl.low is None else kl.low, "high": kl.value if kl.high is None else kl.high}
            rows.append({"slice": part.slice, "kl": kl.value, **ends})
    if not rows:
        return None
    y = alt.Y("slice:N", title=None, sort=None)
    bars = chart_of(rows).mark_bar(color=CONTROL, height={"band": 0.6})
    tip = ["slice:N", *interval_tip("kl", "KL", ".4f")]
    bars = bars.encode(x=alt.X("kl:Q", title="KL to the model, nats a token"), y=y, tooltip=tip)
    rule = chart_of(rows).mark_rule(strokeWidth=2, color=INK).encode(x=alt.X("low:Q"), x2="high:Q", y=y)
    return finish(alt.layer(bars, rule), height=max(80, 26 * len(rows)))


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


def save(chart: alt.LayerChart, path: str | Path) -> Path:
    """Write a chart as PNG (twice the size in points) or SVG, by the path's ending, without any network.

    Raises:
        UserError: another ending.
    """
    path = Path(path)
    if path.suffix not in {".png", ".svg"}:
        raise UserError(f"a picture is written as .png or .svg, not as '{path.suffix or path.name}'")
    import vl_convert

    spec = chart.properties(background="white").to_dict()
    if spec.get("width") == "container":
        spec["width"] = 560
    if path.suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, scale=2))
    return path


_SHAPES = ["square", "diamond", "triangle-up"]


def _colours(colours: dict[str, str]) -> Any:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    field = {"model": "what", "claim": "kind", "headline": "kind", "explained": "run"}[next(iter(colours))]
    return alt.Color(f"{field}:N", scale=scale, title=None)


def _places(rows: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """Where each point's name goes (dx, dy, alignment) so that few overlap, on a nominal 700 × 280 plot."""
    xs, ys = [math.log(row["bits"]) for row in rows], [math.log(row["kl"]) for row in rows]
    wide, high = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    at = [(640 * (x - min(xs)) / wide, 244 * (max(ys) - y) / high) for x, y in zip(xs, ys, strict=True)]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    places: list[tuple[int, int, str]] = []
    for row, (x, y) in zip(rows, at, strict=True):
        size = min(150, 6.2 * len(row["name"]))
        options = [(10, 0, "left"), (-10, 0, "right"), (0, -14, "center"), (0, 15, "center"), (9, -12, "left")]
        options += [(9, 13, "left"), (-9, -12, "right"), (-9, 13, "right")]
        best, least = options[0], math.inf
        for dx, dy, align in options:
            left = x + dx - {"left": 0.0, "right": size, "center": size / 2}[align]
            box = (left, y + dy - 7, left + size, y + dy + 7)
            clash = sum(
                max(0.0, min(box[2], t[2]) - max(box[0], t[0])) * max(0.0, min(box[3], t[3]) - max(box[1], t[1]))
                for t in taken
            )
            clash += 40 * (
                max(0.0, -30 - box[0]) + max(0.0, box[2] - 670) + max(0.0, -20 - box[1]) + max(0.0, box[3] - 265)
            )
            if clash < least - 1e-9:
                best, least, kept = (dx, dy, align), clash, box
        taken.append(kept)
        places.append(best)
    return places
