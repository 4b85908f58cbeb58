"""What of a model a set of edges touches and computes, and the plan that runs it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from assay.errors import ClaimError
from assay.intervene.ablations import Workbench
from assay.intervene.kept import Kept
from assay.intervene.plan import Circuits, Plan, Run
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.names import parse_site

FILL = "fill"


class FillRuns(Kept[tuple[str, int, bool], tuple[Run, ...]]):
    """The runs of a fill, which all circuits share, by ablation, draw and whether norms are frozen: the runner meets
    them again."""


def touched(model: Model, mask: Bool[np.ndarray, "edges"]) -> list[str]:
    """Names of heads and MLPs that one of these edges begins or ends at, in the model's order.

    An edge to the keys or values of a group ends at those of its heads that write an edge, or at all if none does.
    """
    matrix = model.edges.matrix(mask)
    writes, reads = np.any(matrix, axis=0), np.any(matrix, axis=1)
    unclaimed = reads & ~np.any(model.edges.node_of & writes, axis=1)
    nodes = writes | np.any(model.edges.node_of & unclaimed[:, None], axis=0)
    return [name for name, there in zip(model.edges.writers, nodes, strict=True) if there and name != "input"]


def used_nodes(model: Model, mask: Bool[np.ndarray, "edges"]) -> set[str]:
    """Nodes from which kept edges lead to the logits: those that are computed."""
    edges = model.edges
    m, live = edges.matrix(mask), np.zeros(len(edges.readers), dtype=bool)
    live[-1] = True
    out = set()
    for writer in reversed(range(len(edges.writers))):
        if np.any(m[:, writer] & live):
            live |= edges.node_of[:, writer]
            out.add(edges.writers[writer])
    return out


def read_fills(kept: EdgeSet, model: Model) -> list[str]:
    """Writers whose fill is read: by a node that is computed, through an edge that is cut (at some position)."""
    edges = model.edges
    used = used_nodes(model, kept.anywhere)
    computed = np.array([writer in used for writer in edges.writers])
    readers = np.any(edges.node_of & computed, 1)
    readers[-1] = True
    cut = edges.matrix(kept.complement().anywhere) & readers[:, None]
    return [name for name, there in zip(edges.writers, cut.any(0), strict=True) if there]


def circuit_plan(bench: Workbench, edges: EdgeSet, ablation: str, draw: int = 0) -> Plan:
    """The run in which these edges carry their writers' own values, and all others the ablation's.

    Raises:
        ClaimError: for the option `refit`, which circuits do not have.
    """
    without_refit(bench)

    def made() -> tuple[Run, ...]:
        assert isinstance(bench.model, Model)
        filled = bench.plan(bench.ablate([parse_site(name) for name in bench.model.edges.writers], ablation, draw))
        return *filled.runs[:-1], Run(FILL, edits=filled.final.edits)

    fill = bench.store.of(FillRuns).once((ablation, draw, bench.frozen_norm), made)
    explained = Run("explained", frozen_norm=bench.frozen_norm, circuits=Circuits(edges, FILL))
    return Plan((*fill, explained))


def without_refit(bench: Workbench) -> None:
    if bench.refit:
        raise ClaimError("the option 'refit' does not apply to circuits: every edge would need a map of its own")
