"""Rows of marks on one axis: a name above each row, its marks on a line, legible from 320 pixels on.

Takes rows of estimates; gives an altair chart. An open end of an interval runs dashed to the edge, what lies beyond the
left edge stands there with an arrow, what is undefined is a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from assay.report.plain import plain_text
from assay.report.style import BLANK, CLAIM, GRID, INK, MUTED, chart_of, finish
from assay.report.words import as_estimate, number, said
from assay.stats.estimate import Estimate

LEAST = -5.0  # shares below are drawn at the left edge, whatever they are of
TOP, LABEL, LINE, GAP = 18, 12, 16, 12  # pixels: above the first row, a name, from it to the line, below the line
DOT, WIDE = 8, 520  # a dot's width, and the width of the plot at which dots are heaped
_TOLD = 12  # names of what lies further left that are told
_LETTER = 6.2  # pixels of a letter, at most
_BESIDE = 1.0  # how far below 0, and below what they stand beside, shares that are only company are drawn


@dataclass(frozen=True)
class StripMark:
    """A figure in a row, and what it is called when it is pointed at."""

    name: str
    figure: Estimate


@dataclass(frozen=True)
class StripRow:
    """A row of marks.

    Attributes:
        name, said: stand above the line, to the left and to the right.
        marks: what is drawn; kind: how they look, a key of `LOOKS`.
        line: a figure that is drawn as a level across the row, with its interval as a band.
    """

    name: str
    marks: Sequence[StripMark]
    said: str = ""
    kind: str = "other"
    line: Estimate | None = None


@dataclass(frozen=True)
class Look:
    """How marks are drawn; `bar`: from 0 to the mark, `heap`: dots beside one another without intervals."""

    colour: str
    shape: str
    size: int
    bar: bool = False
    heap: bool = False


def strips(
    rows: Sequence[StripRow], title: str, looks: Mapping[str, Look], *, share: bool = True, line: str = ""
) -> alt.LayerChart | None:
    """The rows, one below the other; None where no mark is defined.

    Args:
        title: the axis's. share: 1 is the model, 0 the floor, and both are named on the axis.
        looks: kind of row -> how its marks are drawn.
        line: what the levels are called.
    """
    if not any(mark.figure.defined for row in rows for mark in row.marks):
        return None
    left, right = _domain(rows, looks, share)
    found = _Layout(left, right, TOP if line else 4)
    for row in rows:
        found.add(row, looks[row.kind])
    height = round(found.y) + 2
    across = alt.Scale(domain=[left, right], nice=False, zero=False)
    labels = "datum.value == 0 ? '0 floor' : datum.value == 1 ? '1 model' : replace(datum.label, '-', '−')"
    axis = alt.Axis(tickCount=5, labelExpr=labels if share else alt.Undefined, labelOverlap=True, labelFlush=True)
    x = alt.X("x:Q", title=title, scale=across, axis=axis)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[height, 0], nice=False, zero=False))
    tip = [alt.Tooltip("name:N", title="what"), alt.Tooltip("text:N", title="figure")]
    layers: list[Any] = [chart_of(found.bases).mark_rule(color=GRID, strokeWidth=2).encode(x=x, x2="to:Q", y=y)]
    if share and left < 0:
        zero = chart_of([{"x": 0.0}]).mark_rule(color=MUTED, strokeDash=[2, 3])
        layers.append(zero.encode(x=alt.X("x:Q", scale=across)))
    if found.bands:
        band = chart_of(found.bands).mark_rect(color=CLAIM, opacity=0.16)
        layers.append(band.encode(x=x, x2="to:Q", y=y, y2="end:Q"))
    if found.levels:
        level = chart_of(found.levels).mark_rule(color=CLAIM, strokeWidth=2.5)
        layers.append(level.encode(x=x, y=y, y2="end:Q", tooltip=tip))
        side = "right" if found.levels[0]["x"] > (left + right) / 2 else "left"
        named = chart_of([{**found.levels[0], "label": line, "y": 8}])
        text = named.mark_text(color=CLAIM, align=side, dx=5 if side == "left" else -5, fontSize=11, fontWeight=600)
        layers.append(text.encode(x=x, y=y, text="label:N"))
    kinds = list(looks)
    scale = alt.Scale(domain=kinds, range=[looks[kind].colour for kind in kinds])
    colour = alt.Color("kind:N", scale=scale, legend=None)
    shapes = alt.Scale(domain=kinds, range=[looks[kind].shape for kind in kinds])
    sizes = alt.Scale(domain=kinds, range=[looks[kind].size for kind in kinds])
    if found.bars:
        bar = chart_of(found.bars).mark_rule(strokeWidth=9, opacity=0.42)
        layers.append(bar.encode(x=x, x2="to:Q", y=y, color=colour))
    for rows_of, dash in ((found.intervals, [1, 0]), (found.opens, [3, 3])):
        if rows_of:
            rule = chart_of(rows_of).mark_rule(strokeWidth=2, strokeDash=dash)
            layers.append(rule.encode(x=x, x2="to:Q", y=y, color=colour, tooltip=tip))
    if found.points:
        points = chart_of(found.points).mark_point(filled=True, opacity=1, stroke=BLANK, strokeWidth=0.5)
        shape = alt.Shape("kind:N", scale=shapes, legend=None)
        size = alt.Size("kind:N", scale=sizes, legend=None)
        layers.append(points.encode(x=x, y=y, color=colour, shape=shape, size=size, tooltip=tip))
    if found.words:
        word = chart_of(found.words).mark_text(align="left", dx=3, fontStyle="italic", fontSize=11, color=MUTED)
        layers.append(word.encode(x=x, y=y, text="word:N", tooltip=tip))
    beside = round(_LETTER * max(len(label["said"]) for label in found.labels)) + 14
    name = chart_of(found.labels).mark_text(
        align="left", baseline="middle", fontSize=12, color=INK, limit=alt.expr(f"max(90, width - {beside})")
    )
    layers.append(name.encode(x=alt.value(0), y=y, text="name:N", tooltip=tip))
    told = chart_of(found.labels).mark_text(
        align="right", baseline="middle", dx=-7 if line else 0, fontSize=12, color=INK
    )
    layers.append(told.encode(x=alt.value("width"), y=y, text="said:N"))
    return finish(alt.layer(*layers), height=height)


def _domain(rows: Sequence[StripRow], looks: Mapping[str, Look], share: bool) -> tuple[float, float]:
    """The ends of the axis. What is only company, such as controls, does not squeeze the others to one side."""

    def ends(figures: Sequence[Estimate | None]) -> list[float]:
        return [x for f in figures if f is not None for x in (f.value, f.low, f.high) if x is not None]

    own = ends([row.line for row in rows])
    own += ends([m.figure for row in rows if not looks[row.kind].heap for m in row.marks])
    company = ends([m.figure for row in rows if looks[row.kind].heap for m in row.marks])
    high = max([*own, *company, 1.0 if share else 0.0])
    last = min([0.0, *own]) - _BESIDE
    low = min([*own, *(max(x, last) if share else x for x in company), 0.0])
    low = max(low, LEAST) if share else low
    pad = 0.03 * (high - low or 1.0)
    pad += 0.05 * (high - low) if any(x < low for x in company) else 0.0  # room for what stands at the edge
    return (low - pad if low < 0 else 0.0), (high if share and high <= 1 else high + pad)


class _Layout:
    """Where everything stands, from top to bottom; `y`: where the next row begins, pixels."""

    def __init__(self, left: float, right: float, top: int):
        self.left, self.right, self.y = left, right, float(top)
        self.labels: list[dict[str, Any]] = []
        self.bases: list[dict[str, Any]] = []
        self.bars: list[dict[str, Any]] = []
        self.bands: list[dict[str, Any]] = []
        self.levels: list[dict[str, Any]] = []
        self.intervals: list[dict[str, Any]] = []
        self.opens: list[dict[str, Any]] = []
        self.points: list[dict[str, Any]] = []
        self.words: list[dict[str, Any]] = []

    def add(self, row: StripRow, look: Look) -> None:
        top, name = self.y, plain_text(row.name)
        far = [m for m in row.marks if look.heap and m.figure.value is not None and m.figure.value < self.left]
        row = replace(row, marks=[mark for mark in row.marks if mark not in far])
        heaps = self._heaped(row) if look.heap else [0] * len(row.marks)
        line = top + LABEL / 2 + LINE + DOT * max(heaps, default=0)
        self.labels.append({"name": name, "said": plain_text(row.said), "y": top + LABEL / 2, "text": row.said})
        self.bases.append({"x": self.left, "to": self.right, "y": line})
        for mark, level in zip(row.marks, heaps, strict=True):
            self._mark(mark, row.kind, look, line - DOT * level)
        if far:
            told = ", ".join(f"{plain_text(mark.name)} {said(mark.figure)}" for mark in far[:_TOLD])
            told += f" and {len(far) - _TOLD} more" if len(far) > _TOLD else ""
            self.words.append(
                {"name": "further left", "text": told, "y": line, "word": f"◂ {len(far)}", "x": self.left}
            )
        self.y = line + GAP
        if row.line is not None and (value := row.line.value) is not None:
            place = {"name": "the claim, on the same rows", "text": said(row.line), "y": top + LABEL + 1, "end": self.y}
            self.levels.append({**place, "x": max(self.left, value)})
            if row.line.low is not None and row.line.high is not None:
                self.bands.append({**place, "x": max(self.left, row.line.low), "to": max(self.left, row.line.high)})

    def _heaped(self, row: StripRow) -> list[int]:
        """How high in its heap each dot lies, in dots."""
        step = DOT * (self.right - self.left) / WIDE
        full: dict[int, int] = {}
        found = []
        for mark in row.marks:
            place = round((max(self.left, mark.figure.value or 0.0) - self.left) / step)
            found.append(full.get(place, 0))
            full[place] = found[-1] + 1
        most = max(found, default=0)
        return found if most <= 7 else [level * 7 // most for level in found]  # a tall heap is pressed

    def _mark(self, mark: StripMark, kind: str, look: Look, y: float) -> None:
        figure = as_estimate(mark.figure)
        at = {"name": plain_text(mark.name), "kind": kind, "text": said(figure), "y": y}
        if (value := figure.value) is None:
            self.words.append({**at, "word": "undefined", "x": self.left})
            return
        if value < self.left:
            self.words.append({**at, "word": f"◂ {number(value, 1)}", "x": self.left})
            return
        if look.bar:
            self.bars.append({**at, "x": min(0.0, value), "to": max(0.0, value)})
        if not look.heap:
            low, high = figure.low, figure.high
            ends = [max(self.left, value if end is None else end) for end in (low, high)]
            self.intervals.append({**at, "x": ends[0], "to": ends[1]})
            self.opens += [{**at, "x": self.left, "to": value}] if low is None and high is not None else []
            self.opens += [{**at, "x": value, "to": self.right}] if high is None and low is not None else []
        self.points.append({**at, "x": value})
