"""A drawing, a circuit block and a frontier with made-up figures, labelled as such, that pictures are tested on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.report.fixture import LABEL, estimate

METHODS = ("attribution", "integrated", "acdc", "weight norm", "first layers")


def drawing(layers: int = 12, heads: int = 12, edges: int = 300, mlp: bool = True, signed: bool = True, seed: int = 0):
    """Random distinct edges that a model of this shape has, with heavy-tailed strengths."""
    rng = np.random.default_rng(seed)
    order = ["input"]
    for layer in range(layers):
        order += [f"a{layer}.h{h}" for h in range(heads)] + ([f"m{layer}"] if mlp else [])
    found: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    while len(found) < edges:
        to = int(rng.integers(1, len(order) + 1))
        reader = "logits" if to == len(order) else order[to]
        before = to if reader[0] in "lm" else order.index(f"a{reader[1:].split('.')[0]}.h0")
        writer = order[int(rng.integers(0, before))]
        part = str(rng.choice(["q", "k", "v"])) if reader[0] == "a" else None
        strength = float(rng.lognormal(-4, 1.3)) * (-1 if signed and rng.random() < 0.2 else 1)
        found.setdefault(
            (writer, reader, part), {"writer": writer, "reader": reader, "part": part, "strength": strength}
        )
    rows = sorted(found.values(), key=lambda edge: -abs(edge["strength"]))
    return {"layers": layers, "heads": heads, "mlps": [mlp] * layers, "edges": rows, "left_out": 17}


def circuit() -> dict[str, Any]:
    """The block of a record, on the four-layer model."""
    shown = drawing(4, 8, 40, seed=1)
    nodes = sorted({edge["writer"] for edge in shown["edges"]} - {"input"})
    figures = {"kl": estimate(0.21, 0.02), "loss": estimate(4.1, 0.08), "recovered": estimate(0.81, 0.03)}
    gaps = [(estimate(0.1 + 0.02 * i, 0.01), estimate(0.02 * i, 0.03)) for i in range(10)]
    rows = [{"knocked": 6, "kl": kl, "loss_gap": gap} for kl, gap in gaps]
    parts = [{"part": name, "increase": estimate(0.2 * 0.7**i, 0.004)} for i, name in enumerate(nodes)]
    return {
        "total": 1519,
        "edges": 57,
        "live": 40,
        "nodes": len(nodes),
        "positions": False,
        "sufficiency": figures,
        "necessity": figures | {"recovered": estimate(None, reason="the floor is not told apart from the model")},
        "completeness": {"n": 10, "share": 0.5, "of": "nodes", "rows": rows, "median": 0.19, "worst": 0.28},
        "minimality": {"parts": "nodes", "rows": parts, "tried": len(parts), "of": len(parts) + 9},
        "drawing": shown,
        "notes": ["17 edges of the file lead nowhere"],
    }


def frontier(methods: tuple[str, ...] = METHODS, total: int = 32_491) -> dict[str, Any]:
    """What frontier.json holds."""
    sizes = sorted({round(total ** (i / 21)) for i in range(22)})
    found = [_method(name, 0.9 - 0.16 * i, sizes, total) for i, name in enumerate(methods)]
    columns = [str(i) for i in range(15)]
    rows = [f"a{layer}.h{head}" for layer in range(12) for head in range(12)]
    values = np.random.default_rng(3).normal(0, 0.02, (len(rows), len(columns)))
    values[40:44, -1] += 0.4
    values[90, 7] -= 0.3
    return {
        "schema": 1,
        "kind": "frontier",
        "assay": {"version": "0.1.0", "revision": "abc1234"},
        "arguments": {"command": "assay find circuit zoo:novel-4l --method attribution", "resolved": {"seed": 0}},
        "model": {"name": "zoo:novel-4l"},
        "task": {"kind": "repeat", "name": f"repeated tokens, {LABEL}"},
        "ablation": "resample_joint",
        "total": total,
        "losses": {"model": estimate(2.1, 0.02), "empty": estimate(6.2, 0.05), "empty_kl": estimate(4.0, 0.04)},
        "selection": {"documents": 48, "tokens": 12288},
        "evaluation": {"documents": 60, "tokens": 15360},
        "leak": {"name": "leak", "state": "passed", "evidence": "0 documents and 0 13-grams are shared"},
        "methods": found,
        "heat": {"rows": rows, "columns": columns, "values": values.tolist(), "unit": "Δ logit difference"},
        "circuit": {"method": methods[0], "edges": sizes[10], "nodes": 31, "drawing": drawing(seed=2)},
        "notes": ["the smallest sizes are rounded up to whole paths"],
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "timing": {"seconds": 12.0},
    }


def _method(name: str, best: float, sizes: list[int], total: int) -> dict[str, Any]:
    points = []
    for size in sizes:
        at = math.log(size) / math.log(total)
        share = 1 / (1 + math.exp(-12 * (at - (1.1 - best)))) if size < total else 1.0
        half = 0.04 * (1 - share) + 0.003
        control = None
        if size < total:
            middle = at**6
            ends = {"low": middle - 0.2 * (1 - at), "median": middle, "high": middle + 0.1, "best": middle + 0.14}
            control = {"n": 100, **ends, "p": 0.0099 if share > middle + 0.14 else 0.2}
        undefined = estimate(None, reason="gap not resolved: the model's loss is not told from the floor's")
        points.append(
            {
                "asked": size,
                "edges": size,
                "share": size / total,
                "nodes": min(156, size),
                "recovered": estimate(share - 0.7 * (1 - share) ** 9, half),
                "recovered_loss": undefined if size == sizes[3] else estimate(share * 1.08, half),
                "gap": estimate(abs(1 - share * 1.08), half),
                "kl": estimate(max(4 * (1 - share), 1e-3), 2e-4 + 0.1 * (1 - share)),
                "accuracy": estimate(0.02 + 0.9 * share, half / 2),
                "control": control,
            }
        )
    return {
        "method": name,
        "settings": {"steps": 5},
        "passes": 1234.0,
        "sizes": points,
        "area": {"linear": estimate(best, 0.01), "log": estimate(best - 0.4, 0.02)},
        "mib": {"cpr": estimate(best + 0.05, 0.01), "cmd": estimate(0.1, 0.01), "over_recovery": best > 0.8}
        | ({"over_recovery_at": [sizes[15], sizes[16]]} if best > 0.8 else {}),
    }
