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
from assay.explanations.answers import Searched
from assay.explanations.base import AnyModel, Assignment, Explanation, Label, Undefined
from assay.explanations.circuit.circuit import Circuit
from assay.intervene.circuits.engine import transformer_of
from assay.intervene.fill.ablations import PlanContext
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
class SimilarClaim:
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
    name: str, workbench: PlanContext, like: Explanation, *, ablation: str, rows: Rows, shuffle: int | None = None
) -> SimilarClaim:
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
        return _circuit(name, workbench, like, ablation, rows, shuffle)
    return method.load()(workbench, like, **({"shuffle": shuffle} if "shuffle" in method.takes else {}))


# -- parts -------------------------------------------------------------------------------------------------------------


def _assignment(workbench: PlanContext, like: Explanation) -> Assignment:
    out = like.assignment(workbench.model)
    assert out is not None
    return out


def largest_norm(workbench: PlanContext, like: Explanation) -> SimilarClaim:
    """The parts of the claim's layer profile whose outputs are largest."""
    return _largest(workbench, like, 0, "norm")


def largest_attribution(workbench: PlanContext, like: Explanation) -> SimilarClaim:
    """Those of the largest attribution."""
    return _largest(workbench, like, 1, "attribution")


def _largest(workbench: PlanContext, like: Explanation, which: int, name: str) -> SimilarClaim:
    claim = _assignment(workbench, like)
    size = sizes(workbench, exchangeable(workbench, claim))[which]
    if not size:
        raise TaskError("the module gives no gradient")
    item = largest(workbench, claim, size)
    words = f"the parts of the same layer profile with the highest {name}: {', '.join(map(str, item))}"
    return SimilarClaim(like.like(item), words, f"the highest {name}")


def head_scores_like(workbench: PlanContext, like: Explanation, *, shuffle: int | None = None) -> SimilarClaim:
    """Heads that attend most as the claim's rules say, then the parts of the largest attribution."""
    claim, rules = _assignment(workbench, like), like.searched_by(workbench.model)
    item, by = by_attention(workbench, claim, rules, shuffle=shuffle)
    return SimilarClaim(like.like(item), f"the parts with {by}: {', '.join(map(str, item))}", by)


def by_attention(
    workbench: PlanContext, claim: Mapping[Site, Label], rules: Mapping[Site, str], *, shuffle: int | None = None
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
        assert isinstance(workbench.model, Model)
        scores = head_scores(workbench.model, seed=workbench.seed, shuffle=shuffle)
        for rule, given in wanted.items():
            ranked = [parse_site(name) for name, _ in scores.top(rule, count=10**6)]
            free = [site for site in ranked if site not in {found.at(None) for found in out}]
            for site, (label, position) in zip(free, given, strict=False):
                out[site.at(position)] = label
    if rest:
        _, attribution = sizes(workbench, exchangeable(workbench, rest))
        taken = {site.at(None) for site in out}
        if not attribution:
            raise TaskError(f"{workbench.model.name} gives no gradient, so no part has an attribution to search by")
        out |= largest(workbench, rest, {s: (-1.0 if s in taken else a) for s, a in attribution.items()})
    how = [f"the highest {' and '.join(wanted)} scores" if wanted else "", "the highest attribution" if rest else ""]
    return out, " and ".join(part for part in how if part)


# -- edges -------------------------------------------------------------------------------------------------------------


def _circuit(
    method: str, workbench: PlanContext, like: Explanation, ablation: str, rows: Rows, shuffle: int | None
) -> SimilarClaim:
    model = transformer_of(workbench)
    size = int(model.edges.pruned(model.edges.mask(like.named(model))).sum())
    at = workbench if shuffle is None else shuffled(workbench, shuffle)
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), SEARCH_ROWS)).round().astype(int)]
    scores = edge_scores(method, at, ablation, few, seed=workbench.seed)
    if at is not workbench:
        at.runner.close()
    sized = sized_circuits(model.edges, scores, np.array([size]), fill_up=True)
    blind = method in METHODS and METHODS[method].needs in ("edges", "weights")
    seen = "" if blind else f", chosen on up to {SEARCH_ROWS} of the rows that are scored"
    by = f"the highest {method.replace('_', ' ')}"
    return SimilarClaim(Circuit.of(sized.masks[0]), f"the circuit of {size:,} live edges with {by}{seen}", by)


def shuffled(workbench: PlanContext, draw: int) -> PlanContext:
    """A workbench on the same task with each window's tokens in random order (answers of prompts: among the rows)."""
    task = workbench.task
    random = generator(workbench.seed, "circuit search on shuffled data", draw)
    if task.answers is not None:
        other = replace(task, answers=task.answers[torch.from_numpy(random.permutation(len(task.answers)))])
    else:
        tokens, real = task.tokens.clone(), task.real.numpy()
        for row in range(len(tokens)):
            columns = 1 + np.flatnonzero(real[row, 1:])
            tokens[row, torch.from_numpy(columns)] = task.tokens[row, torch.from_numpy(random.permutation(columns))]
        other = replace(task, tokens=tokens)
    return workbench.on(Runner(workbench.model, other))
