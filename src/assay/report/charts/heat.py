"""A heat map of effects: a row a part, a column a position, red and green by their sign."""

from __future__ import annotations

from typing import Any

import altair as alt

from assay.record.pieces import HeatMap
from assay.report.plain import plain_text
from assay.report.style import BLANK, FLOOR, MODEL, chart_of, finish
from assay.report.words import count, number, power

MOST = 40_000  # cells that are drawn


def heat(block: HeatMap | None) -> alt.LayerChart | None:
    """The map, the last layer on top; None where there is nothing to draw."""
    rows = cells(block)
    if block is None or not rows or len(rows) > MOST:
        return None
    largest = max(abs(row["value"]) for row in rows) or 1.0
    unit = plain_text(block.unit)
    names = list(dict.fromkeys(row["row"] for row in rows))
    columns = list(dict.fromkeys(row["column"] for row in rows))
    high = max(9, min(20, 560 // len(names)))
    x = alt.X("column:N", title="position", sort=columns, axis=alt.Axis(labelOverlap=True, labelAngle=0, labelLimit=60))
    y = alt.Y("row:N", title=None, sort=names[::-1], axis=alt.Axis(labelOverlap=True, ticks=False))
    if min(row["value"] for row in rows) >= -1e-6 * largest:  # nothing but rounding is below 0
        scale = alt.Scale(domain=[0, largest], range=[BLANK, MODEL], interpolate="lab")
    else:
        scale = alt.Scale(domain=[-largest, 0, largest], range=[FLOOR, BLANK, MODEL], interpolate="lab")
    legend = alt.Legend(
        title=unit if len(unit) <= 40 else "effect",
        gradientLength=160,
        gradientThickness=10,
        titleLimit=260,
        format="~g",
    )
    tip = [alt.Tooltip("row:N", title="part"), alt.Tooltip("column:N", title="position")]
    tip.append(alt.Tooltip("said:N", title="effect"))
    marks = chart_of(rows).mark_rect()
    marks = marks.encode(x=x, y=y, color=alt.Color("value:Q", scale=scale, legend=legend), tooltip=tip)
    return finish(alt.layer(marks), height=high * len(names))


def cells(block: HeatMap | None) -> list[dict[str, Any]]:
    """Every measured cell: its row, column, value, and the value with its interval in words."""
    if block is None:
        return []
    nothing = tuple((None,) * len(block.columns) for _ in block.rows)
    low, high = block.low or nothing, block.high or nothing
    return [
        {"row": row, "column": column, "value": value, "said": text_of(value, low[i][j], high[i][j])}
        for i, row in enumerate(block.rows)
        for j, column in enumerate(block.columns)
        if (value := block.values[i][j]) is not None
    ]


def strongest(block: HeatMap | None, most: int = 12) -> list[dict[str, Any]]:
    """The cells with the largest effects, either sign."""
    return sorted(cells(block), key=lambda row: -abs(row["value"]))[:most]


def text_of(value: float, low: float | None = None, high: float | None = None) -> str:
    """An effect in words, with its interval where it has one."""
    if low is None or high is None:
        return f"{_digits(value)}, no interval"
    return f"{_digits(value)} [{_digits(low)}, {_digits(high)}]"


def _digits(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return power(value)
    return count(value) if abs(value) >= 1000 else number(value, 3)
