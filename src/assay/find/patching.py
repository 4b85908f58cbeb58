"""Exact patching of every component and position as a search, and its heat map.

A component's score is the KL when it alone takes its fill at every position; an edge is as good as the worse of its
ends, so that the best edges are the circuit of the best components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from assay.frontier.curves import not_below_zero
from assay.intervene.ablations import Workbench
from assay.intervene.circuits import transformer_of
from assay.intervene.sweep import Sweep, sweep
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges
from assay.stats.estimate import Estimate

COLUMNS = 160  # positions of a heat map at most
HEAT_ROWS = 16  # rows that it is a mean over


@dataclass(frozen=True, eq=False)
class Patched:
    """What patching gave.

    Attributes:
        scores: of edges; components: KL of each, in nats a token.
        heat: the record's block, or None with the reason.
    """

    scores: EdgeScores
    components: Mapping[str, float]
    heat: dict[str, Any] | None
    reason: str | None


def patching(bench: Workbench, ablation: str, *, draw: int = 0, rows: Int[np.ndarray, "rows"] | None = None) -> Patched:
    """Patches every component at every position at once, on all rows; and at every position alone, on a few of them.

    Raises:
        TaskError: for an ablation that the task has no data for.
    """
    model, task = transformer_of(bench), bench.task
    rows = np.arange(len(task.tokens)) if rows is None else np.asarray(rows)
    before = bench.runner.forwards
    whole = sweep(bench, ablation, positions=[None], draw=draw, rows=rows)  # type: ignore[list-item]
    effect = dict(zip(whole.components, whole.mean("kl")[:, 0].tolist(), strict=True))
    reason, heat = _unaligned(bench), None
    if reason is None:
        lengths, count = np.unique(task.last[rows], return_counts=True)  # of one length, so that positions correspond
        alike = rows[task.last[rows] == lengths[count.argmax()]]
        found = sweep(bench, ablation, draw=draw, rows=alike[:HEAT_ROWS]).by_document()
        cells = _cells(bench, found)
        heat = {
            "rows": list(found.components),
            "columns": [str(column) for column in found.positions],
            "values": [[cell.value for cell in row] for row in cells],
            "low": [[cell.low for cell in row] for row in cells],
            "high": [[cell.high for cell in row] for row in cells],
            "documents": len(found.document),
            "unit": f"KL from the model, nats a token, when the part alone takes its {ablation} fill there",
        }
    scores = node_scores(model.edges, effect)
    settings = {"ablation": ablation, "draw": draw, "rows": len(rows), "loss": "kl"}
    # the sweep runs suffixes of the model by itself: one pass of a row for each component at most
    passes = bench.runner.forwards - before + len(effect) * len(rows)
    return Patched(EdgeScores(scores, "patching", settings, float(passes)), effect, heat, reason)


def _cells(bench: Workbench, found: Sweep) -> list[list[Estimate]]:
    """KL of every component at every position, nats a token, with its interval over documents."""
    mean = bench.task.resamples(found.document, bench.seed, found.count).mean
    return [[not_below_zero(mean(np.maximum(sums, 0), found.count)) for sums in row] for row in found.kl]


def node_scores(edges: Edges, effect: Mapping[str, float]) -> Float64[np.ndarray, "edges"]:
    """Scores of edges from those of components; `logits`, which cannot be left out, is never the worse end.

    A group's keys or values are as good as the best of its heads.
    """
    writers = np.array([effect[name] for name in edges.writers])
    readers = np.where(edges.node_of, writers, -np.inf).max(1)
    readers[-1] = np.inf
    return edges.flat(np.minimum(readers[:, None], writers[None, :]))


def _unaligned(bench: Workbench) -> str | None:
    """Why a mean over rows at a position would mean nothing here."""
    width = bench.task.tokens.shape[1]
    if width > COLUMNS:
        return f"rows of {width} positions are too wide for a heat map of at most {COLUMNS}"
    if bench.task.kind in ("text", "ids") and "program" not in bench.task.notes:
        return "positions of running text have nothing in common from row to row"
    return None
