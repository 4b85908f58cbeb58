"""Searches run again for a claim of a given kind and size: what controls and rivals need.

Each is called with a claim that what it finds is to be like, and may be run on a shuffled task, where there is nothing
to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import ComponentError, TaskError, nearest
from assay.explanations.base import AnyModel, Assignment, Explanation, Label, Searched, Undefined
from assay.explanations.circuit.circuit import Circuit
from assay.intervene.ablations import Workbench
from assay.intervene.circuits import transformer_of
from assay.intervene.runner import Runner
from assay.methods.edge_methods import edge_scores
from assay.methods.edge_sizes import sized_circuits
from assay.methods.head_scores import head_scores
from assay.methods.part_sets import exchangeable
from assay.methods.part_sizes import largest, sizes
from assay.methods.registry import METHODS, method_of
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.stats.keyed import generator

SEARCH_ROWS = 8  # that a search for edges sees

Rows = Int[np.ndarray, "rows"]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        claim: a claim of the kind and size of the one that it is like.
        what: the claim in words; by: what it was searched by.
    """

    claim: Explanation
    what: str
    by: str


def search_of(explanation: Explanation, model: AnyModel) -> Searched | Undefined:
    """The search that finds such a claim, where it can be run again: one that needs no trials of circuits."""
    found = explanation.search(model)
    method = None if isinstance(found, Undefined) else method_of(found.name)
    if isinstance(found, Undefined) or (method is not None and method.needs != "trials"):
        return found
    return Undefined(f"the search {found.name!r} that found the {explanation.kind} cannot be run again from here")


def search(
    name: str, bench: Workbench, like: Explanation, *, ablation: str, rows: Rows, shuffle: int | None = None
) -> Found:
    """The claim that a search of this name finds.

    Args:
        like: what it is to be like: the same kind, as many parts in each layer, or as many live edges.
        ablation: what cut edges take; rows: scored rows, of which a search for edges sees 8.
        shuffle: this draw of a shuffled task, for the searches that have one.

    Raises:
        TaskError: for a search that the model or the task's metric gives no gradient for.
        ComponentError: where there is no such claim, or no such search.
    """
    method = method_of(name)
    if method is None:
        raise ComponentError(f"unknown search {name!r}" + nearest(name, METHODS))
    if method.needs != "claim":
        return _circuit(name, bench, like, ablation, rows, shuffle)
    return method.load()(bench, like, **({"shuffle": shuffle} if "shuffle" in method.takes else {}))


# -- parts -------------------------------------------------------------------------------------------------------------


def _assignment(bench: Workbench, like: Explanation) -> Assignment:
    out = like.assignment(bench.model)
    assert out is not None
    return out


def largest_norm(bench: Workbench, like: Explanation) -> Found:
    """The parts of the claim's layer profile whose outputs are largest."""
    return _largest(bench, like, 0, "norm")


def largest_attribution(bench: Workbench, like: Explanation) -> Found:
    """Those of the largest attribution."""
    return _largest(bench, like, 1, "attribution")


def _largest(bench: Workbench, like: Explanation, which: int, name: str) -> Found:
    claim = _assignment(bench, like)
    size = sizes(bench, exchangeable(bench, claim))[which]
    if not size:
        raise TaskError("the module gives no gradient")
    item = largest(bench, claim, size)
    words = f"the parts of the same layer profile with the highest {name}: {', '.join(map(str, item))}"
    return Found(like.like(item), words, f"the highest {name}")


def head_scores_like(bench: Workbench, like: Explanation, *, shuffle: int | None = None) -> Found:
    """Heads that attend most as the claim's rules say, then the parts of the largest attribution."""
    claim, rules = _assignment(bench, like), like.searched_by(bench.model)
    item, by = by_attention(bench, claim, rules, shuffle=shuffle)
    return Found(like.like(item), f"the parts with {by}: {', '.join(map(str, item))}", by)


def by_attention(
    bench: Workbench, claim: Mapping[Site, Label], rules: Mapping[Site, str], *, shuffle: int | None = None
) -> tuple[Assignment, str]:
    """Parts with the claim's labels: heads by how they attend, the rest by attribution; and by what, in words.

    Args:
        rules: the rule by whose score each part is found; shuffle: heads are scored on a shuffled repeat task.
    """
    wanted: dict[str, list[tuple[Label, int | str | None]]] = {}
    rest: dict[Site, Label] = {}
    for site, label in claim.items():
        if site in rules:
            wanted.setdefault(rules[site], []).append((label, site.position))
        else:
            rest[site] = label
    out: Assignment = {}
    if wanted:
        assert isinstance(bench.model, Model)
        scores = head_scores(bench.model, seed=bench.seed, shuffle=shuffle)
        for rule, given in wanted.items():
            ranked = [parse_site(name) for name, _ in scores.top(rule, count=10**6)]
            free = [site for site in ranked if site not in {found.at(None) for found in out}]
            for site, (label, position) in zip(free, given, strict=False):
                out[site.at(position)] = label
    if rest:
        _, attribution = sizes(bench, exchangeable(bench, rest))
        taken = {site.at(None) for site in out}
        if not attribution:
            raise TaskError(f"{bench.model.name} gives no gradient, so no part has an attribution to search by")
        out |= largest(bench, rest, {s: (-1.0 if s in taken else a) for s, a in attribution.items()})
    how = [f"the highest {' and '.join(wanted)} scores" if wanted else "", "the highest attribution" if rest else ""]
    return out, " and ".join(part for part in how if part)


# -- edges -------------------------------------------------------------------------------------------------------------


def _circuit(method: str, bench: Workbench, like: Explanation, ablation: str, rows: Rows, shuffle: int | None) -> Found:
    assert isinstance(like, Circuit)
    model, size = transformer_of(bench), like.live(bench.model)
    at = bench if shuffle is None else shuffled(bench, shuffle)
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), SEARCH_ROWS)).round().astype(int)]
    scores = edge_scores(method, at, ablation, few, seed=bench.seed)
    sized = sized_circuits(model.edges, scores, np.array([size]), fill_up=True)
    blind = method in METHODS and METHODS[method].needs in ("edges", "weights")
    seen = "" if blind else f", chosen on up to {SEARCH_ROWS} of the rows that are scored"
    by = f"the highest {method.replace('_', ' ')}"
    return Found(Circuit.of(sized.masks[0]), f"the circuit of {size:,} live edges with {by}{seen}", by)


def shuffled(bench: Workbench, draw: int) -> Workbench:
    """A workbench on the same task with each window's tokens in random order (answers of prompts: among the rows)."""
    task = bench.task
    random = generator(bench.seed, "circuit search on shuffled data", draw)
    if task.answers is not None:
        other = replace(task, answers=task.answers[torch.from_numpy(random.permutation(len(task.answers)))])
    else:
        tokens, real = task.tokens.clone(), task.real.numpy()
        for row in range(len(tokens)):
            columns = 1 + np.flatnonzero(real[row, 1:])
            tokens[row, torch.from_numpy(columns)] = task.tokens[row, torch.from_numpy(random.permutation(columns))]
        other = replace(task, tokens=tokens)
    return bench.on(Runner(bench.model, other))
