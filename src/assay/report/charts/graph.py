"""Nodes and edges of a record as the page shows them: lines, the strongest edges, and the drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from assay.record.graph import Drawing, Graph
from assay.record.measurement import MeasurementRecord
from assay.report import words
from assay.report.charts import drawing

_SHOWN = 10  # strongest edges that the page shows


def shown(found: Graph) -> dict[str, Any]:
    """The graph as the macro `drawing` shows it."""
    return picture(found.drawing, unit=found.strength, note=found.note, strengths=_said(found))


def _said(found: Graph) -> dict[str, str]:
    """Strengths of edges in words, where they are estimates."""
    return {name: words.said(strength, 3) for name, strength in found.strengths.items()}


def size_line(found: Graph) -> str:
    """How many of the model's edges, how many of them live, and how many nodes."""
    text = f"{words.count(found.edges)} of {words.count(found.total)} edges"
    text += f" ({words.share(found.edges / found.total)})" if found.total else ""
    if found.live != found.edges:
        text += f", {words.count(found.live)} of them on a path from input to logits"
    text += f", {words.count(found.nodes)} nodes"
    if found.pairs is not None:
        text += f", chosen at single positions ({words.count(found.pairs)} pairs of an edge and a position)"
    return text + "."


def picture(
    block: Drawing, *, unit: str = "score", note: str = "", strengths: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The drawing with what must be said beside it, as the macro `drawing` shows it."""
    title = f"drawing of a circuit of {words.count(len(block.edges))} edges"
    made = drawing.draw(block, unit=unit, title=title, strengths=strengths)
    if not made.drawn:
        lines = ["The circuit has no edge that could be drawn."]
    else:
        lines = ["Point at an edge or a node for its figures; parts without an edge are dots."]
        lines += [note] if note else []
    if made.left_out:
        lines.append(f"{words.count(made.left_out)} weaker edges are not drawn.")
    if made.unplaced:
        lines.append(f"{words.count(made.unplaced)} edges are not drawn, because the model has no such parts.")
    known = [edge for edge in made.edges if edge.strength is not None]
    strongest = [(edge.name, drawing.said(edge)) for edge in known[:_SHOWN]]
    return {"svg": Markup(made.svg), "lines": [" ".join(lines)], "strongest": strongest, "unit": unit}


def save(record: MeasurementRecord) -> str | None:
    """The record's first graph as the text of an SVG file; None where there is none."""
    found = None if record.own is None else record.own.graph
    if found is None:
        return None
    said, title = _said(found), words.claim_line(record)
    return drawing.draw(found.drawing, standalone=True, unit=found.strength, title=title, strengths=said).svg
