"""Exact patching of every component as a search for edges.

A component's score is the KL when it alone takes its fill at every position; an edge is as good as the worse of its
ends, so that the best edges are the circuit of the best components.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int

from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.intervene.sweep.sweep import sweep
from assay.methods.edge_scores import EdgeScores
from assay.model.edges import Edges


def component_effects(
    workbench: PlanContext, ablation: str, *, draw: int = 0, rows: Int[np.ndarray, "rows"] | None = None
) -> dict[str, float]:
    """KL from the model, nats a token, when a component alone takes its fill at every position at once.

    Raises:
        TaskError: for an ablation that the task has no data for.
    """
    found = sweep(workbench, ablation, positions=[None], draw=draw, rows=rows)  # type: ignore[list-item]
    return dict(zip(found.components, found.mean("kl")[:, 0].tolist(), strict=True))


def patching(
    workbench: PlanContext, ablation: str, *, draw: int = 0, rows: Int[np.ndarray, "rows"] | None = None
) -> EdgeScores:
    """Scores of edges from `component_effects`."""
    rows = np.arange(len(workbench.task.tokens)) if rows is None else np.asarray(rows)
    before = workbench.runner.forwards
    effect = component_effects(workbench, ablation, draw=draw, rows=rows)
    scores = node_scores(transformer_of(workbench).edges, effect)
    settings = {"ablation": ablation, "draw": draw, "rows": len(rows), "loss": "kl"}
    # the sweep runs suffixes of the model by itself: one pass of a row for each component at most
    passes = workbench.runner.forwards - before + len(effect) * len(rows)
    return EdgeScores(scores, "patching", settings, float(passes))


def node_scores(edges: Edges, effect: Mapping[str, float]) -> Float64[np.ndarray, "edges"]:
    """Scores of edges from those of components; `logits`, which cannot be left out, is never the worse end.

    A group's keys or values are as good as the best of its heads.
    """
    writers = np.array([effect[name] for name in edges.writers])
    readers = np.where(edges.node_of, writers, -np.inf).max(1)
    readers[-1] = np.inf
    return edges.flat(np.minimum(readers[:, None], writers[None, :]))
