"""ROC curves of a search on a world whose right edges are known."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from assay.record.search import RocRecord
from assay.report import words
from assay.report.plain import plain_text
from assay.report.style import MUTED, SERIES, chart_of, finish


def chart(roc: RocRecord | None, height: int = 280) -> alt.LayerChart | None:
    """True against false positive rates, a line a method; None where there is no curve."""
    curves = [(one.method, one.points) for one in (roc.methods if roc else ())]
    start = {"size": 0, "true": 0.0, "false": 0.0}
    rows = [{"method": name, **point} for name, points in curves for point in (start, *map(vars, points))]
    if not rows:
        return None
    names = [name for name, _ in curves]
    colours = [SERIES[i % len(SERIES)] for i in range(len(names))]
    dashes = [[1, 0] if i < len(SERIES) else [4, 2] for i in range(len(names))]
    lines = chart_of(rows).mark_line(strokeWidth=1.8, opacity=0.85, point={"size": 26})
    tip = [alt.Tooltip("method:N"), alt.Tooltip("size:Q", title="edges taken", format=",")]
    tip += [alt.Tooltip(f"{name}:Q", title=f"{name} positive rate", format=".2f") for name in ("true", "false")]
    curve = lines.encode(
        x=alt.X("false:Q", title="other edges taken", axis=alt.Axis(format="%")),
        y=alt.Y("true:Q", title="right edges taken", axis=alt.Axis(format="%")),
        order=alt.Order("size:Q"),
        color=alt.Color("method:N", title=None, scale=alt.Scale(domain=names, range=colours)),
        strokeDash=alt.StrokeDash("method:N", legend=None, scale=alt.Scale(domain=names, range=dashes)),
        tooltip=tip,
    )
    chance = chart_of([{"at": 0.0}, {"at": 1.0}]).mark_line(color=MUTED, strokeDash=[2, 3]).encode(x="at:Q", y="at:Q")
    return finish(alt.layer(chance, curve), height=height)


def rows(roc: RocRecord) -> Sequence[tuple[str, str, str]]:
    """Of each method its name, the area with its interval, and how many of its best edges are right."""
    return [(one.method, words.said(one.area, 2), f"{words.count(one.found)} of {roc.right:,}") for one in roc.methods]


def line(roc: RocRecord) -> str:
    """What the edges are told apart by, or why that is not known."""
    if roc.reason is not None:
        return f"ROC: undefined, because {plain_text(roc.reason)}"
    neutral = f" ({words.count(roc.neutral)} more count neither way)" if roc.neutral else ""
    right = "1 edge is right" if roc.right == 1 else f"{words.count(roc.right or 0)} edges are right"
    return f"ROC: {right}, {words.count(roc.others or 0)} others are not{neutral}"
