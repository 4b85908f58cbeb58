"""A measurement in a notebook: the claim, its figures and two charts, as HTML that needs no script and no network."""

from __future__ import annotations

import base64
import zlib
from html import escape

import altair as alt

from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.cells import nines_cell, row_name, sample
from assay.report.charts import charts
from assay.report.plain import plain_text
from assay.report.style import CLAIM, FLOOR, FONT, GRID, INK, MUTED
from assay.report.verdict import as_figure, metric, verdict

PICTURES = ("recovered", "controls", "parts", "slices", "scaling", "length")  # the first of these that can be drawn
CHARTS = 2
WIDTH = 400  # of a chart
SAID = {
    "recovered": "by floor and ablation",
    "controls": "controls, and the claim on their rows",
    "parts": "each part alone, and all at once",
    "slices": "KL by source",
    "scaling": "loss and training compute",
    "length": "KL and length",
}


def card(record: MeasurementRecord) -> str:
    """What `result` shows of a record: an element that stands alone, light on every page."""
    head = f"level: {record.level} · {plain_text(sample(record.task))}"
    blocks = "".join(_figure(*one) for one in _figures(record))
    alarm = f"color:{FLOOR}" if record.fired else f"color:{MUTED}"
    checks = f'<p style="margin:.5em 0 0;{alarm}">checks: {escape(words.checks_line(record))}</p>'
    shown = "".join(_picture(name, chart) for name, chart in list(pictures(record).items())[:CHARTS])
    return (
        f'<div style="font:14px/1.4 {escape(FONT)};color:{INK};background:#fff;border:1px solid {GRID};'
        'border-radius:8px;padding:14px 18px;max-width:980px;box-sizing:border-box">'
        f'<p style="margin:0;color:{MUTED}">{escape(head)}</p>'
        f'<p style="margin:.2em 0">{escape(words.claim_line(record))}</p>'
        f'<p style="margin:0 0 .7em;font-size:1.2em;font-weight:600">{escape(verdict(record).title)}</p>'
        f'<div style="display:flex;flex-wrap:wrap;gap:.6em 2.2em">{blocks}</div>{checks}'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px 24px;margin-top:.8em">{shown}</div></div>'
    )


def pictures(record: MeasurementRecord) -> dict[str, alt.LayerChart]:
    """The pictures that a record has figures for, by name."""
    found = {name: charts.PICTURES[name](record) for name in PICTURES}
    return {name: chart for name, chart in found.items() if chart is not None}


def _figures(record: MeasurementRecord) -> list[tuple[str, str, str]]:
    """What stands beside one another: name, figure and what is said below it; the first leads."""
    row, named = record.headline_row, metric(record)
    if row is None:
        return [("recovered", *_parts(record.recovered))]
    under = f"under {row_name(row)}"
    if record.removal:
        found = [(f"KL, nats a {words.item(record)}", *_parts(row.kl_explained, 3))]
        found.append(("necessity", *_parts(row.necessity)))
        change = row.nats if named is None else as_figure(row.nats, named.change)
        found.append((f"change of the {named.name if named else 'loss'}", *_parts(change, 3)))
    else:
        under = f"over {plain_text(row.floor)}, {under}"
        kl = f"{_value(row.kl_floor, 3)} → {_value(row.kl_explained, 3)}"
        losses = (row.loss_floor, row.loss_explained, record.losses.model)
        reached = [loss if named is None else as_figure(loss, named.figure) for loss in losses]
        loss = " → ".join(_value(figure, 3) for figure in reached)
        found = [("recovered", *_parts(row.recovered))]
        if named is not None:
            found = [(f"recovered, {named.name}", *_parts(row.recovered_loss)), ("recovered, KL", *found[0][1:])]
        found.append(("nines", nines_cell(row), _why(row.nines)))
        found += [("KL", kl, "floor → explained"), (named.name if named else "loss", loss, "floor → explained → model")]
    name, figure, below = found[0]
    return [(name, figure, f"{below} {under}".strip()), *found[1:]]


def _value(figure: words.Figure, least: int) -> str:
    return words.value_text(figure, least) if words.defined(figure) else "undefined"


def _why(figure: words.Figure) -> str:
    return "" if words.defined(figure) else f"because {words.why(figure)}"


def _parts(figure: words.Figure, least: int = 2) -> tuple[str, str]:
    """A figure, and its interval or why there is none."""
    ends = words.interval_text(figure, least) or words.ends_why(figure)
    return _value(figure, least), ends if words.defined(figure) else _why(figure)


def _figure(name: str, figure: str, below: str) -> str:
    big = f"font-size:1.35em;font-weight:600;color:{CLAIM}"
    return (
        f'<div style="max-width:300px"><div style="color:{MUTED}">{escape(name)}</div>'
        f'<div style="{big}">{escape(figure)}</div><div style="font-size:.9em">{escape(below)}</div></div>'
    )


def _picture(name: str, chart: alt.LayerChart) -> str:
    """An image: no style or name in it meets those of the notebook, and its letters are as wide as its labels' room."""
    drawing = _packed(charts.drawn(chart.properties(width=WIDTH), "png"))
    wide = int.from_bytes(drawing[16:20]) // 2  # of a PNG's head
    said, source = escape(SAID[name], quote=True), f"data:image/png;base64,{base64.b64encode(drawing).decode()}"
    return (
        f'<figure style="margin:0"><figcaption style="color:{MUTED}">{said}</figcaption>'
        f'<img alt="{said}" width="{wide}" style="max-width:100%" src="{source}"></figure>'
    )


def _packed(drawing: bytes) -> bytes:
    """The same PNG with its pixels packed as well as can be: a fourth as long, in every notebook that holds it."""
    place, packed, pixels = 8, drawing[:8], b""
    while place < len(drawing):
        size, kind = int.from_bytes(drawing[place : place + 4]), drawing[place + 4 : place + 8]
        end = place + size + 12
        if kind == b"IDAT":
            pixels += drawing[place + 8 : end - 4]
        elif kind == b"IEND":
            body = b"IDAT" + zlib.compress(zlib.decompress(pixels), 9)
            packed += (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4) + drawing[place:end]
        else:
            packed += drawing[place:end]
        place = end
    return packed
