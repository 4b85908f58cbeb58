"""The circuit of a record as the page shows it: takes its block, gives the section's lines, rows and drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from assay.report import drawing, words
from assay.report.plain import plain_text
from assay.report.shell import cleaned

_SHOWN = 10  # parts of minimality, and strongest edges, that the page shows
NO_INTERVAL = "An edge's score is what the search gave it, not an estimate, so it has no interval."
_SIDES = (
    ("sufficiency", "The circuit alone", "every edge that it lacks is ablated"),
    ("necessity", "Everything but the circuit", "its edges are ablated, the others kept"),
)


def block(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the section shows; None for a record without a circuit."""
    if not found:
        return None
    sides = [{"name": name, "what": what, **found[key]} for key, name, what in _SIDES if found.get(key)]
    shown, unit, note = _strengths(found)
    return {
        "line": size_line(found),
        "sides": sides,
        "picture": picture(shown, unit=unit, note=note) if shown else None,
        "complete": _complete(found.get("completeness") or {}),
        "minimal": _minimal(found.get("minimality") or {}),
        "notes": cleaned(found.get("notes") or []),
    }


def _strengths(found: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str, str]:
    """The drawing's block, what its strengths are called, and what they are.

    They are the scores that the circuit's file came with, or by how much KL rises without an edge: then each has its
    interval.
    """
    shown = found.get("drawing")
    if not shown:
        return None, "", ""
    least = found.get("minimality") or {}
    rises = {row.get("part"): row.get("increase") for row in least.get("rows") or []}
    edges = []
    for edge in shown.get("edges") or []:
        part = f"<{edge['part']}>" if edge.get("part") else ""
        rise = words.as_estimate(rises.get(f"{edge.get('writer')}->{edge.get('reader')}{part}"))
        same = rise["value"] is not None and rise["value"] == edge.get("strength")
        edges.append({**edge, "said": words.said(rise, 3)} if same else edge)
    if any("said" in edge for edge in edges):
        note = "Edges are as wide as KL rises, in nats a token, when each is left out."
        return {**shown, "edges": edges}, "KL rise", note
    if any(edge.get("strength") is not None for edge in edges):
        return dict(shown), "score", NO_INTERVAL
    return dict(shown), "strength", "No strengths are known, so all edges are drawn alike."


def size_line(found: Mapping[str, Any]) -> str:
    """How many of the model's edges, how many of them live, and how many nodes."""
    total, edges = found.get("total"), found.get("edges")
    text = f"{words.count(edges)} of {words.count(total)} edges"
    if total and edges is not None:
        text += f" ({words.share(edges / total)})"
    if found.get("live") is not None and found["live"] != edges:
        text += f", {words.count(found['live'])} of them on a path from input to logits"
    if found.get("nodes") is not None:
        text += f", {words.count(found['nodes'])} nodes"
    if found.get("pairs") is not None:
        text += f", chosen at single positions ({words.count(found['pairs'])} pairs of an edge and a position)"
    return text + "."


def picture(block: Mapping[str, Any], *, unit: str = "score", note: str = "", caption: str = "") -> dict[str, Any]:
    """The drawing with what must be said beside it, as the macro `drawing` shows it."""
    title = f"drawing of a circuit of {words.count(len(block.get('edges') or []))} edges"
    made = drawing.draw(block, unit=unit, title=title)
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
    beside = {"caption": caption, "lines": [" ".join(lines)], "strongest": strongest, "unit": unit}
    return {"svg": Markup(made.svg), **beside}


def save(record: Mapping[str, Any]) -> str | None:
    """The record's circuit as the text of an SVG file; None where there is none."""
    found = (record.get("circuit") or {}).get("drawing")
    if not found:
        return None
    shown, unit, _ = _strengths(record["circuit"])
    return drawing.draw(shown or found, standalone=True, unit=unit, title=words.claim_line(record)).svg


def _complete(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found:
        return None
    rows = found.get("rows") or []
    if not rows:
        reason = plain_text(found.get("reason") or "no draw was made")
        return {"line": f"Undefined, because {reason}.", "facts": [], "rows": []}
    share = words.percent(found["share"]) if found.get("share") is not None else "some"
    of = plain_text(found.get("of") or "parts")
    line = (
        f"{words.count(found.get('n', len(rows)))} times, {share} of the circuit's {of}, drawn at random, are knocked "
        "out of the circuit and of the model alike; KL between the two is what the circuit lacks there."
    )
    ordered = sorted(rows, key=lambda row: words.as_estimate(row.get("kl"))["value"] or 0.0)
    facts = [("best draw", ordered[0].get("kl")), ("worst draw", ordered[-1].get("kl"))]
    median = words.as_estimate(found.get("median"))["value"]
    if median is not None:
        line += f" Median of the draws: {words.value_text(median, 3)}."
    return {"line": line, "facts": facts, "rows": cleaned(rows)}


def _minimal(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found:
        return None
    rows = sorted(found.get("rows") or [], key=lambda row: -(words.as_estimate(row.get("increase"))["value"] or 0.0))
    ends = [words.as_estimate(row.get("increase")) for row in rows]
    idle = sum(end["value"] is not None and (end["low"] is None or end["low"] <= 0) for end in ends)
    what = plain_text(found.get("parts") or "parts")
    tried = words.count(found.get("tried", len(rows)))
    line = f"{tried} of {words.count(found.get('of'))} {what} are left out one at a time. "
    if not rows:
        line = "No part was left out."
    elif idle:
        line += f"For {words.count(idle)} of them the rise in KL is not told from 0."
    else:
        line += "Without any one of them KL rises."
    return {"line": line, "rows": cleaned(rows[:_SHOWN]), "more": max(0, len(rows) - _SHOWN)}
