"""The looks that all charts share: colours with their dark counterparts, axes, tooltips of intervals, the frame."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import altair as alt

CLAIM, MODEL, FLOOR = "#9a6700", "#1c6b67", "#b0452c"
RIVAL, CONTROL, INK, MUTED, GRID = "#4d5f80", "#bdb7a8", "#26241f", "#6a655a", "#e8e4da"
PLUM, OLIVE, SEA, ROSE, BLANK = "#7a4a94", "#5f6b12", "#2273b0", "#a8386b", "#f4f1e9"
DARK = {
    CLAIM: "#e3b341",
    MODEL: "#5cc2bb",
    FLOOR: "#f08a6e",
    RIVAL: "#9fb3d9",
    CONTROL: "#5d5a53",
    INK: "#ece8df",
    MUTED: "#a8a294",
    GRID: "#33322e",
    PLUM: "#c9a0dc",
    OLIVE: "#b5c274",
    SEA: "#7ab8e6",
    ROSE: "#ec93b8",
    BLANK: "#262520",
}
SERIES = (CLAIM, MODEL, FLOOR, RIVAL, PLUM, OLIVE, SEA, ROSE)  # told apart by shape and dash too
SHAPES = ("diamond", "circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def chart_of(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of these rows."""
    return alt.Chart(alt.InlineData(values=rows))


def interval_tip(field: str, title: str, form: str = ".3f") -> list[alt.Tooltip]:
    """The lines of a tooltip: a field's value, and the ends of its interval."""
    pairs = ((field, title), ("low", "95 % from"), ("high", "to"))
    return [alt.Tooltip(f"{name}:Q", title=said, format=form) for name, said in pairs]


def log_axis(values: Sequence[float | int], form: str) -> Any:
    """An axis with a line a decade (1, 2, 5 where the range is short): all of a logarithm's lines drown the marks."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1,) if high - low > 1.7 else (1, 2, 5)
    decades = range(math.floor(low) - 1, math.ceil(high) + 2)
    raised = {f"1e{k:+d}": f"10{str(k).translate(_RAISED)}" for k in decades}
    shown = f"({json.dumps(raised)})[format(datum.value, '.0e')] || datum.label" if form == "~e" else alt.Undefined
    ticks = [step * 10.0**k for k in decades for step in steps]
    return alt.Axis(values=ticks, format=form, labelExpr=shown, labelOverlap=True)


def finish(chart: Any, height: int) -> Any:
    """The chart at the page's width, with the frame of all charts."""
    axis = {"labelColor": MUTED, "titleColor": MUTED, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID}
    axis |= {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": 500, "titlePadding": 8, "labelPadding": 5}
    legend = {
        "orient": "top",
        "direction": "horizontal",
        "labelColor": INK,
        "labelFontSize": 12,
        "symbolSize": 90,
        "titleColor": INK,
    }
    return (
        chart.properties(height=height, width="container", background="transparent")
        .configure(font=FONT, padding={"left": 2, "right": 6, "top": 4, "bottom": 2})
        .configure_view(stroke=None)
        .configure_axis(**axis)
        .configure_legend(**legend)
    )
