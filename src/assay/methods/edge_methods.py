"""The searches that need no trial of circuits, by name, called in one way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Int

from assay import plugins
from assay.errors import ComponentError, nearest
from assay.intervene.circuits import Circuits
from assay.methods.activation_norm import activation_norm
from assay.methods.attribution import attribution, gim, saliency
from assay.methods.edge_scores import EdgeScores
from assay.methods.information_flow import information_flow
from assay.methods.integrated_attribution import integrated_attribution
from assay.methods.orders import first_layers, random_scores
from assay.methods.weight_norm import weight_norm

Rows = Int[np.ndarray, "rows"]
Method = Callable[[Circuits, Rows | None, int], EdgeScores]


def _with_rows(method: Callable[..., EdgeScores]) -> Method:
    return lambda circuits, rows, seed: method(circuits, rows=rows)


EDGE_METHODS: dict[str, Method] = {
    "attribution": _with_rows(attribution),
    "integrated_attribution": _with_rows(integrated_attribution),
    "integrated_attribution_activations": _with_rows(partial(integrated_attribution, along="activations")),
    "integrated_attribution_kl": _with_rows(partial(integrated_attribution, loss="kl")),
    "gim": _with_rows(gim),
    "saliency": _with_rows(saliency),
    "information_flow": _with_rows(information_flow),
    "activation_norm": _with_rows(activation_norm),
    "weight_norm": lambda circuits, rows, seed: weight_norm(circuits.model),
    "composition": lambda circuits, rows, seed: weight_norm(circuits.model, through="circuit", relative=True),
    "first_layers": lambda circuits, rows, seed: first_layers(circuits.edges),
    "random": lambda circuits, rows, seed: random_scores(circuits.edges, seed=seed),
}


def edge_scores(method: str, circuits: Circuits, rows: Rows | None = None, *, seed: int = 0) -> EdgeScores:
    """The scores that a method of this name gives.

    Args:
        rows: scored rows of the task that it may see (default: all); seed: of what is drawn.

    Raises:
        ComponentError: for an unknown name, and for a plug-in that gives no scores of these edges.
    """
    if method in EDGE_METHODS:
        return EDGE_METHODS[method](circuits, rows, seed)
    others = plugins.names(plugins.METHODS)
    if method not in others:
        raise ComponentError(f"unknown search {method!r}" + nearest(method, (*EDGE_METHODS, *others)))
    found = plugins.load(plugins.METHODS, method)(circuits, rows, seed)
    if not isinstance(found, EdgeScores) or len(found.scores) != len(circuits.edges):
        raise ComponentError(
            f"the plug-in of the search {method!r} gives no EdgeScores of {len(circuits.edges):,} edges"
        )
    return found
