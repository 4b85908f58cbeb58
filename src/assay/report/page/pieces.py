"""What only a kind of explanation says: pieces of its record, drawn without knowing the kind."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from assay.record.pieces import HeatMap, Piece, Series
from assay.report.charts.heat import heat
from assay.report.style import SERIES, SHAPES, chart_of, finish, interval_tip


def charts(pieces: Sequence[Piece]) -> dict[str, alt.LayerChart | None]:
    """The charts among the pieces, as "own-<place>"."""
    drawn = {}
    for place, piece in enumerate(pieces):
        if isinstance(piece, HeatMap):
            drawn[f"own-{place}"] = heat(piece)
        elif isinstance(piece, Series):
            drawn[f"own-{place}"] = series(piece)
    return drawn


def series(piece: Series) -> alt.LayerChart | None:
    """A line a name, with intervals; None where nothing is defined."""
    rows = []
    for name, line in piece.lines.items():
        for at, figure in line:
            if (value := figure.value) is not None:
                ends = {"low": value if figure.low is None else figure.low}
                ends["high"] = value if figure.high is None else figure.high
                rows.append({"name": name, "x": at, "y": value, **ends})
    if not rows:
        return None
    names = list(piece.lines)
    x, y = alt.X("x:Q", title=piece.x), alt.Y("y:Q", title=piece.y)
    colours = [SERIES[i % len(SERIES)] for i in range(len(names))]
    colour = alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), title=None)
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    shape = alt.Shape("name:N", scale=alt.Scale(domain=names, range=shapes), title=None)
    line = chart_of(rows).mark_line().encode(x=x, y=y, color=colour)
    bars = chart_of(rows).mark_rule().encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    tip = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", title=piece.x), *interval_tip("y", piece.y)]
    dots = chart_of(rows).mark_point(filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tip)
    return finish(alt.layer(line, bars, dots), height=260)
