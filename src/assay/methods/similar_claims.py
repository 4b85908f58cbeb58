"""The searches that find a claim of a given kind and size, by name: what controls and rivals run again.

Each is called with a claim that what it finds is to be like, and may be run on a shuffled task, where there is nothing
to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from assay.errors import TaskError
from assay.explanations.base import Assignment, Explanation, Label
from assay.explanations.circuit.circuit import Circuit
from assay.intervene.ablations import Workbench
from assay.intervene.circuits import Circuits, transformer_of
from assay.intervene.runner import Runner
from assay.methods.edge_methods import EDGE_METHODS, edge_scores
from assay.methods.edge_sizes import sized_circuits
from assay.methods.head_scores import head_scores
from assay.methods.part_sets import exchangeable
from assay.methods.part_sizes import largest, sizes
from assay.model.transformer import Model
from assay.names import Site, parse_site
from assay.stats.keyed import generator

SEARCH_ROWS = 8  # that a search for edges sees

Rows = Int[np.ndarray, "rows"]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        claim: of the kind and size of the one that it is like.
        what: that, in words; by: what it was searched by.
    """

    claim: Explanation
    what: str
    by: str


Search = Callable[[Workbench, Explanation, str, Rows, int | None], Found]


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
        ComponentError: where there is no such claim.
    """
    return SEARCHES[name](bench, like, ablation, rows, shuffle)


# -- parts -------------------------------------------------------------------------------------------------------------


def _assignment(bench: Workbench, like: Explanation) -> Assignment:
    out = like.assignment(bench.model)
    assert out is not None
    return out


def _largest(which: int, name: str) -> Search:
    def found(bench: Workbench, like: Explanation, ablation: str, rows: Rows, shuffle: int | None) -> Found:
        claim = _assignment(bench, like)
        size = sizes(bench, exchangeable(bench, claim))[which]
        if not size:
            raise TaskError("the module gives no gradient")
        item = largest(bench, claim, size)
        words = f"the parts of the same layer profile with the highest {name}: {', '.join(map(str, item))}"
        return Found(like.like(item), words, f"the highest {name}")

    return found


def _heads(bench: Workbench, like: Explanation, ablation: str, rows: Rows, shuffle: int | None) -> Found:
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


def _edges(method: str) -> Search:
    def found(bench: Workbench, like: Explanation, ablation: str, rows: Rows, shuffle: int | None) -> Found:
        assert isinstance(like, Circuit)
        model, size = transformer_of(bench), like.live(bench.model)
        at = bench if shuffle is None else shuffled(bench, shuffle)
        few = rows[np.linspace(0, len(rows) - 1, min(len(rows), SEARCH_ROWS)).round().astype(int)]
        scores = edge_scores(method, Circuits(at, ablation), few, seed=bench.seed)
        sized = sized_circuits(model.edges, scores, np.array([size]), fill_up=True)
        seen = "" if method == "weight_norm" else f", chosen on up to {SEARCH_ROWS} of the rows that are scored"
        by = f"the highest {method.replace('_', ' ')}"
        return Found(Circuit.of(sized.masks[0]), f"the circuit of {size:,} live edges with {by}{seen}", by)

    return found


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


SEARCHES: dict[str, Search] = {
    "largest_norm": _largest(0, "norm"),
    "largest_attribution": _largest(1, "attribution"),
    "head_scores": _heads,
    **{method: _edges(method) for method in EDGE_METHODS},
}
ON_SHUFFLED = frozenset({"head_scores", *EDGE_METHODS})  # those that a shuffled task says something to
