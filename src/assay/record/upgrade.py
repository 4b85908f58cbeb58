"""Records of older schemas as today's has them. What is not as assay wrote it stays, for the reader to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

TASK = {"kind", "name", "metric", "documents", "rows", "tokens", "sources", "fingerprint", "reference", "notes"}


def upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """A measurement or a search of any schema; `old` is left alone."""
    new = schema_2(old) if old["schema"] == 1 else old
    if new["schema"] != 2:
        return new
    own = new.get("own")
    if isinstance(own, dict) and own.get("block") == "circuit":
        new = {**new, "own": _circuit(own)}
    return {**new, "schema": 3}


def _circuit(old: dict[str, Any]) -> dict[str, Any]:
    """Circuits had a block of their own in schema 2; it is made of pieces."""
    try:
        drawing, complete, minimal = old["drawing"], old["completeness"], old["minimality"]
        strengths = {_name(edge): edge["strength"] for edge in drawing["edges"] if edge["strength"] is not None}
        rises = {row["part"]: row["increase"] for row in minimal["rows"]}
        known = bool(strengths) and all(rises.get(name, {}).get("value") == x for name, x in strengths.items())
        graph = {name: old[name] for name in ("total", "edges", "pairs", "live", "nodes")} | {
            "piece": "graph",
            "strength": "KL rise" if known else "score",
            "note": "Edges are as wide as " + ("KL rises when each is left out." if known else "their scores, if any."),
            "strengths": rises if known else {},
            "drawing": drawing,
        }
        sides = [
            [what, *(old[key][name] for name in ("recovered", "kl", "loss", "nats"))]
            for key, what in (("sufficiency", "the circuit alone"), ("necessity", "everything but the circuit"))
            if old.get(key)
        ]
        knocked = [[", ".join(row["names"]), row["kl"], row["loss_gap"]] for row in complete["rows"]]
        both = f"{100 * complete['share']:.0f} % of its {complete['of']} are knocked out of it and of the model alike."
        one = f"{minimal['tried']} of {minimal['of']} {minimal['parts']} are left out one at a time."
        left_out = [[row["part"], row["increase"]] for row in minimal["rows"]]
        why = complete.get("reason")
        tables = [
            _table("Completeness", f"Undefined, because {why}." if why else both, "knocked out, KL, loss gap", knocked),
            _table("Minimality", one, "left out, KL rises by", left_out),
        ]
        if sides:
            columns = "what runs, recovered, KL, loss, loss less the model's"
            tables.insert(0, _table("Sufficiency and necessity", None, columns, sides))
        pieces, notes = [graph, *tables], old["notes"]
    except (KeyError, TypeError, AttributeError, ValueError):
        return old
    return {"block": "circuit", "title": "The circuit", "pieces": pieces, "notes": notes}


def _name(edge: dict[str, Any]) -> str:
    return f"{edge['writer']}->{edge['reader']}" + (f"<{edge['part']}>" if edge["part"] else "")


def _table(title: str, text: str | None, columns: str, rows: list[Any]) -> dict[str, Any]:
    return {"piece": "table", "title": title, "text": text, "columns": columns.split(", "), "rows": rows}


def schema_2(old: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1 as schema 2 had it."""
    new = {**old, "schema": 2}
    if isinstance(task := old.get("task"), dict):  # what only one kind of task said lay among the rest
        kept = {key: value for key, value in task.items() if key in TASK}
        new["task"] = kept | {"notes": {key: value for key, value in task.items() if key not in TASK}}
    if old.get("kind") == "frontier":
        return new
    circuit, own = new.pop("circuit", None), new.pop("own", None)
    if isinstance(circuit, dict):
        own = {"block": "circuit", **circuit}
    elif isinstance(own, dict):
        own = {
            "block": "own",
            "pieces": [{"piece": "sentence", "text": f"{k}: {json.dumps(v)}"} for k, v in own.items()],
        }
    new |= {"own": own if circuit is None or isinstance(circuit, dict) else circuit, "tries": new.pop("register", None)}
    new["agreement"] = new.pop("beside", None)
    new |= _nines(old) | _compute(old)
    if isinstance(controls := old.get("controls"), dict) and isinstance(groups := controls.get("groups"), list):
        new["controls"] = {**controls, "groups": [_group(group) for group in groups]}
    if isinstance(bits := old.get("bits"), dict) and isinstance(points := bits.get("points"), list):
        new["bits"] = {**bits, "points": [_point(point) for point in points]}
    return new


def _nines(old: dict[str, Any]) -> dict[str, Any]:
    """The number, the floor and what there is to say stood in one text."""
    new: dict[str, Any] = {}
    if isinstance(headline := old.get("headline"), dict) and isinstance(nines := headline.get("nines"), dict):
        shown, remark = _shown(nines.get("text"))
        rest = {key: value for key, value in nines.items() if key != "text"}
        new["headline"] = {**headline, "nines": rest | {"shown": shown, "remark": remark}}
    if isinstance(table := old.get("table"), list):
        new["table"] = [_row(row) for row in table]
    if isinstance(parts := old.get("parts"), dict):
        rows = parts.get("components")
        new["parts"] = {**parts, "components": [_row(row) for row in rows] if isinstance(rows, list) else rows}
        new["parts"] |= {"compound": _row(parts["compound"])} if "compound" in parts else {}
    return new


def _row(row: Any) -> Any:
    if not isinstance(row, dict) or "nines_text" not in row:
        return row
    rest = {key: value for key, value in row.items() if key != "nines_text"}
    return rest | {"nines_shown": _shown(row["nines_text"])[0]}


def _shown(text: Any) -> tuple[Any, str | None]:
    if not isinstance(text, str):
        return text, None
    number, found, over = text.partition(" nines over ")
    return (number, over.partition(": ")[2] or None) if found else (None, None)


def _compute(old: dict[str, Any]) -> dict[str, Any]:
    """Systems were named by text, the claim's own floors with their role before it."""
    if not isinstance(compute := old.get("compute"), dict):
        return {}
    new = {**compute}
    if isinstance(systems := compute.get("systems"), list):
        new["systems"] = [_named(one, "name", lambda role: {"role": role or "rival"}) for one in systems]
    if isinstance(ladder := compute.get("ladder"), list):
        new["ladder"] = [_named(one, "floor", lambda role: {"own": role == "floor"}) for one in ladder]
    return {"compute": new}


def _named(one: Any, key: str, more: Callable[[str], dict[str, Any]]) -> Any:
    if not isinstance(one, dict) or not isinstance(name := one.get(key), str):
        return one
    role, found, rest = name.partition(":")
    return {**one, key: rest if found else name} | more(role if found else "")


def _group(group: Any) -> Any:
    """The claim's nats lay inside its estimate."""
    if not isinstance(group, dict) or not isinstance(claim := group.get("claim"), dict) or "nats" not in claim:
        return group
    rest = {key: value for key, value in claim.items() if key != "nats"}
    return {**group, "claim": rest, "claim_nats": claim["nats"]}


def _point(point: Any) -> Any:
    """KL was a bare number where it had no interval."""
    if not isinstance(point, dict) or not isinstance(kl := point.get("kl"), int | float):
        return point
    reason = "no interval was recorded"
    return {**point, "kl": {"value": kl, "low": None, "high": None, "n": 0, "reason": reason, "method": None}}
