"""The circuit of a record as the page shows it: takes its block, gives the section's lines, rows and drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from assay.record.circuit import CircuitRecord, Completeness, Drawing, Minimality
from assay.record.measurement import MeasurementRecord
from assay.report import drawing, words

_SHOWN = 10  # parts of minimality, and strongest edges, that the page shows
NO_INTERVAL = "An edge's score is what the search gave it, not an estimate, so it has no interval."
_SIDES = (
    ("sufficiency", "The circuit alone", "every edge that it lacks is ablated"),
    ("necessity", "Everything but the circuit", "its edges are ablated, the others kept"),
)


def block(found: CircuitRecord) -> dict[str, Any]:
    """What the section shows."""
    sides = [{"name": name, "what": what, "run": run} for key, name, what in _SIDES if (run := getattr(found, key))]
    strengths, unit, note = _strengths(found)
    return {
        "line": size_line(found),
        "sides": sides,
        "picture": picture(found.drawing, unit=unit, note=note, strengths=strengths),
        "complete": _complete(found.completeness),
        "minimal": _minimal(found.minimality),
        "notes": found.notes,
    }


def _strengths(found: CircuitRecord) -> tuple[dict[str, str], str, str]:
    """Strengths of edges in words, where they have intervals; what they are called, and what they are.

    They are the scores that the circuit's file came with, or by how much KL rises without an edge: then each has its
    interval.
    """
    rises = {row.part: row.increase for row in found.minimality.rows}
    known = [edge for edge in found.drawing.edges if edge.strength is not None]
    same = [edge.name for edge in known if edge.name in rises and rises[edge.name].value == edge.strength]
    if same:
        note = "Edges are as wide as KL rises, in nats a token, when each is left out."
        return {name: words.said(rises[name], 3) for name in same}, "KL rise", note
    if known:
        return {}, "score", NO_INTERVAL
    return {}, "strength", "No strengths are known, so all edges are drawn alike."


def size_line(found: CircuitRecord) -> str:
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
    """The record's circuit as the text of an SVG file; None where there is none."""
    if (found := record.circuit) is None:
        return None
    said, unit, _ = _strengths(found)
    title = words.claim_line(record)
    return drawing.draw(found.drawing, standalone=True, unit=unit, title=title, strengths=said).svg


def _complete(found: Completeness) -> dict[str, Any]:
    if not found.rows:
        return {"line": f"Undefined, because {found.reason or 'no draw was made'}.", "facts": [], "rows": []}
    line = (
        f"{words.count(found.n)} times, {words.percent(found.share)} of the circuit's {found.of}, drawn at random, are "
        "knocked out of the circuit and of the model alike; KL between the two is what the circuit lacks there."
    )
    ordered = sorted(found.rows, key=lambda row: row.kl.value or 0.0)
    facts = [("best draw", ordered[0].kl), ("worst draw", ordered[-1].kl)]
    if found.median is not None:
        line += f" Median of the draws: {words.value_text(found.median, 3)}."
    return {"line": line, "facts": facts, "rows": found.rows}


def _minimal(found: Minimality) -> dict[str, Any]:
    rows = sorted(found.rows, key=lambda row: -(row.increase.value or 0.0))
    idle = sum(row.increase.defined and (row.increase.low is None or row.increase.low <= 0) for row in rows)
    line = f"{words.count(found.tried)} of {words.count(found.of)} {found.parts} are left out one at a time. "
    if not rows:
        line = "No part was left out."
    elif idle:
        line += f"For {words.count(idle)} of them the rise in KL cannot be distinguished from 0."
    else:
        line += "Without any one of them KL rises."
    return {"line": line, "rows": rows[:_SHOWN], "more": max(0, len(rows) - _SHOWN)}
