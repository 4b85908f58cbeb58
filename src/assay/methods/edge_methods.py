"""Every search for edges called in one way: a name, a workbench and options in, scores of all edges out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from assay import plugins
from assay.errors import ClaimError, ComponentError, PluginError, nearest
from assay.intervene.circuits.engine import Circuits, transformer_of
from assay.intervene.fill.ablations import PlanContext
from assay.methods.edge_scores import EdgeScores
from assay.methods.registry import EDGE_METHODS, Options, check_methods, edge_methods

Say = Callable[[str, int, int | None], None]


def searches(
    workbench: PlanContext, ablation: str, methods: Sequence[str], options: Options, say: Say
) -> tuple[EdgeScores, ...]:
    """Scores of each method, on all rows of the workbench's task.

    Args:
        say: called with (stage, done, total).

    Raises:
        ClaimError: as `check_methods`, and for a size that the model does not have.
    """
    check_methods(methods, options.seed_with)
    edges = transformer_of(workbench).edges
    if not 0 < options.size <= len(edges):
        raise ClaimError(
            f"a circuit of {options.size} edges was asked for; {workbench.model.name} has 1 to {len(edges)}"
        )
    known: dict[str, EdgeScores] = {}

    def scores(name: str) -> EdgeScores:
        if name not in known:
            takes, done = edge_methods()[name].takes, 0
            total = options.steps if "steps" in takes else len(edges) * len(options.tau) if "tau" in takes else None

            def advance(count: int) -> None:
                nonlocal done
                done += count
                say(f"searching: {name}", done, total)

            by = options.seed_with or edge_methods()[name].begin if "begin" in takes else None
            begin = None if by is None else scores(by)
            advance(0)
            known[name] = edge_scores(name, workbench, ablation, begin=begin, advance=advance, **vars(options))
        return known[name]

    return tuple(scores(name) for name in methods)


def edge_scores(
    method: str,
    workbench: PlanContext,
    ablation: str,
    rows: Int[np.ndarray, "rows"] | None = None,
    *,
    begin: EdgeScores | None = None,
    **options: Any,
) -> EdgeScores:
    """The scores that a method of this name gives.

    Args:
        rows: scored rows of the task that it may see (default: all).
        begin: another method's scores, for a method that takes them.
        options: of `Options`, and "advance", which a slow method calls with every step; each takes its own.

    Raises:
        ComponentError: for an unknown name.
        PluginError: for a plug-in that gives no scores of these edges.
    """
    if method not in EDGE_METHODS and method not in edge_methods():
        raise ComponentError(f"unknown search {method!r}" + nearest(method, edge_methods()))
    if method not in EDGE_METHODS:
        return _named(_of_plugin(method, Circuits(workbench, ablation), rows, options.get("seed", 0)), method)
    spec = EDGE_METHODS[method]
    given = {"begin": begin, **options}
    arguments = {**spec.fixed, **{name: given[name] for name in spec.takes if name in given}}
    match spec.needs:
        case "edges":
            found = spec.load()(transformer_of(workbench).edges, **arguments)
        case "weights":
            found = spec.load()(transformer_of(workbench), **arguments)
        case "passes":
            found = spec.load()(Circuits(workbench, ablation), rows=rows, **arguments)
        case _:
            found = spec.load()(workbench, ablation, rows=rows, **arguments)
    if not isinstance(found, EdgeScores):  # scores with more around them
        name = method if begin is None else f"{method}, seeded by {begin.method}"
        return replace(found.scores, method=name)
    return found if begin is not None else _named(found, method)


def _named(found: EdgeScores, method: str) -> EdgeScores:
    """The scores under the name that they were asked for by."""
    if found.method == method:
        return found
    return replace(found, method=method, settings={**found.settings, "score": found.method})


def _of_plugin(method: str, circuits: Circuits, rows: Int[np.ndarray, "rows"] | None, seed: int) -> EdgeScores:
    found: EdgeScores = plugins.call(plugins.METHODS, method, EdgeScores, circuits, rows, seed)
    if len(found.scores) != len(circuits.edges):
        raise PluginError(
            f"the plug-in {method!r} of {plugins.METHODS} gives {len(found.scores):,} scores; wanted: one for each of "
            f"the {len(circuits.edges):,} edges"
        )
    return found
