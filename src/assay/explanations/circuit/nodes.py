"""What of a model a set of edges touches and computes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model


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
