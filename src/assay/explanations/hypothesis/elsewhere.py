"""The same variables in other places of the same layers and sorts, at random."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from assay.explanations.hypothesis.places import INSIDE, Carried
from assay.explanations.hypothesis.values import MANY
from assay.model.module import ModuleModel
from assay.model.transformer import Model
from assay.names import Site
from assay.stats.estimate import Undefined
from assay.stats.keyed import generator

TRIES = 20  # draws of other places for each that is wanted
MOVED = ("head", *INSIDE, "neuron")
OVERLAP = 0.25  # of its places that have others of their sort, a rival has fewer in common with the claim


def elsewhere(
    placed: Mapping[str, Sequence[Carried]], model: Model | ModuleModel, most: int, seed: int, overlap: float = 1.0
) -> list[dict[str, list[str]]] | Undefined:
    """Other places of each variable, no two sets of them alike.

    Args:
        overlap: of the heads and neurons, each set has a smaller share in common with the given ones.
    """
    if isinstance(model, ModuleModel):
        return Undefined("a module's parts have no others of their sort")
    if any(one.place.map is not None for some in placed.values() for one in some):
        return Undefined("a map of one part is none of another")
    if any(one.edge for some in placed.values() for one in some):
        return Undefined("of edges no others are drawn; circuits of edges have such controls")
    if all(one.site.kind not in MOVED for some in placed.values() for one in some):
        return Undefined("the hypothesis names MLPs and streams, of which a layer has one")
    sites = [(name, one.site) for name, some in placed.items() for one in some]
    mine = {(name, site) for name, site in sites if site.kind in MOVED}
    out: dict[frozenset[tuple[str, Site]], dict[str, list[str]]] = {}
    for draw in range(TRIES * most):
        if len(out) == most:
            break
        moved = _moved(placed, model, generator(seed, "other places", draw))
        if moved is None:
            continue
        key = frozenset((name, site) for name, some in moved.items() for site in some)
        if key not in out and len(mine & key) < overlap * len(mine):
            out[key] = {name: list(map(str, some)) for name, some in moved.items()}
    return list(out.values())


def possible(placed: Mapping[str, Sequence[Carried]], model: Model | ModuleModel) -> int:
    """How many other ways there are to place heads and neurons within their layers, no two on one in any column."""
    assert isinstance(model, Model)
    sites = [(name, one.site) for name, some in placed.items() for one in some]
    alike = Counter((name, site.kind, site.layer, site.position) for name, site in sites)
    slots: dict[tuple[str, int | None], Counter[int | str | None]] = {}
    for (_, kind, layer, position), count in alike.items():
        if kind in MOVED:
            slots.setdefault((kind, layer), Counter())[position] += count
    ways = 1
    for (kind, layer), columns in slots.items():
        total = model.config.heads if kind != "neuron" else model.config.d_mlp[layer or 0] or 1
        whole = columns.pop(None, 0)  # which are apart from all others; those of two columns may be one part
        ways *= math.perm(total, whole) * math.prod(math.perm(total - whole, count) for count in columns.values())
    for (_, kind, _, _), count in alike.items():
        ways //= math.factorial(count) if kind in MOVED else 1
    return min(ways - 1, MANY)


def _moved(
    placed: Mapping[str, Sequence[Carried]], model: Model, random: np.random.Generator
) -> dict[str, list[Site]] | None:
    """Each head and neuron put on any of its layer, no two on one in any column; none: one was left without room."""
    out: dict[str, list[Site]] = {name: [] for name in placed}
    taken: set[Site] = set()
    for name, some in placed.items():
        for site in (one.site for one in some):
            if site.kind in MOVED:
                total = model.config.heads if site.kind != "neuron" else model.config.d_mlp[site.layer or 0] or 1
                beside = (t for t in taken if (t.kind, t.layer) == (site.kind, site.layer))
                used = {t.index for t in beside if t.position == site.position or None in (t.position, site.position)}
                free = [index for index in range(total) if index not in used]
                if not free:
                    return None
                site = replace(site, index=free[int(random.integers(len(free)))])
            taken.add(site)
            out[name].append(site)
    return out
