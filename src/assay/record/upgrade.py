"""Records of schema 1 as schema 2 has them. What is not as assay wrote it stays as it is, for the reader to name."""

from __future__ import annotations

import json
from typing import Any

TASK = {"kind", "name", "metric", "documents", "rows", "tokens", "sources", "fingerprint", "reference", "notes"}


def upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """A measurement or a search of schema 1; `old` is left alone."""
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
    if isinstance(controls := old.get("controls"), dict) and isinstance(groups := controls.get("groups"), list):
        new["controls"] = {**controls, "groups": [_group(group) for group in groups]}
    if isinstance(bits := old.get("bits"), dict) and isinstance(points := bits.get("points"), list):
        new["bits"] = {**bits, "points": [_point(point) for point in points]}
    return new


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
