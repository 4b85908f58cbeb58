"""Runs of a hypothesis whose places are edges, on the edge engine.

What a variable's edges carry is what their writers have on its datum. With the rest left every other edge carries its
own; with the rest ablated the edges that are named are a circuit, and all others carry what the rest takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from assay.explanations.hypothesis.places import Carried
from assay.intervene.plan import CircuitRun, Edit, EditRun, From
from assay.model.edge_sets import EdgeSet
from assay.model.transformer import Model
from assay.names import Site, parse_site

FILL = "fill"
Rows = Int[np.ndarray, "rows"]


def writers_of(model: Model) -> list[Site]:
    """Everything that edges come from."""
    return [parse_site(name) for name in model.edges.writers]


def edge_runs(
    name: str,
    model: Model,
    carriers: Sequence[Carried],
    forming: Sequence[Carried],
    taken: Mapping[Site, Rows],
    fill: tuple[Edit, ...] | None,
    frozen_norm: bool,
) -> tuple[EditRun, CircuitRun]:
    """The run that fills edges, and the circuit.

    Args:
        carriers: edges of variables; forming: of the answer; taken: for their writers the row of the clean run that
            each scored row takes; others keep the row's own.
        fill: what all edges carry that are not named; None: their own.
    """
    if fill is None:
        cut = model.edges.mask([one.place.name for one in carriers if one.site in taken])
        edits = tuple(Edit(site, From("clean", taken.get(site))) for site in writers_of(model))
        return EditRun(FILL, edits=edits), CircuitRun(name, EdgeSet.whole(~cut), FILL, (), frozen_norm)
    kept = EdgeSet.whole(model.edges.mask([one.place.name for one in (*carriers, *forming)]))
    sites = dict.fromkeys(one.site for one in carriers)
    given = tuple(Edit(site, From("clean", taken.get(site))) for site in sites)
    return EditRun(FILL, edits=fill), CircuitRun(name, kept, FILL, given, frozen_norm)
